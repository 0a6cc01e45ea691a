"""The U-Nets that mark the lungs: as their paper's equations have them, and one as its authors' code builds it."""

from __future__ import annotations

from dataclasses import dataclass

import keras
from keras import layers

NORMALISATIONS = ("none", "encoder")


@dataclass(frozen=True)
class Form:
    """The blocks of a U-Net, from the image's side on.

    Attributes
    ----------
    down, up : tuple of int
        Filters of the contraction and expansion blocks as multiples of F0. There is a pooling between two
        contraction blocks and a transposed convolution before each expansion block.
    down_dropout, up_dropout : tuple of float
        Their dropout.
    """

    down: tuple[int, ...]
    up: tuple[int, ...]
    down_dropout: tuple[float, ...]
    up_dropout: tuple[float, ...]

    @property
    def multiple(self) -> int:
        """What height and width must be multiples of."""
        return 2 ** len(self.up)


# "published" is equations 3 and 4 with the dropout of section 3.2, which the expansion mirrors as in the authors' code.
# "authors" is U-Net 2 of that code: a level less, the deepest block no wider than the one above.
FORMS = {
    "published": Form((1, 2, 4, 8, 16), (8, 4, 2, 1), (0.1, 0.1, 0.2, 0.2, 0.3), (0.2, 0.2, 0.1, 0.1)),
    "authors": Form((1, 2, 4, 4), (2, 1, 1), (0.1, 0.1, 0.2, 0.2), (0.2, 0.2, 0.1)),
}


def build_unet(
    input_shape: tuple[int, int, int] = (224, 224, 1),
    filters: int = 64,
    normalisation: str = "none",
    name: str = "unet",
    form: str = "published",
) -> keras.Model:
    """Build the lung U-Net of Arias-Garzon et al.

    Contraction block i holds `filters * 2**(i - 1)` filters (eq. 3), expansion block i the filters of the last
    contraction block divided by `2**i` (eq. 4). A block is conv 3x3 - dropout - conv 3x3 (he_normal, ReLU, same
    padding); 2x2 max pooling down, 2x2 transposed convolution of stride 2 up.

    Parameters
    ----------
    input_shape : tuple of int
        Height, width, channels. Height and width must be multiples of 16 (four poolings), in the authors' form of
        8 (three).
    filters : int
        F0: 16 for the paper's U-Net 1 (1,940,817 parameters), 112 for U-Net 2 (95,021,361), 64 for U-Net 3
        (31,030,593).
    normalisation : {"none", "encoder"}
        "none" as published; "encoder" adds batch normalisation before each ReLU of the contraction, which
        trains in far fewer epochs and is what the weights shipped with this suite use.
    name : str
        Name of the model.
    form : {"published", "authors"}
        "authors" is U-Net 2 as the authors' code builds it, with F0 112: contraction 112, 224, 448, 448, expansion
        224, 112, 112; 10,265,921 parameters, a ninth of what the equations give.

    Returns
    -------
    keras.Model
        Uncompiled; input float32 (batch, height, width, channels), output float32 (batch, height, width, 1):
        the probability of lung in 0..1.

    Raises
    ------
    ValueError
        If height or width is not such a multiple, or `normalisation` or `form` is unknown.

    References
    ----------
    D. Arias-Garzon et al., "COVID-19 detection in X-ray images using convolutional neural networks", Machine
    Learning with Applications 6 (2021) 100138, section 3.2, equations 3 and 4.
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
