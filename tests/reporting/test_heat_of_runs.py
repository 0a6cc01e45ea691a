"""Heat maps in the report of a run that was really trained, for an epoch; and which examples are shown."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from covid_keras.common.errors import UserError
from covid_keras.common.files import read_json
from covid_keras.data.preparation import Preparation
from covid_keras.evaluation import read_predictions
from covid_keras.preprocessing import lung_bounding_box
from covid_keras.reporting import results as reading
from covid_keras.reporting.examples import Examples, _framed, choose_examples
from covid_keras.reporting.results import PaperReport, Results
from covid_keras.reporting.run import report_run
from covid_keras.training.runfolder import RunFolder
from tests.helpers.made_runs import with_changed_file


@pytest.mark.parametrize("masked", [True, False])
def test_pictures_are_cut_as_the_network_sees_them(masked):
    """COVIDNet's frame of a tall picture: the top 8 % off, the middle square kept, and the lungs in the same place."""
    image = np.arange(200 * 100, dtype=np.int64).reshape(200, 100)
    mask = (image % 7 == 0).astype(np.uint8) * 255 if masked else None
    framed, lungs = _framed(image, mask, Preparation(size=(8, 8), drop_top=0.08, square=True))
    assert framed.shape == (100, 100)
    assert framed[0, 0] == (16 + 42) * 100, "16 rows off, 42 of the 84 too many above the square"
    assert (lungs is None) is not masked
    if masked:
        assert (lungs == np.where(framed % 7 == 0, 255, 0)).all()
    box = np.zeros((200, 100), np.uint8)
    box[50:100, 20:60] = 255
    cropped, lungs = _framed(image, box, Preparation(size=(8, 8), crop="lungs", margin=0.1))
    assert (cropped == image[lung_bounding_box(box, 0.1).slices]).all()
    assert (lungs == box[lung_bounding_box(box, 0.1).slices]).all()
    whole, _ = _framed(image, None, Preparation(size=(8, 8)))
    assert whole.shape == image.shape


def test_examples_are_the_surest_right_and_wrong_of_each_class(finished):
    frame = read_predictions(finished.execution("a", 0, 0).predictions)
    chosen = choose_examples(frame)
    assert set(chosen["split"]) == {"test"}
    assert not chosen.duplicated(["label", "predicted"]).any()
    test = frame[frame["split"] == "test"].assign(surest=frame[["score_N", "score_P"]].max(axis=1))
    for row in chosen.itertuples():
        group = test[(test["label"] == row.label) & (test["predicted"] == row.predicted)]
        assert max(row.score_N, row.score_P) == group["surest"].max()
    assert len(chosen) == len(test.drop_duplicates(["label", "predicted"]))


@pytest.fixture
def trained(made) -> RunFolder:
    """A run whose first execution was really trained."""
    from covid_keras.training.execution import execute

    run = made.run(training={"epochs": 1})
    execute(run.executions()[0])
    return run


@pytest.mark.slow
def test_heat_maps_of_a_trained_run(trained, monkeypatch):
    """A paper's own pictures get the examples in the order of the maps; a caption says what a map is of."""
    asked = []

    def pictures(given: Examples):
        asked.append([list(given.cohort.table["image_id"]), list(given.prepared.image_ids)])
        assert (given.system.name, given.before, given.protocol) == ("a", None, trained.protocol)
        assert given.network.count_params() == read_json(given.execution.record)["parameters"]
        return [("Twins", "Two of each.", Figure())]

    own = PaperReport(pictures={"a": pictures}, evidence_notes={"a": "Of the left half."})
    monkeypatch.setattr(reading, "report_of", lambda paper: own)
    page = report_run(trained.path).read_text()
    for words in ("INCOMPLETE: 1 of 2 executions.", "Grad-CAM: A", "Of the left half."):
        assert words in page
    assert "<strong>Twins: A.</strong> Two of each." in page
    table = pd.read_csv(trained.path / "explanations.csv")
    chosen = choose_examples(read_predictions(trained.execution("a", 0, 0).predictions)).set_index("image_id")
    assert asked == [[list(table["image_id"])] * 2] == [[list(chosen.index)] * 2]
    for row in table.itertuples():
        assert (row.system, row.predicted) == ("a", chosen.loc[row.image_id, "predicted"])
        assert {row.predicted, row.other} == {"N", "P"}
        assert row.score == pytest.approx(chosen.loc[row.image_id, ["score_N", "score_P"]].max())
    # Nobody marked lungs in these images: a share of 0 would say that the network looked beside them.
    assert table[["heat_in_lungs_predicted", "heat_in_lungs_other", "lung_area"]].isna().all(axis=None)


