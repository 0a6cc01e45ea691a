"""What every gradient-based explanation needs of a network: its last spatial layer, its logits, its gradients.

`tf-keras-vis` copies the network at each call and knows no gradient of the probability. `LayerGradients` reads the
same gradients from one traced function, batch after batch, for whole test sets.
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
    """What a batch of n images gives: all float32 but `classes`.

    Attributes
    ----------
    activations, gradients : ndarray (n, h, w, K)
        Of the layer: its output, and the derivative of each image's own score by it.
    outputs : ndarray (n, classes) or (n, 1)
        What the network answers, its own activation applied.
    classes : ndarray (n,) int64
        The class whose score was differentiated.
    """

    activations: np.ndarray
    gradients: np.ndarray
    outputs: np.ndarray
    classes: np.ndarray


class LayerGradients:
    """Gradients of a class's score by the output of one layer, traced once for any number of batches.

    The network is run as in prediction and stays as it was; later changes of its weights below the output layer
    are seen, those of the output layer are not.

    Parameters
    ----------
    model : keras.Model
        As `covid_keras.explain.grad_cam` takes it.
    layer : str, optional
        As `spatial_layer` takes it; by default the last layer with a spatial extent.
    score : {"logit", "probability"}
        What is differentiated: the output before its activation, or the output itself. A single sigmoid unit has
        the logit z of class 1 and -z of class 0; the probabilities p and 1 - p.

    Raises
    ------
    UserError
        If the model cannot be explained (see `covid_keras.explain.grad_cam`).
    """

    def __init__(self, model: keras.Model, layer: str | None = None, score: str = "logit") -> None:
        if score not in SCORES:
            raise ValueError(f"score is one of {', '.join(SCORES)}, not {score!r}")
        require_flat(model)
        self.model = model
        self.layer = spatial_layer(model, layer)
        head = output_layer(model)
        self._linear = _linear_copy(head) if score == "logit" and hasattr(head, "activation") else None
        before = model.outputs[0] if self._linear is None else head.input
        self._parts = keras.Model(model.inputs, [self.layer.output, before, model.outputs[0]])
        # One trace for batches of any length; without it TensorFlow warns of every further network's.
        self._traced = tf.function(self._differentiate).get_concrete_function(
            tf.TensorSpec(model.inputs[0].shape, tf.float32), tf.TensorSpec([None], tf.int64)
        )

    def __call__(self, images: np.ndarray, classes: int | Sequence[int] | np.ndarray | None = None) -> Gradients:
        """Return the gradients of a batch of images (n, H, W, C), held in memory at once.

        Parameters
        ----------
        images : ndarray (n, H, W, C) float
            Scaled as the model takes them.
        classes : int or sequence of int, length n, optional
            By default the class that the network decides for (`covid_keras.evaluation.decisions.decide_scores`).

        Raises
        ------
        ValueError
            If the images or classes do not fit the model.
        """
        images = np.asarray(images, dtype=np.float32)
        asked = checked_classes(self.model, images, -1 if classes is None else classes, decided=classes is None)
        taken = self.model.inputs[0].shape[1:]
        if any(side not in (None, given) for side, given in zip(taken, images.shape[1:], strict=True)):
            raise ValueError(f"the model takes images of the shape {taken}, not {images.shape[1:]}")
        found = self._traced(tf.constant(images), tf.constant(asked))
        return Gradients(*(part.numpy() for part in found))

    def _differentiate(self, images: tf.Tensor, classes: tf.Tensor) -> tuple[tf.Tensor, ...]:
        with tf.GradientTape() as tape:
            # Else nothing is recorded where all weights are frozen.
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
    """Return each image's output for its own class, shape (n,); of a single output p, class 0 has 1 - p."""
    if outputs.shape[1] > 1:
        return outputs[np.arange(len(outputs)), classes]
    return np.where(classes == 1, outputs[:, 0], 1 - outputs[:, 0])


