"""The paper's tasks, networks and ensembles as systems."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from covid_keras.data import samplewise_standardize
from covid_keras.data.preparation import Preparation
from covid_keras.evaluation.ensembles import Combined, average_predictions, vote_predictions
from covid_keras.paper import Ensemble, Trained
from covid_keras.paper.protocol import Protocol
from covid_keras.paper.unfreezing import Groups
from papers.hertel_ensemble import cohorts as labels
from papers.hertel_ensemble import networks
from papers.hertel_ensemble.networks import NETWORKS
from papers.hertel_ensemble.settings import options_of

COVID, NEGATIVE = "COVID-19", "no COVID-19"
NORMAL, PNEUMONIA = labels.NORMAL, labels.PNEUMONIA
MULTI, BINARY = (COVID, NORMAL, PNEUMONIA), (NEGATIVE, COVID)
_COVID = (labels.COVID_COVIDX, labels.COVID_RICORD, labels.COVID_BIMCV, labels.COVID_COHEN, labels.COVID_CXNET)
_IS_COVID = dict.fromkeys(_COVID, COVID)
# The negative class is normal and pneumonia together; that of Table 3 is not in the text.
_AGAINST_ALL = _IS_COVID | dict.fromkeys((NORMAL, PNEUMONIA), NEGATIVE)
# COVIDGR-1.0, or COVID-19 and normal images that replace it.
_COVIDGR = {labels.POSITIVE_GR: COVID, labels.NEGATIVE_GR: NEGATIVE} | _IS_COVID | {NORMAL: NEGATIVE}


@dataclass(frozen=True)
class Task:
    """A task that three networks and two ensembles are trained for.

    Attributes
    ----------
    title : str
        Appended to the networks' names.
    classes : tuple of str
    relabel : dict
        Label of the cohort -> class.
    split : str
        Name of its split in the protocol.
    """

    title: str
    classes: tuple[str, ...]
    relabel: dict[str, str]
    split: str = ""


TASKS = {
    "multi": Task("three classes", MULTI, _IS_COVID),
    "binary": Task("COVID-19 against all else", BINARY, _AGAINST_ALL),
    "gr": Task("COVIDGR", BINARY, _COVIDGR, "covidgr"),
    "gr5": Task("COVIDGR 5 x 5", BINARY, _COVIDGR, "covidgr_folds"),
}


def segmented(protocol: Protocol) -> Preparation:
    """Return the preparation with all but the lungs blackened; images without lungs become black."""
    return Preparation(size=protocol.size, mask="keep", empty="black")


def whole(protocol: Protocol) -> Preparation:
    """Return the preparation of whole images (Figure 11)."""
    return Preparation(size=protocol.size)


@dataclass(frozen=True, kw_only=True)
class Classifier(Trained):
    """One of the three networks; `settings` is its key in `NETWORKS`."""

    parts: tuple[str, ...] = ("train", "validation", "test")
    scaling: Any = samplewise_standardize

    @property
    def groups(self) -> Groups:
        return NETWORKS[self.settings].groups

    def imagenet(self, protocol: Protocol) -> dict[str, str]:
        given = protocol.weights != "imagenet" or self.settings in protocol.files or options_of(protocol).shallow
        return {} if given else {f"{self.settings}_notop": f"--checkpoint {self.settings}=FILE"}

    @property
    def heat_layer(self) -> str:
        return networks.HEAT_LAYERS[self.settings]


class WeightedAverage(Ensemble):
    """The members' probabilities, averaged with the protocol's weights."""

    def combine(self, protocol: Protocol, frames: list[pd.DataFrame]) -> Combined:
        chosen = options_of(protocol).ensemble
        return average_predictions(frames, weights=chosen.weights, step=chosen.step, system=self.name)


class MajorityVote(WeightedAverage):
    """The members' votes."""

    def combine(self, protocol: Protocol, frames: list[pd.DataFrame]) -> Combined:
        return vote_predictions(frames, ties=options_of(protocol).ensemble.ties, system=self.name)


KINDS = {"average": ("Weighted average", WeightedAverage), "vote": ("Majority vote", MajorityVote)}


_WITH_CHILDREN = _IS_COVID | {labels.NORMAL_CHILD: NORMAL, labels.PNEUMONIA_CHILD: PNEUMONIA}


def classifier(network: str, task: str) -> Classifier:
    """Return one of the three networks for a task."""
    what = TASKS[task]
    return Classifier(
        name=f"{network}_{task}",
        title=f"{NETWORKS[network].title}, {what.title}",
        preparation=segmented,
        classes=what.classes,
        relabel=what.relabel,
        split=what.split,
        settings=network,
        build=networks.builder(network),
    )


def with_children() -> Classifier:
    """Return DenseNet-201 on whole images whose normal and pneumonia classes are children."""
    return replace(
        classifier("densenet201", "multi"),
        name="densenet201_children",
        title="DenseNet-201 without segmentation, children as negatives",
        preparation=whole,
        relabel=_WITH_CHILDREN,
        split="children",
    )


def ensemble(kind: str, task: str) -> Ensemble:
    """Return the weighted average or the majority vote of a task's networks."""
    title, combined = KINDS[kind]
    return combined.like(
        classifier("densenet201", task),
        name=f"{kind}_{task}",
        title=f"{title}, {TASKS[task].title}",
        settings="ensemble",
        members=tuple(f"{network}_{task}" for network in NETWORKS),
    )


def systems_of(task: str) -> tuple[Classifier | Ensemble, ...]:
    """Return the three networks and the two ensembles of a task."""
    return (*(classifier(network, task) for network in NETWORKS), *(ensemble(kind, task) for kind in KINDS))
