"""The audit of a paper's printed numbers, as part of a page."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pandas as pd

from covid_keras.audit import audit
from covid_keras.common.files import sha256_of
from covid_keras.evaluation.comparison import AUDIT_COLUMNS
from covid_keras.evaluation.possibility import Audited, AuditVerdict
from covid_keras.paper.paper import Paper
from covid_keras.published.cells import LOST_TEXT
from covid_keras.published.facts import Place, table_title
from covid_keras.reporting.document import Section
from covid_keras.reporting.prose import notes, prose
from covid_keras.reporting.tables import AUDIT_SIGNS, audit_kinds
from covid_keras.reporting.wording import counted, sentence

PLACE = ["table", "row", "column"]
# Verdict -> ending of its list's title.
_LISTS = {
    AuditVerdict.IMPOSSIBLE: "with proofs",
    AuditVerdict.EXPLAINED: "with proofs",
    AuditVerdict.ONE_OF_THESE: "with proofs",
    AuditVerdict.CONSISTENT: "with what was computed",
    AuditVerdict.NOT_CHECKABLE: "with reasons",
}
HERE, TEXTS = "covid_keras.reporting", "audit.md"


def audit_of(paper: Paper) -> pd.DataFrame:
    """Return the audit of a paper's numbers, one row per cell.

    Columns: those of `PLACE`, `printed`, `audit` (the verdict), `proof` and `rules`, all text. No rows without
    printed numbers.
    """
    if (path := paper.published_path) is None:
        return pd.DataFrame(columns=[*PLACE, "printed", *AUDIT_COLUMNS, "rules"])
    return _audited(path, sha256_of(path)).copy()


def audited_places(table: pd.DataFrame) -> dict[Place, Audited]:
    """Return an audit as `covid_keras.evaluation.compare` takes it."""
    columns = [table[name] for name in (*PLACE, *AUDIT_COLUMNS)]
    return {row[:3]: Audited(*row[3:]) for row in zip(*columns, strict=True)}


@lru_cache(maxsize=16)
def _audited(path: Path, digest: str) -> pd.DataFrame:
    """Audit a file, once per content: a page needs it several times, and it takes a second."""
    table = audit(path).table().rename(columns={"verdict": "audit", "reason": "audit_reason"})
    return table[[*PLACE, "printed", *AUDIT_COLUMNS, "rules"]]


def audit_counts(table: pd.DataFrame) -> dict[str, int]:
    """Return the number of cells per verdict, named with its sign."""
    kinds = table["audit"].value_counts()
    return {f"{AUDIT_SIGNS[word][0]} {word}".strip(): int(kinds.get(word, 0)) for word in audit_kinds(kinds.index)}


def counts_text(table: pd.DataFrame) -> str:
    """Return the number of cells per verdict, as a sentence."""
    return prose(HERE, TEXTS, "counts", cells=len(table), counts=audit_counts(table))


def audit_caption() -> str:
    """Return what the audit checks and what its verdicts mean."""
    return prose(HERE, TEXTS, "caption")


def audit_section(table: pd.DataFrame) -> Section:
    """Return the audit as a section: the number of cells per verdict, and every cell.

    Parameters
    ----------
    table : DataFrame
        From `audit_of`.
    """
    counts = audit_counts(table)
    section = Section("Are the printed numbers possible?", counts_text(table))
    for kind, count in zip(audit_kinds(table["audit"]), counts.values(), strict=True):
        if count:
            sign = AUDIT_SIGNS[kind][0]
            title = f"{f'{sign} {kind}' if sign else kind.capitalize()}, {_LISTS[kind]} ({counted(count, 'cell')})"
            section.details.append(Section(title, notes=_findings(table[table["audit"] == kind])))
    used = {rule.replace("_", " ") for names in table["rules"] for rule in names.split(", ")}
    asked = [note for note in notes(HERE, TEXTS, "rules") if note[0] in used]
    section.details += [Section("What the rules ask", notes=asked)] if asked else []
    return section


def _findings(own: pd.DataFrame) -> list[tuple[str, str]]:
    """Return (title, text) of the cells with one verdict, in the paper's order.

    Cells of a table that share reason and proof are joined. The reason is the title of cells that cannot be checked.
    """
    found = []
    for (name, kind, reason, proof), part in own.groupby(["table", *AUDIT_COLUMNS], sort=False):
        title, cells = table_title(str(name)), _cells_words(part)
        if kind == AuditVerdict.NOT_CHECKABLE:
            found.append((f"{title}: {sentence(reason)}.", cells))
            continue
        said = f"explained by {reason}: " if kind == AuditVerdict.EXPLAINED else ""
        rules = dict.fromkeys(rule.replace("_", " ") for names in part["rules"] for rule in names.split(", ") if rule)
        found.append((f"{title}: {said}{cells}", f"{proof} [{', '.join(rules)}]"))
    return found


def _cells_words(part: pd.DataFrame) -> str:
    """Return cells as text, joined by row; a lost number is given by its place only.

    >>> made = pd.DataFrame({"row": ["A", "A", "B"], "column": ["x", "y", "printed"], "printed": ["1", LOST_TEXT, "2"]})
    >>> _cells_words(made)
    'A, x = 1, y; B = 2'
    """
    rows = []
    for row, cells in part.groupby("row", sort=False):
        texts = [
            " = ".join(text for text in (column * (column != "printed"), value * (value != LOST_TEXT)) if text)
            for column, value in zip(cells["column"], cells["printed"], strict=True)
        ]
        joined = ", ".join(text for text in texts if text)
        between = " = " if list(cells["column"]) == ["printed"] else ", "
        rows.append(f"{row}{between}{joined}" if joined else str(row))
    return "; ".join(rows)
