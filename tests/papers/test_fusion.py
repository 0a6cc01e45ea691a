"""The four classes and the decision from both transformed versions, cell by cell."""

from __future__ import annotations

import numpy as np
import pytest

from papers.covid_sdnet.fusion import FOUR, fuse, fuse_logits, relabel


def softmax_like(peak: int, value: float) -> np.ndarray:
    """Return four probabilities whose largest, `value`, is at `peak`."""
    p = np.full(4, (1 - value) / 3)
    p[peak] = value
    return p


def test_relabelling():
    assert [relabel(true, generator) for true in "PN" for generator in "PN"] == list(FOUR)
    assert relabel(["P", "N", "N"], "N").tolist() == ["P-", "N-", "N-"]
    assert relabel([["P"], ["N"]], ["P", "N"]).tolist() == [["P+", "P-"], ["N+", "N-"]]
    with pytest.raises(ValueError, match="'Q'"):
        relabel(["P", "Q"], "N")


# The decision where theta's peak is the higher one, and where psi's is.
CELLS = {
    ("P+", "P+"): "PP", ("P+", "P-"): "PP", ("P+", "N+"): "PN", ("P+", "N-"): "PN",
    ("P-", "P+"): "PP", ("P-", "P-"): "PP", ("P-", "N+"): "PN", ("P-", "N-"): "PN",
    ("N+", "P+"): "NP", ("N+", "P-"): "NP", ("N+", "N+"): "NN", ("N+", "N-"): "NN",
    ("N-", "P+"): "NP", ("N-", "P-"): "NP", ("N-", "N+"): "NN", ("N-", "N-"): "NN",
}  # fmt: skip


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_of_the_table(cell):
    a, b = (FOUR.index(name) for name in cell)
    for (high, low), expected in zip(((0.9, 0.6), (0.6, 0.9)), CELLS[cell], strict=True):
        is_positive, score = fuse([softmax_like(a, high)], [softmax_like(b, low)])
        assert is_positive.tolist() == [expected == "P"]
        assert (score[0] > 0.5) == (expected == "P")


def test_equal_families_are_positive_by_rule_three():
    for theta, psi in [
        ([0.4, 0.1, 0.4, 0.1], [0.3, 0.3, 0.2, 0.2]),
        ([0.1, 0.2, 0.6, 0.1], [0.6, 0.2, 0.1, 0.1]),
        ([0.25] * 4, [0.25] * 4),
        # Both peaks on N, cell (N-, N+): rule 3, and P+ of psi equals the peak of theta but comes after in its row.
        ([0.0, 0.0, 0.1, 0.9], [0.0, 0.0, 0.9, 0.1]),
    ]:
        positive, negative = (max(*theta[s], *psi[s]) for s in (slice(2), slice(2, 4)))
        is_positive, score = fuse([theta], [psi])
        assert is_positive.tolist() == [positive >= negative]
        assert score[0] == pytest.approx(positive / (positive + negative))


def test_rules_one_and_two_decide_before_rule_three_on_exact_ties():
    # argmax takes the first of equals, so only rule 2's cell (P+, P-) is reached with N as probable as P: P anyway.
    assert fuse([[0.5, 0, 0.5, 0]], [[0, 0.5, 0, 0.5]])[0].tolist() == [True]
    # Rule 1's cell needs theta's peak at N+ and psi's at N-: no P can tie with both peaks; N though P is just below.
    assert fuse([[0.3, 0.0, 0.4, 0.3]], [[0.39, 0.0, 0.2, 0.41]])[0].tolist() == [False]
    # The first of equals is taken: (N+, ...) and not (N-, ...) where both are highest.
    assert fuse([[0.0, 0.0, 0.5, 0.5]], [[0.2, 0.1, 0.1, 0.6]])[0].tolist() == [False]


def test_apart_from_ties_it_is_the_family_of_the_largest_of_eight():
    rng = np.random.default_rng(1)
    theta, psi = rng.dirichlet(np.full(4, 0.5), (2, 20_000))
    is_positive, score = fuse(theta, psi)
    largest = np.concatenate([theta, psi], 1).argmax(1) % 4
    np.testing.assert_array_equal(is_positive, largest < 2)
    np.testing.assert_array_equal(is_positive, score >= 0.5)
    assert is_positive.shape == score.shape == (20_000,)
    assert 0.3 < is_positive.mean() < 0.7


def test_empty_and_wrong_input():
    is_positive, score = fuse(np.zeros((0, 4)), np.zeros((0, 4)))
    assert is_positive.shape == score.shape == (0,)
    for theta, psi, word in (
        (np.ones((3, 4)), np.ones((2, 4)), "shape"),
        (np.ones((3, 2)), np.ones((3, 2)), "shape"),
        (np.full((1, 4), np.nan), np.ones((1, 4)), "number"),
    ):
        with pytest.raises(ValueError, match=word):
            fuse(theta, psi)


def test_fuse_logits_takes_the_first_of_equals():
    logits = [[0, 1, 2, 1], [0, 1, 1, 0], [3, 0, 0, 3], [0, 0, 0, 9], [0, 0, 0, 0]]
    assert fuse_logits(np.array(logits), 2).tolist() == [0, 1, 0, 1, 0]
    with pytest.raises(ValueError, match=r"\(n, 9\)"):
        fuse_logits(np.zeros((2, 4)), 3)
