"""The layer at which heat is taken: by its name, by the beginning of names, by default; and the cells of its map."""

from __future__ import annotations

import numpy as np
import pytest

from covid_keras.common.errors import UserError

keras = pytest.importorskip("keras")

from covid_keras.explain.gradcam import grad_cam  # noqa: E402
from covid_keras.explain.network import LayerGradients, map_cells, spatial_layer  # noqa: E402

SIDE = 16


def vgg_like(side: int | None = SIDE) -> keras.Model:
    """Two convolutions and a pooling, as the last block of a VGG, and a head whose names begin alike."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((side, side, 1))
    x = inputs
    for number in (1, 2):
        x = keras.layers.Conv2D(3, 3, strides=2, padding="same", activation="relu", name=f"block5_conv{number}")(x)
    x = keras.layers.MaxPooling2D(2, name="block5_pool")(x)
    x = keras.layers.GlobalAveragePooling2D(name="block5_convolved")(x)
    return keras.Model(inputs, keras.layers.Dense(2, activation="softmax", name="probability")(x))


@pytest.mark.parametrize(
    ("name", "layer", "cells"),
    [
        (None, "block5_pool", (2, 2)),
        ("block5_conv1", "block5_conv1", (8, 8)),
        ("block5_conv", "block5_conv2", (4, 4)),
        ("block5_", "block5_pool", (2, 2)),
    ],
)
def test_the_last_layer_so_named_counts_and_its_size_is_that_of_the_map(name, layer, cells):
    assert spatial_layer(vgg_like(), name).name == layer
    assert map_cells(vgg_like(), name, (SIDE, SIDE, 1)) == cells


def test_an_exact_name_goes_before_longer_ones():
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(1, 1, name="stage")(inputs)
    model = keras.Model(inputs, keras.layers.Flatten()(keras.layers.Conv2D(1, 1, name="stage_after")(x)))
    assert spatial_layer(model, "stage").name == "stage"
    assert spatial_layer(model, "stag").name == "stage_after"


def test_cells_of_a_model_that_leaves_its_size_open():
    assert map_cells(vgg_like(None), "block5_conv", (32, 24, 1)) == (8, 6)


def test_a_map_by_a_prefix_is_that_of_the_layer_itself():
    model, images = vgg_like(), np.random.default_rng(0).random((2, SIDE, SIDE, 1))
    found = grad_cam(model, images, 1, layer="block5_conv")
    np.testing.assert_array_equal(found, grad_cam(model, images, 1, layer="block5_conv2"))
    assert np.abs(found - grad_cam(model, images, 1)).max() > 0.05
    taken = LayerGradients(model, "block5_conv")(images, 1)
    assert taken.gradients.shape[1:3] == map_cells(model, "block5_conv", (SIDE, SIDE, 1)) == (4, 4)


def test_layers_that_are_not_there_or_hold_no_map_are_named():
    with pytest.raises(UserError, match=r"layer 'block6_conv'.*not found.*such as 'block5_pool'"):
        spatial_layer(vgg_like(), "block6_conv")
    with pytest.raises(UserError, match=r"layer 'prob': has no spatial extent"):
        map_cells(vgg_like(), "prob", (SIDE, SIDE, 1))
