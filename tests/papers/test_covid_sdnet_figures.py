"""The figure of transformed pairs: which picture stands where, and that nothing is transformed twice."""

from __future__ import annotations

import dataclasses
import io
from types import SimpleNamespace

import matplotlib.text
import numpy as np
import pandas as pd
import pytest

from covid_keras.data.cohort import Cohort
from covid_keras.paper.registered import load_paper
from covid_keras.reporting.examples import Examples
from covid_keras.training.runfolder import Execution
from papers.covid_sdnet import transforms
from papers.covid_sdnet.figures import Pair, pair_figure, pairs_of, transformed_pairs
from tests.helpers.images import prepared_images

SIDE = 8


def texts(figure) -> str:
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    return "\n".join(text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text())


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
    with pytest.raises(ValueError, match="no pair"):
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
    rows = [(f"i{n}", f"/data/i{n}.png", f"p{n}", "made", "NP"[n % 2], "") for n in range(3)]
    table = pd.DataFrame(rows, columns=["image_id", "path", "patient_id", "source", "label", "severity"])
    prepared = prepared_images(tmp_path, np.stack([flat(10 * (n + 1), 1) for n in range(3)]))
    prepared = dataclasses.replace(prepared, image_ids=tuple(table["image_id"]))
    execution = Execution(tmp_path / "run", "fucitnet", 0, 0)
    execution.folder.mkdir()
    (execution.folder / "best.weights.h5").write_bytes(b"weights")
    Counting.calls = 0
    monkeypatch.setattr(transforms, "load_cit", lambda protocol, before: Counting())
    paper = load_paper("covid_sdnet")
    run = SimpleNamespace(protocol=paper.protocol("smoke", {"size": [SIDE, SIDE]}))
    cohort, predictions = Cohort(table, ("N", "P")), table.assign(predicted="P")
    return Examples(paper, run, execution, None, predictions, cohort, prepared, None)


def test_pairs_are_those_that_the_twins_are_fed(examples):
    found = pairs_of(examples)
    assert [one.name for one in found] == ["i0", "i1", "i2"]
    for n, one in enumerate(found):
        levels = [int(image.max()) for image in (one.original, one.negative, one.positive)]
        assert levels == [10 * (n + 1), 10 * (n + 1) + 20, 10 * (n + 1) + 40]
    assert (found[1].label, found[1].predicted) == ("P", "P")


def test_nothing_is_transformed_twice(examples):
    ((title, caption, _),) = transformed_pairs(examples)
    assert title == "Transformed images"
    assert "fucitnet repeat 1 fold 1" in caption
    assert Counting.calls == 2, "one batch, two generators"
    twins = Execution(examples.execution.folder.parent / "twins", "covid_sdnet", 0, 0)
    of_twins = dataclasses.replace(examples, execution=twins, before=examples.execution)
    ((_, caption, _),) = transformed_pairs(of_twins)
    assert Counting.calls == 2
    assert "fucitnet repeat 1 fold 1" in caption, "the generators are those that the twins build on"


def test_both_networks_draw_their_pairs_and_say_what_a_map_is_of():
    paper = load_paper("covid_sdnet")
    drawing = {system.name for system in paper.systems if system.pictures}
    assert drawing == {name + end for name in ("fucitnet", "covid_sdnet") for end in ("", "_no_normal_pcr")}
    assert "own generator" in paper.system("fucitnet").evidence_note
    assert "P+" in paper.system("covid_sdnet_no_normal_pcr").evidence_note
    assert "capsule" in paper.system("covid_caps_retrained").evidence_note
