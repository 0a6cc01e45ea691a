"""`covid-keras report`: rebuild the report of a run from its predictions."""

from __future__ import annotations

from argparse import Namespace

from covid_keras.commands.parsing import Commands, add_command, say_where, user_path


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "report",
        "rebuild the tables, figures and page of a run from its predictions",
        run,
        "  covid-keras report runs/covid_sdnet-cpu\n  covid-keras report runs/covid_sdnet-cpu --no-heatmaps\n",
    )
    parser.add_argument("run_folder", type=user_path, metavar="RUN", help="run folder; the run may be unfinished")
    text = "leave out Grad-CAM, which needs TensorFlow and the images"
    parser.add_argument("--no-heatmaps", action="store_true", help=text)


def run(options: Namespace) -> None:
    """Write the report."""
    from covid_keras.reporting.run import report_run

    say_where(report_run(options.run_folder, heatmaps=not options.no_heatmaps))
