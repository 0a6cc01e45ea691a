"""Timing networks: once each, larger networks longer; the share of the backward pass that a stage needs."""

from __future__ import annotations

import time

import keras
import pytest
from keras import layers

from covid_keras.paper.unfreezing import HEAD, WHOLE, Stage
from covid_keras.training.calibration import Subject, _Timer, backward_shares


def network() -> keras.Model:
    """Two convolutions of the same cost, `low` below `top`, and a head."""
    x = inputs = keras.Input((16, 16, 4))
    for name in ("low_conv", "top_conv"):
        x = layers.Conv2D(4, 3, padding="same", use_bias=False, name=name)(x)
    x = layers.Dense(2, name="head")(layers.GlobalAveragePooling2D(name="pool")(x))
    return keras.Model(inputs, x)


def subject(batch: int) -> Subject:
    model = network()
    model.compile("adam", "mse", jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    return Subject(model, [(model, 1)], (2,), batch)


def test_a_network_is_timed_once():
    timer = _Timer(time.process_time)
    speed = timer.speed(subject(4))
    assert min(speed.start, speed.image, speed.forward, speed.memory, speed.per_image) > 0
    assert speed.step >= 0
    assert speed.state > 2 * speed.weights, "Adam keeps two values per weight"
    assert timer.speed(subject(4)) is speed
    assert timer.speed(subject(2)) is not speed, "another batch"


def test_a_stage_needs_the_backward_pass_above_its_lowest_layer():
    model = network()
    groups = (("top_",), ("low_",))
    stages = [Stage(HEAD, 0, 1, 1, 0.1), Stage("top", 1, 1, 1, 0.1), Stage(WHOLE, 2, 1, 1, 0.1)]
    head, top, whole = backward_shares(model, groups, stages)
    assert 0 < head < 0.01
    assert top == pytest.approx(0.5, abs=0.01)
    assert whole == 1
    assert all(layer.trainable for layer in model.layers)
