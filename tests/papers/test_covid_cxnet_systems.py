"""Every row of COVID-CXNet's tables as a system: what it is fed, its network, how it decides, what it wants."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import h5py
import keras
import numpy as np
import pandas as pd
import pytest

from covid_keras.common.errors import UserError
from covid_keras.models import build_base_cnn
from covid_keras.models.registry import load_registry
from covid_keras.paper import Composed, System, Trained
from papers.covid_cxnet import networks
from papers.covid_cxnet.cohorts import CAP, CLASSES, COVID, NORMAL, NORMAL_CHILD, PNEUMONIA
from papers.covid_cxnet.paper import PAPER
from papers.covid_cxnet.released import RELEASED
from papers.covid_cxnet.report import REPORT
from papers.covid_cxnet.rows import DISJOINT, HIERARCHICAL
from papers.covid_cxnet.systems import LEAKY
from tests.helpers.made_results import MadeResults

ALL = [system.name for system in PAPER.systems]
CROPPED = {"cxnet_v2", "flat", "level1", "level2", "hierarchical"}
TINY = {
    "size": [32, 40],
    "options": {"base_v1": [66, 72], "base_v2": [72, 66], "baselines": {"densenet": [32, 40], "resnet": [40, 32]}},
}


# --- what the systems are


def test_what_builds_on_others_names_them():
    assert len(ALL) == 13 + len(RELEASED) + len(DISJOINT)
    chains = {name: PAPER.chain(name) for name in ALL if len(PAPER.chain(name)) > 1}
    three = ["level1", "level2", "hierarchical"]
    assert chains == {
        "base_v1_external": ["base_v1", "base_v1_external"],
        "level2": three[:2],
        "hierarchical": three,
        "level2_leaky": [name + LEAKY for name in three[:2]],
        "hierarchical_leaky": [name + LEAKY for name in three],
    }


@pytest.mark.parametrize("system", DISJOINT, ids=lambda system: system.name)
def test_a_leaky_row_differs_in_its_split_alone(system):
    leaky = PAPER.system(system.name + LEAKY)
    changed = {"name", "title", "settings", "split", "after"}
    same = {field.name for field in dataclasses.fields(system)} - changed | {"__class__"}
    assert all(getattr(leaky, name) is getattr(system, name) for name in same)


@pytest.mark.parametrize("profile", ["paper", "cpu", "smoke"])
def test_what_each_system_is_fed(profile):
    protocol = PAPER.protocol(profile)
    for system in (one for one in PAPER.systems if one not in RELEASED):
        preparation, name = system.preparation(protocol), system.name.removesuffix(LEAKY)
        grey = name.startswith("base_v1") or name == "resnet50"
        assert preparation.enhance == (None if grey else "stack"), name
        frame = tuple(protocol.options["frame"])
        larger = tuple(max(pair) for pair in zip(frame, preparation.size, strict=True))
        assert preparation.frame == (larger if grey else frame), name
        assert preparation.needs_mask == (name in CROPPED), name
        assert system.channels in (preparation.channels, 3), name
        assert (type(system).template is not System.template) == (name in CROPPED - {"cxnet_v2"}), name


def test_the_authors_reading_is_an_option(tmp_path):
    changes = {"options": {"overflow": "wrap", "order": ["original", "beasf", "clahe"], "roi": {"margin_pixels": 0}}}
    preparation = PAPER.system("cxnet_v2").preparation(PAPER.protocol("paper", changes))
    assert (preparation.overflow, preparation.margin_pixels, preparation.dilate) == ("wrap", 0, (5, 3))
    assert preparation.stack_order == ("original", "beasf", "clahe")
    for changes, mode in (({}, "shipped"), ({"options": {"roi": {"mode": "authors"}}}, "authors")):
        assert PAPER.segmenter(PAPER.protocol("paper", changes), None, tmp_path).mode == mode


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "outputs"),
    [("base_v1", 1), ("base_v2", 1), ("cxnet_v2", 1), ("flat", 3), ("densenet121", 1), ("resnet50", 1)],
)
def test_every_network_takes_what_it_is_fed(name, outputs):
    protocol, system = PAPER.protocol("smoke", TINY), PAPER.system(name)
    model = system.build(protocol, system.classes)
    assert model.input_shape == (None, *system.preparation(protocol).size, system.channels)
    assert model.output_shape == (None, outputs)
    assert not model.compiled
    assert not any(isinstance(layer, keras.Model) for layer in model.layers), "flat, as Grad-CAM needs it"


def test_all_other_systems_are_built_as_one_of_those():
    tested = {PAPER.system(name).build for name in ("base_v1", "base_v2", "flat", "densenet121", "resnet50")}
    assert {system.build for system in PAPER.systems if isinstance(system, Trained)} == tested


def test_the_external_test_asks_the_trained_network():
    system, parts = PAPER.system("base_v1_external"), ["the network"]
    assert system.compose(PAPER.protocol("smoke"), system.classes, parts) == "the network"
    assert isinstance(system, Composed)
    assert system.relabel == {"normal, outside": NORMAL, "COVID-19, outside": COVID}


# --- decisions


@pytest.mark.parametrize(
    ("ill", "covid", "decided"),
    [
        (0.0, 0.0, NORMAL),
        (0.0, 1.0, NORMAL),
        (0.49, 0.99, NORMAL),
        (0.5, 1.0, COVID),
        (0.51, 0.0, CAP),
        (0.51, 0.49, CAP),
        (1.0, 0.5, COVID),
        (0.51, 0.51, COVID),
        (1.0, 1.0, COVID),
    ],
)
@pytest.mark.parametrize("classes", [CLASSES, (COVID, NORMAL, CAP)])
def test_what_level_1_calls_normal_stays_normal(ill, covid, decided, classes):
    index, scores = HIERARCHICAL.decide(np.array([[[ill, covid]]], np.float32), classes)
    assert classes[index[0]] == decided
    expected = {NORMAL: 1 - ill, CAP: ill * (1 - covid), COVID: ill * covid}
    np.testing.assert_allclose(scores[0], [expected[name] for name in classes], atol=1e-7)
    assert scores.sum() == pytest.approx(1)


def test_the_decision_is_level_by_level_where_the_product_says_otherwise():
    """P(normal) is the largest of the three, and still level 1 says ill."""
    index, scores = HIERARCHICAL.decide(np.array([[[0.6, 0.45]]]), CLASSES)
    assert CLASSES[index[0]] == CAP
    assert CLASSES[scores[0].argmax()] == NORMAL


def test_one_sigmoid_is_the_probability_of_the_second_class():
    system = PAPER.system("cxnet_v1")
    index, scores = system.decide(np.array([[[0.49]], [[0.5]], [[0.1]]]), (NORMAL, COVID))
    assert index.tolist() == [0, 1, 0]
    np.testing.assert_allclose(scores[:, 1], [0.49, 0.5, 0.1])


# --- the hierarchy


@pytest.fixture(scope="module")
def parts() -> list[keras.Model]:
    protocol = PAPER.protocol("smoke", {"options": {"base_v2": [65, 65]}})
    keras.utils.set_random_seed(0)
    return [networks.build_base_v2(protocol, ()) for _ in range(2)]


def test_the_composite_is_its_parts(parts):
    images = np.random.default_rng(0).random((3, 65, 65, 3), np.float32)
    own = [np.asarray(part(images)) for part in parts]
    assert not np.allclose(*own, atol=1e-4)
    model = networks.hierarchy(PAPER.protocol("smoke"), CLASSES, parts)
    np.testing.assert_allclose(np.asarray(model(images)), np.concatenate(own, axis=1), atol=1e-6)
    for name, level, index in ((NORMAL, 0, 0), (CAP, 1, 0), (COVID, 1, 1)):
        network, fed, output = HIERARCHICAL.evidence(model, images[:, None], name, CLASSES)
        assert network is parts[level]
        assert output == index
        np.testing.assert_array_equal(fed, images)


def test_evidence_is_of_the_class_asked():
    images = np.zeros((2, 1, 4, 4, 3))
    for name, second in (("cxnet_v1", COVID), ("level1", PNEUMONIA), ("level2", COVID)):
        system = PAPER.system(name)
        assert system.classes[1] == second
        for index, asked in enumerate(system.classes):
            network, fed, output = system.evidence("network", images, asked, system.classes)
            assert (network, output, fed.shape) == ("network", index, (2, 4, 4, 3))


def test_level_1_calls_both_kinds_of_pneumonia_by_one_name():
    assert PAPER.system("level1").relabel == {CAP: PNEUMONIA, COVID: PNEUMONIA}
    assert PAPER.system("level2").relabel == {}
    assert PAPER.system("level2").classes == (CAP, COVID), "normal images take no part"


# --- what a run would want hours later


def test_weights_are_asked_for_before_any_work(tmp_path):
    with h5py.File(tmp_path / "chexnet.h5", "w"):
        pass
    (tmp_path / "page.h5").write_text("<html>")
    PAPER.check(PAPER.protocol("paper", {"files": {"chexnet": str(tmp_path / "chexnet.h5")}}))
    with pytest.raises(UserError, match=r"page\.h5.*HDF5"):
        PAPER.check(PAPER.protocol("paper", {"files": {"chexnet": str(tmp_path / "page.h5")}}))
    with pytest.raises(UserError, match=r"DenseNet-121.*ResNet-50"):
        PAPER.check(PAPER.protocol("paper", {"weights": str(tmp_path / "chexnet.h5")}))
    PAPER.check(PAPER.protocol("paper", {"weights": "none"}))
    PAPER.check(PAPER.protocol("paper", {"systems": ["base_v1", "base_v2_leaky", "densenet121"]}))
    whole = {"cohort": {"whole": False}}
    given = whole | {"files": {"chexnet": str(tmp_path / "chexnet.h5")}}
    for name in ("flat", "level1", "cxnet_v2_leaky"):
        assert "--checkpoint chexnet=FILE" in PAPER.system(name).missing(PAPER.protocol("paper", whole), None)
        for changes in (given, whole | {"weights": "none"}):
            assert PAPER.system(name).missing(PAPER.protocol("paper", changes), None) is None
    assert PAPER.system("base_v2").missing(PAPER.protocol("paper", whole), None) is None


@pytest.mark.parametrize("system", RELEASED, ids=lambda system: system.name)
def test_the_authors_networks_are_the_users_files(system, tmp_path, monkeypatch):
    monkeypatch.setenv("COVID_KERAS_WEIGHTS", str(tmp_path))
    protocol = PAPER.protocol("paper")
    assert f"weights download {system.file}" in system.missing(protocol, None)
    shape = load_registry()[system.file].input_shape
    preparation = system.preparation(protocol)
    assert (*preparation.size, preparation.channels) == shape
    model = build_base_cnn(shape)
    model.save(tmp_path / "own.h5")
    given = PAPER.protocol("paper", {"files": {system.file: str(tmp_path / "own.h5")}})
    assert system.missing(given, None) is None
    found = system.network(SimpleNamespace(protocol=given)).get_weights()
    assert all(np.array_equal(one, other) for one, other in zip(found, model.get_weights(), strict=True))


def test_the_users_file_goes_before_the_protocols_weights():
    protocol = PAPER.protocol("paper", {"files": {"chexnet": "/chexnet.h5"}})
    assert networks.initial_weights(protocol) == "/chexnet.h5"
    assert networks.initial_weights(protocol.without_weights()) == "none"
    assert networks.initial_weights(PAPER.protocol("paper")) == "imagenet"


@pytest.mark.parametrize(("name", "option"), [("densenet121", "frozen"), ("resnet50", "resnet_frozen")])
def test_frozen_baselines_do_not_start_from_random_weights(name, option):
    system, whole = PAPER.system(name), {"cohort": {"whole": False}}
    assert system.missing(PAPER.protocol("paper", whole), None) is None
    for frozen in (True, False):
        changes = whole | {"weights": "none", "options": {"baselines": {option: frozen}}}
        reason = system.missing(PAPER.protocol("paper", changes), None)
        assert ("frozen layers" in (reason or "")) == frozen
    assert system.missing(PAPER.protocol("cpu"), None), "frozen there"
    assert system.missing(PAPER.protocol("smoke"), None) is None, "not frozen there"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "baselines", "trained"),
    [
        ("densenet121", {"frozen": True, "variant": "head"}, 6),
        ("densenet121", {"frozen": True, "variant": "saved"}, 22),
        ("densenet121", {"frozen": True, "variant": "top"}, 1),
        ("resnet50", {"resnet_frozen": True}, 1),
    ],
)
def test_variant_and_frozen_layers_are_options(name, baselines, trained):
    protocol = PAPER.protocol("smoke", {"options": {"baselines": {**baselines, "densenet": [32, 32]}, "width": 1.0}})
    model = PAPER.system(name).build(protocol, (NORMAL, COVID))
    assert sum(layer.trainable for layer in model.layers) == trained


def test_the_series_of_figure_9_differs_in_its_images_alone():
    protocol = PAPER.protocol("paper")
    for count, name in ((300, "base_v1_300"), (450, "base_v1_450"), (600, "base_v1")):
        system = PAPER.system(name)
        images = protocol.split_of(system.split).images
        assert sum(images.values()) == count
        assert images[COVID] == count / 2
        assert images[NORMAL_CHILD] == 4 * images[NORMAL]
        assert system.training(protocol) == PAPER.system("base_v1").training(protocol)


def test_the_template_is_looked_for_in_the_training_part_alone():
    cohort = SimpleNamespace(table=pd.DataFrame({"label": [NORMAL, COVID, COVID, CAP, COVID]}))

    def template(*division):
        return PAPER.system("flat").template(SimpleNamespace(cohort=cohort, division=np.array(division, object)))

    assert template("train", "test", "validation", "train", "train") == 4
    assert template(*["train"] * 5) == 1


def test_the_authors_networks_are_shown_by_collection_beside_the_printed_rates():
    columns = ("image_id", "label", "predicted", "source")
    made = [(f"i{n}", COVID, COVID if n else NORMAL, "covid_cxnet") for n in range(4)]
    made += [(f"k{n}", NORMAL, NORMAL, "kermany") for n in range(3)] + [("n0", NORMAL, COVID, "chestxray14")]
    frame = pd.DataFrame(made, columns=columns).assign(system="base_v1_released", repeat=0, fold=0, split="test")
    frame = frame.assign(patient_id=frame["image_id"], path="", severity="")
    scores = (frame["predicted"] == COVID).astype(float)
    frame = frame.assign(score_normal=1 - scores, **{"score_COVID-19": scores})
    (section,) = REPORT.sections(MadeResults(PAPER, {"base_v1_released": frame}, None))
    table = section.tables[0].frame.set_index("collection")
    right = table["right [95 % interval], %"].str.split(" ").str[0].to_dict()
    assert right == {"covid_cxnet": "75.00", "kermany": "100.00", "chestxray14": "0.00"}
    assert table["paper"].to_dict() == {"covid_cxnet": "90.00", "kermany": "70.00", "chestxray14": "70.00"}
    assert REPORT.sections(MadeResults(PAPER, {}, None)) == []
