"""Hertel & Benlamri: what the profiles set, which systems there are and on which images, what is left out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from covid_keras.data import samplewise_standardize
from covid_keras.evaluation import compute_metrics
from covid_keras.evaluation.ensembles import Combined
from covid_keras.paper import Ensemble
from covid_keras.paper.unfreezing import stages_of
from covid_keras.training.plan import missing_systems
from papers.hertel_ensemble import cohorts as labels
from papers.hertel_ensemble import networks
from papers.hertel_ensemble.cohorts import CHILDREN, COHORTS, COVIDGR, PUBLISHED, STAND_IN
from papers.hertel_ensemble.networks import NETWORKS
from papers.hertel_ensemble.paper import PAPER
from papers.hertel_ensemble.report import REPORT
from papers.hertel_ensemble.stages import SEGMENTERS
from papers.hertel_ensemble.systems import BINARY, COVID, MULTI, NEGATIVE, NORMAL, PNEUMONIA, TASKS, Classifier
from tests.helpers.divisions import cohort_of, divided, shares_of

PROFILES = ("paper", "cpu", "smoke")
MEMBERS = tuple(NETWORKS)
ENSEMBLES = ("average", "vote")
CLASSIFIERS = [system.name for system in PAPER.systems if isinstance(system, Classifier)]
COVID_LABELS = {
    labels.COVID_COVIDX, labels.COVID_RICORD, labels.COVID_BIMCV, labels.COVID_COHEN, labels.COVID_CXNET
}  # fmt: skip


def _called(name: str) -> dict[str, set[str]]:
    """The cohort's labels that a system learns from, by its class."""
    system = PAPER.system(name)
    known = dict(system.relabel) | {label: label for label in system.classes if label in (NORMAL, PNEUMONIA)}
    return {one: {label for label, called in known.items() if called == one} for one in system.classes}


# --- profiles


def test_the_paper_profile_has_the_papers_counts():
    cohort = COHORTS.settings(PAPER.protocol("paper"))
    assert (cohort.ricord, cohort.bimcv) == (922, 2474), "table 2's"


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_paper_profile_unfreezes_as_the_paper(name):
    """Sections 3.4 and 3.5."""
    system = PAPER.system(name)
    training = system.training(PAPER.protocol("paper"))
    stages = stages_of(training, system.groups)
    names = ["block5", "block4", "block3", "block2", "block1"]
    if not name.startswith("vgg19"):
        names = ["conv5", "conv4", "conv3", "conv2"]
    assert [stage.name for stage in stages] == ["head", *names]
    assert {stage.learning_rate for stage in stages[1:]} == {1e-5}
    assert {(stage.epochs, stage.patience) for stage in stages[1:]} == {(30, 5)}
    assert all(stage.steady for stage in stages), "mean and variance stay ImageNet's"


@pytest.mark.parametrize("profile", ["cpu", "smoke"])
@pytest.mark.parametrize("name", MEMBERS)
def test_other_profiles_train_the_backbones_from_random_weights_first(profile, name):
    """Else their statistics would be of nothing."""
    system = PAPER.system(f"{name}_multi")
    first, head, *_ = stages_of(system.training(PAPER.protocol(profile)), system.groups)
    assert (first.name, first.steady, head.name) == ("scratch", False, "head")
    assert first.groups == len(NETWORKS[name].groups)


# --- systems


def test_names_titles_and_classes():
    classifiers = [system for system in PAPER.systems if system.name not in SEGMENTERS.names]
    names = [system.name for system in classifiers]
    expected = {f"{name}_{task}" for name in (*MEMBERS, *ENSEMBLES) for task in ("multi", "binary", "gr", "gr5")}
    assert set(names) == expected | {"densenet201_whole", "densenet201_children"}
    assert len(names) == len(expected) + 2
    assert MULTI == ("COVID-19", "normal", "pneumonia")
    assert BINARY == ("no COVID-19", "COVID-19"), "the positive one is the second"
    for system in classifiers:
        three = system.name.endswith(("multi", "whole", "children"))
        assert system.classes == (MULTI if three else BINARY)


