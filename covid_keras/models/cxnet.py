"""The networks of COVID-CXNet: its base CNN, CheXNet, and COVID-CXNet, which extends CheXNet.

References
----------
.. [1] A. Haghanifar et al., "COVID-CXNet: Detecting COVID-19 in frontal chest X-ray images using deep learning",
   arXiv 2006.13807, 2020, sections 4.1 to 4.3. The text gives 3x3 kernels and no strides; kernels, strides and padding
   here follow the weight files that the authors published.
.. [2] P. Rajpurkar et al., "CheXNet: Radiologist-Level Pneumonia Detection on Chest X-Rays with Deep Learning",
   arXiv 1711.05225, 2017: DenseNet-121 on the fourteen findings of NIH ChestX-ray14.
"""

from __future__ import annotations

from pathlib import Path

import keras
from keras import layers

from covid_keras.data.sources.chestxray14 import FINDINGS
from covid_keras.models.backbones import backbone_weights, set_batchnorm_momentum, weight_file
from covid_keras.models.weights import load_first, load_weights

CHEXNET_FINDINGS = FINDINGS  # CheXNet's outputs, in the order of the published weight files
_HEAD = "output_layer"

# The smallest side that leaves one pixel after five valid convolutions of stride 2, one 5x5 and four 3x3.
SMALLEST_SIDE = 65


def build_base_cnn(input_shape: tuple[int, int, int] = (400, 400, 1), name: str = "base_cnn") -> keras.Model:
    """Build the base CNN of COVID-CXNet [1]_.

    Five convolutions of 32 filters, stride 2, valid, ReLU, the first 5x5, the others 3x3; two dense layers of 10
    units, ReLU; one sigmoid.

    Parameters
    ----------
    input_shape : tuple of int
        Height, width, channels; height and width at least 65. Values 0 to 1. The authors' files are for (400, 400, 1)
        with 76,675 parameters, and (300, 300, 3) with 60,035.
    name : str
        Name of the model.

    Returns
    -------
    keras.Model
        Uncompiled; output float32 (batch, 1), the probability of COVID-19. Layer names match the authors' files.

    Raises
    ------
    ValueError
        If height or width is below 65.
    """
    if min(input_shape[:2]) < SMALLEST_SIDE:
        raise ValueError(f"height and width must be at least {SMALLEST_SIDE}, not {input_shape[0]} x {input_shape[1]}")
    inputs = x = keras.Input(input_shape, name="radiograph")
    for number in range(1, 6):
        x = layers.Conv2D(32, 5 if number == 1 else 3, strides=2, activation="relu", name=f"conv_layer{number}")(x)
    x = layers.Flatten(name="flatten_layer")(x)
    x = layers.Dense(10, activation="relu", name="fc_layer1")(x)
    x = layers.Dense(10, activation="relu", name="fc_layer2")(x)
    # float32 also under a mixed-precision policy: a probability in bfloat16 has three digits.
    outputs = layers.Dense(1, activation="sigmoid", dtype="float32", name="output_layer")(x)
    return keras.Model(inputs, outputs, name=name)


def build_chexnet(
    input_shape: tuple[int, int, int] = (320, 320, 3),
    activation: str = "sigmoid",
    weights: str | Path = "none",
    name: str = "chexnet",
) -> keras.Model:
    """Build CheXNet [2]_: DenseNet-121 without its top, global average pooling, one output per finding.

    Parameters
    ----------
    input_shape : tuple of int
        Height, width, 3; at least 32. CheXNet was trained on RGB in 0..1, standardised with ImageNet's mean and
        standard deviation; the authors of [1]_ use 0..1 without standardisation.
    activation : {"sigmoid", "softmax"}
        CheXNet was trained with sigmoid, since findings are not exclusive. With softmax the outputs sum to 1, as in
        figure 14 of [1]_.
    weights : {"none", "imagenet"} or path
        "imagenet" loads the weights of keras.applications; the outputs stay random. A file must hold the whole CheXNet
        with the layer names of keras.applications (`conv1/conv` in files of Keras 2, now `conv1_conv`); the name of the
        last layer is free.
    name : str
        Name of the model.

    Returns
    -------
    keras.Model
        Uncompiled and flat, all trainable, 429 layers, 7,051,854 parameters; output float32 (batch, 14), the
        probabilities of `CHEXNET_FINDINGS`.

    Raises
    ------
    UserError
        If ImageNet weights cannot be downloaded, or the file is missing or does not fit.
    ValueError
        If `activation` is unknown.
    """
    if activation not in ("sigmoid", "softmax"):
        raise ValueError(f"activation must be sigmoid or softmax, not {activation!r}")
    trunk = _pooled_densenet(input_shape, weights)
    model = _with_findings(trunk, activation, name)
    if file := weight_file(weights):
        load_weights(model, file)
    return model


