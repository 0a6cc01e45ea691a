"""The one rule by which scores become decisions, at its threshold and where scores tie."""

from __future__ import annotations

import numpy as np
import pytest

from covid_keras.evaluation.decisions import DECISION_THRESHOLD, decide_scores, is_positive
from covid_keras.evaluation.ensembles import average_predictions
from tests.helpers.predictions import make_predictions


@pytest.mark.parametrize(
    ("scores", "threshold", "decided"),
    [
        ([[0.4999], [0.5], [0.51]], 0.5, [0, 1, 1]),
        ([[0.5, 0.5], [0.51, 0.49], [0.4, 0.6]], 0.5, [1, 0, 1]),
        ([[0.4, 0.6]], 0.6, [1]),
        ([[0.4, 0.6]], 0.61, [0]),
        ([[0.4, 0.4, 0.2], [0.2, 0.4, 0.4], [0.1, 0.2, 0.7]], 0.5, [0, 1, 2]),
        ([[0.5, 0.2, 0.3], [0.1, 0.2, 0.7]], 0.9, [0, 2]),
    ],
)
def test_second_class_from_the_threshold_on_else_the_highest(scores, threshold, decided):
    found = decide_scores(scores, threshold)
    assert (found.tolist(), found.dtype) == (decided, np.int64)
    stacked = np.stack([scores, scores])
    assert decide_scores(stacked, threshold).tolist() == [decided, decided]


def test_threshold_of_each_image():
    assert DECISION_THRESHOLD == 0.5
    assert is_positive([0.5, 0.5], [0.5, 0.6]).tolist() == [True, False]


def test_average_of_members_at_the_threshold_is_at_the_threshold():
    # In float64 the average is less than 0.5, in float32, as written, it is 0.5.
    assert 0.7 * 0.5 + 0.2 * 0.5 + 0.1 * 0.5 < 0.5
    members = [make_predictions(["P"], [0.5], system=name) for name in "abc"]
    assert average_predictions(members, weights=[0.7, 0.2, 0.1]).frame["predicted"].tolist() == ["P"]
