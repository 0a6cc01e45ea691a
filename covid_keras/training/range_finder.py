"""Learning-rate range test: one short training in which the learning rate grows from batch to batch.

The rate at which the loss falls steepest, before it rises again, is a good constant learning rate [1]_. The authors of
COVID-CXNet chose the rate of their base model this way, by eye (section 5.1). They used keras-lr-finder; neither it nor
a maintained successor supports Keras 3.

The loss here is that of each single batch. Keras reports the mean since the beginning of the epoch, both in `fit` and
in `train_on_batch`. This mean covers all rates so far: it lags behind, hides the rise, and jumps at the next epoch.

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

# Batches that the authors' plot leaves out: the first, whose loss is noise, and the last, where it explodes.
SKIP_FIRST, SKIP_LAST = 10, 5
FEWEST = SKIP_FIRST + SKIP_LAST + 2
SMOOTHING = 0.9
# Fall of the smoothed loss, in standard deviations of a batch's loss, that noise alone exceeds in less than one of a
# thousand tests (by simulation, up to 400 batches).
_STANDS_OUT = 1.25
DIVERGED, NOT_FINITE = "diverged", "not finite"


@dataclass(frozen=True)
class RangeTest:
    """Result of a range test.

    Attributes
    ----------
    rates, losses : ndarray of float64, shape (N,)
        The learning rate of each batch's step, and the loss before that step; all finite.
    suggested : float
        The rate at which the smoothed loss falls steepest per decade (see `suggested_rate`); NaN if none stands out.
    stopped : str
        Why the test ended before the highest rate: `DIVERGED` or `NOT_FINITE`; else "".
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
        Built and compiled, with a constant learning rate. Weights, optimiser state, learning rate and states of random
        layers are restored exactly, also after an exception; metrics are reset.
    dataset : iterable of (x, y) or (x, y, weight) batches
        As for `model.fit`, such as a `tf.data.Dataset`. Repeated if it has fewer than `steps` batches.
    low, high : float
        First and last rate; rates are spaced evenly on a logarithmic scale.
    steps : int
        Number of batches. (The authors' tool runs ten epochs.)
    stop_factor : float
        Stop when the smoothed loss exceeds this multiple of its lowest value so far. A loss that is not finite also
        stops the test.

    Returns
    -------
    RangeTest

    Raises
    ------
    UserError
        If the model is not built or compiled, its learning rate is a schedule, the data set is empty, or rates, steps
        or factor are out of range.
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
            # Bias correction: the average starts at 0.
            now = smoothed / (1 - SMOOTHING ** (step + 1))
            if now > stop_factor * best:
                stopped = DIVERGED
                break
            best = min(best, now)
    seen = rates[: len(losses)]
    return RangeTest(seen, np.array(losses), suggested_rate(seen, np.array(losses)), stopped)


def suggested_rate(rates: np.ndarray, losses: np.ndarray) -> float:
    """Return the rate at which the smoothed loss falls steepest per decade of the rate.

    The first `SKIP_FIRST` and last `SKIP_LAST` batches do not count, nor do batches after the lowest loss, because a
    fall after a jump means nothing. Smoothing is exponential, forwards and then backwards; forwards only, it would lag
    and suggest a rate about ten batches too high.

    Parameters
    ----------
    rates, losses : ndarray of float, shape (N,)
        Rates, positive and increasing; losses, finite.

    Returns
    -------
    float
        NaN if there are fewer than `FEWEST` batches, or the fall of the loss does not exceed its noise.
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
    """Estimate the standard deviation of a batch's loss about its trend, from the median of second differences."""
    return float(np.median(np.abs(np.diff(losses, 2)))) / (0.6745 * math.sqrt(6))


def smoothed_losses(losses: np.ndarray) -> np.ndarray:
    """Return losses (N,) smoothed exponentially, forwards and then backwards."""
    forwards = pd.Series(losses).ewm(alpha=1 - SMOOTHING).mean()
    return forwards[::-1].ewm(alpha=1 - SMOOTHING).mean()[::-1].to_numpy()


def require_range(low: float, high: float, steps: int) -> None:
    """Raise `UserError` unless 0 < `low` < `high` and there are enough steps for a suggestion."""
    if not 0 < low < high < math.inf:
        problem = f"cannot run from rate {low:g} to {high:g}"
        raise UserError("range test", problem, "Use rates with 0 < --low < --high")
    if steps < FEWEST:
        problem = f"needs at least {FEWEST} steps (got {steps})"
        remedy = f"Raise --steps (default 100); the first {SKIP_FIRST} and the last {SKIP_LAST} do not count"
        raise UserError("range test", problem, remedy)


def _check(model: keras.Model, low: float, high: float, steps: int, stop_factor: float) -> None:
    ready = model.built and getattr(model, "optimizer", None) is not None
    for sound, problem, remedy in (
        (ready, "needs a built and compiled model", "Build it and call compile()"),
        (0 < low < high, f"cannot run from rate {low} to {high}", "Use rates with 0 < low < high"),
        (steps >= 2, f"needs at least 2 steps (got {steps})", f"Use {FEWEST} or more, which a suggestion needs"),
        (stop_factor > 1, f"needs a stop_factor above 1 (got {stop_factor})", "Use 4, the default"),
    ):
        if not sound:
            raise UserError("range test", problem, remedy)


@contextmanager
def _undone(model: keras.Model) -> Iterator[None]:
    """Restore everything that training changes when the context ends."""
    from keras import ops

    optimizer = model.optimizer
    if not optimizer.built:
        optimizer.build(model.trainable_variables)
    # Unlike `weights`, `variables` includes the states of random layers.
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
            raise UserError("range test", "got an empty data set", "Check the data set")


def _train_batch(model: keras.Model, batch: Any, rate: float) -> float:
    """Train on one batch at the given rate; return the batch's loss before the step."""
    try:
        model.optimizer.learning_rate = rate
    except (TypeError, AttributeError) as error:
        remedy = "Compile the model with a number as the learning rate"
        raise UserError("range test", "cannot set a learning rate that is a schedule or a function", remedy) from error
    model.reset_metrics()
    return float(model.train_on_batch(*batch, return_dict=True)["loss"])
