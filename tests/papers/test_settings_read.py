"""Every setting of a training changes how the network is compiled, or is refused by name; for all papers."""

from __future__ import annotations

from contextlib import nullcontext
from functools import reduce

import keras
import numpy as np
import pytest
from keras import layers

from covid_keras.common.errors import UserError
from covid_keras.paper import Paper, Trained, load_paper
from covid_keras.paper.changes import require_effect, require_read
from covid_keras.paper.protocol import Protocol
from papers.covid_sdnet.cit import CiTNetwork
from papers.covid_sdnet.generator import build_generator
from papers.covid_sdnet.systems import FuCiTNet, WithoutNormalPcr
from tests.helpers.command import fails

PAPERS = ("arias_vgg19", "covid_cxnet", "covid_sdnet", "hertel_ensemble")
# One system of each kind; systems of one kind read the same settings.
SYSTEMS = {
    (paper, type(system)): system
    for paper in PAPERS
    for system in load_paper(paper).systems
    if isinstance(system, Trained) and not isinstance(system, WithoutNormalPcr)
}
OTHER = {
    "label_smoothing": 0.25,
    "optimizer.name": {"adam": "sgd", "sgd": "adam"},
    "optimizer.learning_rate": 0.123,
    "optimizer.momentum": 0.3,
    "optimizer.nesterov": {True: False, False: True},
    "optimizer.epsilon": 0.5,
    "optimizer.decay": 0.01,
}


def small(system: Trained, outputs: int) -> keras.Model:
    """Return an uncompiled network of the system's kind."""
    images = keras.Input((12, 12, 3))
    units = 1 if outputs == 2 and not isinstance(system, FuCiTNet) else outputs
    model = keras.Model(images, layers.Dense(units, activation="sigmoid")(layers.GlobalAveragePooling2D()(images)))
    if not isinstance(system, FuCiTNet):
        return model
    return CiTNetwork([build_generator(12, 2, 0, f"generator_{name}") for name in "NP"], model)


def refusal(paper: Paper, protocol: Protocol, changes: dict) -> str:
    """Return why a change is refused; "" if it has an effect."""
    try:
        require_effect(paper, protocol, changes)
    except UserError as error:
        return str(error)
    return ""


def compiled(system: Trained, protocol: Protocol) -> str:
    """Return all that `compile` attaches, as text."""
    outputs = len(system.classes) or 2
    model = small(system, outputs)
    system.compile(model, system.training(protocol), protocol, np.full(outputs, 10))
    loss = model.loss.get_config() if isinstance(model.loss, keras.losses.Loss) else ""
    return str([type(model.optimizer).__name__, model.optimizer.get_config() | {"name": ""}, loss])


@pytest.mark.parametrize("setting", OTHER)
@pytest.mark.parametrize(("paper", "kind"), SYSTEMS, ids=lambda one: getattr(one, "__name__", one))
def test_a_setting_changes_the_compiled_network_or_is_refused(paper, kind, setting):
    system, found = SYSTEMS[paper, kind], load_paper(paper)
    before = found.protocol("paper", {"systems": [system.name]})
    value = OTHER[setting]
    if isinstance(value, dict):
        value = value[reduce(getattr, setting.split("."), system.training(before))]
    changes = reduce(lambda inner, key: {key: inner}, reversed(setting.split(".")), value)
    changes = {"systems": [system.name], "trainings": {system.settings or system.name: changes}}
    after = found.protocol("paper", changes)
    said = refusal(found, after, changes)
    assert setting in said or not said
    assert (compiled(system, after) == compiled(system, before)) is bool(said)


@pytest.mark.parametrize(
    ("paper", "profile", "systems", "options", "read"),
    [
        ("arias_vgg19", "cpu", ["view16"], {"channels": "bgr"}, False),
        ("arias_vgg19", "paper", ["view16"], {"channels": "bgr"}, True),
        ("arias_vgg19", "paper", ["view19"], {"kernel_bug": True}, False),
        ("arias_vgg19", "paper", ["view16"], {"kernel_bug": True}, True),
        ("arias_vgg19", "paper", ["view16"], {"segmenters": {"unet3": {}}, "threshold": 0.5}, True),
        ("covid_sdnet", "paper", ["covidnet_pretrained"], {"covidnet": {"positive_weight": 4.0}}, False),
        ("covid_sdnet", "paper", ["covidnet_retrained"], {"covidnet": {"positive_weight": 4.0}}, True),
        ("covid_sdnet", "cpu", ["covid_sdnet"], {"cit": {"perceptual": 0.1}}, False),
        ("covid_sdnet", "paper", ["covid_sdnet"], {"cit": {"perceptual": 0.1}}, True),
        ("covid_sdnet", "smoke", ["covid_caps_retrained"], {"width": 0.5}, False),
        ("covid_cxnet", "paper", ["base_v1_released"], {"base_v1": [128, 128]}, False),
        ("covid_cxnet", "paper", ["base_v1_300"], {"base_v1": [128, 128]}, True),
        ("hertel_ensemble", "paper", ["vote_multi"], {"ensemble": {"step": 0.1}}, False),
        ("hertel_ensemble", "paper", ["average_multi"], {"ensemble": {"step": 0.1}}, True),
        ("hertel_ensemble", "paper", ["average_multi"], {"ensemble": {"step": 0.1, "weights": "equal"}}, False),
        ("hertel_ensemble", "paper", ["average_multi"], {"ensemble": {"ties": "lowest"}}, False),
        ("hertel_ensemble", "paper", ["vgg19_multi"], {"statistics": "trained"}, False),
        ("hertel_ensemble", "paper", ["resnet152_multi"], {"batchnorm_momentum": 0.9}, False),
        ("hertel_ensemble", "paper", ["resnet152_multi"], {"batchnorm_momentum": 0.9, "statistics": "trained"}, True),
    ],
)
def test_an_option_that_no_system_reads_is_refused(paper, profile, systems, options, read):
    found, changes = load_paper(paper), {"systems": systems, "options": options}
    protocol = found.protocol(profile, changes)
    said = refusal(found, protocol, changes)
    assert said.startswith("--set options.") is not read


