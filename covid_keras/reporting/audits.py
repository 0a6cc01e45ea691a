"""What the audit says of a paper's printed numbers, as part of a page: `covid_keras.audit` in words and tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from covid_keras.audit import audit
from covid_keras.evaluation.comparison import AUDIT_COLUMNS
from covid_keras.evaluation.possibility import NO_TARGETS, Audited, AuditVerdict
from covid_keras.paper.paper import Paper
from covid_keras.published.cells import LOST_TEXT
from covid_keras.published.facts import Place
from covid_keras.reporting.document import Section
from covid_keras.reporting.tables import AUDIT_SIGNS, markdown_table, table_title
from covid_keras.reporting.wording import counted, sentence

PLACE = ["table", "row", "column"]
AUDIT_CAPTION = (
    "Asked of every published number by rules of arithmetic, without any data. Impossible: not as printed, or not "
    "together with what is printed beside it. Explained: not as printed either, and why is found. Neither is a target "
    "for a reproduction, unless the suite's file of published numbers names it, or another value, as one. Cannot be "
    "checked: no rule bears on it, as on most settings, or the available text of the paper has lost it."
)
AUDIT_TEXT = "Rules of arithmetic over what the paper prints, without any data: {counts}."
AUDIT_REST = (
    "What was computed for consistent numbers, and why others cannot be checked, stands in the paper's README and in "
    "the output of covid-keras audit with --all-cells."
)
# Kind -> how its list is headed and its meaning.
_LISTS = {
    AuditVerdict.IMPOSSIBLE: ("with proofs", AUDIT_SIGNS[AuditVerdict.IMPOSSIBLE][1]),
    AuditVerdict.EXPLAINED: ("with proofs", AUDIT_SIGNS[AuditVerdict.EXPLAINED][1]),
    AuditVerdict.CONSISTENT: ("with what was computed", AUDIT_SIGNS[AuditVerdict.CONSISTENT][1]),
    AuditVerdict.NOT_CHECKABLE: ("with reasons", "neither possible nor impossible by any rule"),
}
# What each rule asks, by the name under which it speaks; sources stand at the rules in `covid_keras.audit`.
RULE_MEANINGS = {
    "grim": "Is there a whole number of right answers that gives the printed share of the stated images (the GRIM "
    "test: granularity-related inconsistency of means)? Of a mean over trainings the grid is that much finer.",
    "common_images": "Is there one number of images, within the stated bounds, that gives all shares of a column?",
    "of_matrix": "Are metrics what the printed confusion matrix of the same system gives?",
    "one_matrix": "Is there one confusion matrix of the stated classes that gives every metric of a row?",
    "runs": "Is there any set of trainings with the means and standard deviations of the row?",
    "class_weights": "Is a mean accuracy the mean of sensitivity and specificity, weighted by the stated classes?",
    "deviation": "Can numbers between 0 and 100 % with this mean have this standard deviation?",
    "interval": "Does the printed interval hold the number, and does a share lie between 0 and 100 %?",
    "dice_and_iou": "Can the mean Dice and the mean IoU be those of the same masks?",
    "identities": "Do the metrics of a row agree with each other, whatever the images?",
    "weighted_mean": "Is a rate the mean of the rates of its parts, weighted by their images?",
    "sum": "Is a total the sum of its parts?",
    "mean": "Is a mean that of the numbers that it is said to be of?",
    "difference": "Is a difference that of the two numbers that it is said to be of?",
    "share": "Is a share that of the printed numbers of images?",
    "bound": "Does what is said to be at least or at most so much keep to it?",
    "same_quantity": "Has what is printed several times the same value everywhere?",
    "same_slip": "Is an impossible number printed elsewhere, too, where a slip of the pen explains it?",
    "repeats": "Does a table repeat another one, number by number, where chance would not?",
    "mean_of_copies": "Would a mean that does not hold do so with another number in place of a copied one?",
    "mean_is_one_run": "Is what is called a mean of trainings the value of the one printed matrix, oftener than by "
    "chance?",
}
RULES_TITLE = "What the rules ask"


def audit_of(paper: Paper) -> pd.DataFrame:
    """Return what the audit says of a paper's numbers, a row a cell.

    Columns: those of `PLACE`, `printed`, `audit` (the verdict), `proof` and `rules`, all text.
    """
    path = paper.folder / "published.yaml"
    return _audited(_File(sha256(path.read_bytes()).hexdigest(), path)).copy()


def audited_places(table: pd.DataFrame) -> dict[Place, Audited]:
    """Return what `covid_keras.evaluation.compare` wants of an audit."""
    columns = [table[name] for name in (*PLACE, *AUDIT_COLUMNS)]
    return {row[:3]: Audited(*row[3:]) for row in zip(*columns, strict=True)}


@dataclass(frozen=True)
class _File:
    """A file, the same as any other of the same content."""

    digest: str
    path: Path = field(compare=False)


@lru_cache(maxsize=16)
def _audited(file: _File) -> pd.DataFrame:
    """Audit a file, once for each content: a page asks for it several times, and it takes a second."""
    table = audit(file.path).table().rename(columns={"verdict": "audit", "reason": "audit_reason"})
    return table[[*PLACE, "printed", *AUDIT_COLUMNS, "rules"]]


def audit_counts(table: pd.DataFrame) -> dict[str, int]:
    """Return how many cells of an audit are of each kind, headed by its sign."""
    kinds = table["audit"].value_counts()
    return {f"{sign} {word}".strip(): int(kinds.get(word, 0)) for word, (sign, _) in AUDIT_SIGNS.items()}


class _Finding(NamedTuple):
    """Cells of one table that share the reason of their verdict and its proof, such as a Dice and its IoU."""

    table: str
    cells: str
    reason: str
    proof: str
    rules: str


def _findings(table: pd.DataFrame, kind: str) -> list[_Finding]:
    """Return what is found of the cells of a kind, in the paper's order; of what cannot be checked the proof is why."""
    own = table[table["audit"] == kind]
    if kind == AuditVerdict.NOT_CHECKABLE:
        own = own.assign(proof=[f"{sentence(why)}." for why in own["audit_reason"]], audit_reason="")
    groups = own.groupby(["table", "audit_reason", "proof"], sort=False)
    return [
        _Finding(table_title(str(name)), _cells_words(part), reason, proof, _rule_words(part["rules"]))
        for (name, reason, proof), part in groups
    ]


