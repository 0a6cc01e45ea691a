"""Every row of COVID-SDNet's tables as a system: who takes part, what each is fed, how it decides, what it wants."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import cv2
import keras
import numpy as np
import pandas as pd
import pytest

from covid_keras.common.errors import UserError
from covid_keras.data.cohort import Cohort
from covid_keras.data.preparation import Preparation
from covid_keras.data.prepared_images import prepare_cohort
from covid_keras.data.splits import patient_folds
from covid_keras.evaluation import Measured, compare, load_published
from covid_keras.models import build_covid_caps, build_covidnet
from covid_keras.models.weights import save_weights
from covid_keras.paper import initial_weights
from covid_keras.paper.grading import RunGrading, Used
from papers.covid_sdnet import transforms
from papers.covid_sdnet.cohorts import CLASSES, COVIDNET_CLASSES, PNEUMONIA, no_pneumonia, without_normal_pcr
from papers.covid_sdnet.paper import PAPER, RETRAINED
from papers.covid_sdnet.systems import NO_NORMAL_PCR, WithoutNormalPcr

LEVELS = {"Normal-PCR+": 76, "Mild": 100, "Moderate": 171, "Severe": 79}
ALL = [system.name for system in PAPER.systems]


# --- what the systems are


def test_every_system_is_a_row_and_every_row_a_system():
    named = {cell.system for cell in load_published(PAPER.folder / "published.yaml") if cell.system}
    assert named == set(ALL)
    assert len(ALL) == 13
    assert PAPER.scored == CLASSES


@pytest.mark.parametrize("base", RETRAINED, ids=lambda system: system.name)
def test_without_normal_pcr_only_the_experiment_differs(base):
    protocol = PAPER.protocol("cpu")
    system = PAPER.system(base.name + NO_NORMAL_PCR)
    assert isinstance(system, WithoutNormalPcr)
    assert isinstance(system, type(base))
    assert system.training(protocol) == base.training(protocol)
    assert system.preparation(protocol) == base.preparation(protocol)
    same = {field.name for field in dataclasses.fields(system)} - {"name", "title", "settings", "after"}
    assert all(getattr(system, name) is getattr(base, name) for name in same)
    assert PAPER.chain(system.name) == [name + NO_NORMAL_PCR for name in PAPER.chain(base.name)]


def test_covidnet_alone_learns_pneumonia():
    three = {system.name for system in PAPER.systems if set(system.classes) == {*CLASSES, PNEUMONIA}}
    assert three == {name for name in ALL if name.startswith("covidnet")}
    # A released COVIDNet has its authors' order of outputs.
    assert PAPER.system("covidnet_pretrained").classes == ("N", PNEUMONIA, "P")
    assert all(PAPER.system(name).classes == () for name in set(ALL) - three)


# --- the experiment of Tables VII and VIII


@pytest.fixture(scope="module")
def covidgr() -> Cohort:
    """As many images of each kind as COVIDGR-1.0, and some pneumonia; no files."""
    severities = [level for level, count in LEVELS.items() for _ in range(count)]
    rows = [("N", "")] * 426 + [("P", level) for level in severities] + [(PNEUMONIA, "")] * 50
    rows = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    table = pd.DataFrame(rows, columns=["label", "severity"])
    ids = [f"covidgr/{i:03d}" for i in range(len(table))]
    return Cohort(table.assign(image_id=ids, path=ids, patient_id=ids, source="covidgr"), (*CLASSES, PNEUMONIA))


@pytest.fixture(scope="module")
def splits(covidgr) -> pd.DataFrame:
    return patient_folds(covidgr, 5, 2, 0, 0.1)


def _chosen(covidgr, splits, repeat: int = 0, classes=CLASSES, seed: int | None = None) -> pd.DataFrame:
    of_repeat = splits[splits["repeat"] == repeat]
    keep = without_normal_pcr(covidgr, of_repeat, classes, repeat if seed is None else seed)
    assert keep.dtype == bool
    test = of_repeat[of_repeat["split"] == "test"].set_index("image_id")["fold"]
    return covidgr.table[keep].assign(fold=covidgr.table["image_id"].map(test)[keep])


def test_350_against_350_and_as_many_in_each_test_fold(covidgr, splits):
    chosen = _chosen(covidgr, splits)
    assert chosen["label"].value_counts().to_dict() == {"N": 350, "P": 350}
    assert chosen.loc[chosen["label"] == "P", "severity"].value_counts().to_dict() == {
        level: count for level, count in LEVELS.items() if level != "Normal-PCR+"
    }
    folds = chosen.groupby(["fold", "label"]).size().unstack()
    assert len(folds) == 5
    assert (folds["N"] == folds["P"]).all()


def test_the_negatives_are_drawn_anew_in_each_repeat(covidgr, splits):
    def negatives(*arguments, **options):
        chosen = _chosen(covidgr, splits, *arguments, **options)
        return set(chosen.loc[chosen["label"] == "N", "image_id"])

    assert negatives() == negatives()
    assert negatives(1) == negatives(1)
    assert negatives() != negatives(seed=7)
    assert negatives() != negatives(1)
    removed = set(covidgr.table.loc[covidgr.table["label"] == "N", "image_id"]) - negatives()
    assert len(removed) == 76


def test_all_systems_of_the_experiment_are_tested_on_the_same_images(covidgr, splits):
    two, three = _chosen(covidgr, splits), _chosen(covidgr, splits, classes=(*CLASSES, PNEUMONIA))
    assert three["label"].value_counts().to_dict() == {"N": 350, "P": 350, PNEUMONIA: 50}
    assert set(three.loc[three["label"] != PNEUMONIA, "image_id"]) == set(two["image_id"])


def test_where_negatives_are_fewer_all_stay(covidgr, splits):
    few = covidgr.table[(covidgr.table["label"] == "P") | (covidgr.table.index % 4 == 0)]
    cohort = Cohort(few.reset_index(drop=True), covidgr.classes)
    chosen = cohort.table[without_normal_pcr(cohort, splits[splits["repeat"] == 0], CLASSES, 0)]
    assert (chosen["label"] == "P").sum() == 350
    assert (chosen["label"] == "N").sum() == (cohort.table["label"] == "N").sum()


# --- the transformed pairs


class _Generators:
    """In place of the transformation network: N darkens, P brightens beyond white."""

    def __init__(self) -> None:
        self.transformed = 0

    def transform(self, images, index):
        assert images.dtype == np.float32
        assert images.shape[1:] == (12, 12, 3)
        self.transformed += len(images)
        return images * 0.5 if CLASSES[index] == "N" else images * 2.0 - 0.1


@pytest.fixture
def pairs(tmp_path, monkeypatch):
    """Return (feed, network, prepared, part, before): 20 images, of which every fifth takes no part."""
    rows = []
    for i in range(20):
        path = tmp_path / f"{i:02d}.png"
        cv2.imwrite(str(path), np.random.default_rng(i).integers(0, 256, (16, 16)).astype(np.uint8))
        rows.append({"image_id": f"made/{i}", "path": str(path), "patient_id": f"{i}", "label": "NP"[i % 2]})
    cohort = Cohort(pd.DataFrame(rows), CLASSES)
    prepared = prepare_cohort(cohort, Preparation(size=(12, 12)), tmp_path / "cache")
    part = np.array(["" if i % 5 == 0 else ("train", "test")[i % 3 == 0] for i in range(20)], dtype=object)
    network, before = _Generators(), SimpleNamespace(weights=tmp_path / "best.weights.h5")
    before.weights.write_bytes(b"weights")
    monkeypatch.setattr(transforms, "load_cit", lambda protocol, execution: network)

    def feed(size=(12, 12), part=part):
        return transforms.feed_pairs(PAPER.protocol("smoke", {"size": list(size)}), cohort, before, part, prepared)

    return feed, network, prepared, part, before


def test_pairs_are_x_plus_then_x_minus_with_their_own_labels(pairs):
    feed, _, prepared, part, _ = pairs
    inputs, rows = feed(), np.flatnonzero(part != "")
    assert inputs.owner.tolist() == np.repeat(rows, 2).tolist()
    assert inputs.outputs == 4
    names = np.array(("P+", "P-", "N+", "N-"))[inputs.labels].reshape(-1, 2)
    assert names.tolist() == [["P+", "P-"] if row % 2 else ["N+", "N-"] for row in rows]
    grey = np.repeat(prepared.batch(rows), 3, axis=-1).astype(np.float32) / 255
    found = inputs.prepared.batch(range(len(inputs.owner))).reshape(len(rows), 2, 12, 12, 3)
    for view, expected in enumerate((grey * 2 - 0.1, grey * 0.5)):
        np.testing.assert_array_equal(found[:, view], np.rint(255 * np.clip(expected, 0, 1)))
    assert len(set(inputs.prepared.ids)) == 2 * len(rows), "views are augmented each in its own way"
    train = inputs.rows_of(part, "train")
    assert train.tolist() == [i for i, row in enumerate(inputs.owner) if part[row] == "train"]
    assert feed(size=(16, 20)).prepared.load(0).shape == (16, 20, 3)


def test_nothing_is_transformed_twice(pairs):
    feed, network, _, part, before = pairs
    first, images = feed(), int((part != "").sum())
    assert network.transformed == 2 * images
    again = feed()
    assert network.transformed == 2 * images, "a resumed training, or a report"
    assert again.prepared.keys == first.prepared.keys
    with open(first.prepared.paths[5], "wb") as stream:
        stream.write(b"short")
    feed()
    assert network.transformed == 2 * images + 2, "the damaged pair alone"
    before.weights.write_bytes(b"other weights")
    other = feed()
    assert network.transformed == 4 * images + 2, "another fold's generators"
    assert not set(other.prepared.keys) & set(first.prepared.keys)
    feed(part=np.where(part == "", "train", part))
    assert network.transformed == 4 * images + 2 + 2 * (20 - images), "those that had taken no part"


# --- decisions


def test_covid_sdnet_decides_by_the_pair():
    """Columns P+, P-, N+, N-; P where x+ says P+ and x- says P-, N where they say N+ and N-."""
    positive = [[0.9, 0.05, 0.03, 0.02], [0.1, 0.7, 0.1, 0.1]]
    negative = [[0.1, 0.1, 0.5, 0.3], [0.05, 0.05, 0.1, 0.8]]
    decided, scores = PAPER.system("covid_sdnet").decide(np.array([positive, negative]), CLASSES)
    assert decided.tolist() == [1, 0]
    np.testing.assert_allclose(scores.sum(axis=1), 1)
    assert scores.argmax(axis=1).tolist() == [1, 0]


def test_fucitnet_decides_by_the_largest_of_its_logits():
    logits = np.random.default_rng(0).normal(size=(50, 1, 4)) * 3
    decided, scores = PAPER.system("fucitnet").decide(logits, CLASSES)
    assert decided.tolist() == (logits[:, 0].argmax(axis=1) % 2).tolist()
    assert scores.argmax(axis=1).tolist() == decided.tolist()
    np.testing.assert_allclose(scores.sum(axis=1), 1)
    top, _ = PAPER.system("fucitnet").decide(logits + 5000, CLASSES)
    assert top.tolist() == decided.tolist(), "no overflow"


def test_the_plan_of_covidnet_is_its_own_draw():
    protocol = PAPER.protocol("cpu")
    system = PAPER.system("covidnet_retrained")
    training = dataclasses.replace(system.training(protocol), epochs=3, batch_size=8)
    labels = np.array([0] * 20 + [1] * 15 + [2] * 25)
    plan = system.plan(labels, training, protocol, 4)
    assert plan.shape == (3, 6, 8), "the 45 others, eight at a time"
    assert ((labels[plan] == 1).sum(axis=2) == 2).all(), "a third of eight, rounded down"
    assert (labels[plan] == 2).any()
    assert len({epoch.tobytes() for epoch in plan}) == 3
    np.testing.assert_array_equal(plan, system.plan(labels, training, protocol, 4))


# --- what is missing, what is no match


def test_why_covidnet_cannot_be_retrained(tmp_path):
    assert no_pneumonia(PAPER.protocol("smoke"), None) is None
    without = PAPER.protocol("smoke", {"cohort": {"pneumonia": 0}})
    assert "no pneumonia images" in no_pneumonia(without, None)
    assert "(NIH ChestX-ray14)" in no_pneumonia(PAPER.protocol("paper"), tmp_path)
    for name in ("Pneumonia/00000001", "No_findings/00000002"):
        _picture(tmp_path / "nih-chestxray14-subset" / f"{name}_000.jpg")
    assert no_pneumonia(PAPER.protocol("paper", {"cohort": {"pneumonia": 1}}), tmp_path) is None
    assert "has 1 pneumonia images" in no_pneumonia(PAPER.protocol("paper"), tmp_path)


def test_released_networks_say_what_they_lack(monkeypatch, tmp_path):
    caps, covidnet = PAPER.system("covid_caps_pretrained"), PAPER.system("covidnet_pretrained")
    protocol = PAPER.protocol("smoke")

    def gone(name):
        raise UserError(name, "is not here", "Get it")

    monkeypatch.setattr(initial_weights, "find_weights", gone)
    assert caps.missing(protocol, None).startswith("covid_caps_binary_86 is not here; `covid-keras weights")
    assert covidnet.missing(protocol, None) == "checkpoint not obtainable"
    given = PAPER.protocol("smoke", {"files": {"covid_caps": "/a.h5", "covidnet": "/b.h5"}})
    assert caps.missing(given, None) is covidnet.missing(given, None) is None
    with pytest.raises(UserError, match="'covid_cap'"):
        PAPER.protocol("smoke", {"files": {"covid_cap": "/a.h5"}})


# --- what is fine-tuned


def test_retrained_covid_caps_starts_from_the_checkpoint(tmp_path, monkeypatch):
    """The user's file or the registered one; random weights if the protocol asks for them."""
    released = build_covid_caps((32, 32, 3))
    path = save_weights(released, tmp_path / "released.h5")
    changes = {"options": {"covid_caps": {"size": [32, 32], "initial": "released"}}}
    system = PAPER.system("covid_caps_retrained" + NO_NORMAL_PCR)

    def begun(changes: dict) -> list[np.ndarray]:
        protocol = PAPER.protocol("smoke", changes)
        model = system.build(protocol, CLASSES)
        system.initialise(model, protocol)
        return model.get_weights()

    given = begun(changes | {"files": {"covid_caps": str(path)}})
    assert all(np.array_equal(*pair) for pair in zip(given, released.get_weights(), strict=True))
    monkeypatch.setattr(initial_weights, "find_weights", lambda name: SimpleNamespace(path=path))
    found = begun(changes)
    assert all(np.array_equal(*pair) for pair in zip(found, given, strict=True))
    assert not np.array_equal(begun({"files": {"covid_caps": str(path)}})[0], given[0]), "the phantom's are random"


