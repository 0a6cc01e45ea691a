"""Calibration and average precision under weights, against scikit-learn on rows listed as often."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, brier_score_loss

from covid_keras.evaluation.calibration import Scored

RNG = np.random.default_rng(2)
TRUTH = RNG.random(200) < 0.3
SCORE = np.round(expit(2 * (TRUTH - 0.5) + RNG.normal(size=200)), 2).clip(0.01, 0.99)
MADE = Scored(np.arange(200), TRUTH, SCORE)


def every(scored: Scored, weights: np.ndarray) -> dict[str, np.ndarray]:
    return scored.metrics(weights) | scored.lines(weights)


@pytest.mark.parametrize("seed", range(3))
def test_a_weight_is_how_often_a_row_is_listed(seed):
    times = np.random.default_rng(seed).integers(0, 4, 200)
    rows = np.repeat(np.arange(200), times)
    found = {name: value[0] for name, value in every(MADE, times[None].astype(float)).items()}
    truth, score = TRUTH[rows], SCORE[rows]
    assert found["auprc"] == pytest.approx(100 * average_precision_score(truth, score))
    assert found["brier"] == pytest.approx(brier_score_loss(truth, score))
    line = LogisticRegression(C=np.inf, tol=1e-10).fit(logit(score)[:, None], truth)
    assert found["calibration_slope"] == pytest.approx(line.coef_[0, 0], rel=1e-3)
    assert expit(logit(score) + found["calibration_intercept"]).mean() == pytest.approx(truth.mean(), abs=1e-6)
    place = np.minimum((10 * score).astype(int), 9)
    gaps = [abs(score[place == k].sum() - truth[place == k].sum()) for k in range(10)]
    assert found["calibration_error"] == pytest.approx(sum(gaps) / len(rows))


def test_calibrated_scores_have_slope_one_and_intercept_nothing():
    rng = np.random.default_rng(0)
    score = rng.uniform(0.02, 0.98, 40_000)
    found = every(Scored(np.arange(40_000), rng.random(40_000) < score, score), np.ones((1, 40_000)))
    assert found["calibration_slope"][0] == pytest.approx(1, abs=0.05)
    assert found["calibration_intercept"][0] == pytest.approx(0, abs=0.05)
    assert found["calibration_error"][0] < 0.02


@pytest.mark.parametrize(
    ("truth", "score", "undefined"),
    [
        ([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], {"calibration_slope"}),
        ([1, 1, 1, 1], [0.1, 0.2, 0.8, 0.9], {"auprc", "calibration_slope", "calibration_intercept"}),
        ([0, 1, 0, 1], [0.5] * 4, {"calibration_slope"}),
        ([0, 1, 1, 0, 0, 1], [0.2, 0.2, 0.6, 0.6, 0.0, 1.0], set()),
    ],
)
def test_what_is_not_defined_is_nan(truth, score, undefined):
    found = every(Scored(np.arange(len(truth)), np.array(truth, bool), np.array(score)), np.ones((1, len(truth))))
    assert {name for name, value in found.items() if np.isnan(value[0])} == undefined
