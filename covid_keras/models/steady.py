"""Batch normalisation with fixed statistics, and modified copies of networks."""

from __future__ import annotations

import keras
from keras import layers


@keras.saving.register_keras_serializable(package="covid_keras")
class SteadyBatchNormalization(layers.BatchNormalization):
    """Batch normalisation that uses its moving statistics in training too, while `steady` is true.

    `trainable = False` would also freeze gamma and beta, and `training=False` in a functional graph is overridden by
    the argument of the model call. Recompile the model after changing `steady`. Weight files are compatible with
    `keras.layers.BatchNormalization`.

    Parameters
    ----------
    steady : bool
        Use and keep the moving statistics.
    **kwargs
        Arguments of `keras.layers.BatchNormalization`.
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
    """Return a copy of a flat model (same weights and layer names) with steady batch normalisation."""

    def steady(layer: layers.Layer) -> layers.Layer:
        kind = SteadyBatchNormalization if type(layer) is layers.BatchNormalization else type(layer)
        return kind.from_config(layer.get_config())

    copy = _cloned(model, steady)
    copy.set_weights(model.get_weights())
    return copy


def narrowed(model: keras.Model, width: float) -> keras.Model:
    """Return a narrower copy of a flat model, with random weights; at width 1 the model itself.

    Parameters
    ----------
    model : keras.Model
        A convolutional model, with or without a head, such as those of `keras.applications`; dense layers keep their
        units.
    width : float
        Factor in (0, 1]; each convolution gets `round(width * filters)` filters, at least one. Added branches keep
        equal widths if the products are whole numbers (for `keras.applications`, with 1/8, 1/4 and 1/2).

    Raises
    ------
    ValueError
        If `width` is out of range, or added branches would differ in width.
    """
    if not 0 < width <= 1:
        raise ValueError(f"width must be above 0 and at most 1, got {width}")

    if width == 1:
        return model

    def narrow(layer: layers.Layer) -> layers.Layer:
        config = layer.get_config()
        if "filters" in config:
            config["filters"] = max(1, round(width * config["filters"]))
        return type(layer).from_config(config)

    return _cloned(model, narrow)


def he_initialised(model: keras.Model) -> keras.Model:
    """Return a copy of a flat model with the initialisation of He et al. 2015, for ReLU.

    With Keras' default initialisation, each layer of a deep network without batch normalisation halves the variance,
    and training stalls.
    """

    def he(layer: layers.Layer) -> layers.Layer:
        config = layer.get_config()
        if isinstance(layer, layers.Conv2D):
            config["kernel_initializer"] = "he_normal"
        return type(layer).from_config(config)

    return _cloned(model, he)


def hold_statistics(model: keras.Model, steady: bool) -> None:
    """Set `steady` in all `SteadyBatchNormalization` layers of a flat model; recompile it afterwards."""
    for layer in model.layers:
        if isinstance(layer, SteadyBatchNormalization):
            layer.steady = steady


def _cloned(model: keras.Model, make) -> keras.Model:
    return keras.models.clone_model(model, input_tensors=model.input, clone_function=make)
