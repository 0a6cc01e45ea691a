"""`covid-keras predict`: a trained network's answer on the user's radiographs."""

from __future__ import annotations

from argparse import Namespace

from covid_keras import DISCLAIMER
from covid_keras.commands.parsing import Commands, add_command, add_out, say_where, user_path


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "predict",
        "say what a trained network makes of radiographs of your own, for research only",
        run,
        "  covid-keras predict chest.png other.dcm --model covid_cxnet --heatmap --out predictions\n"
        "  covid-keras predict --check-view *.png     refuse lateral views and what is no chest radiograph\n\n"
        f"{DISCLAIMER}\n",
    )
    add = parser.add_argument
    add("images", nargs="+", type=user_path, metavar="IMAGE", help="frontal chest radiograph: PNG, JPEG, TIFF or DICOM")
    add("--model", default="covid_cxnet", metavar="NAME", help="registered network (default: covid_cxnet)")
    add("--heatmap", action="store_true", help="draw the lungs and a Grad-CAM heat map of each, STEM_heatmap.png")
    text = "receives predictions.csv, predictions.json and the heat maps (default: predictions)"
    add_out(parser, "predictions", text)
    text = "your own weights of the same network (default: the registered)"
    add("--weights", type=user_path, metavar="FILE", help=text)
    text = "predict nothing unless every IMAGE is a frontal chest radiograph; name each that is not, and why"
    add("--check-view", action="store_true", help=text)


def run(options: Namespace) -> None:
    """Predict the images and print one line per image."""
    from covid_keras.inference.prediction import predict_files

    draw = None
    if options.heatmap:
        from covid_keras.reporting.prediction_figure import draw_prediction as draw
    found = predict_files(options.images, options.out, options.model, options.weights, draw, options.check_view)
    print("\n".join(found.lines()))
    say_where(found.folder)
