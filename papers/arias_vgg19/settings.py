"""The settings of `protocol.yaml` that only this paper knows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import MultipleOf

from covid_keras.common.errors import UserError
from covid_keras.common.settings import Count, Share, Side, Width, build, unknown_key
from covid_keras.paper import protocol as shared
from covid_keras.paper.protocol import Protocol, options_reader

UNETS = ("unet1", "unet2", "unet3")
Standardise = Literal["global", "authors", "per_image"]


@dataclass(frozen=True)
class Options:
    """The options.

    Attributes
    ----------
    standardise : str
        How equation 2 is read: "global", "authors" or "per_image" (see `covid_keras.models.standardise`).
    view : str
        The network of the view filter: "vgg19" as in the paper, or "best", per fold the better of VGG16 and VGG19 on
        validation.
    width : float
        Width of the VGGs relative to the published filters and units; below 1 requires random initial weights.
    pool5 : int
        Size of the last max pooling: 2, or 8 as in the authors' code.
    kernel_bug : bool
        Convert VGG16's first kernel as the authors' code does by mistake: two of its three columns stay 0.
    channels : str
        Order of the colour channels for the conversion to grey: "bgr", as the ImageNet weights were trained, or
        "authors", who assume RGB.
    masks : str
        Segmenter for parts d and e: "shipped", the suite's U-Net, or one of the paper's three.
    threshold : float
        Probability threshold of the paper's U-Nets for lung pixels.
    segmenters : mapping
        "unet1", "unet2", "unet3" -> settings (`SegmenterSettings`). Those that the protocol names among its systems
        are trained and measured.
    """

    standardise: Standardise = "global"
    view: Literal["vgg19", "best"] = "vgg19"
    width: Width = 1.0
    pool5: Literal[2, 8] = 2
    kernel_bug: bool = False
    channels: Literal["authors", "bgr"] = "authors"
    masks: Literal["shipped", "unet1", "unet2", "unet3"] = "shipped"
    threshold: Share = 0.3
    segmenters: dict[str, dict[str, Any]] = field(default_factory=dict)


options_of = options_reader(Options, "arias_vgg19")


@dataclass(frozen=True)
class SegmenterSettings(shared.SegmenterSettings):
    """One U-Net and its training; the defaults are those published for U-Net 3.

    `filters` is F0 of equation 3: 16, 112 and 64 for U-Net 1, 2 and 3. The batch size is 64 in the paper and 32 in the
    authors' code.

    Attributes
    ----------
    size : int
        A multiple of 16, for four poolings.
    form : {"published", "authors"}
        "authors" is U-Net 2 as in the authors' code (see `covid_keras.models.build_unet`).
    standardise : {"global", "authors", "per_image"}
        How equation 2 is read, see `Scaling`.
    """

    size: Annotated[Side, MultipleOf(16)] = 224
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
        If a name is not one of the paper's, or a setting is unknown or invalid.
    """
    options = options_of(protocol)
    if unknown := [name for name in options.segmenters if name not in UNETS]:
        raise unknown_key("protocol.yaml", unknown[0], UNETS, "options.segmenters")
    if options.masks not in ("shipped", *options.segmenters):
        problem = f"options.masks is {options.masks!r}, which has no settings"
        raise UserError("protocol.yaml", problem, "Add it to options.segmenters")
    common = {"standardise": options.standardise, "threshold": options.threshold}
    return {
        name: build(SegmenterSettings, common | options.segmenters[name], "protocol.yaml", f"options.segmenters.{name}")
        for name in UNETS
        if name in options.segmenters
    }
