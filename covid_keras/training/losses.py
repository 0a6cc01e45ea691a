"""Segmentation losses and metrics that ignore unmarked pixels."""

from __future__ import annotations

import keras
from keras import ops

SMOOTH = 1.0


@keras.saving.register_keras_serializable("covid_keras")
class MaskedDiceCrossEntropy(keras.losses.Loss):
    """1 - soft Dice + `entropy` x binary cross-entropy over the annotated pixels; entropy 0 is the Dice loss.

    `y_true` is float (batch, height, width, 2): channel 0 the mask (1 = lung), channel 1 the pixels that count
    (0 = ignore). `y_pred` is float (batch, height, width, 1), a probability. Soft Dice is computed per image:
    (2 sum(y p) + 1) / (sum y + sum p + 1).
    """

    def __init__(self, entropy: float = 1.0, **options) -> None:
        super().__init__(**options)
        self.entropy = entropy

    def get_config(self) -> dict:
        return super().get_config() | {"entropy": self.entropy}

    def call(self, y_true, y_pred):
        lung, counts, p = y_true[..., 0], y_true[..., 1], y_pred[..., 0]
        p = ops.clip(p, 1e-6, 1 - 1e-6)
        entropy = -(lung * ops.log(p) + (1 - lung) * ops.log(1 - p)) * counts
        judged = ops.maximum(ops.sum(counts, axis=(1, 2)), 1.0)
        lung, p = lung * counts, p * counts
        overlap = 2 * ops.sum(lung * p, axis=(1, 2)) + SMOOTH
        dice = overlap / (ops.sum(lung, axis=(1, 2)) + ops.sum(p, axis=(1, 2)) + SMOOTH)
        return 1 - dice + self.entropy * ops.sum(entropy, axis=(1, 2)) / judged


@keras.saving.register_keras_serializable("covid_keras")
def masked_dice(y_true, y_pred):
    """Hard Dice per image at threshold 0.5 over the pixels that count; arguments as in `MaskedDiceCrossEntropy`."""
    lung, counts = y_true[..., 0], y_true[..., 1]
    marked = ops.cast(y_pred[..., 0] > 0.5, lung.dtype) * counts
    lung = lung * counts
    overlap = 2 * ops.sum(lung * marked, axis=(1, 2)) + SMOOTH
    return overlap / (ops.sum(lung, axis=(1, 2)) + ops.sum(marked, axis=(1, 2)) + SMOOTH)
