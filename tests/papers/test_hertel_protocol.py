"""Hertel & Benlamri: what the profiles set, which systems there are and on which images, what is refused beforehand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covid_keras.common.errors import UserError
from covid_keras.data import samplewise_standardize
from covid_keras.data.cohort import Cohort
from covid_keras.evaluation import compute_metrics
from covid_keras.evaluation.ensembles import Combined
from covid_keras.paper.protocol import Protocol
from covid_keras.paper.registered import load_paper
from covid_keras.paper.unfreezing import stages_of
from covid_keras.training.division import divide
from covid_keras.training.plan import missing_systems
from papers.hertel_ensemble import cohorts as labels
from papers.hertel_ensemble import networks
from papers.hertel_ensemble.cohorts import COVIDGR, PUBLISHED, STAND_IN, settings_of
from papers.hertel_ensemble.experiment import BINARY, COVID, MULTI, NEGATIVE, NORMAL, PAPER, PNEUMONIA, TASKS
from papers.hertel_ensemble.networks import NETWORKS
from papers.hertel_ensemble.report import REPORT
from papers.hertel_ensemble.settings import EnsembleSettings, options_of

PROFILES = ("paper", "cpu", "smoke")
MEMBERS = tuple(NETWORKS)
ENSEMBLES = ("average", "vote")
NO_PAIRS = pd.DataFrame({"image_id_a": [], "image_id_b": []})
COVID_LABELS = {
    labels.COVID_COVIDX, labels.COVID_RICORD, labels.COVID_BIMCV, labels.COVID_COHEN, labels.COVID_CXNET
}  # fmt: skip


def _called(name: str) -> dict[str, set[str]]:
    """The cohort's labels that a system learns from, by its class."""
    system = PAPER.system(name)
    known = dict(system.relabel) | {label: label for label in system.classes if label in (NORMAL, PNEUMONIA)}
    return {one: {label for label, called in known.items() if called == one} for one in system.classes}


# --- profiles


def test_the_three_profiles_load_the_most_demanding_first():
    assert tuple(PAPER.profiles) == PROFILES
    kinds = []
    for name in PROFILES:
        protocol = PAPER.protocol(name)
        assert (protocol.paper, protocol.profile, protocol.tolerance) == ("hertel_ensemble", name, 1.0)
        assert isinstance(protocol.comparable, str)
        kinds.append(settings_of(protocol).kind)
        options_of(protocol)
        PAPER.check(protocol)
    assert kinds == ["published", "stand_in", "phantom"]
    assert load_paper("hertel") is load_paper("hertel_ensemble") is PAPER


def test_the_paper_profile_runs_every_row():
    protocol = PAPER.protocol("paper")
    assert set(protocol.systems) == {system.name for system in PAPER.systems}
    assert (protocol.size, protocol.weights) == ((256, 256), "imagenet")
    cohort = settings_of(protocol)
    assert (cohort.ricord, cohort.bimcv) == (922, 2474), "table 2's"
    options = options_of(protocol)
    assert (options.masks, options.pooling, options.statistics) == ("resunet", "average", "frozen")
    assert (options.width, options.shallow, options.batchnorm_momentum) == (1.0, False, None)
    assert options.ensemble == EnsembleSettings("validation", 0.05, "probability")
    expected = {"filters": 64, "size": 256, "epochs": 45, "batch_size": 16, "learning_rate": 1e-3}
    assert options.segmenter == expected


@pytest.mark.parametrize("name", [system.name for system in PAPER.systems if system.trained])
def test_the_paper_profile_trains_as_the_paper(name):
    """Sections 3.4 and 3.5."""
    system = PAPER.system(name)
    training = system.training(PAPER.protocol("paper"))
    assert (training.epochs, training.batch_size, training.monitor) == (5, 32, "val_accuracy")
    optimizer = training.optimizer
    assert (optimizer.name, optimizer.learning_rate, optimizer.epsilon, optimizer.decay) == ("adam", 1e-3, 1e-7, 0)
    assert (training.class_weights, training.label_smoothing) == ("balanced", 0.0)
    move = training.augmentation
    assert (move.rotation, move.shift, move.shear, move.zoom_range) == (15.0, (0.15, 0.15), 0.15, (0.85, 1.15))
    assert (move.flip, move.vertical_flip, move.fill, move.zoom) == (True, False, "nearest", (1.0, 1.0))
    assert not move.keep_aspect, "zoomed in each direction by itself"
    stages = stages_of(training, system.unfreezing)
    names = ["block5", "block4", "block3", "block2", "block1"]
    if not name.startswith("vgg19"):
        names = ["conv5", "conv4", "conv3", "conv2"]
    assert [stage.name for stage in stages] == ["head", *names]
    assert {stage.learning_rate for stage in stages[1:]} == {1e-5}
    assert {(stage.epochs, stage.patience) for stage in stages[1:]} == {(30, 5)}
    assert all(stage.steady for stage in stages), "mean and variance stay ImageNet's"


