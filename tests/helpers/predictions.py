"""Predictions made at hand: any scores, coins that are right so often, and two repeats of three folds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd


def make_predictions(
    labels: Sequence[Any], scores: Any, classes: Sequence[str] = ("N", "P"), predicted: Any = None, **columns: Any
) -> pd.DataFrame:
    """Return predictions of images with these labels and scores, of the last of two classes or of all classes."""
    scores = np.asarray(scores, np.float32)
    scores = np.stack([1 - scores, scores], axis=1) if scores.ndim == 1 else scores
    images = [f"made/{number:04d}" for number in range(len(scores))]
    frame = pd.DataFrame({"image_id": images, "path": "", "patient_id": images, "source": "made"})
    frame = frame.assign(severity="", system="ours", repeat=0, fold=0, split="test", label=list(labels))
    frame["predicted"] = np.asarray(classes)[scores.argmax(axis=1)] if predicted is None else list(predicted)
    for number, name in enumerate(classes):
        frame[f"score_{name}"] = scores[:, number]
    return frame.assign(**columns)


def coin(n: int, p: float, seed: int = 0, first: int = 0, **columns: Any) -> pd.DataFrame:
    """Return predictions of n patients from number `first` on, of which each is right with probability p."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 2
    score = np.where((truth == 1) == (rng.random(n) < p), 0.8, 0.2)
    patients = [f"p{number:04d}" for number in range(first, first + n)]
    return make_predictions(
        np.array(["N", "P"])[truth], score, **{"patient_id": patients, "image_id": patients} | columns
    )


def two_by_three() -> pd.DataFrame:
    """Return two repeats of three folds over 90 images of 60 patients, with severities and a weak classifier."""
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


def normal_scores(
    n: int,
    gap: float,
    seed: int = 0,
    prefix: str = "p",
    shift: float = 0.0,
    classes: Sequence[str] = ("N", "P"),
    **columns: Any,
) -> pd.DataFrame:
    """Return predictions of n patients whose logits are normal, with means `gap` apart, moved by `shift`."""
    truth = np.arange(n) % 2
    logits = np.random.default_rng(seed).normal(size=n) + gap * (truth - 0.5) + shift
    patients = [f"{prefix}{number:04d}" for number in range(n)]
    scores, labels = 1 / (1 + np.exp(-logits)), np.array(classes)[truth]
    return make_predictions(labels, scores, classes, patient_id=patients, image_id=patients, **columns)
