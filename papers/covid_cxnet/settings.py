"""The paper's own settings in `protocol.yaml`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from covid_keras.common.settings import BelowOne, Count, CountOrZero, Side, Width
from covid_keras.paper.protocol import options_reader
from covid_keras.preprocessing import CHANNELS

Channel = Literal["beasf", "clahe", "original"]


@dataclass(frozen=True)
class RoiOptions:
    """The box of the lungs (figure 4 of the paper; it crops and does not mask).

    Attributes
    ----------
    mode : str
        "recommended": the mask of the shipped U-Net at its threshold. "authors": the image is equalised locally first,
        and only saturated pixels of the mask count.
    dilate : tuple of int
        Kernel size and iterations of the dilation of the mask.
    margin_pixels : int
        Margin around the box, in pixels of the frame.
    """

    mode: Literal["recommended", "authors"] = "recommended"
    dilate: tuple[Count, CountOrZero] = (5, 3)
    margin_pixels: CountOrZero = 10


@dataclass(frozen=True)
class BaselineOptions:
    """The DenseNet-121 and ResNet-50 baselines.

    Attributes
    ----------
    densenet, resnet : tuple of int
        Height and width of their inputs.
    variant : str
        Head of DenseNet-121 and the layers trained if `frozen`; see
        `papers.covid_cxnet.baselines.build_densenet121`.
    frozen : bool
        Train only the last layers of DenseNet-121, as `variant` says. False trains all layers; random initial weights
        need it.
    resnet_frozen : bool
        Train only the last layer of ResNet-50, as the paper says; its authors' code trains all layers.
    """

    densenet: tuple[Side, Side] = (96, 96)
    resnet: tuple[Side, Side] = (224, 224)
    variant: Literal["head", "saved", "top"] = "head"
    frozen: bool = True
    resnet_frozen: bool = False


@dataclass(frozen=True)
class Options:
    """All options of this paper.

    Attributes
    ----------
    frame : tuple of int
        Height and width in which images are cropped, matched and enhanced before they are resized to the network's
        input.
    overflow : str
        Of the bicubic resize to 8 bits: "clip", or "wrap" as in the authors' code.
    order : tuple of str
        Channels of the enhanced image.
    base_v1, base_v2 : tuple of int
        Height and width of the input of the base CNN in its two versions.
    batchnorm_momentum : float, optional
        Momentum of the moving statistics. Default: 0.99, as in keras.applications.
    width : float
        Share of the filters of DenseNet-121 and ResNet-50, 0 to 1 (see `covid_keras.models.steady.narrowed`).
    lime_samples : int
        Perturbed copies of each image that LIME explains; 1,000 in the authors' code.
    probed : int
        Maximum number of examples per class on which CheXNet is run without fine-tuning.
    roi, baselines
        See `RoiOptions` and `BaselineOptions`.
    """

    frame: tuple[Side, Side] = (320, 320)
    overflow: Literal["clip", "wrap"] = "clip"
    order: tuple[Channel, Channel, Channel] = CHANNELS
    base_v1: tuple[Side, Side] = (400, 400)
    base_v2: tuple[Side, Side] = (320, 320)
    batchnorm_momentum: BelowOne | None = None
    width: Width = 1.0
    lime_samples: CountOrZero = 200
    probed: CountOrZero = 8
    roi: RoiOptions = field(default_factory=RoiOptions)
    baselines: BaselineOptions = field(default_factory=BaselineOptions)


options_of = options_reader(Options, "covid_cxnet")
