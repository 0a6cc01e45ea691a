"""`covid-keras predict`: score the user's radiographs with a trained network."""

from __future__ import annotations

import sys
from argparse import BooleanOptionalAction, Namespace

from covid_keras import DISCLAIMER
from covid_keras.commands.parsing import (
    Commands,
    add_batch,
    add_command,
    add_out,
    in_red,
    require_threads,
    say,
    say_failed,
    say_where,
    user_path,
)
from covid_keras.common.errors import UserError, printable
from covid_keras.data.sniff import LIMITS

DEFAULT_MODEL = "covid_cxnet"


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "predict",
        "score your radiographs with a trained network (research only)",
        run,
        "  covid-keras predict chest.png other.dcm --heatmap --out predictions\n"
        "  covid-keras predict ward/ --skip-unreadable     every radiograph in a folder\n"
        "  covid-keras predict chest.png --json            the result as JSON\n"
        "  covid-keras predict chest.png --run runs/tabik:covid_sdnet    a network that you trained\n\n"
        f"{DISCLAIMER}\n",
    )
    add = parser.add_argument
    text = f"frontal chest radiographs (PNG, JPEG, TIFF, BMP, DICOM; {LIMITS}) or folders of them"
    add("images", nargs="+", type=user_path, metavar="PATH", help=text)
    add("--model", metavar="NAME", help=f"registered network (default: {DEFAULT_MODEL})")
    text = "a network trained by reproduce; its best execution on validation, or the one named (repeat0-fold1)"
    add("--run", dest="trained", metavar="RUN:SYSTEM[:EXECUTION]", help=text)
    add("--weights", type=user_path, metavar="FILE", help="your own weights of the same network")
    add("--heatmap", action="store_true", help="write NAME_heatmap.png: the lungs and a Grad-CAM heat map")
    text = "folder for predictions.csv, predictions.json and heat maps (default: predictions)"
    add_out(parser, "predictions", text)
    text = "refuse images that are not frontal chest radiographs (default: on)"
    add("--check-view", action=BooleanOptionalAction, default=True, help=text)
    add("--score-doubtful", action="store_true", help="score the images that the check refuses, with a warning")
    add_batch(parser)


def run(options: Namespace) -> int:
    """Predict the images; print one line per image, or JSON; return the exit status."""
    require_threads(options.threads)
    from covid_keras.inference.prediction import RECORD, predict_files

    model = options.model or DEFAULT_MODEL
    if options.trained is not None:
        for name in ("model", "weights"):
            if getattr(options, name) is not None:
                raise UserError(
                    f"--{name}", "contradicts --run, whose network has weights of its own", "Give one of them"
                )
        from covid_keras.inference.run_network import find_run_network

        model = find_run_network(options.trained)
        say(f"Network: {model.chosen}", file=sys.stderr if options.json else sys.stdout, flush=True)
    draw = None
    if options.heatmap:
        from covid_keras.reporting.prediction_figure import draw_prediction as draw
    found = predict_files(
        options.images,
        options.out,
        model,
        options.weights,
        draw,
        options.check_view,
        score_doubtful=options.score_doubtful,
        skip_unreadable=options.skip_unreadable,
        threads=options.threads,
    )
    if options.json:
        sys.stdout.write((found.folder / RECORD).read_text(encoding="utf-8"))
    else:
        for line in found.alarms():
            print(in_red(printable(line)))
        say("\n".join(found.lines()))
    status = say_failed(found.failed, "predicted")
    say_where(found.folder, sys.stderr if options.json else sys.stdout)
    return status
