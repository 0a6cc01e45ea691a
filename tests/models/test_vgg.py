"""VGG16 and VGG19: of the authors' size, with their head, and ImageNet's colours summed up as they did it."""

from __future__ import annotations

from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from covid_keras.common.errors import UserError
from covid_keras.explain import grad_cam
from covid_keras.models import load_weights, save_weights
from covid_keras.models.vgg import GREY_WEIGHTS, build_vgg, grey_kernel
from tests.helpers.networks import read_names, unallocated, write_legacy, write_names

GREY, RGB = (32, 32, 1), (32, 32, 3)
WIDTH = 1 / 16
HEAD = ["pool", "dropout1", "hidden1", "dropout2", "hidden2", "hidden3", "probability"]


def without_values(depth: int, **options) -> keras.Model:
    return unallocated(lambda: build_vgg(depth, weights="none", **options))


def write_notop(path: Path, model: keras.Model) -> Path:
    """Write as the official `notop` files are, tensors called `block1_conv1_W_1:0`, `_b_1:0`."""
    letters = {"kernel": "W", "bias": "b"}
    return write_legacy(path, model, tensor_name=lambda layer, tensor: f"{layer}_{letters[tensor]}_1:0")


def small(depth: int = 16, shape: tuple[int, int, int] = GREY, weights="none", **options) -> keras.Model:
    return build_vgg(depth, shape, weights=weights, width=WIDTH, **options)


def features(model: keras.Model, layer: str = "block5_pool") -> keras.Model:
    return keras.Model(model.input, model.get_layer(layer).output)


