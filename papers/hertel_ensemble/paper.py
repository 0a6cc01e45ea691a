"""Hertel & Benlamri 2022: three networks and two ensembles of each task, masks on and off."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from covid_keras.paper.protocol import Protocol
from covid_keras.training.segmenter_runs import Segmenter, SegmentingPaper
from papers.hertel_ensemble import networks
from papers.hertel_ensemble.cohorts import COHORTS
from papers.hertel_ensemble.networks import NETWORKS
from papers.hertel_ensemble.settings import Options, options_of
from papers.hertel_ensemble.stages import NAME, SEGMENTERS, UNET
from papers.hertel_ensemble.systems import classifier, systems_of, whole, with_children

# Its twin is trained before it, on the same images, with masks: Figure 11 needs both.
WHOLE = replace(
    classifier("densenet201", "multi"),
    name="densenet201_whole",
    title="DenseNet-201 without segmentation, three classes",
    preparation=whole,
    after="densenet201_multi",
)


@dataclass(frozen=True)
class HertelPaper(SegmentingPaper):
    """COVIDx, RICORD, BIMCV and COVIDGR-1.0, or their stand-ins; lungs by the paper's ResUNet."""

    cohorts = COHORTS
    segmenters = SEGMENTERS
    option_readers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "ensemble.weights": ("average",),
        "ensemble.step": ("average",),
        "ensemble.ties": ("vote",),
        "statistics": ("densenet201", "resnet152"),
        "batchnorm_momentum": ("densenet201", "resnet152"),
    }
    conditions: ClassVar[Mapping[str, Callable[[Protocol], tuple[str, str] | None]]] = {
        "options.ensemble.step": networks.step_unread,
        "options.batchnorm_momentum": networks.momentum_unread,
    }
    readers: ClassVar[Mapping[str, tuple[str, ...]]] = {f"files.{name}": (name,) for name in NETWORKS}

    def read_options(self, protocol: Protocol) -> Options:
        return options_of(protocol)

    def check(self, protocol: Protocol) -> None:
        networks.check(protocol)


PAPER = HertelPaper(
    name="hertel_ensemble",
    aliases=("hertel",),
    title="A deep learning segmentation-classification pipeline for X-ray-based COVID-19 diagnosis",
    citation="R. Hertel, R. Benlamri, Biomedical Engineering Advances 3, 100041, 2022",
    doi="10.1016/j.bea.2022.100041",
    folder=Path(__file__).resolve().parent,
    systems=(
        Segmenter.row(SEGMENTERS, NAME, "ResUNet"),
        Segmenter.row(SEGMENTERS, UNET, "U-Net, trained like the ResUNet"),
        *systems_of("multi"),
        WHOLE,
        with_children(),
        *systems_of("binary"),
        *systems_of("gr"),
        *systems_of("gr5"),
    ),
    report="papers.hertel_ensemble.report",
    files={name: f"{one.kind} without top, Keras .h5 (as keras.applications has it)" for name, one in NETWORKS.items()},
    registered={"vgg19": "vgg19_notop"},
)
