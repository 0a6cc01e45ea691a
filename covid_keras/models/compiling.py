"""Create Keras optimisers and losses from protocol settings."""

from __future__ import annotations

from typing import Any, Protocol

import keras


class OptimizerSettings(Protocol):
    """Settings of an optimiser (see `covid_keras.paper.protocol.OptimizerSettings`)."""

    @property
    def name(self) -> str: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def momentum(self) -> float: ...
    @property
    def nesterov(self) -> bool: ...
    @property
    def decay(self) -> float: ...
    @property
    def epsilon(self) -> float: ...


def make_optimizer(settings: OptimizerSettings) -> keras.optimizers.Optimizer:
    """Return the optimiser described by the settings."""
    rate: Any = settings.learning_rate
    if settings.decay:
        rate = keras.optimizers.schedules.InverseTimeDecay(settings.learning_rate, 1, settings.decay)
    if settings.name == "adam":
        return keras.optimizers.Adam(rate, epsilon=settings.epsilon)
    return keras.optimizers.SGD(rate, momentum=settings.momentum, nesterov=settings.nesterov)


def compile_classifier(model: keras.Model, optimizer: OptimizerSettings, label_smoothing: float) -> None:
    """Compile with cross-entropy, binary for a single sigmoid output; `label_smoothing` lies in [0, 1)."""
    loss = keras.losses.BinaryCrossentropy if ends_in_one(model) else keras.losses.CategoricalCrossentropy
    model.compile(
        make_optimizer(optimizer), loss(label_smoothing=label_smoothing), metrics=["accuracy"], jit_compile=False
    )


def ends_in_one(model: keras.Model) -> bool:
    """Whether a functional network has a single output unit; false for subclassed models with their own losses."""
    outputs: Any = getattr(model, "outputs", None) or ()
    return len(outputs) == 1 and outputs[0].shape[-1] == 1
