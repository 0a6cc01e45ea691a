"""CheXNet and COVID-CXNet: of the authors' size, flat, and loaded from files whole or not at all."""

from __future__ import annotations

from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from covid_keras.common.errors import UserError
from covid_keras.models import build_chexnet, build_cxnet, load_weights
from covid_keras.models.cxnet import CHEXNET_FINDINGS
from tests.helpers.networks import momenta, read_names, same_weights, write_legacy, write_names

pytestmark = pytest.mark.slow

SHAPE = (64, 64, 3)
BACKBONE = 7_037_504  # DenseNet-121 without its top
STATISTICS = 83_648  # of its batch normalisation, not trained


@pytest.fixture(scope="module")
def chexnet() -> keras.Model:
    """With values of its own in every tensor, statistics too, and none swappable."""
    keras.utils.set_random_seed(0)
    model = build_chexnet(SHAPE)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if len(weight.shape) == 1:
            weight.assign(weight + rng.uniform(0, 0.02, weight.shape))
    return model


@pytest.fixture(scope="module")
def cxnet() -> keras.Model:
    return build_cxnet()


@pytest.fixture(scope="module")
def small() -> keras.Model:
    return build_cxnet(SHAPE, 3)


def write(path: Path, model: keras.Model, head: str = "output_layer", below: str = "") -> Path:
    """Write as Keras 2 did: `conv1/conv`, the head called as asked."""
    names = {"conv1_conv": "conv1/conv", "conv1_bn": "conv1/bn", "output_layer": head}
    return write_legacy(path, model, lambda name: names.get(name, name), below=below)


@pytest.fixture(scope="module")
def upstream(chexnet, tmp_path_factory) -> Path:
    """A file laid out as those of the project that trained CheXNet."""
    return write(tmp_path_factory.mktemp("chexnet") / "chexnet.h5", chexnet, "predictions")


@pytest.fixture
def copy(upstream, tmp_path) -> Path:
    path = tmp_path / "copy.h5"
    path.write_bytes(upstream.read_bytes())
    return path


def test_findings_are_in_the_published_order():
    assert len(CHEXNET_FINDINGS) == len(set(CHEXNET_FINDINGS)) == 14
    places = {0: "Atelectasis", 3: "Infiltration", 6: "Pneumonia", 8: "Consolidation", 13: "Hernia"}
    assert {place: CHEXNET_FINDINGS[place] for place in places} == places


def test_chexnet_is_of_the_authors_size(chexnet):
    assert len(chexnet.layers) == 429
    assert chexnet.count_params() == 7_051_854 == BACKBONE + 1024 * 14 + 14
    pool, head = chexnet.layers[-2:]
    assert (pool.name, head.name) == ("pooling_layer", "output_layer")
    assert isinstance(pool, keras.layers.GlobalAveragePooling2D)
    assert chexnet.output_shape == (None, 14)


def test_cxnet_is_of_the_authors_size(cxnet, small):
    assert len(cxnet.layers) == 431
    assert cxnet.count_params() == 7_047_765
    assert sum(int(np.prod(v.shape)) for v in cxnet.trainable_variables) == 6_964_117 == 7_047_765 - STATISTICS
    assert small.count_params() == 7_047_787
    assert cxnet.input_shape == (None, 320, 320, 3)
    assert cxnet.get_layer("relu").output.shape == (None, 10, 10, 1024)


def test_head_of_cxnet(cxnet, small):
    pool, fc, dropout, pred = cxnet.layers[-4:]
    assert [each.name for each in (pool, fc, dropout, pred)] == ["pooling_layer", "fc", "dropout", "pred"]
    assert (fc.units, fc.activation.__name__, dropout.rate) == (10, "relu", 0.2)
    assert (pred.units, pred.activation.__name__) == (1, "sigmoid")
    assert (small.layers[-1].units, small.layers[-1].activation.__name__) == (3, "softmax")


def test_what_is_given_is_taken():
    network = build_cxnet((32, 32, 3), 2, hidden=7, dropout=0.5, batchnorm_momentum=0.9, name="other")
    assert network.name == "other"
    assert (network.get_layer("fc").units, network.get_layer("dropout").rate) == (7, 0.5)
    assert (network.layers[-1].units, network.layers[-1].activation.__name__) == (2, "softmax")
    assert momenta(network) == {0.9}


