"""Arias-Garzon et al. 2021: the view filter, parts c, d and e of each experiment, controls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from covid_keras.paper.protocol import Protocol
from covid_keras.training.segmenter_runs import Segmenter, SegmentingPaper
from papers.arias_vgg19 import networks
from papers.arias_vgg19.cohorts import COHORTS
from papers.arias_vgg19.experiments import BOTH_VIEWS, CONTROLS, EXPERIMENTS, PARTS
from papers.arias_vgg19.settings import UNETS, Options, options_of
from papers.arias_vgg19.stages import SEGMENTERS
from papers.arias_vgg19.systems import ViewFilter, best_of, control, filter_of, part_of_experiment

VGG16 = ("view_", "*16", *CONTROLS)  # the systems that train VGG16
VIEW_FILTERS = (filter_of("16"), filter_of("19"))


@dataclass(frozen=True)
class AriasPaper(SegmentingPaper):
    """BIMCV, PadChest and the pre-COVID collection, or their stand-ins; lungs by the paper's U-Nets."""

    cohorts = COHORTS
    segmenters = SEGMENTERS
    conditions: ClassVar[Mapping[str, Callable[[Protocol], tuple[str, str] | None]]] = {
        "options.channels": networks.channels_unread,
        "options.kernel_bug": networks.kernel_bug_unread,
        "options.threshold": networks.threshold_unread,
        "options.view": networks.view_unread,
    }
    option_readers: ClassVar[Mapping[str, tuple[str, ...]]] = {"kernel_bug": VGG16}
    readers: ClassVar[Mapping[str, tuple[str, ...]]] = {"files.vgg16": VGG16, "files.vgg19": ("*19",)}

    def reads(self, name: str, key: str) -> bool:
        return name == "view" if key == "options.view" else super().reads(name, key)

    def read_options(self, protocol: Protocol) -> Options:
        return options_of(protocol)

    def check(self, protocol: Protocol) -> None:
        networks.check(protocol)


PAPER = AriasPaper(
    name="arias_vgg19",
    aliases=("arias", "arias-garzon"),
    title="COVID-19 detection in X-ray images using convolutional neural networks",
    citation="D. Arias-Garzón et al., Machine Learning with Applications 6, 100138, 2021",
    doi="10.1016/j.mlwa.2021.100138",
    folder=Path(__file__).resolve().parent,
    systems=(
        *VIEW_FILTERS,
        filter_of("16", "view_balanced", "view_balanced", "View filter, VGG16, classes weighted"),
        filter_of("16", "view_all", "view_all", "View filter, VGG16, both collections", BOTH_VIEWS),
        best_of(VIEW_FILTERS, "view", "View filter, as applied", ViewFilter),
        *(Segmenter.row(SEGMENTERS, name, f"U-Net {number}") for number, name in enumerate(UNETS, 1)),
        *(system for name in EXPERIMENTS for part in PARTS for system in part_of_experiment(name, part)),
        *(control(name, part) for name in CONTROLS for part in PARTS),
    ),
    report="papers.arias_vgg19.report",
    files={
        "vgg16": "VGG16 without top, Keras .h5 (ImageNet weights as keras.applications has them)",
        "vgg19": "VGG19 without top, likewise",
    },
    registered={"vgg16": "vgg16_notop", "vgg19": "vgg19_notop"},
)
