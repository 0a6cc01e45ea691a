"""The losses of the class-inherent transformation network (Tabik et al. 2020, section IV-2).

There are K classes and one generator per class. `versions` are the outputs of all generators on a batch of images:
float32 (batch, K, height, width, channels). `labels` are one-hot, float32 (batch, K).
"""

from __future__ import annotations

from pathlib import Path

import keras
import tensorflow as tf

from covid_keras.models.backbones import backbone_weights
from covid_keras.models.weights import load_weights


def build_perceptual(weights: str | Path = "imagenet", size: int | tuple[int, int] | None = None) -> keras.Model:
    """Build the network whose features define the perceptual distance: VGG-16 up to its fifth pooling, frozen.

    Parameters
    ----------
    weights : {"imagenet", "none"} or path
        ImageNet weights of keras.applications (downloaded once), random ones, or a file in the layout of its `notop`
        file.
    size : int or (height, width), optional
        Size of the images, at least 32. Default: any.

    Returns
    -------
    keras.Model
        Input: float32 (batch, height, width, 3) in 0..1, without VGG's own normalisation, as in the authors' code.
        Output: (batch, height // 32, width // 32, 512), of the layer `block5_pool`.

    Raises
    ------
    UserError
        If ImageNet weights cannot be downloaded or the file does not fit.

    Notes
    -----
    The authors' weights were trained on images scaled to unit standard deviation, those of keras.applications on
    0..255 with the mean subtracted. Images in 0..1 suit neither, and the same weight of the distance has a different
    strength with each.
    """
    height, width = size if isinstance(size, tuple) else (size, size)
    base = backbone_weights(
        "VGG16",
        lambda given: keras.applications.VGG16(include_top=False, weights=given, input_shape=(height, width, 3)),
        weights,
    )
    if weights not in ("imagenet", "none"):
        load_weights(base, weights)
    base.trainable = False
    return base


def as_batch(versions: tf.Tensor) -> tf.Tensor:
    """Return all versions as one batch, (batch * K, height, width, channels), ordered by image, then by generator."""
    return tf.reshape(versions, tf.concat([[-1], tf.shape(versions)[2:]], 0))


def distances(versions: tf.Tensor, originals: tf.Tensor) -> tf.Tensor:
    """Return the mean squared difference between each generator's outputs and the original images, (K,)."""
    return tf.reduce_mean(tf.math.squared_difference(versions, originals[:, None]), axis=(0, 2, 3, 4))


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Return the cross-entropy of each version, (batch, K), from the logits (batch, K, K) and the original's label."""
    return tf.nn.softmax_cross_entropy_with_logits(tf.repeat(labels[:, None], tf.shape(logits)[1], axis=1), logits)


def class_means(values: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Return the mean of `values` (batch, K) over all versions of the images of each class, (K,); 0 without images."""
    sums = tf.linalg.matvec(labels, tf.reduce_sum(values, axis=1), transpose_a=True)
    counts = tf.reduce_sum(labels, axis=0) * tf.cast(tf.shape(values)[1], tf.float32)
    return tf.math.divide_no_nan(sums, counts)


def total_variation(versions: tf.Tensor) -> tf.Tensor:
    """Return the total variation of each generator's outputs, (K,), averaged as in the authors' code.

    It is twice the sum of two means over images, pixels and channels: of the squared differences between vertical
    neighbours and between horizontal ones.
    """
    steps = (versions[:, :, 1:], versions[:, :, :-1]), (versions[:, :, :, 1:], versions[:, :, :, :-1])
    down, along = (tf.reduce_mean(tf.math.squared_difference(*pair), axis=(0, 2, 3, 4)) for pair in steps)
    return 2 * (down + along)
