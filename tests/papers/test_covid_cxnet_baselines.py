"""The networks that COVID-CXNet's paper compares with: layers, heads, and what is trained."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from papers.covid_cxnet.baselines import build_densenet121, build_resnet50_baseline
from tests.helpers.refusals import refused

pytestmark = pytest.mark.slow

HEAD = 1024 * 10 + 10 + 10 * 20 + 20 + 20 + 1
TOPPED_DENSENET = 8_062_504  # keras.applications' with its 1000 outputs
TOPPED_RESNET = 25_636_712


@pytest.fixture(scope="module")
def head() -> keras.Model:
    return build_densenet121(weights="none")


@pytest.fixture(scope="module")
def topped() -> keras.Model:
    return build_densenet121((32, 32, 3), "none", frozen=False, variant="top")


@pytest.fixture(scope="module")
def resnet() -> keras.Model:
    return build_resnet50_baseline((32, 32, 3), "none")


def trained(model: keras.Model) -> int:
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)


def test_head_of_densenet_is_the_authors(head):
    assert len(head.layers) == 433
    assert head.count_params() == 7_037_504 + HEAD
    found = [(layer.name, getattr(layer, "units", getattr(layer, "rate", None))) for layer in head.layers[-6:]]
    names = ("pooling", "fc1", "dropout1", "fc2", "dropout2", "output")
    assert found == [(f"{name}_layer", size) for name, size in zip(names, (None, 10, 0.2, 20, 0.2, 1), strict=True)]
    dense = [layer for layer in head.layers if isinstance(layer, keras.layers.Dense)]
    assert [layer.activation.__name__ for layer in dense] == ["sigmoid"] * 3
    assert head.input_shape == (None, 96, 96, 3)


def test_only_the_head_of_densenet_is_trained(head):
    assert [layer.trainable for layer in head.layers] == [False] * 427 + [True] * 6
    assert trained(head) == HEAD == 10_491


def test_saved_variant_trains_from_block_15_on():
    model = build_densenet121((32, 32, 3), "none", variant="saved")
    assert [layer.trainable for layer in model.layers] == [False] * 411 + [True] * 22
    assert next(layer for layer in model.layers if layer.trainable).name == "conv5_block15_0_bn"


def test_momentum_and_all_trained_on_demand():
    model = build_densenet121((32, 32, 3), "none", frozen=False, batchnorm_momentum=0.9)
    assert all(layer.trainable for layer in model.layers)
    assert {layer.momentum for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)} == {0.9}


def test_forms_with_top_end_in_one_sigmoid_on_a_thousand_outputs(topped, resnet):
    for model, parameters in ((topped, TOPPED_DENSENET), (resnet, TOPPED_RESNET)):
        assert model.count_params() == parameters + 1001
        below, last = model.layers[-2:]
        assert (below.name, below.units, below.activation.__name__) == ("predictions", 1000, "softmax")
        assert (last.name, last.units, last.activation.__name__) == ("output_layer", 1, "sigmoid")
        assert all(layer.trainable for layer in model.layers)
        assert not [layer for layer in model.layers if isinstance(layer, keras.Model)]
    assert len(topped.layers) == 430


def test_the_last_layer_alone_is_trained_as_the_paper_says():
    for model in (
        build_densenet121((32, 32, 3), "none", variant="top"),
        build_resnet50_baseline((32, 32, 3), "none", frozen=True),
    ):
        assert [layer.name for layer in model.layers if layer.trainable] == ["output_layer"]
        assert trained(model) == 1001


def test_probability_is_float32_also_in_mixed_precision():
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        models = [build_densenet121((32, 32, 3), "none"), build_resnet50_baseline((32, 32, 3), "none")]
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    assert models[0].get_layer("fc1_layer").compute_dtype == "bfloat16"
    assert [model.output.dtype for model in models] == ["float32", "float32"]


def test_whole_files_are_for_the_forms_with_top_alone(resnet, tmp_path):
    base = keras.Model(resnet.input, resnet.get_layer("predictions").output)
    base.save_weights(path := tmp_path / "whole.weights.h5")
    loaded = build_resnet50_baseline((64, 64, 3), path)
    for name in ("conv1_conv", "predictions"):
        for one, other in zip(base.get_layer(name).get_weights(), loaded.get_layer(name).get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
    refused(r"whole\.weights\.h5", build_densenet121, (32, 32, 3), path)


def test_unknown_variants_are_refused():
    with pytest.raises(ValueError, match="variant"):
        build_densenet121((32, 32, 3), "none", variant="all")
