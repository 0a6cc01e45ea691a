"""Grad-CAM by tf-keras-vis: which regions raise the score of a class.

References
----------
.. [1] R. R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
   Localization", ICCV 2017.
.. [2] S. Tabik et al., "COVIDGR dataset and COVID-SDNet methodology", IEEE JBHI 24(12), 2020, figures
   5 to 8: a factual map for the predicted class beside a counterfactual map for the opposite one. Layer and
   input are not stated there; the last convolutional stage and the score before softmax are usual.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import cv2
import keras
import numpy as np
import tensorflow as tf
from tf_keras_vis.gradcam import Gradcam
from tf_keras_vis.utils.model_modifiers import ReplaceToLinear
from tf_keras_vis.utils.scores import CategoricalScore

from covid_keras.errors import UserError

_LOGGER = logging.getLogger(__name__)


def grad_cam(
    model: keras.Model,
    images: np.ndarray,
    class_indices: int | Sequence[int] | np.ndarray,
    layer: str | None = None,
    batch_size: int = 8,
) -> np.ndarray:
    """Return one Grad-CAM heat map an image, for the class asked [1]_.

    The score is the class's logit: the activation of the output layer (softmax or sigmoid) is taken off in a
    copy of the model, the model itself stays as it was. A single sigmoid unit, output (N, 1), has one logit z
    for class 1; the score of class 0 is then -z, since P(0) = sigmoid(-z). An output layer without an
    activation (capsule lengths) is explained as it is.

    Parameters
    ----------
    model : keras.Model
        A flat functional model with one input (N, H, W, C) and one output (N, classes) or (N, 1).
    images : ndarray (N, H, W, C) float
        Scaled as the model takes them.
    class_indices : int or sequence of int, length N
        The class to explain, for all images or one each.
    layer : str, optional
        Name of the layer whose activations are weighted; by default the last one with an output (N, h, w, c)
        where h > 1 and w > 1.
    batch_size : int
        Images differentiated at a time: bounds the memory.

    Returns
    -------
    ndarray (N, H, W) float32
        Each map divided by its own maximum, so 0 to 1; all zero where no region raises the score.

    Raises
    ------
    UserError
        Where the model is Sequential, nested, subclassed or has several outputs, ends in a Softmax layer, has
        no layer with a spatial extent, or has none of the name given; tf-keras-vis cannot explain those.
    ValueError
        Where the images or classes do not fit the model.
    """
    _require_flat(model)
    target = _spatial_layer(model, layer)
    images = np.asarray(images, dtype=np.float32)
    classes = _checked_classes(model, images, class_indices)
    heat = np.zeros(images.shape[:3], dtype=np.float32)
    linear = ReplaceToLinear() if hasattr(_output_layer(model), "activation") else None
    explainer = Gradcam(model, model_modifier=linear, clone=True)
    for start in range(0, len(images), batch_size):
        part = slice(start, start + batch_size)
        cams = explainer(
            _score(model.output_shape[-1], classes[part]),
            tf.constant(images[part]),
            penultimate_layer=target.name,
            seek_penultimate_conv_layer=False,
            expand_cam=False,
            normalize_cam=False,
        )
        heat[part] = [_enlarge(cam, images.shape[1:3]) for cam in np.asarray(cams, dtype=np.float32)]
    _LOGGER.debug("Grad-CAM of %d images at layer %s", len(images), target.name)
    return heat


def _require_flat(model: keras.Model) -> None:
    name = f"model {model.name!r}"
    remedy = "Build it flat: the head on base.output of the backbone, keras.Model(base.input, outputs)"
    if isinstance(model, keras.Sequential):
        raise UserError(name, "Grad-CAM cannot explain a Sequential model", remedy)
    nested = [part.name for part in model.layers if isinstance(part, keras.Model)]
    if nested:
        raise UserError(name, f"Grad-CAM cannot explain a nested model (it holds {nested[0]!r})", remedy)
    if not getattr(model, "inputs", None) or not hasattr(model, "operations"):
        raise UserError(name, "Grad-CAM needs a functional model, and this one is subclassed", remedy)
    if len(model.inputs) != 1 or len(model.outputs) != 1 or len(model.outputs[0].shape) != 2:
        raise UserError(
            name,
            "Grad-CAM needs one input of images and one output (N, classes)",
            "Make a keras.Model of that input and output alone",
        )
    if isinstance(_output_layer(model), keras.layers.Softmax):
        raise UserError(
            name,
            "it ends in a Softmax layer, whose logits cannot be reached by its activation",
            'Use Dense(classes, activation="softmax") or an Activation("softmax") layer',
        )


def _output_layer(model: keras.Model) -> keras.layers.Layer:
    return model.get_layer(model.output_names[0])


def _spatial_layer(model: keras.Model, name: str | None) -> keras.layers.Layer:
    """Return the layer named, or the last one whose output still has a spatial extent."""
    if name is not None:
        found = [part for part in model.layers if part.name == name]
        if not found or not _has_extent(found[0]):
            problem = "has no spatial extent" if found else f"model {model.name!r} has none of that name"
            raise UserError(f"layer {name!r}", problem, f"Choose another, such as {_spatial_layer(model, None).name!r}")
        return found[0]
    for part in reversed(model.layers):
        if _has_extent(part):
            return part
    raise UserError(
        f"model {model.name!r}",
        "no layer has an output with a spatial extent to map",
        "Grad-CAM needs a convolutional model",
    )


def _has_extent(layer: keras.layers.Layer) -> bool:
    shape = getattr(layer.output, "shape", ())
    # A side of None is an image size left open: an extent.
    return len(shape) == 4 and 1 not in shape[1:3] and not isinstance(layer, keras.layers.InputLayer)


def _checked_classes(
    model: keras.Model, images: np.ndarray, class_indices: int | Sequence[int] | np.ndarray
) -> np.ndarray:
    if images.ndim != 4:
        raise ValueError(f"images must have the shape (N, H, W, C), not {images.shape}")
    classes = np.broadcast_to(np.asarray(class_indices, dtype=np.int64), (len(images),))
    count = max(2, model.output_shape[-1])
    if len(classes) and (classes.min() < 0 or classes.max() >= count):
        raise ValueError(f"class indices must lie in 0..{count - 1}, got {sorted(set(classes.tolist()))}")
    return classes


def _score(width: int, classes: np.ndarray) -> Callable[[tf.Tensor], tf.Tensor]:
    if width > 1:
        return CategoricalScore(classes.tolist())
    signs = tf.constant(np.where(classes == 1, 1.0, -1.0), dtype=tf.float32)
    return lambda logits: tf.cast(logits[:, 0], tf.float32) * signs


def _enlarge(cam: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize to the image, pixel centres aligned as strided convolutions lay them; divide by the maximum."""
    cam = cv2.resize(cam, shape[::-1], interpolation=cv2.INTER_LINEAR)
    top = cam.max()
    return cam / top if top > 0 else np.zeros_like(cam)
