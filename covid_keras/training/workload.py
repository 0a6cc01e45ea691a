"""How much a run trains: trainings, epochs and images of each system, counted before anything is made."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from covid_keras.common.errors import UserError
from covid_keras.data.cohort import Cohort
from covid_keras.data.sources import unavailable
from covid_keras.evaluation.overlap import RECORD
from covid_keras.paper.evidence import Evidence
from covid_keras.paper.paper import Paper
from covid_keras.paper.protocol import Protocol, SplitSettings
from covid_keras.paper.systems import Trained
from covid_keras.training.division import chosen_images
from covid_keras.training.plan import finished_executions, trainings
from covid_keras.training.segmenter_runs import VALIDATION, SegmentingPaper


@dataclass(frozen=True)
class Images:
    """Where the numbers of images come from.

    Attributes
    ----------
    cohort : Cohort, optional
        The run's images. Default: as many as the paper had (section `evidence` of `protocol.yaml`).
    data, made : Path
        Root of the collections, and the folder `made` of the cache, for the radiographs of lung segmenters.
    """

    cohort: Cohort | None
    data: Path | None
    made: Path


@dataclass(frozen=True)
class Work:
    """The trainings of one system or lung segmenter.

    Attributes
    ----------
    name, title : str
    trainings, finished : int
        All of the protocol; those that the run folder holds already.
    stages : tuple of int
        Maximum number of epochs of each stage.
    images, validation : int
        Inputs per epoch, for training and for validation.
    batch : int
        Inputs per step.
    """

    name: str
    title: str
    trainings: int
    finished: int
    stages: tuple[int, ...]
    images: int
    validation: int
    batch: int

    @property
    def left(self) -> int:
        """Trainings that are not finished."""
        return max(0, self.trainings - self.finished)

    @property
    def epochs(self) -> int:
        """Maximum number of epochs of one training."""
        return sum(self.stages)

    @property
    def image_epochs(self) -> int:
        """Images seen in all epochs of the trainings that are left."""
        return self.left * self.epochs * self.images

    @property
    def steps(self) -> int:
        """Steps per epoch."""
        return math.ceil(self.images / self.batch)


def count_work(paper: Paper, protocol: Protocol, names: Iterable[str], out: Path, images: Images) -> list[Work]:
    """Return the work of all systems among `names` that are trained, and of the lung segmenters that they need.

    Parameters
    ----------
    paper, protocol, names
    out : Path
        The run folder; it may not exist.
    images : Images

    Raises
    ------
    UserError
        If there is no cohort, and `protocol.yaml` does not give the paper's number of images.
    """
    names = list(names)
    systems = [system for system in map(paper.system, names) if isinstance(system, Trained)]
    found = [_of_system(paper, protocol, system, out, images.cohort) for system in systems]
    if isinstance(paper, SegmentingPaper):
        left_out = [name for name in protocol.systems if name not in names]
        settings = paper.segmenters.settings(protocol)
        for name in paper.segmenters.chosen(protocol, left_out):
            own, count = settings[name], _masked(paper, protocol, name, images)
            held = round(VALIDATION * count)
            done = (paper.segmenters.folder_of(protocol, images.made.parent, name) / RECORD).is_file()
            title = paper.system(name).title
            found.append(Work(name, title, 1, int(done), (own.epochs,), count - held, held, own.batch_size))
    return found


def _of_system(paper: Paper, protocol: Protocol, system: Trained, out: Path, cohort: Cohort | None) -> Work:
    training = system.training(protocol)
    learnt, held = _parts(paper, protocol, system, cohort)
    labels = np.repeat(np.arange(len(learnt)), learnt)
    batches = system.plan(labels, training, protocol, training.seed) if len(labels) else None
    return Work(
        name=system.name,
        title=system.title,
        trainings=trainings(paper, protocol, system.name),
        finished=len(finished_executions(out, system.name)),
        stages=tuple(stage.epochs for stage in system.stages(protocol)),
        images=system.views * len(labels) if batches is None else int(np.prod(batches.shape[1:])),
        validation=system.views * sum(held),
        batch=training.batch_size,
    )


def _parts(
    paper: Paper, protocol: Protocol, system: Trained, cohort: Cohort | None
) -> tuple[Sequence[int], Sequence[int]]:
    """Return the images of each class in the training and in the validation part, by the shares of the split."""
    split = protocol.split_of(system.split)
    if cohort is None:
        counts, (learning, holding) = _of_evidence(paper.evidence_of(system.name), system, protocol), shares(split)
        return [round(learning * n) for n in counts], [round(holding * n) for n in counts]
    classes = paper.classes_of(system, cohort)
    found = np.zeros((2, len(classes)))
    for label, count in chosen_images(cohort, split.images).table["label"].value_counts().items():
        if (name := system.relabel.get(str(label), str(label))) in classes:
            found[:, classes.index(name)] += count * np.array(shares(split, str(label)))
    learnt, held = np.rint(found).astype(int).tolist()
    return learnt, held


def shares(split: SplitSettings, label: str = "") -> tuple[float, float]:
    """Return the shares of images in the training and in the validation part.

    >>> shares(SplitSettings(folds=2, validation=0.5))
    (0.25, 0.25)
    """
    if label in split.shares:
        own = split.shares[label]
        return own.get("train", 0.0), own.get("validation", 0.0)
    if split.scheme == "folds":
        learnt = 1 - 1 / split.folds
        return learnt * (1 - split.validation), learnt * split.validation
    if split.scheme == "published":  # the test part chooses the epoch
        return 1 - split.test, split.test
    return 1 - split.validation - split.test, split.validation


def _of_evidence(evidence: Evidence | None, system: Trained, protocol: Protocol) -> list[int]:
    """Return the paper's number of images of each class; where it is not known by class, in equal shares."""
    if evidence is None:
        problem = f"has no images here, and protocol.yaml does not say how many {system.name} takes"
        raise UserError(f"profile {protocol.profile!r}", problem, "Give --data; --profile smoke needs no data")
    if evidence.classes:
        return [evidence.classes.get(name, 0) for name in system.classes or evidence.classes]
    classes = len(system.classes) or 2
    return [sum(evidence.images.values()) // classes] * classes


def _masked(paper: SegmentingPaper, protocol: Protocol, name: str, images: Images) -> int:
    """Return the number of radiographs with masks: of the run, or the paper's as far as their collections are here."""
    evidence = paper.evidence_of(name)
    if images.cohort is not None or evidence is None:
        return len(paper.segmenters.mask_cohort(protocol, images.data, images.made.parent))
    here = [one for one in evidence.images if images.data and unavailable(one, images.data) is None]
    return sum(count for one, count in evidence.images.items() if one in here or not here)
