"""Class weights and label smoothing: the loss that a training starts with, against the formula."""

from __future__ import annotations

import numpy as np
import pytest

from covid_keras.paper.protocol import TrainingSettings


@pytest.mark.parametrize(
    ("labels", "classes", "expected"),
    [
        ([0, 0, 0, 1, 0, 1, 0, 0], 2, {0: 8 / (2 * 6), 1: 8 / (2 * 2)}),
        ([2, 0, 1, 2, 2, 2], 3, {0: 6 / 3, 1: 6 / 3, 2: 6 / (3 * 4)}),
        ([1, 0, 0, 1], 2, {0: 1.0, 1: 1.0}),
        ([0, 2, 0], 3, {0: 3 / (2 * 2), 1: 1.0, 2: 3 / 2}),  # of a class without images nothing is asked
    ],
)
def test_balanced_is_images_by_classes_and_images_of_the_class(labels, classes, expected):
    from covid_keras.training.execution import class_weights

    found = class_weights(np.array(labels), classes, TrainingSettings(epochs=1, class_weights="balanced"))
    assert type(found) is dict, "Keras took no array"
    assert found == pytest.approx(expected)
    assert all(type(key) is int for key in found)
    for name in ("none", "ignored"):
        assert class_weights(np.array(labels), classes, TrainingSettings(epochs=1, class_weights=name)) is None


def _entropy(scores: np.ndarray, labels: np.ndarray, smoothing: float) -> np.ndarray:
    """Cross-entropy (n,) of softmax outputs (n, 2), or of one sigmoid (n, 1), with smoothed labels."""
    if scores.shape[1] == 1:
        scores = np.concatenate([1 - scores, scores], axis=1)
    truth = np.eye(2)[labels] * (1 - smoothing) + smoothing / 2
    return -(truth * np.log(scores)).sum(axis=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "weights", "smoothing"),
    [("leaky", "balanced", 0.0), ("leaky", "ignored", 0.2), ("smooth", "balanced", 0.2)],
)
def test_the_loss_is_that_of_the_formula(make_run, uneven_cohort, name, weights, smoothing):
    """Softmax and one sigmoid, all images in one batch, steps too small to matter; the test part chooses the epoch."""
    from covid_keras.training.execution import Training

    own = {"class_weights": weights, "label_smoothing": smoothing, "epochs": 1, "batch_size": 64}
    own |= {"optimizer": {"learning_rate": 1e-12}, "augmentation": {"rotation": 0.0, "flip": False}}
    run = make_run("run", "hooks", uneven_cohort, systems=[name], trainings={name: own})
    execution = run.execution(name, 0, 0)
    execution.folder.mkdir(parents=True)
    part = execution.division
    inputs = execution.inputs
    training = Training(execution)
    model, tracker = training.untrained(), training._tracker()
    expected = {}
    for key, chosen in (("loss", "train"), ("val_loss", "test")):
        rows = inputs.rows_of(part, chosen)
        scores = np.asarray(model(inputs.prepared.batch(rows).astype(np.float32) / 255), np.float64)
        weight = np.ones(len(rows))
        if (weights, chosen) == ("balanced", "train"):
            weight = (len(rows) / (2 * np.bincount(inputs.labels[rows])))[inputs.labels[rows]]
            assert weight.min() < 0.8 < 1.5 < weight.max(), "classes that differ in size"
        expected[key] = (weight * _entropy(scores, inputs.labels[rows], smoothing)).mean()
    training._fit(model, tracker, static=False)
    assert {key: tracker.history[0][key] for key in expected} == pytest.approx(expected, rel=1e-4)
