"""The whole way of the second paper on the phantom: divisions, seeds, a network tested elsewhere, lungs, report."""

from __future__ import annotations

import pandas as pd
import pytest

from covid_keras.common.errors import UserError
from covid_keras.common.files import read_json
from covid_keras.data.splits import check_disjoint
from covid_keras.training.export import export_weights
from covid_keras.training.runfolder import RunFolder

pytestmark = pytest.mark.slow

SET = [
    "systems=[base_v1_external, base_v2, base_v2_leaky]",
    "cohort={covid: 20, normal: 20, cap: 20, outside: 6}",
    "split.repeats=2",
    "trainings={base_v1: {epochs: 1, repeats: 2}, base_v2: {epochs: 2, repeats: 2}}",
]


@pytest.fixture(scope="module")
def smoke(reproduce):
    return reproduce("haghanifar", SET)


@pytest.fixture(scope="module")
def run(smoke) -> RunFolder:
    return smoke.run


def test_every_seed_of_every_system_is_trained(run):
    done = sorted((one.system.name, one.repeat) for one in run.executions() if one.done)
    names = ("base_v1", "base_v1_external", "base_v2", "base_v2_leaky")
    assert done == [(name, repeat) for name in names for repeat in (0, 1)]
    scores = [pd.read_csv(run.execution("base_v2", repeat, 0).predictions) for repeat in (0, 1)]
    assert scores[0]["image_id"].tolist() == scores[1]["image_id"].tolist()
    assert (scores[0]["score_COVID-19"] != scores[1]["score_COVID-19"]).any()


def test_patients_are_on_one_side_but_where_the_division_is_as_published(run):
    inside = run.cohort.filter(~run.cohort.table["label"].str.contains("outside"))
    for name in ("small", "base"):
        check_disjoint(run.splits_of(name), inside)
    with pytest.raises(UserError, match="patients"):
        check_disjoint(run.splits_of("base_leaky"), inside)


def test_the_external_test_holds_other_images_alone(run):
    trained = set(run.splits_of("small")["image_id"])
    frame = pd.read_csv(run.execution("base_v1_external", 0, 0).predictions)
    assert set(frame["split"]) == {"test"}
    assert set(frame["label"]) == {"normal", "COVID-19"}
    assert frame["image_id"].str.startswith("outside/").all()
    assert not trained & set(frame["image_id"])


def test_the_report_shows_seeds_leak_and_the_papers_matrices(smoke):
    for words in ("PHANTOM DATA", "Spread over seeds", "Split by image (as published) or by patient", "Table 7"):
        assert words in smoke.page
    comparison = smoke.comparison()
    external = comparison[comparison["table"] == "1"]
    assert external["ours"].notna().all()
    metrics = read_json(smoke.run.path / "metrics.json")["systems"]
    assert metrics["base_v2"]["metrics"]["accuracy"]["executions"] == 2


def test_weights_of_a_seed_are_written_as_one_file(run, tmp_path):
    words = export_weights(run.path, "base_v2", tmp_path / "base.h5")
    assert "base_v2 repeat 1 fold 1" in words
    assert (tmp_path / "base.h5").stat().st_size in {int(words.rsplit(" ", 1)[1])}
    with pytest.raises(UserError, match="base_v1_external"):
        export_weights(run.path, "base_v1_external", tmp_path / "none.h5")
    with pytest.raises(UserError, match="--keep-weights"):
        export_weights(run.path, "base_v2", tmp_path / "second.h5", repeat=1)
    with pytest.raises(UserError, match="base_v2 repeat 8"):
        export_weights(run.path, "base_v2", tmp_path / "none.h5", repeat=7)
    assert not (tmp_path / "none.h5").exists()
