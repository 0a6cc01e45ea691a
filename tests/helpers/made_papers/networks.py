"""The networks of the made papers; Keras is imported when one is built."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np


def build(protocol, classes, dropout=0.2):
    """A convolution, dropout, softmax."""
    import keras
    from keras import layers

    inputs = keras.Input((*protocol.size, 1))
    x = layers.Conv2D(4, 3, activation="relu")(inputs)
    x = layers.Dropout(dropout)(x) if dropout else x
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(len(classes), activation="softmax")(x))


def plain(protocol, classes):
    """Nothing random in it."""
    return build(protocol, classes, 0.0)


def one_output(protocol, classes, dropout=0.2):
    """One sigmoid."""
    import keras
    from keras import layers

    inputs = keras.Input((*protocol.size, 1))
    x = layers.Dropout(dropout)(layers.Conv2D(4, 3, activation="relu")(inputs))
    return keras.Model(inputs, layers.Dense(1, activation="sigmoid")(layers.GlobalAveragePooling2D()(x)))


def plain_output(protocol, classes):
    """One sigmoid, nothing random in it."""
    return one_output(protocol, classes, 0.0)


def standardised(protocol, classes):
    """A network that standardises its inputs."""
    import keras
    from keras import layers

    from covid_keras.models.standardise import Standardise

    inputs = keras.Input((*protocol.size, 1))
    x = layers.Conv2D(4, 3, activation="relu", name="conv")(Standardise(name="standardise")(inputs))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(len(classes), activation="softmax", name="head")(x))


def two_blocks(protocol, classes, dropout=0.2):
    """Two groups of layers and a head."""
    import keras
    from keras import layers

    from covid_keras.models.steady import SteadyBatchNormalization

    inputs = keras.Input((*protocol.size, 1))
    x = layers.Conv2D(4, 3, strides=2, name="low_conv")(inputs)
    x = layers.ReLU()(SteadyBatchNormalization(momentum=0.5, name="low_bn")(x))
    x = layers.Conv2D(4, 3, activation="relu", name="high_conv")(x)
    x = layers.Dropout(dropout)(layers.GlobalAveragePooling2D(name="pooling")(x))
    return keras.Model(inputs, layers.Dense(len(classes), activation="softmax", name="probability")(x))


def not_random(protocol, classes):
    """Two groups of layers, nothing random in them."""
    return two_blocks(protocol, classes, 0.0)


def product(protocol, classes, parts):
    """The outputs of two networks multiplied."""
    import keras
    from keras import layers

    inputs = keras.Input((*protocol.size, 1))
    both, second = (part(inputs) for part in parts)
    return keras.Model(inputs, layers.Multiply()([both, layers.Concatenate()([1 - second, second])]))


def last_part(protocol, classes, parts):
    """The last network as it is."""
    return parts[-1]


def stop():
    """A callback that interrupts the training before the epoch TINY_STOP."""
    import keras

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if os.environ.get("TINY_STOP") == str(epoch):
                raise KeyboardInterrupt

    return Stop()


def watch():
    """The same, which also notes weights and learning rate after each epoch in the folder TINY_SAW."""

    class Watch(type(stop())):
        def on_epoch_end(self, epoch, logs=None):
            if folder := os.environ.get("TINY_SAW"):
                weights = {
                    f"{layer.name} {number}": value
                    for layer in self.model.layers
                    for number, value in enumerate(layer.get_weights())
                }
                rate = float(self.model.optimizer.learning_rate)
                np.savez(Path(folder) / f"epoch{epoch}.npz", rate=rate, **weights)

    return Watch()
