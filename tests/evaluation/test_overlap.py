"""Overlaps of a trained segmenter are those of its record, or refused with the remedy."""

from __future__ import annotations

import pandas as pd
import pytest

from covid_keras.common.files import sha256_of, write_record
from covid_keras.evaluation.overlap import OVERLAP, RECORD, read_overlap, summary_of
from tests.helpers.refusals import refused

TABLE = pd.DataFrame(
    {
        "image_id": ["a/1", "a/2", "a/3"],
        "patient_id": ["p", "q", "r"],
        "part": ["train", "train", "validation"],
        **{name: [0.5, 0.25, 0.75] for name in ("dice", "iou", "dice_small", "iou_small")},
    }
)


@pytest.mark.parametrize("hashed", [True, False])
@pytest.mark.parametrize("change", [{"dice": [0.5, 0.5, 0.75]}, {"part": ["train", "validation", "validation"]}])
def test_changed_overlaps_are_refused(tmp_path, hashed, change):
    TABLE.to_csv(tmp_path / OVERLAP, index=False)
    record = {"overlap": summary_of(TABLE)} | ({"overlap_sha256": sha256_of(tmp_path / OVERLAP)} if hashed else {})
    write_record(tmp_path / RECORD, record)
    assert read_overlap(tmp_path)["dice"].tolist() == [0.5, 0.25, 0.75]
    TABLE.assign(**change).to_csv(tmp_path / OVERLAP, index=False)
    refused("overlap.csv: .*train the segmenter again", read_overlap, tmp_path)
