"""The experiments and controls, by the labels that each distinguishes."""

from __future__ import annotations

from collections.abc import Container

from papers.arias_vgg19 import cohorts as labels
from papers.arias_vgg19.networks import FRONTAL_CLASS, LATERAL_CLASS

COVID, NEGATIVE = "COVID-19", "no COVID-19"
PARTS = {"c": "whole image", "d": "lungs only", "e": "lungs removed"}

VIEW_OF = {
    labels.FRONTAL: FRONTAL_CLASS,
    labels.COVID_PA: FRONTAL_CLASS,
    labels.COVID_AP: FRONTAL_CLASS,
    labels.OTHER: FRONTAL_CLASS,
    labels.LATERAL: LATERAL_CLASS,
    labels.COVID_LATERAL: LATERAL_CLASS,
    labels.OTHER_LATERAL: LATERAL_CLASS,
}
# The filter that ships also learns from frontal images of the other collection.
BOTH_VIEWS = VIEW_OF | dict.fromkeys((labels.NORMAL, labels.PNEUMONIA), FRONTAL_CLASS)
# Title, positive and negative labels of each experiment; a profile has those of its own collections. Lateral COVID-19
# images are included: which of them pass the filter is part of the experiment.
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
        (labels.COMPARED_COVID, labels.COVID_PA, labels.COVID_AP),
        (labels.COMPARED_NORMAL, labels.COMPARED_PNEUMONIA, labels.NORMAL, labels.PNEUMONIA),
    ),
}
# Tasks that do not involve COVID-19: what can parts c, d and e distinguish by other means?
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


def experiments_of(systems: Container[str]) -> list[str]:
    """Return the experiments and controls with all three parts in `systems`, in the paper's order."""
    return [name for name in (*EXPERIMENTS, *CONTROLS) if all(f"{name}_{part}" in systems for part in PARTS)]
