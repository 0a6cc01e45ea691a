"""Batches processed in pieces: the same step of the optimiser as for whole ones, where no layer sees the batch."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from covid_keras.models.pieces import train_in_pieces
from covid_keras.training.losses import MaskedDiceCrossEntropy, masked_dice

SIDE = 6


def _classifier(outputs: int) -> keras.Model:
    images = keras.Input((SIDE, SIDE, 1))
    x = layers.Conv2D(4, 3, activation="relu", kernel_regularizer=keras.regularizers.L2(0.1))(images)
    x = layers.Dense(outputs, activation="softmax" if outputs > 1 else "sigmoid")(layers.Flatten()(x))
    model = keras.Model(images, x)
    loss = keras.losses.CategoricalCrossentropy if outputs > 1 else keras.losses.BinaryCrossentropy
    model.compile(keras.optimizers.SGD(0.5, momentum=0.9), loss(label_smoothing=0.1), metrics=["accuracy"])
    return model


def _segmenter(_: int) -> keras.Model:
    images = keras.Input((SIDE, SIDE, 1))
    x = layers.Conv2D(4, 3, padding="same", activation="tanh", kernel_regularizer="l2")(images)
    model = keras.Model(images, layers.Conv2D(1, 1, activation="sigmoid")(x))
    model.compile(keras.optimizers.SGD(0.5), MaskedDiceCrossEntropy(), metrics=[masked_dice])
    return model


def _labels(rng, n: int, outputs: int) -> np.ndarray:
    if not outputs:
        return (rng.random((n, SIDE, SIDE, 2)) > 0.4).astype(np.float32)
    index = rng.integers(0, max(outputs, 2), n)
    return np.eye(outputs, dtype=np.float32)[index] if outputs > 1 else index[:, None].astype(np.float32)


@pytest.mark.parametrize(
    ("make", "outputs", "weights", "size", "eager"),
    [
        (_classifier, 3, {0: 1.0, 1: 0.2, 2: 3.0}, 3, False),
        (_classifier, 1, {0: 0.3, 1: 2.0}, 4, True),
        (_segmenter, 0, None, 1, True),
        (_segmenter, 0, None, 16, True),
    ],
    ids=["softmax", "sigmoid", "segmenter", "larger than the batch"],
)
def test_an_epoch_in_pieces_is_that_of_whole_batches(make, outputs, weights, size, eager):
    """12 images in batches of 7 and 5: pieces are uneven; penalties count once, class weights as in the batch."""
    rng, trained, logs = np.random.default_rng(0), [], []
    x, y = rng.random((12, SIDE, SIDE, 1)).astype(np.float32), _labels(rng, 12, outputs)
    for pieces in (0, size):
        keras.utils.set_random_seed(1)
        model = make(outputs)
        before = [value.copy() for value in model.get_weights()]
        train_in_pieces(model, pieces)
        model.run_eagerly = eager
        fitted = model.fit(x, y, batch_size=7, epochs=2, shuffle=False, class_weight=weights, verbose=0)
        trained.append(model)
        logs.append({key: values[-1] for key, values in fitted.history.items()})
    assert int(trained[1].optimizer.iterations) == 4
    assert logs[1] == pytest.approx(logs[0], rel=1e-4)
    for whole, in_pieces, first in zip(*(model.get_weights() for model in trained), before, strict=True):
        np.testing.assert_allclose(in_pieces, whole, atol=2e-5)
        assert np.abs(whole - first).max() > 1e-3, "it learnt something"


def test_the_weights_of_a_network_in_pieces_are_saved_as_others(tmp_path):
    model, other = _classifier(3), _classifier(3)
    train_in_pieces(model, 2)
    model.save_weights(tmp_path / "a.weights.h5")
    other.load_weights(tmp_path / "a.weights.h5")
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), other.get_weights(), strict=True))
