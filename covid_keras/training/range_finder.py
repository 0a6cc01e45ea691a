"""Learning-rate range test: one short training in which the rate grows from batch to batch.

Where the loss falls steepest before it rises again is where a constant rate learns fastest [1]_; COVID-CXNet's
authors chose the rate of their base model so (section 5.1), by eye. The libraries that do this for Keras
(keras-lr-finder, which the authors used, and its successors) call what Keras 3 no longer has, and none that is
kept up supports it; hence these few lines.

Here the loss is that of each batch. Keras reports the mean since the epoch began, both in `fit` and in
`train_on_batch`: an average over all rates so far, which lags behind, hides the rise and jumps where the next epoch
begins.

References
----------
.. [1] L. N. Smith, Cyclical learning rates for training neural networks, WACV 2017, section 3.3.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError

if TYPE_CHECKING:
    import keras

# What the authors' plot leaves out: the first batches, whose loss is noise, and the last, where it explodes.
SKIP_FIRST, SKIP_LAST = 10, 5
FEWEST = SKIP_FIRST + SKIP_LAST + 2
SMOOTHING = 0.9
# A fall of the smoothed loss, in standard deviations of a batch's loss, that noise alone shows in under one test in
# a thousand (by simulation, up to 400 batches).
_STANDS_OUT = 1.25
DIVERGED, NOT_FINITE = "diverged", "not finite"


@dataclass(frozen=True)
class RangeTest:
    """What a range test has seen.

    Attributes
    ----------
    rates, losses : ndarray of float64, shape (N,)
        Of each batch the rate of its step and its loss before that step; all finite.
    suggested : float
        The rate where the smoothed loss falls steepest per decade, see `suggested_rate`; NaN if no rate stands out.
    stopped : str
        Why it ended before the highest rate, `DIVERGED` or `NOT_FINITE`; "" if it did not.
    """

    rates: np.ndarray
    losses: np.ndarray
    suggested: float
    stopped: str = ""


def lr_range_test(
    model: keras.Model,
    dataset: Iterable[Any],
    low: float = 1e-7,
    high: float = 0.1,
    steps: int = 100,
    stop_factor: float = 4.0,
) -> RangeTest:
    """Train for up to `steps` batches while the learning rate grows from `low` to `high`, then undo the training.

    Parameters
    ----------
    model : keras.Model
        Built and compiled, its optimiser with a plain learning rate. Weights, state of the optimiser, learning rate
        and states of random layers are put back exactly, after an exception too; metrics are reset.
    dataset : iterable of (x, y) or (x, y, weight) batches
        As `model.fit` takes it, such as a `tf.data.Dataset`. Begun again where it ends before `steps`.
    low, high : float
        First and last rate; each is the one before times the same factor.
    steps : int
        Batches. The authors' tool runs ten epochs.
    stop_factor : float
        The test ends where the smoothed loss is more than this multiple of its lowest so far, or a loss is not
        finite.

    Returns
    -------
    RangeTest

    Raises
    ------
    UserError
        For a model that is not built or compiled, a learning rate that is a schedule, rates, steps or a factor that
        make no sense, and a data set without a batch.
    """
    _check(model, low, high, steps, stop_factor)
    rates = np.geomspace(low, high, steps)
    losses: list[float] = []
    smoothed, best, stopped = 0.0, math.inf, ""
    with _undone(model):
        for step, batch in zip(range(steps), _endless(dataset), strict=False):
            loss = _train_batch(model, batch, rates[step])
            if not math.isfinite(loss):
                stopped = NOT_FINITE
                break
            losses.append(loss)
            smoothed = SMOOTHING * smoothed + (1 - SMOOTHING) * loss
            # Begun at 0, the average is too small by this factor at first.
            now = smoothed / (1 - SMOOTHING ** (step + 1))
            if now > stop_factor * best:
                stopped = DIVERGED
                break
            best = min(best, now)
    seen = rates[: len(losses)]
    return RangeTest(seen, np.array(losses), suggested_rate(seen, np.array(losses)), stopped)


def suggested_rate(rates: np.ndarray, losses: np.ndarray) -> float:
    """Return the rate where the smoothed loss falls steepest per decade of the rate.

    The first `SKIP_FIRST` and the last `SKIP_LAST` batches do not count, nor does what follows the lowest loss: where
    the loss has jumped, its way down again says nothing. Smoothing is exponential, forwards and then backwards:
    forwards alone it lags, and would name a rate about ten batches too high.

    Parameters
    ----------
    rates, losses : ndarray of float, shape (N,)
        Positive and rising; finite.

    Returns
    -------
    float
        NaN if there are too few batches for a slope, or the loss falls by no more than its noise.
    """
    if len(rates) < FEWEST:
        return math.nan
    kept, values = np.log10(rates[:-SKIP_LAST]), pd.Series(losses[:-SKIP_LAST])
    smooth = smoothed_losses(values.to_numpy())
    slope = np.gradient(smooth, kept)[SKIP_FIRST:]
    lowest = int(smooth[SKIP_FIRST:].argmin())
    steepest = int(slope[: lowest + 1].argmin())
    fall = float(smooth[SKIP_FIRST:][: lowest + 1].max() - smooth[SKIP_FIRST:][lowest])
    if not lowest or slope[steepest] >= 0 or fall <= _STANDS_OUT * _noise(values.to_numpy()):
        return math.nan
    return float(rates[SKIP_FIRST + steepest])


def _noise(losses: np.ndarray) -> float:
    """Return the standard deviation of a batch's loss about its course, by the median of its second differences."""
    return float(np.median(np.abs(np.diff(losses, 2)))) / (0.6745 * math.sqrt(6))