def _rule_words(rules: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(rule.replace("_", " ") for names in rules for rule in names.split(", ") if rule))


def _title(kind: str, count: int) -> str:
    sign = AUDIT_SIGNS[kind][0]
    return f"{f'{sign} {kind}' if sign else kind.capitalize()}, {_LISTS[kind][0]} ({counted(count, 'cell')})"


def _rules_asked(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the rules that had something to say of a paper, with what they ask."""
    used = {rule for names in table["rules"] for rule in names.split(", ")}
    return [(rule.replace("_", " "), asks) for rule, asks in RULE_MEANINGS.items() if rule in used]


def audit_section(table: pd.DataFrame, everything: bool = True) -> Section:
    """Return what the audit of a paper's printed numbers says: how many cells of each kind, and every cell, folded.

    Parameters
    ----------
    table : DataFrame
        From `audit_of`.
    everything : bool
        List consistent cells, those that cannot be checked and what the rules ask, too; else say where they stand.
    """
    counts = audit_counts(table)
    words = ", ".join(f"{count} {head}" for head, count in counts.items())
    section = Section("Are the printed numbers possible?", AUDIT_TEXT.format(counts=words))
    if not everything:
        section.text += f" {AUDIT_REST}"
    for kind, count in zip(_LISTS, counts.values(), strict=True):
        if count and (everything or kind in NO_TARGETS):
            notes = [_note(found, kind) for found in _findings(table, kind)]
            section.details.append(Section(_title(kind, count), notes=notes))
    if everything and (asked := _rules_asked(table)):
        section.details.append(Section(RULES_TITLE, notes=asked))
    return section


def _note(found: _Finding, kind: str) -> tuple[str, str]:
    """Return a finding as title and text; of what cannot be checked the reason is the title: its cells are many."""
    if kind == AuditVerdict.NOT_CHECKABLE:
        return f"{found.table}: {found.proof}", found.cells
    said = f"explained by {found.reason}: " if kind == AuditVerdict.EXPLAINED else ""
    return f"{found.table}: {said}{found.cells}", f"{found.proof} [{found.rules}]"


def audit_markdown(table: pd.DataFrame) -> str:
    """Return what the audit says as Markdown, as it stands in a paper's README: the counts, then every cell.

    What is no target stands open with its proof, the rest is folded.

    Parameters
    ----------
    table : DataFrame
        From `audit_of`.
    """
    counts = audit_counts(table)
    words = ", ".join(f"{count} {head}" for head, count in counts.items())
    blocks = [f"{counted(len(table), 'published number')}: {words}. {AUDIT_CAPTION}\n"]
    for kind, count in zip(_LISTS, counts.values(), strict=True):
        if count:
            blocks.append(_kind_markdown(table, kind, count))
    if asked := _rules_asked(table):
        rules = "".join(f"- **{name}**: {asks}\n" for name, asks in asked)
        blocks.append(f"<details><summary>{RULES_TITLE}</summary>\n\n{rules}\n</details>\n")
    return "\n".join(blocks)


def _kind_markdown(table: pd.DataFrame, kind: str, count: int) -> str:
    """Return the cells of one kind as a Markdown table below its heading, folded where they may be targets."""
    last = {AuditVerdict.NOT_CHECKABLE: "why", AuditVerdict.CONSISTENT: "computed"}.get(kind, "proof")
    rows = [
        {"where": found.table, "as printed": found.cells}
        | ({"explained by": found.reason} if kind == AuditVerdict.EXPLAINED else {})
        | {last: found.proof}
        | ({"rules": found.rules} if kind != AuditVerdict.NOT_CHECKABLE else {})
        for found in _findings(table, kind)
    ]
    title, body = _title(kind, count), f"{_LISTS[kind][1]}.\n\n{markdown_table(pd.DataFrame(rows))}"
    if kind in NO_TARGETS:
        return f"**{title}**: {body}"
    return f"<details><summary>{title}</summary>\n\n{body[:1].upper()}{body[1:]}\n</details>\n"


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
