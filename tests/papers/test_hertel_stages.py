"""The paper's ResUNet in a run: settings, division, training on the phantom, beside the shipped U-Net, what is kept."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from covid_keras.common.errors import UserError
from covid_keras.data.augment import Augmentation
from covid_keras.data.cohort import Cohort
from covid_keras.data.splits import read_split
from covid_keras.evaluation.overlap import read_overlap
from covid_keras.models.lungs import LungSegmenter
from covid_keras.training import lung_recipe, segmenters
from covid_keras.training.lung_split import SPLIT
from covid_keras.training.plan import missing_systems
from covid_keras.training.segmenter_runs import cache_of
from papers.hertel_ensemble import stages
from papers.hertel_ensemble.paper import PAPER
from papers.hertel_ensemble.resunet import ResUNetKind
from papers.hertel_ensemble.segmenter import SegmenterSettings, segmenter_settings
from papers.hertel_ensemble.stages import SEGMENTERS as RESUNET

pytestmark = pytest.mark.slow

TINY = {
    "cohort": {"cohen": 3, "cxnet": 4, "normal": 4, "pneumonia": 4, "size": 48},
    "options": {
        "masks": "resunet",
        "segmenter": {"filters": 2, "size": 16, "epochs": 1, "batch_size": 8, "learning_rate": 0.01},
    },
}


class Asked:
    """A run of which only the protocol and the cache may be looked at."""

    def __init__(self, protocol, cache) -> None:
        self.protocol, self.path, self.settings = protocol, cache, {"cache": str(cache / "prepared")}
        self.left_out: dict[str, str] = {}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Asked:
    """A run whose ResUNet is trained."""
    run = Asked(PAPER.protocol("smoke", TINY), tmp_path_factory.mktemp("cache"))
    RESUNET.finish(run.protocol, None, cache_of(run))
    return run


# --- settings


def test_the_defaults_are_the_papers():
    settings = segmenter_settings(PAPER.protocol("paper"))
    assert settings == SegmenterSettings()
    assert (settings.filters, settings.size, settings.epochs) == (64, 256, 45)
    assert ResUNetKind().augmentation(settings) == Augmentation.like_generator(
        rotation_range=180,
        width_shift_range=0.3,
        height_shift_range=0.3,
        shear_range=0.2,
        zoom_range=0.2,
        horizontal_flip=True,
    )


def test_a_mapping_of_augmentation_is_all_there_is():
    options = {"masks": "resunet", "segmenter": {"augmentation": {"rotation": 5.0, "flip": True}}}
    moved = ResUNetKind().augmentation(segmenter_settings(SimpleNamespace(options=options, paper="hertel_ensemble")))
    assert moved == Augmentation(rotation=5.0, flip=True)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"size": 100}, "multiple of 8"),
        ({"epochs": 0}, "epochs is 0"),
        ({"factor": 1.5}, r"factor is 1\.5"),
        ({"threshold": 1.0}, r"threshold is 1\.0"),
        ({"augmentation": {"brightness": [0.8, 1.2]}}, "masks too"),
        ({"filers": 8}, "Did you mean 'filters'"),
    ],
)
def test_what_cannot_be_trained_is_named(wrong, words):
    with pytest.raises(UserError, match=words):
        segmenter_settings(SimpleNamespace(options={"segmenter": wrong}, paper="hertel_ensemble"))


def test_the_shipped_u_net_marks_where_the_protocol_says_so(tmp_path):
    given = PAPER.protocol("smoke", TINY | {"options": TINY["options"] | {"masks": "shipped"}})
    assert RESUNET.segmenter(given, None, tmp_path) is None
    assert segmenter_settings(given).filters == 2, "it is trained and measured all the same"
    without = replace(given, options={"masks": "shipped"})
    assert segmenter_settings(without) is None
    run = Asked(without, tmp_path)
    RESUNET.finish(run.protocol, None, cache_of(run))
    assert RESUNET.done(run) == {}
    assert RESUNET.measured(run) == []
    assert RESUNET.published_files(run) == {}
    assert stages.compared_masks(run).empty
    assert not any(tmp_path.iterdir())
    with pytest.raises(UserError, match="resunet"):
        RESUNET.folder_of(without, tmp_path, "resunet")


def test_what_decides_the_resunet_decides_its_folder(tmp_path):
    def folder(profile: str, **changes):
        return RESUNET.folder_of(PAPER.protocol(profile, changes), tmp_path, "resunet")

    smoke, cpu = folder("smoke", **TINY), folder("cpu")
    assert folder("smoke", **TINY | {"cohort": TINY["cohort"] | {"seed": 5}}) != smoke
    assert folder("cpu", options={"segmenter": {"seed": 5}}) != cpu
    assert folder("cpu", split={"seed": 5}) != cpu
    assert folder("cpu", cohort={"cohen": 20}, systems=["vgg19_multi"]) == cpu, "it learns from all human masks"


def test_a_u_net_with_the_same_settings_stands_beside_it():
    protocol = PAPER.protocol("cpu")
    settings = RESUNET.settings(protocol)
    assert {"resunet", "unet"} <= set(protocol.systems)
    assert settings["resunet"] == settings["unet"]
    small = replace(settings["unet"], size=16, filters=2)
    resunet, unet = (RESUNET.kind(name).network(small) for name in ("resunet", "unet"))
    assert resunet.input_shape == unet.input_shape == (None, 16, 16, 1)
    assert resunet.count_params() != unet.count_params()
    with pytest.raises(UserError, match=r"segmenter\.size is 136"):
        RESUNET.settings(PAPER.protocol("cpu", {"options": {"segmenter": {"size": 136}}}))


# --- what it learns from


def test_the_stand_in_is_divided_as_the_shipped_u_net_was(tmp_path):
    protocol, split = PAPER.protocol("cpu"), read_split(SPLIT)
    parts = RESUNET.division(protocol, None, tmp_path)
    assert parts.to_dict() == dict(zip(split["image_id"], split["split"], strict=True))
    assert parts.value_counts().to_dict() == {"train": 362, "validation": 91}
    validation = Cohort(split[split["split"] == "validation"].assign(path="x", label="lungs"), ("lungs",), "some")
    known = stages._shipped_overlap("stand_in", validation)
    assert set(known["image_id"]) == set(validation.table["image_id"])


def test_patients_that_the_shipped_u_net_learnt_from_are_not_compared(tmp_path, monkeypatch):
    split = read_split(SPLIT)
    rows = [split[split["split"] == part].iloc[0] for part in ("train", "validation")]
    table = pd.DataFrame(rows).assign(path="x", label="lungs", source="darwin_v7_whole")
    seen = []

    def measure(model, cohort, threshold):
        seen.extend(cohort.table["patient_id"])
        return pd.DataFrame({"image_id": cohort.table["image_id"], "dice": 0.9, "iou": 0.8})

    monkeypatch.setattr(lung_recipe, "measure", measure)
    monkeypatch.setattr(LungSegmenter, "model", None)
    found = stages._shipped_overlap("published", Cohort(table, ("lungs",), "darwin_v7_whole"))
    assert seen == [rows[1]["patient_id"]]
    assert found["image_id"].tolist() == [rows[1]["image_id"]]


@pytest.mark.parametrize("profile", ["paper", "cpu"])
def test_masks_that_are_missing_are_named(tmp_path, profile):
    protocol = PAPER.protocol(profile)
    assert "Darwin V7" in RESUNET.missing(protocol, tmp_path)
    with pytest.raises(UserError, match="Darwin V7"):
        RESUNET.mask_cohort(protocol, tmp_path, tmp_path)
    assert RESUNET.missing(protocol, None) == "no data folder"
    with pytest.raises(UserError, match="has no system to run"):
        missing_systems(PAPER, protocol, tmp_path)
    RESUNET.finish(protocol, tmp_path, tmp_path)  # trains none: the classifiers were not for nothing


@pytest.mark.real
def test_the_stand_in_learns_from_all_human_masks(real_data, tmp_path):
    protocol = PAPER.protocol("cpu")
    assert RESUNET.missing(protocol, real_data) is None
    cohort = RESUNET.mask_cohort(protocol, real_data, tmp_path)
    assert set(cohort.table["image_id"]) == set(read_split(SPLIT)["image_id"])
    assert (cohort.table["mask_path"] != "").all()
    assert cohort.classes == ("lungs",)


# --- in a run


def test_it_is_trained_measured_and_compared(run, monkeypatch):
    folder = RESUNET.folder_of(run.protocol, cache_of(run), "resunet")
    assert RESUNET.done(run) == {"resunet": folder}
    table = read_overlap(folder)
    measured = {one.metric: one for one in RESUNET.measured(run)}
    assert set(measured) == {f"{name}_{part}" for name in ("dice", "iou") for part in ("train", "validation")}
    validation = table[table["part"] == "validation"]
    assert measured["dice_validation"].mean == pytest.approx(100 * validation["dice"].mean())
    assert {one.system for one in measured.values()} == {"resunet"}
    frame = stages.compared_masks(run)
    assert frame["image_id"].tolist() == validation["image_id"].tolist()
    assert frame["dice"].tolist() == validation["dice"].tolist()
    assert frame["dice_shipped"].between(0, 1).all()
    monkeypatch.setattr(segmenters._Training, "run", None)
    monkeypatch.setattr(lung_recipe, "measure", None)
    RESUNET.finish(run.protocol, None, cache_of(run))  # all is there: nothing is trained or measured again


def test_the_shipped_u_net_is_measured_on_the_same_images(run, tmp_path):
    cohort = RESUNET.mask_cohort(run.protocol, None, cache_of(run))
    frame = stages.compared_masks(run)
    one = cohort.filter(cohort.table["image_id"] == frame["image_id"][0])
    dice = lung_recipe.measure(LungSegmenter().model, one)["dice"][0]
    assert frame["dice_shipped"][0] == pytest.approx(dice, abs=1e-6)


def test_it_marks_the_lungs_of_the_run(run):
    found = RESUNET.segmenter(run.protocol, None, cache_of(run))
    assert (found.mode, found.threshold, found.clean) == ("hertel_ensemble resunet", 0.5, False)
    (mask,) = found.masks([np.random.default_rng(0).integers(0, 255, (30, 20)).astype(np.uint8)])
    assert mask.shape == (30, 20)


def test_what_is_published_gives_its_measures_again(run, tmp_path):
    files = RESUNET.published_files(run)
    assert set(files) == {"resunet/overlap.csv", "resunet/record.json", "resunet/shipped.csv"}
    for name, text in files.items():
        path = tmp_path / f"smoke-{name}"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert RESUNET.kept(tmp_path, "smoke") == RESUNET.measured(run)
    assert RESUNET.kept(tmp_path, "cpu") == []
    pd.testing.assert_frame_equal(stages.compared_masks(tmp_path / "smoke-resunet"), stages.compared_masks(run))
    with pytest.raises(UserError, match="resunet is not trained yet"):
        RESUNET.published_files(Asked(run.protocol, tmp_path / "elsewhere"))


def test_the_paired_difference_by_hand():
    frame = pd.DataFrame({"patient_id": ["a", "a", "b", "c"], "dice": [0.9, 0.8, 0.7, 0.6]})
    found = stages.paired_difference(frame.assign(dice_shipped=[0.8, 0.8, 0.8, 0.5]))
    assert found["mean"] == pytest.approx((0.1 + 0 - 0.1 + 0.1) / 4)
    assert found["low"] < found["mean"] < found["high"]
    counts = {name: found[name] for name in ("images", "patients", "wins", "losses", "ties")}
    assert counts == {"images": 4, "patients": 3, "wins": 2, "losses": 1, "ties": 1}
    with pytest.raises(ValueError, match="finite"):
        stages.paired_difference(frame.assign(dice_shipped=0.5)[:0])
