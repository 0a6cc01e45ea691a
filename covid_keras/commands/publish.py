"""`covid-keras publish`: a run's numbers into this repository."""

from __future__ import annotations

from argparse import Namespace

from covid_keras.commands.parsing import Commands, add_command, say_where, user_path


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "publish",
        "copy a finished run's results into this repository and rewrite its pages",
        run,
        "  covid-keras publish runs/covid_sdnet-cpu    results and pages\n"
        "  covid-keras publish                         metrics and pages, from the committed predictions\n",
    )
    parser.add_argument(
        "run_folder",
        type=user_path,
        nargs="?",
        metavar="RUN",
        help="a complete run (default: recompute metrics and pages from the committed predictions)",
    )


def run(options: Namespace) -> None:
    """Publish the run, or recompute metrics and pages."""
    from covid_keras.reporting.publish import publish_run, refresh_results

    say_where(publish_run(options.run_folder) if options.run_folder else refresh_results())