@pytest.mark.parametrize("profile", ["cpu", "smoke"])
def test_other_profiles_need_no_download_and_say_so(profile):
    protocol = PAPER.protocol(profile)
    assert protocol.weights == "none"
    assert options_of(protocol).width < 1
    for name in MEMBERS:
        system = PAPER.system(f"{name}_multi")
        first, head, *_ = stages_of(system.training(protocol), system.unfreezing)
        assert (first.name, first.steady, head.name) == ("scratch", False, "head"), "else statistics of nothing"
        assert first.groups == len(NETWORKS[name].groups)


# --- systems


def test_names_titles_and_classes():
    names = [system.name for system in PAPER.systems]
    expected = {f"{name}_{task}" for name in (*MEMBERS, *ENSEMBLES) for task in ("multi", "binary", "gr", "gr5")}
    assert set(names) == expected | {"densenet201_whole"}
    assert len(names) == len(expected) + 1
    assert len({system.title for system in PAPER.systems}) == len(names)
    assert MULTI == ("COVID-19", "normal", "pneumonia")
    assert BINARY == ("no COVID-19", "COVID-19"), "the positive one is the second"
    for system in PAPER.systems:
        three = system.name.endswith(("multi", "whole"))
        assert system.classes == system.scored == (MULTI if three else BINARY)


@pytest.mark.parametrize("task", TASKS)
def test_ensembles_are_of_the_tasks_networks_on_the_same_images(task):
    members = tuple(f"{name}_{task}" for name in MEMBERS)
    for kind in ENSEMBLES:
        system = PAPER.system(f"{kind}_{task}")
        assert system.members == members
        assert PAPER.chain(system.name) == [*members, system.name]
        assert not system.trained
        assert system.unfreezing == ()
        for member in map(PAPER.system, members):
            same = ("classes", "scored", "relabel", "split", "parts", "preparation", "scaling")
            assert all(getattr(member, key) == getattr(system, key) for key in same)
            assert member.trained
            assert {"train", "validation", "test"} == set(member.parts), "ensembles choose on validation"
    splits = {"multi": "", "binary": "", "gr": "covidgr", "gr5": "covidgr_folds"}
    assert PAPER.system(members[0]).split == splits[task]


@pytest.mark.parametrize("name", MEMBERS)
def test_networks_are_trained_by_their_own_settings(name):
    protocol = PAPER.protocol("paper", {"trainings": {name: {"epochs": 9}}})
    for system in PAPER.systems:
        mine = system.trained and system.name.startswith(name)
        assert system.training(protocol).epochs == (9 if mine else 5)
        if mine:
            assert system.unfreezing == NETWORKS[name].groups
            assert system.heat_layer == networks.HEAT_LAYERS[name]


def test_one_sigmoid_decides_by_the_papers_rule():
    for system in PAPER.systems:
        single = system.trained and len(system.classes) == 2
        assert (system.decide, system.evidence) == (
            (networks.decide_binary, networks.evidence_single) if single else (None, None)
        )


def test_the_network_without_masks_is_its_twin_in_all_else():
    one, twin = PAPER.system("densenet201_whole"), PAPER.system("densenet201_multi")
    assert PAPER.chain(one.name) == [twin.name, one.name], "trained after it, on the same fold"
    for key in ("classes", "relabel", "split", "settings", "scaling", "unfreezing", "heat_layer", "parts", "channels"):
        assert getattr(one, key) == getattr(twin, key), key
    for profile in PROFILES:
        protocol = PAPER.protocol(profile)
        whole, masked = one.preparation(protocol), twin.preparation(protocol)
        assert (whole.mask, masked.mask) == (None, "keep")
        assert whole.size == masked.size == protocol.size
        assert masked.empty == "black"
    assert (twin.name, one.name) in REPORT.heat_pairs
    assert one.name in REPORT.pictures


