"""CheXNet and COVID-CXNet: of the authors' size, flat, and loaded from files whole or not at all."""

from __future__ import annotations

from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from covid_keras.common.errors import UserError
from covid_keras.explain import grad_cam
from covid_keras.models import build_chexnet, build_cxnet, load_weights
from covid_keras.models.cxnet import CHEXNET_FINDINGS

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


def legacy_name(name: str) -> str:
    return name.replace("conv1_", "conv1/", 1) if name in ("conv1_conv", "conv1_bn") else name


def list_names(group: h5py.Group, key: str, names: list[str]) -> None:
    group.attrs[key] = np.array([name.encode() for name in names]) if names else np.zeros(0, "S1")


def listed(file: h5py.File) -> list[str]:
    return [name.decode() for name in file.attrs["layer_names"]]


def write_legacy(path: Path, model: keras.Model, head: str = "", nested: bool = False) -> Path:
    """Write as Keras 2 did: `conv1/conv`, the head called as asked, TensorFlow's names of variables."""
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if nested else file
        names = []
        for layer in model.layers:
            name = head if head and layer.name == "output_layer" else legacy_name(layer.name)
            names.append(name)
            group = root.create_group(name)
            places = [f"{name}/{weight.name}:0" for weight in layer.weights]
            list_names(group, "weight_names", places)
            for place, weight in zip(places, layer.weights, strict=True):
                group[place] = np.asarray(weight)
        list_names(root, "layer_names", names)
        root.attrs["backend"], root.attrs["keras_version"] = b"tensorflow", b"2.1.3"
    return path


@pytest.fixture(scope="module")
def upstream(chexnet, tmp_path_factory) -> Path:
    """A file laid out as those of the project that trained CheXNet."""
    return write_legacy(tmp_path_factory.mktemp("chexnet") / "chexnet.h5", chexnet, "predictions")


@pytest.fixture
def copy(upstream, tmp_path) -> Path:
    path = tmp_path / "copy.h5"
    path.write_bytes(upstream.read_bytes())
    return path


def same(one: keras.layers.Layer, other: keras.layers.Layer) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one.get_weights(), other.get_weights(), strict=True))


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
    assert not chexnet.compiled


def test_cxnet_is_of_the_authors_size(cxnet, small):
    assert len(cxnet.layers) == 431
    assert cxnet.count_params() == 7_047_765
    assert sum(int(np.prod(v.shape)) for v in cxnet.trainable_variables) == 6_964_117 == 7_047_765 - STATISTICS
    assert small.count_params() == 7_047_787
    assert cxnet.input_shape == (None, 320, 320, 3)
    assert cxnet.get_layer("relu").output.shape == (None, 10, 10, 1024)
    for network in (cxnet, small):
        assert not [layer for layer in network.layers if isinstance(layer, keras.Model)]
        assert all(layer.trainable for layer in network.layers)
        assert not network.compiled


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


def test_momentum_is_kerass_own_unless_given(small):
    assert momenta(small) == {0.99}


def momenta(model: keras.Model) -> set[float]:
    return {layer.momentum for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)}


def test_softmax_and_sigmoid_are_of_the_same_logits(chexnet, upstream):
    images = np.random.default_rng(0).random((2, *SHAPE)).astype(np.float32)
    sums_to_one = np.asarray(build_chexnet(SHAPE, "softmax", upstream)(images))
    np.testing.assert_allclose(sums_to_one.sum(axis=1), 1, atol=1e-6)
    scores = np.asarray(chexnet(images), np.float64)
    assert np.ptp(scores[0]) > 0.01
    odds = scores / (1 - scores)
    np.testing.assert_allclose(sums_to_one, odds / odds.sum(axis=1, keepdims=True), rtol=1e-3, atol=1e-6)


def test_probabilities_are_float32_also_in_mixed_precision():
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        networks = [build_cxnet((32, 32, 3)), build_chexnet((32, 32, 3))]
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    assert networks[0].get_layer("fc").compute_dtype == "bfloat16"
    assert networks[1].get_layer("pooling_layer").output.dtype == "bfloat16"
    assert [network.output.dtype for network in networks] == ["float32", "float32"]


@pytest.mark.parametrize(("head", "nested"), [("predictions", False), ("output_layer", True)])
def test_files_of_either_head_load_whole(chexnet, tmp_path, head, nested):
    path = write_legacy(tmp_path / "chexnet.h5", chexnet, head, nested)
    loaded = build_chexnet((32, 32, 3), weights=path)  # the file fits any size
    assert loaded.layers[-1].name == "output_layer"
    for one, other in zip(chexnet.layers, loaded.layers, strict=True):
        assert same(one, other), one.name


def test_names_of_layers_are_those_of_keras_2_but_for_the_slash(upstream, chexnet):
    with h5py.File(upstream) as file:
        names = listed(file)
    assert {"conv1/conv", "conv1/bn", "conv2_block1_0_bn", "pool2_conv", "bn", "predictions"} <= set(names)
    odd = {name.replace("/", "_") for name in names} ^ {layer.name for layer in chexnet.layers}
    assert odd == {"predictions", "output_layer"}


