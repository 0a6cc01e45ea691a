"""The paper's U-Nets: the authors' measures by hand, equation 2, a tiny training that learns, masks for a cohort."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest

from covid_keras.common.errors import UserError
from covid_keras.common.settings import build
from covid_keras.data.cohort import Cohort
from covid_keras.data.images import read_mask
from covid_keras.evaluation.overlap import binary_overlap, mask_overlap
from covid_keras.models.lung_masks import segment_cohort
from covid_keras.training import segmenters as core
from covid_keras.training.segmenters import TrainedSegmenter
from papers.arias_vgg19 import segmenters
from papers.arias_vgg19.figures import mask_figure
from papers.arias_vgg19.overlap import (
    authors_dice,
    authors_iou,
    batched_iou,
    measured_of,
    read_overlap,
    soft_sums,
)
from papers.arias_vgg19.segmenters import Scaling, SegmenterSettings, UNetKind
from tests.training.test_segmenters import end_blind

SHAPE = (48, 40)
KIND = UNetKind()
TINY = SegmenterSettings(filters=8, size=16, epochs=6, batch_size=2, learning_rate=3e-3, seed=1)


def _cohort(folder, count: int = 8) -> tuple[Cohort, pd.Series]:
    """Radiographs of noise with a bright disc, the lung; the last two are the validation part, of one patient."""
    rng, rows = np.random.default_rng(0), []
    for i in range(count):
        mask = np.zeros(SHAPE, np.uint8)
        cv2.circle(mask, (int(rng.integers(14, 26)), int(rng.integers(16, 32))), int(rng.integers(9, 13)), 255, -1)
        image = np.where(mask > 0, 190, 40).astype(np.int64) + rng.integers(-15, 15, SHAPE)
        paths = [folder / kind / f"{i}.png" for kind in ("images", "masks")]
        if i == 0:
            mask[:, :4] = 127
        for path, pixels in zip(paths, (image.astype(np.uint8), mask), strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), pixels)
        rows.append(
            {
                "image_id": f"made/{i}",
                "path": str(paths[0]),
                "patient_id": f"made/p{min(i, count - 2)}",
                "label": "x",
                "mask_path": str(paths[1]),
            }
        )
    cohort = Cohort(pd.DataFrame(rows), ("x",), "made")
    parts = ["train"] * (count - 2) + ["validation"] * 2
    return cohort, pd.Series(parts, index=cohort.table["image_id"])


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Cohort, pd.Series]:
    return _cohort(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def trained(made, tmp_path_factory):
    return core.train_segmenter(KIND, "unet1", TINY, *made, tmp_path_factory.mktemp("cache") / "unet1")


# --- the authors' measures


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


def test_true_overlap_marks_from_the_threshold_on_and_leaves_ignored_pixels_out():
    lung, counts = np.array([[1, 1, 0, 0]]), np.array([[1, 1, 1, 0]])
    assert binary_overlap(lung, np.array([[0.3, 0.2, 0.0, 1.0]]), counts, 0.3) == (pytest.approx(2 / 3), 0.5)


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
    with pytest.raises(UserError, match="one grey level"):
        Scaling.of("global", images[2:])


# --- training


def test_a_tiny_training_learns_and_leaves_what_is_promised(trained, made):
    left = {"weights.h5", "history.csv", "overlap.csv", "record.json", ".lock"}
    assert {path.name for path in trained.iterdir()} == left
    record, history = json.loads((trained / "record.json").read_text()), pd.read_csv(trained / "history.csv")
    assert list(history["epoch"]) == list(range(TINY.epochs))
    assert record["best_epoch"] == history["val_dice"].idxmax()
    assert history["val_dice"].max() > history["val_dice"][0]
    assert record["settings"]["filters"] == 8
    assert record["overlap"]["validation"]["patients"] == 1
    table = read_overlap(trained)
    assert list(table["part"]) == ["train"] * 6 + ["validation"] * 2
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
    one = measured["dice_train"]
    assert one.mean == pytest.approx(100 * train["dice"].mean())
    assert one.std == pytest.approx(100 * train["dice"].std(ddof=1))
    assert (one.n_images, one.n_patients, one.system) == (6, 6, "U-Net 1")
    batches = batched_iou(train[["sum_both", "sum_lung", "sum_probability"]].to_numpy(), TINY.batch_size)
    assert len(batches) == 3
    assert measured["iou_published_train"].mean == pytest.approx(100 * batches.mean())
    for name in ("dice_train", "iou_train", "dice_published_train", "iou_published_train"):
        assert measured[name].low < measured[name].mean < measured[name].high
    assert measured["dice_validation"].low == measured["dice_validation"].high, "one patient varies in nothing"


def test_a_network_that_marks_nothing_is_warned_of(made, tmp_path, monkeypatch, caplog):
    """Without batch normalisation a training can end there; the paper's "Dice" would still look fair."""

    monkeypatch.setattr(core._Training, "fit", end_blind)
    folder = core.train_segmenter(KIND, "unet2", TINY, *made, tmp_path / "unet2")
    reached = json.loads((folder / "record.json").read_text())["overlap"]["validation"]
    assert reached["dice"] == reached["iou"] == 0
    assert reached["dice_published"] > 0.7
    assert "unet2: a true Dice of only 0.000" in caplog.text


def test_what_cannot_be_trained():
    for wrong in ({"size": 40}, {"epochs": 0}, {"threshold": 1.0}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            build(SegmenterSettings, wrong, "protocol.yaml")


def test_what_was_trained_before_still_counts(trained, made):
    """Were the keys of folders and of kept masks others, U-Nets would be trained, and masks made, anew."""
    nothing = SimpleNamespace(table=made[0].table[:0], fingerprint=str)
    training = core._Training(KIND, "unet1", TINY, nothing, pd.Series(dtype=str), None)
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


def test_the_segmenter_marks_a_cohort_and_agrees_with_what_was_measured(trained, made, tmp_path, monkeypatch):
    cohort, _ = made
    segmenter = TrainedSegmenter(KIND, trained)
    marked, facts = segment_cohort(cohort, tmp_path, segmenter)
    assert (facts["computed"], facts["threshold"], facts["mode"]) == (8, 0.3, "arias_vgg19 unet1")
    table = read_overlap(trained).set_index("image_id")
    for row, human in zip(marked.table.itertuples(), cohort.table["mask_path"], strict=True):
        found = mask_overlap(read_mask(row.mask_path, SHAPE), read_mask(human, SHAPE))
        assert found == pytest.approx(tuple(table.loc[row.image_id, ["dice", "iou"]]), abs=0.02)
    monkeypatch.setattr(TrainedSegmenter, "probabilities", None)  # all masks are kept: none is made again
    assert segment_cohort(cohort, tmp_path, TrainedSegmenter(KIND, trained))[1]["computed"] == 0
    keys = [TrainedSegmenter(KIND, trained, **more).key for more in ({}, {"threshold": 0.5}, {"clean": True})]
    assert keys[0] != keys[1] != keys[2] != keys[0]


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
