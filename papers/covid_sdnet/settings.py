"""Settings of `protocol.yaml` that only this paper has."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from covid_keras.common.settings import BelowOne, Count, NotNegative, Positive, Side, Width
from covid_keras.paper.protocol import options_reader


@dataclass(frozen=True)
class CitOptions:
    """The class-inherent transformation network (FuCiTNet).

    Attributes
    ----------
    size : tuple of int, optional
        Height and width of its images. Default: the protocol's size.
    filters : int
        Filters of the generators; 64 in the authors' code.
    lambda_ : float
        Weight of a generator's cross-entropy (equation 1). The authors' code tries 1, 0.5, 0.1, 0.075, 0.05, 0.025,
        0.01, ... down to 0.0005.
    perceptual : float
        Weight of the perceptual distance, of features of VGG-16 (equation 1).
    total_variation : float
        Weight of the total variation: absent from the paper, 2e-8 in the authors' code.
    generator_rate, generator_decay : float
        Learning rate of the generators' Adam, and the factor of the L2 penalty that is added to their gradients.
    classifier_step : int
        Epochs after which the classifier's learning rate is divided by ten.
    frozen : bool
        Whether the first half of ResNet-18 keeps its initial weights; requires ImageNet weights.
    """

    size: tuple[Side, Side] | None = None
    filters: Count = 64
    lambda_: NotNegative = 0.00075
    perceptual: NotNegative = 0.006
    total_variation: NotNegative = 0.0
    generator_rate: Positive = 1e-4
    generator_decay: NotNegative = 1e-4
    classifier_step: Count = 5
    frozen: bool = True


@dataclass(frozen=True)
class CapsOptions:
    """COVID-CAPS, retrained.

    Attributes
    ----------
    size : tuple of int
        Height and width in pixels.
    initial : str
        Its initial weights: "released", the authors' checkpoint, which the paper fine-tunes; or random ones, "glorot"
        (Keras' default) or "he" (needs half the steps).
    """

    size: tuple[Side, Side] = (224, 224)
    initial: Literal["released", "glorot", "he"] = "released"


@dataclass(frozen=True)
class CovidnetOptions:
    """COVIDNet.

    Attributes
    ----------
    size : tuple of int
        Height and width in pixels.
    variant : str
        See `covid_keras.models.build_covidnet`.
    batchnorm_momentum : float, optional
        Momentum of the moving statistics. Default: the builder's. Trainings of a hundred steps from random weights need
        less than 0.9, with which the statistics lag behind and predictions are noise.
    positive_share : float
        Share of each batch that is replaced by COVID-19 images (the authors' `covid_percent`).
    positive_weight : float
        Weight of COVID-19 in the loss (the authors' `covid_weight`).
    """

    size: tuple[Side, Side] = (224, 224)
    variant: Literal["large", "b", "c"] = "large"
    batchnorm_momentum: BelowOne | None = None
    positive_share: BelowOne = 0.33
    positive_weight: NotNegative = 1.0


@dataclass(frozen=True)
class Options:
    """All options of this paper.

    Attributes
    ----------
    batchnorm_momentum : float, optional
        See `covid_keras.models.build_resnet50`. Default: as published (0.99).
    width : float
        Share of the filters of ResNet-50, ResNet-18 and COVIDNet, 0 to 1 (see `covid_keras.models.steady.narrowed`).
    cit, covid_caps, covidnet
        Options of these networks.
    """

    batchnorm_momentum: BelowOne | None = None
    width: Width = 1.0
    cit: CitOptions = field(default_factory=CitOptions)
    covid_caps: CapsOptions = field(default_factory=CapsOptions)
    covidnet: CovidnetOptions = field(default_factory=CovidnetOptions)


options_of = options_reader(Options, "covid_sdnet")