def test_retrained_covid_caps_needs_the_checkpoint_only_where_it_starts_from_it(monkeypatch):
    def gone(name):
        raise UserError(name, "is not here", "Get it")

    monkeypatch.setattr(initial_weights, "find_weights", gone)
    for system in map(PAPER.system, ("covid_caps_retrained", "covid_caps_retrained" + NO_NORMAL_PCR)):
        assert "covid_caps_binary_86" in system.missing(PAPER.protocol("paper"), None)
        random = {"options": {"covid_caps": {"initial": "glorot"}}}
        for protocol in (PAPER.protocol("cpu"), PAPER.protocol("paper", random)):
            assert system.missing(protocol, None) is None


@pytest.mark.slow
def test_retrained_covidnet_starts_from_the_checkpoint_with_its_three_neurons(tmp_path):
    released = build_covidnet((32, 32, 3), 3, "b")
    head = released.get_layer("probability")
    head.set_weights([head.get_weights()[0], np.array([0.1, 0.2, 0.3], np.float32)])
    files = {"covidnet": str(save_weights(released, tmp_path / "covidnet.h5"))}
    changes = {"options": {"covidnet": {"size": [32, 32]}, "width": 1.0}, "files": files}
    protocol, system = PAPER.protocol("smoke", changes), PAPER.system("covidnet_retrained")
    PAPER.check(protocol)
    model = system.build(protocol, system.classes)
    system.initialise(model, protocol)
    found = dict(zip(system.classes, model.get_layer("probability").get_weights()[1], strict=True))
    assert found == pytest.approx({"N": 0.1, PNEUMONIA: 0.2, "P": 0.3})
    image = np.random.default_rng(0).random((1, 32, 32, 3), np.float32)
    order = [COVIDNET_CLASSES.index(name) for name in system.classes]
    np.testing.assert_allclose(model(image).numpy(), released(image).numpy()[:, order], atol=1e-6)
    with pytest.raises(UserError, match=r"options\.width"):
        PAPER.check(PAPER.protocol("smoke", {"files": files}))


