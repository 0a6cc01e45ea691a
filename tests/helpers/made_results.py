"""Results made of predictions at hand, and what a report's sections show of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pandas as pd

from covid_keras.data.cohort import Cohort
from covid_keras.evaluation import Measured, PublishedCell, load_published, summarise
from covid_keras.paper.paper import Paper
from covid_keras.reporting.document import Section
from covid_keras.reporting.results import report_of
from covid_keras.training.executions import Execution


def made_run(paper: Paper, cohort: Cohort, parts: pd.Series | None = None, **more: Any) -> SimpleNamespace:
    """What the sections and figures of a paper read of a run whose images lie in `parts`, whatever the fold."""
    run = SimpleNamespace(paper=paper, cohort=cohort, part=lambda repeat, fold, split="": parts, **more)
    run.execution = lambda system, repeat=0, fold=0: Execution(run, paper.system(system), repeat, fold)
    return run


class MadeResults:
    """What the sections of a paper read of `Results`; intervals are of fifty resamples.

    Parameters
    ----------
    frames
        Predictions by system.
    run
        What the sections read of the run: its cohort, protocol and parts.
    further
        What was measured beside the predictions.
    executions
        Executions and their records by system, where the sections read them.
    """

    def __init__(
        self,
        paper: Paper,
        frames: Mapping[str, pd.DataFrame],
        run: Any,
        further: Iterable[Measured] = (),
        executions: Mapping[str, list] = MappingProxyType({}),
    ) -> None:
        self.paper, self.frames, self.run, self.executions = paper, frames, run, executions
        self.systems = {name: paper.system(name).title for name in frames}
        report = report_of(paper)
        self.measured = [one for frame in frames.values() for one in (*summarise(frame, n=50), *report.measure(frame))]
        self.measured += further
        self.published: list[PublishedCell] = load_published(paper.folder / "published.yaml")

    def predictions_of(self, system: str) -> pd.DataFrame:
        return self.frames[system]

    def executions_of(self, system: str) -> list:
        return self.executions.get(system, [])

    def classes_of(self, system: str) -> tuple[str, ...]:
        return self.paper.system(system).classes


def table(sections: Iterable[Section], title: str) -> pd.DataFrame:
    """The table of that title."""
    return next(entry.frame for section in sections for entry in section.tables if entry.title == title)


def text_of(sections: Iterable[Section], title: str) -> str:
    """The text of the section of that title."""
    return next(section.text for section in sections if section.title == title)


def mean_of(cell: str) -> float:
    """The number of a cell that an interval may follow."""
    return float(cell.split("\n")[0].split(" ±")[0].replace("−", "-"))


def interval_of(cell: str) -> tuple[float, float]:
    """The interval of such a cell."""
    low, high = cell.split("\n")[1].removesuffix(" exact").strip("[]").replace("−", "-").split(", ")
    return float(low), float(high)
