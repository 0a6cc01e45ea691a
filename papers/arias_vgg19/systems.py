"""The view filter, the parts of the experiments, and the controls, as systems."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from covid_keras.data.preparation import Preparation
from covid_keras.paper import BestOf, Trained
from covid_keras.paper.execution import Execution
from covid_keras.paper.inputs import Inputs
from covid_keras.paper.protocol import Protocol
from papers.arias_vgg19 import cohorts as labels
from papers.arias_vgg19 import networks
from papers.arias_vgg19.experiments import CONTROLS, COVID, EXPERIMENTS, NEGATIVE, VIEW_OF
from papers.arias_vgg19.networks import VIEWS
from papers.arias_vgg19.settings import options_of

if TYPE_CHECKING:
    import keras

DEPTHS = {"16": 16, "19": 19}
MASKS: dict[str, str | None] = {"c": None, "d": "keep", "e": "remove"}


@dataclass(frozen=True, kw_only=True)
class Vgg(Trained):
    """VGG16 or VGG19 on one channel, standardised by mean and std of the training part (equation 2)."""

    channels: int = 1

    heat_layer: ClassVar[str] = networks.HEAT_LAYER

    def adapt(self, model: keras.Model, inputs: Inputs, rows: np.ndarray) -> None:
        networks.adapt(model, inputs, rows)

    def imagenet(self, protocol: Protocol) -> dict[str, str]:
        file = "vgg19" if self.name.endswith("19") else "vgg16"
        wanted = protocol.weights == "imagenet" and file not in protocol.files
        return {f"{file}_notop": f"--checkpoint {file}=FILE"} if wanted else {}


@dataclass(frozen=True, kw_only=True)
class Filtered(Vgg):
    """A network that takes only images called frontal by the view filter of the same fold, `after`."""

    def part(self, execution: Execution) -> np.ndarray:
        frontal = networks.frontal(execution.below(self.after))
        return np.where(frontal, execution.division, "").astype(object)


@dataclass(frozen=True, kw_only=True)
class SourceControl(Vgg):
    """Pneumonia of either collection, without Cohen's images without finding."""

    def takes_part(self, execution: Execution) -> np.ndarray:
        table = execution.cohort.table
        chosen = table["label"].isin((labels.OTHER, labels.PNEUMONIA))
        if "finding" in table.columns:
            chosen &= table["finding"].fillna("") != labels.NO_FINDING
        return chosen.to_numpy()

    def excluded(self, protocol: Protocol) -> str:
        """Return "" if the cohort has non-COVID-19 pneumonia from both collections."""
        published = isinstance(labels.COHORTS.settings(protocol), labels.PublishedCohort)
        return "the paper's COVID-19 collections label no other pneumonia" if published else ""


class BestVgg(BestOf):
    """Per fold, the depth with the best validation accuracy."""

    heat_layer: ClassVar[str] = networks.HEAT_LAYER


class ViewFilter(BestVgg):
    """The view filter that decides which images go on: VGG19, or the better network (option `view`)."""

    def summary(self, protocol: Protocol) -> str:
        return super().summary(protocol) if options_of(protocol).view == "best" else self.candidates[-1]

    def chosen(self, execution: Execution) -> str:
        best = options_of(execution.protocol).view == "best"
        return super().chosen(execution) if best else self.candidates[-1]


def part_image(part: str) -> Callable[[Protocol], Preparation]:
    """Return the preparation of part c, d or e: whole image, only the lungs, all but the lungs."""

    def preparation(protocol: Protocol) -> Preparation:
        # Without lungs, part d is black; the authors' code then drops the image.
        empty = "black" if MASKS[part] == "keep" else "whole"
        return Preparation(size=protocol.size, mask=MASKS[part], interpolation="linear", empty=empty)

    return preparation


def filter_of(
    depth: str, name: str = "", settings: str = "view", title: str = "", relabel: Mapping[str, str] = VIEW_OF
) -> Vgg:
    """Return the view filter (part a) of one depth."""
    return Vgg(
        name or f"view{depth}",
        title or f"View filter, VGG{depth}",
        part_image("c"),
        classes=VIEWS,
        relabel=relabel,
        settings=settings,
        parts=("train", "validation", "test"),
        build=networks.vgg(DEPTHS[depth]),
    )


def best_of(systems: tuple[Vgg, ...], name: str, title: str, kind: type[BestVgg] = BestVgg) -> BestVgg:
    """Return, per fold, the system with the best validation accuracy."""
    candidates = tuple(one.name for one in systems)
    return kind.like(systems[0], name=name, title=title, parts=("validation", "test"), after="", candidates=candidates)


def part_of_experiment(experiment: str, part: str) -> tuple[Vgg | BestVgg, ...]:
    """Return VGG16, VGG19 and the better of the two for one part of an experiment."""
    title, positive, negative = EXPERIMENTS[experiment]
    # Both collections of the comparison say which images are frontal, and the paper counts all of these.
    filtered = experiment != "comparison"
    trained = tuple(
        (Filtered if filtered else Vgg)(
            f"{experiment}_{part}{depth}",
            f"Part {part} (VGG{depth}), {title}",
            part_image(part),
            classes=(NEGATIVE, COVID),
            relabel=dict.fromkeys(positive, COVID) | dict.fromkeys(negative, NEGATIVE),
            settings="covid",
            parts=("train", "validation", "test"),
            after="view" if filtered else "",
            build=networks.vgg(DEPTHS[depth]),
        )
        for depth in DEPTHS
    )
    return (*trained, best_of(trained, f"{experiment}_{part}", f"Part {part}, {title}"))


def control(name: str, part: str) -> Vgg:
    """Return one part of a control: VGG16 on classes without COVID-19."""
    title, relabel = CONTROLS[name]
    kind = SourceControl if name == "source" else Vgg
    return kind(
        f"{name}_{part}",
        f"Part {part}, {title}",
        part_image(part),
        classes=tuple(dict.fromkeys(relabel.values())),
        relabel=relabel,
        settings="source" if name == "source" else "control",
        build=networks.vgg(16),
    )
