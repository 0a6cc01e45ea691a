"""Figures of crops and of transformed pairs; the examples, one of each severity level."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pandas as pd
import pytest

from covid_keras.data.cohort import SEVERITIES, Cohort
from covid_keras.data.prepared_images import prepare_cohort
from covid_keras.paper.registered import load_paper
from covid_keras.preprocessing import lung_bounding_box
from covid_keras.reporting.examples import Examples
from covid_keras.training.executions import Execution
from papers.covid_sdnet import transforms
from papers.covid_sdnet.figures import Pair, pair_figure, pairs_of, transformed_pairs
from papers.covid_sdnet.report import REPORT
from tests.helpers.images import prepared_images
from tests.helpers.made_results import made_run
from tests.helpers.pictures import texts

SIDE = 8


def flat(level: int, channels: int = 3) -> np.ndarray:
    return np.full((SIDE, SIDE, channels), level, np.uint8)


def pair(negative: int, positive: int, name: str = "p1") -> Pair:
    return Pair(flat(90)[..., 0], flat(negative), flat(positive), name, "P", "N")


def test_difference_is_positive_minus_negative_and_does_not_wrap():
    assert pair(200, 10).difference == pytest.approx(np.full((SIDE, SIDE), -190.0))
    coloured = Pair(flat(0)[..., 0], flat(0), flat(0) + np.array([3, 6, 9], np.uint8), "p", "P", "P")
    assert coloured.difference == pytest.approx(np.full((SIDE, SIDE), 6.0))


def test_pictures_stand_in_the_order_of_their_titles():
    figure = pair_figure([pair(200, 10), pair(40, 50, "a/very/long/name/of/an/image-0001.png")])
    shown = texts(figure)
    panels = figure.axes[:8]
    assert [axes.get_title("left") for axes in panels[:4]] == ["p1", "negative, x−", "positive, x+", "x+ minus x−"]
    drawn = [float(np.mean(axes.images[0].get_array())) for axes in panels]
    assert drawn == pytest.approx([90, 200, 10, -190, 90, 40, 50, 10])
    assert "true: P, predicted: N\n(wrong)" in shown
    assert "−190 to −190,\nmean absolute 190.0" in shown
    assert "+10 to +10" in shown
    assert "x+ minus x− (grey levels)" in shown
    limits = {(axes.images[0].norm.vmin, axes.images[0].norm.vmax) for axes in (panels[3], panels[7])}
    assert limits == {(-190.0, 190.0)}, "one symmetric scale for all rows"


def test_equal_versions_are_drawn_and_none_are_refused():
    assert "mean absolute 0.0" in texts(pair_figure([pair(7, 7)]))
    with pytest.raises(ValueError, match="no image"):
        pair_figure([])


class Counting:
    """Stands for the network: the version of class k is the image plus 20 (k + 1) grey levels."""

    calls = 0

    def transform(self, images: np.ndarray, index: int) -> np.ndarray:
        Counting.calls += 1
        return images + 20 * (index + 1) / 255


@pytest.fixture
def examples(tmp_path, monkeypatch) -> Examples:
    """Three prepared crops and an execution of FuCiTNet with weights."""
    paper = load_paper("covid_sdnet")
    rows = [(f"i{n}", f"/data/i{n}.png", f"p{n}", "made", "NP"[n % 2], "") for n in range(3)]
    table = pd.DataFrame(rows, columns=["image_id", "path", "patient_id", "source", "label", "severity"])
    prepared = prepared_images(tmp_path, np.stack([flat(10 * (n + 1), 1) for n in range(3)]))
    prepared = dataclasses.replace(prepared, image_ids=tuple(table["image_id"]))
    cohort, protocol = Cohort(table, ("N", "P")), paper.protocol("smoke", {"size": [SIDE, SIDE]})
    execution = made_run(paper, cohort, path=tmp_path, protocol=protocol).execution("fucitnet")
    execution.folder.mkdir(parents=True)
    execution.weights.write_bytes(b"weights")
    Counting.calls = 0
    monkeypatch.setattr(transforms, "load_cit", lambda protocol, before: Counting())
    return Examples(execution, table.assign(predicted="P"), cohort, prepared, None)


def test_pairs_are_those_that_the_twins_are_fed(examples):
    found = pairs_of(examples)
    assert [one.name for one in found] == ["i0", "i1", "i2"]
    for n, one in enumerate(found):
        levels = [int(image.max()) for image in (one.original, one.negative, one.positive)]
        assert levels == [10 * (n + 1), 10 * (n + 1) + 20, 10 * (n + 1) + 40]
    assert (found[1].label, found[1].predicted) == ("P", "P")


def test_nothing_is_transformed_twice(examples, monkeypatch):
    twins = dataclasses.replace(examples, execution=examples.execution.run.execution("covid_sdnet"))
    monkeypatch.setattr(Execution, "below", lambda self, name: examples.execution)
    for shown in (examples, twins):  # the generators are those that the twins build on
        ((_, caption, _),) = transformed_pairs(shown)
        assert "fucitnet repeat 1 fold 1" in caption
        assert Counting.calls == 2, "one batch, two generators"


def test_examples_are_the_surest_of_each_severity_level():
    rows = [
        (label, level, predicted, score)
        for label, levels in (("N", [""]), ("P", list(SEVERITIES)))
        for level in levels
        for predicted in "NP"
        for score in (0.6, 0.9, 0.7)
        if level != "Severe" or predicted == "P"
    ]
    frame = pd.DataFrame(rows, columns=["label", "severity", "predicted", "score_P"])
    frame = frame.assign(image_id=[f"i{n:02d}" for n in range(len(frame))], split="test")
    other = frame.assign(split="validation", score_P=0.99)
    chosen = REPORT.choose(pd.concat([other, frame.sample(frac=1, random_state=0)]))
    assert set(chosen["score_P"]) == {0.9}
    right = chosen[chosen["label"] == chosen["predicted"]]
    assert right["severity"].tolist() == [*SEVERITIES, ""]
    assert len(chosen) - len(right) == 4, "every severe image is right"
    assert chosen["label"].tolist() == ["P"] * 7 + ["N"] * 2


def test_the_crop_is_shown_beside_the_radiograph(tmp_path):
    """Figure 3: the box of both lungs with its margin, and what is cut."""
    image, mask = np.arange(100 * 120, dtype=np.int64).reshape(100, 120) % 251, np.zeros((100, 120), np.uint8)
    mask[20:60, 30:110] = 255
    paths = [str(tmp_path / name) for name in ("image.png", "mask.png")]
    for path, pixels in zip(paths, (image.astype(np.uint8), mask), strict=True):
        cv2.imwrite(path, pixels)
    table = pd.DataFrame([{"image_id": "i", "path": paths[0], "patient_id": "p", "label": "P", "mask_path": paths[1]}])
    paper, cohort = load_paper("covid_sdnet"), Cohort(table, ("N", "P"))
    execution = made_run(paper, cohort, path=tmp_path, protocol=paper.protocol("smoke")).execution("resnet50_crop")
    prepared = prepare_cohort(cohort, execution.preparation, tmp_path / "cache", workers=1)
    given = Examples(execution, table.assign(predicted="P"), cohort, prepared, None)
    ((title, words, figure),) = REPORT.pictures["resnet50_crop"](given)
    assert (title, "2.5 %" in words) == ("Before and after the crop", True)
    box = lung_bounding_box(mask, 0.025)
    plain, crop, fed = figure.axes[:3]
    np.testing.assert_array_equal(crop.images[0].get_array(), image[box.slices])
    assert plain.images[0].get_array().shape == (100, 120)
    (drawn,) = plain.patches
    assert (drawn.get_x() + 0.5, drawn.get_y() + 0.5) == (box.left, box.top)
    assert fed.images[0].get_array().shape == (64, 64)


def test_networks_draw_their_pictures_and_say_what_a_map_is_of():
    pictured = ("fucitnet", "covid_sdnet", "resnet50_crop")
    drawing = {name + end for name in pictured for end in ("", "_no_normal_pcr")}
    assert set(REPORT.pictures) == drawing
    assert "own generator" in REPORT.evidence_notes["fucitnet"]
    assert "P+" in REPORT.evidence_notes["covid_sdnet_no_normal_pcr"]
    assert "capsule" in REPORT.evidence_notes["covid_caps_retrained"]
