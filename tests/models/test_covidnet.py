"""COVIDNet: the published Large by its numbers, the surrogates by their graph."""

from __future__ import annotations

import math
from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from covid_keras.common.errors import UserError
from covid_keras.models import save_weights
from covid_keras.models.covidnet import BLOCKS, VARIANTS, build_covidnet
from tests.helpers.networks import same_weights

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def small() -> keras.Model:
    return build_covidnet((96, 96, 3), 3, "b")


def multiply_accumulates(model: keras.Model) -> int:
    """Count those of convolutions and dense layers: each value of a kernel is used once at each place of the output."""
    kinds = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)
    found = [layer for layer in model.layers if isinstance(layer, kinds)]
    return sum(math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:-1]) for layer in found)


def at_published_size(variant: str) -> keras.Model:
    side = VARIANTS[variant].side
    return build_covidnet((side, side, 3), 3, variant)


def test_large_has_the_published_parameters_and_cost():
    model = at_published_size("large")
    assert model.count_params() == 127_378_947
    assert round(model.count_params(), -5) == VARIANTS["large"].parameters
    assert multiply_accumulates(model) / 1e9 == pytest.approx(3.58, abs=0.005)
    assert model.get_layer("flatten").output.shape == (None, 100_352)
    heads = [layer for layer in model.layers if isinstance(layer, layers.Dense)]
    assert [(layer.units, layer.activation.__name__) for layer in heads] == [
        (1024, "relu"),
        (1024, "relu"),
        (3, "softmax"),
    ]
    # The last block of its fourth stage, which the repository names.
    assert model.get_layer("conv5_block3_out").output.shape == (None, 7, 7, 2048)


@pytest.mark.parametrize(
    ("variant", "parameters", "cost", "flat"), [("b", 1_968_663, 1.80, 95_400), ("c", 28_857_747, 14.13, 460_800)]
)
def test_surrogates_are_as_their_docstring_says(variant, parameters, cost, flat):
    model = at_published_size(variant)
    assert model.count_params() == parameters
    assert f"{parameters:,}" in build_covidnet.__doc__
    assert multiply_accumulates(model) / 1e9 == pytest.approx(cost, abs=0.005)
    assert model.get_layer("flatten").output.shape == (None, flat)
    assert "surrogate" in VARIANTS[variant].title


@pytest.mark.parametrize(("variant", "side"), [("b", 480), ("c", 480), ("b", 224), ("b", 96), ("b", 32)])
def test_stages_have_their_sizes_and_widths(variant, side):
    model = build_covidnet((side, side, 3), 3, variant)
    stem = VARIANTS[variant].stem
    assert model.get_layer("conv1").output.shape == (None, side // 2, side // 2, stem)
    for stage, (width, blocks) in enumerate(zip(VARIANTS[variant].widths, BLOCKS, strict=True), start=1):
        here = side // 2 ** (stage + 1)
        names = [layer.name for layer in model.layers if layer.name.startswith(f"pepx{stage}_")]
        assert {name.split("_")[1] for name in names} == {str(block) for block in range(1, blocks + 1)}
        for block in range(1, blocks + 1):
            assert model.get_layer(f"pepx{stage}_{block}_add").output.shape == (None, here, here, width)


def test_a_pepx_is_two_1x1_a_depthwise_3x3_and_two_1x1(small):
    parts = [
        layer
        for layer in small.layers
        if layer.name.startswith("pepx3_2_") and isinstance(layer, (layers.Conv2D, layers.DepthwiseConv2D))
    ]
    assert [(type(layer).__name__, layer.kernel.shape) for layer in parts] == [
        ("Conv2D", (1, 1, 216, 108)),
        ("Conv2D", (1, 1, 108, 162)),
        ("DepthwiseConv2D", (3, 3, 162, 1)),
        ("Conv2D", (1, 1, 162, 108)),
        ("Conv2D", (1, 1, 108, 216)),
    ]


def test_links_are_sums_over_all_earlier_blocks_of_the_stage(small):
    names = ["stage2_conv_bn", *[f"pepx2_{block}_extend_bn" for block in range(1, 5)], "pool3"]
    probe = keras.Model(small.input, [small.get_layer(name).output for name in [*names, "pepx2_4_add"]])
    *parts, pooled, last = (
        np.asarray(out) for out in probe(np.random.default_rng(0).random((1, 96, 96, 3)).astype("f"))
    )
    np.testing.assert_allclose(last, sum(parts), atol=1e-4)
    assert all(np.abs(part).mean() > 1e-6 for part in parts)
    # What the next stage's first block and its 1x1 convolution read.
    np.testing.assert_allclose(pooled, last.reshape(1, 6, 2, 6, 2, -1).max(axis=(2, 4)), atol=1e-6)
    for name in ("stage3_conv", "pepx3_1_project1"):
        assert small.get_layer(name).input is small.get_layer("pool3").output


@pytest.mark.parametrize(("variant", "shape"), [("b", (64, 96, 3)), ("large", (64, 64, 3)), ("large", (50, 40, 3))])
def test_outputs_are_probabilities_at_other_sizes(variant, shape):
    model = build_covidnet(shape, 2, variant)
    scores = model(np.random.default_rng(0).random((2, *shape)).astype(np.float32)).numpy()
    assert scores.shape == (2, 2)
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-6)


