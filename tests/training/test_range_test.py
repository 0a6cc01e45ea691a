"""The learning-rate range test: what it shows, when it ends, and that it leaves nothing behind."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest

from covid_keras.common.errors import UserError
from covid_keras.training.range_finder import (
    DIVERGED,
    NOT_FINITE,
    lr_range_test,
    smoothed_losses,
    suggested_rate,
)
from tests.helpers.command import fails

DATA = np.random.default_rng(0).normal(size=(6, 8, 3)).astype("float32")
TRUTH = DATA.sum(axis=2, keepdims=True)
BATCHES = list(zip(DATA, TRUTH, strict=True))


def line(optimizer=None, **compiled) -> keras.Model:
    """Return y = w x, whose loss under gradient descent is known: it grows from a rate of 2 / curvature on."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
    model.compile(optimizer or keras.optimizers.SGD(0.125), loss="mse", **compiled)
    return model


def restless() -> keras.Model:
    """Return a model with all that a training can change: moments, moving statistics, states of random layers."""
    inputs = keras.Input((3,))
    x = keras.layers.BatchNormalization()(keras.layers.Dense(4)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Dropout(0.5, seed=3)(x)))
    model.compile(keras.optimizers.Adam(0.003), loss="mse", metrics=["mae"])
    return model


def state(model: keras.Model) -> list[np.ndarray]:
    return [
        np.array(keras.ops.convert_to_numpy(variable)) for variable in (*model.variables, *model.optimizer.variables)
    ]


def test_the_rates_grow_by_one_factor_to_the_last():
    found = lr_range_test(line(), BATCHES, low=1e-6, high=1e-2, steps=9)
    assert found.rates[[0, -1]] == pytest.approx([1e-6, 1e-2])
    assert np.diff(np.log10(found.rates)) == pytest.approx(0.5)
    assert found.stopped == ""
    assert len(found.losses) == 9


def test_the_loss_is_that_of_the_batch_and_each_batch_trains_at_its_rate():
    found = lr_range_test(line(), BATCHES, low=1e-3, high=0.1, steps=8)
    weight = np.zeros((3, 1))
    for step in range(8):
        x, y = BATCHES[step % len(BATCHES)]
        wrong = x @ weight - y
        assert found.losses[step] == pytest.approx((wrong**2).mean(), rel=1e-4)
        weight = weight - found.rates[step] * 2 * x.T @ wrong / len(x)


@pytest.mark.slow
def test_it_ends_where_the_loss_explodes():
    found = lr_range_test(line(), BATCHES, low=1e-4, high=100.0, steps=200)
    assert found.stopped == DIVERGED
    assert 0.3 < found.rates[-1] < 10
    assert found.rates[0] < found.suggested < found.rates[found.losses.argmin()] * 1.5
    far = lr_range_test(line(), BATCHES, low=1e-4, high=100.0, steps=200, stop_factor=1e6)
    assert len(far.rates) > len(found.rates)


def test_a_loss_that_is_no_number_ends_it_and_is_not_kept():
    bad = (np.full((8, 3), np.nan, "float32"), TRUTH[0])
    found = lr_range_test(line(), [*BATCHES, bad], steps=50)
    assert found.stopped == NOT_FINITE
    assert len(found.rates) == len(found.losses) == len(BATCHES)
    assert math.isnan(found.suggested)


def test_weights_of_the_samples_count():
    weighted = [(x, y, np.full(len(x), 3.0)) for x, y in BATCHES]
    once, thrice = (lr_range_test(line(), batches, 1e-7, 1e-6, steps=3).losses for batches in (BATCHES, weighted))
    assert thrice == pytest.approx(3 * once, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("trained", [False, True])
def test_nothing_is_left_behind(trained):
    model = restless()
    if trained:
        model.fit(DATA[0], TRUTH[0], verbose=0)
    else:
        model.optimizer.build(model.trainable_variables)
    before, after = state(model), restless()
    lr_range_test(model, BATCHES, high=1.0, steps=12)
    for one, other in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(one, other)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.003)
    assert all(float(keras.ops.sum(v)) == 0 for metric in model.metrics for v in metric.variables)
    if not trained:
        # And it trains on as if nothing had been: dropout draws the same units.
        after.set_weights(model.get_weights())
        first, second = (m.fit(DATA[0], TRUTH[0], shuffle=False, verbose=0).history["loss"] for m in (model, after))
        assert first == second


