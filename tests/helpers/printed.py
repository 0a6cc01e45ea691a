"""The published numbers of a paper, looked up by their place."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import papers
from covid_keras.published.cells import PublishedCell, load_published

FOLDER = Path(papers.__file__).parent


class Printed:
    """The cells of a paper's `published.yaml`: `cells` in order, `at` a table, row and column."""

    def __init__(self, paper: str) -> None:
        self.path = FOLDER / paper / "published.yaml"
        self.cells = load_published(self.path)
        self._places = {(cell.table, cell.row, cell.column): cell for cell in self.cells}

    def at(self, table: str, row: str, column: str = "printed") -> PublishedCell:
        return self._places[table, row, column]

    def value(self, table: str, row: str, column: str = "printed") -> float:
        return self.at(table, row, column).mean

    def doubt(self, table: str, row: str, column: str = "printed") -> str:
        return self.at(table, row, column).doubt

    def of(self, *tables: str) -> list[PublishedCell]:
        return [cell for cell in self.cells if cell.table in tables]

    def moved(self) -> dict[tuple[str, str, str], tuple[float, float]]:
        """Return what is printed and what is compared with, where the two differ."""
        known = {place: cell for place, cell in self._places.items() if cell.value == cell.value}
        return {place: (cell.value, cell.target) for place, cell in known.items() if cell.target != cell.value}


printed = cache(Printed)
