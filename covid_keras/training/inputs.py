"""What a network is fed: prepared images with the labels of its own task, each belonging to an image of the cohort."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from covid_keras.common.errors import UserError
from covid_keras.data.preparation import Preparation, PreparedImages, prepare_cohort
from covid_keras.paper.paper import Paper, System, load_paper
from covid_keras.training.runfolder import Execution, RunFolder

# Of a network that ends in one sigmoid.
DECISION_THRESHOLD = 0.5


@dataclass(frozen=True, eq=False)
class Inputs:
    """The inputs of one execution.

    Attributes
    ----------
    prepared : PreparedImages
        m images; an image of the cohort may have several (its views), one after the other.
    labels : ndarray (m,) int64
        Class index of each, in the network's own classes; -1 where it takes no part.
    owner : ndarray (m,) int64
        The row of the cohort that each belongs to, ascending.
    outputs : int
        How many classes the labels count.
    """

    prepared: PreparedImages
    labels: np.ndarray
    owner: np.ndarray
    outputs: int

    def rows_of(self, part: np.ndarray, *names: str) -> np.ndarray:
        """Return which inputs belong to the parts named ("train", ...), ascending int64."""
        return np.flatnonzero(np.isin(part[self.owner], names))


def part_of(paper: Paper, run: RunFolder, execution: Execution) -> np.ndarray:
    """Return "train", "validation", "test" or "" (takes no part) for each image of the cohort, shape (n,), object."""
    system, cohort = paper.system(execution.system), run.cohort
    classes = paper.classes_of(system, cohort)
    if system.cases is None:
        taking_part = system.labelled(cohort).table["label"].isin(classes).to_numpy()
    else:
        splits = run.splits_of(system.split)
        seed = run.protocol.split_of(system.split).seed + execution.repeat
        taking_part = system.cases(cohort, splits[splits["repeat"] == execution.repeat], classes, seed)
    if system.released or system.everywhere:
        return np.where(taking_part, "test", "").astype(object)
    part = run.part(execution.repeat, execution.fold, system.split).fillna("").to_numpy(dtype=object)
    return np.where(taking_part, part, "")


def admitted(paper: Paper, run: RunFolder, execution: Execution, part: np.ndarray) -> np.ndarray:
    """Return the parts without the images that the system this one builds on does not let through."""
    system = paper.system(execution.system)
    if system.admit is None:
        return part
    return np.where(system.admit(paper, run, finished_before(run, system, execution)), part, "").astype(object)


def preparation_of(system: System, run: RunFolder, part: np.ndarray) -> Preparation:
    """Return what is done once to every image, the template of histogram matching taken from the training part."""
    preparation = system.preparation(run.protocol)
    if system.template is None:
        return preparation
    row = run.cohort.table.iloc[system.template(run.cohort, part)]
    mask = row["mask_path"] if preparation.needs_mask else None
    return dataclasses.replace(preparation, reference=row["path"], reference_mask=mask)


def inputs_of(paper: Paper, run: RunFolder, execution: Execution, part: np.ndarray) -> Inputs:
    """Return what the execution's network is fed, made and kept in the run's cache where it is not there yet."""
    system, cohort = paper.system(execution.system), run.cohort
    prepared = prepare_cohort(cohort, preparation_of(system, run, part), Path(run.settings["cache"]))
    if system.feed is not None:
        return system.feed(run.protocol, cohort, finished_before(run, system, execution), part, prepared)
    classes = paper.classes_of(system, cohort)
    index = {name: number for number, name in enumerate(classes)}
    labels = system.labelled(cohort).table["label"].map(index).fillna(-1).to_numpy(dtype=np.int64)
    return Inputs(prepared, labels, np.arange(len(cohort)), len(classes))


def finished_before(run: RunFolder, system: System, execution: Execution) -> Execution | None:
    """Return the execution that this one builds on, if any; raise `UserError` where that is not done."""
    if not system.after:
        return None
    before = execution_below(load_paper(run.protocol.paper), run, system.after, execution)
    if not before.done:
        raise UserError(before.name, f"is not done, and {execution.name} builds on it", "Train it first")
    return before


def execution_below(paper: Paper, run: RunFolder, name: str, execution: Execution) -> Execution:
    """Return the execution of the system `name` that `execution` builds on: of what is released the only one."""
    place = (0, 0) if paper.system(name).released else (execution.repeat, execution.fold)
    return run.execution(name, *place)


def decide(system: System, outputs: np.ndarray, classes: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Turn a network's outputs into decisions.

    Parameters
    ----------
    system : System
    outputs : ndarray (n, views, outputs) float
        Finite.
    classes : tuple of str
        The classes that are scored.

    Returns
    -------
    ndarray (n,) int64, ndarray (n, classes) float64
        Index of the class decided for, and scores that sum to 1.
    """
    if system.decide is not None:
        return system.decide(outputs, classes)
    if outputs.shape[2] == 1:  # one sigmoid: the probability of the second class
        second = outputs[:, 0, 0].astype(np.float64)
        return (second > DECISION_THRESHOLD).astype(np.int64), np.stack([1 - second, second], axis=1)
    places = [(system.classes or classes).index(name) for name in classes]
    scores = outputs[:, 0, places].astype(np.float64)
    total = scores.sum(axis=1, keepdims=True)
    if (total <= 0).any():
        raise UserError(system.name, "gave an image the score 0 for every class", "Train it anew")
    return scores.argmax(axis=1), scores / total
