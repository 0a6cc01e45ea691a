"""`covid-keras evaluate`: somebody's own predictions measured."""

from __future__ import annotations

import json
import sys
from argparse import Namespace

from covid_keras.commands.parsing import Commands, add_command, say_where, user_path
from covid_keras.common.errors import UserError


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "evaluate",
        "measure predictions of your own: metrics with 95 % intervals by patient, calibration, figures",
        run,
        "  covid-keras evaluate mine.csv --label truth --score prob --patient subject --out evaluation\n"
        "  covid-keras evaluate mine.csv --positive COVID-19 --threshold 0.3 --json\n"
        "  covid-keras evaluate predictions/predictions.csv --labels labels.csv    what predict wrote\n"
        "  covid-keras evaluate mine.csv --against theirs.csv --image file         paired by image\n\n"
        "CSV has one row per image: labels, and scores from 0 to 1, or decisions. Columns that are not named\n"
        "are looked for under their usual names. Rows that cannot be used are counted and named.\n",
    )
    add = parser.add_argument
    add("predictions", type=user_path, metavar="CSV", help="predictions, of anybody's network or a run's")
    add("--label", metavar="COLUMN", help="what each image is")
    add("--score", nargs="+", default=[], metavar="COLUMN", help="score of the positive class, or one per class")
    add("--patient", metavar="COLUMN", help="whose image it is")
    add("--image", metavar="COLUMN", help="which image it is; needed to pair tables")
    add("--predicted", metavar="COLUMN", help="the class decided for")
    add("--labels", type=user_path, metavar="CSV", help="a table of images, labels and patients")
    add("--positive", metavar="CLASS", help="the positive class; of several, all others are negative")
    text = "score from which an image is positive (default: the table's decisions, else 0.5)"
    add("--threshold", type=float, metavar="T", help=text)
    add("--system", metavar="S", help="of a run's predictions of several systems")
    add("--against", type=user_path, metavar="CSV", help="other predictions of the same images: the difference")
    add("--against-system", metavar="S", help="the same of --against")
    add("--out", type=user_path, metavar="DIR", help="receives evaluation.json and the figures")
    add("--json", action="store_true", help="print evaluation.json instead of text")


def run(options: Namespace) -> None:
    """Evaluate the predictions; print text or JSON, and write the folder where `--out` names one."""
    if options.out is not None and options.out.is_file():
        raise UserError(f"--out {options.out}", "is a file", "Name a folder")
    from covid_keras.reporting.evaluation import evaluate

    columns = {name: getattr(options, name) for name in ("label", "score", "patient", "image", "predicted")}
    names = ("labels", "positive", "threshold", "system", "against", "against_system", "out")
    found = evaluate(options.predictions, **columns, **{name: getattr(options, name) for name in names})
    print(json.dumps(found.report(), indent=2, ensure_ascii=False) if options.json else "\n".join(found.lines()))
    if options.out is not None:
        say_where(options.out, sys.stderr if options.json else None)