def with_biases(model: keras.Model, seed: int = 0) -> keras.Model:
    """Give every bias values of its own: a new network's are zero, and would not tell what was loaded."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if len(weight.shape) == 1:
            weight.assign(rng.uniform(-0.1, 0.1, weight.shape))
    return model


@pytest.fixture(scope="module")
def rgb() -> keras.Model:
    keras.utils.set_random_seed(0)
    return with_biases(small(shape=RGB))


@pytest.fixture(scope="module")
def notop(rgb, tmp_path_factory) -> Path:
    return write_notop(tmp_path_factory.mktemp("vgg") / "notop.h5", features(rgb))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(1).normal(0, 1, (2, *GREY)).astype(np.float32)


@pytest.mark.parametrize(("depth", "parameters"), [(16, 15_796_610), (19, 21_106_306)])
@pytest.mark.parametrize("pool5", [2, 8])
def test_parameters_are_those_of_the_authors_networks(depth, parameters, pool5):
    model = without_values(depth, pool5=pool5)
    assert model.count_params() == parameters
    side = 14 // pool5
    assert model.get_layer("block5_pool").output.shape == (None, side, side, 512)


@pytest.mark.parametrize("depth", [16, 19])
def test_layers_are_called_as_in_keras_applications(depth):
    application = getattr(keras.applications, f"VGG{depth}")
    official = unallocated(lambda: application(include_top=False, weights=None, input_shape=(224, 224, 3)))
    model = without_values(depth, input_shape=(224, 224, 3))
    assert [each.name for each in model.layers[1:]] == [each.name for each in official.layers[1:]] + HEAD
    for layer in official.layers[1:]:
        assert model.get_layer(layer.name).output.shape == layer.output.shape
    assert model.name == f"vgg{depth}"


def test_head_is_the_authors():
    model = without_values(16, classes=3, name="other")
    hidden = [model.get_layer(f"hidden{number}") for number in (1, 2, 3)]
    assert [(each.units, each.activation.__name__) for each in hidden] == [(1024, "relu"), (512, "relu"), (64, "relu")]
    assert [model.get_layer(f"dropout{number}").rate for number in (1, 2)] == [0.2, 0.2]
    assert model.layers[-1].activation.__name__ == "softmax"
    assert (model.output_shape, model.name) == ((None, 3), "other")


@pytest.mark.slow
def test_full_network_computes_what_that_of_keras_applications_does(monkeypatch, tmp_path, images):
    """The only full networks with values: 15 million parameters each; from a file in colour, as ImageNet's in grey."""
    official = with_biases(keras.applications.VGG16(include_top=False, weights=None, input_shape=RGB))
    colour = np.repeat(images, 3, axis=-1) * np.float32([3, 1, 2])
    path = write_notop(tmp_path / "vgg16.h5", official)
    expected = official.predict_on_batch(colour)
    assert np.ptp(expected) > 1e-3
    in_colour = build_vgg(16, RGB, weights=path)
    np.testing.assert_allclose(features(in_colour).predict_on_batch(colour), expected, rtol=1e-4, atol=1e-6)

    def downloaded(**arguments):
        assert arguments == {"include_top": False, "weights": "imagenet", "input_shape": RGB}
        return official

    monkeypatch.setattr(keras.applications, "VGG16", downloaded)
    grey = build_vgg(16, GREY)
    assert grey.count_params() == 15_796_610
    expected = official.predict_on_batch(images * np.float32(GREY_WEIGHTS))
    np.testing.assert_allclose(features(grey).predict_on_batch(images), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("channels", "by_index"), [("authors", (0.2989, 0.5870, 0.1140)), ("bgr", (0.1140, 0.5870, 0.2989))]
)
def test_grey_image_gives_what_its_weighted_channels_give_in_colour(rgb, notop, images, channels, by_index):
    grey = small(weights=notop, channels=channels)
    assert grey.input_shape == (None, *GREY)
    for layer in ("block1_conv1", "block5_pool"):
        expected = features(rgb, layer).predict_on_batch(images * np.float32(by_index))
        assert np.ptp(expected) > 0.05
        np.testing.assert_allclose(features(grey, layer).predict_on_batch(images), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(grey.get_layer("block1_conv1").bias, rgb.get_layer("block1_conv1").bias)


def test_channel_weights_are_of_red_green_and_blue():
    kernel = np.arange(3 * 3 * 3 * 2, dtype=np.float32).reshape(3, 3, 3, 2)
    np.testing.assert_array_equal(grey_kernel(kernel, (1, 0, 0))[:, :, 0], kernel[:, :, 0])
    np.testing.assert_array_equal(grey_kernel(kernel, (1, 0, 0), "bgr")[:, :, 0], kernel[:, :, 2])
    assert grey_kernel(kernel).dtype == np.float32
    np.testing.assert_allclose(grey_kernel(np.ones((3, 3, 3, 2), np.float32)), 0.9999, rtol=1e-6)


def test_bug_is_that_of_a_sum_outside_the_loop(rgb, notop):
    kernel = np.asarray(rgb.get_layer("block1_conv1").kernel)
    expected = np.zeros((3, 3, 1, kernel.shape[3]), np.float32)
    for row in range(3):
        for column in range(3):
            colours = kernel[row, column]
        expected[row, column, 0] = GREY_WEIGHTS @ colours
    assert not expected[:, :2].any()
    np.testing.assert_allclose(grey_kernel(kernel, kernel_bug=True), expected, rtol=1e-5, atol=1e-7)
    loaded = small(weights=notop, kernel_bug=True).get_layer("block1_conv1").kernel
    np.testing.assert_allclose(loaded, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(grey_kernel(kernel)[:, 2], grey_kernel(kernel, kernel_bug=True)[:, 2])


def test_last_pooling_of_the_authors_sees_the_upper_left_only():
    pool = without_values(16, pool5=8).get_layer("block5_pool")
    cells = np.random.default_rng(0).random((1, 14, 14, 512)).astype(np.float32)
    others = cells.copy()
    others[:, 8:] = others[:, :, 8:] = 9
    np.testing.assert_array_equal(pool(others), cells[:, :8, :8].max(axis=(1, 2), keepdims=True))
    standard = np.asarray(without_values(16).get_layer("block5_pool")(others))
    assert standard.shape == (1, 7, 7, 512)
    assert (standard[:, 4:] == 9).all()


@pytest.mark.slow
def test_files_of_the_suite_load_whole_or_as_convolutions(tmp_path, images):
    trained = with_biases(small(19))
    expected = trained.predict_on_batch(images)
    for path in (tmp_path / "legacy.h5", tmp_path / "keras3.weights.h5"):
        save_weights(trained, path) if path.name == "legacy.h5" else trained.save_weights(path)
        np.testing.assert_allclose(small(19, weights=path).predict_on_batch(images), expected, rtol=1e-5)
        load_weights(small(19), path)
    part = small(19, weights=save_weights(features(trained), tmp_path / "part.h5"), classes=3)
    assert part.output_shape == (None, 3)
    np.testing.assert_array_equal(features(part).predict_on_batch(images), features(trained).predict_on_batch(images))


def test_every_tensor_of_a_three_channel_file_is_used_as_it_is(rgb, notop):
    grey, colour = small(weights=notop), small(shape=RGB, weights=notop)
    for layer in features(rgb).layers[1:]:
        for model in (grey, colour)[layer.name == "block1_conv1" :]:
            for found, given in zip(model.get_layer(layer.name).weights, layer.weights, strict=True):
                np.testing.assert_array_equal(found, given)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda file: file.__delitem__("block5_conv3"), "incomplete"),
        (
            lambda file: write_names(file, "layer_names", read_names(file, "layer_names")[:-2]),
            "has no weights for the layer 'block5_conv3'",
        ),
        (
            lambda file: file["block4_conv1/block4_conv1_b_1:0"].write_direct(np.full(32, np.nan, "f")),
            "NaN or infinite",
        ),
    ],
    ids=["cut", "unlisted", "not finite"],
)
def test_damaged_three_channel_files_are_refused(notop, tmp_path, damage, problem):
    path = tmp_path / "copy.h5"
    path.write_bytes(notop.read_bytes())
    with h5py.File(path, "a") as file:
        damage(file)
    with pytest.raises(UserError, match=problem):
        small(weights=path)


