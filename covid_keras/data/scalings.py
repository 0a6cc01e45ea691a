"""Scaling functions for `make_dataset(scaling=...)`.

They import TensorFlow when called, so that papers can refer to them without importing it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

# Added to the standard deviation, as in Keras.
_EPSILON = 1e-6
# Smaller deviations are rounding errors of a constant image: one grey level in a million pixels gives 1e-3.
_FLAT = 1e-3


def samplewise_standardize(images: tf.Tensor | np.ndarray) -> tf.Tensor:
    """Scale each image to zero mean and unit standard deviation over all its pixels and channels.

    As `samplewise_center` and `samplewise_std_normalization` of Keras' legacy `ImageDataGenerator`: (image - mean) /
    (standard deviation + 1e-6). The result does not depend on the batch.

    Parameters
    ----------
    images : tensor or ndarray (B, H, W, C), any real type
        Grey levels 0..255, after augmentation.

    Returns
    -------
    tensor (B, H, W, C) float32
        A constant image becomes zeros; Keras would divide its rounding errors by 1e-6.

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
