"""LIME on networks that look at one place alone, and against the package's own way."""

from __future__ import annotations

import numpy as np
import pytest
from lime.lime_image import LimeImageExplainer

from covid_keras.explain import LimeExplanation, explain_by_lime

SIDE = 48


def quarters() -> np.ndarray:
    """Four flat, differently bright quarters: quickshift cuts along their borders."""
    image = np.zeros((SIDE, SIDE, 3), np.float32)
    half = SIDE // 2
    image[:half, :half], image[:half, half:] = 0.9, 0.45
    image[half:, :half], image[half:, half:] = 0.65, 0.25
    return image


def upper_left_against_lower_left(images: np.ndarray) -> np.ndarray:
    """Probability of class 1: raised by light in the upper left quarter, lowered by light in the lower left."""
    half = SIDE // 2
    light = images[:, :half, :half].mean(axis=(1, 2, 3)) - images[:, half:, :half].mean(axis=(1, 2, 3))
    return 1 / (1 + np.exp(-2 * light))


def test_supporting_and_opposing_superpixels_lie_where_the_network_looks():
    found = explain_by_lime(upper_left_against_lower_left, quarters(), 1, samples=200)
    half = SIDE // 2
    assert found.segments.shape == (SIDE, SIDE)
    assert len(found.weights) == found.segments.max() + 1 > 3
    painted = found.weights[found.segments]
    left = np.s_[2 : half - 2], np.s_[2 : half - 2]
    assert painted[left].mean() > 0
    assert painted[half + 2 : -2, 2 : half - 2].mean() < 0
    assert np.abs(painted[:, half + 4 :]).max() < np.abs(painted[:, : half - 4]).max() / 4
    assert found.signs[left].max() == 1
    assert found.signs[half:, :half].min() == -1
    assert found.probability == pytest.approx(float(upper_left_against_lower_left(quarters()[None])[0]), abs=1e-4)
    assert found.fit > 0.8


def test_the_weights_are_those_of_the_package_on_the_same_superpixels():
    def two_columns(images):
        p = upper_left_against_lower_left(np.asarray(images))
        return np.stack([1 - p, p], axis=1)

    ours = explain_by_lime(upper_left_against_lower_left, quarters(), 1, samples=100, seed=3)
    theirs = LimeImageExplainer(random_state=np.random.RandomState(3)).explain_instance(
        quarters(),
        two_columns,
        top_labels=2,
        hide_color=0,
        num_samples=100,
        segmentation_fn=lambda _: ours.segments,
    )
    expected = dict(theirs.local_exp[1])
    np.testing.assert_allclose(ours.weights, [expected[i] for i in range(len(ours.weights))], atol=1e-5)


def test_one_column_two_columns_and_the_opposite_class_agree():
    def columns(images):
        p = upper_left_against_lower_left(images)
        return np.stack([1 - p, p], axis=1)

    single = explain_by_lime(lambda images: upper_left_against_lower_left(images)[:, None], quarters(), 1, samples=60)
    double = explain_by_lime(columns, quarters(), 1, samples=60)
    other = explain_by_lime(columns, quarters(), 0, samples=60)
    np.testing.assert_array_equal(single.weights, double.weights)
    np.testing.assert_allclose(other.weights, -double.weights, atol=1e-5)
    np.testing.assert_array_equal(other.signs, -double.signs)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    first, again, other = (
        explain_by_lime(upper_left_against_lower_left, quarters(), 1, samples=60, seed=seed) for seed in (18, 18, 19)
    )
    np.testing.assert_array_equal(first.segments, again.segments)
    np.testing.assert_array_equal(first.weights, again.weights)
    assert first.weights.shape != other.weights.shape or (first.weights != other.weights).any()


def test_only_the_heaviest_superpixels_are_drawn_and_none_without_weight():
    segments = np.arange(6).reshape(2, 3)
    found = LimeExplanation(segments, np.array([0.1, -0.5, 0.0, 0.3, -0.2, 0.0]), 1, 0.9, 0.5, features=3)
    np.testing.assert_array_equal(found.heaviest, [1, 3, 4])
    np.testing.assert_array_equal(found.signs, [[0, -1, 0], [1, -1, 0]])
    everything = LimeExplanation(segments, found.weights, 1, 0.9, 0.5, features=10)
    assert len(everything.heaviest) == 4


@pytest.mark.parametrize(
    ("image", "predict", "changes", "message"),
    [
        (np.zeros((8, 8)), upper_left_against_lower_left, {}, r"\(H, W, 3\)"),
        (np.full((8, 8, 3), 200.0), upper_left_against_lower_left, {}, "within 0 to 1"),
        (np.full((8, 8, 3), np.nan), upper_left_against_lower_left, {}, "within 0 to 1"),
        (quarters(), lambda images: np.zeros((len(images), 2, 2)), {}, r"\(n,\) or \(n, classes\)"),
        (quarters(), lambda images: np.zeros(1), {"samples": 40}, "for 32 images"),
        (quarters(), lambda images: np.zeros((len(images), 3)), {"class_index": 3}, "class_index must be"),
        (quarters(), upper_left_against_lower_left, {"samples": 1}, "at least 2"),
    ],
)
def test_what_cannot_be_explained_is_refused(image, predict, changes, message):
    with pytest.raises(ValueError, match=message):
        explain_by_lime(predict, image, **({"class_index": 1, "samples": 4} | changes))