def test_cxnet_takes_chexnets_weights_below_its_own_head(chexnet, upstream):
    loaded = build_cxnet((32, 32, 3), weights=upstream, batchnorm_momentum=0.9)
    assert len(loaded.layers) == 431
    assert momenta(loaded) == {0.9}
    for one, other in zip(chexnet.layers[:-1], loaded.layers[:-3], strict=True):
        assert same(one, other), one.name
    assert loaded.layers[-3].name == "fc"


def test_cxnet_takes_a_notop_file_and_chexnet_does_not(chexnet, tmp_path):
    base = keras.Model(chexnet.input, chexnet.get_layer("relu").output)
    path = write_legacy(tmp_path / "notop.h5", base)
    loaded = build_cxnet((32, 32, 3), weights=path)
    assert same(loaded.get_layer("conv5_block16_2_conv"), chexnet.get_layer("conv5_block16_2_conv"))
    with pytest.raises(UserError, match=r"notop\.h5: has no weights for the layer 'output_layer'"):
        build_chexnet((32, 32, 3), weights=path)


def test_its_own_file_is_no_start(small, tmp_path):
    """It is for `load_weights`."""
    path = write_legacy(tmp_path / "cxnet.h5", small)
    assert load_weights(small, path).parameters == 7_047_787
    with pytest.raises(UserError, match="holds weights of a layer 'fc'"):
        build_cxnet((32, 32, 3), 3, weights=path)


def drop_a_tensor(file: h5py.File) -> None:
    del file["conv4_block3_1_conv/conv4_block3_1_conv/kernel:0"]


def drop_a_layer(file: h5py.File) -> None:
    list_names(file, "layer_names", [name for name in listed(file) if name != "pool3_bn"])


def add_a_layer(file: h5py.File) -> None:
    group = file.create_group("extra")
    list_names(group, "weight_names", ["extra/kernel:0"])
    group["extra/kernel:0"] = np.zeros((14, 2), np.float32)
    list_names(file, "layer_names", [*listed(file), "extra"])


def widen_the_head(file: h5py.File) -> None:
    group = file["predictions/predictions"]
    del group["kernel:0"], group["bias:0"]
    group["kernel:0"], group["bias:0"] = np.zeros((1024, 15), np.float32), np.zeros(15, np.float32)


def spoil_a_value(file: h5py.File) -> None:
    file["bn/bn/moving_variance:0"][3] = np.nan


@pytest.mark.parametrize(
    ("spoil", "build", "words"),
    [
        (drop_a_tensor, build_chexnet, "conv4_block3_1_conv/kernel:0' is listed but absent"),
        (drop_a_layer, build_chexnet, "has no weights for the layer 'pool3_bn'"),
        (add_a_layer, build_cxnet, "holds weights of a layer 'extra'"),
        (widen_the_head, build_chexnet, r"predictions/kernel:0 has shape \(1024, 15\), the model wants \(1024, 14\)"),
        (widen_the_head, build_cxnet, r"predictions/kernel:0 has shape \(1024, 15\), the model wants \(1024, 14\)"),
        (spoil_a_value, build_cxnet, "bn/moving_variance:0 holds values that are not finite"),
    ],
)
def test_spoilt_files_are_refused_in_one_line(copy, spoil, build, words):
    with h5py.File(copy, "a") as file:
        spoil(file)
    with pytest.raises(UserError, match=rf"copy\.h5: .*{words}") as caught:
        build((32, 32, 3), weights=copy)
    assert "\n" not in str(caught.value)


def test_what_is_no_weight_file_is_named(tmp_path):
    for build in (build_chexnet, build_cxnet):
        with pytest.raises(UserError, match=r"absent\.h5: is no weight file"):
            build((32, 32, 3), weights=tmp_path / "absent.h5")
    (page := tmp_path / "page.h5").write_text("<html>")
    with pytest.raises(UserError, match=r"page\.h5: cannot be read as HDF5"):
        build_cxnet((32, 32, 3), weights=page)


def test_imagenet_weights_that_cannot_be_had_are_one_line(monkeypatch):
    def fails(*arguments, weights, **named):
        assert weights == "imagenet"
        raise Exception("URL fetch failure on https://storage.googleapis.com/x.h5: None")

    monkeypatch.setattr(keras.applications, "DenseNet121", fails)
    with pytest.raises(UserError, match="DenseNet121 ImageNet weights: could not be downloaded"):
        build_cxnet((32, 32, 3), weights="imagenet")


def test_arguments_that_make_no_network_are_refused():
    with pytest.raises(ValueError, match="classes must be at least 1"):
        build_cxnet((32, 32, 3), 0)
    with pytest.raises(ValueError, match="sigmoid or softmax, not 'relu'"):
        build_chexnet((32, 32, 3), "relu")


def test_grad_cam_explains_cxnet(small):
    images = np.random.default_rng(1).random((2, *SHAPE)).astype(np.float32)
    heat = grad_cam(small, images, [0, 2], layer="relu")
    assert heat.shape == (2, 64, 64)
    assert np.isfinite(heat).all()
    assert heat.min() >= 0
    assert heat.max() <= 1
    assert heat.max(axis=(1, 2)).any()
