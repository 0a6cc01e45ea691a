"""Apply all rules to the printed numbers of a paper."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from covid_keras.audit import matrices, relations, rules
from covid_keras.audit.book import Book, check_facts
from covid_keras.audit.findings import Audit, Finding
from covid_keras.audit.rows import one_matrix
from covid_keras.audit.run_rows import class_weights, runs_of_row
from covid_keras.evaluation.possibility import AuditVerdict
from covid_keras.published.cells import PublishedCell, load_published

# The order matters: later rules compare other printed values with those implied by rows.
RULES: tuple[Callable[[Book], Iterable[Finding]], ...] = (
    rules.grim,
    rules.common_images,
    matrices.of_matrix,
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
    matrices.mean_is_one_run,
)
_ACCUSING = (AuditVerdict.IMPOSSIBLE, AuditVerdict.ONE_OF_THESE)
# Explanations of whole rows or tables, which overrule the findings of rules that do not consider them.
_EXPLAINING = ("one_matrix", "repeats", "mean_of_copies", "same_slip")


def audit(published: str | Path | Iterable[PublishedCell]) -> Audit:
    """Check whether each printed number of a paper is possible.

    Parameters
    ----------
    published : str, Path or iterable of PublishedCell
        A `published.yaml`, or the result of `load_published`.

    Returns
    -------
    Audit
        `table()` has one row per cell with verdict, proof and rules.

    Raises
    ------
    UserError
        If the file cannot be read, or its facts are impossible or contradict each other.
    """
    source = published if isinstance(published, str | Path) else ""
    book = Book(load_published(published) if source else published)
    check_facts(book, source)
    return Audit(book.cells, tuple(_settled([finding for rule in RULES for finding in rule(book)])))


def _settled(findings: list[Finding]) -> Iterator[Finding]:
    """Yield the findings, one per cell; a cell explained as part of a whole row or table gets that explanation."""
    explained = {
        place: finding
        for finding in findings
        if finding.rule in _EXPLAINING and finding.verdict is AuditVerdict.EXPLAINED
        for place in finding.places
    }
    for finding in findings:
        for place in finding.places:
            own = replace(finding, places=(place,))
            by = explained.get(place) if finding.verdict in _ACCUSING else None
            yield replace(own, verdict=by.verdict, reason=by.reason) if by else own
