"""Cost of networks per image: parameters, floating-point operations and time.

Operations are counted by TensorFlow's profiler on the traced forward pass: each multiplication and each addition is
one, so a multiply-accumulate is two. Operations without a registered count, such as moving data, are free.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

# Images per batch, and how often it is timed; the fastest counts, since other programs only slow it down.
BATCH, ROUNDS = 8, 5
# A network, and how often one image passes it.
Pass = tuple[keras.Model, int]


@dataclass(frozen=True, eq=False)
class Forward:
    """The forward pass of a network, in inference mode.

    Parameters
    ----------
    model : keras.Model
        A functional model with one input of fixed size.
    """

    model: keras.Model

    @cached_property
    def _function(self) -> Any:
        return tf.function(lambda images: self.model(images, training=False), autograph=False)

    def _traced(self, images: int) -> Any:
        taken = self.model.inputs[0]
        return self._function.get_concrete_function(tf.TensorSpec((images, *taken.shape[1:]), taken.dtype))

    @cached_property
    def parameters(self) -> int:
        """The number of weights that the pass reads."""
        return sum(int(np.prod(one.shape)) for one in self._traced(1).variables)

    @cached_property
    def flops(self) -> int:
        """The number of floating-point operations per image."""
        profiler, logger = tf.compat.v1.profiler, tf.get_logger()
        options = profiler.ProfileOptionBuilder(profiler.ProfileOptionBuilder.float_operation())
        level = logger.level
        logger.setLevel("ERROR")  # the profiler calls a function of TensorFlow 1, of which TensorFlow warns
        try:
            found = profiler.profile(self._traced(1).graph, options=options.with_empty_output().build())
        finally:
            logger.setLevel(level)
        return int(found.total_float_ops)

    def seconds(self) -> float:
        """Run one batch; return the time per image."""
        taken = self.model.inputs[0]
        images = tf.zeros((BATCH, *taken.shape[1:]), taken.dtype)
        started = time.perf_counter()
        result = self._traced(BATCH)(images)
        np.asarray(tf.nest.flatten(result)[0])  # waits for an accelerator
        return (time.perf_counter() - started) / BATCH


class Cost(NamedTuple):
    """Cost per image: weights read, floating-point operations, milliseconds, time as a multiple of the reference's."""

    parameters: int
    flops: int
    milliseconds: float
    ratio: float


def measure_cost(passes: Sequence[Pass], reference: Sequence[Pass], rounds: int = ROUNDS) -> Cost:
    """Measure what one image costs on this device, and its time as a multiple of the time of a reference.

    Parameters
    ----------
    passes : sequence of (keras.Model, int)
        The networks that an image passes, each with how often. The weights of a network count once.
    reference : sequence of (keras.Model, int)
        Those of the reference, timed in turn with the former, so that the load of the machine is the same.
    rounds : int
        How often each is timed; the fastest counts.

    Raises
    ------
    ValueError
        If either is empty.
    """
    if not passes or not reference:
        raise ValueError("at least one network is needed")
    own, other = ([(Forward(model), times) for model, times in one] for one in (passes, reference))
    timed = []
    for _ in range(rounds + 1):  # the first one traces
        timed.append([sum(times * forward.seconds() for forward, times in side) for side in (own, other)])
    mine, its = np.min(timed[1:], axis=0)
    parameters = sum({id(forward.model): forward.parameters for forward, _ in own}.values())
    flops = sum(times * forward.flops for forward, times in own)
    return Cost(parameters, flops, 1000 * float(mine), float(mine / its))
