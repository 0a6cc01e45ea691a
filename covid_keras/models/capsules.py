"""COVID-CAPS: four convolutions and three capsule layers with routing by agreement.

References
----------
.. [1] P. Afshar et al., "COVID-CAPS: A capsule network-based framework for identification of COVID-19 cases from
   X-ray images", Pattern Recognition Letters 138 (2020), 638-643. Details that the paper leaves open (initial logits,
   squash, shared kernel) follow the authors' weight file and code.
.. [2] S. Sabour, N. Frosst, G. E. Hinton, "Dynamic routing between capsules", NeurIPS 2017, equations 1 to 3 and
   procedure 1.
"""

from __future__ import annotations

import keras
from keras import layers, ops

# The smallest side that leaves one pixel after two 3x3 convolutions, a halving and two more 3x3 convolutions.
SMALLEST_SIDE = 14
SQUARED_LENGTH_FLOOR = 1e-30


@keras.saving.register_keras_serializable("covid_keras")
class Capsule(layers.Layer):
    """Fully connected capsules: one kernel for all input capsules, no bias, routing by agreement [1]_ [2]_.

    Input capsule n predicts output capsule j as u[n, j] = x[n] W[j]. In each pass the output is
    v[j] = squash(sum over n of c[n, j] u[n, j]), where c is the softmax of the logits over the output capsules j. The
    logits are zero in the first pass and then the agreements v[j] . u[n, j]. Unlike in [2]_, an agreement replaces the
    previous logit instead of being added to it, as in the training of COVID-CAPS. squash(s) = |s| / (1 + |s|^2) s.

    Input float (batch, n, dimension in), where n may be None; output float (batch, capsules, dimension), each of length
    below 1.

    Parameters
    ----------
    capsules : int
        Number of output capsules.
    dimension : int
        Length of each output vector.
    routings : int
        Number of passes, at least 1; with 1 pass all predictions have the same weight.

    Raises
    ------
    ValueError
        If an argument is below 1.
    """

    def __init__(self, capsules: int, dimension: int, routings: int = 3, **kwargs):
        super().__init__(**kwargs)
        if min(capsules, dimension, routings) < 1:
            raise ValueError(
                f"capsules, dimension and routings must be at least 1, not {capsules}, {dimension}, {routings}"
            )
        self.capsules, self.dimension, self.routings = capsules, dimension, routings

    def build(self, input_shape):
        # The layout of the authors' file: one leading axis, all output capsules in the last axis.
        shape = (1, input_shape[-1], self.capsules * self.dimension)
        self.kernel = self.add_weight(name="capsule_kernel", shape=shape, initializer="glorot_uniform")

    def call(self, inputs):
        # The shared kernel is factored out of both sums over n, which avoids storing the predictions u, (batch, n,
        # capsules, dimension): 11.5 MB per 224 x 224 image, and their gradients.
        kernel = ops.reshape(self.kernel, (-1, self.capsules, self.dimension))
        weighted = ops.sum(inputs, axis=1) / self.capsules
        outputs = squash(ops.einsum("bi,ijd->bjd", weighted, kernel))
        for _ in range(self.routings - 1):
            agreement = ops.einsum("bni,bij->bnj", inputs, ops.einsum("bjd,ijd->bij", outputs, kernel))
            weighted = ops.einsum("bnj,bni->bji", ops.softmax(agreement, axis=-1), inputs)
            outputs = squash(ops.einsum("bji,ijd->bjd", weighted, kernel))
        return outputs

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.capsules, self.dimension)

    def get_config(self):
        own = {"capsules": self.capsules, "dimension": self.dimension, "routings": self.routings}
        return super().get_config() | own


@keras.saving.register_keras_serializable("covid_keras")
class Length(layers.Layer):
    """Euclidean length of each capsule: float (batch, capsules, dimension) to (batch, capsules)."""

    def call(self, inputs):
        # The floor avoids the infinite slope of the root at zero. It is far below 1e-8, the length of untrained
        # capsules, which could otherwise not be trained.
        return ops.sqrt(ops.maximum(ops.sum(ops.square(inputs), axis=-1), SQUARED_LENGTH_FLOOR))

    def compute_output_shape(self, input_shape):
        return tuple(input_shape[:-1])


def squash(vectors):
    """Shorten vectors (..., dimension) to a length below 1: |s| / (1 + |s|^2) s, epsilon added to |s|^2."""
    squared = ops.sum(ops.square(vectors), axis=-1, keepdims=True) + keras.backend.epsilon()
    return ops.sqrt(squared) / (1 + squared) * vectors


def build_covid_caps(
    input_shape: tuple[int | None, int | None, int] = (224, 224, 3), classes: int = 2, name: str = "covid_caps"
) -> keras.Model:
    """Build COVID-CAPS [1]_; it has 295,488 parameters for two classes at any input size.

    Conv 64 - batch normalisation - conv 64 - average pooling 2 - conv 128 - conv 128, all 3x3, valid, ReLU. Each
    position of the last map is a capsule of dimension 128 (11,236 capsules at 224 x 224). Three `Capsule` layers
    follow, 32 x 8, 32 x 8 and classes x 16; the output is the length of the last capsules.

    Parameters
    ----------
    input_shape : tuple of int
        Height, width, channels; height and width at least 14 or None. Values 0 to 1, channels in the order BGR.
    classes : int
        Number of outputs. In the authors' file 0 is negative and 1 is COVID-19.
    name : str
        Name of the model.

    Returns
    -------
    keras.Model
        Uncompiled and flat. Output float32 (batch, classes): the lengths of the class capsules, 0 to 1, which do not
        sum to 1; the largest is the prediction. Layer names match the authors' file.

    Raises
    ------
    ValueError
        If height or width is below 14.
    """
    if any(side is not None and side < SMALLEST_SIDE for side in input_shape[:2]):
        raise ValueError(f"height and width must be at least {SMALLEST_SIDE}, not {input_shape[0]} x {input_shape[1]}")
    inputs = keras.Input(input_shape, name="radiograph")
    x = layers.Conv2D(64, 3, activation="relu", name="conv2d")(inputs)
    x = layers.BatchNormalization(name="batch_normalization")(x)
    x = layers.Conv2D(64, 3, activation="relu", name="conv2d_1")(x)
    x = layers.AveragePooling2D(2, name="average_pooling2d")(x)
    x = layers.Conv2D(128, 3, activation="relu", name="conv2d_2")(x)
    x = layers.Conv2D(128, 3, activation="relu", name="conv2d_3")(x)
    x = layers.Reshape((-1, 128), name="reshape")(x)
    # float32 even with mixed precision, because the routing sums over thousands of capsules
    x = Capsule(32, 8, dtype="float32", name="capsule")(x)
    x = Capsule(32, 8, dtype="float32", name="capsule_1")(x)
    x = Capsule(classes, 16, dtype="float32", name="capsule_2")(x)
    return keras.Model(inputs, Length(dtype="float32", name="length")(x), name=name)
