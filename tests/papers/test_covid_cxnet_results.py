"""What the paper's README says of its results, checked against the files."""

from __future__ import annotations

import pytest

from covid_keras.common.files import read_json
from covid_keras.evaluation.uncertainty import difference_of_sets
from covid_keras.paper.registered import load_paper
from covid_keras.reporting.heat_shares import compared_shares, read_measured
from covid_keras.reporting.results import Results, report_of
from papers.covid_cxnet.cohorts import CLASSES

PAPER = load_paper("haghanifar")
FOLDER = PAPER.folder / "results"


@pytest.fixture(scope="module")
def results() -> dict:
    return read_json(FOLDER / "cpu.json")


@pytest.fixture(scope="module")
def systems():
    return {name: part for frame in Results.committed(PAPER, "cpu").frames for name, part in frame.groupby("system")}


def test_base_v1_is_at_chance_on_other_sources(results):
    inside, outside = (results["systems"][name]["metrics"] for name in ("base_v1", "base_v1_external"))
    assert inside["accuracy"]["low"] > 75
    assert inside["accuracy"]["mean"] > 80
    assert outside["auc"]["low"] < 50
    assert outside["auc"]["mean"] < 50


def test_what_the_published_division_adds(systems):
    found = difference_of_sets(systems["base_v1_leaky"], systems["base_v1"], "accuracy")
    assert found.low > 0
    for name in ("cxnet_v1", "cxnet_v2"):
        found = difference_of_sets(systems[f"{name}_leaky"], systems[name], "accuracy")
        assert found.low < 0 < found.high
    assert difference_of_sets(systems["flat_leaky"], systems["flat"], "accuracy").high < 0


def test_heat_in_the_lungs_is_that_of_the_committed_table(results):
    records = compared_shares(read_measured(FOLDER / "cpu-heat-shares.csv"), list(report_of(PAPER).heat_pairs))
    stored = results["provenance"]["heat_shares"]
    assert [one["measure"] for one in records] == [one["measure"] for one in stored]
    for one, other in zip(records, stored, strict=True):
        assert one["difference"] == pytest.approx(other["difference"], abs=1e-4)
        assert (one["low"], one["high"]) == pytest.approx((other["low"], other["high"]), abs=1e-4)
    of = {one["measure"]: one for one in records}
    assert of["heat_in_lungs"]["low"] > 0
    assert of["lung_area"]["difference"] > 0.9 * of["heat_in_lungs"]["difference"]
    assert max(of["beyond_chance"]["a"], of["beyond_chance"]["b"]) < 0.1


def test_cap_is_the_hard_class(results):
    for name in ("flat", "hierarchical"):
        recall = {
            one: results["systems"][name]["metrics"][f"recall_{one}"]["mean"] for one in ("normal", "CAP", "COVID-19")
        }
        assert min(recall, key=recall.get) == "CAP"


def test_no_picture_is_committed():
    assert {path.suffix for path in FOLDER.iterdir()} <= {".json", ".csv"}


@pytest.mark.parametrize("profile", ["paper", "cpu"])
def test_pages_name_labels_that_only_the_code_explains(profile):
    found = Results.committed(PAPER, profile)
    stored, shown = found.provenance["cohort_counts"], found.cohort_counts
    assert list(shown.values()) == list(stored.values())
    plain = {*CLASSES, *report_of(PAPER).labels.values()}
    assert set(shown) <= plain, "no label of the code is left"
