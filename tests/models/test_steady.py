"""Batch normalisation that holds its statistics while gamma and beta learn; narrower copies of published networks."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from covid_keras.models import load_weights
from covid_keras.models.steady import SteadyBatchNormalization, he_initialised, hold_statistics, narrowed, steadied
from tests.helpers.networks import unallocated, write_legacy

X = np.random.default_rng(0).normal(2, 3, (16, 6, 6, 2)).astype(np.float32)
Y = np.random.default_rng(1).integers(0, 2, (16, 1)).astype(np.float32)


def network(kind=layers.BatchNormalization, **options) -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input(X.shape[1:], name="image")
    x = layers.Conv2D(3, 3, use_bias=False, name="conv")(inputs)
    x = layers.ReLU(name="relu")(kind(name="bn", momentum=0.5, **options)(x))
    x = layers.Conv2D(4, 3, use_bias=False, name="conv2")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(kind(name="bn2", **options)(x))
    return keras.Model(inputs, layers.Dense(1, activation="sigmoid", name="out")(x), name="small")


def with_statistics(model: keras.Model) -> keras.Model:
    """Give every tensor of one axis values of its own; those of variance above 0."""
    rng = np.random.default_rng(2)
    for weight in model.weights:
        if len(weight.shape) == 1:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return model


def fit(model: keras.Model, epochs: int = 2) -> None:
    model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy", jit_compile=False)
    model.fit(X, Y, batch_size=8, epochs=epochs, shuffle=False, verbose=0)


def tensors(model: keras.Model) -> dict[str, np.ndarray]:
    return {f"{layer.name}/{weight.name}": weight.numpy().copy() for layer in model.layers for weight in layer.weights}


def changed(model: keras.Model, before: dict[str, np.ndarray]) -> set[str]:
    return {name for name, value in tensors(model).items() if not np.array_equal(value, before[name])}


STATISTICS = {f"{layer}/moving_{what}" for layer in ("bn", "bn2") for what in ("mean", "variance")}


# --- held and released


def test_statistics_are_held_while_gamma_and_beta_learn():
    model = with_statistics(network(SteadyBatchNormalization))
    before = tensors(model)
    fit(model)
    assert changed(model, before) == set(before) - STATISTICS


def test_statistics_move_once_released_and_compiled_and_are_held_again():
    model = with_statistics(network(SteadyBatchNormalization))
    before = tensors(model)
    hold_statistics(model, False)
    assert not any(layer.steady for layer in model.layers if isinstance(layer, SteadyBatchNormalization))
    fit(model)
    assert changed(model, before) == set(before)
    hold_statistics(model, True)
    before = tensors(model)
    fit(model)
    assert changed(model, before) == set(before) - STATISTICS


def test_released_it_is_batch_normalisation():
    usual, ours = network(), network(SteadyBatchNormalization, steady=False)
    fit(usual)
    fit(ours)
    for name, value in tensors(usual).items():
        np.testing.assert_array_equal(tensors(ours)[name], value, err_msg=name)
    np.testing.assert_array_equal(ours(X, training=True), usual(X, training=True))


def test_held_it_normalises_by_what_is_stored_whatever_the_graph_is_called_with():
    """In a functional graph the `training` of the whole model reaches every layer."""
    model, usual = (with_statistics(network(kind)) for kind in (SteadyBatchNormalization, layers.BatchNormalization))
    stored = np.asarray(usual(X, training=False))
    for training in (True, False, None):
        np.testing.assert_array_equal(np.asarray(model(X, training=training)), stored)
    assert np.abs(np.asarray(usual(X, training=True)) - stored).max() > 1e-3, "it would show"
    layer = SteadyBatchNormalization()
    np.testing.assert_allclose(layer(X, training=True), X / np.sqrt(1 + layer.epsilon), rtol=1e-5)


def test_a_layer_that_does_not_learn_at_all_holds_everything():
    model = with_statistics(network(SteadyBatchNormalization, steady=False))
    model.get_layer("bn").trainable = False
    before = tensors(model)
    fit(model)
    assert {name for name in before if name.startswith("bn/")}.isdisjoint(changed(model, before))
    assert "bn2/moving_mean" in changed(model, before)


@pytest.mark.parametrize("steady", [True, False])
def test_the_layer_is_saved_with_what_it_does(steady):
    layer = SteadyBatchNormalization(steady=steady, momentum=0.7, epsilon=1e-5, name="bn")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is SteadyBatchNormalization
    assert again.get_config() == layer.get_config()
    assert (again.steady, again.momentum, again.epsilon) == (steady, 0.7, 1e-5)


# --- copies of a network


def test_a_steadied_copy_is_the_network_in_names_weights_and_outputs():
    model = with_statistics(network())
    copy = steadied(model)
    assert [layer.name for layer in copy.layers] == [layer.name for layer in model.layers]
    kinds = {layer.name: type(layer) for layer in copy.layers}
    assert kinds["bn"] is kinds["bn2"] is SteadyBatchNormalization
    assert all(kinds[layer.name] is type(layer) for layer in model.layers if not layer.name.startswith("bn"))
    assert copy.get_layer("bn").momentum == 0.5
    assert changed(copy, tensors(model)) == set()
    np.testing.assert_array_equal(copy.predict(X, verbose=0), model.predict(X, verbose=0))
    before = tensors(model)
    fit(copy)
    assert changed(model, before) == set(), "a copy, that shares nothing"


def test_a_steadied_network_takes_the_files_of_keras_applications(tmp_path):
    """Legacy HDF5, a group a layer, tensors called as Keras 2 did."""
    model = with_statistics(network())
    copy = steadied(network())
    assert changed(copy, tensors(model))
    report = load_weights(copy, write_legacy(tmp_path / "notop.h5", model))
    assert report.parameters == model.count_params()
    assert changed(copy, tensors(model)) == set()


# --- a share of the filters


def test_a_quarter_of_the_filters_of_a_published_network():
    """The two with branches are in the tests of Hertel & Benlamri's networks, which build them anyway."""
    given = {"include_top": False, "weights": None, "input_shape": (32, 32, 3)}
    copy = unallocated(lambda: narrowed(keras.applications.VGG19(**given), 0.25))
    assert copy.count_params() == 1_252_880
    assert [layer.filters for layer in copy.layers if isinstance(layer, layers.Conv2D)] == [
        *[16] * 2, *[32] * 2, *[64] * 4, *[128] * 8
    ]  # fmt: skip


