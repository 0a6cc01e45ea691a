"""The settings of `protocol.yaml` that only this paper knows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from covid_keras.paper.protocol import options_reader
from covid_keras.preprocessing import CHANNELS


@dataclass(frozen=True)
class RoiOptions:
    """The box of the lungs (section 3.4 of the paper; it crops, it does not mask).

    Attributes
    ----------
    mode : str
        "recommended": the shipped U-Net's mask at its threshold. "authors": the picture is equalised locally first and
        only saturated pixels count.
    dilate : tuple of int
        Kernel and iterations of the mask's dilation.
    margin_pixels : int
        Around the box, in the frame.
    """

    mode: Literal["recommended", "authors"] = "recommended"
    dilate: tuple[int, int] = (5, 3)
    margin_pixels: int = 10


@dataclass(frozen=True)
class BaselineOptions:
    """The DenseNet-121 and ResNet-50 baselines.

    Attributes
    ----------
    densenet, resnet : tuple of int
        Height and width of their inputs.
    frozen : bool
        Whether everything before DenseNet-121's head keeps its initial weights; of no use where those are random.
        ResNet-50 trains as a whole. False lets both start from random weights where the protocol does.
    """

    densenet: tuple[int, int] = (96, 96)
    resnet: tuple[int, int] = (224, 224)
    frozen: bool = True


@dataclass(frozen=True)
class Options:
    """All of them.

    Attributes
    ----------
    frame : tuple of int
        Height and width in which images are cropped, matched and enhanced, before they shrink to the network's size.
    overflow : str
        Of the bicubic resize to 8 bits: "clip", or "wrap" as the authors' code does by accident.
    order : tuple of str
        Channels of the enhanced image.
    base_v1, base_v2 : tuple of int
        Height and width that the base CNN sees in its two versions.
    batchnorm_momentum : float, optional
        Of DenseNet-121's moving statistics; as published (0.99) where not given.
    width : float
        Share of the filters of DenseNet-121 and ResNet-50, 0 to 1 (see `covid_keras.models.steady.narrowed`).
    lime_samples : int
        Perturbed images that LIME asks the network about, for each explained one; 1,000 in the authors' code.
    roi, baselines
        See there.
    """

    frame: tuple[int, int] = (320, 320)
    overflow: Literal["clip", "wrap"] = "clip"
    order: tuple[str, ...] = CHANNELS
    base_v1: tuple[int, int] = (400, 400)
    base_v2: tuple[int, int] = (320, 320)
    batchnorm_momentum: float | None = None
    width: float = 1.0
    lime_samples: int = 200
    roi: RoiOptions = field(default_factory=RoiOptions)
    baselines: BaselineOptions = field(default_factory=BaselineOptions)


options_of = options_reader(Options)
