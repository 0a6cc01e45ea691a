"""Wilson's interval and the binomial standard error, against SciPy and by definition."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from covid_keras.evaluation.proportions import standard_error, wilson_interval


@pytest.mark.parametrize(("right", "n", "level"), [(131, 170, 0.95), (0, 12, 0.95), (12, 12, 0.9), (1, 1, 0.99)])
def test_wilson_as_scipy(right, n, level):
    wanted = binomtest(right, n).proportion_ci(level, method="wilson")
    assert wilson_interval(100 * right / n, n, level) == pytest.approx((100 * wanted.low, 100 * wanted.high))


def test_the_standard_error_is_the_spread_of_drawn_shares():
    drawn = np.random.default_rng(0).binomial(170, 0.77, 200_000) / 1.7
    assert standard_error(77, 170) == pytest.approx(drawn.std(), rel=0.01)


@pytest.mark.parametrize(("share", "n"), [(-1, 5), (101, 5), (50, 0)])
def test_no_share_is_refused(share, n):
    for function in (standard_error, wilson_interval):
        with pytest.raises(ValueError, match="share must lie"):
            function(share, n)
