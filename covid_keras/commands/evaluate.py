"""`covid-keras evaluate`: evaluate the user's own predictions."""

from __future__ import annotations

import sys
from argparse import Namespace

from covid_keras.commands.parsing import Commands, add_command, say, say_where, user_path
from covid_keras.common.errors import UserError
from covid_keras.common.files import json_text


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "evaluate",
        "compute metrics of your predictions, with 95 % intervals by patient, and figures",
        run,
        "  covid-keras evaluate mine.csv --label truth --score prob --patient subject --out evaluation\n"
        "  covid-keras evaluate mine.csv --positive COVID-19 --threshold 0.3 --json\n"
        "  covid-keras evaluate predictions/predictions.csv --labels labels.csv    output of `predict`\n"
        "  covid-keras evaluate mine.csv --against theirs.csv --image file         paired by image\n\n"
        "CSV has one row per image, with its label and its scores from 0 to 1 or its decision. Columns that are\n"
        "not named are found by their usual names. Unusable rows are reported and left out.\n",
    )
    add = parser.add_argument
    add("predictions", type=user_path, metavar="CSV", help="predictions of any network, or of a run")
    add("--label", metavar="COLUMN", help="column of true classes")
    add("--score", nargs="+", default=[], metavar="COLUMN", help="score of the positive class, or one per class")
    add("--patient", metavar="COLUMN", help="column of patients")
    add("--image", metavar="COLUMN", help="column of images; required to pair tables")
    add("--predicted", metavar="COLUMN", help="column of predicted classes")
    add("--labels", type=user_path, metavar="CSV", help="table of images, labels and patients")
    add("--positive", metavar="CLASS", help="positive class; all others are negative")
    text = "score threshold (default: the table's decisions, else 0.5)"
    add("--threshold", type=float, metavar="T", help=text)
    add("--system", metavar="S", help="system to evaluate, for a run's predictions of several systems")
    add("--against", type=user_path, metavar="CSV", help="predictions of the same images to compare with")
    add("--against-system", metavar="S", help="system to compare with, in --against")
    add("--out", type=user_path, metavar="DIR", help="folder for evaluation.json and the figures")
    add("--json", action="store_true", help="print evaluation.json instead of text")


def run(options: Namespace) -> None:
    """Evaluate the predictions; print text or JSON, and write the `--out` folder."""
    if options.out is not None and options.out.is_file():
        raise UserError(f"--out {options.out}", "is a file", "Name a folder")
    from covid_keras.reporting.evaluation import evaluate

    columns = {name: getattr(options, name) for name in ("label", "score", "patient", "image", "predicted")}
    names = ("labels", "positive", "threshold", "system", "against", "against_system", "out")
    found = evaluate(options.predictions, **columns, **{name: getattr(options, name) for name in names})
    if options.json:
        print(json_text(found.report()))
    else:
        say("\n".join(found.lines()))
    if options.out is not None:
        say_where(options.out, sys.stderr if options.json else None)
