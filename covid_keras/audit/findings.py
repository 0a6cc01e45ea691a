"""What a rule finds, and the verdict of a cell that follows from all findings about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from covid_keras.published.cells import LOST_TEXT, TEXT, PublishedCell
from covid_keras.published.facts import Place

CONSISTENT, IMPOSSIBLE = "consistent", "impossible"
EXPLAINED = "explained by {what}"
NOT_CHECKED = "cannot be checked ({why})"
AUDIT_COLUMNS = ("table", "row", "column", "printed", "verdict", "proof", "rules")

_WORD, _NO_RULE = "a word", "no rule applies: nothing else that the paper states bears on it"


@dataclass(frozen=True)
class Finding:
    """What one rule says of one cell.

    Parameters
    ----------
    place : tuple of str
        Table, row and column.
    rule : str
        Name of the rule.
    verdict : str
        `CONSISTENT`, `IMPOSSIBLE`, `EXPLAINED` or `NOT_CHECKED` filled in.
    proof : str
        The arithmetic, in one sentence.
    """

    place: Place
    rule: str
    verdict: str
    proof: str


def place_of(cell: PublishedCell) -> Place:
    """Return the table, row and column of a cell."""
    return cell.table, cell.row, cell.column


def weight(verdict: str) -> int:
    """Return how bad a verdict is: the worst of a cell counts; a rule that could not decide gives way to all others."""
    kinds = ("cannot", "consistent", "explained", "impossible")
    return next(number for number, kind in enumerate(kinds) if verdict.startswith(kind))


@dataclass(frozen=True)
class Audit:
    """The audit of a paper's printed numbers.

    Parameters
    ----------
    cells : tuple of PublishedCell
        In the paper's order.
    findings : tuple of Finding
        Of all rules, in the order in which they were found.
    """

    cells: tuple[PublishedCell, ...]
    findings: tuple[Finding, ...]

    def of(self, place: Place) -> list[Finding]:
        """Return what is found of a cell, the worst first."""
        own = [finding for finding in self.findings if finding.place == place]
        return sorted(own, key=lambda finding: -weight(finding.verdict))

    def verdict(self, place: Place) -> str:
        """Return the verdict of a cell, the worst of all findings."""
        return self._rows[place]["verdict"]

    @property
    def _rows(self) -> dict[Place, dict[str, str]]:
        found: dict[Place, list[Finding]] = {place_of(cell): [] for cell in self.cells}
        for finding in self.findings:
            found[finding.place].append(finding)
        return {place_of(cell): _row(cell, found[place_of(cell)]) for cell in self.cells}

    def table(self) -> pd.DataFrame:
        """Return a row a cell, in the paper's order, with the columns `AUDIT_COLUMNS`, all text.

        `proof` holds the proofs of all findings that share the verdict's kind, `rules` the names of all rules that
        had something to say, the worst first.
        """
        return pd.DataFrame(list(self._rows.values()), columns=list(AUDIT_COLUMNS))

    def summary(self) -> dict[str, int]:
        """Return how many cells are consistent, explained, impossible and not to be checked, and how many there are."""
        kinds = {"consistent": 0, "explained": 0, "impossible": 0, "cannot be checked": 0}
        for row in self._rows.values():
            kinds[next(kind for kind in kinds if row["verdict"].startswith(kind))] += 1
        return {**kinds, "cells": len(self.cells)}


def _row(cell: PublishedCell, findings: Iterable[Finding]) -> dict[str, str]:
    own = sorted(findings, key=lambda finding: -weight(finding.verdict))
    why = LOST_TEXT if cell.lost else _WORD if cell.unit == TEXT else _NO_RULE
    verdict = own[0].verdict if own else NOT_CHECKED.format(why=why)
    # What speaks against a number, the worst first; where nothing does, what speaks for it.
    least = max(min(weight(verdict), weight(EXPLAINED)), 0)
    proofs = dict.fromkeys(finding.proof for finding in own if weight(finding.verdict) >= least)
    return {
        "table": cell.table,
        "row": cell.row,
        "column": cell.column,
        "printed": printed_text(cell),
        "verdict": verdict,
        "proof": " ".join(proofs),
        "rules": ", ".join(dict.fromkeys(finding.rule for finding in own)),
    }


def printed_text(cell: PublishedCell) -> str:
    """Return a cell as it is printed, without its unit."""
    if cell.text:
        return cell.text
    mean = f"{cell.mean:.{cell.decimals}f}"
    std = "" if cell.std is None else f" ± {cell.std:.{cell.std_decimals}f}"
    return mean + std + ("" if cell.low is None else f" [{cell.low:.{cell.decimals}f}, {cell.high:.{cell.decimals}f}]")
