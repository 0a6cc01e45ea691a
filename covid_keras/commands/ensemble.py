"""`covid-keras ensemble`: combine finished systems."""

from __future__ import annotations

import os
from argparse import Namespace

from covid_keras.commands.parsing import Commands, add_command, add_out, say, say_where


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "ensemble",
        "combine systems of finished runs by weighted average or majority vote",
        run,
        "  covid-keras ensemble runs/arias_vgg19-cpu --systems exp1_c exp1_d exp1_e\n"
        "  covid-keras ensemble runs/first:flat runs/second:flat --method vote --out runs/both\n"
        "  covid-keras ensemble papers/arias_vgg19/results/cpu-predictions-2.csv --systems exp1_c exp1_e\n"
        "  covid-keras ensemble runs/arias_vgg19-cpu --systems exp1_c exp1_e --weights 0.7,0.3\n",
    )
    add = parser.add_argument
    text = "run folder or predictions file, optionally with one of its systems"
    add("sources", nargs="+", type=os.path.expanduser, metavar="RUN[:SYSTEM]", help=text)
    text = "systems to combine from each RUN given without a SYSTEM"
    add("--systems", nargs="+", default=[], metavar="S", help=text)
    add("--method", choices=("average", "vote"), default="average", help="default: average")
    text = (
        "weights of the average: validation (best validation accuracy; the default), proportional (to validation"
        " accuracy), equal, or one number per system, such as 0.3,0.3,0.4"
    )
    add("--weights", metavar="W", help=text)
    add("--step", type=float, metavar="X", help="grid step of the validation weights (default: 0.05)")
    text = "tied vote: the class with the largest summed score (probability; the default) or the first class (lowest)"
    add("--ties", choices=("probability", "lowest"), help=text)
    text = "leave out test images on which another system was trained (default: an error)"
    add("--leave-out", action="store_true", help=text)
    add_out(parser, "runs/ensemble", "folder for predictions.csv and ensemble.json (default: runs/ensemble)")


def run(options: Namespace) -> None:
    """Combine the systems and print the results."""
    from covid_keras.reporting.ensemble import Rule, combine_systems

    rule = Rule.of(options.method, options.weights, options.ties, options.step)
    found = combine_systems(options.sources, options.systems, options.out, rule, options.leave_out)
    say("\n".join(found.lines()))
    say_where(options.out)
