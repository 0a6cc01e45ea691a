"""All rules over a paper's printed numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from covid_keras.audit import printed_matrices, relations, rules
from covid_keras.audit.book import Book, check_facts
from covid_keras.audit.findings import IMPOSSIBLE, Audit, Finding
from covid_keras.audit.judging import Rule
from covid_keras.audit.rows import one_matrix
from covid_keras.audit.run_rows import class_weights, runs_of_row
from covid_keras.published.cells import PublishedCell, load_published

# In this order: what a row implies is compared with what is printed elsewhere.
RULES: tuple[Rule, ...] = (
    rules.grim,
    rules.common_images,
    printed_matrices.of_matrix,
    one_matrix,
    runs_of_row,
    class_weights,
    rules.deviation,
    rules.interval,
    rules.dice_and_iou,
    rules.identities,
    relations.weighted_mean,
    relations.totals,
    relations.same_system,
    relations.same_slip,
    relations.repeats,
    relations.mean_of_copies,
    printed_matrices.mean_is_one_run,
)


_EXPLAINING = ("one_matrix", "repeats", "mean_of_copies", "same_slip")


def audit(published: str | Path | Iterable[PublishedCell]) -> Audit:
    """Ask of every printed number of a paper whether it is possible.

    Parameters
    ----------
    published : str, Path or iterable of PublishedCell
        A `published.yaml`, or what `load_published` made of it.

    Returns
    -------
    Audit
        `table()` has a row a cell with its verdict, the proof and the rules.

    Raises
    ------
    UserError
        For a file that cannot be read or facts that contradict each other.
    """
    source = published if isinstance(published, str | Path) else ""
    book = Book(load_published(published) if source else published)
    check_facts(book, source)
    return Audit(book.cells, _settled([finding for rule in RULES for finding in rule(book)]))


def _settled(findings: list[Finding]) -> tuple[Finding, ...]:
    """Return the findings, those that an explanation of the whole row or table covers with its verdict.

    A number that is of other images, or of another table, has nothing to answer for to rules that do not know that.
    """
    explained = {
        finding.place: finding.verdict
        for finding in findings
        if finding.rule in _EXPLAINING and finding.verdict.startswith("explained")
    }
    return tuple(
        replace(finding, verdict=explained[finding.place])
        if finding.verdict == IMPOSSIBLE and finding.place in explained
        else finding
        for finding in findings
    )
