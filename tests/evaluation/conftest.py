"""Predictions made for the tests of evaluation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest


@pytest.fixture
def make_predictions():
    """Return a maker of predictions: labels and the scores of the last of two classes, or of all classes."""

    def make(labels, scores, classes=("N", "P"), predicted=None, **columns) -> pd.DataFrame:
        scores = np.asarray(scores, np.float32)
        scores = np.stack([1 - scores, scores], axis=1) if scores.ndim == 1 else scores
        names = np.asarray(classes)
        images = [f"made/{number:04d}" for number in range(len(scores))]
        frame = pd.DataFrame({"image_id": images, "path": "", "patient_id": images, "source": "made"})
        frame = frame.assign(severity="", system="ours", repeat=0, fold=0, split="test", label=list(labels))
        frame["predicted"] = names[scores.argmax(axis=1)] if predicted is None else list(predicted)
        for number, name in enumerate(classes):
            frame[f"score_{name}"] = scores[:, number]
        return frame.assign(**columns)

    return make


@pytest.fixture
def two_by_three(make_predictions) -> pd.DataFrame:
    """Two repeats of three folds over 90 images of 60 patients, with severities and a weak classifier."""
    rng = np.random.default_rng(3)
    truth = np.tile([0, 1, 1], 30)
    patient = np.array([f"made/p{number % 60}" for number in range(90)])
    level = np.where(truth == 1, rng.choice(["Mild", "Severe", ""], 90), "")
    parts = []
    for repeat in range(2):
        fold = rng.permutation(60)[np.arange(90) % 60] % 3
        for number in range(3):
            scores = np.round(1 / (1 + np.exp(-(truth - 0.5 + rng.normal(size=90)))), 2)
            frame = make_predictions(np.array(["N", "P"])[truth], scores, severity=level, patient_id=patient)
            frame = frame.assign(repeat=repeat, fold=number, split=np.where(fold == number, "test", "train"))
            parts.append(frame)
    return pd.concat(parts, ignore_index=True)