def test_surrogates_and_what_was_not_run_are_not_judged():
    """On the paper's own data COVIDNet's rows still are of another network."""
    protocol = PAPER.protocol("paper")
    surrogates = {system.name: reason for system in PAPER.systems if (reason := system.surrogate(protocol))}
    assert sorted(surrogates) == sorted(name for name in ALL if name.startswith("covidnet"))
    cells = load_published(PAPER.folder / "published.yaml")
    measured = [
        Measured(name, "accuracy", 70.0, 1.0, 1, 25, 60.0, 80.0, 800, 852)
        for name in ALL
        if name not in ("covidnet_pretrained", "covid_caps_pretrained")
    ]
    left_out = {"covidnet_pretrained": "checkpoint not obtainable", "covid_caps_pretrained": "no file"}
    sources = {name: {"covidgr": 700 if name.endswith("_no_normal_pcr") else 852} for name in ALL}
    sources |= {name: images | {"chestxray14": 426} for name, images in sources.items() if name.startswith("covidnet")}
    used = Used(sources, {name: PAPER.evidence_of(name).classes for name in ALL})
    table = compare(cells, measured, 2.0, RunGrading(PAPER, protocol, used), left_out)
    table = table[table["metric"] == "accuracy"]
    verdicts = {
        name: set(rows[["grade", "outcome", "reason"]].itertuples(index=False, name=None))
        for name, rows in table.groupby("system")
    }
    assert verdicts["covidnet_pretrained"] == {("", "", "checkpoint not obtainable")}
    assert verdicts["covid_caps_pretrained"] == {("", "", "no file")}
    for name in ("covidnet_retrained", "covidnet_retrained_no_normal_pcr"):
        assert verdicts[name] == {("stand-in", "", surrogates[name])}
    for name in ("resnet50_crop", "covid_sdnet", "fucitnet_no_normal_pcr"):
        assert all(outcome and not reason for _, outcome, reason in verdicts[name])


