"""What a system is given of an execution, one training on one fold of one repeat: the contract that a run fulfils."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from covid_keras.data.cohort import Cohort
from covid_keras.data.preparation import PreparedImages
from covid_keras.paper.inputs import Inputs
from covid_keras.paper.protocol import Protocol as PaperProtocol

if TYPE_CHECKING:
    import keras


class Execution(Protocol):
    """One execution, done or not.

    Attributes
    ----------
    repeat, fold : int
    name : str
        As progress and logs call it.
    protocol : covid_keras.paper.protocol.Protocol
    cohort : Cohort
        All n images, whether they take part or not.
    classes, scored : tuple of str
        The labels that the network learns, in the order of its outputs; those that predictions are evaluated in.
    splits : pandas.DataFrame
        The split table of this repeat.
    split_seed : int
        Of the division of this repeat.
    divided : ndarray (n,) of str
        "train", "validation", "test" or "" (in no part) by the split alone.
    division, part : ndarray (n,) of str
        The same of the images that take part; of those that the systems below let through.
    prepared : PreparedImages
        Of the n images, made where they are not kept yet.
    inputs : Inputs
        What the network is fed.
    network : keras.Model or None
        With its best weights; None if the system has none of its own.
    folder, weights, predictions : Path
        If everything is kept, the best weights and the predictions among it.
    done : bool
        Whether the predictions are there, as they were written.
    details : dict
        The record of an execution that is done.
    chain : sequence of Execution
        The finished executions of all systems that this one builds on, first to last.
    """

    repeat: int
    fold: int

    @property
    def name(self) -> str: ...
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
        """Return the execution of the system `name` that this one builds on; raise `UserError` if it is not done."""


@dataclass(frozen=True)
class Outcome:
    """What an execution ends in.

    Attributes
    ----------
    frame : pandas.DataFrame
        The predictions, columns as `covid_keras.evaluation.PREDICTION_COLUMNS`.
    facts : dict
        What the record says of how they came about.
    history : list of dict
        The epochs of the training; empty if nothing was trained.
    """

    frame: pd.DataFrame
    facts: dict[str, Any]
    history: list[dict[str, float]] = field(default_factory=list)


class Trainer(Protocol):
    """What carries out an execution: it knows devices, optimisers and batches, which systems do not."""

    execution: Execution

    def train(self) -> Outcome:
        """Train the network of a `Trained` system, or go on with it; return the outcome."""

    def apply(self) -> Outcome:
        """Let the execution's network, which nobody trains here, predict; return the outcome."""
