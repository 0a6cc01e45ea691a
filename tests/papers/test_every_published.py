"""What holds of the published numbers of every paper: how many there are, and that rows of ours answer to theirs."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from covid_keras.evaluation import load_citation, summarise
from covid_keras.evaluation.comparison import COMPLEMENTS
from covid_keras.paper import load_paper
from covid_keras.published.cells import load_titles
from tests.helpers.printed import Printed, printed

PARTS = ("train", "validation", "test")


class Facts(NamedTuple):
    """Cells, of these compared, lost, doubted, with a standard deviation, with an interval, and with another target.

    `mean` and `std` are the sums of all numbers, so that none changes unseen.
    """

    cells: int
    compared: int
    lost: int
    doubts: int
    stds: int
    intervals: int
    moved: int
    mean: float
    std: float
    units: dict[str, int]
    authors: int


KNOWN = {
    "arias_vgg19": Facts(
        218, 124, 0, 141, 0, 0, 3, 67648.5803, 0, {"ratio": 127, "count": 57, "percent": 30, "number": 4}, 11
    ),
    "covid_cxnet": Facts(
        186, 64, 0, 64, 0, 6, 2, 7199720.4959, 0,
        {"count": 98, "text": 41, "ratio": 29, "percent": 14, "number": 3, "points": 1}, 5,
    ),
    "covid_sdnet": Facts(
        197, 104, 0, 47, 104, 0, 10, 38376.325, 629.47,
        {"percent": 162, "count": 31, "number": 2, "points": 2}, 13,
    ),
    "hertel_ensemble": Facts(
        230, 106, 110, 67, 0, 0, 0, 95785.247, 0,
        {"percent": 124, "count": 84, "ratio": 13, "points": 5, "number": 4}, 2,
    ),
}  # fmt: skip
# What a paper's own networks for lungs are measured by, beside predictions.
SEGMENTERS = {"unet1", "unet2", "unet3", "resunet"}


@pytest.fixture(params=KNOWN)
def paper(request) -> str:
    return request.param


@pytest.fixture
def theirs(paper) -> Printed:
    return printed(paper)


def test_no_number_is_lost_or_changed_unseen(paper, theirs):
    cells, held = theirs.cells, [cell for cell in theirs.cells if not np.isnan(cell.mean)]
    authors = load_citation(theirs.path)["authors"]
    assert KNOWN[paper] == Facts(
        len(cells),
        len({(cell.table, cell.system, cell.metric) for cell in cells if cell.system}),
        sum(cell.lost for cell in cells),
        sum(bool(cell.doubt) for cell in cells),
        sum(cell.std is not None for cell in cells),
        sum(cell.low is not None for cell in cells),
        len(theirs.moved()),
        round(sum(cell.mean for cell in held), 4),
        round(sum(cell.std or 0 for cell in cells), 4),
        {unit: sum(cell.unit == unit for cell in cells) for unit in {cell.unit for cell in cells}},
        len(authors),
    )
    assert all(cell.doubt for cell in held if cell.target != cell.value), "another target needs a reason"
    assert all(np.isnan(cell.mean) and np.isnan(cell.target) for cell in cells if cell.lost)


def test_every_table_has_a_title_and_the_paper_is_the_one_of_the_file(paper, theirs):
    assert set(load_titles(theirs.path)) == {cell.table for cell in theirs.cells}
    entry, experiment = load_citation(theirs.path), load_paper(paper)
    assert (entry["doi"], entry["title"].lower()) == (experiment.doi, experiment.title.lower())


@pytest.mark.parametrize("paper", ["arias_vgg19", "covid_cxnet", "hertel_ensemble"])
def test_the_readme_says_how_many_there_are(paper, theirs):
    text = " ".join(theirs.path.with_name("README.md").read_text(encoding="utf-8").split())
    lost = sum(cell.lost for cell in theirs.cells)
    assert f"{len(theirs.cells) - lost} printed" in text
    assert not lost or f"{lost} cells" in text


def test_every_row_that_is_compared_is_a_system_of_ours_and_its_metric_is_measured(paper, theirs):
    experiment, two = load_paper(paper), SimpleNamespace(classes=("N", "P"))
    named = {cell.system for cell in theirs.cells} - {"", *SEGMENTERS}
    assert named <= {system.name for system in experiment.systems}
    report = importlib.import_module(f"papers.{paper}.report").REPORT
    levels = sorted({c.metric.removeprefix("accuracy_") for c in theirs.of("VI") if c.metric.startswith("accuracy_")})
    for name in named:
        frame = predictions_of(experiment.scored_of(experiment.system(name), two), levels)
        known = {one.metric for one in (*summarise(frame, n=10), *report.measure(frame))} | set(COMPLEMENTS)
        assert {cell.metric for cell in theirs.cells if cell.system == name} - {""} <= known, name


def predictions_of(classes: tuple[str, ...], levels: list[str]) -> pd.DataFrame:
    """Return predictions of an image of each part, class and level of severity, all right."""
    rows = [
        {"image_id": f"{part}{name}{level}", "path": "a.png", "source": "s", "severity": level, "system": "net",
         "repeat": 0, "fold": 0, "split": part, "label": name, "predicted": name,
         **{f"score_{other}": float(other == name) for other in classes}}
        for part in PARTS for place, name in enumerate(classes) for level in (levels if place and levels else [""])
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    return frame.assign(patient_id=frame["image_id"])
