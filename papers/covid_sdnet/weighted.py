"""COVIDNet's weighted cross-entropy.

References
----------
.. [1] L. Wang, Z. Q. Lin, A. Wong, "COVID-Net: a tailored deep convolutional neural network design for detection of
   COVID-19 cases from chest X-ray images", Scientific Reports 10, 19549 (2020), and the authors' training script.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
from keras import ops


@keras.saving.register_keras_serializable("covid_keras")
class WeightedCrossEntropy(keras.losses.Loss):
    """Mean over images of cross-entropy times the weight of the true class [1]_.

    The sum is divided by the number of images, not by the sum of their weights as PyTorch does.

    `y_true` is (batch, classes), one-hot; `y_pred` float (batch, classes), probabilities or logits.

    Parameters
    ----------
    class_weights : sequence of float, length classes
        COVIDNet's default is 4 for COVID-19 and 1 for the other classes.
    from_logits : bool
        Whether `y_pred` contains logits.
    reduction, name : str
        See `keras.losses.Loss`.

    Raises
    ------
    ValueError
        If a weight is negative or not finite, or, when called, there is not one per class.
    """

    def __init__(
        self,
        class_weights: Sequence[float],
        from_logits: bool = False,
        reduction: str = "sum_over_batch_size",
        name: str = "weighted_cross_entropy",
    ):
        super().__init__(name=name, reduction=reduction)
        self.class_weights = tuple(float(weight) for weight in class_weights)
        if not all(0 <= weight < math.inf for weight in self.class_weights):
            raise ValueError(f"class weights must be finite and not negative, not {self.class_weights}")
        self.from_logits = from_logits

    def call(self, y_true, y_pred):
        if y_pred.shape[-1] != len(self.class_weights):
            raise ValueError(f"{len(self.class_weights)} class weights for {y_pred.shape[-1]} classes")
        y_true = ops.cast(y_true, y_pred.dtype)
        entropy = ops.categorical_crossentropy(y_true, y_pred, from_logits=self.from_logits)
        return entropy * ops.sum(y_true * ops.convert_to_tensor(self.class_weights, y_pred.dtype), axis=-1)

    def get_config(self):
        return super().get_config() | {"class_weights": list(self.class_weights), "from_logits": self.from_logits}
