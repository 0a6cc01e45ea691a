"""Ensembles: averages, votes, their ties, the choice of weights, and what cannot be combined."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pandas as pd
import pytest

from covid_keras.common.errors import UserError
from covid_keras.evaluation import check_predictions
from covid_keras.evaluation.decisions import decide_scores
from covid_keras.evaluation.ensembles import (
    average_predictions,
    choose_weights,
    majority_vote,
    proportional_weights,
    simplex,
    vote_predictions,
    weighted_average,
)
from tests.helpers.predictions import make_predictions

THREE = ("COVID-19", "normal", "pneumonia")


def _scores(members: int, images: int, classes: int, seed: int = 0) -> np.ndarray:
    """Made-up scores in tenths, so that ties are frequent."""
    rng = np.random.default_rng(seed)
    return (rng.multinomial(10, np.full(classes, 1 / classes), size=(members, images)) / 10).astype(np.float32)


@pytest.mark.parametrize("weights", [[2, 1, 5], [0.5, 0.25, 1.25], [0, 3, 0]])
def test_average_is_the_formula_at_any_scale_of_weights(weights):
    scores = _scores(3, 50, 3)
    found = weighted_average(scores, weights)
    np.testing.assert_allclose(found, np.average(scores, axis=0, weights=weights), atol=1e-7)
    assert found.sum(axis=1) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("weight", [5e-324, 1e-300, 1e300, 1.7e308])
def test_weights_of_any_size_neither_overflow_nor_vanish(weight):
    scores = _scores(3, 50, 3)
    np.testing.assert_allclose(weighted_average(scores, [weight] * 3), weighted_average(scores, [1, 1, 1]))


@pytest.mark.parametrize("weights", [[1, 1], [1, -1, 1], [0, 0, 0], [1, math.nan, 1], [1, math.inf, 1]])
def test_what_are_no_weights(weights):
    with pytest.raises(UserError, match="weights"):
        weighted_average(_scores(3, 4, 2), weights)


@pytest.mark.parametrize(
    ("members", "decided", "shares"),
    [
        ([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.4, 0.3, 0.3]], 0, [1, 0, 0]),
        ([[0.0, 0.4, 0.6], [0.0, 0.6, 0.4], [0.1, 0.3, 0.6]], 2, [0, 1 / 3, 2 / 3]),
        # A majority stands, however sure the minority is.
        ([[0.9, 0.1, 0.0], [0.4, 0.6, 0.0], [0.4, 0.6, 0.0]], 1, [1 / 3, 2 / 3, 0]),
        # 1-1-1: the largest summed probability.
        ([[0.5, 0.4, 0.1], [0.1, 0.8, 0.1], [0.2, 0.1, 0.7]], 1, [1 / 3] * 3),
        # 1-1-1, sums tie at 0.1 + 0.2 + 0.7, added up in other orders: the lowest index.
        ([[0.7, 0.2, 0.1], [0.1, 0.7, 0.2], [0.2, 0.1, 0.7]], 0, [1 / 3] * 3),
    ],
)
def test_votes_of_three_members(members, decided, shares):
    scores = np.array(members, np.float32)[:, None]
    found, of_votes = majority_vote(scores)
    assert found.tolist() == [decided]
    np.testing.assert_allclose(of_votes, [shares])
    lowest, _ = majority_vote(scores, ties="lowest")
    assert lowest.tolist() == [0 if max(shares) < 0.5 else decided]


def test_only_classes_that_lead_can_win_a_tie():
    # Five members: two votes each for 1 and 2, one for 0, which has the largest sum.
    scores = np.array([[1, 0, 0], [0.4, 0.6, 0], [0.4, 0.6, 0], [0.4, 0, 0.6], [0.3, 0, 0.7]])[:, None]
    assert majority_vote(scores)[0].tolist() == [2]
    assert majority_vote(scores, ties="lowest")[0].tolist() == [1]


def test_votes_of_two_classes():
    votes = np.array(list(product([0, 1], repeat=3))).T  # (members, 8)
    positive = np.where(votes == 1, 0.5, 0.49)
    decided, shares = majority_vote(np.stack([1 - positive, positive], axis=-1))
    assert decided.tolist() == [0, 0, 0, 1, 0, 1, 1, 1]
    np.testing.assert_allclose(shares[:, 1], votes.mean(axis=0))
    # Two members, one vote each: the surer one.
    assert majority_vote([[[0.1, 0.9]], [[0.8, 0.2]]])[0].tolist() == [1]
    with pytest.raises(UserError, match=r"ties 'first': .*probability, lowest"):
        majority_vote([[[0.1, 0.9]]], ties="first")


def test_vote_is_that_of_each_image_alone():
    scores = _scores(3, 300, 3, seed=4)
    decided, _ = majority_vote(scores)
    for image, found in enumerate(decided):
        votes = np.bincount([int(np.argmax(member[image])) for member in scores], minlength=3)
        sums = scores[:, image].astype(np.float64).sum(axis=0).round(6)
        assert found == max(range(3), key=lambda k: (votes[k], sums[k], -k))


def test_simplex_is_whole_steps_that_sum_to_one():
    points = simplex(3, 0.05)
    counts = np.rint(points * 20).astype(int)
    assert sorted(map(tuple, counts)) == [k for k in product(range(21), repeat=3) if sum(k) == 20]
    np.testing.assert_array_equal(points, counts / 20)
    assert all(math.fsum(row) == 1 for row in points)
    assert points[[0, -1]].tolist() == [[1, 0, 0], [0, 0, 1]]
    assert simplex(1, 0.1).tolist() == [[1]]
    assert simplex(2, 0.25).tolist() == [[1, 0], [0.75, 0.25], [0.5, 0.5], [0.25, 0.75], [0, 1]]
    assert len(simplex(3, 1 / 3)) == 10


@pytest.mark.parametrize(
    ("members", "step", "word"),
    [
        *((3, step, "must divide 1") for step in (0, -0.05, 0.3, 2, 5e-324, math.inf, math.nan)),
        (7, 0.05, "230,230 combinations"),
    ],
)
def test_a_step_divides_one_and_makes_not_too_many_weights(members, step, word):
    with pytest.raises(UserError, match=f"step .*{word}"):
        simplex(members, step)


@pytest.mark.parametrize("classes", [2, 3])
def test_weights_chosen_are_the_best_and_the_nearest_to_equal(classes):
    scores = _scores(3, 40, classes, seed=classes)
    truth = np.random.default_rng(9).integers(0, classes, 40)
    ranked = []
    for place, weights in enumerate(simplex(3, 0.1)):
        right = (decide_scores(weighted_average(scores, weights)) == truth).sum()
        distance = round(sum((weight - 1 / 3) ** 2 for weight in weights), 9)
        ranked.append((-right, distance, place, weights.tolist()))
    chosen = choose_weights(scores, truth, step=0.1)
    assert chosen.tolist() == min(ranked)[3]
    assert len({rank[0] for rank in ranked}) > 1


def test_a_member_that_is_right_gets_what_it_needs():
    truth = np.array([0, 1, 1, 0])
    right = np.where(truth == 1, 0.6, 0.4)
    scores = np.stack([np.stack([1 - p, p], axis=1) for p in (1 - right, right, 1 - right)])
    chosen = choose_weights(scores, truth)
    assert chosen[1] > 0.5
    assert (decide_scores(weighted_average(scores, chosen)) == truth).all()


def test_equally_good_members_weigh_the_same():
    scores = np.repeat(_scores(1, 30, 3), 3, axis=0)
    # 20 steps do not part into three: the earlier members take the one more.
    assert choose_weights(scores, scores[0].argmax(axis=1)).tolist() == [0.35, 0.35, 0.3]
    assert choose_weights(scores[:2], scores[0].argmax(axis=1)).tolist() == [0.5, 0.5]


def test_weights_need_images_and_their_truth():
    with pytest.raises(UserError, match="without validation images"):
        choose_weights(np.zeros((2, 0, 2)), np.zeros(0, int))
    with pytest.raises(ValueError, match="truth must have shape"):
        choose_weights(_scores(2, 4, 2), np.zeros(3, int))


def test_weights_in_proportion_to_accuracy():
    found = proportional_weights([82.16, 84.25, 81.09])
    np.testing.assert_allclose(found, np.array([82.16, 84.25, 81.09]) / 247.5)
    with pytest.raises(UserError, match="not all 0"):
        proportional_weights([0, 0])


@pytest.fixture
def members():
    """Three members of two executions: 30 validation and 30 test images each, of three classes."""
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 3, 60)
    split = np.where(np.arange(60) < 30, "validation", "test")
    frames = []
    for number in range(3):
        parts = []
        for fold in range(2):
            noise = rng.dirichlet([1, 1, 1], 60)
            scores = 0.5 * np.eye(3)[truth] * (rng.random(60) < 0.6)[:, None] + noise
            scores /= scores.sum(axis=1, keepdims=True)
            labels = np.array(THREE)[truth]
            frame = make_predictions(labels, scores, classes=THREE, system=f"net{number}", fold=fold)
            parts.append(frame.assign(split=split).sample(frac=1, random_state=number))
        frames.append(pd.concat(parts, ignore_index=True))
    return frames


def _arrays(frames: list[pd.DataFrame], fold: int, split: str) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    chosen = [frame[(frame.fold == fold) & (frame.split == split)].sort_values("image_id") for frame in frames]
    scores = np.stack([frame[[f"score_{name}" for name in THREE]].to_numpy(np.float64) for frame in chosen])
    return scores, chosen[0]["label"].map(THREE.index).to_numpy(), chosen[0]


def test_each_execution_is_averaged_by_weights_of_its_own_validation_rows(members):
    combined = average_predictions(members, system="average_multi")
    check_predictions(combined.frame)
    assert set(combined.frame["system"]) == {"average_multi"}
    assert len(combined.frame) == 120
    for fold, facts in enumerate(combined.facts):
        scores, truth, _ = _arrays(members, fold, "validation")
        weights = choose_weights(scores, truth)
        assert (facts["repeat"], facts["fold"], facts["weights"]) == (0, fold, weights.tolist())
        np.testing.assert_allclose(facts["accuracy"], 100 * (scores.argmax(axis=2) == truth).mean(axis=1))
        assert facts["accuracy_ensemble"] >= max(facts["accuracy"])
        assert facts["images"] == {"validation": 30, "test": 30}
        scores, _, _ = _arrays(members, fold, "test")
        average = weighted_average(scores, weights)
        found, _, rows = _arrays([combined.frame], fold, "test")
        np.testing.assert_allclose(found[0], average, atol=1e-7)
        assert rows["predicted"].tolist() == [THREE[k] for k in average.argmax(axis=1)]
    assert combined.facts[0]["weights"] != combined.facts[1]["weights"]


def test_test_rows_have_no_say_in_the_weights(members):
    before = average_predictions(members).facts
    for frame in members:
        rows = frame["split"] == "test"
        frame.loc[rows, [f"score_{name}" for name in THREE]] = np.float32([0.2, 0.7, 0.1])
    assert [one["weights"] for one in average_predictions(members).facts] == [one["weights"] for one in before]


def test_other_weights(members):
    facts = average_predictions(members, weights="proportional").facts[0]
    np.testing.assert_allclose(facts["weights"], np.array(facts["accuracy"]) / sum(facts["accuracy"]))
    assert average_predictions(members, weights="equal").facts[0]["weights"] == [1 / 3] * 3
    assert average_predictions(members, weights=[1, 2, 1]).facts[1]["weights"] == [0.25, 0.5, 0.25]
    coarse = np.array(average_predictions(members, step=0.5).facts[0]["weights"])
    assert np.isin(coarse, [0, 0.5, 1]).all()
    with pytest.raises(UserError, match=r"'best': .*validation, proportional, equal"):
        average_predictions(members, weights="best")
    with pytest.raises(UserError, match="got 2"):
        average_predictions(members, weights=[0.5, 0.5])


def test_votes_of_tables(members):
    combined = vote_predictions(members, system="vote_multi")
    check_predictions(combined.frame)
    scores, truth, _ = _arrays(members, 1, "validation")
    decided, shares = majority_vote(scores)
    found, _, rows = _arrays([combined.frame], 1, "validation")
    np.testing.assert_allclose(found[0], shares, atol=1e-7)
    assert rows["predicted"].tolist() == [THREE[k] for k in decided]
    assert combined.facts[1]["weights"] is None
    assert combined.facts[1]["accuracy_ensemble"] == pytest.approx(100 * (decided == truth).mean())


def test_classes_in_another_order_are_put_in_order(members):
    turned = members[1].drop(columns=[f"score_{name}" for name in THREE])
    for name in reversed(THREE):
        turned[f"score_{name}"] = members[1][f"score_{name}"]
    pd.testing.assert_frame_equal(
        average_predictions([members[0], turned]).frame, average_predictions(members[:2]).frame
    )


def test_a_split_that_a_member_lacks_is_left_out(members):
    without = [members[0], members[1][members[1]["split"] == "test"]]
    combined = average_predictions(without, weights="equal")
    assert set(combined.frame["split"]) == {"test"}
    assert {combined.facts[0][key] for key in ("accuracy", "accuracy_ensemble")} == {None}
    for weights in ("validation", "proportional"):
        with pytest.raises(UserError, match="validation rows of every member in repeat 0, fold 0"):
            average_predictions(without, weights=weights)


def _other_label(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.copy()
    row = frame.index[frame["image_id"] == "made/0007"][0]
    frame.loc[row, "label"] = next(name for name in THREE if name != frame.loc[row, "label"])
    return frame


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.rename(columns={"score_normal": "score_n"}).replace("normal", "n"), "has the classes COVID-19, n"),
        (lambda f: f[f["image_id"] != "made/0031"], r"member 2 \(net1\): lacks 1 images that member 1 .*made/0031"),
        (lambda f: f.replace("made/0031", "made/x"), r"member 2 \(net1\): lacks 1 images that member 1"),
        (_other_label, "label .* for image made/0007, but member 1"),
        (lambda f: f[f["fold"] == 0], r"has \(0, 0\) as \(repeat, fold\), but member 1"),
        (lambda f: f.assign(split=np.where(f["split"] == "test", "validation", "test")), "has split 'test' for"),
        (lambda f: pd.concat([f, f.assign(system="other")]), "systems: net1, other"),
        (lambda f: f.assign(split="train"), "has no split in common"),
    ],
)
def test_what_cannot_be_combined(members, change, words):
    with pytest.raises(UserError, match=words):
        average_predictions([members[0], change(members[1])], weights="equal")


def test_further_images_of_a_later_member_are_seen(members):
    fewer = members[0][members[0]["image_id"] != "made/0040"]
    with pytest.raises(UserError, match=r"member 1 \(net0\): lacks 1 images that member 2 \(net1\)"):
        vote_predictions([fewer, members[1]])


@pytest.mark.parametrize("number", [0, 1])
def test_an_ensemble_has_two_members_at_least(members, number):
    with pytest.raises(UserError, match=f"ensemble: has {number} members"):
        vote_predictions(members[:number])
