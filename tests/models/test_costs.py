"""What a forward pass costs: counted exactly, timed as a multiple of a reference."""

from __future__ import annotations

import keras
import pytest
from keras import layers

from covid_keras.models.costs import Forward, measure_cost, training_memory


def network(filters: int, outputs: int = 3) -> keras.Model:
    """A convolution of 3 x 3 without padding and a dense layer, both without bias."""
    inputs = keras.Input((10, 12, 2))
    x = layers.Conv2D(filters, 3, use_bias=False)(inputs)
    return keras.Model(inputs, layers.Dense(outputs, use_bias=False)(layers.Flatten()(x)))


@pytest.mark.parametrize("filters", [1, 4])
def test_weights_and_operations_are_those_of_the_layers(filters):
    forward = Forward(network(filters))
    convolution, dense = 3 * 3 * 2 * filters, 8 * 10 * filters * 3
    assert forward.parameters == convolution + dense
    assert forward.flops == 2 * (8 * 10 * convolution + dense), "a multiply-accumulate is two operations"


def test_weights_that_the_pass_does_not_read_do_not_count():
    model = network(2)
    model.aside = layers.Dense(100)
    model.aside.build((1, 50))
    assert Forward(model).parameters < model.count_params()


def test_a_network_passed_twice_has_twice_the_operations_and_its_weights_once():
    one, other = network(2), network(4)
    single, twice = measure_cost([(one, 1)], [(one, 1)], rounds=2), measure_cost([(one, 2), (other, 1)], [(one, 1)])
    assert twice.parameters == single.parameters + Forward(other).parameters
    assert twice.flops == 2 * single.flops + Forward(other).flops
    assert min(single.ratio, twice.ratio, single.milliseconds) > 0
    for nothing in (([], [(one, 1)]), ([(one, 1)], [])):
        with pytest.raises(ValueError, match="at least one"):
            measure_cost(*nothing)


def trained(model: keras.Model, optimizer: str) -> keras.Model:
    model.compile(optimizer, "mse", jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    return model


@pytest.mark.parametrize(("optimizer", "slots"), [("adam", 2), ("sgd", 0)])
def test_the_memory_of_a_training_is_that_of_outputs_weights_gradients_and_optimiser(optimizer, slots):
    model = trained(network(4), optimizer)
    weights, convolved = 4 * model.count_params(), 4 * 8 * 10 * 4
    outputs = convolved + convolved + 4 * 3  # convolved, flattened, dense; the input belongs to the caller
    one, two = (training_memory(model, batch) for batch in (1, 2))
    assert two - one == outputs + 2 * convolved
    fixed = one - (two - one)
    assert 0 <= fixed - (2 + slots) * weights < 100, "beside the optimiser's counters"
    assert training_memory(model, 1, accumulates=True) - one == weights


def test_what_is_below_the_first_trained_layer_is_not_kept():
    model = network(4)
    model.layers[1].trainable = False
    frozen, whole = trained(model, "sgd"), trained(network(4), "sgd")
    assert training_memory(frozen, 64) < training_memory(whole, 64)
    behind = [(whole, 1), (frozen, 3)]
    assert training_memory(whole, 64, behind) > 3 * training_memory(whole, 64), "a gradient that passes it needs all"
