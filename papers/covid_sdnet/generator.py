"""The generator of a class-inherent transformation, with batch normalisation per image."""

from __future__ import annotations

import math

import keras
from keras import layers, ops

# PyTorch's defaults, as in the authors' code.
EPSILON = 1e-5
MOMENTUM = 0.9


@keras.saving.register_keras_serializable("covid_sdnet")
class SingleImageBatchNormalization(layers.Layer):
    """Batch normalisation that treats every image of a batch as a batch of one, as the authors' code does.

    In training, each image is normalised by its own mean and (biased) variance over height and width. The moving
    statistics are updated with those of each image in turn, `moving = momentum * moving + (1 - momentum) * image`, with
    the unbiased variance, as in PyTorch; this is computed in closed form. Inference uses the moving statistics.

    Parameters
    ----------
    momentum : float
        Weight of the previous moving statistics (PyTorch's 0.1 is 0.9 here).
    epsilon : float
        Added to the variance.

    Notes
    -----
    Input and output are floating-point tensors (batch, height, width, channels) of any batch size, height and width.
    Statistics are computed in float32.
    """

    def __init__(self, momentum: float = MOMENTUM, epsilon: float = EPSILON, **kwargs) -> None:
        super().__init__(**kwargs)
        self.momentum, self.epsilon = momentum, epsilon

    def build(self, input_shape) -> None:
        """Create scale, offset and moving statistics, one value per channel."""
        shape = (input_shape[-1],)
        self.gamma = self.add_weight(shape=shape, initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=shape, initializer="zeros", name="beta")
        # As in Keras' own layer: no autocast, because half precision is too coarse for the statistics.
        still = {"shape": shape, "trainable": False, "autocast": False}
        self.moving_mean = self.add_weight(initializer="zeros", name="moving_mean", **still)
        self.moving_variance = self.add_weight(initializer="ones", name="moving_variance", **still)

    def call(self, inputs, training: bool = False):
        """Normalise the images; in training, also update the moving statistics."""
        x = ops.cast(inputs, "float32")
        if training:
            mean, variance = ops.moments(x, axes=(1, 2), keepdims=True)
            self._move(mean, variance, ops.shape(x))
        else:
            mean, variance = self.moving_mean, self.moving_variance
        # Folding this into x * scale + offset would lose digits if the mean is far larger than the deviation.
        scale = ops.cast(self.gamma, "float32") * ops.rsqrt(variance + self.epsilon)
        return ops.cast((x - mean) * scale + ops.cast(self.beta, "float32"), inputs.dtype)

    def _move(self, mean, variance, shape) -> None:
        """Update the moving statistics: image i of n has the weight (1 - momentum) * momentum**(n - 1 - i)."""
        n = shape[0]
        pixels = ops.cast(shape[1] * shape[2], "float32")
        unbiased = variance * pixels / ops.maximum(pixels - 1, 1)
        later = ops.cast(n - 1 - ops.arange(n), "float32")
        weights = (1 - self.momentum) * self.momentum ** ops.reshape(later, (1, -1))
        left = self.momentum ** ops.cast(n, "float32")
        for moving, values in ((self.moving_mean, mean), (self.moving_variance, unbiased)):
            new = ops.matmul(weights, ops.stop_gradient(values)[:, 0, 0, :])[0]
            moving.assign(left * moving + new)

    def compute_output_shape(self, input_shape):
        """Return the shape of the input."""
        return input_shape

    def get_config(self) -> dict:
        """Return the arguments of `__init__`."""
        return {**super().get_config(), "momentum": self.momentum, "epsilon": self.epsilon}


def build_generator(
    size: int | tuple[int, int] | None = None,
    filters: int = 64,
    residual_blocks: int = 5,
    name: str = "generator",
) -> keras.Model:
    """Build the generator of one class: a residual network whose output has the size of its input.

    A 9x9 convolution with PReLU (a single slope), residual blocks x + [conv 3x3, normalisation, PReLU, conv 3x3,
    normalisation], and a 3x3 convolution to three channels with linear output. All convolutions have biases.

    Parameters
    ----------
    size : int or (height, width), optional
        Size of the images. Default: any.
    filters : int
        Filters of all convolutions but the last (64 as published: 387,913 trainable parameters with 5 blocks).
    residual_blocks : int
        Number of residual blocks.
    name : str
        Name of the model.

    Returns
    -------
    keras.Model
        Uncompiled. Input: float32 (batch, height, width, 3) in 0..1; output: the same shape, unbounded.

    Notes
    -----
    Initial weights and biases are uniform in +-1/sqrt(fan in), as those of PyTorch's convolutions.

    References
    ----------
    S. Tabik et al., "COVIDGR dataset and COVID-SDNet methodology for predicting COVID-19 based on chest X-ray
    images", IEEE JBHI 24(12), 2020, section IV-2. The first block and the single PReLU per residual block are those
    of the authors' code (FuCiTNet); the paper omits the former and describes two PReLUs per block.
    """
    height, width = size if isinstance(size, tuple) else (size, size)
    inputs = keras.Input((height, width, 3), name="image")
    x = _convolution(inputs, filters, 9, "head_conv")
    x = _prelu(x, "head_prelu")
    for block in range(1, residual_blocks + 1):
        y = _convolution(x, filters, 3, f"block{block}_conv1")
        y = SingleImageBatchNormalization(name=f"block{block}_bn1")(y)
        y = _prelu(y, f"block{block}_prelu")
        y = _convolution(y, filters, 3, f"block{block}_conv2")
        y = SingleImageBatchNormalization(name=f"block{block}_bn2")(y)
        x = layers.Add(name=f"block{block}_add")([x, y])
    outputs = _convolution(x, 3, 3, "tail_conv", dtype="float32")
    return keras.Model(inputs, outputs, name=name)


def _convolution(x, filters: int, kernel: int, name: str, **kwargs):
    limit = 1 / math.sqrt(kernel * kernel * x.shape[-1])
    return layers.Conv2D(
        filters,
        kernel,
        padding="same",
        kernel_initializer=keras.initializers.RandomUniform(-limit, limit),
        bias_initializer=keras.initializers.RandomUniform(-limit, limit),
        name=name,
        **kwargs,
    )(x)


def _prelu(x, name: str):
    slope = keras.initializers.Constant(0.25)
    return layers.PReLU(alpha_initializer=slope, shared_axes=[1, 2, 3], name=name)(x)
