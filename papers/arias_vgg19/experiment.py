"""Arias-Garzon et al. 2021, composed from the core: the view filter, parts c, d and e of each experiment, controls."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from covid_keras.data.cohort import Cohort
from covid_keras.data.preparation import Preparation
from covid_keras.paper.paper import Paper, System
from covid_keras.paper.protocol import Protocol
from papers.arias_vgg19 import cohorts as labels
from papers.arias_vgg19 import networks, stages
from papers.arias_vgg19.cohorts import available, make_cohort, sources
from papers.arias_vgg19.networks import FRONTAL_CLASS, LATERAL_CLASS, VIEWS
from papers.arias_vgg19.settings import options_of

if TYPE_CHECKING:
    pass

COVID, NEGATIVE = "COVID-19", "no COVID-19"
DEPTHS = {"16": 16, "19": 19}
PARTS = {"c": "whole image", "d": "lungs only", "e": "lungs removed"}
MASKS: dict[str, str | None] = {"c": None, "d": "keep", "e": "remove"}

VIEW_OF = {
    labels.FRONTAL: FRONTAL_CLASS,
    labels.COVID_PA: FRONTAL_CLASS,
    labels.COVID_AP: FRONTAL_CLASS,
    labels.OTHER: FRONTAL_CLASS,
    labels.LATERAL: LATERAL_CLASS,
    labels.COVID_LATERAL: LATERAL_CLASS,
    labels.OTHER_LATERAL: LATERAL_CLASS,
}
# The filter for radiographs of anywhere, which ships: it knows frontal images of the other collection, too.
BOTH_VIEWS = VIEW_OF | dict.fromkeys((labels.NORMAL, labels.PNEUMONIA), FRONTAL_CLASS)
# Which labels are COVID-19 in an experiment, and which are not; a profile has those of its own collections. Lateral
# COVID-19 images are offered to the classifiers too: what the filter lets through is part of the experiment.
_POSITIVE = (labels.POSITIVE_PA, labels.POSITIVE_AP, labels.POSITIVE_OTHER)
_STAND_IN_COVID = (labels.COVID_PA, labels.COVID_AP, labels.COVID_LATERAL)
EXPERIMENTS = {
    "exp1": (
        "Experiment 1",
        (*_POSITIVE, *_STAND_IN_COVID),
        (labels.NEGATIVE_SHARED, labels.NEGATIVE_CURATED, labels.PNEUMONIA),
    ),
    "exp2": ("Experiment 2", _POSITIVE, (labels.NEGATIVE_CURATED,)),
    "exp3": ("Experiment 3", (*_POSITIVE, *_STAND_IN_COVID), (labels.PRE_COVID, labels.NORMAL)),
    "comparison": (
        "comparison",
        (labels.COMPARED_COVID, *_STAND_IN_COVID),
        (labels.COMPARED_NORMAL, labels.COMPARED_PNEUMONIA, labels.NORMAL, labels.PNEUMONIA),
    ),
}
# Two sorts of images whose difference is not COVID-19: what parts c, d and e can tell of the frame alone.
CONTROLS = {
    "source": ("source within pneumonia", {labels.PNEUMONIA: "elsewhere", labels.OTHER: "Cohen"}),
    "posture": (
        "PA or AP within COVID-19",
        {labels.COVID_PA: "PA", labels.POSITIVE_PA: "PA", labels.COVID_AP: "AP", labels.POSITIVE_AP: "AP"},
    ),
    "finding": (
        "finding within one hospital",
        {
            labels.NORMAL: "normal",
            labels.COMPARED_NORMAL: "normal",
            labels.PNEUMONIA: "pneumonia",
            labels.COMPARED_PNEUMONIA: "pneumonia",
        },
    ),
}


def part_image(part: str) -> Any:
    """Return the preparation of part c, d or e: the whole image, the lungs alone, all but the lungs."""

    def preparation(protocol: Protocol) -> Preparation:
        # Where no lung is found nothing is left of part d, as in the authors' code, which then drops the image.
        empty = "black" if MASKS[part] == "keep" else "whole"
        return Preparation(size=protocol.size, mask=MASKS[part], interpolation="linear", empty=empty)

    return preparation


def pneumonia_only(cohort: Cohort, splits: pd.DataFrame, classes: tuple[str, ...], seed: int) -> np.ndarray:
    """Return which images are pneumonia of either collection: Cohen's others include some without finding."""
    table = cohort.table
    chosen = table["label"].isin((labels.OTHER, labels.PNEUMONIA))
    if "finding" in table.columns:
        chosen &= table["finding"].fillna("") != labels.NO_FINDING
    return chosen.to_numpy()


