"""Scalings of a batch that need more than a division, for `make_dataset(scaling=...)`.

TensorFlow is imported when they are called, so that an experiment can name one without importing it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

# Added to the standard deviation, as Keras does.
_EPSILON = 1e-6
# One grey level in one pixel of a million is a deviation of 1e-3; below is what rounding leaves of a flat image.
_FLAT = 1e-3


def samplewise_standardize(images: tf.Tensor | np.ndarray) -> tf.Tensor:
    """Give each image zero mean and unit standard deviation, over all its pixels and channels.

    As `samplewise_center` and `samplewise_std_normalization` of Keras' legacy `ImageDataGenerator`: minus its own
    mean, divided by (its own standard deviation + 1e-6). An image's result does not depend on its batch.

    Parameters
    ----------
    images : tensor or ndarray (B, H, W, C), any real type
        Grey levels 0..255, augmented where they are to be.

    Returns
    -------
    tensor (B, H, W, C) float32
        An image without contrast, such as a black one, becomes zeros. (Keras divides what rounding leaves of its
        centred pixels by 1e-6.)

    Examples
    --------
    >>> import numpy as np
    >>> samplewise_standardize(np.reshape([0, 0, 200, 200], (1, 2, 2, 1))).numpy().ravel().round(3).tolist()
    [-1.0, -1.0, 1.0, 1.0]
    """
    import tensorflow as tf

    images = tf.cast(images, tf.float32)
    axes = tuple(range(1, images.shape.rank))
    centred = images - tf.reduce_mean(images, axes, keepdims=True)
    std = tf.math.reduce_std(centred, axes, keepdims=True)
    return tf.where(std < _FLAT, 0.0, centred / (std + _EPSILON))
