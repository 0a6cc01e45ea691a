"""The made papers (`tests.helpers.made_papers`), installed; cohorts and runs of theirs."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from covid_keras.common.files import write_text
from covid_keras.data.cohort import Cohort
from covid_keras.data.duplicates import PAIR_COLUMNS
from covid_keras.training.division import divide
from tests.helpers import made_papers

ROOT = Path(__file__).resolve().parents[2]
PAPERS = ("tiny", "further", "hooks", "choosing", "unfreezing")


@contextmanager
def installed(folder: Path) -> Iterator[Path]:
    """Register the made papers for this process and for those it starts; yield the folder of their entry points."""
    info = folder / "site" / "made_papers-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: made-papers\nVersion: 0.1\n")
    entries = [f"{name} = tests.helpers.made_papers:{name.upper()}" for name in PAPERS]
    (info / "entry_points.txt").write_text("\n".join(["[covid_keras.papers]", *entries, ""]))
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (info.parent, ROOT))))
        monkeypatch.syspath_prepend(str(info.parent))
        yield info.parent


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """Return a function that gives a made paper a folder that may be written, with published numbers of one table."""

    def published(name: str, columns: dict[str, str], rows: dict[str, tuple[str, list[str]]]) -> None:
        words = {"title": "Tiny", "authors": ["N. Obody"], "journal": "None", "year": "2026", "doi": "10.0/0"}
        table = {
            "table": "1",
            "title": "One table",
            "unit": "percent",
            "columns": [{"name": column, "metric": metric} for column, metric in columns.items()],
            "rows": [{"row": row, "system": system, "values": values} for row, (system, values) in rows.items()],
        }
        text = yaml.safe_dump({"paper": words | {"citation": "N. Obody, 2026"}, "tables": [table]})
        write_text(tmp_path / "paper" / "published.yaml", text)
        paper = getattr(made_papers, name.upper())
        monkeypatch.setattr(made_papers, name.upper(), dataclasses.replace(paper, folder=tmp_path / "paper"))

    return published


@pytest.fixture
def tiny_paper(tmp_path) -> Iterator[Path]:
    """The papers, installed."""
    with installed(tmp_path) as site:
        yield site


def _made(folder: Path, labels: str, classes: tuple[str, ...]) -> Cohort:
    """Two made images a patient; positives are brighter on the left, others on the right."""
    rng, rows = np.random.default_rng(3), []
    for i, label in enumerate(labels):
        image = rng.integers(60, 120, (32, 32)).astype(np.uint8)
        half = slice(16) if label == "P" else slice(16, 32)
        image[:, half] += np.uint8(60 * (label != "N"))
        path = folder / f"{i:02d}.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), image)
        rows.append(
            {
                "image_id": f"made/{i:02d}",
                "path": str(path),
                "patient_id": f"made/{i % 2}-{i // 4}",
                "source": "made",
                "label": {"o": "other"}.get(label, label),
                "severity": "Mild" if label == "P" else "",
            }
        )
    return Cohort(pd.DataFrame(rows), classes, "made")


@pytest.fixture
def tiny_cohort(tmp_path) -> Cohort:
    """24 made images of 12 patients; positives are brighter on one side."""
    return _made(tmp_path / "images", "NP" * 12, ("N", "P"))


@pytest.fixture
def third_cohort(tmp_path) -> Cohort:
    """The same, and 12 images of 6 patients of a third class, which nothing is scored on."""
    return _made(tmp_path / "images", "NP" * 12 + "o" * 12, ("N", "P", "other"))


@pytest.fixture
def uneven_cohort(tmp_path) -> Cohort:
    """44 made images of 24 patients: 22 N, 10 P, 12 of a third class."""
    return _made(tmp_path / "images", UNEVEN, ("N", "P", "other"))


UNEVEN = "NP" * 10 + "N" * 12 + "o" * 12


def _trained(what: str, *runs) -> str:
    """Train runs in one process that starts TensorFlow once (`tests.helpers.train`); return what it printed."""
    command = [sys.executable, "-m", "tests.helpers.train", what, *(str(run.path) for run in runs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _open(folder: Path, name: str, paper: str, cohort: Cohort, left_out=None, **changes):
    """Open the run folder `name` of a paper on a cohort."""
    from covid_keras.paper.registered import load_paper
    from covid_keras.training.runfolder import RunFolder

    protocol = load_paper(paper).protocol("smoke", changes)
    settings = {"cache": str(folder / "cache"), "strategy": "one", "precision": "float32", "left_out": left_out or {}}
    no_pairs = pd.DataFrame(columns=list(PAIR_COLUMNS))

    def splits() -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
        names = ("", *protocol.splits)
        return {one: divide(cohort, protocol.split_of(one), no_pairs) for one in names}, no_pairs

    return RunFolder.create(folder / name, protocol, cohort, splits, settings)


@pytest.fixture
def make_run(tmp_path, tiny_paper, tiny_cohort):
    """Return a function that opens a run folder of the tiny paper, or of the one and on the cohort given."""

    def make(name: str, paper: str = "tiny", cohort: Cohort = tiny_cohort, left_out=None, **changes):
        return _open(tmp_path, name, paper, cohort, left_out, **changes)

    return make


class Executed(NamedTuple):
    """Two runs of the paper `hooks`: one of several systems; one whose training `sigmoid` was stopped and resumed."""

    whole: object
    stopped: object
    said: str


@pytest.fixture(scope="module")
def executed(tmp_path_factory) -> Iterator[Executed]:
    """Train some systems of `hooks`, all in one process that starts TensorFlow once."""
    folder = tmp_path_factory.mktemp("executed")
    with installed(folder):
        cohort = _made(folder / "images", UNEVEN, ("N", "P", "other"))
        changes = {"training": {"epochs": 3, "repeats": 1}, "trainings": {"ignored": {"class_weights": "ignored"}}}
        names = ["a", "ignored", "product", "elsewhere", "ill"]
        runs = [_open(folder, name, "hooks", cohort, systems=names, **changes) for name in ("whole", "stopped")]
        yield Executed(*runs, _trained("stop_and_resume", *runs))


class Chosen(NamedTuple):
    """A run of the paper `choosing`, all trained, and the folder in which its systems noted what they saw."""

    run: object
    saw: Path


@pytest.fixture(scope="module")
def chosen(tmp_path_factory) -> Iterator[Chosen]:
    """Train the systems of `choosing` in one process; of two to choose from, `second` and `next` learn the more."""
    folder = tmp_path_factory.mktemp("chosen")
    with installed(folder), pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("TINY_SAW", str(folder))
        cohort = _made(folder / "images", "NP" * 24, ("N", "P"))
        poor = {"epochs": 1, "optimizer": {"learning_rate": 1e-6}}
        run = _open(
            folder, "run", "choosing", cohort, systems=["best", "apart"],
            split={"scheme": "hold_out", "folds": 1, "test": 0.3, "validation": 0.3},
            training={"epochs": 6, "augmentation": {"rotation": 0.0, "flip": False}},
            trainings={"first": poor, "other": poor, "apart": poor}, quick_start=True,
        )  # fmt: skip
        _trained("train_all", run)
        yield Chosen(run, folder)


class Unfrozen(NamedTuple):
    """Runs of the paper `unfreezing`.

    One of all systems, one of `still` on two devices, three whose training `staged` was stopped and resumed.
    """

    whole: object
    mirrored: object
    often: object
    seldom: object
    torn: object
    saw: Path
    said: str


@pytest.fixture(scope="module")
def unfrozen(tmp_path_factory) -> Iterator[Unfrozen]:
    """Train in one process: `staged` in epochs 0, 1-2, 3-5, 6-8; the later stages of `idle` learn nothing."""
    folder = tmp_path_factory.mktemp("unfrozen")
    with installed(folder), pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("TINY_SAW", str(folder))
        cohort = _made(folder / "images", "NP" * 16, ("N", "P"))
        unfreeze = {"epochs": 3, "patience": 3, "learning_rate": 0.01, "scratch": 1, "scratch_rate": 0.02}
        idle = {"epochs": 4, "patience": 2, "learning_rate": 1e-30, "scratch": 0}
        still = {
            "epochs": 1,
            "optimizer": {"name": "sgd", "learning_rate": 0.2},
            "unfreeze": {"epochs": 1, "learning_rate": 0.2, "scratch": 0},
        }
        changes = {
            "split": {"scheme": "hold_out", "folds": 1, "test": 0.3, "validation": 0.3},
            "training": {
                "epochs": 2,
                "monitor": "val_loss",
                "optimizer": {"name": "adam", "learning_rate": 0.03},
                "augmentation": {"rotation": 0.0, "flip": False},
                "unfreeze": unfreeze,
            },
            "trainings": {"idle": {"epochs": 3, "unfreeze": idle}, "still": still},
            "quick_start": True,
        }
        systems = (["mean", "vote", "still"], ["still"], ["staged"], ["staged"], ["staged"])
        names = ("whole", "mirrored", "often", "seldom", "torn")
        runs = [
            _open(folder, name, "unfreezing", cohort, systems=some, **changes)
            for name, some in zip(names, systems, strict=True)
        ]
        yield Unfrozen(*runs, folder, _trained("unfreeze_and_resume", *runs))