def filter_of(
    depth: str, name: str = "", settings: str = "view", title: str = "", relabel: Mapping[str, str] = VIEW_OF
) -> System:
    """Return the view filter (part a) of one depth."""
    return System(
        name or f"view{depth}",
        title or f"View filter, VGG{depth}",
        part_image("c"),
        networks.vgg(DEPTHS[depth]),
        channels=1,
        settings=settings,
        classes=VIEWS,
        scored=VIEWS,
        relabel=relabel,
        adapt=networks.adapt,
        heat_layer=networks.HEAT_LAYER,
        parts=("train", "validation", "test"),
    )


def chosen_of(systems: tuple[System, ...], name: str, title: str) -> System:
    """Return whichever of these systems is better on validation, fold by fold."""
    return dataclasses.replace(
        systems[0], name=name, title=title, choose=tuple(one.name for one in systems), parts=("validation", "test")
    )


def part_of_experiment(experiment: str, part: str) -> tuple[System, ...]:
    """Return VGG16, VGG19 and the better of them for one part of an experiment."""
    title, positive, negative = EXPERIMENTS[experiment]
    relabel = dict.fromkeys(positive, COVID) | dict.fromkeys(negative, NEGATIVE)
    trained = tuple(
        System(
            f"{experiment}_{part}{depth}",
            f"Part {part} (VGG{depth}), {title}",
            part_image(part),
            networks.vgg(DEPTHS[depth]),
            channels=1,
            settings="covid",
            classes=(NEGATIVE, COVID),
            scored=(NEGATIVE, COVID),
            relabel=relabel,
            adapt=networks.adapt,
            heat_layer=networks.HEAT_LAYER,
            parts=("train", "validation", "test"),
            after="view",
            admit=networks.frontal,
        )
        for depth in DEPTHS
    )
    return (*trained, chosen_of(trained, f"{experiment}_{part}", f"Part {part}, {title}"))


def control(name: str, part: str) -> System:
    """Return one part of a control: VGG16, told apart what is not COVID-19."""
    title, relabel = CONTROLS[name]
    classes = tuple(dict.fromkeys(relabel.values()))
    return System(
        f"{name}_{part}",
        f"Part {part}, {title}",
        part_image(part),
        networks.vgg(16),
        channels=1,
        settings="source" if name == "source" else "control",
        classes=classes,
        scored=classes,
        relabel=relabel,
        cases=pneumonia_only if name == "source" else None,
        adapt=networks.adapt,
        heat_layer=networks.HEAT_LAYER,
        missing=no_control if name == "source" else lambda protocol, data: None,
    )


def no_control(protocol: Protocol, data: Path | None) -> str | None:
    """Return None where the cohort has pneumonia that is not COVID-19 of both collections."""
    if isinstance(labels.settings_of(protocol), labels.PublishedCohort):
        return "not run: the paper's COVID-19 collections label no other pneumonia"
    return None


def at_hand(protocol: Protocol, data: Path | None) -> str | None:
    """Return None where a profile's images are at hand, and lung masks where parts d and e need the paper's U-Net."""
    reason = available(protocol, data)
    if reason is None and options_of(protocol).masks != "shipped":
        return stages.missing(protocol, data)
    return reason


_VIEWS = (filter_of("16"), filter_of("19"))
SYSTEMS = (
    *_VIEWS,
    filter_of("16", "view_balanced", "view_balanced", "View filter, VGG16, classes weighted"),
    filter_of("16", "view_all", "view_all", "View filter, VGG16, both collections", BOTH_VIEWS),
    chosen_of(_VIEWS, "view", "View filter, the better one"),
    *(system for name in EXPERIMENTS for part in PARTS for system in part_of_experiment(name, part)),
    *(control(name, part) for name in CONTROLS for part in PARTS),
)

PAPER = Paper(
    name="arias_vgg19",
    aliases=("arias", "arias-garzon"),
    title="COVID-19 detection in X-ray images using convolutional neural networks",
    citation="D. Arias-Garzón et al., Machine Learning with Applications 6, 100138, 2021",
    doi="10.1016/j.mlwa.2021.100138",
    report="papers.arias_vgg19.report",
    folder=Path(__file__).resolve().parent,
    systems=SYSTEMS,
    cohort=make_cohort,
    available=at_hand,
    files={
        "vgg16": "VGG16 without top, Keras .h5 (ImageNet weights as keras.applications has them)",
        "vgg19": "VGG19 without top, likewise",
    },
    check=networks.check,
    sources=sources,
    segmenter=stages.segmenter,
    finish=stages.finish,
)


def experiments_of(systems: Mapping[str, Any]) -> list[str]:
    """Return the experiments and controls that have all three parts among `systems`, in the paper's order."""
    return [name for name in (*EXPERIMENTS, *CONTROLS) if all(f"{name}_{part}" in systems for part in PARTS)]
