"""The three networks of Hertel & Benlamri: size, new layers, what is unfrozen when, decisions of one sigmoid."""

from __future__ import annotations

import itertools

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from covid_keras.models.steady import SteadyBatchNormalization, narrowed
from covid_keras.paper.unfreezing import layers_of, open_stage, stages_of
from papers.hertel_ensemble import networks
from papers.hertel_ensemble.networks import NETWORKS, build_network, builder
from papers.hertel_ensemble.paper import PAPER
from papers.hertel_ensemble.systems import BINARY, MULTI, Classifier
from tests.helpers.networks import unallocated
from tests.helpers.refusals import refused

pytestmark = pytest.mark.slow

SIDE = 64
HEAD = ("pooling", "hidden", "dropout", "probability")
UNITS = {"densenet201": 128, "resnet152": 1024, "vgg19": 4096}
SUMS = {"densenet201": 18_568_259, "resnet152": 60_472_195, "vgg19": 22_137_923}
# Of keras.applications' networks without top, and the width of their last feature maps.
BACKBONES = {"densenet201": (18_321_984, 1920), "resnet152": (58_370_944, 2048), "vgg19": (20_024_384, 512)}
SMOKE = {"options": {"width": 0.03, "shallow": False}, "size": [32, 32]}


@pytest.fixture(scope="module")
def whole() -> dict[str, keras.Model]:
    """All three as published."""
    return {
        name: unallocated(lambda name=name: build_network(name, (SIDE, SIDE, 3), weights="none")) for name in NETWORKS
    }


def tiny(classes: int = 3, **options) -> keras.Model:
    """The one that is built soonest, of a few filters."""
    return build_network("vgg19", (32, 32, 3), classes, **{"weights": "none", "width": 0.03} | options)


def learning(model: keras.Model) -> set[str]:
    """The names of the backbone's layers that have weights."""
    return {layer.name for layer in model.layers if layer.weights} - {"hidden", "probability"}


def groups_of(model: keras.Model, name: str) -> list[set[str]]:
    """The layers of each group, by name."""
    return [{layer.name for layer in layers_of(model, group)} for group in NETWORKS[name].groups]


# --- as published


