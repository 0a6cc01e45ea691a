"""The settings of `protocol.yaml` that only this paper knows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Gt, MultipleOf

from covid_keras.common.errors import UserError
from covid_keras.common.settings import Count, Share, build, unknown_key
from covid_keras.paper import protocol as shared
from covid_keras.paper.protocol import Protocol, options_reader

UNETS = ("unet1", "unet2", "unet3")
Standardise = Literal["global", "authors", "per_image"]


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
        "unet1", "unet2", "unet3" to the settings of each (`SegmenterSettings`). Those
        named are trained and measured.
    """

    standardise: Standardise = "global"
    width: float = 1.0
    pool5: int = 2
    kernel_bug: bool = False
    channels: Literal["authors", "bgr"] = "authors"
    masks: Literal["shipped", "unet1", "unet2", "unet3"] = "shipped"
    threshold: float = 0.3
    segmenters: dict[str, dict[str, Any]] = field(default_factory=dict)


options_of = options_reader(Options)


@dataclass(frozen=True)
class SegmenterSettings(shared.SegmenterSettings):
    """One U-Net and its training; the defaults are those published for U-Net 3.

    `filters` is F0 of equation 3: 16, 112 and 64 for U-Net 1, 2 and 3. The authors' code has a batch of 32 where the
    paper says 64.

    Attributes
    ----------
    size : int
        A multiple of 16: four poolings halve it each.
    form : {"published", "authors"}
        "authors" is U-Net 2 as in the authors' code (see `covid_keras.models.build_unet`).
    standardise : {"global", "authors", "per_image"}
        How equation 2 is read, see `Scaling`.
    """

    size: Annotated[int, Gt(0), MultipleOf(16)] = 224
    epochs: Count = 200
    batch_size: Count = 64
    threshold: Share = 0.3
    form: Literal["published", "authors"] = "published"
    standardise: Standardise = "global"


def segmenter_settings(protocol: Protocol) -> dict[str, SegmenterSettings]:
    """Return the settings of the U-Nets that a protocol trains, by name, in the paper's order.

    Raises
    ------
    UserError
        Where a name is none of the paper's, or a setting is unknown or makes no sense.
    """
    options = options_of(protocol)
    if unknown := [name for name in options.segmenters if name not in UNETS]:
        raise unknown_key("protocol.yaml", unknown[0], UNETS, "options.segmenters")
    if options.masks not in ("shipped", *options.segmenters):
        problem = f"options.masks is {options.masks!r}, which is not trained"
        raise UserError("protocol.yaml", problem, "Name it in options.segmenters")
    common = {"standardise": options.standardise, "threshold": options.threshold}
    return {
        name: build(SegmenterSettings, common | options.segmenters[name], "protocol.yaml", f"options.segmenters.{name}")
        for name in UNETS
        if name in options.segmenters
    }
