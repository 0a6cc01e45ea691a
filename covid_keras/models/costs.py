"""Cost of networks: parameters, floating-point operations and time per image, and the memory of a training.

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
# Images whose outputs of the largest layer exist once more in the backward pass: gradients on both sides of a layer.
_GRADIENTS = 2
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


def training_memory(
    model: keras.Model, batch: int, passes: Sequence[Pass] | None = None, accumulates: bool = False
) -> int:
    """Return the device memory of one training in bytes, from the shapes of its layers.

    It holds the outputs of all layers from the first trainable one on until the backward pass, the gradients of the
    largest output, and the weights with their gradients and the variables of the optimisers. The workspace of
    convolutions is not counted, and it depends on device and library.

    Parameters
    ----------
    model : keras.Model
        Compiled, its optimisers built; its dtype policy is that of the training.
    batch : int
        Images per step, or per part of a step if gradients are accumulated.
    passes : sequence of (keras.Model, int), optional
        The functional networks of fixed input size that an image passes in a training step, each with how often, in
        order. Default: `model`, once.
    accumulates : bool
        Whether gradients are accumulated over several batches, which takes one more copy of them.
    """
    outputs, largest, through = 0, 0, False
    for network, times in passes or [(model, 1)]:
        kept, most = _outputs(network, through)
        outputs, largest = outputs + times * kept, max(largest, times * most)
        through = through or bool(network.trainable_weights)
    weights = {id(one): one for network, _ in passes or [(model, 1)] for one in network.weights}
    gradients = sum(map(_bytes, model.trainable_variables)) * (2 if accumulates else 1)
    fixed = sum(map(_bytes, weights.values())) + gradients + optimizer_bytes(model)
    return batch * (outputs + _GRADIENTS * largest) + fixed


def optimizer_bytes(model: keras.Model) -> int:
    """Return the bytes of the variables of a compiled network's optimisers."""
    optimizers = [model.optimizer, *getattr(model, "extra_optimizers", ())]
    return sum(_bytes(one) for optimizer in optimizers for one in optimizer.variables)


def _outputs(model: keras.Model, through: bool) -> tuple[int, int]:
    """Return the bytes per image of all outputs that the backward pass needs, and of the largest layer's output.

    `through` says whether the gradient passes the whole network, although it may not be trained.
    """
    sizes = [sum(map(_bytes, keras.tree.flatten(layer.output))) for layer in model.layers]
    trained = (place for place, layer in enumerate(model.layers) if through or layer.trainable_weights)
    return sum(sizes[next(trained, len(sizes)) :]), max(sizes)


def _bytes(tensor: keras.KerasTensor | keras.Variable) -> int:
    """Return the bytes of a variable, or of one image's part of a tensor (batch, ...)."""
    shape = tensor.shape[1:] if isinstance(tensor, keras.KerasTensor) else tensor.shape
    if None in shape:
        raise ValueError(f"{tensor.name} has no fixed size: {tuple(shape)}")
    return int(np.prod(shape)) * tf.as_dtype(tensor.dtype).size
