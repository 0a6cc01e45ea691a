"""COVIDNet's training: weighted cross-entropy, and batches with a fixed number of positives.

References
----------
.. [1] L. Wang, Z. Q. Lin, A. Wong, "COVID-Net: a tailored deep convolutional neural network design for detection of
   COVID-19 cases from chest X-ray images", Scientific Reports 10, 19549 (2020), and the authors' training script.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from covid_keras.common.errors import UserError


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


def covidnet_epoch(
    other: np.ndarray, positives: np.ndarray, batch_size: int = 8, share: float = 0.3, seed: int = 0, epoch: int = 0
) -> np.ndarray:
    """Draw the batches of one epoch as COVIDNet's generator does [1]_.

    The images of the other classes are shuffled and divided into ceil(n / batch_size) batches; a short last batch is
    filled up from the start of the shuffled order. In each batch, max(int(batch_size * share), 1) images, chosen at
    random, are then replaced by random positives, without repetition within the batch if there are enough of them. So
    0.3 and 0.33 both replace two of eight images. Replaced images are not seen in that epoch, and the number of batches
    determines how often positives are seen.

    Parameters
    ----------
    other, positives : ndarray of int, (n,) and (m,)
        Indices of the images of the other classes and of the positive class; at least one each.
    batch_size : int
        At least 1.
    share : float
        Share of positives in a batch, 0 to 1; rounded down, but at least one image.
    seed, epoch : int
        At least 0. They determine the draw.

    Returns
    -------
    ndarray of int64, (steps, batch_size)
        Values of `other` and `positives`, one row per batch.

    Raises
    ------
    UserError
        If one kind has no images, or batch size or share is out of range.
    """
    for name, indices in (("positives", positives), ("other classes", other)):
        if not len(indices):
            raise UserError(name, "no image to train on", "COVIDNet's batches need images of both kinds")
    if batch_size < 1:
        raise UserError("batch_size", f"is {batch_size}", "Give at least 1; COVIDNet uses 8")
    if not 0 <= share <= 1:
        raise UserError("positive_share", f"is {share}", "Give a share of 0 to 1; COVIDNet uses 0.3")
    rng = np.random.default_rng((seed, epoch))
    steps, taken = math.ceil(len(other) / batch_size), max(int(batch_size * share), 1)
    # resize() repeats the order from its start as often as is needed.
    batches = np.resize(rng.permutation(np.asarray(other, np.int64)), (steps, batch_size))
    for batch in batches:
        places = rng.choice(batch_size, taken, replace=False)
        batch[places] = rng.choice(positives, taken, replace=taken > len(positives))
    return batches