def test_images_are_scaled_one_by_one():
    assert {system.scaling for system in PAPER.systems} == {samplewise_standardize}
    assert {system.channels for system in PAPER.systems} == {3}
    images = np.random.default_rng(0).integers(0, 255, (3, 8, 8, 1)).astype(np.float32)
    images[1] = 0
    scaled = np.asarray(samplewise_standardize(images))
    np.testing.assert_allclose(scaled[[0, 2]].mean(axis=(1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(scaled[[0, 2]].std(axis=(1, 2, 3)), 1, atol=1e-4)
    assert not scaled[1].any(), "an image without lungs"


# --- labels


def test_three_classes():
    for name in ("vgg19_multi", "average_multi", "densenet201_whole"):
        assert _called(name) == {COVID: COVID_LABELS, NORMAL: {NORMAL}, PNEUMONIA: {PNEUMONIA}}


def test_covid_against_all_else():
    assert _called("resnet152_binary") == {COVID: COVID_LABELS, NEGATIVE: {NORMAL, PNEUMONIA}}


@pytest.mark.parametrize("task", ["gr", "gr5"])
def test_covidgr_or_what_stands_in_for_it(task):
    found = _called(f"densenet201_{task}")
    assert found == {COVID: COVID_LABELS | {labels.POSITIVE_GR}, NEGATIVE: {labels.NEGATIVE_GR, NORMAL}}
    assert PNEUMONIA not in PAPER.system(f"densenet201_{task}").relabel, "takes no part"


@pytest.mark.parametrize("profile", PROFILES)
def test_each_system_has_images_of_all_its_classes(profile):
    protocol = PAPER.protocol(profile)
    known = {*PUBLISHED, *COVIDGR} if profile == "paper" else set(STAND_IN)
    for name in protocol.systems:
        system = PAPER.system(name)
        divided = set(protocol.split_of(system.split).images)
        assert divided <= known
        for called, mine in _called(name).items():
            assert mine & divided, (name, called)
        assert {label for mine in _called(name).values() for label in mine} >= divided, "none is divided in vain"
        if profile == "paper":
            assert (divided == set(COVIDGR)) == (system.split != "")


# --- divisions


def _cohort(classes: tuple[str, ...], images: int = 120) -> Cohort:
    """So many patients of one to three images for each label; no files."""
    rng = np.random.default_rng(0)
    rows = [
        {"patient_id": f"{label}{patient}", "label": label}
        for label in classes
        for patient in range(images)
        for _ in range(rng.integers(1, 4))
    ]
    ids = [f"i{number:04d}" for number in range(len(rows))]
    return Cohort(pd.DataFrame(rows).assign(image_id=ids, path=ids), classes, "made")


def _shares(table: pd.DataFrame) -> dict[str, dict[str, float]]:
    found = table.groupby("label")["split"].value_counts(normalize=True).unstack(fill_value=0.0)
    return found.round(3).to_dict("index")


def _divided(protocol: Protocol, split: str, cohort: Cohort) -> pd.DataFrame:
    return divide(cohort, protocol.split_of(split), NO_PAIRS)


def test_the_papers_division():
    """80 / 10 / 10, COVID-19 of COVIDx for validation and test alone, of BIMCV for training alone."""
    protocol, cohort = PAPER.protocol("paper"), _cohort((*PUBLISHED, *COVIDGR))
    table = _divided(protocol, "", cohort)
    usual = {"train": 0.8, "validation": 0.1, "test": 0.1}
    expected = {
        labels.COVID_COVIDX: {"train": 0, "validation": 0.5, "test": 0.5},
        labels.COVID_RICORD: usual,
        labels.COVID_BIMCV: {"train": 1, "validation": 0, "test": 0},
        NORMAL: usual,
        PNEUMONIA: usual,
    }
    found = _shares(table)
    assert set(found) == set(expected)
    for label, shares in expected.items():
        assert found[label] == pytest.approx(shares, abs=0.035), label
    assert table.groupby("patient_id")["split"].nunique().max() == 1


def test_covidgr_is_divided_once_and_in_folds():
    protocol, cohort = PAPER.protocol("paper"), _cohort((*PUBLISHED, *COVIDGR), 100)
    table = _divided(protocol, "covidgr", cohort)
    for label in COVIDGR:
        assert _shares(table)[label] == pytest.approx({"train": 0.7, "validation": 0.1, "test": 0.2}, abs=0.035)
    assert set(table["label"]) == set(COVIDGR)
    folds = protocol.split_of("covidgr_folds")
    assert (folds.scheme, folds.folds, folds.repeats, folds.shares) == ("folds", 5, 5, {})
    system = PAPER.system("average_gr5")
    assert (system.folds(protocol), system.repeats(protocol)) == (5, 5)
    assert (PAPER.system("average_gr").folds(protocol), PAPER.system("vote_multi").repeats(protocol)) == (1, 1)


@pytest.mark.parametrize("profile", ["cpu", "smoke"])
def test_what_stands_in_is_divided_alike(profile):
    protocol, cohort = PAPER.protocol(profile), _cohort(STAND_IN, 250)
    found = _shares(_divided(protocol, "", cohort))
    assert found[labels.COVID_COHEN] == pytest.approx({"train": 0, "validation": 0.5, "test": 0.5}, abs=0.035)
    assert found[labels.COVID_CXNET] == pytest.approx({"train": 0.8, "validation": 0.1, "test": 0.1}, abs=0.035)
    for label in (NORMAL, PNEUMONIA):
        assert found[label] == pytest.approx({"train": 0.6, "validation": 0.2, "test": 0.2}, abs=0.035)
    table = _divided(protocol, "covidgr", cohort)
    assert set(table["label"]) == {labels.COVID_COHEN, labels.COVID_CXNET, NORMAL}
    if profile == "cpu":
        counts = table["label"].value_counts()
        assert (counts[labels.COVID_CXNET], counts[NORMAL]) == (226, 426), "and 200 of Cohen's: 426 against 426"
        assert settings_of(protocol).cohen + 226 == 426
    assert set(table.loc[table["label"] == labels.COVID_COHEN, "split"]) == {"train", "validation", "test"}, (
        "the shares of the main division are its own"
    )


# --- ensembles


def _frames() -> list[pd.DataFrame]:
    """Three members on six images; the first is right on validation, the others on the test part."""
    base = pd.DataFrame({"image_id": [f"i{n}" for n in range(6)], "split": ["validation"] * 3 + ["test"] * 3})
    base = base.assign(path="", source="a", severity="", repeat=0, fold=0, patient_id=base["image_id"])
    base["label"] = [*MULTI, *MULTI]
    frames = []
    for number, name in enumerate(MEMBERS):
        said = np.full((6, 3), 0.2)
        for row in range(6):
            right = (row < 3) == (number == 0)
            said[row, (row + (0 if right else 1)) % 3] = 0.6
        frame = base.assign(system=name, predicted=[MULTI[place] for place in said.argmax(axis=1)])
        for place, label in enumerate(MULTI):
            frame[f"score_{label}"] = said[:, place].astype(np.float32)
        frames.append(frame)
    return frames


def _combined(kind: str, ensemble: dict | None = None) -> Combined:
    protocol = PAPER.protocol("smoke", {"options": {"ensemble": ensemble or {}}})
    return PAPER.system(f"{kind}_multi").combine(protocol, _frames(), f"{kind}_multi")


def test_the_average_is_weighted_as_the_protocol_says():
    weights = {
        name: _combined("average", given).facts[0]["weights"]
        for name, given in (
            ("validation", {}),
            ("coarse", {"step": 0.5}),
            ("equal", {"weights": "equal"}),
            ("proportional", {"weights": "proportional"}),
        )
    }
    assert weights["validation"][0] > 0.5, "the one that is right there"
    assert np.allclose(np.array(weights["validation"]) * 20 % 1, 0), "steps of 0.05"
    assert weights["coarse"] == [1, 0, 0]
    assert weights["equal"] == pytest.approx([1 / 3] * 3)
    assert weights["proportional"] == pytest.approx([1, 0, 0])
    found = _combined("average")
    assert set(found.frame["system"]) == {"average_multi"}
    validation = found.frame[found.frame["split"] == "validation"]
    assert compute_metrics(validation)["accuracy"] == 100


def test_the_vote_goes_with_the_majority_and_ties_as_the_protocol_says():
    found = _combined("vote")
    assert found.frame.query("split == 'test'")["predicted"].tolist() == [*MULTI]
    assert found.facts[0]["weights"] is None
    frames = _frames()
    scores = [f"score_{label}" for label in MULTI]
    # One vote each; pneumonia has the largest sum.
    for frame, said in zip(frames, ([0.4, 0.25, 0.35], [0.2, 0.45, 0.35], [0.05, 0.05, 0.9]), strict=True):
        frame.loc[5, scores] = np.float32(said)
        frame.loc[5, "predicted"] = MULTI[int(np.argmax(said))]
    for ties, expected in (("probability", PNEUMONIA), ("lowest", COVID)):
        protocol = PAPER.protocol("smoke", {"options": {"ensemble": {"ties": ties}}})
        answer = PAPER.system("vote_multi").combine(protocol, frames, "vote").frame
        assert answer["predicted"].iloc[5] == expected


# --- what is refused


@pytest.mark.parametrize(
    ("profile", "changes", "words"),
    [
        ("paper", {"options": {"width": 0.5}}, r"options\.width 0\.5: does not fit ImageNet weights"),
        ("cpu", {"weights": "imagenet"}, r"options\.width 0\.25: does not fit ImageNet weights"),
        ("cpu", {"files": {"vgg19": "/a.h5"}}, r"options\.width 0\.25: does not fit ImageNet weights"),
        ("paper", {"weights": "/a.h5"}, r"--weights a\.h5: cannot be the initial weights of three networks"),
        ("paper", {"files": {"vgg19": __file__}}, r"test_hertel_protocol\.py: .*HDF5 weight file.*of vgg19"),
        ("cpu", {"size": [64, 31]}, r"size \(64, 31\): is too small"),
        ("paper", {"weights": "none"}, r"options\.statistics frozen: holds statistics of DenseNet-201 that nobody has"),
        ("cpu", {"training": {"unfreeze": {"scratch": 0}}}, "statistics of DenseNet-201 that nobody has measured"),
        ("cpu", {"training": {"unfreeze": {"epochs": 0, "scratch": 0}}}, "of DenseNet-201 that nobody has measured"),
        ("cpu", {"trainings": {"resnet152": {"unfreeze": {"scratch": 0}}}}, "statistics of ResNet-152 that nobody"),
    ],
)
def test_settings_that_exclude_each_other_are_named(profile, changes, words):
    with pytest.raises(UserError, match=words):
        PAPER.check(PAPER.protocol(profile, changes))


@pytest.mark.parametrize(
    ("profile", "changes"),
    [
        ("paper", {"weights": "none", "options": {"statistics": "trained"}}),
        ("paper", {"weights": "none", "training": {"unfreeze": {"scratch": 3}}}),
        ("paper", {"weights": "none", "options": {"width": 0.5, "statistics": "trained"}}),
        ("paper", {"options": {"pooling": "flatten"}, "training": {"augmentation": {"shear": 15.0}}}),
        ("cpu", {"size": [32, 32]}),
    ],
)
def test_the_other_readings_are_options(profile, changes):
    PAPER.check(PAPER.protocol(profile, changes))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pool": "max"}, r"unknown key 'pool'.*Did you mean 'pooling'"),
        ({"pooling": "max"}, r"options\.pooling is 'max'"),
        ({"masks": "unet"}, r"options\.masks is 'unet'"),
        ({"statistics": "fixed"}, r"options\.statistics is 'fixed'"),
        ({"ensemble": {"weights": "best"}}, r"options\.ensemble\.weights is 'best'"),
        ({"ensemble": {"ties": "first"}}, r"options\.ensemble\.ties is 'first'"),
        ({"ensemble": {"stepp": 0.1}}, r"unknown key 'stepp' in options\.ensemble.*Did you mean 'step'"),
    ],
)
def test_unknown_options_are_named(options, words):
    with pytest.raises(UserError, match=words):
        options_of(PAPER.protocol("smoke", {"options": options}))


def test_without_covidgr_its_rows_are_left_out_and_nothing_else(tmp_path: Path):
    protocol = PAPER.protocol("paper")
    for data, words in ((None, "not run: no data folder"), (tmp_path, "not run: no COVIDGR-1.0 below")):
        left_out = missing_systems(PAPER, protocol, data)
        assert set(left_out) == {f"{name}_{task}" for name in (*MEMBERS, *ENSEMBLES) for task in ("gr", "gr5")}
        assert all(reason.startswith(words) for reason in left_out.values())
    for profile in ("cpu", "smoke"):
        assert missing_systems(PAPER, PAPER.protocol(profile), None) == {}