def test_files_of_other_networks_are_refused(rgb, notop, tmp_path):
    with pytest.raises(UserError, match="has no weights for the layer 'block3_conv4'"):
        small(19, weights=notop)
    deeper = write_notop(tmp_path / "deeper.h5", features(small(19, RGB)))
    with pytest.raises(UserError, match="has weights for a layer 'block3_conv4'"):
        small(16, weights=deeper)
    with pytest.raises(UserError, match=r"shape \(3, 3, 3, 4\), the model expects \(3, 3, 1, 8\)"):
        build_vgg(16, GREY, weights=notop, width=1 / 8)
    with pytest.raises(UserError, match=r"shape \(3, 3, 3, 4\), the model expects \(3, 3, 1, 4\)"):
        small(weights=save_weights(rgb, tmp_path / "whole.h5"))
    with pytest.raises(UserError, match="probability"):
        small(shape=RGB, classes=3, weights=tmp_path / "whole.h5")


def test_deep_layers_of_a_random_network_still_answer(images):
    """Without batch normalisation Glorot's start fades out, He's does not."""
    spread = {}
    for initializer in (None, "glorot_uniform"):
        keras.utils.set_random_seed(0)
        model = build_vgg(19, GREY, weights="none", width=1 / 8, initializer=initializer)
        spread[initializer] = float(features(model, "block5_conv4").predict_on_batch(images).std())
    assert spread[None] > 0.05 > 5 * spread["glorot_uniform"]
    assert model.get_layer("hidden1").kernel_initializer.__class__ is keras.initializers.GlorotUniform


def test_loaded_convolutions_stand_below_a_head_of_keras_start(notop):
    kinds = [
        type(small(weights=weights).get_layer("hidden1").kernel_initializer).__name__ for weights in ("none", notop)
    ]
    assert kinds == ["HeNormal", "GlorotUniform"]


@pytest.mark.slow
def test_standardised_network_is_the_same_one_behind_its_first_layer(rgb, notop):
    """In one graph: heat maps and features are those of the network without, on standardised images."""
    shape = (64, 64, 1)
    raw = np.random.default_rng(2).integers(0, 255, (4, *shape)).astype(np.float32)
    plain, whole = small(16, shape, notop), small(16, shape, notop, standardise="global")
    first = whole.layers[1]
    first.adapt([raw])
    for name in HEAD:
        whole.get_layer(name).set_weights(plain.get_layer(name).get_weights())
    given = np.asarray(first(raw))
    assert abs(given.std() - 1) < 1e-3
    np.testing.assert_allclose(
        features(whole).predict_on_batch(raw), features(plain).predict_on_batch(given), rtol=1e-4
    )
    maps = [grad_cam(model, x, [0, 1, 0, 1]) for model, x in ((whole, raw), (plain, given))]
    assert maps[0].max() == 1
    np.testing.assert_allclose(*maps, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["global", "per_image"])
def test_standardised_network_loads_files_with_and_without_statistics(mode, rgb, notop, tmp_path, images):
    trained = with_biases(small(standardise=mode))
    if mode == "global":
        trained.get_layer("standardise").set_weights([np.float32(0.4), np.float32(0.2)])
    trained.save_weights(tmp_path / "whole.weights.h5")
    loaded = small(weights=tmp_path / "whole.weights.h5", standardise=mode)
    np.testing.assert_allclose(loaded.predict_on_batch(images), trained.predict_on_batch(images), rtol=1e-5)
    bare = with_biases(small(), seed=1)
    for path in (save_weights(bare, tmp_path / "bare.h5"), save_weights(features(bare), tmp_path / "part.h5")):
        found = small(weights=path, standardise=mode).get_layer("block5_conv3").bias
        np.testing.assert_array_equal(found, bare.get_layer("block5_conv3").bias)
    found = small(weights=notop, standardise=mode).get_layer("block1_conv1").kernel
    np.testing.assert_allclose(found, grey_kernel(rgb.get_layer("block1_conv1").kernel), rtol=1e-6)


def test_kernels_that_are_not_of_colours_are_refused():
    for shape in ((3, 3, 1, 4), (3, 3, 3)):
        with pytest.raises(ValueError, match="kernel must be"):
            grey_kernel(np.zeros(shape))
