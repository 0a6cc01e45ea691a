"""The interface of an execution (one training on one fold of one repeat) that systems use and a run implements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from covid_keras.data.cohort import Cohort
from covid_keras.data.prepared_images import PreparedImages
from covid_keras.paper.inputs import Inputs
from covid_keras.paper.protocol import Protocol as PaperProtocol

if TYPE_CHECKING:
    import keras


class Execution(Protocol):
    """One execution, finished or not.

    Attributes
    ----------
    repeat, fold : int
    name, address : str
        Name in progress and logs; its folder below the executions of the run, `SYSTEM/repeatR-foldF`.
    protocol : covid_keras.paper.protocol.Protocol
    cohort : Cohort
        All n images, including those that do not take part.
    classes, scored : tuple of str
        Labels that the network learns, in the order of its outputs; labels in which predictions are evaluated.
    splits : pandas.DataFrame
        The split table of this repeat.
    split_seed : int
        Seed of the split of this repeat.
    divided : ndarray (n,) of str
        "train", "validation", "test" or "" (in no part) by the split.
    division, part : ndarray (n,) of str
        The same for images that take part; for images that earlier systems let through.
    prepared : PreparedImages
        The n prepared images, made if not cached.
    inputs : Inputs
        The network's inputs.
    network : keras.Model or None
        With its best weights; None if the system has no network of its own.
    passes : list of (keras.Model, int)
        The networks that an image passes until its prediction, each with how often.
    folder, weights, predictions : Path
        Folder of the execution; files with the best weights and the predictions.
    done : bool
        Whether the predictions are complete and unchanged.
    details : dict
        The record of a finished execution.
    chain : sequence of Execution
        The finished executions of all systems that this one builds on, first to last.
    """

    repeat: int
    fold: int

    @property
    def name(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def protocol(self) -> PaperProtocol: ...
    @property
    def cohort(self) -> Cohort: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def scored(self) -> tuple[str, ...]: ...
    @property
    def splits(self) -> pd.DataFrame: ...
    @property
    def split_seed(self) -> int: ...
    @property
    def divided(self) -> np.ndarray: ...
    @property
    def division(self) -> np.ndarray: ...
    @property
    def part(self) -> np.ndarray: ...
    @property
    def prepared(self) -> PreparedImages: ...
    @property
    def inputs(self) -> Inputs: ...
    @property
    def network(self) -> keras.Model | None: ...
    @property
    def passes(self) -> list[tuple[keras.Model, int]]: ...
    @property
    def folder(self) -> Path: ...
    @property
    def weights(self) -> Path: ...
    @property
    def predictions(self) -> Path: ...
    @property
    def done(self) -> bool: ...
    @property
    def details(self) -> dict[str, Any]: ...
    @property
    def chain(self) -> Sequence[Execution]: ...

    def below(self, name: str) -> Execution:
        """Return the execution of the system `name` that this one builds on; raise `UserError` if unfinished."""


@dataclass(frozen=True)
class Outcome:
    """The result of an execution.

    Attributes
    ----------
    frame : pandas.DataFrame
        The predictions, columns as in `covid_keras.evaluation.PREDICTION_COLUMNS`.
    facts : dict
        Entries of the record.
    history : list of dict
        The epochs of the training; empty if nothing was trained.
    """

    frame: pd.DataFrame
    facts: dict[str, Any]
    history: list[dict[str, float]] = field(default_factory=list)


class Trainer(Protocol):
    """Carries out an execution: knows devices, optimisers and batches."""

    execution: Execution

    def train(self) -> Outcome:
        """Train the network of a `Trained` system, or resume it; return the outcome."""

    def apply(self) -> Outcome:
        """Predict with a network that is not trained here; return the outcome."""

    def score(self, outputs_of: Callable[[np.ndarray], np.ndarray], parameters: int) -> Outcome:
        """Predict without a network; return the outcome.

        Parameters
        ----------
        outputs_of : callable
            Rows of the execution's inputs, int64 (m,) -> outputs, float (m, outputs).
        parameters : int
            Number of fitted parameters.
        """
