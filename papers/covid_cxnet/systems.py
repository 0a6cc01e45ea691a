"""The kinds of systems of COVID-CXNet: baselines, external test, two levels, matched histograms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from covid_keras.evaluation.decisions import is_positive
from covid_keras.paper import Composed, System, Trained
from covid_keras.paper.execution import Execution
from covid_keras.paper.protocol import Protocol
from papers.covid_cxnet import networks
from papers.covid_cxnet.cohorts import CAP, COHORTS, COVID, NORMAL
from papers.covid_cxnet.settings import options_of

if TYPE_CHECKING:
    import keras

LEAKY = "_leaky"


class OneSigmoid(System):
    """A network of two classes with one sigmoid, which holds the evidence for both classes."""

    def evidence(
        self, model: keras.Model, inputs: np.ndarray, name: str, classes: tuple[str, ...]
    ) -> tuple[keras.Model, np.ndarray, int]:
        return model, inputs[:, 0], int(name == classes[1])


class Elsewhere(System):
    """A system tested on images of collections that no network of ours is trained on: the keys of `relabel`."""

    def takes_part(self, execution: Execution) -> np.ndarray:
        return execution.cohort.table["label"].isin(self.relabel).to_numpy()


class Here(Trained):
    """A network that is trained here if its initial weights are available."""

    def missing(self, protocol: Protocol, data: Path | None) -> str | None:
        return networks.chexnet_missing(protocol) if self.build is networks.build_covid_cxnet else None


@dataclass(frozen=True, kw_only=True)
class Single(OneSigmoid, Here):
    """A network of two classes."""


@dataclass(frozen=True, kw_only=True)
class Baseline(Single):
    """A network of keras.applications with ImageNet weights.

    Attributes
    ----------
    option : str
        The option of `baselines` that freezes its lower layers.
    """

    option: str

    def missing(self, protocol: Protocol, data: Path | None) -> str | None:
        frozen = getattr(options_of(protocol).baselines, self.option)
        return super().missing(protocol, data) or networks.baselines_missing(protocol, frozen)

    def imagenet(self, protocol: Protocol) -> dict[str, str]:
        file = "resnet50_top" if self.build is networks.build_resnet else "densenet121_notop"
        topped = file == "densenet121_notop" and options_of(protocol).baselines.variant == "top"
        return {file: "--weights FILE"} if protocol.weights == "imagenet" and not topped else {}


@dataclass(frozen=True, kw_only=True)
class External(Elsewhere, OneSigmoid, Composed):
    """A network that was trained before, tested on images of other collections."""

    def surrogate(self, protocol: Protocol) -> str:
        settings = COHORTS.settings(protocol)
        return "" if getattr(settings, "further", False) else "far fewer normal images than the paper's 30"

    def division(self, execution: Execution) -> np.ndarray:
        return np.where(self.takes_part(execution), "test", "").astype(object)


class _Matched(System):
    """A system whose images are matched to the histogram of a template."""

    def template(self, execution: Execution) -> int:
        """Return the row of the first COVID-19 image of the training part.

        The authors take the first of all images, wherever it falls in the split.
        """
        covid = (execution.cohort.table["label"] == COVID).to_numpy()
        return int(np.flatnonzero(covid & (execution.division == "train"))[0])


@dataclass(frozen=True, kw_only=True)
class Flat(_Matched, Here):
    """One network of three classes."""


@dataclass(frozen=True, kw_only=True)
class Level(_Matched, Single):
    """One level of the hierarchy."""


@dataclass(frozen=True, kw_only=True)
class Hierarchical(_Matched, Composed):
    """Both levels: normal or pneumonia, then CAP or COVID-19."""

    def decide(self, outputs: np.ndarray, classes: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Call an image normal if level 1 does; others get the class of level 2.

        Parameters
        ----------
        outputs : ndarray (n, 1, 2)
            P(pneumonia), P(COVID-19 | pneumonia).
        classes : tuple of str
            normal, CAP and COVID-19 in any order.

        Returns
        -------
        ndarray (n,) int64, ndarray (n, 3) float64
            Class indices; probabilities by the product rule. If both levels are unsure, the most probable class can
            differ from the decision, which the paper makes level by level.
        """
        ill, covid = outputs[:, 0].astype(np.float64).T
        scores = {NORMAL: 1 - ill, CAP: ill * (1 - covid), COVID: ill * covid}
        second = np.where(is_positive(covid), classes.index(COVID), classes.index(CAP))
        decided = np.where(is_positive(ill), second, classes.index(NORMAL))
        return decided, np.stack([scores[name] for name in classes], axis=1)

    def evidence(
        self, model: keras.Model, inputs: np.ndarray, name: str, classes: tuple[str, ...]
    ) -> tuple[keras.Model, np.ndarray, int]:
        """Return level 1 for the evidence of "normal", level 2 for that of the other classes."""
        level = networks.LEVELS[0] if name == NORMAL else networks.LEVELS[1]
        return model.get_layer(level), inputs[:, 0], int(name == COVID)


def leaky(system: System, split: str) -> System:
    """Return the same system on the authors' split by image, whose test part also chooses the epoch."""
    return replace(
        system,
        name=system.name + LEAKY,
        title=f"{system.title}, split as published",
        settings=system.settings or system.name,
        split=split,
        after=system.after and system.after + LEAKY,
    )


def on_fewer(system: System, images: int) -> System:
    """Return the same system on fewer images; `small_<images>` is its split."""
    name, title = f"{system.name}_{images}", f"{system.title} on {images} images"
    return replace(system, name=name, title=title, settings=system.name, split=f"small_{images}")
