"""The document model: a page is a list of sections of prose, tables and figures. Templates render it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from covid_keras import DISCLAIMER
from covid_keras.reporting.claim_plot import ClaimPlot
from covid_keras.reporting.tables import PaperTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class FigureEntry(NamedTuple):
    """A figure with its title and caption; `file` is the SVG that Markdown shows, relative to the page, "" for none."""

    title: str
    caption: str
    figure: Figure
    file: str = ""


class TableEntry(NamedTuple):
    """A table with its title and caption; the index is not shown."""

    title: str
    caption: str
    frame: pd.DataFrame


class AgainstEntry(NamedTuple):
    """A table of paper against ours with its title and caption; `brief` shows ours on one line."""

    table: PaperTable
    what: str = ""
    caption: str = ""
    brief: bool = False


class ClaimEntry(NamedTuple):
    """A claim on one line; `plot` and `detail` (reasons and tests, folded) may be empty."""

    statement: str
    where: str
    printed: str
    outcome: str
    basis: str
    found: str
    plot: ClaimPlot | None
    detail: Section


@dataclass
class Section:
    """A part of the report, from top to bottom: paragraphs, facts, tables, claims, figures, notes.

    Paragraphs are separated by blank lines. `parts` are subsections. `folded` (figures) and `details` (sections) show
    only their titles until opened. `link` is the entry in the table of contents (default: the title).
    """

    title: str
    text: str = ""
    tables: list[TableEntry] = field(default_factory=list)
    figures: list[FigureEntry] = field(default_factory=list)
    folded: list[FigureEntry] = field(default_factory=list)
    facts: list[tuple[str, Any]] = field(default_factory=list)
    against: list[AgainstEntry] = field(default_factory=list)
    claims: list[ClaimEntry] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    parts: list[Section] = field(default_factory=list)
    details: list[Section] = field(default_factory=list)
    link: str = ""

    @property
    def empty(self) -> bool:
        """Whether it has nothing but its title."""
        return not any(value for name, value in vars(self).items() if name not in ("title", "link"))


@dataclass
class Report:
    """The contents of a page, from top to bottom. All texts are plain; the page escapes them.

    Parameters
    ----------
    title, subtitle : str
    banner : str
        Warning at the top, such as that the images are synthetic; "" for none.
    facts : list of (name, value)
        Summary: profile, cohort, executions, time.
    verdicts : mapping
        Verdict -> number of cells.
    sections : list of Section
        Empty sections are left out.
    citations : list of (text, url)
        The only external links; `url` is "" or starts with http:// or https://.
    disclaimer : str
        Shown at the top and at the bottom.
    """

    title: str = ""
    subtitle: str = ""
    banner: str = ""
    facts: list[tuple[str, Any]] = field(default_factory=list)
    verdicts: Mapping[str, int] = field(default_factory=dict)
    sections: list[Section] = field(default_factory=list)
    citations: list[tuple[str, str]] = field(default_factory=list)
    disclaimer: str = DISCLAIMER