def test_softmax_and_sigmoid_are_of_the_same_logits(chexnet, upstream):
    images = np.random.default_rng(0).random((2, *SHAPE)).astype(np.float32)
    sums_to_one = np.asarray(build_chexnet(SHAPE, "softmax", upstream)(images))
    np.testing.assert_allclose(sums_to_one.sum(axis=1), 1, atol=1e-6)
    scores = np.asarray(chexnet(images), np.float64)
    assert np.ptp(scores[0]) > 0.01
    odds = scores / (1 - scores)
    np.testing.assert_allclose(sums_to_one, odds / odds.sum(axis=1, keepdims=True), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("head", "below"), [("predictions", ""), ("output_layer", "model_weights")])
def test_files_of_either_head_load_whole(chexnet, tmp_path, head, below):
    path = write(tmp_path / "chexnet.h5", chexnet, head, below)
    loaded = build_chexnet((32, 32, 3), weights=path)  # the file fits any size
    assert loaded.layers[-1].name == "output_layer"
    for one, other in zip(chexnet.layers, loaded.layers, strict=True):
        assert same_weights(one, other), one.name


def test_names_of_layers_are_those_of_keras_2_but_for_the_slash(upstream, chexnet):
    with h5py.File(upstream) as file:
        names = read_names(file, "layer_names")
    assert {"conv1/conv", "conv1/bn", "conv2_block1_0_bn", "pool2_conv", "bn", "predictions"} <= set(names)
    odd = {name.replace("/", "_") for name in names} ^ {layer.name for layer in chexnet.layers}
    assert odd == {"predictions", "output_layer"}


def test_cxnet_takes_chexnets_weights_below_its_own_head(chexnet, upstream):
    loaded = build_cxnet((32, 32, 3), weights=upstream, batchnorm_momentum=0.9)
    assert len(loaded.layers) == 431
    assert momenta(loaded) == {0.9}
    for one, other in zip(chexnet.layers[:-1], loaded.layers[:-3], strict=True):
        assert same_weights(one, other), one.name
    assert loaded.layers[-3].name == "fc"


def test_cxnet_takes_a_notop_file_and_chexnet_does_not(chexnet, tmp_path):
    base = keras.Model(chexnet.input, chexnet.get_layer("relu").output)
    path = write(tmp_path / "notop.h5", base)
    loaded = build_cxnet((32, 32, 3), weights=path)
    assert same_weights(loaded.get_layer("conv5_block16_2_conv"), chexnet.get_layer("conv5_block16_2_conv"))
    with pytest.raises(UserError, match=r"notop\.h5: has no weights for the layer 'output_layer'"):
        build_chexnet((32, 32, 3), weights=path)


def test_its_own_file_is_no_start(small, tmp_path):
    """It is for `load_weights`."""
    path = write(tmp_path / "cxnet.h5", small)
    assert load_weights(small, path).parameters == 7_047_787
    with pytest.raises(UserError, match="no weights for the layer 'output_layer'"):
        build_cxnet((32, 32, 3), 3, weights=path)


def drop_a_layer(file: h5py.File) -> None:
    write_names(file, "layer_names", [name for name in read_names(file, "layer_names") if name != "pool3_bn"])


def add_a_layer(file: h5py.File) -> None:
    group = file.create_group("extra")
    write_names(group, "weight_names", ["extra/kernel:0"])
    group["extra/kernel:0"] = np.zeros((14, 2), np.float32)
    write_names(file, "layer_names", [*read_names(file, "layer_names"), "extra"])


def widen_the_head(file: h5py.File) -> None:
    group = file["predictions/predictions"]
    del group["kernel:0"], group["bias:0"]
    group["kernel:0"], group["bias:0"] = np.zeros((1024, 15), np.float32), np.zeros(15, np.float32)


@pytest.mark.parametrize(
    ("spoil", "build", "words"),
    [
        (drop_a_layer, build_chexnet, "has no weights for the layer 'pool3_bn'"),
        (add_a_layer, build_cxnet, "has weights for a layer 'extra'"),
        (widen_the_head, build_chexnet, r"predictions/kernel:0 has shape \(1024, 15\), the model expects \(1024, 14\)"),
        (widen_the_head, build_cxnet, r"predictions/kernel:0 has shape \(1024, 15\), the model expects \(1024, 14\)"),
    ],
)
def test_spoilt_files_are_refused_in_one_line(copy, spoil, build, words):
    with h5py.File(copy, "a") as file:
        spoil(file)
    with pytest.raises(UserError, match=rf"copy\.h5: .*{words}") as caught:
        build((32, 32, 3), weights=copy)
    assert "\n" not in str(caught.value)


def test_what_is_no_weight_file_is_named(tmp_path):
    (page := tmp_path / "page.h5").write_text("<html>")
    with pytest.raises(UserError, match=r"page\.h5: is a web page"):
        build_cxnet((32, 32, 3), weights=page)
