"""`covid-keras papers`: list the papers."""

from __future__ import annotations

from argparse import Namespace

from covid_keras.commands.parsing import Commands, add_command, say


def add_parser(commands: Commands) -> None:
    """Add the command."""
    add_command(commands, "papers", "list the papers, their profiles and systems", run, "  covid-keras papers\n")


def run(options: Namespace) -> None:
    """Print the list."""
    from covid_keras.paper.registered import load_papers

    for paper in load_papers().values():
        say(
            f"{paper.name} (also: {', '.join(paper.aliases)})\n"
            f"    {paper.title}\n"
            f"    {paper.citation}{f'. doi:{paper.doi}' * bool(paper.doi)}\n"
            f"    profiles: {', '.join(paper.profiles)}\n"
            f"    systems: {', '.join(system.name for system in paper.systems)}"
        )
