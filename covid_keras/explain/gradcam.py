"""Grad-CAM, and the variant of COVID-CXNet's authors.

References
----------
.. [1] R. R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
   Localization", ICCV 2017.
.. [2] S. Tabik et al., "COVIDGR dataset and COVID-SDNet methodology", IEEE JBHI 24(12), 2020, figures
   5 to 8: a factual map for the predicted class beside a counterfactual map for the opposite one. The paper does not
   state layer and score; the last convolutional stage and the score before softmax are usual.
.. [3] A. Haghanifar et al., "COVID-CXNet: Detecting COVID-19 in Frontal Chest X-ray Images using Deep Learning",
   arXiv 2006.13807, 2020, figures 10, 12 and 15 to 22. The paper gives no formula; computed as in the authors' code.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import cv2
import keras
import numpy as np
import tensorflow as tf
from tf_keras_vis.gradcam import Gradcam
from tf_keras_vis.utils.scores import CategoricalScore

from covid_keras.explain.network import (
    Gradients,
    LayerGradients,
    checked_classes,
    linear_copy,
    output_layer,
    require_flat,
    spatial_layer,
)

AUTHORS_EPSILON = 1e-8
_LOGGER = logging.getLogger(__name__)


def grad_cam(
    model: keras.Model,
    images: np.ndarray,
    class_indices: int | Sequence[int] | np.ndarray,
    layer: str | None = None,
    batch_size: int = 8,
) -> np.ndarray:
    """Return one Grad-CAM heat map per image [1]_.

    The score is the class's logit: without the activation of the output layer (softmax or sigmoid).
    A single sigmoid unit, output (N, 1), has the logit z for class 1 and -z for class 0, since P(0) = sigmoid(-z). An
    output layer without an activation (capsule lengths) is used as is.

    Parameters
    ----------
    model : keras.Model
        A flat functional model with one input (N, H, W, C) and one output (N, classes) or (N, 1).
    images : ndarray (N, H, W, C) float
        Scaled as the model takes them.
    class_indices : int or sequence of int, length N
        The class to explain, for all images or one per image.
    layer : str, optional
        Name of the layer whose activations are weighted, or a prefix, which selects the last layer whose name starts
        with it. Default: the last layer with an output (N, h, w, c), h > 1 and w > 1.
    batch_size : int
        Images per batch; bounds the memory.

    Returns
    -------
    ndarray (N, H, W) float32
        Each map divided by its maximum, 0 to 1; all zero if no region raises the score.

    Raises
    ------
    UserError
        If the model is Sequential, nested, subclassed or has several outputs, ends in a Softmax layer, or has no such
        layer with a spatial extent. tf-keras-vis cannot explain those.
    ValueError
        If the images or classes do not fit the model.
    """
    require_flat(model)
    target = spatial_layer(model, layer)
    images = np.asarray(images, dtype=np.float32)
    classes = checked_classes(model, images, class_indices)
    heat = np.zeros(images.shape[:3], dtype=np.float32)
    # A graph of its own over the same layers; tf-keras-vis would clone them, which takes longer than the maps.
    explainer = Gradcam(_linear(model), clone=False)
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


def cam_of(taken: Gradients, shape: tuple[int, int]) -> np.ndarray:
    """Return the Grad-CAM maps (n, *shape) float32, 0 to 1, from the gradients of `LayerGradients`."""
    weights = taken.gradients.mean(axis=(1, 2))
    cams = np.maximum(np.einsum("nhwk,nk->nhw", taken.activations, weights), 0)
    return np.stack([_enlarge(cam, shape) for cam in cams]) if len(cams) else np.zeros((0, *shape), np.float32)


def authors_grad_cam(
    model: keras.Model,
    images: np.ndarray,
    class_indices: int | Sequence[int] | np.ndarray,
    layer: str | None = None,
    batch_size: int = 8,
) -> np.ndarray:
    """Return the heat maps of COVID-CXNet's authors: guided, of the probability, stretched to 0..1 [3]_.

    Unlike in `grad_cam`, the class's *probability* is differentiated, so a saturated network has almost no gradient.
    The gradient is divided by its range (max - min) and kept only where it and the activation are positive. Its spatial
    mean weights the activations; their sum is resized bilinearly and stretched to 0..1. Without a final ReLU, every map
    that is not constant has a 0 and a 1, so maps of different images are not on one scale.

    Parameters
    ----------
    model, images, class_indices, layer, batch_size
        As in `grad_cam`. The authors explain the only output p of a sigmoid network; here its class 0 has the
        probability 1 - p.

    Returns
    -------
    ndarray (N, H, W) float32
        0 to 1; all zero if the gradient is constant, for which the authors' division is undefined.

    Raises
    ------
    UserError, ValueError
        As in `grad_cam`.
    """
    images = np.asarray(images, dtype=np.float32)
    taker = LayerGradients(model, layer, score="probability")
    classes = checked_classes(model, images, class_indices)
    heat = np.zeros(images.shape[:3], dtype=np.float32)
    for start in range(0, len(images), batch_size):
        part = slice(start, start + batch_size)
        heat[part] = _authors_cam(taker(images[part], classes[part]), images.shape[1:3])
    return heat


def _authors_cam(taken: Gradients, shape: tuple[int, int]) -> np.ndarray:
    axes = (1, 2, 3)
    spread = np.ptp(taken.gradients, axis=axes, keepdims=True)
    gradients = np.divide(taken.gradients, spread, out=np.zeros_like(taken.gradients), where=spread > 0)
    guided = np.where((taken.activations > 0) & (gradients > 0), gradients, 0)
    cams = np.einsum("nhwk,nk->nhw", taken.activations, guided.mean(axis=(1, 2)))
    cams = np.stack([cv2.resize(cam, shape[::-1], interpolation=cv2.INTER_LINEAR) for cam in cams])
    low = cams.min(axis=(1, 2), keepdims=True)
    return (cams - low) / (np.ptp(cams, axis=(1, 2), keepdims=True) + AUTHORS_EPSILON)


def _linear(model: keras.Model) -> keras.Model:
    """Return the model without the activation of its output layer; it shares the other layers."""
    head = output_layer(model)
    if not hasattr(head, "activation"):
        return model
    return keras.Model(model.inputs, linear_copy(head)(head.input))


def _score(width: int, classes: np.ndarray) -> Callable[[tf.Tensor], tf.Tensor]:
    if width > 1:
        return CategoricalScore(classes.tolist())
    signs = tf.constant(np.where(classes == 1, 1.0, -1.0), dtype=tf.float32)
    return lambda logits: tf.cast(logits[:, 0], tf.float32) * signs


def _enlarge(cam: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize to the image, with pixel centres aligned as in strided convolutions; divide by the maximum."""
    cam = cv2.resize(cam, shape[::-1], interpolation=cv2.INTER_LINEAR)
    top = cam.max()
    return cam / top if top > 0 else np.zeros_like(cam)
