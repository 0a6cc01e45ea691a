"""AUCs compared without resampling, against pairs counted one by one."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from covid_keras.evaluation.delong import auc_covariance, compare_aucs


def made(n=60, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.4
    return truth, np.round(truth + rng.normal(size=(2, n)), 1)


def counted(truth, scores):
    """Return AUCs and covariance as DeLong's paper writes them, pair by pair."""
    x, y = scores[:, truth], scores[:, ~truth]
    wins = (x[:, :, None] > y[:, None, :]) + 0.5 * (x[:, :, None] == y[:, None, :])
    return wins.mean(axis=(1, 2)), np.cov(wins.mean(axis=2)) / x.shape[1] + np.cov(wins.mean(axis=1)) / y.shape[1]


@pytest.mark.parametrize("seed", range(4))
def test_of_one_image_per_patient_it_is_delongs_method(seed):
    truth, scores = made(seed=seed)
    aucs, covariance = auc_covariance(truth, scores, np.arange(60))
    theirs, other = counted(truth, scores)
    assert aucs == pytest.approx(theirs)
    assert aucs == pytest.approx([roc_auc_score(truth, one) for one in scores])
    assert covariance == pytest.approx(other)


def test_an_image_listed_four_times_says_no_more_than_once():
    truth, scores = made()
    once = compare_aucs(truth, *scores, np.arange(60))
    again = compare_aucs(np.repeat(truth, 4), *np.repeat(scores, 4, axis=1), np.repeat(np.arange(60), 4))
    assert vars(again) == pytest.approx(vars(once))
    assert once.difference == pytest.approx(once.a - once.b)
    assert once.low < once.difference < once.high
    assert (once.low > 0 or once.high < 0) == (once.p < 0.05)


def test_the_level_holds_where_nothing_differs():
    found = [compare_aucs(*(lambda t, s: (t, *s))(*made(80, seed)), np.arange(80)).p for seed in range(200)]
    assert 0.01 <= np.mean(np.array(found) < 0.05) <= 0.1
    truth, (one, _) = made()
    assert compare_aucs(truth, one, one, np.arange(60)).p == 1


def test_a_class_of_one_patient_has_no_variance():
    truth, scores = made()
    with pytest.raises(ValueError, match="fewer than two patients"):
        auc_covariance(truth, scores, truth)
