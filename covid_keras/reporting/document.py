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
    """A table of paper against ours with what it shows and a caption.

    One that is `brief` has ours on one line, and no lines below it that give reasons.
    """

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


@dataclass
class Report:
    """What stands on the page, from top to bottom. All texts are plain text: the page escapes them.

    Parameters
    ----------
    title, subtitle : str
    comparison : DataFrame, optional
        As `covid_keras.evaluation.compare` returns it.
    banner : str
        A warning across the top, such as that the images are synthetic; "" for none.
    facts : list of (name, value)
        What the reader must know first: data, profile, executions.
    table_titles : mapping
        Name of a published table ("V") to what it shows.
    comparison_figures : list of FigureEntry
        The comparison drawn; shown below its tables.
    tables, figures : lists of `TableEntry`, `FigureEntry` (or plain tuples of the same order)
        Shown after the comparison.
    sections : list of Section
    notes : list of (title, text)
        Deviations from the paper and doubts about it.
    citations : list of (text, url)
        The only links that leave the page; `url` is "" or starts with http:// or https://.
    provenance : mapping
        Versions, revision, device, seeds; may be nested.
    disclaimer : str
        Stands at the top and at the bottom.
    """

    title: str
    subtitle: str = ""
    comparison: pd.DataFrame | None = None
    banner: str = ""
    facts: list[tuple[str, Any]] = field(default_factory=list)
    table_titles: Mapping[str, str] = field(default_factory=dict)
    comparison_figures: list[FigureEntry] = field(default_factory=list)
    tables: list[TableEntry] = field(default_factory=list)
    figures: list[FigureEntry] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    citations: list[tuple[str, str]] = field(default_factory=list)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    disclaimer: str = DISCLAIMER
