"""COVID-CXNet's profiles: `paper` is the paper's, its split gives the printed row sums, typing errors are named."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from covid_keras.common.errors import UserError
from covid_keras.data.cohort import Cohort
from covid_keras.evaluation import load_published
from covid_keras.paper.registered import load_paper
from covid_keras.training.division import divide
from papers.covid_cxnet.cohorts import CAP, CLASSES, COVID, NORMAL
from papers.covid_cxnet.experiment import DISJOINT, LEAKY, PAPER
from papers.covid_cxnet.report import REPORT
from papers.covid_cxnet.settings import options_of

PROFILES = ("paper", "cpu", "smoke")
NO_PAIRS = pd.DataFrame({"image_id_a": [], "image_id_b": []})


# --- profiles


def test_the_three_profiles_load_the_most_demanding_first():
    assert tuple(PAPER.profiles) == PROFILES
    for name in PROFILES:
        protocol = PAPER.protocol(name)
        assert (protocol.paper, protocol.profile, protocol.tolerance) == ("covid_cxnet", name, 1.0)
        for system in protocol.systems:
            assert PAPER.system(system).repeats(protocol) >= 1
            assert PAPER.system(system).folds(protocol) == 1
    assert load_paper("haghanifar") is load_paper("covid_cxnet") is PAPER


def test_the_paper_profile_runs_every_system_on_the_papers_counts():
    protocol = PAPER.protocol("paper")
    assert set(protocol.systems) == {system.name for system in PAPER.systems}
    assert (protocol.size, protocol.weights, protocol.split.repeats) == ((320, 320), "imagenet", 10)
    images = {name: protocol.split_of(name).images for name in ("", "small", "base", "binary")}
    assert images == {
        "": {COVID: 700, CAP: 0, NORMAL: 3500},
        "small": {COVID: 300, NORMAL: 300},
        "base": {COVID: 400, NORMAL: 3000},
        "binary": {COVID: 428, NORMAL: 3200},
    }
    assert protocol.cohort["whole"]
    options = options_of(protocol)
    assert (options.frame, options.base_v1, options.base_v2) == ((320, 320), (400, 400), (320, 320))
    assert (options.order, options.overflow) == (("beasf", "clahe", "original"), "clip")
    assert (options.roi.dilate, options.roi.margin_pixels, options.batchnorm_momentum) == ((5, 3), 10, None)


@pytest.mark.parametrize(
    ("name", "epochs", "batch", "rate", "smoothing", "weights"),
    [
        ("base_v1", 100, 32, 1e-3, 0.0, "none"),
        ("base_v2", 120, 32, 1e-3, 0.0, "balanced"),
        ("cxnet_v1", 10, 16, 1e-3, 0.0, "balanced"),
        ("cxnet_v2", 10, 16, 1e-3, 0.1, "balanced"),
        ("flat", 30, 16, 1e-4, 0.1, "balanced"),
        ("level1", 10, 16, 1e-4, 0.1, "none"),
        ("level2", 20, 16, 1e-4, 0.1, "none"),
    ],
)
def test_the_paper_profile_trains_as_the_paper(name, epochs, batch, rate, smoothing, weights):
    protocol = PAPER.protocol("paper")
    training = PAPER.system(name).training(protocol)
    assert (training.epochs, training.batch_size, training.optimizer.learning_rate) == (epochs, batch, rate)
    assert (training.label_smoothing, training.class_weights, training.optimizer.name) == (smoothing, weights, "adam")
    assert training.monitor == ("val_accuracy" if name == "base_v1" else "val_loss")
    assert training.augmentation.rotation == (170 if smoothing else 90)
    assert training.augmentation.flip
    assert training.augmentation.vertical_flip
    # ImageDataGenerator's zoom [0.8, 1.5] is a factor of the field of view.
    assert training.augmentation.zoom == ((0.667, 1.25) if smoothing else (1.0, 1.0))


def test_every_leaky_row_has_a_disjoint_twin_trained_alike():
    for profile in PROFILES:
        protocol = PAPER.protocol(profile)
        for system in DISJOINT:
            leaky = PAPER.system(system.name + LEAKY)
            assert leaky.training(protocol) == system.training(protocol)
            leaks, disjoint = protocol.split_of(leaky.split), protocol.split_of(system.split)
            assert leaks.chosen_on_test
            assert not disjoint.leaky_as_published
            assert (disjoint.scheme, leaks.test, leaks.seed) == ("hold_out", disjoint.test, 18)
            assert leaks.images == disjoint.images or leaky.name not in protocol.systems
    assert REPORT.leaks == tuple((system.name + LEAKY, system.name) for system in DISJOINT)


def test_every_published_system_is_one_of_ours():
    named = {cell.system for cell in load_published(PAPER.folder / "published.yaml") if cell.system}
    assert named <= {system.name for system in PAPER.systems}
    assert {system.name for system in DISJOINT if not system.name.startswith("level")} <= named


# --- splits on a cohort of the paper's size


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    """700 COVID-19, 3,500 CAP and 3,500 normal images in the authors' order; no files."""
    labels = [COVID] * 700 + [CAP] * 3500 + [NORMAL] * 3500
    ids = [f"i{number:04d}" for number in range(len(labels))]
    return Cohort(pd.DataFrame({"image_id": ids, "path": ids, "patient_id": ids, "label": labels}), CLASSES)


