"""`covid-keras check-split`: its words, its JSON, its status."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from covid_keras.commands.main import main
from tests.helpers.collections import lines, picture
from tests.helpers.command import fails


@pytest.fixture
def split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six images of five patients, patient 1 and one picture in both parts; one file damaged."""
    monkeypatch.chdir(tmp_path)
    for number, seed in enumerate((0, 1, 2, 3, 2, 5)):
        picture(tmp_path / "images" / f"{number}.png", 64, seed=seed)
    (tmp_path / "images" / "5.png").write_bytes(b"x")
    rows = ("0.png,1,train", "1.png,2,train", "2.png,3,train", "3.png,1.0,test", "4.png,4,test", "5.png,5,test")
    return lines(tmp_path / "split.csv", "image,patient,part", *rows)


def test_leaks_are_counted_named_and_written(split: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-split", "split.csv", "--images", "images", "--out", "leaks.csv"]) == 1
    out = capsys.readouterr().out
    assert "LEAK between train and test: 1 patient, 1 pair of near-duplicates" in out
    assert "train: 3 images of 3 patients" in out
    for words in ("patients: 1\n", "near-duplicates: 2.png = 4.png", "5.png (", "Output: leaks.csv"):
        assert words in out
    assert len(out.splitlines()) < 24
    table = pd.read_csv("leaks.csv")
    assert table[["kind", "image_a", "image_b"]].to_numpy().tolist() == [
        ["patient", "0.png", "3.png"],
        ["near-duplicate", "2.png", "4.png"],
    ]


def test_json_holds_the_same(split: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-split", "split.csv", "--images", "images", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["leaks"] is True
    assert said["patients"] == ["1"]
    assert said["between"][0]["near-duplicate"] == 1
    assert list(said["images_unreadable"]) == ["5.png"]


def test_a_sound_split_ends_well_and_says_what_was_not_checked(split: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split.write_text(split.read_text().replace("1.0,test", "6,test"))
    assert main(["check-split", "split.csv"]) == 0
    out = capsys.readouterr().out
    assert "Nothing shared between the parts" in out
    assert "near-duplicates not searched for" in out


def test_what_cannot_be_checked_is_an_error(split: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines(split, "image,part", "0.png,train", "1.png,test")
    assert "--patient" in fails(capsys, "check-split", "split.csv")
    assert main(["check-split", "split.csv", "--images", "images"]) == 0
    assert "patients not checked" in capsys.readouterr().out
    assert "is a folder" in fails(capsys, "check-split", "split.csv", "--out", "images")
    lines(split, "image,patient,part", *(f"{n}.png,p,{n}" for n in range(201)))
    assert "201 parts" in fails(capsys, "check-split", "split.csv")
