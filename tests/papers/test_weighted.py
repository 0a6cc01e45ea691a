"""COVIDNet's loss against numbers worked out by hand, and its batches counted."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from covid_keras.common.errors import UserError
from papers.covid_sdnet.batches import covidnet_epoch
from papers.covid_sdnet.weighted import WeightedCrossEntropy

TRUTH = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0]])
SCORES = np.array([[0.5, 0.25, 0.25], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1]], np.float32)
BY_HAND = np.array([-np.log(0.5), -4 * np.log(0.1), -2 * np.log(0.8)])
WEIGHTS = (1, 2, 4)


def test_by_hand():
    np.testing.assert_allclose(WeightedCrossEntropy(WEIGHTS, reduction="none")(TRUTH, SCORES), BY_HAND, rtol=1e-5)
    # Divided by the images, not by their weights.
    assert float(WeightedCrossEntropy(WEIGHTS)(TRUTH, SCORES)) == pytest.approx(BY_HAND.sum() / 3, rel=1e-5)


def test_logits_give_the_same():
    logits = np.log(SCORES) + np.array([[3], [-2], [0]], np.float32)
    found = WeightedCrossEntropy(WEIGHTS, from_logits=True, reduction="none")(TRUTH, logits)
    np.testing.assert_allclose(found, BY_HAND, rtol=1e-5)


def test_equal_weights_are_the_plain_cross_entropy():
    plain = keras.losses.CategoricalCrossentropy()(TRUTH, SCORES)
    assert float(WeightedCrossEntropy((1, 1, 1))(TRUTH, SCORES)) == pytest.approx(float(plain), rel=1e-6)


def test_saved_with_its_settings():
    loss = WeightedCrossEntropy(np.array([1, 2, 4]), from_logits=True, reduction="sum")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert (again.class_weights, again.from_logits) == ((1.0, 2.0, 4.0), True)
    assert float(again(TRUTH, np.log(SCORES))) == pytest.approx(BY_HAND.sum(), rel=1e-5)


def test_wrong_weights_are_refused():
    for weights in ((1, -1), (1, float("nan")), (1, float("inf"))):
        with pytest.raises(ValueError, match="class weights"):
            WeightedCrossEntropy(weights)
    with pytest.raises(ValueError, match="2 class weights for 3 classes"):
        WeightedCrossEntropy((1, 2))(TRUTH, SCORES)


OTHER, POSITIVES = np.arange(100, 153), np.arange(20)


@pytest.mark.parametrize(("share", "places"), [(0.33, 2), (0.3, 2), (0.5, 4), (0.01, 1), (0, 1), (1, 8)])
def test_each_batch_holds_so_many_positives(share, places):
    batches = covidnet_epoch(OTHER, POSITIVES, 8, share, seed=3, epoch=1)
    assert batches.shape == (7, 8)
    assert batches.dtype == np.int64
    assert ((batches < 100).sum(axis=1) == places).all()
    assert all(len(set(batch)) == 8 for batch in batches[:-1])
    assert np.isin(batches, np.concatenate([OTHER, POSITIVES])).all()


def test_the_others_come_once_but_for_those_that_fill_the_last_batch():
    seen = covidnet_epoch(OTHER, POSITIVES, 8, 0.3)
    counts = np.bincount(seen[seen >= 100] - 100, minlength=53)
    # 56 places, 3 of them filled up, 14 taken.
    assert counts.sum() == 42
    assert (counts == 2).sum() <= 3
    assert counts.max() <= 2


def test_seed_and_epoch_determine_it():
    def epoch(seed, number):
        return covidnet_epoch(OTHER, POSITIVES, 8, 0.3, seed, number)

    np.testing.assert_array_equal(epoch(5, 2), epoch(5, 2))
    different = [epoch(5, 2), epoch(5, 3), epoch(6, 2), epoch(2, 5)]
    assert len({order.tobytes() for order in different}) == 4


def test_places_and_positives_are_spread():
    others, positives = np.arange(1000, 1800), np.arange(10)
    batches = covidnet_epoch(others, positives, 8, 0.25)
    by_place = (batches < 1000).sum(axis=0)
    assert by_place.sum() == 200
    assert by_place.min() > 5
    assert np.bincount(batches[batches < 1000]).min() > 5
    assert all(len(set(batch[batch < 1000])) == 2 for batch in batches)


def test_few_images():
    assert covidnet_epoch(np.array([7]), np.array([3]), 4, 0.5).tolist()[0].count(3) == 2
    assert covidnet_epoch(np.array([7, 8]), np.array([3]), 1, 0.3).tolist() == [[3], [3]]


def test_arguments_stay():
    other, positives = OTHER.copy(), POSITIVES.copy()
    covidnet_epoch(other, positives)
    np.testing.assert_array_equal(other, OTHER)
    np.testing.assert_array_equal(positives, POSITIVES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], [1], 8, 0.3), "other classes: no image"),
        (([1], [], 8, 0.3), "positives: no image"),
        (([1], [2], 0, 0.3), "batch_size: is 0"),
        (([1], [2], 8, 1.1), "positive_share: is 1.1"),
        (([1], [2], 8, float("nan")), "positive_share: is nan"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        covidnet_epoch(*arguments)
