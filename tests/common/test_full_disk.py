"""A disk that fills up is one line, and leaves no half of an output behind."""

from __future__ import annotations

import os
import subprocess
import sys

import pandas as pd
import pytest

from covid_keras.common.files import staged, write_json
from covid_keras.common.tables import write_table
from covid_keras.data.cohort import Cohort
from covid_keras.data.images import write_image
from covid_keras.data.splits import write_split
from covid_keras.data.store import Store
from covid_keras.evaluation import write_predictions
from tests.helpers.command import fails
from tests.helpers.disk import full_disk
from tests.helpers.images import smooth_noise
from tests.helpers.predictions import make_predictions
from tests.helpers.refusals import refused

pytestmark = pytest.mark.timeout(120)

COMMANDS = (
    ("audit", "tabik", "--out", "cells.csv"),
    ("check-split", "split.csv", "--out", "leaks.csv"),
    ("claims", "tabik", "--csv", "claims.csv"),
    ("claims", "tabik", "--json", "claims.json"),
    ("ensemble", "one.csv", "two.csv", "--weights", "equal", "--out", "out"),
    ("evaluate", "own.csv", "--positive", "P", "--out", "out"),
    ("data", "overlap", "in", "--out", "pairs.csv"),
)


def files(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("room", [0, 200])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_leaves_what_was_there(command, room, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "in").mkdir()
    for name in "ab":
        write_image(tmp_path / "in" / f"{name}.png", smooth_noise(0, 64, 64))
    ids = [f"image{number:03d}" for number in range(40)]
    part = pd.DataFrame({"image": ids, "patient": ids})
    write_table(tmp_path / "split.csv", pd.concat([part.assign(split="train"), part.assign(split="test")]))
    frame = make_predictions(list("NP") * 20, [0.1, 0.8] * 20)
    for name in ("one", "two"):
        write_predictions(tmp_path / f"{name}.csv", frame.assign(system=name))
    write_table(tmp_path / "own.csv", pd.DataFrame({"image": ids, "label": list("NP") * 20, "score": [0.1, 0.9] * 20}))
    (tmp_path / command[-1]).write_text("old") if "." in command[-1] else None
    before = files(tmp_path)
    with full_disk(room):
        fails(capsys, *command, printed=None)
    assert files(tmp_path) == before


def test_a_writer_leaves_what_was_there(tmp_path):
    row = {"image_id": "a", "path": "/a", "patient_id": "p", "label": "N", "source": "made"}
    split = pd.DataFrame(
        {"image_id": ["a" * 99], "split": "test", "repeat": 0, "fold": 0, "patient_id": "p", "label": "N"}
    )
    before = files(tmp_path)
    with full_disk(50):
        refused("x.csv", Cohort(pd.DataFrame([row]), ("N",), "x").to_csv, tmp_path / "x.csv")
        refused("x.json", write_json, tmp_path / "x.json", {"a": "b" * 100})
        refused("x.csv", write_split, tmp_path / "x.csv", split)
        refused("x.png", write_image, tmp_path / "x.png", smooth_noise(0, 64, 64))
        refused("raw", Store(tmp_path / "store").put, "key", bytes(100))
        refused("x.csv", write_predictions, tmp_path / "x.csv", make_predictions(["N"], [0.1]))
    assert files(tmp_path) == before


def test_the_file_is_named_that_would_have_been_written(tmp_path):
    def write() -> None:
        with staged(tmp_path / "out") as folder:
            write_json(folder / "sub" / "x.json", {"a": "b" * 100})

    with full_disk(50):
        assert str(tmp_path / "out" / "sub" / "x.json") in refused("x.json", write)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no such device")
def test_output_that_cannot_be_printed_is_one_line():
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "covid_keras", "papers"]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("covid-keras: error: ")
    assert ended.stderr.count("\n") == 1
