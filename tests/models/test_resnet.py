"""ResNet-50 with its head: flat, of the published size, and never random in silence."""

from __future__ import annotations

from collections import Counter

import h5py
import keras
import numpy as np
import pytest

from covid_keras.common.errors import UserError
from covid_keras.models import build_resnet50, save_weights
from tests.helpers.networks import same_weights

NOTOP = 23_587_712  # keras.applications' ResNet-50 without its top
HEAD = 2048 * 512 + 512 + 512 * 2 + 2


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return build_resnet50((64, 64, 3), 2, weights="none")


def test_it_ends_as_the_paper_says(model):
    pool, hidden, output = model.layers[-3:]
    assert isinstance(pool, keras.layers.GlobalAveragePooling2D)
    assert (hidden.units, hidden.activation.__name__) == (512, "relu")
    assert (output.units, output.activation.__name__) == (2, "softmax")
    assert model.output_shape == (None, 2)


def test_it_has_the_parameters_of_keras_resnet50_and_the_head(model):
    assert model.count_params() == NOTOP + HEAD
    assert Counter(type(layer).__name__ for layer in model.layers)["Conv2D"] == 53


@pytest.mark.slow
def test_a_notop_file_loads_into_the_backbone_and_a_whole_one_is_refused(model, tmp_path):
    """Ours in the layout of keras.applications' notop file: any input size, no head."""
    inputs = keras.Input((32, 32, 3))
    base = keras.applications.ResNet50(include_top=False, weights=None, input_tensor=inputs)
    path = save_weights(base, tmp_path / "notop.h5")
    loaded = build_resnet50((64, 64, 3), 2, weights=path)
    for name in ("conv1_conv", "conv3_block2_2_bn", "conv5_block3_3_conv"):
        assert same_weights(base.get_layer(name), loaded.get_layer(name))
    with h5py.File(path, "a") as file:
        names = [layer.name.encode() for layer in base.layers]
        file.attrs["layer_names"] = [*names, b"predictions"]
        group = file.create_group("predictions")
        group.attrs["weight_names"] = [b"predictions/bias:0"]
        group.create_dataset("predictions/bias:0", data=np.zeros(1000, np.float32))
    with pytest.raises(UserError, match="has weights for a layer 'predictions'"):
        build_resnet50((64, 64, 3), 2, weights=path)
