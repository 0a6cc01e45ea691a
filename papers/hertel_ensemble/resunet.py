"""The paper's ResUNet and the U-Net beside it: construction and training.

Their settings: `papers.hertel_ensemble.segmenter`.
"""

from __future__ import annotations

import keras

from covid_keras.common.settings import as_plain
from covid_keras.data.augment import Augmentation
from covid_keras.models.resunet import build_resunet
from covid_keras.models.unet import build_unet
from covid_keras.training.fitting import Plateau
from covid_keras.training.segmenters import SegmenterKind
from papers.hertel_ensemble.segmenter import SegmenterSettings


class ResUNetKind(SegmenterKind):
    """The ResUNet."""

    paper = "hertel_ensemble"
    citation = "Hertel and Benlamri"
    settings = SegmenterSettings

    def network(self, settings: SegmenterSettings) -> keras.Model:
        return build_resunet((settings.size, settings.size, 1), settings.filters)

    def augmentation(self, settings: SegmenterSettings) -> Augmentation:
        return Augmentation(**as_plain(settings.augmentation))

    def plateau(self, settings: SegmenterSettings) -> Plateau:
        return Plateau(settings.patience_lr, settings.factor)


class UNetKind(ResUNetKind):
    """A U-Net with batch normalisation on the way down, trained alike."""

    def network(self, settings: SegmenterSettings) -> keras.Model:
        return build_unet((settings.size, settings.size, 1), settings.filters, "encoder")
