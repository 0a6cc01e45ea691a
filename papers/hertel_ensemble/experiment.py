"""Hertel & Benlamri 2022, composed from the core: three networks and two ensembles of each task, masks on and off."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from covid_keras.data import samplewise_standardize
from covid_keras.data.preparation import Preparation
from covid_keras.evaluation.ensembles import Combined, average_predictions, vote_predictions
from covid_keras.paper.paper import Paper, System
from covid_keras.paper.protocol import Protocol
from papers.hertel_ensemble import cohorts as labels
from papers.hertel_ensemble import networks, stages
from papers.hertel_ensemble.cohorts import available, make_cohort, no_covidgr, sources
from papers.hertel_ensemble.networks import NETWORKS
from papers.hertel_ensemble.settings import options_of

if TYPE_CHECKING:
    import pandas as pd


COVID, NEGATIVE = networks.COVID, "no COVID-19"
NORMAL, PNEUMONIA = labels.NORMAL, labels.PNEUMONIA
MULTI, BINARY = (COVID, NORMAL, PNEUMONIA), (NEGATIVE, COVID)
_COVID = (labels.COVID_COVIDX, labels.COVID_RICORD, labels.COVID_BIMCV, labels.COVID_COHEN, labels.COVID_CXNET)
_IS_COVID = dict.fromkeys(_COVID, COVID)
# Normal and pneumonia together are what COVID-19 is told from (Table 3's negative class is not in the text).
_AGAINST_ALL = _IS_COVID | dict.fromkeys((NORMAL, PNEUMONIA), NEGATIVE)
# COVIDGR-1.0, or COVID-19 and normal images in its place.
_COVIDGR = {labels.POSITIVE_GR: COVID, labels.NEGATIVE_GR: NEGATIVE} | _IS_COVID | {NORMAL: NEGATIVE}


@dataclasses.dataclass(frozen=True)
class Task:
    """What three networks and two ensembles are trained for: a third of the paper's tables.

    Attributes
    ----------
    title : str
        Behind the networks' names.
    classes : tuple of str
    relabel : dict
        Label of the cohort to class.
    split : str
        The protocol's division of the cohort.
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
    """The lungs alone, at the network's size; nothing is left of an image without any."""
    return Preparation(size=protocol.size, mask="keep", empty="black")


def whole(protocol: Protocol) -> Preparation:
    """The whole image, at the network's size (Figure 11)."""
    return Preparation(size=protocol.size)


def trained(network: str, task: str) -> System:
    """Return one of the three networks for a task."""
    about, what = NETWORKS[network], TASKS[task]
    binary = len(what.classes) == 2
    return System(
        f"{network}_{task}",
        f"{about.title}, {what.title}",
        segmented,
        networks.builder(network),
        scaling=samplewise_standardize,
        settings=network,
        classes=what.classes,
        scored=what.classes,
        relabel=what.relabel,
        split=what.split,
        decide=networks.decide_binary if binary else None,
        evidence=networks.evidence_single if binary else None,
        heat_layer=networks.HEAT_LAYERS[network],
        unfreezing=about.groups,
        parts=("train", "validation", "test"),
        missing=no_covidgr if what.split else lambda protocol, data: None,
    )


def ensemble(kind: str, task: str) -> System:
    """Return the weighted average or the majority vote of a task's networks."""
    title, combine = {"average": ("Weighted average", average), "vote": ("Majority vote", vote)}[kind]
    members = tuple(f"{network}_{task}" for network in NETWORKS)
    like = trained("densenet201", task)
    return dataclasses.replace(
        like,
        name=f"{kind}_{task}",
        title=f"{title}, {TASKS[task].title}",
        settings="ensemble",
        members=members,
        combine=combine,
        unfreezing=(),
        decide=None,
        evidence=None,
        heat_layer="",
    )


def average(protocol: Protocol, frames: list[pd.DataFrame], name: str) -> Combined:
    """Average the members' probabilities, with the protocol's weights."""
    chosen = options_of(protocol).ensemble
    return average_predictions(frames, weights=chosen.weights, step=chosen.step, system=name)


def vote(protocol: Protocol, frames: list[pd.DataFrame], name: str) -> Combined:
    """Let the members vote."""
    return vote_predictions(frames, ties=options_of(protocol).ensemble.ties, system=name)


def at_hand(protocol: Protocol, data: Path | None) -> str | None:
    """Return None where a profile's images are at hand, and human masks where the ResUNet is to mark the lungs."""
    reason = available(protocol, data)
    if reason is None and options_of(protocol).masks != "shipped":
        return stages.missing(protocol, data)
    return reason


KINDS = ("average", "vote")
# Its twin is trained before it, on the same images, with masks: the figure needs both.
WHOLE = dataclasses.replace(
    trained("densenet201", "multi"),
    name="densenet201_whole",
    title="DenseNet-201 without segmentation, three classes",
    preparation=whole,
    after="densenet201_multi",
)
SYSTEMS = (
    *(trained(network, "multi") for network in NETWORKS),
    *(ensemble(kind, "multi") for kind in KINDS),
    WHOLE,
    *(system for task in ("binary", "gr", "gr5") for system in (
        *(trained(network, task) for network in NETWORKS),
        *(ensemble(kind, task) for kind in KINDS),
    )),
)  # fmt: skip

PAPER = Paper(
    name="hertel_ensemble",
    aliases=("hertel",),
    title="A deep learning segmentation-classification pipeline for X-ray-based COVID-19 diagnosis",
    citation="R. Hertel, R. Benlamri, Biomedical Engineering Advances 3, 100041, 2022",
    doi="10.1016/j.bea.2022.100041",
    report="papers.hertel_ensemble.report",
    folder=Path(__file__).resolve().parent,
    systems=SYSTEMS,
    cohort=make_cohort,
    available=at_hand,
    files={name: f"{one.kind} without top, Keras .h5 (as keras.applications has it)" for name, one in NETWORKS.items()},
    check=networks.check,
    sources=sources,
    segmenter=stages.segmenter,
    finish=stages.finish,
)
