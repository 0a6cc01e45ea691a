"""What the audit says of a paper's printed numbers, as part of a page: `covid_keras.audit` in words and tables."""

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
# Kind -> how its list is headed.
_LISTS = {
    AuditVerdict.IMPOSSIBLE: "with proofs",
    AuditVerdict.EXPLAINED: "with proofs",
    AuditVerdict.ONE_OF_THESE: "with proofs",
    AuditVerdict.CONSISTENT: "with what was computed",
    AuditVerdict.NOT_CHECKABLE: "with reasons",
}
HERE, TEXTS = "covid_keras.reporting", "audit.md"


def audit_of(paper: Paper) -> pd.DataFrame:
    """Return what the audit says of a paper's numbers, one row per cell.

    Columns: those of `PLACE`, `printed`, `audit` (the verdict), `proof` and `rules`, all text.
    """
    path = paper.folder / "published.yaml"
    return _audited(path, sha256_of(path)).copy()


def audited_places(table: pd.DataFrame) -> dict[Place, Audited]:
    """Return what `covid_keras.evaluation.compare` wants of an audit."""
    columns = [table[name] for name in (*PLACE, *AUDIT_COLUMNS)]
    return {row[:3]: Audited(*row[3:]) for row in zip(*columns, strict=True)}


@lru_cache(maxsize=16)
def _audited(path: Path, digest: str) -> pd.DataFrame:
    """Audit a file, once for each content: a page asks for it several times, and it takes a second."""
    table = audit(path).table().rename(columns={"verdict": "audit", "reason": "audit_reason"})
    return table[[*PLACE, "printed", *AUDIT_COLUMNS, "rules"]]


def audit_counts(table: pd.DataFrame) -> dict[str, int]:
    """Return how many cells of an audit are of each kind, headed by its sign."""
    kinds = table["audit"].value_counts()
    return {f"{AUDIT_SIGNS[word][0]} {word}".strip(): int(kinds.get(word, 0)) for word in audit_kinds(kinds.index)}


def counts_text(table: pd.DataFrame) -> str:
    """Return how many cells of an audit are of each kind, as a sentence."""
    return prose(HERE, TEXTS, "counts", cells=len(table), counts=audit_counts(table))


def audit_caption() -> str:
    """Return what is asked of a published number, and what the answers mean."""
    return prose(HERE, TEXTS, "caption")


def audit_section(table: pd.DataFrame) -> Section:
    """Return what the audit of a paper's printed numbers says: how many cells of each kind, and every cell.

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
    """Return what is found of the cells of one kind, in the paper's order, as titles and texts.

    Cells of one table that share the reason of their verdict and its proof stand together. Of what cannot be checked
    the reason is the title: its cells are many.
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
    """Return cells as text, the columns of a row together; where the text has lost a number, its place alone.

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