@pytest.mark.slow
def test_heat_is_measured_in_the_lungs_where_they_are_known(trained, monkeypatch):
    """The left half is lung, on every image; the whole test set is measured as the network's decision says."""
    asked = PaperReport(heat_systems=("a", "b"), cost_systems=("a", "b"))
    monkeypatch.setattr(reading, "report_of", lambda paper: asked)
    mask = np.zeros((32, 32), np.uint8)
    mask[:, :16] = 255
    cv2.imwrite(str(trained.path / "mask.png"), mask)
    table = trained.cohort.table.assign(mask_path=str(trained.path / "mask.png"))
    dataclasses.replace(trained.cohort, table=table).to_csv(trained.path / "masked.csv")
    run = with_changed_file(trained, "cohort.csv", (trained.path / "masked.csv").read_text())
    assert "outlined as the collection marks them" in report_run(run.path).read_text()
    found = pd.read_csv(run.path / "explanations.csv")
    assert found["lung_area"].tolist() == pytest.approx([0.5] * len(found), abs=0.01)
    assert found["heat_in_lungs_predicted"].between(0, 1).all()
    frame = read_predictions(run.execution("a", 0, 0).predictions).query("split == 'test'")
    shares = Results.of(run).source.shares
    assert shares["image_id"].tolist() == frame["image_id"].tolist()
    assert shares["lung_area"].tolist() == pytest.approx([0.5] * len(frame), abs=0.01)
    assert shares["class_index"].tolist() == (frame["predicted"] == "P").astype(int).tolist()
    assert shares["probability"].tolist() == pytest.approx(frame[["score_N", "score_P"]].max(axis=1).tolist(), rel=1e-4)
    costs = Results.of(run).source.costs
    assert costs[["system", "reference"]].to_numpy().tolist() == [["a", "a"]], "b was not run"
    assert costs["parameters"].tolist() == [read_json(run.execution("a", 0, 0).record)["parameters"]]
    assert found["heat_in_lungs_other"].dropna().between(0, 1).all(), "nothing may speak for the other class"


@pytest.mark.slow
def test_what_the_maps_need_is_named_and_the_old_report_stays(trained):
    """Only the examples' own files are needed; where one is gone, nothing is rewritten."""
    execution = trained.execution("a", 0, 0)
    chosen = choose_examples(read_predictions(execution.predictions))
    for row in trained.cohort.table.itertuples():
        if row.image_id not in set(chosen["image_id"]):
            Path(row.path).unlink()
    report_run(trained.path)

    def files() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in trained.path.iterdir() if path.is_file()}

    before, weights = files(), execution.weights
    good = weights.read_bytes()
    for damage in (good[: len(good) // 2], b"no HDF5", None):
        weights.unlink()
        if damage is not None:
            weights.write_bytes(damage)
        with pytest.raises(UserError, match=rf"{weights.name}: .*--no-heatmaps"):
            report_run(trained.path)
    weights.write_bytes(good)
    image = Path(chosen["path"].iloc[0])
    image.rename(image.with_suffix(".away"))
    with pytest.raises(UserError, match=rf"{image.name}: .*--no-heatmaps"):
        report_run(trained.path)
    assert files() == before
    report_run(trained.path, heatmaps=False)
