"""A trained system tested again: the same network, on images that are not its own test part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from covid_keras.data.cohort import Cohort
from covid_keras.data.prepared_images import PreparedImages
from covid_keras.paper.execution import Execution
from covid_keras.paper.inputs import Inputs
from covid_keras.paper.protocol import Protocol, TrainingSettings
from covid_keras.paper.system import System

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, kw_only=True)
class Retested(System):
    """A system whose network is that of `trained`, in the same repeat and fold, with other test images.

    If it predicts the validation part too, that is the validation part of `trained`, so that a threshold or the weights
    of an ensemble can be chosen on images like those of the training.

    Attributes
    ----------
    trained : System
        Its preparation must not depend on the execution (no `System.template`).
    tested : callable
        Execution of this system -> the test images, bool (n,).

    Raises
    ------
    ValueError
        By `division`, if a test image is in the training or validation part of `trained`.
    """

    trained: System
    tested: Callable[[Execution], np.ndarray]

    @classmethod
    def on(cls, trained: System, tested: Callable[[Execution], np.ndarray], **changes: Any) -> Retested:
        """Return a system that tests `trained` on other images, like it except `changes`."""
        settings = trained.settings or trained.name
        return cls.like(trained, trained=trained, tested=tested, settings=settings, after=trained.name, **changes)

    # ------------------------------------------------------------------------------------------------ its place

    def training(self, protocol: Protocol) -> TrainingSettings:
        return self.trained.training(protocol)

    def surrogate(self, protocol: Protocol) -> str:
        return self.trained.surrogate(protocol)

    def missing(self, protocol: Protocol, data: Path | None) -> str | None:
        return self.trained.missing(protocol, data)

    def summary(self, protocol: Protocol) -> str:
        return f"trained as {self.trained.title},\ntested on other images"

    # ------------------------------------------------------------------------------------------------ its images

    def reads_size(self, protocol: Protocol) -> bool:
        return self.trained.reads_size(protocol)

    def division(self, execution: Execution) -> np.ndarray:
        kept = [name for name in self.parts if name == "validation"]
        own, tested = self.trained.division(execution), self.tested(execution)
        if (tested & np.isin(own, ("train", "validation"))).any():
            raise ValueError(f"{self.name} tests images that {self.trained.name} is trained on")
        return np.where(tested, "test", np.where(np.isin(own, kept), own, "")).astype(object)

    def feed(self, execution: Execution, cohort: Cohort, part: np.ndarray, prepared: PreparedImages) -> Inputs:
        return self.trained.feed(execution.below(self.trained.name), cohort, part, prepared)

    # ------------------------------------------------------------------------------------------------ its answer

    def network(self, execution: Execution) -> keras.Model | None:
        return execution.below(self.trained.name).network

    def strategy(self, asked: str) -> str:
        return self.trained.strategy(asked)

    def decide(self, outputs: np.ndarray, classes: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        return self.trained.decide(outputs, classes)

    def evidence(
        self, model: keras.Model, inputs: np.ndarray, name: str, classes: tuple[str, ...]
    ) -> tuple[keras.Model, np.ndarray, int]:
        return self.trained.evidence(model, inputs, name, classes)

    @property
    def heat_layer(self) -> str:  # type: ignore[override]
        return self.trained.heat_layer
