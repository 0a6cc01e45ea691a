"""The cohort of the head-to-head comparison: adults, nobody trained on who is tested elsewhere, matched images."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covid_keras.data.cohort import Cohort
from covid_keras.data.duplicates import find_duplicates
from covid_keras.paper.cohorts import Asked
from covid_keras.training.division import make_splits
from papers.head_to_head import cohorts as labels
from papers.head_to_head.cohorts import ACROSS, AGE_BAND, EXTERNAL, TRAINED, matched
from papers.head_to_head.paper import PAPER
from tests.helpers.collections import make_cohen, make_covid_cxnet, make_covidgr, make_nih_subset, picture, stems
from tests.helpers.refusals import refused

COHEN = [  # patient, finding, view
    (1, "COVID-19", "PA"),
    (1, "COVID-19", "L"),
    (2, "SARS", "AP"),
    (3, "No Finding", "PA"),
    (4, "COVID-19", "AP"),
]


@pytest.fixture(scope="module")
def collections(tmp_path_factory) -> Path:
    """The collections in little, COVIDGR-1.0 among them; an image of COVID-CXNet is also Cohen's."""
    root = tmp_path_factory.mktemp("data")
    views = ("010.jpg,10,AP", "011.jpg,10,PA", "500.jpg,11,L")
    cxnet = make_covid_cxnet(root, ("001", "010", "011", "446p", "500"), *views)
    make_nih_subset(root, ("1_0", "2_0"), ("0_3", "1_4"))
    cohen = make_cohen(root, COHEN)
    shutil.copy(cxnet / "chest_xray_images" / "covid19" / "010.png", cohen / "images" / "c4.png")
    covidgr = make_covidgr(root, ("N/aa", "P/ba", "P/bb"), "ba,MILD", "bb,SEVERE")
    for place, path in enumerate(sorted(covidgr.rglob("*.jpg"))):
        picture(path, 64, seed=100 + place)
    return root


def make(collections: Path, **changes) -> Cohort:
    return PAPER.cohort(PAPER.protocol("cpu", {"cohort": changes}), collections, collections / "cache" / "made")


def test_adults_of_the_trained_collections_and_all_of_cohens(collections):
    cohort = make(collections)
    assert stems(cohort, labels.COVID) == ["001"], "no lateral view, no child, no patient with an image of Cohen's"
    assert set(stems(cohort, "COVID-19, Cohen")) == {"c0", "c4"}
    assert stems(cohort, "normal, Cohen") == ["c3"]
    assert stems(cohort, "pneumonia, Cohen") == ["c2"]
    sources = cohort.table.groupby("label")["source"].agg(set).to_dict()
    assert all(sources[name] == {"cohen"} for name in ACROSS)
    assert not any("cohen" in sources[name] for name in TRAINED)


def test_no_patient_and_no_near_duplicate_is_both_trained_on_and_tested_elsewhere(collections):
    cohort = make(collections, external="covidgr")
    inside = cohort.table["label"].isin(TRAINED)
    ids = set(cohort.table.loc[inside, "image_id"])
    assert set(cohort.table.loc[inside, "patient_id"]).isdisjoint(cohort.table.loc[~inside, "patient_id"])
    pairs = find_duplicates(cohort, cache=collections / "cache")
    assert all((a in ids) == (b in ids) for a, b in zip(pairs["image_id_a"], pairs["image_id_b"], strict=True))


@pytest.mark.parametrize("ages", [[5, 40], [17.9, float("nan")]])
def test_children_are_left_out_and_unknown_ages_are_not(collections, ages, monkeypatch):
    plain = labels.load_source

    def aged(name, data):
        cohort = plain(name, data)
        return cohort if name != "cohen" else Cohort(cohort.table.assign(age=ages[0]), cohort.classes, name)

    monkeypatch.setattr(labels, "load_source", aged)
    assert not set(make(collections).table["label"]) & set(ACROSS)
    ages.reverse()
    assert set(ACROSS) <= set(make(collections).table["label"])


