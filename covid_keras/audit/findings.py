"""Findings of audit rules, and the verdict of a cell from all its findings."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd

from covid_keras.evaluation.possibility import AuditVerdict
from covid_keras.published.cells import LOST_TEXT, TEXT, PublishedCell
from covid_keras.published.facts import Place, place_text
from covid_keras.published.metrics import OF_MATRIX, WITHOUT_RULE

AUDIT_COLUMNS = ("table", "row", "column", "printed", "verdict", "reason", "proof", "rules")
# An explanation counts only if less than this fraction of random numbers would be explained too.
UNLIKELY = 0.05
TRUNCATED = "digits cut off instead of rounded"

_WORD, _NO_RULE = "a word", "no rule applies: the paper states nothing to check it against"


@dataclass(frozen=True)
class Finding:
    """The result of a rule for one or more cells.

    Parameters
    ----------
    rule : str
        Name of the rule.
    verdict : AuditVerdict
    proof : str
        The arithmetic in words.
    places : tuple of (table, row, column)
        The cells.
    reason : str
        What explains the number, why it cannot be checked, or which numbers contradict each other; else "".
    """

    rule: str
    verdict: AuditVerdict
    proof: str
    places: tuple[Place, ...]
    reason: str = ""


def place_of(cell: PublishedCell) -> Place:
    """Return the table, row and column of a cell."""
    return cell.table, cell.row, cell.column


def find(rule: str, verdict: AuditVerdict, proof: str, *cells: PublishedCell, reason: str = "") -> Finding:
    """Return a finding for cells."""
    return Finding(rule, verdict, proof, tuple(map(place_of, cells)), reason)


def judge(rule: str, holds: bool, proof: str, *cells: PublishedCell) -> Finding:
    """Return the finding for a check that holds or fails."""
    return find(rule, AuditVerdict.CONSISTENT if holds else AuditVerdict.IMPOSSIBLE, proof, *cells)


def one_of(finding: Finding, *places: Place) -> Finding:
    """Return the finding that one of the numbers at `places` is wrong, without knowing which."""
    names = "; ".join(map(place_text, finding.places))
    return replace(finding, verdict=AuditVerdict.ONE_OF_THESE, places=places, reason=names)


def explain(rule: str, reason: str, proof: str, *cells: PublishedCell) -> Finding:
    """Return the finding that `reason` explains a wrong number."""
    return find(rule, AuditVerdict.EXPLAINED, proof, *cells, reason=reason)


def leave_open(rule: str, why: str, *cells: PublishedCell, proof: str | None = None) -> Finding:
    """Return the finding that a rule cannot decide. Default proof: the reason as a sentence."""
    proof = f"{why.capitalize()}." if proof is None else proof
    return find(rule, AuditVerdict.NOT_CHECKABLE, proof, *cells, reason=why)


def odds(chance: float) -> str:
    """Format a probability, as a power of ten if small.

    >>> odds(1 / 946), odds(3.1e-11)
    ('1 in 946', '1 in 10^10')
    """
    return f"1 in {1 / chance:,.0f}" if chance > 1e-6 else f"1 in 10^{math.floor(-math.log10(chance))}"


@dataclass(frozen=True)
class Audit:
    """The audit of a paper's printed numbers.

    Parameters
    ----------
    cells : tuple of PublishedCell
        In the order of the paper.
    findings : tuple of Finding
        Of all rules, in order of discovery.
    """

    cells: tuple[PublishedCell, ...]
    findings: tuple[Finding, ...]

    def of(self, place: Place) -> list[Finding]:
        """Return the findings for a cell, worst first."""
        return self._by_place[place]

    @cached_property
    def _by_place(self) -> dict[Place, list[Finding]]:
        found: dict[Place, list[Finding]] = {place_of(cell): [] for cell in self.cells}
        for finding in self.findings:
            for place in finding.places:
                found[place].append(finding)
        return {place: sorted(own, key=lambda one: -one.verdict.weight) for place, own in found.items()}

    def table(self) -> pd.DataFrame:
        """Return one row per cell, in the paper's order, with the columns `AUDIT_COLUMNS`, all text.

        `verdict` is the worst `AuditVerdict` of the cell's findings, with its `reason`. `proof` joins the proofs of all
        findings against the number; if there are none, of the findings with that verdict. `rules` names the rules of
        all findings, the worst first.
        """
        rows = [_row(cell, self.of(place_of(cell))) for cell in self.cells]
        return pd.DataFrame(rows, columns=list(AUDIT_COLUMNS))

    def summary(self) -> dict[str, int]:
        """Return the number of cells with each verdict, and of all cells under "cells".

        Verdicts are in ascending order of severity, "cannot be checked" last. "one of these is wrong" is left out if no
        cell has it.
        """
        first, *others = AuditVerdict
        counts = Counter(self.table()["verdict"])
        shown = [one for one in (*others, first) if counts[one] or one is not AuditVerdict.ONE_OF_THESE]
        return {**{verdict.value: counts[verdict] for verdict in shown}, "cells": len(self.cells)}


def _row(cell: PublishedCell, own: Sequence[Finding]) -> dict[str, str]:
    """Return a row of the table; `own` are the findings of the cell, worst first."""
    worst = own[0] if own else leave_open("", _why_open(cell), cell, proof="")
    # Proofs of findings against the number; if there are none, of findings with the verdict of the cell.
    least = min(worst.verdict.weight, AuditVerdict.ONE_OF_THESE.weight)
    proofs = dict.fromkeys(finding.proof for finding in own if finding.verdict.weight >= least)
    return {
        "table": cell.table,
        "row": cell.row,
        "column": cell.column,
        "printed": printed_text(cell),
        "verdict": worst.verdict.value,
        "reason": worst.reason,
        "proof": " ".join(proofs),
        "rules": ", ".join(dict.fromkeys(finding.rule for finding in own)),
    }


def _why_open(cell: PublishedCell) -> str:
    """Return why no rule applies to a cell."""
    quantity = cell.facts.quantity or cell.metric
    if cell.lost or cell.unit == TEXT:
        return LOST_TEXT if cell.lost else _WORD
    if quantity in WITHOUT_RULE:
        return f"no rule checks {quantity}"
    return f"{quantity} is only checked against a printed confusion matrix" if quantity in OF_MATRIX else _NO_RULE


def printed_text(cell: PublishedCell) -> str:
    """Return a cell as it is printed, without its unit."""
    if cell.text:
        return cell.text
    mean = f"{cell.mean:.{cell.decimals}f}"
    std = "" if cell.std is None else f" ± {cell.std:.{cell.std_decimals}f}"
    return mean + std + ("" if cell.low is None else f" [{cell.low:.{cell.decimals}f}, {cell.high:.{cell.decimals}f}]")
