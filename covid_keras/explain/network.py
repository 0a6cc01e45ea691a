"""Helpers of gradient-based explanations: last spatial layer, logits, gradients.

`tf-keras-vis` copies the network at each call and cannot differentiate the probability. `LayerGradients` computes the
same gradients, and those of the probability, with one traced function, batch by batch, for whole test sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from covid_keras.common.errors import UserError
from covid_keras.evaluation.decisions import DECISION_THRESHOLD

SCORES = ("logit", "probability")


class Gradients(NamedTuple):
    """Gradients of a batch of n images; all float32 except `classes`.

    Attributes
    ----------
    activations, gradients : ndarray (n, h, w, K)
        The layer's output, and the derivative of each image's score with respect to it.
    outputs : ndarray (n, classes) or (n, 1)
        The network's output.
    classes : ndarray (n,) int64
        The class whose score was differentiated.
    """

    activations: np.ndarray
    gradients: np.ndarray
    outputs: np.ndarray
    classes: np.ndarray


class LayerGradients:
    """Gradients of a class's score with respect to one layer's output, traced once for any number of batches.

    The network runs in inference mode and is not modified. Later weight changes take effect, except those of the output
    layer.

    Parameters
    ----------
    model : keras.Model
        As in `covid_keras.explain.grad_cam`.
    layer : str, optional
        As in `spatial_layer`. Default: the last layer with a spatial extent.
    score : {"logit", "probability"}
        The output before or after its activation. A single sigmoid unit has the logits z (class 1) and -z (class 0),
        and the probabilities p and 1 - p.

    Raises
    ------
    UserError
        If the model cannot be explained (see `covid_keras.explain.grad_cam`).
    """

    def __init__(self, model: keras.Model, layer: str | None = None, score: str = "logit") -> None:
        if score not in SCORES:
            raise ValueError(f"score must be one of {', '.join(SCORES)} (got {score!r})")
        require_flat(model)
        self.model = model
        self.layer = spatial_layer(model, layer)
        head = output_layer(model)
        self._linear = linear_copy(head) if score == "logit" and hasattr(head, "activation") else None
        before = model.outputs[0] if self._linear is None else head.input
        self._parts = keras.Model(model.inputs, [self.layer.output, before, model.outputs[0]])
        # One trace for all batch sizes; otherwise TensorFlow warns about retracing.
        self._traced = tf.function(self._differentiate).get_concrete_function(
            tf.TensorSpec(model.inputs[0].shape, tf.float32), tf.TensorSpec([None], tf.int64)
        )

    def __call__(self, images: np.ndarray, classes: int | Sequence[int] | np.ndarray | None = None) -> Gradients:
        """Return the gradients of a batch of images (n, H, W, C).

        Parameters
        ----------
        images : ndarray (n, H, W, C) float
            Scaled as the model takes them.
        classes : int or sequence of int, length n, optional
            Default: the predicted class (`covid_keras.evaluation.decisions.decide_scores`).

        Raises
        ------
        ValueError
            If the images or classes do not fit the model.
        """
        images = np.asarray(images, dtype=np.float32)
        asked = checked_classes(self.model, images, -1 if classes is None else classes, decided=classes is None)
        taken = self.model.inputs[0].shape[1:]
        if any(side not in (None, given) for side, given in zip(taken, images.shape[1:], strict=True)):
            raise ValueError(f"images must have the shape {taken} of the model's input (got {images.shape[1:]})")
        found = self._traced(tf.constant(images), tf.constant(asked))
        return Gradients(*(part.numpy() for part in found))

    def _differentiate(self, images: tf.Tensor, classes: tf.Tensor) -> tuple[tf.Tensor, ...]:
        with tf.GradientTape() as tape:
            # Needed if all weights are frozen.
            tape.watch(images)
            activations, values, outputs = self._parts(images, training=False)
            if self._linear is not None:
                values = self._linear(values)
            classes = tf.where(classes < 0, _decided(outputs), classes)
            own = _own_scores(values, classes)
        gradients = tape.gradient(own, activations, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        floats = (tf.cast(part, tf.float32) for part in (activations, gradients, outputs))
        return *floats, classes


def class_scores(outputs: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return each image's output for its own class, shape (n,); for a single output p, class 0 has 1 - p."""
    if outputs.shape[1] > 1:
        return outputs[np.arange(len(outputs)), classes]
    return np.where(classes == 1, outputs[:, 0], 1 - outputs[:, 0])


def linear_copy(head: keras.layers.Layer) -> keras.layers.Layer:
    """Return the output layer without its activation, with the same weights."""
    copy = type(head).from_config({**head.get_config(), "activation": "linear"})
    copy.build(head.input.shape)
    copy.set_weights(head.get_weights())
    return copy


