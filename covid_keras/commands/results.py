"""`covid-keras results`: the committed results of all papers on one page."""

from __future__ import annotations

from argparse import Namespace

from covid_keras.commands.parsing import Commands, add_command, add_out, say_where


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "results",
        "write one page with the committed results of all papers",
        run,
        "  covid-keras results\n  covid-keras results --out results.html\n",
    )
    text = "the page (default: runs/results.html); a checkout's papers/RESULTS.md is also written"
    add_out(parser, "runs/results.html", text, "FILE")


def run(options: Namespace) -> None:
    """Write the page."""
    from covid_keras.reporting.publish import write_results

    say_where(" and ".join(map(str, write_results(options.out))))
