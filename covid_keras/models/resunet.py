"""The deep residual U-Net of Zhang et al., trained by Hertel and Benlamri for lung segmentation."""

from __future__ import annotations

import keras
from keras import layers

# Filters of each level relative to the first one. The size is halved between encoding levels and before the bridge, and
# doubled before each decoding level.
ENCODING, BRIDGE, DECODING = (1, 2, 4), 8, (4, 2, 1)
MULTIPLE = 2 ** len(DECODING)


def build_resunet(
    input_shape: tuple[int, int, int] = (256, 256, 1),
    filters: int = 64,
    name: str = "resunet",
) -> keras.Model:
    """Build the seven-level ResUNet: three encoding levels, a bridge, three decoding levels.

    A level is one residual unit with pre-activation: BN - ReLU - conv 3x3 - BN - ReLU - conv 3x3, plus its input
    through a 1x1 convolution of the same stride and batch normalisation. The first unit starts with its convolution.
    Instead of pooling, the first convolution of levels 2 to 4 has stride 2. Before a decoding level the map is
    upsampled by nearest neighbour and concatenated with the encoding level of the same size.

    Parameters
    ----------
    input_shape : tuple of int
        Height, width, channels. Height and width must be multiples of 8.
    filters : int
        Filters of the first level; the others have 2, 4 and 8 times as many. With 64, as published, and one channel the
        network has 8,231,745 parameters (7,778,944 of them in the 3x3 convolutions and the last one).
    name : str
        Name of the model.

    Returns
    -------
    keras.Model
        Uncompiled; input float32 (batch, height, width, channels), output float32 (batch, height, width, 1), the
        probability of lung. Layers are named `level<1 to 7>_...` and `lung`.

    Raises
    ------
    ValueError
        If height or width is not a multiple of 8, or `filters` is below 1.

    References
    ----------
    .. [1] Z. Zhang, Q. Liu, Y. Wang, "Road extraction by deep residual U-Net", IEEE Geoscience and Remote Sensing
       Letters 15(5), 2018, section II, table I.
    .. [2] R. Hertel, R. Benlamri, "A deep learning segmentation-classification pipeline for X-ray-based COVID-19
       diagnosis", Biomedical Engineering Advances 3 (2022) 100041, table 5. Neither specifies the upsampling, the
       shortcut when the shape changes, or the initial weights (here he_normal).
    """
    height, width, _ = input_shape
    if height % MULTIPLE or width % MULTIPLE:
        raise ValueError(f"height and width must be multiples of {MULTIPLE}, not {height} x {width}")
    if filters < 1:
        raise ValueError(f"filters must be at least 1, not {filters}")
    inputs = keras.Input(input_shape, name="radiograph")
    x, skips = inputs, []
    for level, times in enumerate(ENCODING, start=1):
        x = _unit(x, filters * times, 1 if level == 1 else 2, f"level{level}", activate=level > 1)
        skips.append(x)
    x = _unit(x, filters * BRIDGE, 2, f"level{len(ENCODING) + 1}")
    for level, times in enumerate(DECODING, start=len(ENCODING) + 2):
        x = layers.UpSampling2D(2, interpolation="nearest", name=f"level{level}_double")(x)
        x = layers.Concatenate(name=f"level{level}_concat")([x, skips.pop()])
        x = _unit(x, filters * times, 1, f"level{level}")
    # float32 even with mixed precision: bfloat16 has only three digits
    outputs = layers.Conv2D(1, 1, activation="sigmoid", dtype="float32", name="lung")(x)
    return keras.Model(inputs, outputs, name=name)


def _unit(x, filters: int, strides: int, name: str, activate: bool = True):
    """Residual unit; without `activate` it starts with its first convolution."""
    # A 1x1 convolution of stride 2, as slicing and stride 1: with fewer than 16 channels TensorFlow's kernel (2.21,
    # oneDNN, several threads) crashes.
    shortcut = layers.MaxPooling2D(1, strides, name=f"{name}_shortcut_stride")(x) if strides > 1 else x
    shortcut = layers.Conv2D(filters, 1, kernel_initializer="he_normal", name=f"{name}_shortcut")(shortcut)
    shortcut = layers.BatchNormalization(name=f"{name}_shortcut_bn")(shortcut)
    if activate:
        x = _activation(x, f"{name}_1")
    x = _convolution(x, filters, strides, f"{name}_conv1")
    x = _convolution(_activation(x, f"{name}_2"), filters, 1, f"{name}_conv2")
    return layers.Add(name=f"{name}_add")([x, shortcut])


def _activation(x, name: str):
    return layers.ReLU(name=f"{name}_relu")(layers.BatchNormalization(name=f"{name}_bn")(x))


def _convolution(x, filters: int, strides: int, name: str):
    return layers.Conv2D(filters, 3, strides, padding="same", kernel_initializer="he_normal", name=name)(x)
