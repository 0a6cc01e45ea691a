"""`covid-keras ensemble`: finished systems combined."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path

from covid_keras.commands.parsing import Commands, add_command, say_where, user_path


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "ensemble",
        "combine the systems of finished runs by a weighted average or a majority vote, without training",
        run,
        "  covid-keras ensemble runs/arias_vgg19-cpu --systems exp1_c exp1_d exp1_e\n"
        "  covid-keras ensemble runs/first:flat runs/second:flat --method vote --out runs/both\n"
        "  covid-keras ensemble papers/arias_vgg19/results/cpu-predictions-2.csv --systems exp1_c exp1_d exp1_e\n"
        "  covid-keras ensemble runs/arias_vgg19-cpu --systems exp1_c exp1_e --weights 0.7,0.3\n",
    )
    parser.add_argument(
        "sources",
        nargs="+",
        type=os.path.expanduser,
        metavar="RUN[:SYSTEM]",
        help="run folder, or a file of predictions, with one of its systems or without",
    )
    parser.add_argument(
        "--systems", nargs="+", default=[], metavar="S", help="members, looked for in what is given without a system"
    )
    parser.add_argument("--method", choices=("average", "vote"), default="average", help="default: average")
    parser.add_argument(
        "--weights",
        metavar="W",
        help="of an average: validation (chosen by accuracy on validation images; default), proportional (to that"
        " accuracy), equal, or numbers in the order of the members, such as 0.3,0.3,0.4",
    )
    parser.add_argument(
        "--step", type=float, metavar="X", help="grid of the weights that validation tries (default: 0.05)"
    )
    parser.add_argument(
        "--ties",
        choices=("probability", "lowest"),
        help="of a vote: the class with the largest summed score of those that tie (default), or the first",
    )
    parser.add_argument(
        "--leave-out",
        action="store_true",
        help="leave out images that one member was trained on and another tests, instead of refusing",
    )
    parser.add_argument(
        "--out",
        type=user_path,
        default=Path("runs/ensemble"),
        metavar="DIR",
        help="receives predictions.csv and ensemble.json (default: runs/ensemble)",
    )


def run(options: Namespace) -> None:
    """Combine the systems and print what was measured."""
    from covid_keras.reporting.ensemble import Rule, combine_systems

    rule = Rule.of(options.method, options.weights, options.ties, options.step)
    found = combine_systems(options.sources, options.systems, options.out, rule, options.leave_out)
    print("\n".join(found.lines()))
    say_where(options.out)
