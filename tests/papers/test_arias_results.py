"""The committed results of Arias-Garzón et al.: what they must hold. That they follow from the committed files is asked
of every paper in `tests/reporting/test_publish.py`."""

from __future__ import annotations

import pandas as pd
import pytest

from covid_keras.common.files import read_json
from covid_keras.reporting.results import Results
from papers.arias_vgg19.experiments import CONTROLS, PARTS
from papers.arias_vgg19.networks import VERDICTS
from papers.arias_vgg19.paper import PAPER
from papers.arias_vgg19.settings import UNETS
from papers.arias_vgg19.systems import DEPTHS

FOLDER = PAPER.folder / "results"
EXPERIMENTS = ("exp1", "exp3")


@pytest.fixture(scope="module")
def systems() -> dict[str, pd.DataFrame]:
    return {name: part for frame in Results.committed(PAPER, "cpu").frames for name, part in frame.groupby("system")}


def test_every_row_of_the_profile_is_there():
    systems = read_json(FOLDER / "cpu.json")["systems"]
    assert set(systems) == set(PAPER.protocol("cpu").systems) | set(UNETS)
    for name in (f"{experiment}_{part}" for experiment in EXPERIMENTS for part in PARTS):
        for one in (name, *(f"{name}{depth}" for depth in DEPTHS)):
            assert systems[one]["metrics"]["accuracy"]["executions"] == 5
        assert "accuracy_faulty" in systems[name]["metrics"]
        assert "accuracy_train" in systems[f"{name}16"]["metrics"]
    for name in UNETS:
        assert 0 < systems[name]["metrics"]["dice_validation"]["mean"] <= 100
        assert "iou_published_validation" in systems[name]["metrics"]


def test_a_choice_repeats_what_it_chose_fold_by_fold(systems):
    for name in ("view", *(f"{experiment}_{part}" for experiment in EXPERIMENTS for part in PARTS)):
        system = PAPER.system(name)
        scores = [column for column in systems[name].columns if column.startswith("score_")]
        for fold, mine in systems[name].groupby("fold"):
            among = {}
            for one in system.candidates:
                other = systems[one][(systems[one]["fold"] == fold) & systems[one]["split"].isin(set(mine["split"]))]
                assert other["image_id"].tolist() == mine["image_id"].tolist()
                same = (other[scores].round(4).to_numpy() == mine[scores].round(4).to_numpy()).mean()
                validation = other[other["split"] == "validation"]
                among[one] = ((validation["label"] == validation["predicted"]).mean(), same)
            assert max(right for right, same in among.values() if same > 0.99) == max(
                right for right, _ in among.values()
            ), (name, fold)


def test_only_what_the_published_verdicts_let_through_was_classified(systems):
    said = pd.read_csv(FOLDER / f"cpu-{VERDICTS}", dtype={"filter": str})
    passed = said[said["frontal"] >= 0.5].groupby("fold")["image_id"].agg(set)
    for name in (f"{experiment}_{part}{depth}" for experiment in EXPERIMENTS for part in PARTS for depth in DEPTHS):
        for fold, mine in systems[name].groupby("fold"):
            assert set(mine["image_id"]) <= passed[fold], (name, fold)
    for experiment in EXPERIMENTS:
        images = [set(zip(frame["fold"], frame["image_id"], strict=True))
                  for frame in (systems[f"{experiment}_{part}16"] for part in PARTS)]  # fmt: skip
        assert images[0] == images[1] == images[2], "parts are compared on the same images"


def test_each_image_is_tested_at_most_once_and_no_patient_on_both_sides(systems):
    for name, frame in systems.items():
        assert frame.loc[frame["split"] == "test", "image_id"].is_unique, name
        assert (frame.groupby(["fold", "patient_id"])["split"].nunique() == 1).all(), name
    for name in CONTROLS:
        tested = [set(systems[f"{name}_{part}"].query("split == 'test'")["image_id"]) for part in PARTS]
        assert tested[0] == tested[1] == tested[2]


def test_no_picture_is_committed():
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".csv"}
    assert not any(
        "/" in text for path in files if path.name.endswith("record.json") for text in _texts(read_json(path))
    )


def _texts(value) -> list[str]:
    """The values of a record that are absolute paths, wherever they are."""
    if isinstance(value, dict):
        return [text for one in value.values() for text in _texts(one)]
    if isinstance(value, list):
        return [text for one in value for text in _texts(one)]
    return [value] if isinstance(value, str) and value.startswith("/") else []
