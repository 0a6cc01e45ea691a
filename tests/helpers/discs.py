"""Radiographs of noise with a bright disc, the lung, for tests of lung segmenters."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd

from covid_keras.data.cohort import Cohort
from covid_keras.data.images import read_mask
from covid_keras.evaluation.overlap import mask_overlap, read_overlap
from covid_keras.models.lung_masks import segment_cohort
from covid_keras.training.segmenters import SegmenterKind
from covid_keras.training.trained_segmenter import TrainedSegmenter

SHAPE = (48, 40)


def make_discs(folder: Path, count: int = 8) -> tuple[Cohort, pd.Series]:
    """Write radiographs and masks; return them and the part of each.

    The last two are the validation part, of one patient; some pixels of the first do not count.
    """
    rng, rows = np.random.default_rng(0), []
    for i in range(count):
        mask = np.zeros(SHAPE, np.uint8)
        cv2.circle(mask, (int(rng.integers(14, 26)), int(rng.integers(16, 32))), int(rng.integers(9, 13)), 255, -1)
        image = np.where(mask > 0, 190, 40).astype(np.int64) + rng.integers(-15, 15, SHAPE)
        if i == 0:
            mask[:, :4] = 127
        paths = [str(folder / f"{kind}{i}.png") for kind in ("image", "mask")]
        for path, pixels in zip(paths, (image.astype(np.uint8), mask), strict=True):
            cv2.imwrite(path, pixels)
        rows.append((f"made/{i}", paths[0], f"made/p{min(i, count - 2)}", "x", paths[1]))
    table = pd.DataFrame(rows, columns=["image_id", "path", "patient_id", "label", "mask_path"])
    parts = ["train"] * (count - 2) + ["validation"] * 2
    return Cohort(table, ("x",), "made"), pd.Series(parts, index=table["image_id"])


def end_blind(training, model, data) -> SimpleNamespace:
    """In place of a training: leave a network that marks nothing."""
    model.layers[-1].bias.assign([-20.0])
    return SimpleNamespace(history=[{"epoch": 0}], seconds=1.0, best_epoch=0)


def check_marks(kind: SegmenterKind, trained: Path, cohort: Cohort, cache: Path, monkeypatch) -> dict:
    """Assert that a segmenter marks a cohort once, as it was measured; return the facts of the first time."""
    marked, facts = segment_cohort(cohort, cache, TrainedSegmenter(kind, trained))
    assert facts["computed"] == len(cohort)
    table = read_overlap(trained).set_index("image_id")
    for row, human in zip(marked.table.itertuples(), cohort.table["mask_path"], strict=True):
        found = mask_overlap(read_mask(row.mask_path, SHAPE), read_mask(human, SHAPE))
        np.testing.assert_allclose(found, table.loc[row.image_id, ["dice", "iou"]].astype(float), atol=0.02)
    monkeypatch.setattr(TrainedSegmenter, "probabilities", None)  # all masks are kept: none is made again
    assert segment_cohort(cohort, cache, TrainedSegmenter(kind, trained))[1]["computed"] == 0
    keys = [TrainedSegmenter(kind, trained, **more).key for more in ({}, {"threshold": 0.4}, {"clean": True})]
    assert keys[0] != keys[1] != keys[2] != keys[0]
    return facts
