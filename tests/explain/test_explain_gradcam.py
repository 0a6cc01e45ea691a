"""Grad-CAM on tiny models whose evidence is known because their weights are set by hand."""

from __future__ import annotations

import numpy as np
import pytest

from covid_keras.common.errors import UserError

keras = pytest.importorskip("keras")

from covid_keras.explain import grad_cam  # noqa: E402

SIDE = 32


def bright_dark_model(head: str = "softmax") -> keras.Model:
    """Two filters on images in -1..1: one fires on dark (class 0), one on bright (class 1)."""
    inputs = keras.Input((SIDE, SIDE, 1))
    x = keras.layers.Conv2D(2, 3, padding="same", activation="relu", name="evidence")(inputs)
    x = keras.layers.AveragePooling2D(4, name="pooled")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    outputs = keras.layers.Dense(1 if head == "sigmoid" else 2, activation=head, name="head")(x)
    model = keras.Model(inputs, outputs)
    kernel = np.zeros((3, 3, 1, 2), np.float32)
    kernel[..., 0], kernel[..., 1] = -1 / 9, 1 / 9
    model.get_layer("evidence").set_weights([kernel, np.zeros(2, np.float32)])
    weights = np.array([[-5.0], [5.0]]) if head == "sigmoid" else 5.0 * np.eye(2)
    model.get_layer("head").set_weights([weights, np.zeros(weights.shape[1])])
    return model


class Subclassed(keras.Model):
    def call(self, inputs):
        return inputs


def squares() -> np.ndarray:
    """Grey images with a bright square at the upper left and a dark one at the lower right."""
    images = np.zeros((3, SIDE, SIDE, 1), np.float32)
    images[:, 4:12, 4:12] = 1.0
    images[:, 20:28, 20:28] = -1.0
    return images


def centre(heat: np.ndarray) -> tuple[float, float]:
    rows, columns = np.mgrid[: heat.shape[0], : heat.shape[1]]
    return float((rows * heat).sum() / heat.sum()), float((columns * heat).sum() / heat.sum())


@pytest.mark.parametrize("head", ["softmax", "sigmoid", "linear"])
def test_the_heat_lies_on_the_evidence_of_each_class(head):
    model = bright_dark_model(head)
    bright = grad_cam(model, squares(), 1)
    dark = grad_cam(model, squares(), [0, 0, 0], batch_size=2)
    assert bright.shape == dark.shape == (3, SIDE, SIDE)
    assert bright.dtype == np.float32
    for heat, expected in ((bright, 7.5), (dark, 23.5)):
        assert heat.min() >= 0
        assert heat.max() == pytest.approx(1.0)
        assert centre(heat[0]) == pytest.approx((expected, expected), abs=0.5)


def test_a_saturated_softmax_is_explained_all_the_same():
    """The score is the logit: a probability of 1.0 has no gradient left."""
    model = bright_dark_model()
    model.get_layer("head").set_weights([5000.0 * np.eye(2), np.array([0.0, 50.0])])
    assert model.predict(squares(), verbose=0)[0, 1] == 1.0
    assert grad_cam(model, squares(), 1).max() == pytest.approx(1.0)


def test_classes_an_image_each_and_chunks_agree():
    model, images = bright_dark_model(), squares()
    mixed = grad_cam(model, images, [1, 0, 1], batch_size=1)
    np.testing.assert_allclose(mixed[0], grad_cam(model, images, 1)[0], atol=1e-6)
    np.testing.assert_allclose(mixed[1], grad_cam(model, images, 0)[1], atol=1e-6)


def test_the_model_stays_as_it_was_and_a_layer_can_be_chosen():
    model = bright_dark_model()
    before = model.predict(squares(), verbose=0)
    fine = grad_cam(model, squares(), 1, layer="evidence")
    np.testing.assert_array_equal(before, model.predict(squares(), verbose=0))
    assert (fine[0] > 0).sum() < (grad_cam(model, squares(), 1)[0] > 0).sum()


def test_no_evidence_gives_a_map_of_zeros():
    assert not grad_cam(bright_dark_model(), np.zeros((1, SIDE, SIDE, 1)), 1).any()
    assert grad_cam(bright_dark_model(), np.zeros((0, SIDE, SIDE, 1)), 1).shape == (0, SIDE, SIDE)


def test_models_it_cannot_explain_get_one_clear_line():
    base, inputs = bright_dark_model(), keras.Input((SIDE, SIDE, 1))
    ending = keras.layers.Softmax()(base.get_layer("head").output)
    for model, layer, word in (
        (keras.Model(inputs, keras.layers.Dense(2)(base(inputs))), None, "nested"),
        (keras.Sequential([inputs, keras.layers.Flatten(), keras.layers.Dense(2)]), None, "Sequential"),
        (keras.Model(base.inputs, ending), None, "Softmax"),
        (keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs))), None, "spatial extent"),
        (base, "conv9", "such as 'pooled'"),
        (base, "head", "no spatial extent"),
        (Subclassed(), None, "subclassed"),
    ):
        with pytest.raises(UserError, match=word):
            grad_cam(model, squares(), 1, layer=layer)


def test_images_and_classes_that_do_not_fit_are_refused():
    for images, class_index, word in ((squares()[0], 1, "shape"), (squares(), 2, "class"), (squares(), -1, "class")):
        with pytest.raises(ValueError, match=word):
            grad_cam(bright_dark_model(), images, class_index)
