"""What a paper's report has of its own, beside what follows from any run: notes, comparisons, sections, pictures."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from covid_keras.evaluation import Measured
from covid_keras.paper.paper import Paper
from covid_keras.reporting.document import Section
from covid_keras.training.runfolder import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from covid_keras.reporting.examples import Examples
    from covid_keras.reporting.results import Results

Pictures = list[tuple[str, str, "Figure"]]


@dataclass(frozen=True)
class PaperReport:
    """The report of a paper; a paper that measures or shows something of its own overrides the methods.

    Attributes
    ----------
    notes : tuple of (title, text)
        What the reader must know before believing a number; every report and its page show them.
    proposed : tuple of str
        The paper's own systems: each of the others is compared with them on the same patients; all pairs where empty.
    pairs : tuple of (str, str)
        The pairs of systems whose difference is shown, the first minus the second; those of `proposed` where None.
    leaks : tuple of (str, str)
        Systems on a division that leaks as published, each with its twin on a disjoint one: their difference is shown.
    heat_pairs : tuple of (str, str)
        Systems whose share of heat in the lungs is compared over their whole test set.
    pictures : mapping
        System to a function of `covid_keras.reporting.examples.Examples` that returns a list of (title, caption,
        `matplotlib.figure.Figure`): what the report shows of the example images beside the heat maps.
    evidence_notes : mapping
        System to what the map of a class is a map of, where that is not simply the class's logit.
    """

    notes: tuple[tuple[str, str], ...] = ()
    proposed: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] | None = None
    leaks: tuple[tuple[str, str], ...] = ()
    heat_pairs: tuple[tuple[str, str], ...] = ()
    pictures: Mapping[str, Callable[[Examples], Pictures]] = field(default_factory=dict)
    evidence_notes: Mapping[str, str] = field(default_factory=dict)

    def measure(self, predictions: pd.DataFrame) -> list[Measured]:
        """Return further metrics that the paper prints, of the predictions of one set of classes."""
        return []

    def measured_beside(self, run: RunFolder) -> list[Measured]:
        """Return what was measured of what the paper trains beside its systems, as far as that is done."""
        return []

    def measured_from(self, folder: Path, profile: str) -> list[Measured]:
        """Return the same, made again from the files that were published into a folder of results."""
        return []

    def published_files(self, run: RunFolder) -> dict[str, str]:
        """Return {file name: text} of what is published beside the predictions; names follow the profile's."""
        return {}

    def sections(self, results: Results) -> list[Section]:
        """Return the sections that only this paper's report has."""
        return []


def report_of(paper: Paper) -> PaperReport:
    """Return the `REPORT` of the module that a paper names as its report; the plain one where it names none."""
    return importlib.import_module(paper.report).REPORT if paper.report else PaperReport()
