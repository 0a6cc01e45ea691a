"""Timing networks: once each, larger networks longer; the share of the backward pass that a stage needs."""

from __future__ import annotations

import time
from dataclasses import replace

import keras
import pytest
from keras import layers

from covid_keras.paper.unfreezing import HEAD, WHOLE, Stage
from covid_keras.training.calibration import Calibration, KeptSpeeds, Speed, Subject, _Timer, backward_shares


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


SPEED = Speed(1.0, 0.5, 0.3, 0.1, (0.5, 1.0), memory=40, per_image=2, weights=1, state=3)


def test_a_kept_speed_is_that_of_its_key_and_conditions(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept, found = KeptSpeeds(("a processor", "float32")), Calibration({"net": SPEED}, "a device", 7, True, 2.0)
    assert kept.get("key") is None
    kept.put("key", found)
    assert kept.get("key") == found
    assert kept.get("another") is None
    assert KeptSpeeds(("another processor", "float32")).get("key") is None


@pytest.mark.parametrize("damage", [b"", b"{", b'{"speeds": [], "seconds": 1}', b'{"speeds": {"net": {"step": "x"}}}'])
def test_a_damaged_speed_is_measured_again(damage, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept, found = KeptSpeeds(()), Calibration({"net": SPEED}, "a device", 7, True, 2.0)
    kept.put("key", found)
    next(tmp_path.rglob("speeds/*.json")).write_bytes(damage)
    assert kept.get("key") is None
    kept.put("key", replace(found, memory=8))
    assert kept.get("key").memory == 8


def test_without_a_writable_cache_nothing_is_kept(tmp_path, monkeypatch):
    (tmp_path / "covid_keras").write_text("a file where the folder belongs")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    KeptSpeeds(()).put("key", Calibration({"net": SPEED}, "a device", 7, True, 2.0))
    assert KeptSpeeds(()).get("key") is None


def test_a_network_with_other_kernels_is_timed_on_its_own():
    inputs = keras.Input((16, 16, 4))
    keys = []
    for size in (3, 5):
        x = layers.Flatten()(layers.Conv2D(4, size, padding="same")(inputs))
        model = keras.Model(inputs, layers.Dense(2)(x))
        model.compile("adam", "mse", jit_compile=False)
        keys.append(Subject(model, [(model, 1)], (2,), 4).key)
    assert keys[0] != keys[1]