def _linear_copy(head: keras.layers.Layer) -> keras.layers.Layer:
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
    """Raise a UserError if the model is Sequential, nested, subclassed, or has not one input and one output."""
    name = f"model {model.name!r}"
    remedy = "Build it flat: the head on base.output of the backbone, keras.Model(base.input, outputs)"
    if isinstance(model, keras.Sequential):
        raise UserError(name, "Grad-CAM cannot explain a Sequential model", remedy)
    if nested := [part.name for part in model.layers if isinstance(part, keras.Model)]:
        raise UserError(name, f"Grad-CAM cannot explain a nested model (it holds {nested[0]!r})", remedy)
    if not getattr(model, "inputs", None) or not hasattr(model, "operations"):
        raise UserError(name, "Grad-CAM needs a functional model, and this one is subclassed", remedy)
    if len(model.inputs) != 1 or len(model.outputs) != 1 or len(model.outputs[0].shape) != 2:
        remedy = "Make a keras.Model of that input and output alone"
        raise UserError(name, "Grad-CAM needs one input of images and one output (N, classes)", remedy)
    if isinstance(output_layer(model), keras.layers.Softmax):
        remedy = 'Use Dense(classes, activation="softmax") or an Activation("softmax") layer'
        raise UserError(name, "it ends in a Softmax layer, whose logits cannot be reached by its activation", remedy)


def output_layer(model: keras.Model) -> keras.layers.Layer:
    """Return the layer whose output is the model's."""
    return model.get_layer(model.output_names[0])


def spatial_layer(model: keras.Model, name: str | None) -> keras.layers.Layer:
    """Return the layer whose output is mapped.

    Parameters
    ----------
    model : keras.Model
        A flat functional one.
    name : str or None
        A layer's name; or the beginning of names, of which the last layer with a spatial extent counts, so that
        "block5_conv" is the last convolution of VGG16 and of VGG19. By default the last layer of all whose output
        still has a spatial extent.

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
        problem = "has no spatial extent" if asked else f"model {model.name!r} has none whose name begins so"
        raise UserError(f"layer {name!r}", problem, f"Choose another, such as {spatial_layer(model, None).name!r}")
    problem = "no layer has an output with a spatial extent to map"
    raise UserError(f"model {model.name!r}", problem, "Grad-CAM needs a convolutional model")


def map_cells(model: keras.Model, layer: str | None, shape: tuple[int, int, int]) -> tuple[int, int]:
    """Return the rows and columns that a map has before it is enlarged to the image.

    Parameters
    ----------
    model, layer
        As `spatial_layer` takes them.
    shape : (int, int, int)
        (H, W, C) of the images, for models that leave their size open.

    Raises
    ------
    UserError
        As `spatial_layer`.
    """
    output = spatial_layer(model, layer).output
    sides = output.shape[1:3]
    if None in sides:
        sides = keras.Model(model.inputs, output).compute_output_shape((1, *shape))[1:3]
    return int(sides[0]), int(sides[1])


def _has_extent(layer: keras.layers.Layer) -> bool:
    shape = getattr(layer.output, "shape", ())
    # A side of None is an image size left open: an extent.
    return len(shape) == 4 and 1 not in shape[1:3] and not isinstance(layer, keras.layers.InputLayer)


def checked_classes(
    model: keras.Model,
    images: np.ndarray,
    class_indices: int | Sequence[int] | np.ndarray,
    decided: bool = False,
) -> np.ndarray:
    """Return one class per image, (N,) int64; with `decided`, -1 stands for the class that the network decides for.

    Raises
    ------
    ValueError
        If the images are not a batch, or a class is not one of the model's.
    """
    if images.ndim != 4:
        raise ValueError(f"images must have the shape (N, H, W, C), not {images.shape}")
    classes = np.broadcast_to(np.asarray(class_indices, dtype=np.int64), (len(images),))
    count = max(2, model.output_shape[-1])
    if len(classes) and (classes.min() < (-1 if decided else 0) or classes.max() >= count):
        raise ValueError(f"class indices must lie in 0..{count - 1}, got {sorted(set(classes.tolist()))}")
    return classes