def build_cxnet(
    input_shape: tuple[int, int, int] = (320, 320, 3),
    classes: int = 1,
    weights: str | Path = "none",
    hidden: int = 10,
    dropout: float = 0.2,
    batchnorm_momentum: float | None = None,
    name: str = "covid_cxnet",
) -> keras.Model:
    """Build COVID-CXNet [1]_: CheXNet up to its pooling, Dense ReLU `fc`, `dropout`, output `pred`; all trainable.

    Parameters
    ----------
    input_shape : tuple of int
        Height, width, 3; at least 32. Values 0 to 1; the channels are the BEASF, CLAHE and original image.
    classes : int
        1 for a sigmoid, the probability of COVID-19; at least 2 for softmax outputs (3 in the paper: normal,
        community-acquired pneumonia, COVID-19 pneumonia).
    weights : {"none", "imagenet"} or path
        Initial weights below `fc`, which is always random. A file is either a CheXNet file (see `build_chexnet`), as in
        the paper, or the `notop` file of DenseNet-121 of keras.applications. All its tensors are checked, including
        the 14 outputs of CheXNet, which are then dropped.
    hidden : int
        Units of `fc`.
    dropout : float
        Dropout rate after `fc`.
    batchnorm_momentum : float, optional
        See `set_batchnorm_momentum`. Default: 0.99, as in keras.applications.
    name : str
        Name of the model.

    Returns
    -------
    keras.Model
        Uncompiled and flat, 431 layers, 7,047,765 parameters for one class and 7,047,787 for three; output float32
        (batch, classes), probabilities.

    Raises
    ------
    UserError
        If ImageNet weights cannot be downloaded, or the file is missing or does not fit.
    ValueError
        If `classes` is below 1.
    """
    if classes < 1:
        raise ValueError(f"classes must be at least 1, not {classes}")
    trunk = _pooled_densenet(input_shape, weights)
    if file := weight_file(weights):
        load_first([_with_findings(trunk, "sigmoid", "chexnet"), trunk], file)
    set_batchnorm_momentum(trunk, batchnorm_momentum)
    x = layers.Dense(hidden, activation="relu", name="fc")(trunk.output)
    x = layers.Dropout(dropout, name="dropout")(x)
    activation = "sigmoid" if classes == 1 else "softmax"
    # float32 also under a mixed-precision policy: a probability in bfloat16 has three digits.
    outputs = layers.Dense(classes, activation=activation, dtype="float32", name="pred")(x)
    return keras.Model(trunk.input, outputs, name=name)


def _pooled_densenet(input_shape: tuple[int, int, int], weights: str | Path) -> keras.Model:
    """Build DenseNet-121 and `pooling_layer`, output (batch, 1024); the caller loads a file."""
    inputs = keras.Input(input_shape, name="radiograph")
    base = backbone_weights(
        "DenseNet121",
        lambda given: keras.applications.DenseNet121(include_top=False, weights=given, input_tensor=inputs),
        weights,
    )
    return keras.Model(inputs, layers.GlobalAveragePooling2D(name="pooling_layer")(base.output), name="densenet121")


def _with_findings(trunk: keras.Model, activation: str, name: str) -> keras.Model:
    outputs = layers.Dense(len(CHEXNET_FINDINGS), activation=activation, dtype="float32", name=_HEAD)(trunk.output)
    return keras.Model(trunk.input, outputs, name=name)
