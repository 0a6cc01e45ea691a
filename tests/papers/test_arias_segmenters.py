"""The paper's U-Nets: the authors' measures by hand, equation 2, a tiny training that learns, masks for a cohort."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from covid_keras.common.errors import UserError
from covid_keras.common.settings import build
from covid_keras.data.cohort import Cohort
from covid_keras.training.segmenters import _Training, train_segmenter
from covid_keras.training.trained_segmenter import TrainedSegmenter
from papers.arias_vgg19 import segmenters
from papers.arias_vgg19.figures import mask_figure
from papers.arias_vgg19.overlap import authors_dice, batched_iou, iou_of_sums, measured_of, read_overlap, soft_sums
from papers.arias_vgg19.segmenters import Scaling, SegmenterSettings, UNetKind
from tests.helpers.discs import check_marks, end_blind, make_discs

pytestmark = pytest.mark.slow

KIND = UNetKind()
TINY = SegmenterSettings(filters=8, size=16, epochs=6, batch_size=2, learning_rate=3e-3, seed=1)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Cohort, pd.Series]:
    return make_discs(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def trained(made, tmp_path_factory):
    return train_segmenter(KIND, "unet1", TINY, *made, tmp_path_factory.mktemp("cache") / "unet1")


# --- the authors' measures


def authors_iou(lung: np.ndarray, p: np.ndarray, counts: np.ndarray | None = None) -> float:
    """The authors' IoU of one batch."""
    return float(iou_of_sums(*soft_sums(lung, p, counts)))


def test_the_authors_dice_gives_a_wrong_pixel_one_half():
    lung, p = np.array([[1, 1, 0, 0]]), np.array([[1, 0, 1, 0]])
    # right, missed, invented, right: 3/3, 1/2, 1/2, 1/1
    assert authors_dice(lung, p) == pytest.approx((1 + 0.5 + 0.5 + 1) / 4)
    assert authors_dice(lung, 1 - lung) == 0.5
    assert authors_dice(lung, lung) == 1
    assert authors_dice(lung[:, :1], np.array([[0.5]])) == pytest.approx(2 / 2.25)
    assert authors_dice(lung, p, np.array([[1, 1, 0, 0]])) == pytest.approx(0.75)
    assert math.isnan(authors_dice(lung, p, np.zeros((1, 4))))


def test_the_authors_iou_is_of_the_batch_and_of_the_probability():
    lung = np.array([[[1, 1, 0, 0]], [[0, 0, 0, 0]]])
    p = np.array([[[1, 0.5, 0, 0]], [[0.5, 0, 0, 0]]])
    assert authors_iou(lung, p) == pytest.approx((1.5 + 1) / (2 + 2 - 1.5 + 1))
    assert authors_iou(lung[1:], 0 * p[1:]) == 1
    sums = np.array([soft_sums(*pair) for pair in zip(lung, p, strict=True)])
    assert batched_iou(sums, 2) == pytest.approx([authors_iou(lung, p)])
    assert batched_iou(sums, 1) == pytest.approx([authors_iou(lung[:1], p[:1]), authors_iou(lung[1:], p[1:])])


def test_what_is_trained_on_is_what_is_measured():
    rng = np.random.default_rng(3)
    targets = (rng.random((3, 4, 4, 2)) > 0.4).astype(np.float32)
    p = rng.random((3, 4, 4, 1)).astype(np.float32)
    lung, counts = targets[..., 0], targets[..., 1]
    by_hand = [authors_dice(*row) for row in zip(lung, p[..., 0], counts, strict=True)]
    assert np.asarray(segmenters.dice(targets, p)) == pytest.approx(by_hand, rel=1e-5)
    assert np.asarray(segmenters.dice_loss(targets, p)) == pytest.approx(1 - np.array(by_hand), rel=1e-4)
    assert float(segmenters.iou(targets, p)) == pytest.approx(authors_iou(lung, p[..., 0], counts), rel=1e-5)
    elsewhere = np.where(counts[..., None] > 0, p, 1 - p)
    assert np.asarray(segmenters.dice(targets, elsewhere)) == pytest.approx(by_hand, rel=1e-5), "ignored pixels"


# --- equation 2


def test_the_three_readings_of_equation_2():
    images = np.array([[[0, 1], [0, 1]], [[0, 0], [0, 1]], [[0.5, 0.5], [0.5, 0.5]]])
    varied = images[:2]
    own = [(image - image.mean()) / image.std() for image in varied]
    whole = Scaling.of("global", images)
    assert (whole.mean, whole.std) == (pytest.approx(varied.mean()), pytest.approx(varied.std()))
    np.testing.assert_allclose(whole(varied)[..., 0], (varied - varied.mean()) / varied.std(), rtol=1e-6)
    np.testing.assert_array_equal(whole(varied), whole(varied, training=True))
    authors = Scaling.of("authors", images)
    assert authors.mean == pytest.approx((0.5 + 0.25) / 2)
    assert authors.std == pytest.approx((0.5 + math.sqrt(0.1875)) / 2)
    np.testing.assert_allclose(authors(varied, training=True)[..., 0], own, rtol=1e-6)
    np.testing.assert_allclose(authors(varied)[..., 0], (varied - authors.mean) / authors.std, rtol=1e-6)
    each = Scaling.of("per_image", images)(images)
    np.testing.assert_allclose(each[:2, ..., 0], own, rtol=1e-6)
    assert not each[2].any(), "a flat image has no spread to be divided by"
    with pytest.raises(UserError, match="single grey level"):
        Scaling.of("global", images[2:])