@pytest.mark.parametrize("task", TASKS)
def test_ensembles_are_of_the_tasks_networks_on_the_same_images(task):
    members = tuple(f"{name}_{task}" for name in MEMBERS)
    for kind in ENSEMBLES:
        system = PAPER.system(f"{kind}_{task}")
        assert system.members == members
        assert PAPER.chain(system.name) == [*members, system.name]
        assert isinstance(system, Ensemble)
        for member in map(PAPER.system, members):
            same = ("classes", "relabel", "split", "parts", "preparation", "scaling")
            assert all(getattr(member, key) == getattr(system, key) for key in same)
            assert isinstance(member, Classifier)
            assert {"train", "validation", "test"} == set(member.parts), "ensembles choose on validation"
    splits = {"multi": "", "binary": "", "gr": "covidgr", "gr5": "covidgr_folds"}
    assert PAPER.system(members[0]).split == splits[task]


@pytest.mark.parametrize("name", MEMBERS)
def test_networks_are_trained_by_their_own_settings(name):
    protocol = PAPER.protocol("paper", {"trainings": {name: {"epochs": 9}}})
    for system in PAPER.systems:
        mine = system.name in CLASSIFIERS and system.name.startswith(name)
        assert system.training(protocol).epochs == (9 if mine else 5)
        if mine:
            assert system.groups == NETWORKS[name].groups
            assert system.heat_layer == networks.HEAT_LAYERS[name]


def test_the_network_without_masks_is_its_twin_in_all_else():
    one, twin = PAPER.system("densenet201_whole"), PAPER.system("densenet201_multi")
    assert PAPER.chain(one.name) == [twin.name, one.name], "trained after it, on the same fold"
    for key in ("classes", "relabel", "split", "settings", "scaling", "groups", "heat_layer", "parts", "channels"):
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
    classifiers = [system for system in PAPER.systems if system.name not in SEGMENTERS.names]
    assert {system.scaling for system in classifiers} == {samplewise_standardize}
    assert {system.channels for system in classifiers} == {3}
    images = np.random.default_rng(0).integers(0, 255, (3, 8, 8, 1)).astype(np.float32)
    images[1] = 0
    scaled = np.asarray(samplewise_standardize(images))
    np.testing.assert_allclose(scaled[[0, 2]].mean(axis=(1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(scaled[[0, 2]].std(axis=(1, 2, 3)), 1, atol=1e-4)
    assert not scaled[1].any(), "an image without lungs"


# --- labels


ALL_ELSE = {COVID: COVID_LABELS, NEGATIVE: {NORMAL, PNEUMONIA}}
IN_COVIDGR = {COVID: COVID_LABELS | {labels.POSITIVE_GR}, NEGATIVE: {labels.NEGATIVE_GR, NORMAL}}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            ("vgg19_multi", "average_multi", "densenet201_whole"),
            {COVID: COVID_LABELS, NORMAL: {NORMAL}, PNEUMONIA: {PNEUMONIA}},
        ),
        (("resnet152_binary",), ALL_ELSE),
        # Pneumonia takes no part.
        (("densenet201_gr", "densenet201_gr5"), IN_COVIDGR),
    ],
)
def test_the_labels_of_each_class(names, expected):
    for name in names:
        assert _called(name) == expected, name
        assert (PNEUMONIA in PAPER.system(name).relabel) == (expected is ALL_ELSE)


@pytest.mark.parametrize("profile", PROFILES)
def test_each_system_has_images_of_all_its_classes(profile):
    protocol = PAPER.protocol(profile)
    known = {*PUBLISHED, *COVIDGR} if profile == "paper" else {*STAND_IN, *CHILDREN}
    for name in set(protocol.systems) - set(SEGMENTERS.names):
        system = PAPER.system(name)
        divided = set(protocol.split_of(system.split).images)
        assert divided <= known
        for called, mine in _called(name).items():
            assert mine & divided, (name, called)
        assert {label for mine in _called(name).values() for label in mine} >= divided, "none is divided in vain"
        if profile == "paper":
            assert (divided == set(COVIDGR)) == (system.split != "")


# --- divisions


def _shares(train: float, validation: float, test: float) -> dict[str, float]:
    return {"train": train, "validation": validation, "test": test}


