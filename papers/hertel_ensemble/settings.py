"""The settings of `protocol.yaml` that only this paper knows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from covid_keras.paper.protocol import options_reader


@dataclass(frozen=True)
class EnsembleSettings:
    """How the three networks are put together (section 7 of the README).

    Attributes
    ----------
    weights : str
        Of the weighted average: "validation", those of the simplex that are right most often on the validation part;
        "proportional" to the validation accuracies; "equal".
    step : float
        Of the grid on the simplex.
    ties : str
        The class of a vote of one each: "probability", the largest summed probability; "lowest", the first class.
    """

    weights: Literal["validation", "proportional", "equal"] = "validation"
    step: float = 0.05
    ties: Literal["probability", "lowest"] = "probability"


@dataclass(frozen=True)
class Options:
    """All of them.

    Attributes
    ----------
    masks : str
        Who marks the lungs: "resunet", the paper's network, trained first; or "shipped", the suite's U-Net.
    segmenter : mapping
        Settings of the ResUNet (`papers.hertel_ensemble.segmenter.SegmenterSettings`).
    pooling : str
        Between backbone and new layers: global "average", or "flatten"; the paper does not say.
    statistics : str
        Of batch normalisation in the backbone: "frozen" at their initial values, gamma and beta learning; or "trained".
    width : float
        Share of the published filters and units that the networks have; below 1 only from random weights.
    shallow : bool
        Take the shallowest networks of the same families, DenseNet-121, ResNet-50 and VGG-16: a trial of the pipeline,
        not of the paper.
    batchnorm_momentum : float, optional
        Where statistics move (see `covid_keras.models.backbones.set_batchnorm_momentum`).
    ensemble : EnsembleSettings
    """

    masks: Literal["resunet", "shipped"] = "resunet"
    segmenter: dict[str, Any] = field(default_factory=dict)
    pooling: Literal["average", "flatten"] = "average"
    statistics: Literal["frozen", "trained"] = "frozen"
    width: float = 1.0
    shallow: bool = False
    batchnorm_momentum: float | None = None
    ensemble: EnsembleSettings = field(default_factory=EnsembleSettings)


options_of = options_reader(Options)
