"""COVIDNet's batches with a fixed number of positives.

References
----------
.. [1] L. Wang, Z. Q. Lin, A. Wong, "COVID-Net: a tailored deep convolutional neural network design for detection of
   COVID-19 cases from chest X-ray images", Scientific Reports 10, 19549 (2020), and the authors' training script.
"""

from __future__ import annotations

import math

import numpy as np

from covid_keras.common.errors import UserError


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
