"""The settings of `protocol.yaml` that only this paper knows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from covid_keras.common.settings import BelowOne, Share, Width
from covid_keras.paper.protocol import options_reader


@dataclass(frozen=True)
class EnsembleSettings:
    """How the ensembles combine the three networks (O1 and O2 in the README).

    Attributes
    ----------
    weights : str
        Weights of the average: "validation" (those on a grid with the best validation accuracy), "proportional" (to the
        validation accuracies), or "equal".
    step : float
        Step of that grid.
    ties : str
        Decision on three different votes: "probability" (the class with the largest summed probability) or "lowest"
        (the first class).
    """

    weights: Literal["validation", "proportional", "equal"] = "validation"
    step: Share = 0.05
    ties: Literal["probability", "lowest"] = "probability"


@dataclass(frozen=True)
class Options:
    """The options.

    Attributes
    ----------
    masks : str
        Segmenter: "resunet", the paper's network, trained first, or "shipped", the suite's U-Net.
    segmenter : mapping
        Settings of the ResUNet, and of the U-Net beside it (`papers.hertel_ensemble.segmenter.SegmenterSettings`).
    pooling : str
        Layer between backbone and new layers: "average" (global) or "flatten"; the paper does not say.
    statistics : str
        Batch-normalisation statistics of the backbone: "frozen" at their initial values (gamma and beta are trained),
        or "trained".
    width : float
        Width of the networks relative to the published filters and units; below 1 requires random initial weights.
    shallow : bool
        Use the shallowest networks of the same families, DenseNet-121, ResNet-50 and VGG-16, to test the pipeline.
    batchnorm_momentum : float, optional
        Momentum of trained statistics (see `covid_keras.models.backbones.set_batchnorm_momentum`).
    ensemble : EnsembleSettings
    """

    masks: Literal["resunet", "shipped"] = "resunet"
    segmenter: dict[str, Any] = field(default_factory=dict)
    pooling: Literal["average", "flatten"] = "average"
    statistics: Literal["frozen", "trained"] = "frozen"
    width: Width = 1.0
    shallow: bool = False
    batchnorm_momentum: BelowOne | None = None
    ensemble: EnsembleSettings = field(default_factory=EnsembleSettings)


options_of = options_reader(Options, "hertel_ensemble")