@pytest.mark.parametrize("name", NETWORKS)
def test_backbone_pooling_dense_dropout_output(whole, name):
    model = whole[name]
    assert tuple(layer.name for layer in model.layers[-4:]) == HEAD
    pooling, hidden, dropout, output = model.layers[-4:]
    backbone, channels = BACKBONES[name]
    assert isinstance(pooling, layers.GlobalAveragePooling2D)
    assert pooling.output.shape == (None, channels)
    assert pooling.input.shape == (None, SIDE // 32, SIDE // 32, channels)
    assert (hidden.units, hidden.activation.__name__, dropout.rate) == (UNITS[name], "relu", 0.1)
    assert (output.units, output.activation.__name__, output.compute_dtype) == (3, "softmax", "float32")
    assert (model.input_shape, model.output_shape) == ((None, SIDE, SIDE, 3), (None, 3))
    new = (channels + 1) * UNITS[name] + (UNITS[name] + 1) * 3
    assert model.count_params() == backbone + new == SUMS[name]
    assert not model.compiled
    assert model.name == name
    assert not any(isinstance(layer, keras.Model) for layer in model.layers), "flat"


@pytest.mark.parametrize(("name", "convolutions"), [("densenet201", 200), ("resnet152", 155), ("vgg19", 16)])
def test_depth_and_batch_normalisation(whole, name, convolutions):
    """200 and the output; 151 with four shortcuts and the output; 16, two denser layers and the output."""
    kinds = [type(layer) for layer in whole[name].layers]
    assert kinds.count(layers.Conv2D) == convolutions
    assert layers.BatchNormalization not in kinds, "all of it is steady"
    assert (SteadyBatchNormalization in kinds) == (name != "vgg19")


def test_the_resnet_is_of_the_first_version(whole):
    """Normalisation after the convolution: no `preact` layers, and the shortcut of the first block is normalised."""
    names = {layer.name for layer in whole["resnet152"].layers}
    assert {"conv2_block1_0_bn", "conv4_block36_out"} < names
    assert not any("preact" in name for name in names)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_layer_of_the_heat_maps_is_the_last_with_an_extent(whole, name):
    """A name, or how that of the last convolution begins."""
    found = layers_of(whole[name], (networks.HEAT_LAYERS[name],))
    assert found
    last = found[-1].output.shape
    side = SIDE // 16 if name == "vgg19" else SIDE // 32  # before the last pooling
    assert last == (None, side, side, BACKBONES[name][1])
    assert networks.HEAT_LAYERS[name] == PAPER.system(f"{name}_multi").heat_layer


@pytest.mark.parametrize(
    ("name", "parameters"), [("densenet201", 1_232_784), ("resnet152", 3_720_928), ("vgg19", 1_252_880)]
)
def test_a_quarter_of_the_filters_in_the_same_places(whole, name, parameters):
    """The networks of the cpu profile, their backbones; with all their branches."""
    model = whole[name]
    copy = unallocated(lambda: narrowed(model, 0.25))
    assert [layer.name for layer in copy.layers] == [layer.name for layer in model.layers]
    for layer, narrow in zip(model.layers, copy.layers, strict=True):
        assert type(narrow) is type(layer)
        assert _before(narrow) == _before(layer), layer.name
        assert narrow.output.shape[1:-1] == layer.output.shape[1:-1]
        if isinstance(layer, layers.Conv2D):
            same = ("kernel_size", "strides", "padding", "use_bias")
            assert narrow.filters == layer.filters // 4
            assert all(getattr(narrow, key) == getattr(layer, key) for key in same)
    width = BACKBONES[name][1] // 4
    head = (width + 1) * UNITS[name] + (UNITS[name] + 1) * 3
    assert copy.count_params() - head == parameters


def _before(layer: layers.Layer) -> list[str]:
    """The layers whose outputs it takes."""
    return [tensor._keras_history.operation.name for node in layer._inbound_nodes for tensor in node.input_tensors]


# --- what is unfrozen when


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_of_the_backbone_is_in_one_group_and_none_of_the_head(whole, name):
    model = whole[name]
    groups, trained = groups_of(model, name), learning(model)
    assert all(group & trained for group in groups)
    assert sum(map(len, groups)) == len(set().union(*groups)), "none is in two"
    assert set().union(*groups) & trained == trained
    assert not set().union(*groups) & set(HEAD)
    # From the top: groups lie behind one another.
    place = {layer.name: number for number, layer in enumerate(model.layers)}
    spans = [[place[one] for one in names & trained] for names in groups]
    for upper, lower in itertools.pairwise(spans):
        assert min(upper) > max(lower)
    assert len(groups) == (5 if name == "vgg19" else 4)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_stages_open_the_network_from_the_top(whole, name):
    """The share of the network that learns grows from the new layers to all of it."""
    model, groups = whole[name], NETWORKS[name].groups
    stages = stages_of(PAPER.system(f"{name}_multi").training(PAPER.protocol("paper")), groups)
    counts = []
    for stage in stages:
        open_stage(model, groups, stage)
        counts.append(sum(int(np.prod(weight.shape)) for weight in model.trainable_weights))
    new = model.count_params() - BACKBONES[name][0]
    assert counts[0] == new
    assert counts == sorted(set(counts))
    moving = sum(int(np.prod(w.shape)) for w in model.weights if w.name.startswith("moving_"))
    assert counts[-1] == model.count_params() - moving, "gamma and beta learn, mean and variance do not"
    first = {"densenet201": "conv5", "resnet152": "conv5", "vgg19": "block5"}[name]
    names = [stage.name for stage in stages]
    assert names[:2] == ["head", first]
    assert len(names) == 1 + len(groups)


# --- options


def test_two_classes_are_one_sigmoid():
    model = tiny(classes=2)
    output = model.get_layer("probability")
    assert (output.units, output.activation.__name__, model.output_shape) == (1, "sigmoid", (None, 1))
    four = tiny(classes=4).get_layer("probability")
    assert (four.units, four.activation.__name__) == (4, "softmax")


@pytest.mark.parametrize("steady", [True, False])
def test_statistics_frozen_or_trained(steady):
    options = {"width": 1 / 16, "steady": steady, "batchnorm_momentum": 0.8, "shallow": True}
    model = unallocated(lambda: build_network("resnet152", (32, 32, 3), weights="none", **options))
    found = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    assert {type(layer) for layer in found} == {SteadyBatchNormalization if steady else layers.BatchNormalization}
    assert {layer.momentum for layer in found} == {0.8}
    assert model.get_layer("hidden").units == 64
    assert model.get_layer("conv5_block3_3_conv").filters == 128


@pytest.mark.parametrize(("name", "last"), [("vgg19", "block5_conv3"), ("resnet152", "conv4_block6_out")])
def test_the_shallowest_of_the_family_have_the_same_stages(name, last):
    model = unallocated(lambda: build_network(name, (32, 32, 3), weights="none", width=0.0625, shallow=True))
    assert model.get_layer(last)
    groups = groups_of(model, name)
    assert all(group & learning(model) for group in groups)
    assert set().union(*groups) >= learning(model)
    assert layers_of(model, (networks.HEAT_LAYERS[name],))


def test_flattened_feature_maps_are_the_other_reading():
    model = build_network("vgg19", (64, 32, 3), weights="none", width=0.03, pooling="flatten")
    channels = model.get_layer("block5_conv4").filters
    assert model.get_layer("pooling").output.shape == (None, 2 * 1 * channels)
    with pytest.raises(ValueError, match="pooling"):
        tiny(pooling="max")


def test_a_share_of_the_filters_has_no_imagenet_weights():
    with pytest.raises(ValueError, match="random initial weights"):
        tiny(weights="imagenet", width=0.5)


def test_a_network_without_normalisation_begins_as_he_et_al_draw():
    for layer in tiny(width=0.25).layers:
        if isinstance(layer, layers.Conv2D):
            assert layer.get_config()["kernel_initializer"]["class_name"] == "HeNormal"


def test_a_file_of_keras_applications_is_loaded_by_name(tmp_path, whole):
    """Every tensor of the file, under the names that the official files have; the head stays as it is."""
    rng, path = np.random.default_rng(0), tmp_path / "notop.h5"
    base = [layer for layer in whole["vgg19"].layers if layer.name not in HEAD]
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array([layer.name.encode() for layer in base])
        for layer in base:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
            group.attrs["weight_names"] = np.array([name.encode() for name in names]) if names else np.zeros(0, "S1")
            for name, weight in zip(names, layer.weights, strict=True):
                value = rng.standard_normal(weight.shape[-1:]).astype(np.float32)
                group[name] = np.broadcast_to(value, weight.shape)
    model = build_network("vgg19", (32, 32, 3), weights=path)
    with h5py.File(path) as file:
        for name in ("block1_conv1", "block3_conv4", "block5_conv4"):
            for weight in model.get_layer(name).weights:
                np.testing.assert_array_equal(np.asarray(weight), file[name][f"{name}/{weight.name}:0"][()])
    refused(r"notop\.h5", build_network, "densenet201", (32, 32, 3), weights=path)


@pytest.mark.parametrize(("name", "classes"), [("vgg19_multi", MULTI), ("vgg19_binary", BINARY), ("vgg19_gr5", BINARY)])
def test_a_system_builds_by_the_protocol(name, classes):
    protocol, system = PAPER.protocol("smoke", SMOKE), PAPER.system(name)
    model = system.build(protocol, system.classes)
    assert system.classes == classes
    assert model.input_shape == (None, 32, 32, 3)
    assert model.output_shape == (None, 3 if classes == MULTI else 1)
    assert model.get_layer("hidden").units == round(0.03 * 4096)
    assert model.get_layer("block5_conv4").filters == round(0.03 * 512)


def test_the_builder_hands_the_options_over(monkeypatch):
    given = {}
    monkeypatch.setattr(
        networks, "build_network", lambda name, shape, classes, **options: given.update(options, shape=shape)
    )
    options = {"pooling": "flatten", "statistics": "trained", "batchnorm_momentum": 0.7, "width": 0.5}
    names = ("pooling", "steady", "batchnorm_momentum", "width", "weights", "shape")
    for profile, changes, values in (
        ("cpu", {"options": options}, ("flatten", False, 0.7, 0.5, "none", (96, 96, 3))),
        ("paper", {}, ("average", True, None, 1.0, "imagenet", (256, 256, 3))),
        ("paper", {"files": {"vgg19": "/a.h5"}}, ("average", True, None, 1.0, "/a.h5", (256, 256, 3))),
    ):
        builder("vgg19")(PAPER.protocol(profile, changes), BINARY)
        assert tuple(given[name] for name in names) == values


# --- decisions


@pytest.fixture(scope="module")
def binary() -> Classifier:
    return PAPER.system("vgg19_binary")


def test_covid_from_one_half_on(binary):
    below = np.nextafter(np.float32(0.5), np.float32(0))
    outputs = np.array([0.5, below, 0, 1, 0.75], np.float32)[:, None, None]
    decided, scores = binary.decide(outputs, BINARY)
    assert decided.tolist() == [1, 0, 0, 1, 1]
    assert (decided.dtype, scores.dtype) == (np.int64, np.float64)
    np.testing.assert_array_equal(scores[:, 1], outputs[:, 0, 0])
    np.testing.assert_array_equal(scores.sum(axis=1), 1)
    assert [BINARY[index] for index in decided[:2]] == ["COVID-19", "no COVID-19"]


@pytest.mark.parametrize(("name", "index"), [("COVID-19", 1), ("no COVID-19", 0)])
def test_evidence_is_looked_for_in_the_one_sigmoid(binary, name, index):
    images = np.zeros((2, 1, 4, 4, 3))
    model, inputs, found = binary.evidence("model", images, name, BINARY)
    assert (model, inputs.shape, found) == ("model", (2, 4, 4, 3), index)