@pytest.mark.parametrize(
    ("paper", "system"),
    [
        ("covid_sdnet", "covid_caps_pretrained"),
        ("covid_cxnet", "base_v1_released"),
        ("covid_cxnet", "base_v2_released_external"),
    ],
)
def test_settings_of_trainings_do_not_concern_networks_as_released(paper, system):
    found = load_paper(paper)
    published, reduced = (found.settings_read(system, found.protocol(name)) for name in ("paper", "cpu"))
    differing = {key for key in published | reduced if published.get(key) != reduced.get(key)}
    assert all(key.startswith("cohort.") for key in differing)


@pytest.mark.parametrize(
    ("paper", "system", "read"),
    [
        ("covid_sdnet", "covid_caps_retrained", False),
        ("covid_sdnet", "fucitnet", False),
        ("covid_sdnet", "covid_sdnet", True),
        ("covid_sdnet", "resnet50_full", True),
        ("covid_cxnet", "base_v1", False),
        ("covid_cxnet", "cxnet_v1", True),
        ("arias_vgg19", "view16", True),
        ("hertel_ensemble", "vote_multi", True),
    ],
)
def test_a_size_that_no_network_has_is_refused(paper, system, read):
    found, changes = load_paper(paper), {"systems": [system], "size": [288, 288]}
    said = refusal(found, found.protocol("paper", changes), changes)
    assert said.startswith("--set size: ") is not read


def test_fucitnet_weighs_classes_and_takes_its_optimiser_from_the_protocol():
    paper = load_paper("covid_sdnet")
    system = paper.system("fucitnet")
    for changes, weights, kind in (
        ({}, (1.0, 0.25), keras.optimizers.Adam),
        ({"class_weights": "none"}, (1.0, 1.0), keras.optimizers.Adam),
        ({"optimizer": {"name": "sgd", "momentum": 0.5}}, (1.0, 0.25), keras.optimizers.SGD),
    ):
        protocol, network = paper.protocol("smoke", {"trainings": {"fucitnet": changes}}), small(system, 2)
        system.compile(network, system.training(protocol), protocol, np.array([10, 40]))
        assert network.class_weights == pytest.approx(weights)
        assert isinstance(network.optimizer, kind)
        assert float(network.optimizer.learning_rate) == pytest.approx(0.001)


@pytest.mark.parametrize(
    ("paper", "system", "given", "flag"),
    [
        ("covid_cxnet", "base_v1", {"weights": "imagenet"}, "--weights"),
        ("covid_cxnet", "base_v1", {"weights": "none"}, ""),
        ("covid_cxnet", "cxnet_v1", {"weights": "imagenet"}, ""),
        ("covid_cxnet", "base_v1", {"files": {"chexnet": "a.h5"}}, "--checkpoint chexnet"),
        ("covid_cxnet", "flat", {"files": {"chexnet": "a.h5"}}, ""),
        ("covid_sdnet", "covid_caps_retrained", {"files": {"resnet18": "a.h5"}}, "--checkpoint resnet18"),
        ("covid_sdnet", "covid_sdnet", {"files": {"resnet18": "a.h5"}}, ""),  # builds on fucitnet
        ("arias_vgg19", "unet1", {"weights": "imagenet"}, "--weights"),
        ("arias_vgg19", "unet1", {"files": {"vgg16": "a.h5"}}, "--checkpoint vgg16"),
        ("hertel_ensemble", "densenet201_whole", {"files": {"vgg19": "a.h5"}}, "--checkpoint vgg19"),
    ],
)
def test_weights_that_no_system_of_the_run_reads_are_refused(paper, system, given, flag):
    found = load_paper(paper)
    protocol = found.protocol(found.profiles[0], {"systems": [system]} | given)
    refused = pytest.raises(UserError, match=f"^{flag}: has no effect") if flag else nullcontext()
    with refused:
        require_read(found, protocol, given)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("training.optimizer.learning_rate=.inf", "learning_rate"),
        ("training.optimizer.learning_rate=.nan", "learning_rate"),
        ("training.augmentation.rotation=.nan", "rotation"),
        ("training.augmentation.rotation=-5", "rotation"),
        ("training.augmentation.shift=[0.1, .inf]", "shift"),
        ("training.augmentation.zoom=[0, 1]", "zoom"),
        ("training.seed=-1", "seed"),
        ("split.seed=99999999999999999999", "seed"),
        ("cohort.seed=-1", "seed"),
        ("split.repeats=100000000", "repeats"),
        ("split.folds=100000", "folds"),
        ("training.epochs=1000000000000", "epochs"),
        ("size=[100000, 100000]", "size"),
        ("cohort.size=100000", "size"),
        ("options.width=-1", "width"),
        ("options.width=2", "width"),
        ("options.batchnorm_momentum=.nan", "batchnorm_momentum"),
        ("paper=../../x", "paper"),
        ("profile=../../x", "profile"),
    ],
)
@pytest.mark.parametrize("paper", PAPERS)
def test_a_setting_out_of_range_is_refused_before_anything_is_made(paper, change, named, tmp_path, capsys):
    if change.startswith("options.batchnorm") and paper == "arias_vgg19":
        pytest.skip("has no such option")
    given = ("reproduce", paper, "--profile", "smoke", "--out", tmp_path / "run", "--set", change)
    assert named in fails(capsys, *given)
    assert not list(tmp_path.iterdir())
