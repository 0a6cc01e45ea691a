"""What every system has: its place among the others, its images and its answer.

A system is one row of a paper's tables. Its kinds are in `covid_keras.paper.systems`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from covid_keras.common.errors import UserError
from covid_keras.data.cohort import Cohort
from covid_keras.data.preparation import Preparation
from covid_keras.data.prepared_images import PreparedImages
from covid_keras.evaluation.decisions import decide_scores
from covid_keras.paper.execution import Execution, Outcome, Trainer
from covid_keras.paper.inputs import Inputs
from covid_keras.paper.protocol import Protocol, TrainingSettings

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class System:
    """One row of a paper's tables.

    Attributes
    ----------
    name, title : str
        Name in predictions and protocol; name in tables.
    preparation : callable
        Protocol -> `Preparation`, applied once to every image.
    classes : tuple of str
        Its labels, in the order of its outputs. Default: the paper's scored classes.
    relabel : mapping
        Label of the cohort -> its own label, such as one name for all kinds of pneumonia.
    split : str
        Name of its split (key of the protocol's `splits`); "" is the main one.
    parts : tuple of str
        Parts of the split that it predicts; includes "train" if the paper prints training accuracies.
    settings : str
        Key of its settings in the protocol's `trainings`. Default: `name`.
    after : str
        The system on whose finished execution, on the same fold, this one builds.
    scaling : str or callable
        How the pipeline scales prepared images (see `covid_keras.data.pipeline.make_dataset`).
    channels : int
        Input channels of the network; grey images are repeated.
    """

    name: str
    title: str
    preparation: Callable[[Protocol], Preparation]
    classes: tuple[str, ...] = ()
    relabel: Mapping[str, str] = field(default_factory=dict)
    split: str = ""
    parts: tuple[str, ...] = ("validation", "test")
    settings: str = ""
    after: str = ""
    scaling: str | Callable[[Any], Any] = "0-1"
    channels: int = 3

    # Distinguishes a group of such systems in table titles; "" for those of the protocol.
    origin: ClassVar[str] = ""
    # Layer for Grad-CAM, as in `covid_keras.explain.grad_cam`.
    heat_layer: ClassVar[str] = ""
    # Whether the settings of its split determine its images.
    reads_split: ClassVar[bool] = True

    @classmethod
    def like(cls, system: System, **changes: Any) -> Self:
        """Return a system of this class with another system's common attributes, except `changes`."""
        return cls(**{one.name: getattr(system, one.name) for one in fields(System)} | changes)

    # ------------------------------------------------------------------------------------------------ its place

    @property
    def below(self) -> tuple[str, ...]:
        """The systems on which it directly builds."""
        return (self.after,) if self.after else ()

    def training(self, protocol: Protocol) -> TrainingSettings:
        """Return its training settings."""
        return protocol.training_of(self.settings or self.name)

    def learns_by(self, protocol: Protocol) -> dict[str, Any]:
        """Return the settings of its own training, as plain values; {} if it is not trained."""
        return {}

    def epochs(self, protocol: Protocol) -> int:
        """Return its maximum number of epochs over all stages; 1 if it is not trained."""
        return 1

    def repeats(self, protocol: Protocol) -> int:
        """Return the number of repeats that it runs."""
        repeats = protocol.split_of(self.split).repeats
        return min(repeats, self.training(protocol).repeats or repeats)

    def folds(self, protocol: Protocol) -> int:
        """Return the number of folds per repeat that it runs."""
        return protocol.split_of(self.split).folds

    def place(self, repeat: int, fold: int) -> tuple[int, int]:
        """Return the repeat and fold of its execution on which a system in (repeat, fold) builds."""
        return repeat, fold

    def runs_where(self, protocol: Protocol, repeat: int, fold: int) -> bool:
        """Return whether a system that builds on it can run in a fold."""
        return repeat < self.repeats(protocol) and fold < self.folds(protocol)

    def missing(self, protocol: Protocol, data: Path | None) -> str | None:
        """Return None if all that it needs is available, else what is missing; it is then left out."""
        return self.excluded(protocol) or None

    def excluded(self, protocol: Protocol) -> str:
        """Return why no data makes it run in this profile; "" if some does."""
        return ""

    def imagenet(self, protocol: Protocol) -> dict[str, str]:
        """Return the files of keras.applications that its training starts from.

        Maps the name in `weights/registry.yaml` to the option that gives another file.
        """
        return {}

    def surrogate(self, protocol: Protocol) -> str:
        """Return why its network is not the paper's; "" if it is."""
        return ""

    def summary(self, protocol: Protocol) -> str:
        """Return how its predictions are made, as text for a table cell."""
        raise NotImplementedError

    # ------------------------------------------------------------------------------------------------ its images

    def images(self, protocol: Protocol) -> Preparation | None:
        """Return its preparation of images; None if it uses none."""
        return self.preparation(protocol)

    def reads_size(self, protocol: Protocol) -> bool:
        """Return whether the protocol's `size` determines its images; other systems have a size of their own."""
        height, width = protocol.size
        return self.images(replace(protocol, size=(height + 32, width + 32))) != self.images(protocol)

    def labelled(self, cohort: Cohort) -> Cohort:
        """Return the cohort with this system's labels."""
        if not self.relabel:
            return cohort
        mapping = {name: self.relabel.get(name, name) for name in cohort.classes}
        return cohort.relabel(mapping, tuple(dict.fromkeys(mapping.values())))

    def takes_part(self, execution: Execution) -> np.ndarray:
        """Return which images take part, bool (n,): every image whose label is one of the system's classes."""
        return self.labelled(execution.cohort).table["label"].isin(execution.classes).to_numpy()

    def division(self, execution: Execution) -> np.ndarray:
        """Return "train", "validation", "test" or "" (takes no part) for each image of the cohort, (n,) of str."""
        return np.where(self.takes_part(execution), execution.divided, "")

    def part(self, execution: Execution) -> np.ndarray:
        """Return the division without images filtered out by systems on which it builds."""
        return execution.division

    def predicted_parts(self, execution: Execution) -> tuple[np.ndarray, bool]:
        """Return the part of each image that it predicts, "" for others, (n,) of str; and whether it predicts them all.

        It does unless systems on which it builds filter its images, which takes their networks to find out.
        """
        scored = self.labelled(execution.cohort).table["label"].isin(execution.scored)
        chosen = scored & np.isin(execution.division, self.parts)
        return np.where(chosen, execution.division, ""), type(self).part is System.part

    def learned_from(self, execution: Execution) -> np.ndarray:
        """Return the images on which its own weights were trained here, bool (n,)."""
        return np.zeros(len(execution.cohort), bool)

    def template(self, execution: Execution) -> int | None:
        """Return the row of the template image for histogram matching, or None."""
        return None

    def feed(self, execution: Execution, cohort: Cohort, part: np.ndarray, prepared: PreparedImages) -> Inputs:
        """Return the network's inputs for a cohort's n prepared images. Default: each image once.

        Parameters
        ----------
        execution : Execution
        cohort : Cohort
            The execution's cohort, or some of its images.
        part : ndarray (n,) of str
        prepared : PreparedImages
        """
        index = {name: number for number, name in enumerate(execution.classes)}
        labels = self.labelled(cohort).table["label"].map(index).fillna(-1).to_numpy(dtype=np.int64)
        return Inputs(prepared, labels, np.arange(len(cohort)), len(execution.classes))

    # ------------------------------------------------------------------------------------------------ its answer

    def run(self, trainer: Trainer) -> Outcome:
        """Make the predictions of one execution."""
        return trainer.apply()

    def network(self, execution: Execution) -> keras.Model | None:
        """Return the network of a finished execution with its best weights; None if it has none.

        Raises
        ------
        UserError
            If the weights are missing, damaged, or another network's.
        """
        raise NotImplementedError

    def passes(self, execution: Execution) -> list[tuple[keras.Model, int]]:
        """Return the networks that an image passes until its prediction, without a lung segmenter, each with how often.

        The cost of a prediction is their sum (see `covid_keras.models.costs`). Default: its own network, once.
        """
        model = self.network(execution)
        return [] if model is None else [(model, 1)]

    def strategy(self, asked: str) -> str:
        """Return the distribution strategy that it uses, given the one requested."""
        return asked

    def decide(self, outputs: np.ndarray, classes: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Turn a network's outputs into decisions.

        Parameters
        ----------
        outputs : ndarray (n, views, outputs) float
            Finite; one view per input of the image.
        classes : tuple of str
            The scored classes.

        Returns
        -------
        ndarray (n,) int64, ndarray (n, classes) float64
            Index of the predicted class, and scores that sum to 1. By default, a single sigmoid is the probability of
            the second class, with threshold 0.5; else the largest output of the only view counts.
        """
        scores = outputs[:, 0].astype(np.float64)
        if scores.shape[1] == 1:
            scores = np.concatenate([1 - scores, scores], axis=1)
            return decide_scores(scores[:, 1:]), scores
        scores = scores[:, [(self.classes or classes).index(name) for name in classes]]
        total = scores.sum(axis=1, keepdims=True)
        if (total <= 0).any():
            raise UserError(self.name, "gave an image the score 0 for every class", "Train it again")
        return decide_scores(scores / total), scores / total

    def evidence(
        self, model: keras.Model, inputs: np.ndarray, name: str, classes: tuple[str, ...]
    ) -> tuple[keras.Model, np.ndarray, int]:
        """Return model, inputs and output index for Grad-CAM of a class.

        Parameters
        ----------
        model : keras.Model
        inputs : ndarray (n, views, H, W, C)
        name : str
            The class.
        classes : tuple of str
            The scored classes.

        Returns
        -------
        keras.Model, ndarray (n, H, W, C), int
            A flat model, its inputs, and the index of its output.
        """
        return model, inputs[:, 0], (self.classes or classes).index(name)

    def require_trained(self, remedy: str) -> None:
        """Raise `UserError` if it is not trained here."""
        raise UserError(self.name, "is not trained here and has no weights of its own", remedy)
