"""`covid-keras lr-range`: learning-rate range test on the training part of the first fold."""

from __future__ import annotations

import dataclasses
import os
from argparse import Namespace

from covid_keras.commands.parsing import Commands, add_command, add_data, add_out, say, say_where
from covid_keras.common.errors import UserError
from covid_keras.common.files import staged

# Wording of `RangeTest.stopped`.
_ENDED = {"diverged": "diverged", "not finite": "was not finite"}


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "lr-range",
        "run Smith's learning-rate range test on one of a paper's networks",
        run,
        "  covid-keras lr-range haghanifar base_v2 --profile smoke --out runs/range\n",
    )
    parser.add_argument("paper", metavar="PAPER", help="paper or its first author")
    parser.add_argument("system", metavar="SYSTEM", help="one of its systems (see `covid-keras papers`)")
    add_data(parser)
    text = "paper, cpu or smoke (default: the first whose data are found)"
    parser.add_argument("--profile", metavar="P", help=text)
    text = "initial weights: imagenet, none or a file (default: from the protocol)"
    parser.add_argument("--weights", type=os.path.expanduser, metavar="W", help=text)
    text = "further weight file; repeatable"
    parser.add_argument("--checkpoint", action="append", default=[], metavar="NAME=FILE", help=text)
    text = "change a setting of the protocol; repeatable"
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=text)
    parser.add_argument("--low", type=float, default=1e-7, metavar="LR", help="first rate (default: 1e-7)")
    parser.add_argument("--high", type=float, default=0.1, metavar="LR", help="last rate (default: 0.1)")
    parser.add_argument("--steps", type=int, default=100, metavar="N", help="number of batches (default: 100)")
    add_out(parser, "runs/lr-range", "folder for SYSTEM.csv and SYSTEM.png (default: runs/lr-range)")


def run(options: Namespace) -> None:
    """Write `SYSTEM.csv` (learning_rate, loss) and its plot into `options.out`.

    As in the authors' runs, images are not augmented. The weights are restored afterwards.

    Raises
    ------
    UserError
        If there are too few steps, the system is unknown or not trained here, data or weights are missing, or the loss
        diverges at once.
    """
    from covid_keras.common.quiet import import_tensorflow
    from covid_keras.training.plan import make_plan
    from covid_keras.training.preparing import prepare_run
    from covid_keras.training.range_finder import FEWEST, lr_range_test, require_range

    require_range(options.low, options.high, options.steps)
    unasked = {"strategy": "one", "precision": "float32", "cache": None, "external": None, "micro_batch": None}
    given = unasked | {"keep_weights": False} | vars(options)
    given["set"] = [*options.set, f"systems=[{options.system}]"]
    plan = make_plan(Namespace(**given))
    system = plan.paper.system(options.system)
    system.require_trained("Choose a system that is: it has a learning rate")
    plan = dataclasses.replace(plan, out=plan.out / f"run-{system.name}")
    folder = prepare_run(plan)
    import_tensorflow()
    import numpy as np
    import pandas as pd

    from covid_keras.common.tables import write_table
    from covid_keras.reporting.range_figure import range_figure
    from covid_keras.reporting.renderer import write_figure
    from covid_keras.training.execution import untrained

    model, batches = untrained(folder.execution(system.name, 0, 0))
    found = lr_range_test(model, batches, options.low, options.high, options.steps)
    if (seen := len(found.rates)) < FEWEST:
        problem = f"ended after {seen} batches, too few to say anything: the loss {_ENDED[found.stopped]}"
        raise UserError(f"range test of {system.name}", problem, "Give a lower --low and --high, or more --steps")
    chosen = system.training(plan.protocol).optimizer.learning_rate
    table = pd.DataFrame({"learning_rate": found.rates, "loss": found.losses})
    figure = range_figure(found, f"Learning-rate range test: {system.title}", chosen)
    with staged(options.out) as folder:
        write_table(folder / f"{system.name}.csv", table)
        write_figure(folder / f"{system.name}.png", figure)
    suggested = "no rate stands out (the loss falls by no more than its noise)"
    if np.isfinite(found.suggested):
        suggested = f"steepest descent at {found.suggested:.2g}"
    say(f"{system.title}: {suggested}; the protocol trains at {chosen:g}", flush=True)
    say_where(options.out)
