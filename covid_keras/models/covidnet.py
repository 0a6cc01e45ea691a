"""COVIDNet: the published Large variant, and surrogates of COVIDNet-CXR models that were not fully published.

References
----------
.. [1] L. Wang, Z. Q. Lin, A. Wong, "COVID-Net: a tailored deep convolutional neural network design for detection of
   COVID-19 cases from chest X-ray images", Scientific Reports 10, 19549 (2020), and the authors' repository (figures
   of the networks, tables of the released models).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import keras
from keras import layers

from covid_keras.common.errors import UserError
from covid_keras.models.backbones import load_backbone
from covid_keras.models.weights import load_weights

# PEPX blocks per stage.
BLOCKS = (3, 4, 6, 3)
# The stem and four poolings halve the size.
_REDUCTION = 32
_HIDDEN = 1024
_SURROGATE_MOMENTUM = 0.9


@dataclass(frozen=True)
class Variant:
    """A COVIDNet variant.

    Attributes
    ----------
    title : str
        For tables and reports.
    side : int
        Height and width of the published network's input.
    parameters : int
        Published number of parameters, as printed.
    stem : int
        Channels of the first convolution; 0 for ResNet-50 V2.
    widths : tuple of int
        Channels of the four stages; empty for ResNet-50 V2.
    """

    title: str
    side: int
    parameters: int
    stem: int = 0
    widths: tuple[int, ...] = ()


VARIANTS = {
    "large": Variant("COVIDNet-CXR Large", 224, 127_400_000),
    "b": Variant("COVIDNet-CXR surrogate (B)", 480, 11_700_000, 56, (56, 112, 216, 424)),
    "c": Variant("COVIDNet-CXR surrogate (C)", 480, 9_200_000, 48, (160, 328, 640, 2048)),
}


def build_covidnet(
    input_shape: tuple[int, int, int] = (480, 480, 3),
    classes: int = 3,
    variant: str = "b",
    weights: str | Path = "none",
    batchnorm_momentum: float | None = None,
    name: str = "covidnet",
) -> keras.Model:
    """Build a COVIDNet [1]_; all layers trainable.

    "large" is ResNet-50 V2, flatten, two dense layers of 1024 (ReLU) and the output: 127.38 million parameters and
    3.58 billion multiply-accumulates at 224 x 224 and three classes, as published (127.4, 3.59).

    "b" and "c" are surrogates, not the released networks: conv 7x7 of stride 2 and 2x2 max pooling; four stages of
    3, 4, 6 and 3 PEPX blocks with 2x2 max pooling between them; flatten; output. A PEPX is conv 1x1 - conv 1x1 -
    depthwise conv 3x3 - conv 1x1 - conv 1x1. The published long-range links (each block and the 1x1 convolution of a
    stage feed all later blocks of the stage, and the first block and 1x1 convolution of the next stage) are equivalent
    to residual sums: x + PEPX(x), and conv 1x1 (x) + PEPX(x) in the first block of a stage.

    The number of blocks, the channels of the stages and the head are taken from figures in the repository; which
    released model a figure shows is inferred. Sums need one width per stage, so "b" has 216 and 424 where its figure
    varies (216 and 224; 400 and 424). Other details were not published and are guesses: the widths inside a PEPX (n/2,
    3n/4, 3n/4, n/2 for n output channels), batch normalisation after each convolution, and ReLU after each convolution
    except the last one of a PEPX and the shortcuts.
    Size and cost therefore differ from the published ones. At 480 x 480 and three classes (multiply-accumulates of
    convolutions and dense layers), "b" is far too small and "c" far too large:

    ======= ============ ===================== ============= =====================
    variant parameters   published             multiply-acc. published
    ======= ============ ===================== ============= =====================
    b       1,968,663    11.7 million          1.80 billion  7.50 billion
    c       28,857,747   9.2 million           14.13 billion 5.55 billion
    ======= ============ ===================== ============= =====================

    Parameters
    ----------
    input_shape : tuple of int
        Height, width, 3; multiples of 32 for "b" and "c", at least 32 for "large". Values 0 to 1 in the order BGR, as
        in COVIDNet; ImageNet weights of ResNet-50 V2 were trained on RGB from -1 to 1.
    classes : int
        Number of softmax outputs; in COVIDNet normal, pneumonia, COVID-19.
    variant : {"large", "b", "c"}
        See `VARIANTS`. The widths of variant A were not published.
    weights : {"imagenet", "none"} or path
        For "large", the convolutional part: weights of keras.applications (downloaded once), random, or a file in the
        layout of the `notop` file. For the surrogates, "none" or a file of the whole network.
    batchnorm_momentum : float, optional
        See `set_batchnorm_momentum`. Default: 0.99 for "large", as in keras.applications; 0.9 for the surrogates, which
        are trained from random weights.
    name : str
        Name of the model.

    Returns
    -------
    keras.Model
        Uncompiled and flat; output float32 (batch, classes), probabilities. The head size depends on the input size.

    Raises
    ------
    UserError
        If the variant is unknown, the size is not supported, or weights are not available or do not fit.
    """
    if variant not in VARIANTS:
        raise UserError("variant", f"{variant!r} is unknown", f"Use one of {', '.join(VARIANTS)}")
    inputs = keras.Input(input_shape, name="radiograph")
    if variant == "large":
        return _build_large(inputs, classes, weights, batchnorm_momentum, name)
    if weights == "imagenet":
        raise UserError(VARIANTS[variant].title, "has no ImageNet weights", "Use none, a file, or variant large")
    if any(not side or side % _REDUCTION for side in input_shape[:2]):
        problem = f"height and width must be multiples of {_REDUCTION} (got {input_shape[:2]})"
        raise UserError("input_shape", problem, "COVIDNet-CXR takes (480, 480)")
    momentum = _SURROGATE_MOMENTUM if batchnorm_momentum is None else batchnorm_momentum
    x = layers.Flatten(name="flatten")(_Surrogate(VARIANTS[variant], momentum).features(inputs))
    model = keras.Model(inputs, _probability(x, classes), name=name)
    if weights != "none":
        load_weights(model, weights)
    return model


def _probability(x, classes: int):
    # float32 even with mixed precision: bfloat16 has only three digits
    return layers.Dense(classes, activation="softmax", dtype="float32", name="probability")(x)


def _build_large(inputs, classes: int, weights: str | Path, momentum: float | None, name: str) -> keras.Model:
    base = load_backbone(
        "ResNet50V2",
        lambda given: keras.applications.ResNet50V2(include_top=False, weights=given, input_tensor=inputs),
        weights,
        momentum,
    )
    x = layers.Flatten(name="flatten")(base.output)
    for number in (1, 2):
        x = layers.Dense(_HIDDEN, activation="relu", name=f"hidden{number}")(x)
    return keras.Model(inputs, _probability(x, classes), name=name)


@dataclass(frozen=True)
class _Surrogate:
    """Builder of the convolutional part of a surrogate."""

    variant: Variant
    momentum: float

    def features(self, inputs):
        """Stem and four stages: (batch, H, W, 3) to (batch, H / 32, W / 32, last width)."""
        x = self._convolution(inputs, self.variant.stem, "conv1", size=7, stride=2)
        for stage, (width, blocks) in enumerate(zip(self.variant.widths, BLOCKS, strict=True), start=1):
            x = layers.MaxPooling2D(2, name=f"pool{stage}")(x)
            shortcut = self._convolution(x, width, f"stage{stage}_conv", relu=False)
            for block in range(1, blocks + 1):
                name = f"pepx{stage}_{block}"
                x = layers.Add(name=f"{name}_add")([shortcut, self._pepx(x, width, name)])
                shortcut = x
        return x

    def _pepx(self, x, width: int, name: str):
        """Project down, expand, convolve depthwise, project down, extend."""
        x = self._convolution(x, width // 2, f"{name}_project1")
        x = self._convolution(x, 3 * width // 4, f"{name}_expand")
        x = layers.DepthwiseConv2D(
            3, padding="same", use_bias=False, depthwise_initializer="he_normal", name=f"{name}_depthwise"
        )(x)
        x = self._normalised(x, f"{name}_depthwise")
        x = self._convolution(x, width // 2, f"{name}_project2")
        return self._convolution(x, width, f"{name}_extend", relu=False)

    def _convolution(self, x, width: int, name: str, size: int = 1, stride: int = 1, relu: bool = True):
        x = layers.Conv2D(
            width, size, strides=stride, padding="same", use_bias=False, kernel_initializer="he_normal", name=name
        )(x)
        return self._normalised(x, name, relu)

    def _normalised(self, x, name: str, relu: bool = True):
        x = layers.BatchNormalization(momentum=self.momentum, name=f"{name}_bn")(x)
        return layers.ReLU(name=f"{name}_relu")(x) if relu else x
