"""ResNet-50 with its head: flat, of the published size, and never random in silence."""

from __future__ import annotations

from collections import Counter

import h5py
import keras
import numpy as np
import pytest

from covid_keras.common.errors import UserError
from covid_keras.models import build_resnet50, save_weights

NOTOP = 23_587_712  # keras.applications' ResNet-50 without its top
HEAD = 2048 * 512 + 512 + 512 * 2 + 2


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return build_resnet50((64, 64, 3), 2, weights="none")


def test_it_is_flat_and_ends_as_the_paper_says(model):
    assert not [layer for layer in model.layers if isinstance(layer, keras.Model)]
    pool, hidden, output = model.layers[-3:]
    assert isinstance(pool, keras.layers.GlobalAveragePooling2D)
    assert (hidden.units, hidden.activation.__name__) == (512, "relu")
    assert (output.units, output.activation.__name__) == (2, "softmax")
    assert model.output_shape == (None, 2)
    assert all(layer.trainable for layer in model.layers)
    assert not model.compiled


def test_it_has_the_parameters_of_keras_resnet50_and_the_head(model):
    assert model.count_params() == NOTOP + HEAD
    assert Counter(type(layer).__name__ for layer in model.layers)["Conv2D"] == 53


def test_probabilities_are_float32_also_in_mixed_precision():
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = build_resnet50((32, 32, 3), 2, weights="none")
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    assert mixed.get_layer("hidden").compute_dtype == "bfloat16"
    assert mixed.output.dtype == "float32"


def test_probabilities_sum_to_one(model):
    images = np.random.default_rng(0).normal(0, 50, (2, 64, 64, 3)).astype(np.float32)
    scores = model.predict_on_batch(images)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-6)


def test_momentum_of_batch_normalisation_is_kerass_own_unless_given(model):
    given = build_resnet50((32, 32, 3), 2, weights="none", batchnorm_momentum=0.9)
    for network, momentum in ((model, 0.99), (given, 0.9)):
        found = {layer.momentum for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)}
        assert found == {momentum}


@pytest.mark.parametrize(
    "problem",
    [
        Exception("URL fetch failure on https://storage.googleapis.com/x.h5: None -- [Errno -2] Name not known"),
        # What keras.utils.get_file raises where a proxy or a broken line gave another file than asked for.
        ValueError(
            "Incomplete or corrupted file detected. The md5 file hash does not match the provided value of 4d4."
        ),
    ],
    ids=["unreachable", "corrupted"],
)
def test_imagenet_weights_that_cannot_be_had_are_one_line(monkeypatch, problem):
    def fails(*arguments, weights, **named):
        assert weights == "imagenet"
        raise problem

    monkeypatch.setattr(keras.applications, "ResNet50", fails)
    with pytest.raises(UserError, match=r"ImageNet weights: could not be downloaded.*--weights FILE.*--weights none"):
        build_resnet50((64, 64, 3), 2, weights="imagenet")


def test_another_error_while_building_is_not_called_a_download(monkeypatch):
    def fails(*arguments, **named):
        raise ValueError("a bug")

    monkeypatch.setattr(keras.applications, "ResNet50", fails)
    with pytest.raises(ValueError, match="a bug"):
        build_resnet50((64, 64, 3), 2, weights="imagenet")
    with pytest.raises(ValueError, match="a bug"):
        build_resnet50((64, 64, 3), 2, weights="none")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"absent\.h5: is no weight file.*--weights imagenet"):
        build_resnet50((64, 64, 3), 2, weights=tmp_path / "absent.h5")
    with pytest.raises(UserError, match="imagnet: is no weight file"):
        build_resnet50((64, 64, 3), 2, weights="imagnet")


@pytest.mark.slow
def test_a_notop_file_loads_into_the_backbone_and_a_whole_one_is_refused(model, tmp_path):
    """Ours in the layout of keras.applications' notop file: any input size, no head."""
    inputs = keras.Input((32, 32, 3))
    base = keras.applications.ResNet50(include_top=False, weights=None, input_tensor=inputs)
    path = save_weights(base, tmp_path / "notop.h5")
    loaded = build_resnet50((64, 64, 3), 2, weights=path)
    for name in ("conv1_conv", "conv3_block2_2_bn", "conv5_block3_3_conv"):
        for a, b in zip(base.get_layer(name).get_weights(), loaded.get_layer(name).get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    with h5py.File(path, "a") as file:
        names = [layer.name.encode() for layer in base.layers]
        file.attrs["layer_names"] = [*names, b"predictions"]
        group = file.create_group("predictions")
        group.attrs["weight_names"] = [b"predictions/bias:0"]
        group.create_dataset("predictions/bias:0", data=np.zeros(1000, np.float32))
    with pytest.raises(UserError, match="holds weights of a layer 'predictions'"):
        build_resnet50((64, 64, 3), 2, weights=path)
