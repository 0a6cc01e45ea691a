"""The installed papers, found by entry points."""

from __future__ import annotations

from importlib.metadata import entry_points

from covid_keras.common.errors import UserError
from covid_keras.paper.paper import Paper

GROUP = "covid_keras.papers"


def load_papers() -> dict[str, Paper]:
    """Return every registered paper by name."""
    return {entry.name: entry.load() for entry in entry_points(group=GROUP)}


def load_paper(name: str) -> Paper:
    """Return the paper with a name or alias; raise `UserError` if unknown."""
    papers = load_papers()
    for paper in papers.values():
        if name == paper.name or name in paper.aliases:
            return paper
    known = ", ".join(f"{paper.name} ({', '.join(paper.aliases)})" for paper in papers.values())
    raise UserError(name, "is not a known paper", f"Known: {known}")