# --- training


def test_a_tiny_training_learns_and_leaves_what_is_promised(trained):
    record, history = json.loads((trained / "record.json").read_text()), pd.read_csv(trained / "history.csv")
    assert record["best_epoch"] == history["val_dice"].idxmax()
    assert history["val_dice"].max() > history["val_dice"][0]
    assert record["settings"]["filters"] == 8
    table = read_overlap(trained)
    assert table["dice"].mean() > 0.8, "discs are told from noise"
    # The validation images count alike and fit one batch, so the best epoch's own numbers are those of its weights.
    validation = table[table["part"] == "validation"]
    best = history.loc[record["best_epoch"]]
    assert validation["dice_published"].mean() == pytest.approx(best["val_dice"], abs=1e-5)
    assert record["overlap"]["validation"]["iou_published"] == pytest.approx(best["val_iou"], abs=1e-4)


def test_measured_in_percent_with_intervals(trained):
    measured = {one.metric: one for one in measured_of(trained, "U-Net 1")}
    kinds = ("dice", "iou", "dice_published", "iou_published")
    assert set(measured) == {f"{kind}_{part}" for kind in kinds for part in ("train", "validation")}
    table = read_overlap(trained)
    train = table[table["part"] == "train"]
    assert measured["dice_train"].mean == pytest.approx(100 * train["dice"].mean())
    batches = batched_iou(train[["sum_both", "sum_lung", "sum_probability"]].to_numpy(), TINY.batch_size)
    assert len(batches) == 3
    assert measured["iou_published_train"].mean == pytest.approx(100 * batches.mean())
    for kind in kinds:
        assert measured[f"{kind}_train"].low < measured[f"{kind}_train"].mean < measured[f"{kind}_train"].high
    assert np.isnan(measured["dice_validation"].low), "one patient says nothing of others"


def test_the_papers_dice_of_a_network_that_marks_nothing_looks_fair(made, tmp_path, monkeypatch):
    """Without batch normalisation a training can end there."""
    monkeypatch.setattr(_Training, "fit", end_blind)
    folder = train_segmenter(KIND, "unet2", TINY, *made, tmp_path / "unet2")
    reached = json.loads((folder / "record.json").read_text())["overlap"]["validation"]
    assert reached["dice"] == reached["iou"] == 0
    assert reached["dice_published"] > 0.7


def test_what_cannot_be_trained():
    for wrong in ({"size": 40}, {"epochs": 0}, {"threshold": 1.0}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            build(SegmenterSettings, wrong, "protocol.yaml")


def test_what_was_trained_before_still_counts(trained, made):
    """Were the keys of folders and of kept masks others, U-Nets would be trained, and masks made, anew."""
    nothing = SimpleNamespace(table=made[0].table[:0], fingerprint=str)
    training = _Training(KIND, "unet1", TINY, nothing, pd.Series(dtype=str), None)
    assert training.key == "e8344ab5c7d5cd17"
    key = TrainedSegmenter(KIND, trained).key
    record = json.loads((trained / "record.json").read_text())
    assert key == {
        "sha256": record["weights_sha256"],
        "threshold": 0.3,
        "clean": False,
        "algorithm": "arias_vgg19 1",
        "scaling": {"mode": "global", "mean": record["mean"], "std": record["std"]},
    }


# --- use


def test_the_segmenter_marks_a_cohort_as_it_was_measured(trained, made, tmp_path, monkeypatch):
    facts = check_marks(KIND, trained, made[0], tmp_path, monkeypatch)
    assert (facts["threshold"], facts["mode"]) == (0.3, "arias_vgg19 unet1")


def test_the_form_of_the_authors_code_is_another_network():
    published, authors = (KIND.network(replace(TINY, form=form)) for form in ("published", "authors"))
    assert published.input_shape == authors.input_shape == (None, 16, 16, 1)
    assert authors.count_params() < published.count_params()


# --- figure 3


def test_the_figure_shows_worst_median_and_best_with_both_masks(trained, made, monkeypatch):
    monkeypatch.setattr(TrainedSegmenter, "masks", lambda self, images: [np.uint8(255 * (one > 115)) for one in images])
    figure, threshold = mask_figure({"U-Net 1": trained, "U-Net 3": trained}, made[0])
    assert threshold == TrainedSegmenter(KIND, trained).threshold
    assert "U-Net 1 and U-Net 3" in figure.get_suptitle()
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    # Two validation images: the worst and the best; each with the human outline and a mask a network.
    assert len(titles) == 6
    table = read_overlap(trained)
    dice = sorted(table.loc[table["part"] == "validation", "dice"])
    assert f"{dice[0]:.3f}" in titles[1]
    assert f"{dice[-1]:.3f}" in titles[5]
    assert "worst" in titles[0]
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {"human mask", "network's mask"}
