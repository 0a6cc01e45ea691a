"""The ResUNet's architecture against the published table, number by number."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from covid_keras.models.resunet import build_resunet
from tests.helpers.networks import unallocated

# Level: (height and width, filters, stride of the first convolution) of table 5, and the channels that enter it.
LEVELS = {
    1: (256, 64, 1, 1),
    2: (128, 128, 2, 64),
    3: (64, 256, 2, 128),
    4: (32, 512, 2, 256),
    5: (64, 256, 1, 512 + 256),
    6: (128, 128, 1, 256 + 128),
    7: (256, 64, 1, 128 + 64),
}


@pytest.fixture(scope="module")
def published() -> keras.Model:
    """The network as published, with shapes only: no variable gets a value."""
    return unallocated(build_resunet)


@pytest.mark.parametrize("level", LEVELS)
def test_levels_are_those_of_table_5(published, level):
    side, filters, stride, entering = LEVELS[level]
    first, second, shortcut = (published.get_layer(f"level{level}_{part}") for part in ("conv1", "conv2", "shortcut"))
    assert published.get_layer(f"level{level}_add").output.shape == (None, side, side, filters)
    assert [layer.kernel.shape for layer in (first, second, shortcut)] == [
        (3, 3, entering, filters),
        (3, 3, filters, filters),
        (1, 1, entering, filters),
    ]
    assert [layer.strides[0] for layer in (first, second, shortcut)] == [stride, 1, 1]
    taken = [layer for layer in published.layers if layer.name == f"level{level}_shortcut_stride"]
    assert [(layer.pool_size, layer.strides) for layer in taken] == [((1, 1), (stride, stride))] * (stride > 1)
    assert all(layer.use_bias for layer in (first, second, shortcut))
    # Normalised: what enters (not at level 1), what is between the convolutions, the shortcut; four vectors each.
    channels = (entering if level > 1 else 0) + filters + filters
    inside = [layer for layer in published.layers if layer.name.startswith(f"level{level}_")]
    normalisations = [layer for layer in inside if isinstance(layer, keras.layers.BatchNormalization)]
    assert sum(layer.count_params() for layer in normalisations) == 4 * channels


def test_parameters_are_those_of_the_sheet(published):
    square = 9 * sum(entering * filters + filters**2 for _, filters, _, entering in LEVELS.values())
    assert square + 64 == 7_778_944
    shortcuts = sum(entering * filters for _, filters, _, entering in LEVELS.values())
    biases = 3 * sum(filters for _, filters, _, _ in LEVELS.values()) + 1
    normalised = sum(
        (entering if level > 1 else 0) + 2 * filters for level, (_, filters, _, entering) in LEVELS.items()
    )
    assert published.count_params() == square + 64 + shortcuts + biases + 4 * normalised == 8_231_745


def test_output_is_a_pixelwise_probability(published):
    outputs = published.get_layer("lung")
    assert published.output_shape == (None, 256, 256, 1)
    assert outputs.kernel.shape == (1, 1, 64, 1)
    assert outputs.activation is keras.activations.sigmoid
    pools = [layer for layer in published.layers if isinstance(layer, keras.layers.MaxPooling2D)]
    assert all(layer.pool_size == (1, 1) for layer in pools)  # each takes every second pixel, and pools nothing


def test_a_unit_adds_its_shortcut_to_what_the_convolutions_give():
    model = build_resunet((8, 8, 1), 1)
    unit = keras.Model(model.input, model.get_layer("level1_add").output)
    x = np.random.default_rng(0).random((1, 8, 8, 1), np.float32)
    model.get_layer("level1_conv2").kernel.assign(np.zeros((3, 3, 1, 1)))
    kernel, epsilon = model.get_layer("level1_shortcut").kernel.numpy().item(), 1e-3
    assert np.allclose(unit(x), kernel * x / np.sqrt(1 + epsilon), atol=1e-6)


@pytest.mark.parametrize("channels", [2, 16])
def test_every_second_pixel_is_a_convolution_of_stride_2(channels):
    x = np.random.default_rng(1).normal(size=(2, 8, 6, channels)).astype(np.float32)
    strided = keras.layers.Conv2D(3, 1, 2)
    expected = np.asarray(strided(x))
    plain = keras.layers.Conv2D(3, 1)
    plain.build(x.shape)
    plain.set_weights(strided.get_weights())
    taken = keras.layers.MaxPooling2D(1, 2)(x)
    np.testing.assert_allclose(np.asarray(plain(taken)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_narrow_networks_train_with_several_threads():
    # TensorFlow's strided 1x1 convolution of few channels ended the process here.
    model = build_resunet((16, 16, 1), 4)
    model.compile("adam", "binary_crossentropy")
    x = np.random.default_rng(2).random((8, 16, 16, 1), np.float32)
    assert np.isfinite(model.fit(x, (x > 0.5).astype(np.float32), batch_size=4, verbose=0).history["loss"][0])