USUAL, CHOSEN_AND_TESTED, GR = _shares(0.8, 0.1, 0.1), _shares(0, 0.5, 0.5), _shares(0.7, 0.1, 0.2)
# COVID-19 of COVIDx is for validation and test alone, of BIMCV for training alone.
PAPERS = {
    labels.COVID_COVIDX: CHOSEN_AND_TESTED,
    labels.COVID_BIMCV: _shares(1, 0, 0),
    **dict.fromkeys((labels.COVID_RICORD, NORMAL, PNEUMONIA), USUAL),
}
STAND_INS = {
    labels.COVID_COHEN: CHOSEN_AND_TESTED,
    labels.COVID_CXNET: USUAL,
    **dict.fromkeys((NORMAL, PNEUMONIA), _shares(0.6, 0.2, 0.2)),
}


@pytest.mark.parametrize(
    ("profile", "split", "classes", "expected"),
    [
        ("paper", "", (*PUBLISHED, *COVIDGR), PAPERS),
        ("paper", "covidgr", (*PUBLISHED, *COVIDGR), dict.fromkeys(COVIDGR, GR)),
        ("cpu", "", STAND_IN, STAND_INS),
        ("smoke", "", STAND_IN, STAND_INS),
    ],
)
def test_each_label_is_shared_out_as_the_protocol_says(profile, split, classes, expected):
    table = divided(PAPER.protocol(profile), split, cohort_of(classes, 250))
    found = shares_of(table)
    assert set(found) == set(expected)
    for label, shares in expected.items():
        assert {part: found[label].get(part, 0) for part in shares} == pytest.approx(shares, abs=0.035), label
    assert table.groupby("patient_id")["split"].nunique().max() == 1


def test_covidgr_is_divided_in_folds_too():
    protocol = PAPER.protocol("paper")
    folds = protocol.split_of("covidgr_folds")
    assert (folds.scheme, folds.folds, folds.repeats, folds.shares) == ("folds", 5, 5, {})
    runs = {name: (PAPER.system(name).folds(protocol), PAPER.system(name).repeats(protocol))
            for name in ("average_gr5", "average_gr", "vote_multi")}  # fmt: skip
    assert runs == {"average_gr5": (5, 5), "average_gr": (1, 1), "vote_multi": (1, 1)}


@pytest.mark.parametrize("profile", ["cpu", "smoke"])
def test_what_stands_in_for_covidgr_has_shares_of_its_own(profile):
    protocol = PAPER.protocol(profile)
    table = divided(protocol, "covidgr", cohort_of(STAND_IN, 250))
    assert set(table["label"]) == {labels.COVID_COHEN, labels.COVID_CXNET, NORMAL}
    assert set(table.loc[table["label"] == labels.COVID_COHEN, "split"]) == {"train", "validation", "test"}
    if profile == "cpu":
        counts = table["label"].value_counts()
        assert (counts[labels.COVID_CXNET], counts[NORMAL]) == (226, 426), "and 200 of Cohen's: 426 against 426"
        assert COHORTS.settings(protocol).cohen + 226 == 426


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
    return PAPER.system(f"{kind}_multi").combine(protocol, _frames())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"step": 0.5}, [1, 0, 0]),
        ({"weights": "equal"}, [1 / 3] * 3),
        ({"weights": "proportional"}, [1, 0, 0]),
    ],
)
def test_the_average_is_weighted_as_the_protocol_says(given, expected):
    assert _combined("average", given).facts[0]["weights"] == pytest.approx(expected)


def test_the_average_takes_the_weights_that_are_right_on_validation():
    found = _combined("average")
    weights = np.array(found.facts[0]["weights"])
    assert weights[0] > 0.5, "the one that is right there"
    assert np.allclose(weights * 20 % 1, 0), "steps of 0.05"
    assert set(found.frame["system"]) == {"average_multi"}
    assert compute_metrics(found.frame[found.frame["split"] == "validation"])["accuracy"] == 100


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
        answer = PAPER.system("vote_multi").combine(protocol, frames).frame
        assert answer["predicted"].iloc[5] == expected


def test_what_stands_in_for_covidgr_asks_for_nothing_more():
    assert missing_systems(PAPER, PAPER.protocol("smoke"), None) == {}