# --- what a run would want hours later


def _picture(path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 255, (40, 40)).astype(np.uint8))


def test_without_resnet18_weights_its_rows_are_left_out_and_say_what_to_give():
    protocol = PAPER.protocol("paper")
    reasons = {name: PAPER.system(name).missing(protocol, None) for name in protocol.systems}
    lacking = [name for name, reason in reasons.items() if "--checkpoint resnet18=FILE" in (reason or "")]
    assert lacking == ["fucitnet", "fucitnet_no_normal_pcr"]


def test_what_needs_no_resnet18_does_not_ask_for_it():
    PAPER.check(PAPER.protocol("paper", {"systems": ["resnet50_crop", "covid_caps_retrained"]}))
    thawed = {"options": {"cit": {"frozen": False}}}
    PAPER.check(PAPER.protocol("paper", {"weights": "none"} | thawed))
    with pytest.raises(UserError, match=r"freeze.*ResNet-18"):
        PAPER.check(PAPER.protocol("paper", {"weights": "none"}))
    PAPER.check(PAPER.protocol("paper", {"files": {"resnet18": "/weights.npz"}}))


def test_a_released_covidnet_is_asked_in_its_authors_order():
    """Its second output is pneumonia: the score of P comes from the third."""
    outputs = np.array([[[0.2, 0.7, 0.1]], [[0.2, 0.1, 0.7]]])
    decided, scores = PAPER.system("covidnet_pretrained").decide(outputs, CLASSES)
    assert decided.tolist() == [0, 1]
    np.testing.assert_allclose(scores[:, 1], [0.1 / 0.3, 0.7 / 0.9])
    decided, _ = PAPER.system("covidnet_retrained").decide(outputs, CLASSES)
    assert decided.tolist() == [1, 0]


