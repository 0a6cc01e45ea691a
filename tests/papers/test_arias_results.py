"""The committed results of Arias-Garzón et al.: metrics made again from what is published, and what they must hold."""

from __future__ import annotations

import pandas as pd
import pytest

from covid_keras.common.files import read_json
from covid_keras.evaluation import measured_from_json, summarise
from covid_keras.paper.registered import load_paper
from covid_keras.reporting.publish import regenerated
from papers.arias_vgg19.experiment import CONTROLS, DEPTHS, PAPER, PARTS
from papers.arias_vgg19.networks import VERDICTS
from papers.arias_vgg19.settings import UNETS

FOLDER = PAPER.folder / "results"

pytestmark = pytest.mark.skipif(
    not (FOLDER / "cpu.json").is_file(), reason="papers/arias_vgg19/results/cpu.json is not committed yet"
)

EXPERIMENTS = ("exp1", "exp3")


@pytest.fixture(scope="module")
def results() -> dict:
    return read_json(FOLDER / "cpu.json")


@pytest.fixture(scope="module")
def frames() -> list[pd.DataFrame]:
    return regenerated(PAPER, "cpu")


@pytest.fixture(scope="module")
def systems(frames) -> dict[str, pd.DataFrame]:
    return {name: part for frame in frames for name, part in frame.groupby("system")}


def test_every_metric_follows_from_the_committed_files(results, frames):
    again = [one for frame in frames for one in (*summarise(frame, PAPER.positive or None), *PAPER.measure(frame))]
    again += PAPER.kept(FOLDER, "cpu")
    committed = {(one.system, one.metric): one for one in measured_from_json(results)}
    assert {(one.system, one.metric) for one in again} == set(committed)
    for one in again:
        theirs = committed[one.system, one.metric]
        for name in ("mean", "std", "low", "high", "executions", "n_patients", "n_images"):
            expected = pytest.approx(getattr(theirs, name), abs=1e-6, nan_ok=True)
            assert getattr(one, name) == expected, (one.system, one.metric, name)


def test_every_row_of_the_profile_is_there(results):
    systems = results["systems"]
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
        system = load_paper("arias").system(name)
        scores = [column for column in systems[name].columns if column.startswith("score_")]
        for fold, mine in systems[name].groupby("fold"):
            among = {}
            for one in system.choose:
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
