"""The margin loss against numbers worked out by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from papers.covid_sdnet.margin import MarginLoss

TRUTH = np.array([[1, 0], [0, 1], [0, 1], [1, 0]], np.float32)
LENGTHS = np.array([[0.5, 0.3], [0.6, 0.2], [0.05, 0.95], [1.0, 0.1]], np.float32)
# (0.9 - 0.5)^2 + 0.5 (0.3 - 0.1)^2; (0.9 - 0.2)^2 + 0.5 (0.6 - 0.1)^2; nothing, nothing.
BY_HAND = [0.16 + 0.02, 0.49 + 0.125, 0, 0]


def test_by_hand():
    np.testing.assert_allclose(MarginLoss(reduction="none")(TRUTH, LENGTHS), BY_HAND, atol=1e-6)
    assert float(MarginLoss()(TRUTH, LENGTHS)) == pytest.approx(sum(BY_HAND) / 4, abs=1e-6)


def test_class_weights_go_by_the_true_class():
    found = MarginLoss(class_weights=(0.25, 2), reduction="none")(TRUTH, LENGTHS)
    np.testing.assert_allclose(found, [0.25 * 0.18, 2 * 0.615, 0, 0], atol=1e-6)


def test_class_weights_are_those_of_fit():
    inputs = keras.Input((2,))
    weights = (0.25, 2.0)
    own, by_fit = (keras.Model(inputs, keras.layers.Dense(2, name=name)(inputs)) for name in ("own", "by_fit"))
    by_fit.set_weights(own.get_weights())
    own.compile("sgd", MarginLoss(class_weights=weights))
    by_fit.compile("sgd", MarginLoss())
    own.fit(LENGTHS, TRUTH, batch_size=4, verbose=0)
    by_fit.fit(LENGTHS, TRUTH, batch_size=4, verbose=0, class_weight=dict(enumerate(weights)))
    np.testing.assert_allclose(own.get_weights()[0], by_fit.get_weights()[0], atol=1e-6)


def test_three_classes_and_integer_labels():
    truth = np.array([[0, 0, 1]])
    found = MarginLoss()(truth, np.array([[0.2, 0.1, 0.8]], np.float32))
    assert float(found) == pytest.approx(0.5 * 0.01 + 0.01, abs=1e-6)


def test_saved_with_its_settings():
    loss = MarginLoss(class_weights=np.array([0.25, 2]), reduction="sum")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert again.class_weights == [0.25, 2.0]
    assert float(again(TRUTH, LENGTHS)) == pytest.approx(0.25 * 0.18 + 2 * 0.615, abs=1e-6)
    assert MarginLoss.from_config(MarginLoss().get_config()).class_weights is None
