"""Standard errors and intervals of proportions of n cases, such as a printed accuracy without an interval.

References
----------
.. [1] E. B. Wilson, Probable inference, the law of succession, and statistical inference, J. Am. Stat. Assoc. 22, 1927.
"""

from __future__ import annotations

import math
from statistics import NormalDist

from covid_keras.evaluation.uncertainty import LEVEL


def standard_error(share: float, n: int) -> float:
    """Return the binomial standard error, in points, of a percentage of n independent cases.

    >>> round(standard_error(50, 100), 3)
    5.0
    """
    _require(share, n)
    return math.sqrt(share * (100 - share) / n)


def wilson_interval(share: float, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Return Wilson's score interval [1]_ (low, high), in percent, of a percentage of n independent cases.

    Parameters
    ----------
    share : float
        Percent, 0 to 100; may be rounded, so it need not be a whole number of cases.
    n : int
        Number of cases, at least 1. For several images per patient, which are not independent, the interval is too
        narrow.
    level : float
        0.95 for a 95 % interval.

    Raises
    ------
    ValueError
        If the share lies outside 0..100, or n is below 1.

    Examples
    --------
    >>> tuple(round(bound, 2) for bound in wilson_interval(80, 10))
    (49.02, 94.33)
    """
    _require(share, n)
    z = NormalDist().inv_cdf((1 + level) / 2)
    p = share / 100
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return 100 * max(0.0, centre - half), 100 * min(1.0, centre + half)


def _require(share: float, n: int) -> None:
    if not 0 <= share <= 100 or n < 1:
        raise ValueError(f"share must lie in 0..100 and n be at least 1, got {share} and {n}")
