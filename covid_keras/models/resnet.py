"""ResNet-50 with the two-layer head of COVID-SDNet and its baselines."""

from __future__ import annotations

from pathlib import Path

import keras
from keras import layers

from covid_keras.models.backbones import load_backbone


def build_resnet50(
    input_shape: tuple[int, int, int] = (224, 224, 3),
    classes: int = 2,
    hidden: int = 512,
    weights: str | Path = "imagenet",
    batchnorm_momentum: float | None = None,
    name: str = "resnet50",
) -> keras.Model:
    """Build ResNet-50 without its last layer, with global average pooling, Dense ReLU, Dense softmax; all trainable.

    Parameters
    ----------
    input_shape : tuple of int
        Height, width, 3. Values from `keras.applications.resnet50.preprocess_input` (BGR, ImageNet means subtracted).
    classes : int
        Number of softmax outputs.
    hidden : int
        Units of the hidden dense layer (512 in the paper).
    weights : {"imagenet", "none"} or path
        Initial weights of the convolutional part: from keras.applications (downloaded once), random, or a file in the
        layout of the `notop` file of keras.applications.
    batchnorm_momentum : float, optional
        See `set_batchnorm_momentum`. Default: 0.99, as in keras.applications.
    name : str
        Name of the model.

    Returns
    -------
    keras.Model
        Uncompiled and flat (Grad-CAM needs the head on the graph of the backbone); output float32 (batch, classes),
        probabilities.

    Raises
    ------
    UserError
        If ImageNet weights cannot be downloaded or the file does not fit.

    References
    ----------
    S. Tabik et al., "COVIDGR dataset and COVID-SDNet methodology for predicting COVID-19 based on chest X-ray
    images", IEEE JBHI 24(12), 2020, section IV.
    """
    inputs = keras.Input(input_shape, name="radiograph")
    base = load_backbone(
        "ResNet50",
        lambda given: keras.applications.ResNet50(include_top=False, weights=given, input_tensor=inputs),
        weights,
        batchnorm_momentum,
    )
    x = layers.GlobalAveragePooling2D(name="pool")(base.output)
    x = layers.Dense(hidden, activation="relu", name="hidden")(x)
    outputs = layers.Dense(classes, activation="softmax", dtype="float32", name="probability")(x)
    return keras.Model(inputs, outputs, name=name)
