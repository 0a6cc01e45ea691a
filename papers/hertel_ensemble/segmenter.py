"""The paper's lung segmenter: the ResUNet of section 3.1, as `covid_keras.training.segmenters` trains one.

The paper gives augmentation, epochs and size; loss, optimiser, rate and batch are not in its text. Taken here: binary
cross-entropy plus 1 - Dice, Adam at 1e-3 with a rate that falls where validation Dice rests, batches of 16, and the
epoch of the best validation Dice. Radiographs are scaled to 0..1, in one channel. A mask is what has a probability of
0.5 or more, neither filled nor freed of islands.

Here are its settings; nothing imports TensorFlow. `papers.hertel_ensemble.resunet` trains it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt, MultipleOf

from covid_keras.common.errors import UserError
from covid_keras.common.settings import Count, CountOrZero, Share, build
from covid_keras.paper import protocol as shared
from covid_keras.paper.protocol import AugmentationSettings, Protocol
from papers.hertel_ensemble.settings import options_of

# The paper's numbers as typed into ImageDataGenerator, whose shear is in degrees: "20 %" is 0.2, which moves next to
# nothing. The other reading is shear 20.
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
    """The ResUNet and its training; the defaults are those of profile `paper`, `filters` those of table 5.

    Attributes
    ----------
    size : int
        A multiple of 8: three strides of 2 halve it each.
    patience_lr, factor : int, float
        After so many epochs without a better validation Dice the rate is multiplied by `factor`; 0 keeps the rate.
    augmentation : AugmentationSettings
        Of radiograph and mask alike; the paper's if not given. What a mapping does not name is not done.
    """

    size: Annotated[int, Gt(0), MultipleOf(8)] = 256
    epochs: Count = 45
    batch_size: Count = 16
    threshold: Share = 0.5
    patience_lr: CountOrZero = 5
    factor: Share = 0.5
    augmentation: AugmentationSettings = PUBLISHED

    def __post_init__(self) -> None:
        """Refuse what would change the masks too."""
        if self.augmentation.brightness != (1.0, 1.0):
            raise UserError("segmenter", "augmentation.brightness would change the masks too", "Leave it out")


def segmenter_settings(protocol: Protocol) -> SegmenterSettings | None:
    """Return the settings of the ResUNet that a protocol trains; None if it trains none.

    It trains one where it marks the lungs, and where settings are given all the same.

    Raises
    ------
    UserError
        If a setting is unknown or makes no sense.
    """
    options = options_of(protocol)
    if options.masks == "shipped" and not options.segmenter:
        return None
    return build(SegmenterSettings, options.segmenter, "protocol.yaml", "options.segmenter")
