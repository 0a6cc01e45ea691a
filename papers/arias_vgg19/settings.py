"""The settings of `protocol.yaml` that only this paper knows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from covid_keras.settings import build
from covid_keras.training.protocol import Protocol

UNETS = ("unet1", "unet2", "unet3")


@dataclass(frozen=True)
class Options:
    """All of them.

    Attributes
    ----------
    standardise : str
        How equation 2 is read: "global", "authors" or "per_image" (see `covid_keras.models.standardise`).
    width : float
        Share of the published filters and units that the VGGs have; below 1 only from random weights.
    pool5 : int
        Side of the last max pooling: 2, or 8 as in the authors' code.
    kernel_bug : bool
        Convert VGG16's first kernel as the authors' code does by accident: two of its three columns stay 0.
    channels : str
        Which colour the grey weights are given to: "bgr", the order the ImageNet weights were trained in, or "authors",
        who take it for RGB.
    masks : str
        Who marks the lungs of parts d and e: "shipped", the suite's U-Net, or one of the paper's three.
    threshold : float
        Of the paper's U-Nets, from which on a pixel is lung.
    segmenters : mapping
        "unet1", "unet2", "unet3" to the settings of each (`papers.arias_vgg19.segmenters.SegmenterSettings`). Those
        named are trained and measured.
    """

    standardise: Literal["global", "authors", "per_image"] = "global"
    width: float = 1.0
    pool5: int = 2
    kernel_bug: bool = False
    channels: Literal["authors", "bgr"] = "authors"
    masks: Literal["shipped", "unet1", "unet2", "unet3"] = "shipped"
    threshold: float = 0.3
    segmenters: dict[str, Any] = field(default_factory=dict)


def options_of(protocol: Protocol) -> Options:
    """Return the protocol's options, checked."""
    return build(Options, protocol.options, "protocol.yaml", "options")
