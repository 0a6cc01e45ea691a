"""The margin loss of capsule networks."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import ops

PRESENT = 0.9
ABSENT = 0.1
ABSENT_WEIGHT = 0.5


@keras.saving.register_keras_serializable("covid_keras")
class MarginLoss(keras.losses.Loss):
    """Sum over classes c of y_c max(0, 0.9 - v_c)^2 + 0.5 (1 - y_c) max(0, v_c - 0.1)^2.

    `y_true` is float (batch, classes), one-hot; `y_pred` float (batch, classes), the lengths of the class capsules.

    Parameters
    ----------
    class_weights : sequence of float, length classes, optional
        Factor of an image's loss by its true class; COVID-CAPS uses 1 - (images of the class) / (all images).
    reduction, name : str
        See `keras.losses.Loss`.

    References
    ----------
    S. Sabour et al., "Dynamic routing between capsules", NeurIPS 2017, equation 4. P. Afshar et al., "COVID-CAPS",
    Pattern Recognition Letters 138 (2020), for the class weights.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        reduction: str = "sum_over_batch_size",
        name: str = "margin_loss",
    ):
        super().__init__(name=name, reduction=reduction)
        self.class_weights = None if class_weights is None else [float(weight) for weight in class_weights]

    def call(self, y_true, y_pred):
        missing = y_true * ops.square(ops.relu(PRESENT - y_pred))
        superfluous = ABSENT_WEIGHT * (1 - y_true) * ops.square(ops.relu(y_pred - ABSENT))
        loss = ops.sum(missing + superfluous, axis=-1)
        if self.class_weights is None:
            return loss
        return loss * ops.sum(y_true * ops.convert_to_tensor(self.class_weights, y_true.dtype), axis=-1)

    def get_config(self):
        return super().get_config() | {"class_weights": self.class_weights}