def test_fucitnets_evidence_is_what_its_decision_saw():
    """The classifier decides on what the generator makes, values outside 0..1 included."""
    generator = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Rescaling(3.0, offset=-1.0)])
    network = SimpleNamespace(classifier="D", generators=[None, generator])
    images = np.full((2, 1, 4, 4, 3), 0.9, np.float32)
    classifier, made, index = PAPER.system("fucitnet").evidence(network, images, "P", CLASSES)
    assert (classifier, index) == ("D", 1)
    np.testing.assert_allclose(made, 1.7, atol=1e-6)


# --- what they cost


def test_an_image_passes_every_generator_once_and_the_networks_behind_them_once_for_each(monkeypatch):
    made = SimpleNamespace(generators=["g+", "g-"], classifier="judge")
    fucitnet, twins = PAPER.system("fucitnet"), PAPER.system("covid_sdnet")
    monkeypatch.setattr(type(fucitnet), "network", lambda self, execution: made)
    assert fucitnet.passes(None) == [("g+", 1), ("g-", 1), ("judge", 2)]
    monkeypatch.setattr(transforms, "load_cit", lambda protocol, before: made)
    monkeypatch.setattr(type(twins), "network", lambda self, execution: "twins")
    execution = SimpleNamespace(protocol=None, below=lambda name: name)
    assert twins.passes(execution) == [("g+", 1), ("g-", 1), ("twins", 2)]