def _tested(cohort, name: str) -> dict[str, int]:
    table = divide(cohort, PAPER.protocol("paper").split_of(name), NO_PAIRS)
    assert table["repeat"].nunique() == 10
    return table[(table["repeat"] == 0) & (table["split"] == "test")]["label"].value_counts().to_dict()


def test_the_binary_split_is_that_of_table_3(cohort):
    printed = {cell.actual: 0 for cell in load_published(PAPER.folder / "published.yaml") if cell.table == "3"}
    for cell in load_published(PAPER.folder / "published.yaml"):
        if cell.table == "3":
            printed[cell.actual] += cell.mean
    assert _tested(cohort, "binary_leaky") == printed == {NORMAL: 645, COVID: 81}


def test_the_splits_of_other_tables_cannot_be_had_again(cohort):
    """Table 4 prints 724, 672 and 144; seed 18 gives other row sums on the counts of the text, of the same total."""
    found = _tested(cohort, "three_leaky")
    assert found == {NORMAL: 691, CAP: 710, COVID: 139}
    assert sum(found.values()) == 724 + 672 + 144
    assert sum(_tested(cohort, "base_leaky").values()) == 680


def test_every_split_that_the_smoke_profile_trains_on_can_be_made_of_its_phantom():
    protocol = PAPER.protocol("smoke")
    labels = [COVID] * protocol.cohort["covid"] + [CAP] * protocol.cohort["cap"] + [NORMAL] * protocol.cohort["normal"]
    ids = [f"i{number:03d}" for number in range(len(labels))]
    phantom = Cohort(pd.DataFrame({"image_id": ids, "path": ids, "patient_id": ids, "label": labels}), CLASSES)
    for name in {PAPER.system(system).split for system in protocol.systems}:
        assert len(divide(phantom, protocol.split_of(name), NO_PAIRS)) > 0, name


@pytest.mark.parametrize("name", ["", "binary"])
def test_disjoint_splits_hold_out_a_fifth_of_each_class(cohort, name):
    table = divide(cohort, PAPER.protocol("paper").split_of(name), NO_PAIRS)
    one = table[table["repeat"] == 3]
    assert set(one["split"]) == {"train", "validation", "test"}
    shares = one.groupby("label")["split"].value_counts(normalize=True)
    for label in one["label"].unique():
        assert shares[label, "test"] == pytest.approx(0.2, abs=0.01)
        assert shares[label, "validation"] == pytest.approx(0.1, abs=0.01)


def test_repeats_share_one_division(cohort):
    for name in ("small", "small_leaky"):
        table = divide(cohort, PAPER.protocol("paper").split_of(name), NO_PAIRS)
        parts = table.pivot(index="image_id", columns="repeat", values="split").to_numpy()
        assert np.all(parts == parts[:, :1])


# --- what is misspelt is named


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fram": [1, 1]}, r"unknown key 'fram'.*Did you mean 'frame'"),
        ({"roi": {"dilat": [5, 3]}}, r"unknown key 'dilat' in options\.roi.*Did you mean 'dilate'"),
        ({"baselines": {"size": 96}}, r"unknown key 'size' in options\.baselines"),
        ({"roi": {"mode": "author"}}, "mode"),
        ({"overflow": "wraps"}, "overflow"),
    ],
)
def test_unknown_options_are_named(options, words):
    with pytest.raises(UserError, match=words):
        options_of(PAPER.protocol("smoke", {"options": options}))