def _decided(outputs: tf.Tensor) -> tf.Tensor:
    """`covid_keras.evaluation.decisions.decide_scores` in a traced function."""
    if outputs.shape[-1] > 2:
        return tf.argmax(outputs, axis=-1)
    return tf.cast(outputs[:, -1] >= DECISION_THRESHOLD, tf.int64)


def _own_scores(values: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
    values = tf.cast(values, tf.float32)
    if values.shape[-1] > 1:
        return tf.gather(values, classes, axis=1, batch_dims=1)
    # The derivative of 1 - p is that of -p.
    return values[:, 0] * tf.where(classes == 1, 1.0, -1.0)


def require_flat(model: keras.Model) -> None:
    """Raise `UserError` unless the model is functional and flat with one input and one output."""
    name = f"model {model.name!r}"
    remedy = "Build it flat: the head on base.output of the backbone, keras.Model(base.input, outputs)"
    if isinstance(model, keras.Sequential):
        raise UserError(name, "Grad-CAM cannot explain a Sequential model", remedy)
    if nested := [part.name for part in model.layers if isinstance(part, keras.Model)]:
        raise UserError(name, f"Grad-CAM cannot explain a nested model (it contains {nested[0]!r})", remedy)
    if not getattr(model, "inputs", None) or not hasattr(model, "operations"):
        raise UserError(name, "Grad-CAM needs a functional model, not a subclassed one", remedy)
    if len(model.inputs) != 1 or len(model.outputs) != 1 or len(model.outputs[0].shape) != 2:
        remedy = "Make a keras.Model of that input and output only"
        raise UserError(name, "Grad-CAM needs one input of images and one output (N, classes)", remedy)
    if isinstance(output_layer(model), keras.layers.Softmax):
        remedy = 'Use Dense(classes, activation="softmax") or an Activation("softmax") layer'
        raise UserError(name, "ends in a Softmax layer, whose logits cannot be accessed", remedy)


def output_layer(model: keras.Model) -> keras.layers.Layer:
    """Return the layer whose output is the model's."""
    return model.get_layer(model.output_names[0])


def spatial_layer(model: keras.Model, name: str | None) -> keras.layers.Layer:
    """Return the layer for Grad-CAM.

    Parameters
    ----------
    model : keras.Model
        A flat functional model.
    name : str or None
        A layer's name or a prefix, which selects the last layer with a spatial extent whose name starts with it:
        "block5_conv" is the last convolution of VGG16 and of VGG19. None: the last layer with a spatial extent.

    Raises
    ------
    UserError
        If the model has no such layer, or its output has no spatial extent.
    """
    asked = [part for part in model.layers if part.name == name]
    asked = asked or [part for part in model.layers if part.name.startswith(name or "")]
    for part in reversed(asked):
        if _has_extent(part):
            return part
    if name is not None:
        problem = "has no spatial extent" if asked else f"not found in model {model.name!r}"
        raise UserError(f"layer {name!r}", problem, f"Choose another, such as {spatial_layer(model, None).name!r}")
    problem = "has no layer with a spatial extent"
    raise UserError(f"model {model.name!r}", problem, "Grad-CAM needs a convolutional model")


def map_cells(model: keras.Model, layer: str | None, shape: tuple[int, int, int]) -> tuple[int, int]:
    """Return the number of rows and columns of a map before resizing.

    Parameters
    ----------
    model, layer
        As in `spatial_layer`.
    shape : (int, int, int)
        (H, W, C) of the images, for models with variable input size.

    Raises
    ------
    UserError
        As in `spatial_layer`.
    """
    output = spatial_layer(model, layer).output
    sides = output.shape[1:3]
    if None in sides:
        sides = keras.Model(model.inputs, output).compute_output_shape((1, *shape))[1:3]
    return int(sides[0]), int(sides[1])


def _has_extent(layer: keras.layers.Layer) -> bool:
    shape = getattr(layer.output, "shape", ())
    # None is a variable size.
    return len(shape) == 4 and 1 not in shape[1:3] and not isinstance(layer, keras.layers.InputLayer)


def checked_classes(
    model: keras.Model,
    images: np.ndarray,
    class_indices: int | Sequence[int] | np.ndarray,
    decided: bool = False,
) -> np.ndarray:
    """Return one class per image, (N,) int64; with `decided`, -1 means the predicted class.

    Raises
    ------
    ValueError
        If the images are not a batch, or a class is not one of the model's.
    """
    if images.ndim != 4:
        raise ValueError(f"images must have the shape (N, H, W, C) (got {images.shape})")
    classes = np.broadcast_to(np.asarray(class_indices, dtype=np.int64), (len(images),))
    count = max(2, model.output_shape[-1])
    if len(classes) and (classes.min() < (-1 if decided else 0) or classes.max() >= count):
        raise ValueError(f"class indices must be in 0..{count - 1} (got {sorted(set(classes.tolist()))})")
    return classes
