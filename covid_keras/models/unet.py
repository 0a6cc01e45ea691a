"""U-Nets for lung segmentation: after the equations of the paper, and after the authors' code."""

from __future__ import annotations

from dataclasses import dataclass

import keras
from keras import layers

NORMALISATIONS = ("none", "encoder")


@dataclass(frozen=True)
class Form:
    """Widths and dropout rates of the blocks of a U-Net, in order from the input.

    Attributes
    ----------
    down, up : tuple of int
        Filters of the contraction and expansion blocks as multiples of F0. Contraction blocks are separated by pooling;
        each expansion block follows a transposed convolution.
    down_dropout, up_dropout : tuple of float
        Dropout rates of the blocks.
    """

    down: tuple[int, ...]
    up: tuple[int, ...]
    down_dropout: tuple[float, ...]
    up_dropout: tuple[float, ...]

    @property
    def multiple(self) -> int:
        """Height and width must be multiples of this."""
        return 2 ** len(self.up)


# "published" follows equations 3 and 4 with the dropout of section 2.4.1, mirrored in the expansion as in the authors'
# code. "authors" is U-Net 2 of that code: one level less, and the deepest block is as wide as the one above. "mineo"
# is the network of the Kaggle user eduardomineo that Tabik et al. crop with: the published form without dropout.
FORMS = {
    "published": Form((1, 2, 4, 8, 16), (8, 4, 2, 1), (0.1, 0.1, 0.2, 0.2, 0.3), (0.2, 0.2, 0.1, 0.1)),
    "authors": Form((1, 2, 4, 4), (2, 1, 1), (0.1, 0.1, 0.2, 0.2), (0.2, 0.2, 0.1)),
    "mineo": Form((1, 2, 4, 8, 16), (8, 4, 2, 1), (0.0,) * 5, (0.0,) * 4),
}


def build_unet(
    input_shape: tuple[int, int, int] = (224, 224, 1),
    filters: int = 64,
    normalisation: str = "none",
    name: str = "unet",
    form: str = "published",
) -> keras.Model:
    """Build the lung U-Net of Arias-Garzon et al.

    Contraction block i has `filters * 2**(i - 1)` filters (eq. 3), expansion block i those of the last contraction
    block divided by `2**i` (eq. 4). A block is conv 3x3 - dropout - conv 3x3 (he_normal, ReLU, same padding), with 2x2
    max pooling down and 2x2 transposed convolution of stride 2 up.

    Parameters
    ----------
    input_shape : tuple of int
        Height, width, channels. Height and width must be multiples of 16, or of 8 in the form "authors".
    filters : int
        F0: 16 for the paper's U-Net 1 (1,940,817 parameters), 112 for U-Net 2 (95,021,361), 64 for U-Net 3
        (31,030,593), 32 for Mineo's network (7,759,521).
    normalisation : {"none", "encoder"}
        "none" as published; "encoder" adds batch normalisation before each ReLU of the contraction, which needs far
        fewer epochs and is used by the shipped weights.
    name : str
        Name of the model.
    form : {"published", "authors", "mineo"}
        "authors" is U-Net 2 of the authors' code, with F0 112: contraction 112, 224, 448, 448, expansion 224, 112, 112;
        10,265,921 parameters, a ninth of the published form. "mineo" has no dropout.

    Returns
    -------
    keras.Model
        Uncompiled; input float32 (batch, height, width, channels), output float32 (batch, height, width, 1), the
        probability of lung.

    Raises
    ------
    ValueError
        If height or width is not a supported multiple, or `normalisation` or `form` is unknown.

    References
    ----------
    D. Arias-Garzon et al., "COVID-19 detection in X-ray images using convolutional neural networks", Machine
    Learning with Applications 6 (2021) 100138, section 2.4, equations 3 and 4.
    """
    if normalisation not in NORMALISATIONS:
        raise ValueError(f"normalisation must be one of {NORMALISATIONS}, not {normalisation!r}")
    if form not in FORMS:
        raise ValueError(f"form must be one of {tuple(FORMS)}, not {form!r}")
    shape = FORMS[form]
    height, width, _ = input_shape
    if height % shape.multiple or width % shape.multiple:
        raise ValueError(f"height and width must be multiples of {shape.multiple}, not {height} x {width}")
    inputs = keras.Input(input_shape, name="radiograph")
    x, skips = inputs, []
    for level, (times, dropout) in enumerate(zip(shape.down, shape.down_dropout, strict=True), start=1):
        x = _block(x, filters * times, dropout, f"down{level}", normalisation == "encoder")
        if level < len(shape.down):
            skips.append(x)
            x = layers.MaxPooling2D(2, name=f"down{level}_pool")(x)
    for level, (times, dropout) in enumerate(zip(shape.up, shape.up_dropout, strict=True), start=1):
        x = layers.Conv2DTranspose(filters * times, 2, strides=2, padding="same", name=f"up{level}_transpose")(x)
        x = layers.Concatenate(name=f"up{level}_concat")([x, skips[-level]])
        x = _block(x, filters * times, dropout, f"up{level}", False)
    # float32 also under a mixed-precision policy: a probability in bfloat16 has three digits.
    outputs = layers.Conv2D(1, 1, activation="sigmoid", dtype="float32", name="lung")(x)
    return keras.Model(inputs, outputs, name=name)


def _block(x, filters: int, dropout: float, name: str, normalise: bool):
    """Conv - dropout - conv, each 3x3, optionally with batch normalisation before the ReLU."""
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
