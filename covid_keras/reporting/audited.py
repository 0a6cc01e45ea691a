"""What the audit says of a paper's printed numbers, as part of a page: `covid_keras.audit` in words and tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import pandas as pd

from covid_keras.audit import audit
from covid_keras.evaluation.facts import Place
from covid_keras.reporting.html import Section
from covid_keras.reporting.tables import AUDIT_MEANINGS, AUDIT_SIGNS, counted, markdown_table, table_title
from covid_keras.training.experiment import Paper

PLACE = ["table", "row", "column"]
NOT_CHECKED_KIND = "cannot be checked"
AUDIT_CAPTION = (
    "Asked of every published number by rules of arithmetic, without any data. Impossible: not as printed, or not "
    "together with what is printed beside it. Explained: not as printed either, and why is found. Neither is a target "
    "for a reproduction, unless `published.yaml` names it, or another value, as one. Cannot be checked: no rule bears "
    "on it, as on most settings, or the text has lost it."
)
AUDIT_TEXT = "Rules of arithmetic over what the paper prints, without any data: {counts}."


# Of more cells that share their proof the first and the last are named.
FEW_CELLS = 8


def audit_of(paper: Paper) -> pd.DataFrame:
    """Return what the audit says of a paper's numbers, a row a cell.

    Columns: those of `PLACE`, `printed`, `audit` (the verdict), `proof` and `rules`, all text.
    """
    path = paper.folder / "published.yaml"
    return _audited(_File(sha256(path.read_bytes()).hexdigest(), path)).copy()


def audited_places(table: pd.DataFrame) -> dict[Place, tuple[str, str]]:
    """Return what `covid_keras.evaluation.compare` wants of an audit: place to verdict and proof."""
    return {(row.table, row.row, row.column): (row.audit, row.proof) for row in table.itertuples()}


@dataclass(frozen=True)
class _File:
    """A file, the same as any other of the same content."""

    digest: str
    path: Path = field(compare=False)


@lru_cache(maxsize=16)
def _audited(file: _File) -> pd.DataFrame:
    """Audit a file, once for each content: a page asks for it several times, and it takes a second."""
    table = audit(file.path).table().rename(columns={"verdict": "audit"})
    return table[[*PLACE, "printed", "audit", "proof", "rules"]]


def audit_counts(table: pd.DataFrame) -> dict[str, int]:
    """Return how many cells of an audit are of each kind, headed by its sign."""
    kinds = _audit_kinds(table).value_counts()
    heads = {word: f"{AUDIT_SIGNS[word]} {word}" for word in AUDIT_MEANINGS} | {NOT_CHECKED_KIND: NOT_CHECKED_KIND}
    return {head: int(kinds.get(word, 0)) for word, head in heads.items()}


def _audit_kinds(table: pd.DataFrame) -> pd.Series:
    return table["audit"].map(lambda text: next((w for w in AUDIT_SIGNS if text.startswith(w)), NOT_CHECKED_KIND))


def audit_section(table: pd.DataFrame) -> Section:
    """Return what the audit of a paper's printed numbers says: how many cells of each kind, and the proofs, folded.

    Parameters
    ----------
    table : DataFrame
        From `audit_of`.
    """
    kinds = _audit_kinds(table)
    counts = ", ".join(f"{count} {head}" for head, count in audit_counts(table).items())
    section = Section("Are the printed numbers possible?", AUDIT_TEXT.format(counts=counts))
    for word in ("impossible", "explained"):
        # Cells of one table that share their proof, such as a Dice and its IoU, are one finding.
        groups = table[kinds == word].groupby(["table", "audit", "proof", "rules"], sort=False)
        notes = [
            (f"{table_title(name)}: {said}: {'; '.join(_printed(part))}", f"{proof} [{rules}]")
            for (name, said, proof, rules), part in groups
        ]
        if notes:
            title = f"{AUDIT_SIGNS[word]} {word}, with proofs ({counted(int((kinds == word).sum()), 'cell')})"
            section.details.append(Section(title, notes=notes))
    return section


def audit_markdown(table: pd.DataFrame) -> str:
    """Return what the audit says as Markdown, as it stands in a paper's README: the counts, then the proofs.

    Parameters
    ----------
    table : DataFrame
        From `audit_of`.
    """
    kinds = _audit_kinds(table)
    counts = ", ".join(f"{count} {head}" for head, count in audit_counts(table).items())
    blocks = [f"{counted(len(table), 'published number')}: {counts}. {AUDIT_CAPTION}\n"]
    for word in ("impossible", "explained"):
        rows = [
            {"where": table_title(str(name)), "as printed": _cells_words(part)}
            | ({"explained by": said.removeprefix("explained by ")} if word == "explained" else {})
            | {"proof": proof, "rules": rules.replace("_", " ")}
            for (name, said, proof, rules), part in table[kinds == word].groupby(
                ["table", "audit", "proof", "rules"], sort=False
            )
        ]
        if rows:
            head = f"**{AUDIT_SIGNS[word]} {word}** ({counted(int((kinds == word).sum()), 'cell')}): "
            blocks.append(f"{head}{AUDIT_MEANINGS[word]}.\n\n{markdown_table(pd.DataFrame(rows))}")
    return "\n".join(blocks)


def _cells_words(part: pd.DataFrame) -> str:
    texts = list(_printed(part))
    if len(texts) > FEW_CELLS:
        return f"{len(texts)} cells, from {texts[0]} to {texts[-1]}"
    return "; ".join(texts)


def _printed(part: pd.DataFrame) -> pd.Series:
    return part["row"] + ", " + part["column"] + " = " + part["printed"]