def test_every_convolution_of_a_surrogate_is_normalised(small):
    found = Counter(type(layer) for layer in small.layers)
    assert found[layers.DepthwiseConv2D] == sum(BLOCKS) == 16
    assert found[layers.Conv2D] == 4 * 16 + 4 + 1
    assert found[layers.BatchNormalization] == found[layers.Conv2D] + found[layers.DepthwiseConv2D]


def test_a_gradient_reaches_every_layer_of_a_surrogate(small):
    images = np.random.default_rng(0).random((2, 96, 96, 3)).astype(np.float32)
    with tf.GradientTape() as tape:
        loss = keras.losses.CategoricalCrossentropy()(np.eye(3)[[0, 2]], small(images, training=True))
    gradients = tape.gradient(loss, [v.value for v in small.trainable_variables])
    for variable, gradient in zip(small.trainable_variables, gradients, strict=True):
        assert np.abs(gradient).max() > 1e-7, variable.path


def test_files_load_whole_into_a_surrogate_and_as_backbone_into_large(tmp_path, small):
    path = save_weights(small, tmp_path / "b.h5")
    again = build_covidnet((96, 96, 3), 3, "b", weights=path)
    assert same_weights(small, again)
    with pytest.raises(UserError, match="shape"):
        build_covidnet((64, 64, 3), 3, "b", weights=path)
    with pytest.raises(UserError, match="has no weights for the layer"):
        build_covidnet((32, 32, 3), 3, "large", weights=path)
    base = keras.applications.ResNet50V2(include_top=False, weights=None, input_shape=(32, 32, 3))
    base.save_weights(path := tmp_path / "notop.weights.h5")
    large = build_covidnet((32, 32, 3), 3, "large", weights=path)
    np.testing.assert_array_equal(
        large.get_layer("conv4_block2_2_conv").kernel.numpy(), base.get_layer("conv4_block2_2_conv").kernel.numpy()
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "a"}, "'a' is unknown. Use one of large, b, c"),
        ({"input_shape": (100, 96, 3)}, "multiples of 32"),
        ({"input_shape": (None, 96, 3)}, "multiples of 32"),
        ({"weights": "imagenet"}, r"surrogate \(B\): has no ImageNet weights"),
        ({"variant": "large", "weights": "absent.h5", "input_shape": (32, 32, 3)}, "is not a weight file"),
        ({"weights": "absent.h5", "input_shape": (32, 32, 3)}, "does not exist"),
    ],
)
def test_what_cannot_be_built_is_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        build_covidnet(**arguments)
