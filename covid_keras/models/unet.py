"""The U-Net of five contraction levels that marks the lungs."""

from __future__ import annotations

import keras
from keras import layers

LEVELS = 5
# Arias-Garzon et al. 2021, section 3.2: dropout of the contraction blocks; the expansion mirrors it.
DROPOUT = (0.1, 0.1, 0.2, 0.2, 0.3)
NORMALISATIONS = ("none", "encoder")


def build_unet(
    input_shape: tuple[int, int, int] = (224, 224, 1),
    filters: int = 64,
    normalisation: str = "none",
    name: str = "unet",
) -> keras.Model:
    """Build the lung U-Net of Arias-Garzon et al.

    Contraction block i holds `filters * 2**(i - 1)` filters (eq. 3), expansion block i the filters of the last
    contraction block divided by `2**i` (eq. 4). A block is conv 3x3 - dropout - conv 3x3 (he_normal, ReLU, same
    padding); 2x2 max pooling down, 2x2 transposed convolution of stride 2 up.

    Parameters
    ----------
    input_shape : tuple of int
        Height, width, channels. Height and width must be multiples of 16 (four poolings).
    filters : int
        F0: 16 for the paper's U-Net 1 (1,940,817 parameters), 112 for U-Net 2 (95,021,361), 64 for U-Net 3
        (31,030,593).
    normalisation : {"none", "encoder"}
        "none" as published; "encoder" adds batch normalisation before each ReLU of the contraction, which
        trains in far fewer epochs and is what the weights shipped with this suite use.
    name : str
        Name of the model.

    Returns
    -------
    keras.Model
        Uncompiled; input float32 (batch, height, width, channels), output float32 (batch, height, width, 1):
        the probability of lung in 0..1.

    Raises
    ------
    ValueError
        Where height or width is no multiple of 16, or `normalisation` is unknown.

    References
    ----------
    D. Arias-Garzon et al., "COVID-19 detection in X-ray images using convolutional neural networks", Machine
    Learning with Applications 6 (2021) 100138, section 3.2, equations 3 and 4.
    """
    height, width, _ = input_shape
    if height % 16 or width % 16:
        raise ValueError(f"height and width must be multiples of 16, not {height} x {width}")
    if normalisation not in NORMALISATIONS:
        raise ValueError(f"normalisation must be one of {NORMALISATIONS}, not {normalisation!r}")
    inputs = keras.Input(input_shape, name="radiograph")
    x, skips = inputs, []
    for level in range(1, LEVELS + 1):
        x = _block(x, filters * 2 ** (level - 1), DROPOUT[level - 1], f"down{level}", normalisation == "encoder")
        if level < LEVELS:
            skips.append(x)
            x = layers.MaxPooling2D(2, name=f"down{level}_pool")(x)
    for level in range(1, LEVELS):
        width_here = filters * 2 ** (LEVELS - 1) // 2**level
        x = layers.Conv2DTranspose(width_here, 2, strides=2, padding="same", name=f"up{level}_transpose")(x)
        x = layers.Concatenate(name=f"up{level}_concat")([x, skips[-level]])
        x = _block(x, width_here, DROPOUT[LEVELS - 1 - level], f"up{level}", False)
    # float32 also under a mixed-precision policy: a probability in bfloat16 has three digits.
    outputs = layers.Conv2D(1, 1, activation="sigmoid", dtype="float32", name="lung")(x)
    return keras.Model(inputs, outputs, name=name)


def _block(x, filters: int, dropout: float, name: str, normalise: bool):
    """Conv - dropout - conv, each 3x3, with batch normalisation before the ReLU where asked."""
    x = _convolution(x, filters, f"{name}_conv1", normalise)
    x = layers.Dropout(dropout, name=f"{name}_dropout")(x)
    return _convolution(x, filters, f"{name}_conv2", normalise)


def _convolution(x, filters: int, name: str, normalise: bool):
    if not normalise:
        return layers.Conv2D(filters, 3, padding="same", activation="relu", kernel_initializer="he_normal", name=name)(
            x
        )
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False, kernel_initializer="he_normal", name=name)(x)
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)