def smoothed_losses(losses: np.ndarray) -> np.ndarray:
    """Return losses (N,) smoothed exponentially, forwards and then backwards."""
    forwards = pd.Series(losses).ewm(alpha=1 - SMOOTHING).mean()
    return forwards[::-1].ewm(alpha=1 - SMOOTHING).mean()[::-1].to_numpy()


def require_range(low: float, high: float, steps: int) -> None:
    """Refuse rates that do not rise, and fewer steps than a suggestion needs, before anything is trained."""
    if not 0 < low < high < math.inf:
        problem = f"cannot go from {low:g} to {high:g}"
        raise UserError("range test", problem, "Give rates above 0, the lower one first: --low, --high")
    if steps < FEWEST:
        problem = f"shows nothing in {steps} steps: the first {SKIP_FIRST} and the last {SKIP_LAST} do not count"
        raise UserError("range test", problem, f"Give --steps {FEWEST} or more; 100 is usual")


def _check(model: keras.Model, low: float, high: float, steps: int, stop_factor: float) -> None:
    ready = model.built and getattr(model, "optimizer", None) is not None
    for sound, problem, remedy in (
        (ready, "needs a model that is built and compiled", "Build it and call compile()"),
        (0 < low < high, f"cannot go from {low} to {high}", "Give rates above 0, the lower one first"),
        (steps >= 2, f"has no range in {steps} steps", f"Give {FEWEST} or more"),
        (stop_factor > 1, f"would stop at once at {stop_factor} times the best loss", "Give more than 1"),
    ):
        if not sound:
            raise UserError("range test", problem, remedy)


@contextmanager
def _undone(model: keras.Model) -> Iterator[None]:
    """Put back, at the end, all that a training changes."""
    from keras import ops

    optimizer = model.optimizer
    if not optimizer.built:
        optimizer.build(model.trainable_variables)
    # `variables`, unlike `weights`, holds the states of random layers.
    variables = [*model.variables, *optimizer.variables]
    state = [np.array(ops.convert_to_numpy(variable)) for variable in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, state, strict=True):
            variable.assign(value)
        model.reset_metrics()


def _endless(dataset: Iterable[Any]) -> Iterator[Any]:
    while True:
        batch = None
        for batch in dataset:
            yield batch
        if batch is None:
            raise UserError("range test", "has no batch to train on", "Check the data set")


def _train_batch(model: keras.Model, batch: Any, rate: float) -> float:
    """Train one batch at a rate; return its loss alone, before the step."""
    try:
        model.optimizer.learning_rate = rate
    except (TypeError, AttributeError) as error:
        remedy = "Compile the model with a number as the learning rate"
        raise UserError("range test", "cannot set a learning rate that is a schedule or a function", remedy) from error
    model.reset_metrics()
    return float(model.train_on_batch(*batch, return_dict=True)["loss"])