def test_a_narrow_copy_has_the_same_layers_in_the_same_places():
    model = network()
    copy = narrowed(model, 0.5)
    assert [layer.name for layer in copy.layers] == [layer.name for layer in model.layers]
    for layer, narrow in zip(model.layers, copy.layers, strict=True):
        assert type(narrow) is type(layer)
        assert _before(narrow) == _before(layer), layer.name
        assert narrow.output.shape[:-1] == layer.output.shape[:-1]
    conv, second = copy.get_layer("conv"), copy.get_layer("conv2")
    assert (conv.filters, conv.kernel_size, conv.use_bias) == (2, (3, 3), False), "1.5 is rounded to even"
    assert (second.filters, second.kernel_size) == (2, (3, 3))
    assert copy.get_layer("out").units == 1, "dense layers stay"
    assert copy.get_layer("conv").kernel.shape == (3, 3, 2, 2)


def _before(layer: layers.Layer) -> list[str]:
    """The layers whose outputs it takes."""
    nodes = layer._inbound_nodes
    return [tensor._keras_history.operation.name for node in nodes for tensor in node.input_tensors]


def test_at_least_one_filter_is_left_and_the_whole_is_the_whole():
    model = network()
    assert [narrowed(model, 0.01).get_layer(name).filters for name in ("conv", "conv2")] == [1, 1]
    assert narrowed(model, 1).count_params() == model.count_params()
    assert narrowed(model, 0.5).get_layer("bn").momentum == 0.5, "the other settings stay"


@pytest.mark.parametrize("width", [0, -0.25, 1.01, float("nan")])
def test_a_width_that_is_no_share_is_refused(width):
    with pytest.raises(ValueError, match="must be above 0 and at most 1"):
        narrowed(network(), width)


def test_branches_that_would_differ_are_refused():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 1)(inputs)
    both = layers.Add()([layers.Concatenate()([x, layers.Conv2D(6, 1)(inputs)]), layers.Conv2D(10, 1)(inputs)])
    model = keras.Model(inputs, both)
    assert narrowed(model, 0.5).output.shape[-1] == 5
    with pytest.raises(ValueError, match="shape"):
        narrowed(model, 0.25)  # 1, 1.5 and 2.5 filters are 1 + 2 against 2


# --- how convolutions begin


def test_convolutions_begin_as_he_drew_them():
    """Twice the variance of a layer's inputs is made up for: std sqrt(2 / fan in)."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 16))
    x = layers.Conv2D(64, 3, activation="relu", name="first")(inputs)
    model = keras.Model(inputs, layers.Dense(1, name="out")(layers.Conv2D(64, 3, padding="same", name="second")(x)))
    copy = he_initialised(model)
    for name, fan_in in (("first", 9 * 16), ("second", 9 * 64)):
        kernel = np.asarray(copy.get_layer(name).kernel)
        assert kernel.std() == pytest.approx(np.sqrt(2 / fan_in), rel=0.05)
        assert np.asarray(model.get_layer(name).kernel).std() < 0.9 * kernel.std()
        assert copy.get_layer(name).get_config()["kernel_initializer"]["class_name"] == "HeNormal"
    assert copy.get_layer("out").get_config()["kernel_initializer"]["class_name"] == "GlorotUniform"
    assert [layer.name for layer in copy.layers] == [layer.name for layer in model.layers]
    assert copy.get_layer("second").padding == "same"
