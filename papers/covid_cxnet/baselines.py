"""The baselines: DenseNet-121 and ResNet-50 of keras.applications with the authors' heads.

References
----------
.. [1] A. Haghanifar et al., "COVID-CXNet: Detecting COVID-19 in frontal chest X-ray images using deep learning",
   arXiv 2006.13807, 2020, section 4.2; heads, sizes and frozen layers follow the authors' code, as the text omits
   them or differs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
from keras import layers

from covid_keras.models.backbones import load_backbone

# Variant of DenseNet-121 -> number of last layers trained: the head; from block 15 of the last stage on; one layer.
TRAINED_LAYERS = {"head": 6, "saved": 22, "top": 1}
_DROPOUT = 0.2


def build_densenet121(
    input_shape: tuple[int, int, int] = (96, 96, 3),
    weights: str | Path = "imagenet",
    frozen: bool = True,
    variant: str = "head",
    batchnorm_momentum: float | None = None,
    name: str = "densenet121",
) -> keras.Model:
    """Build the DenseNet-121 baseline [1]_.

    Parameters
    ----------
    input_shape : tuple of int
        Height, width, 3; at least 32. Values 0 to 1. 96 x 96 in the authors' last code, 224 x 224 in the paper and in
        variant "top".
    weights : {"imagenet", "none"} or path
        Initial weights below the head. A file must be that of keras.applications, for "top" with its top layers, else
        the `notop` file.
    frozen : bool
        Train only the last layers, as `variant` says; else all.
    variant : {"head", "saved", "top"}
        "head": global average pooling, Dense 10 sigmoid, dropout 0.2, Dense 20 sigmoid, dropout 0.2, one sigmoid (433
        layers); all layers below can be frozen. "saved": the same layers, trained from `conv5_block15_0_bn` on (22
        layers), as in the model that the authors saved. "top": one sigmoid on the 1000 softmax outputs (430 layers),
        the authors' first form. They trained all of its layers (`frozen=False`); the paper says that only the last one
        was trained.
    batchnorm_momentum : float, optional
        See `covid_keras.models.backbones.set_batchnorm_momentum`.
    name : str
        Name of the model.

    Returns
    -------
    keras.Model
        Uncompiled and flat; output float32 (batch, 1), the probability of COVID-19. As in current Keras, frozen batch
        normalisation uses its stored statistics also in training.

    Raises
    ------
    UserError
        If ImageNet weights cannot be downloaded, or the file is missing or does not fit.
    ValueError
        If `variant` is unknown.
    """
    if variant not in TRAINED_LAYERS:
        raise ValueError(f"variant must be one of {', '.join(TRAINED_LAYERS)}, not {variant!r}")
    trained = TRAINED_LAYERS[variant] if frozen else None
    return _build("DenseNet121", input_shape, variant == "top", weights, batchnorm_momentum, trained, name)


def build_resnet50_baseline(
    input_shape: tuple[int, int, int] = (224, 224, 3),
    weights: str | Path = "imagenet",
    frozen: bool = False,
    batchnorm_momentum: float | None = None,
    name: str = "resnet50_baseline",
) -> keras.Model:
    """Build the ResNet-50 baseline [1]_: one sigmoid on the 1000 softmax outputs.

    Parameters
    ----------
    input_shape : tuple of int
        Height, width, 3; at least 32. Values 0 to 1.
    weights : {"imagenet", "none"} or path
        Initial weights below the last layer. A file must be that of keras.applications with its top layers.
    frozen : bool
        Train only the last layer, as the paper says; the authors' code freezes nothing.
    batchnorm_momentum, name
        As in `build_densenet121`.

    Returns
    -------
    keras.Model
        Uncompiled and flat; output float32 (batch, 1), the probability of COVID-19.

    Raises
    ------
    UserError
        If ImageNet weights cannot be downloaded, or the file is missing or does not fit.
    """
    return _build("ResNet50", input_shape, True, weights, batchnorm_momentum, 1 if frozen else None, name)


def _build(
    kind: str,
    input_shape: tuple[int, int, int],
    with_top: bool,
    weights: str | Path,
    momentum: float | None,
    trained: int | None,
    name: str,
) -> keras.Model:
    """Build a network of keras.applications with one sigmoid; its last `trained` layers are trainable (None: all)."""
    make: Callable[..., keras.Model] = getattr(keras.applications, kind)
    inputs = keras.Input(input_shape, name="radiograph")
    base = load_backbone(
        kind, lambda given: make(include_top=with_top, weights=given, input_tensor=inputs), weights, momentum
    )
    x = base.output if with_top else _head(base.output)
    # float32 also under a mixed-precision policy: a probability in bfloat16 has three digits.
    output = layers.Dense(1, activation="sigmoid", dtype="float32", name="output_layer")(x)
    model = keras.Model(base.input, output, name=name)
    if trained is not None:
        for layer in model.layers[:-trained]:
            layer.trainable = False
    return model


def _head(x: keras.KerasTensor) -> keras.KerasTensor:
    x = layers.GlobalAveragePooling2D(name="pooling_layer")(x)
    for number, units in ((1, 10), (2, 20)):
        x = layers.Dense(units, activation="sigmoid", name=f"fc{number}_layer")(x)
        x = layers.Dropout(_DROPOUT, name=f"dropout{number}_layer")(x)
    return x
