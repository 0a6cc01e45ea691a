"""Batch normalisation whose statistics can be held while gamma and beta learn, and narrower copies of a network."""

from __future__ import annotations

import keras
from keras import layers


@keras.saving.register_keras_serializable(package="covid_keras")
class SteadyBatchNormalization(layers.BatchNormalization):
    """Batch normalisation by its stored mean and variance, in training too, as long as `steady` is true.

    Setting `trainable` to False does that as well, but also stops gamma and beta; and the `training=False` that a
    functional graph was built with gives way to what the whole model is called with. A change of `steady` takes effect
    when the model is compiled anew. Tensors and their names are those of `keras.layers.BatchNormalization`, so weight
    files fit both.

    Parameters
    ----------
    steady : bool
        Whether the statistics are held.
    **kwargs
        Those of `keras.layers.BatchNormalization`.
    """

    def __init__(self, steady: bool = True, **kwargs) -> None:
        super().__init__(**kwargs)
        self.steady = steady

    def call(self, inputs, training: bool | None = None, mask=None):
        """Return the normalised inputs."""
        return super().call(inputs, training=False if self.steady else training, mask=mask)

    def get_config(self) -> dict:
        """Return the layer's settings."""
        return super().get_config() | {"steady": self.steady}


def steadied(model: keras.Model) -> keras.Model:
    """Return a copy of a flat model, weights and layer names included, whose batch normalisation is steady."""

    def steady(layer: layers.Layer) -> layers.Layer:
        kind = SteadyBatchNormalization if type(layer) is layers.BatchNormalization else type(layer)
        return kind.from_config(layer.get_config())

    copy = _cloned(model, steady)
    copy.set_weights(model.get_weights())
    return copy


def narrowed(model: keras.Model, width: float) -> keras.Model:
    """Return a flat model of the same layers with a share of the filters, its weights random; itself at width 1.

    Parameters
    ----------
    model : keras.Model
        Such as those of `keras.applications`, with or without a head; dense layers keep their units.
    width : float
        Above 0; every convolution has `round(width * filters)`, at least one. Where branches are added or joined they
        stay of one width if filters and width make whole numbers (1/8, 1/4 and 1/2 of `keras.applications`' do).

    Raises
    ------
    ValueError
        If a width is not such a share: branches that are added then differ.
    """
    if not 0 < width <= 1:
        raise ValueError(f"width {width} is not above 0 and at most 1")

    if width == 1:
        return model

    def narrow(layer: layers.Layer) -> layers.Layer:
        config = layer.get_config()
        if "filters" in config:
            config["filters"] = max(1, round(width * config["filters"]))
        return type(layer).from_config(config)

    return _cloned(model, narrow)


def he_initialised(model: keras.Model) -> keras.Model:
    """Return a flat model of the same layers whose convolutions begin as He et al. 2015 draw them, for ReLU.

    Without batch normalisation each layer of a deep network halves the variance that Keras' own start from, and
    training stands still.
    """

    def he(layer: layers.Layer) -> layers.Layer:
        config = layer.get_config()
        if isinstance(layer, layers.Conv2D):
            config["kernel_initializer"] = "he_normal"
        return type(layer).from_config(config)

    return _cloned(model, he)


def hold_statistics(model: keras.Model, steady: bool) -> None:
    """Hold or release the statistics of every `SteadyBatchNormalization` of a flat model; compile it afterwards."""
    for layer in model.layers:
        if isinstance(layer, SteadyBatchNormalization):
            layer.steady = steady


def _cloned(model: keras.Model, make) -> keras.Model:
    return keras.models.clone_model(model, input_tensors=model.input, clone_function=make)