def test_nothing_is_left_behind_by_a_failure():
    model = restless()
    model.optimizer.build(model.trainable_variables)
    before = state(model)

    def failing():
        yield from BATCHES[:3]
        raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        lr_range_test(model, failing())
    for one, other in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_suggestion_is_the_steepest_descent_of_a_known_curve():
    rates = np.geomspace(1e-7, 1, 141)
    # Falls as a logistic function of the decade, steepest at 1e-3, and explodes at the end, which does not count.
    losses = 2 - 1 / (1 + np.exp(-4 * (np.log10(rates) + 3)))
    losses[-4:] = 50
    assert np.log10(suggested_rate(rates, losses)) == pytest.approx(-3, abs=0.1)
    noise = np.random.default_rng(1).normal(scale=0.05, size=141)
    assert np.log10(suggested_rate(rates, losses + noise)) == pytest.approx(-3, abs=0.6)
    # A fall within the first ten batches does not count either.
    losses[:10] += np.linspace(5, 0, 10)
    assert np.log10(suggested_rate(rates[:131], losses[:131])) > -7 + 0.45


def test_no_suggestion_where_nothing_falls_or_little_was_seen():
    rates = np.geomspace(1e-7, 1, 60)
    assert math.isnan(suggested_rate(rates, np.linspace(1, 2, 60)))
    assert math.isnan(suggested_rate(rates[:16], np.linspace(2, 1, 16)))
    assert suggested_rate(rates[:17], np.linspace(2, 1, 17)) > 0


@pytest.mark.parametrize("steps", [17, 60, 100, 400])
@pytest.mark.parametrize("seed", range(5))
def test_noise_about_a_flat_line_suggests_nothing(steps, seed):
    rates, rng = np.geomspace(1e-7, 1, steps), np.random.default_rng(seed)
    assert math.isnan(suggested_rate(rates, 0.7 + rng.normal(scale=0.1, size=steps)))
    assert math.isnan(suggested_rate(rates, np.full(steps, 0.7)))


def test_a_fall_that_noise_does_not_hide_is_found():
    rates, rng = np.geomspace(1e-7, 1, 100), np.random.default_rng(0)
    fall = 0.7 - 0.5 / (1 + np.exp(-4 * (np.log10(rates) + 3))) + rng.normal(scale=0.1, size=100)
    assert np.log10(suggested_rate(rates, fall)) == pytest.approx(-3, abs=0.7)


@pytest.mark.parametrize(
    ("options", "words"),
    [(("--steps", 15), "at least 17 steps"), (("--steps", -1), "got -1"), (("--low", 0.2), "--low < --high")],
)
def test_a_range_that_shows_nothing_is_refused_before_any_work(capsys, tmp_path, options, words):
    assert words in fails(capsys, "lr-range", "haghanifar", "base_v2", "--out", tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


def test_the_way_down_from_a_jump_is_no_descent():
    rates = np.geomspace(1e-7, 0.1, 120)
    jumped = np.full(120, 0.7)
    jumped[80:100] = np.linspace(3, 1, 20)
    assert math.isnan(suggested_rate(rates, jumped))
    fallen = np.r_[np.full(40, 0.7), np.linspace(0.7, 0.3, 30), np.full(10, 0.3), np.linspace(3, 1, 20), np.full(20, 1)]
    assert rates[38] < suggested_rate(rates, fallen) < rates[72]


def test_smoothing_keeps_a_constant_and_does_not_lag():
    assert smoothed_losses(np.full(30, 0.7)) == pytest.approx(0.7)
    bump = np.exp(-0.5 * ((np.arange(81) - 40) / 6) ** 2)
    assert abs(int(smoothed_losses(bump).argmax()) - 40) <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": 0.1, "high": 0.1}, "from rate 0.1 to 0.1"),
        ({"low": 0.0}, "from rate 0.0 to"),
        ({"steps": 1}, "at least 2 steps"),
        ({"stop_factor": 1.0}, "stop_factor"),
        ({"dataset": []}, "empty data set"),
        ({"model": line(keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 9, 0.5)))}, "a schedule"),
        ({"model": line(keras.optimizers.SGD(lambda: 0.1))}, "a schedule or a function"),
        ({"model": keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])}, "built and compiled model"),
        ({"model": keras.Sequential([keras.layers.Dense(1)])}, "built and compiled model"),
    ],
)
def test_what_cannot_be_is_said(options, message):
    options = {"model": line(), "dataset": BATCHES} | options
    with pytest.raises(UserError, match=message):
        lr_range_test(**options)
