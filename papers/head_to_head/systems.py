"""The systems: those of the four papers on the classes of this comparison, and each tested again on other images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from covid_keras.paper import Ensemble, Paper, System
from covid_keras.paper.execution import Execution
from covid_keras.paper.retested import Retested
from papers.arias_vgg19.paper import PAPER as ARIAS
from papers.covid_cxnet.paper import PAPER as CXNET
from papers.covid_sdnet.paper import PAPER as SDNET
from papers.head_to_head import cohorts as labels
from papers.head_to_head.floors import LUNG_SHAPE, THUMBNAIL, Regression, RegressionElsewhere
from papers.head_to_head.methods import METHODS, TESTS, Method
from papers.hertel_ensemble.paper import PAPER as HERTEL

PAPERS = (SDNET, CXNET, ARIAS, HERTEL)
CLASSES = NEGATIVE, POSITIVE = "no COVID-19", "COVID-19"
FINDING_CLASSES = NO_FINDING, PNEUMONIA = "no finding", "pneumonia"
_IS_COVID = (labels.COVID, labels.COVID_ACROSS, labels.COVID_EXTERNAL)
RELABEL = dict.fromkeys((*labels.LABELS, *labels.EXTERNAL), NEGATIVE) | dict.fromkeys(_IS_COVID, POSITIVE)
FINDING_RELABEL = {labels.NORMAL: NO_FINDING, labels.PNEUMONIA: PNEUMONIA}
# Our system -> paper and name of its system there. Two members of the ensemble are not compared by themselves.
ORIGINS: dict[str, tuple[Paper, str]] = {
    "resnet50_full": (SDNET, "resnet50_full"),
    "resnet50_crop": (SDNET, "resnet50_crop"),
    "fucitnet": (SDNET, "fucitnet"),
    "covid_sdnet": (SDNET, "covid_sdnet"),
    "covid_caps": (SDNET, "covid_caps_retrained"),
    "base_cnn": (CXNET, "base_v2"),
    "cxnet_v1": (CXNET, "cxnet_v1"),
    "cxnet_v2": (CXNET, "cxnet_v2"),
    "vgg19_c": (ARIAS, "comparison_c19"),
    "vgg19_d": (ARIAS, "comparison_d19"),
    "vgg19_e": (ARIAS, "comparison_e19"),
    "densenet201": (HERTEL, "densenet201_binary"),
    "resnet152": (HERTEL, "resnet152_binary"),
    "vgg19": (HERTEL, "vgg19_binary"),
    "ensemble": (HERTEL, "average_binary"),
}
_MEMBERS = {"resnet152": "ResNet-152, lungs only", "vgg19": "VGG-19, lungs only, of the ensemble"}
_OURS = {(paper.name, theirs): ours for ours, (paper, theirs) in ORIGINS.items()}
_KINDS = ("validation", "test")


def settings_of(name: str) -> str:
    """Return the key of a system's settings in `trainings`: the paper's own key if it names one, else ours."""
    paper, theirs = ORIGINS[name]
    return paper.system(theirs).settings or name


def borrowed(name: str) -> System:
    """Return the paper's system with the classes and images of this comparison, everything else unchanged."""
    paper, theirs = ORIGINS[name]
    system = paper.system(theirs)
    changes: dict[str, Any] = {"settings": settings_of(name)}
    if system.after:
        changes["after"] = _OURS[paper.name, system.after]
    if isinstance(system, Ensemble):
        changes["members"] = tuple(_OURS[paper.name, member] for member in system.members)
    return _compared(system, name, **changes)


def _compared(system: System, name: str, **changes: Any) -> System:
    title = METHODS[name].title if name in METHODS else _MEMBERS[name]
    return replace(system, name=name, title=title, classes=CLASSES, relabel=RELABEL, split="", parts=_KINDS, **changes)


def for_finding(system: System) -> System:
    """Return the same system, trained for pneumonia against no finding."""
    changes: dict[str, Any] = {"after": system.after + TESTS["finding"]} if system.after else {}
    if isinstance(system, Ensemble):
        changes["members"] = tuple(member + TESTS["finding"] for member in system.members)
    return replace(
        system,
        name=system.name + TESTS["finding"],
        title=f"{system.title}, pneumonia",
        settings=system.settings or system.name,
        classes=FINDING_CLASSES,
        relabel=FINDING_RELABEL,
        split="finding",
        **changes,
    )


def retested(system: System, test: str, chosen: Callable[[Execution], np.ndarray]) -> System:
    """Return a trained system in another test, on the `chosen` images."""

    def renamed(name: str) -> str:
        return name.removesuffix(TESTS["finding"]) + TESTS[test]

    name, title = renamed(system.name), f"{system.title}, {test}"
    if isinstance(system, Ensemble):
        return replace(system, name=name, title=title, members=tuple(map(renamed, system.members)))
    kind = RegressionElsewhere if isinstance(system, Regression) else Retested
    return kind.on(system, chosen, name=name, title=title)


def labelled(names: tuple[str, ...], execution: Execution) -> np.ndarray:
    """Return the images with one of the labels, bool (n,)."""
    return execution.cohort.table["label"].isin(names).to_numpy()


def matched_test(execution: Execution) -> np.ndarray:
    """Return the test images that are matched by view and age, the same in every repeat, bool (n,)."""
    rows = np.flatnonzero(execution.divided == "test")
    table, chosen = execution.cohort.table, np.zeros(len(execution.cohort), bool)
    seed = execution.protocol.cohort["seed"]
    chosen[rows] = labels.matched(table.iloc[rows], (labels.NORMAL, labels.PNEUMONIA), seed)
    return chosen


def with_below(methods: Mapping[str, Method]) -> set[str]:
    """Return the systems that the methods trained for pneumonia need, those that they build on included."""
    found = {name for name, method in methods.items() if method.finding}
    for system in reversed(TRAINED):  # each follows those that it builds on
        found |= set(system.below) if system.name in found else set()
    return found


TRAINED = (*map(borrowed, ORIGINS), *(_compared(one, one.name) for one in (THUMBNAIL, LUNG_SHAPE)))
FINDING = tuple(for_finding(system) for system in TRAINED if system.name in with_below(METHODS))
SYSTEMS = (
    *TRAINED,
    *(retested(system, "across", partial(labelled, labels.ACROSS)) for system in TRAINED),
    *(retested(system, "external", partial(labelled, labels.EXTERNAL)) for system in TRAINED),
    *FINDING,
    *(retested(system, "matched", matched_test) for system in FINDING),
)
