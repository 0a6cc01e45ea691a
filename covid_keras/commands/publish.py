"""`covid-keras publish`: copy a run's results into this repository."""

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
        "  covid-keras publish                         pages only\n",
    )
    parser.add_argument(
        "run_folder",
        type=user_path,
        nargs="?",
        metavar="RUN",
        help="a complete run (default: only rewrite the READMEs and papers/RESULTS.md)",
    )


def run(options: Namespace) -> None:
    """Publish the run, or rewrite the READMEs."""
    from covid_keras.reporting.publish import publish_run, refresh_readmes

    say_where(publish_run(options.run_folder) if options.run_folder else refresh_readmes())