def test_a_further_collection_is_tested_with_its_two_classes(collections):
    cohort = make(collections, external="covidgr")
    counts = cohort.counts()
    assert [counts[name] for name in EXTERNAL] == [2, 1]
    assert PAPER.protocol("cpu", {"cohort": {"external": "covidgr"}}).systems[-1].endswith("_external")


@pytest.mark.parametrize("name", ["cohen", "chestxray14", "jsrt", "nobody"])
def test_a_further_collection_must_have_both_classes_and_be_new(collections, name):
    refused(name, make, collections, external=name)


def test_a_further_collection_that_is_missing_is_named(tmp_path):
    protocol = PAPER.protocol("cpu", {"cohort": {"external": "covidx"}})
    asked = Asked((), {}, lambda name: f"no {name}" if name == "covidx" else None)
    assert PAPER.cohorts.settings(protocol).missing(tmp_path, asked) == "no covidx"


@pytest.fixture
def phantom(tmp_path) -> Cohort:
    protocol = PAPER.protocol(
        "smoke", {"cohort": {"covid": 20, "normal": 20, "pneumonia": 20, "across": 4, "size": 48}}
    )
    return PAPER.cohort(protocol, None, tmp_path / "made")


def test_cohens_images_are_in_no_part_of_any_split(phantom):
    protocol = PAPER.protocol("smoke")
    splits, _ = make_splits(phantom, protocol, PAPER.splits_of(protocol))
    label = phantom.table.set_index("image_id")["label"]
    for name, used in (("", set(TRAINED)), ("finding", {labels.NORMAL, labels.PNEUMONIA})):
        assert set(splits[name]["image_id"].map(label)) == used
        parts = splits[name].groupby("patient_id")["split"].nunique()
        assert (parts == 1).all()


# --- matching


def rows(*groups: tuple[str, str, float, int]) -> pd.DataFrame:
    """A table of n rows of each (label, view, age, n)."""
    return pd.DataFrame(
        [(label, view, age) for label, view, age, n in groups for _ in range(n)], columns=["label", "view", "age"]
    )


def test_matched_classes_are_balanced_within_each_view_and_age_band():
    table = rows(
        ("normal", "AP", 31, 7), ("pneumonia", "AP", 39, 3), ("normal", "PA", 31, 2), ("pneumonia", "PA", 33, 5),
        ("pneumonia", "PA", 71, 4), ("normal", "AP", np.nan, 2), ("pneumonia", "AP", np.nan, 1), ("other", "AP", 31, 9),
    )  # fmt: skip
    chosen = table[matched(table, ("normal", "pneumonia"), 0)]
    counts = chosen.groupby([chosen["view"], chosen["age"] // AGE_BAND, "label"], dropna=False).size().unstack()
    assert (counts["normal"] == counts["pneumonia"]).all()
    assert sorted(counts["normal"]) == [1, 2, 3], "as many as the rarer class has"


def test_a_cohort_that_was_written_and_read_again_is_matched_alike(tmp_path):
    table = rows(("normal", "AP", 31, 7), ("pneumonia", "AP", 39, 3), ("pneumonia", "AP", np.nan, 2))
    table = table.assign(image_id=[f"i{row}" for row in range(len(table))], patient_id="p", path="x.png")
    again = Cohort.from_csv(Cohort(table, ("normal", "pneumonia")).to_csv(tmp_path / "cohort.csv")).table
    assert (matched(again, ("normal", "pneumonia"), 0) == matched(table, ("normal", "pneumonia"), 0)).all()


def test_matching_draws_by_the_seed():
    table = rows(("normal", "AP", 31, 30), ("pneumonia", "AP", 31, 5))
    masks = [matched(table, ("normal", "pneumonia"), seed).tolist() for seed in (1, 1, 2)]
    assert masks[0] == masks[1] != masks[2]


def test_without_ages_the_view_alone_is_matched():
    table = rows(("normal", "AP", 31, 3), ("pneumonia", "AP", 71, 2), ("pneumonia", "PA", 31, 2)).drop(columns="age")
    assert matched(table, ("normal", "pneumonia"), 0).sum() == 4
