"""`covid-keras publish`: a run's numbers into this repository."""

from __future__ import annotations

from argparse import Namespace

from covid_keras.commands.parsing import Commands, add_command, say_where, user_path


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "publish",
        "put a finished run's numbers into this repository: results, and the tables of the READMEs",
        run,
        "  covid-keras publish runs/covid_sdnet-cpu    its results, and every page that shows them\n"
        "  covid-keras publish                         the pages alone\n",
    )
    parser.add_argument(
        "run_folder",
        type=user_path,
        nargs="?",
        metavar="RUN",
        help="a complete run; left out, only the READMEs and papers/RESULTS.md are written anew",
    )


def run(options: Namespace) -> None:
    """Publish the run, or make the READMEs again."""
    from covid_keras.reporting.publish import publish_run, refresh_readmes

    say_where(publish_run(options.run_folder) if options.run_folder else refresh_readmes())
