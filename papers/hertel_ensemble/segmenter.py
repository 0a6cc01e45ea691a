"""Settings of the paper's lung segmenter, the ResUNet (Table 5).

The paper gives augmentation, epochs and size, but not loss, optimiser, learning rate and batch size. Here: binary
cross-entropy plus 1 - Dice; Adam at 1e-3, reduced when validation Dice stops improving; batches of 16; the epoch with
the best validation Dice. Input: radiographs with one channel, scaled to 0..1. Masks: probability of at least 0.5,
without postprocessing.

Nothing here imports TensorFlow; `papers.hertel_ensemble.resunet` builds the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import MultipleOf

from covid_keras.common.errors import UserError
from covid_keras.common.settings import Count, CountOrZero, Share, Side, build
from covid_keras.paper import protocol as shared
from covid_keras.paper.protocol import AugmentationSettings, Protocol
from papers.hertel_ensemble.settings import options_of

# The paper's numbers as arguments of ImageDataGenerator, whose shear is in degrees: read as 0.2, "20 %" has almost no
# effect. The other reading is shear 20.
PUBLISHED = AugmentationSettings(
    rotation=180.0,
    shift=(0.3, 0.3),
    shear=0.2,
    zoom_range=(0.8, 1.2),
    keep_aspect=False,
    flip=True,
    fill="nearest",
)


@dataclass(frozen=True)
class SegmenterSettings(shared.SegmenterSettings):
    """The ResUNet and its training; the defaults are those of profile `paper`.

    Attributes
    ----------
    size : int
        A multiple of 8, for three strides of 2 (of 16 if the U-Net is trained too).
    patience_lr, factor : int, float
        After `patience_lr` epochs without better validation Dice, the learning rate is multiplied by `factor`; 0 keeps
        it constant.
    augmentation : AugmentationSettings
        Applied to radiograph and mask alike. Default: the paper's. Transforms that a given mapping omits are not used.
    """

    size: Annotated[Side, MultipleOf(8)] = 256
    epochs: Count = 45
    batch_size: Count = 16
    threshold: Share = 0.5
    patience_lr: CountOrZero = 5
    factor: Share = 0.5
    augmentation: AugmentationSettings = PUBLISHED

    def __post_init__(self) -> None:
        """Refuse brightness changes, which would change the masks too."""
        if self.augmentation.brightness != (1.0, 1.0):
            raise UserError("segmenter", "augmentation.brightness would change the masks too", "Leave it out")


def segmenter_settings(protocol: Protocol) -> SegmenterSettings | None:
    """Return the settings of the ResUNet that a protocol trains; None if it trains none.

    It is trained if it marks the lungs, or if it has settings.

    Raises
    ------
    UserError
        If a setting is unknown or invalid.
    """
    options = options_of(protocol)
    if options.masks == "shipped" and not options.segmenter:
        return None
    return build(SegmenterSettings, options.segmenter, "protocol.yaml", "options.segmenter")
