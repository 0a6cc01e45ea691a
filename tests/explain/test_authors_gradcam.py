"""Grad-CAM as COVID-CXNet's authors computed it, and for whole sets, against NumPy and against `grad_cam`."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

keras = pytest.importorskip("keras")

from covid_keras.explain import authors_grad_cam, grad_cam  # noqa: E402
from covid_keras.explain.gradcam import cam_of  # noqa: E402
from covid_keras.explain.network import LayerGradients, class_scores  # noqa: E402

SIDE, CELLS, FILTERS = 12, 6, 3


def flat_network(head: str = "sigmoid", seed: int = 0) -> keras.Model:
    """A convolution, then a dense layer on all its cells: the gradient is its weights, another one at each cell."""
    inputs = keras.Input((SIDE, SIDE, 1))
    x = keras.layers.Conv2D(FILTERS, 2, strides=2, activation="relu", name="cells")(inputs)
    x = keras.layers.Flatten(name="flat")(x)
    outputs = keras.layers.Dense(1 if head == "sigmoid" else 3, activation=head, name="head")(x)
    model = keras.Model(inputs, outputs)
    rng = np.random.default_rng(seed)
    for layer in (model.get_layer("cells"), model.get_layer("head")):
        # A bias above 0 keeps every filter alive.
        layer.set_weights([rng.normal(scale=0.4, size=w.shape) + 0.3 * (w.ndim == 1) for w in layer.get_weights()])
    return model


def images(n: int = 3) -> np.ndarray:
    return np.random.default_rng(1).random((n, SIDE, SIDE, 1)).astype(np.float32)


def traced_maps(model: keras.Model, shown: np.ndarray, classes: int | None = None) -> np.ndarray:
    """The maps of the traced gradients that whole sets are explained with."""
    return cam_of(LayerGradients(model)(shown, classes), shown.shape[1:3])


def literal_map(model: keras.Model, image: np.ndarray, class_index: int) -> np.ndarray:
    """The authors' steps one after the other, in NumPy, with the derivative of the sigmoid written out."""
    kernel, bias = model.get_layer("cells").get_weights()
    weights, offset = model.get_layer("head").get_weights()
    patches = image[..., 0].reshape(CELLS, 2, CELLS, 2).transpose(0, 2, 1, 3)
    activation = np.maximum(np.einsum("rcij,ijk->rck", patches, kernel[:, :, 0]) + bias, 0)
    p = 1 / (1 + np.exp(-(activation.ravel() @ weights[:, 0] + offset[0])))
    gradient = p * (1 - p) * weights[:, 0].reshape(CELLS, CELLS, FILTERS) * (1 if class_index == 1 else -1)
    gradient = gradient / (gradient.max() - gradient.min())
    guided = np.zeros_like(gradient)
    cam = np.zeros((CELLS, CELLS))
    for k in range(FILTERS):
        for row in range(CELLS):
            for column in range(CELLS):
                if activation[row, column, k] > 0 and gradient[row, column, k] > 0:
                    guided[row, column, k] = gradient[row, column, k]
        cam += guided[..., k].mean() * activation[..., k]
    cam = cv2.resize(cam, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    return (cam - cam.min()) / (cam.max() - cam.min() + 1e-8)


@pytest.mark.parametrize("class_index", [0, 1])
def test_the_authors_map_is_the_literal_computation(class_index):
    model = flat_network()
    found = authors_grad_cam(model, images(), class_index, batch_size=2)
    assert found.dtype == np.float32
    for heat, image in zip(found, images(), strict=True):
        np.testing.assert_allclose(heat, literal_map(model, image, class_index), atol=1e-5)


def test_the_authors_map_spans_0_to_1_and_is_not_that_of_grad_cam():
    found = authors_grad_cam(flat_network(), images(), 1)
    np.testing.assert_allclose(found.min(axis=(1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(found.max(axis=(1, 2)), 1, atol=1e-4)
    assert np.abs(found - grad_cam(flat_network(), images(), 1)).max() > 0.05


def test_a_gradient_without_range_gives_zeros_not_nan():
    model = flat_network()
    head = model.get_layer("head")
    head.set_weights([np.zeros_like(w) for w in head.get_weights()])
    assert not authors_grad_cam(model, images(), 1).any()
    assert authors_grad_cam(model, images(0), 1).shape == (0, SIDE, SIDE)


@pytest.mark.parametrize("head", ["sigmoid", "softmax", "linear"])
@pytest.mark.parametrize("class_index", [0, 1])
def test_traced_gradients_give_the_maps_of_grad_cam(head, class_index):
    model, shown = flat_network(head), images(5)
    np.testing.assert_allclose(traced_maps(model, shown, class_index), grad_cam(model, shown, class_index), atol=1e-5)


def test_traced_gradients_agree_with_grad_cam_on_a_deep_network_with_frozen_weights():
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, use_bias=False)(inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.Concatenate()([x, keras.layers.Conv2D(8, 3, padding="same", activation="relu")(x)])
    x = keras.layers.Dropout(0.5)(keras.layers.GlobalAveragePooling2D()(x))
    x = keras.layers.Dense(3)(x)
    model = keras.Model(inputs, keras.layers.Activation("softmax")(x))
    model.trainable = False
    shown = np.random.default_rng(2).random((4, 32, 32, 3)).astype(np.float32)
    maps = traced_maps(model, shown, 2)
    assert maps.any()
    np.testing.assert_allclose(maps, grad_cam(model, shown, 2), atol=1e-5)


def test_a_class_not_given_is_the_one_decided_for():
    model, shown = flat_network("softmax"), images(6)
    taken = LayerGradients(model)(shown)
    np.testing.assert_array_equal(taken.classes, model.predict(shown, verbose=0).argmax(axis=1))
    np.testing.assert_allclose(class_scores(taken.outputs, taken.classes), taken.outputs.max(axis=1))
    np.testing.assert_allclose(traced_maps(model, shown), grad_cam(model, shown, taken.classes), atol=1e-5)
    single = LayerGradients(flat_network())(shown)
    np.testing.assert_array_equal(single.classes, single.outputs[:, 0] >= 0.5)
    assert (class_scores(single.outputs, single.classes) >= 0.5).all()


def test_a_score_and_classes_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="logit, probability"):
        LayerGradients(flat_network(), score="loss")
    taker = LayerGradients(flat_network())
    for shown, classes, word in ((images(), -1, "class"), (images()[0], 1, "shape"), (images()[:, 1:], 1, "shape")):
        with pytest.raises(ValueError, match=word):
            taker(shown, classes)
