"""VGG16 and VGG19 for grey radiographs, with ImageNet weights whose first kernel is summed over colours.

References
----------
.. [1] K. Simonyan, A. Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015,
   table 1, columns D and E.
.. [2] D. Arias-Garzon et al., "COVID-19 detection in X-ray images using convolutional neural networks", Machine
   Learning with Applications 6 (2021) 100138, and the authors' code, which specifies the head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import keras
import numpy as np
from keras import layers

from covid_keras.models.backbones import backbone_weights, weight_file
from covid_keras.models.standardise import Standardise
from covid_keras.models.weights import load_first

# Convolutions per block, by depth.
CONVOLUTIONS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
FILTERS = (64, 128, 256, 512, 512)
UNITS = (1024, 512, 64)
DROPOUT = 0.2
# Weights of red, green and blue (ITU-R BT.601), rounded as in the authors' code; they sum to 0.9999.
GREY_WEIGHTS = (0.2989, 0.5870, 0.1140)
ORDERS = ("authors", "bgr")
POOLS = (2, 8)
# Four poolings precede the fifth.
_REDUCTION = 16
# The smallest size of keras.applications; the weights of convolutions do not depend on it.
_SMALLEST = (32, 32, 3)
STANDARDISE = "standardise"
_FIRST, _LAST = "block1_conv1", "block5_pool"
_BUGGY_DEPTH = 16


def build_vgg(
    depth: int,
    input_shape: tuple[int, int, int] = (224, 224, 1),
    classes: int = 2,
    weights: str | Path = "imagenet",
    pool5: int = 2,
    channels: str = "authors",
    kernel_bug: bool = False,
    channel_weights: Sequence[float] = GREY_WEIGHTS,
    width: float = 1.0,
    initializer: str | None = None,
    standardise: str | None = None,
    name: str | None = None,
) -> keras.Model:
    """Build VGG16 or VGG19 [1]_ with the head of Arias-Garzon et al. [2]_; all layers trainable.

    The head is global average pooling, dropout 0.2, Dense 1024, dropout 0.2, Dense 512, Dense 64 (all ReLU), Dense
    softmax. With one channel and two classes VGG16 has 15,796,610 parameters and VGG19 21,106,306.

    Parameters
    ----------
    depth : {16, 19}
    input_shape : tuple of int
        Height, width, channels: 1 (grey) or 3. Height and width at least 32, or 128 with `pool5` 8. Values standardised
        as in the paper, or of any range with `standardise`. ImageNet weights were trained on mean-centred BGR of 0 to
        255; neither the paper nor its code restores this range.
    classes : int
        Number of softmax outputs.
    weights : {"imagenet", "none"} or path
        Initial weights: convolutions from keras.applications (downloaded once) with a random head; all random; or a
        file of this network, of its convolutions, or of three-channel convolutions (the `notop` file of
        keras.applications). Three-channel weights are converted by `grey_kernel` for one channel.
    pool5 : {2, 8}
        Size of the last max pooling. VGG has 2. The authors' code has 8, with stride 8 and no padding: for a 224 x 224
        image it uses the upper left 8 x 8 of 14 x 14 cells, and the output is 1 x 1.
    channels, kernel_bug, channel_weights
        See `grey_kernel`; no effect unless three-channel weights are converted. In the authors' code only VGG16 has the
        bug.
    width : float
        Factor for the published filters and dense units, for small machines; must be 1 with "imagenet".
    initializer : str, optional
        For random kernels before a ReLU. Default: `he_normal` with "none", else `glorot_uniform`, as in the authors'
        code. With `glorot_uniform` each layer of a deep VGG halves the variance, and training from random weights
        stalls.
    standardise : {"global", "authors", "per_image"}, optional
        Start with a layer "standardise" for equations 1 and 2 of the paper (see
        `covid_keras.models.standardise.Standardise`); set its statistics with `adapt` or from a file of this network.
    name : str, optional
        Name of the model. Default: "vgg16" or "vgg19".

    Returns
    -------
    keras.Model
        Uncompiled and flat; output float32 (batch, classes), probabilities. Convolutions and poolings have the names of
        keras.applications, `block1_conv1` to `block5_pool`.

    Raises
    ------
    UserError
        If ImageNet weights cannot be downloaded, or the file is missing or does not fit.
    ValueError
        If an argument is out of range, or `kernel_bug` is set for VGG19.
    """
    _check(depth, input_shape, pool5)
    if width <= 0 or (weights == "imagenet" and width != 1):
        raise ValueError(f"width must be above 0, and 1 with ImageNet weights, not {width}")
    if kernel_bug and depth != _BUGGY_DEPTH:
        raise ValueError(f"kernel_bug is only supported for VGG{_BUGGY_DEPTH}, not VGG{depth}")
    # Checked here too, because not all weights are converted.
    _by_index(channel_weights, channels)
    convert = partial(grey_kernel, channel_weights=channel_weights, channels=channels, kernel_bug=kernel_bug)
    build = _Builder(depth, width, initializer or ("he_normal" if weights == "none" else "glorot_uniform"))
    inputs = keras.Input(input_shape, name="radiograph")
    x = Standardise(standardise, name=STANDARDISE)(inputs) if standardise else inputs
    model = keras.Model(inputs, build.head(build.features(x, pool5), classes), name=name or f"vgg{depth}")
    if file := weight_file(weights):
        _load(model, file, build, convert)
    elif weights == "imagenet":
        application = partial(getattr(keras.applications, f"VGG{depth}"), include_top=False, input_shape=_SMALLEST)
        _copy(backbone_weights(f"VGG{depth}", lambda given: application(weights=given), weights), model, convert)
    return model


def grey_kernel(
    kernel: np.ndarray,
    channel_weights: Sequence[float] = GREY_WEIGHTS,
    channels: str = "authors",
    kernel_bug: bool = False,
) -> np.ndarray:
    """Sum a convolution kernel over colours, for grey images.

    For a grey image x, the new kernel responds like the given one to a colour image with channels weight * x. The
    weights sum to 1, so the response is about a third of the given kernel's response to x in all three channels.

    Parameters
    ----------
    kernel : ndarray (height, width, 3, filters) float
        Trained on BGR, as VGG of keras.applications.
    channel_weights : sequence of three float
        Weights of red, green and blue.
    channels : {"authors", "bgr"}
        "authors" applies the weight of red to channel 0, which is blue, as the paper and its code do. "bgr" uses the
        matching weights.
    kernel_bug : bool
        Fill only the last column of the kernel and leave the others zero, as in the authors' VGG16 (not VGG19), where
        the sum stands after the loop over columns instead of inside it.

    Returns
    -------
    ndarray (height, width, 1, filters)
        Same type as the kernel.

    Raises
    ------
    ValueError
        If the kernel does not have three channels, there are not three weights, or `channels` is unknown.
    """
    kernel, by_index = np.asarray(kernel), _by_index(channel_weights, channels)
    if kernel.ndim != 4 or kernel.shape[2] != len(by_index):
        raise ValueError(f"the kernel must be (height, width, 3, filters), not {kernel.shape}")
    grey = np.tensordot(kernel, by_index, axes=([2], [0]))[:, :, None, :].astype(kernel.dtype)
    if kernel_bug:
        grey[:, :-1] = 0
    return grey


def _by_index(channel_weights: Sequence[float], channels: str) -> tuple[float, ...]:
    """Return the weights in the order of the kernel channels."""
    if len(channel_weights) != 3:
        raise ValueError(f"channel_weights must be those of red, green and blue, not {channel_weights}")
    if channels not in ORDERS:
        raise ValueError(f"channels must be one of {ORDERS}, not {channels!r}")
    return tuple(channel_weights if channels == "authors" else reversed(channel_weights))


def _check(depth: int, input_shape: tuple[int, int, int], pool5: int) -> None:
    if depth not in CONVOLUTIONS:
        raise ValueError(f"depth must be one of {tuple(CONVOLUTIONS)}, not {depth}")
    if pool5 not in POOLS:
        raise ValueError(f"pool5 must be one of {POOLS}, not {pool5}")
    height, width, colours = input_shape
    if min(height, width) < (smallest := _REDUCTION * pool5):
        raise ValueError(f"height and width must be at least {smallest} with pool5 {pool5}, not {height} x {width}")
    if colours not in (1, 3):
        raise ValueError(f"the input must have 1 or 3 channels, not {colours}")


@dataclass(frozen=True)
class _Builder:
    """Builder of the layers of a VGG."""

    depth: int
    width: float
    initializer: str

    def features(self, x, pool5: int):
        """Five blocks of 3x3 convolutions with pooling: (batch, H, W, C) to (batch, h, w, 512)."""
        for block, (count, filters) in enumerate(zip(CONVOLUTIONS[self.depth], FILTERS, strict=True), start=1):
            for number in range(1, count + 1):
                x = layers.Conv2D(
                    self._share(filters),
                    3,
                    padding="same",
                    activation="relu",
                    kernel_initializer=self.initializer,
                    name=f"block{block}_conv{number}",
                )(x)
            side = pool5 if block == len(FILTERS) else 2
            x = layers.MaxPooling2D(side, strides=side, name=f"block{block}_pool")(x)
        return x

    def head(self, x, classes: int):
        """The head: (batch, h, w, 512) to (batch, classes)."""
        x = layers.GlobalAveragePooling2D(name="pool")(x)
        for number, units in enumerate(UNITS, start=1):
            # No dropout before the last hidden layer.
            if number < len(UNITS):
                x = layers.Dropout(DROPOUT, name=f"dropout{number}")(x)
            x = layers.Dense(
                self._share(units), activation="relu", kernel_initializer=self.initializer, name=f"hidden{number}"
            )(x)
        # float32 also under a mixed-precision policy: a probability in bfloat16 has three digits.
        return layers.Dense(classes, activation="softmax", dtype="float32", name="probability")(x)

    def _share(self, number: int) -> int:
        return max(1, round(number * self.width))


def _load(model: keras.Model, file: Path, build: _Builder, convert: Callable[[np.ndarray], np.ndarray]) -> None:
    """Load a file of the whole network, without statistics, of its convolutions, or of colour convolutions."""
    # Skip layers without weights at the start.
    start, last = model.get_layer(_FIRST).input, model.get_layer(_LAST).output
    network = keras.Model(start, model.output, name=model.name)
    features = keras.Model(start, last, name=model.name)
    inputs = keras.Input(_SMALLEST)
    source = keras.Model(inputs, _Builder(build.depth, build.width, "zeros").features(inputs, 2), name=model.name)
    if load_first([model, network, features, source], file) is source:
        _copy(source, model, convert)


def _copy(source: keras.Model, model: keras.Model, convert: Callable[[np.ndarray], np.ndarray]) -> None:
    """Copy the convolutions of a three-channel network; convert the first kernel if the model takes grey images."""
    for layer in source.layers:
        if not layer.weights:
            continue
        kernel, bias = layer.get_weights()
        is_converted = layer.name == _FIRST and model.input_shape[-1] == 1
        model.get_layer(layer.name).set_weights([convert(kernel) if is_converted else kernel, bias])
