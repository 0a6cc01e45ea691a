"""The document model: a page is sections of prose, tables and figures as values; templates render it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from covid_keras import DISCLAIMER
from covid_keras.reporting.tables import PaperTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class FigureEntry(NamedTuple):
    """A figure with its title and what the reader is to see in it."""

    title: str
    caption: str
    figure: Figure


class TableEntry(NamedTuple):
    """A table of text or numbers with its title and caption; the index is not shown."""

    title: str
    caption: str
    frame: pd.DataFrame


class AgainstEntry(NamedTuple):
    """A table of paper against ours with what it shows and a caption; one that is `brief` has ours on one line."""

    table: PaperTable
    what: str = ""
    caption: str = ""
    brief: bool = False


@dataclass
class Section:
    """A part of the report, from top to bottom: paragraphs (separated by blank lines), facts, tables, figures, notes.

    `parts` are sections of its own below that; `folded` are figures, `details` sections, of which only the title shows
    until the reader opens them. `link` is what the contents call it, the title where it is empty.
    """

    title: str
    text: str = ""
    tables: list[TableEntry] = field(default_factory=list)
    figures: list[FigureEntry] = field(default_factory=list)
    folded: list[FigureEntry] = field(default_factory=list)
    facts: list[tuple[str, Any]] = field(default_factory=list)
    against: list[AgainstEntry] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    parts: list[Section] = field(default_factory=list)
    details: list[Section] = field(default_factory=list)
    link: str = ""

    @property
    def empty(self) -> bool:
        """Whether it holds nothing but its title."""
        return not any(value for name, value in vars(self).items() if name not in ("title", "link"))


@dataclass
class Report:
    """What stands on the page, from top to bottom. All texts are plain text: the page escapes them.

    Parameters
    ----------
    title, subtitle : str
    banner : str
        Warning across the page, such as that the images are synthetic; "" for none.
    facts : list of (name, value)
        What the page is about: profile, cohort, executions, time.
    verdicts : mapping
        Verdict to how many cells got it, shown at the top.
    sections : list of Section
        Empty ones are left out.
    citations : list of (text, url)
        The only links that leave the page; `url` is "" or starts with http:// or https://.
    disclaimer : str
        Stands at the top and at the bottom.
    """

    title: str = ""
    subtitle: str = ""
    banner: str = ""
    facts: list[tuple[str, Any]] = field(default_factory=list)
    verdicts: Mapping[str, int] = field(default_factory=dict)
    sections: list[Section] = field(default_factory=list)
    citations: list[tuple[str, str]] = field(default_factory=list)
    disclaimer: str = DISCLAIMER
