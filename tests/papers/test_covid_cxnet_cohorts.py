"""COVID-CXNet's cohorts: which images, in which order, and that the external test is of other people."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from covid_keras.data.cohort import Cohort
from covid_keras.data.duplicates import find_duplicates
from covid_keras.paper.cohorts import Asked
from covid_keras.training.division import divide
from papers.covid_cxnet.cohorts import (
    CAP,
    CLASSES,
    COHORTS,
    COVID,
    COVID_ASIDE,
    COVID_FURTHER,
    LABELS,
    NORMAL,
    NORMAL_CHILD,
    OUTSIDE,
)
from papers.covid_cxnet.paper import PAPER
from papers.covid_cxnet.report import REPORT
from papers.covid_cxnet.rows import BASE_V1_EXTERNAL, FLAT
from tests.helpers.collections import make_cohen, make_covid_cxnet, make_nih_subset, picture, stems
from tests.helpers.refusals import refused

ALL = (*CLASSES, *OUTSIDE)
COHEN = [  # patient, finding, view
    (1, "COVID-19", "PA"),
    (2, "Pneumonia/Viral/COVID-19", "AP Supine"),
    (2, "COVID-19", "AP"),
    (3, "COVID-19", "L"),
    (4, "No Finding", "PA"),
    (5, "SARS", "PA"),
    (6, "COVID-19", "PA"),
    (7, "COVID-19", "AP"),
    (6, "COVID-19", "AP"),
    (4, "COVID-19", "PA"),
]


@pytest.fixture(scope="module")
def collections(tmp_path_factory) -> Path:
    """The three collections in little, with a copy of a COVID-19 image in the outside one."""
    root = tmp_path_factory.mktemp("data")
    views = ("010.jpg,10,AP", "500.jpg,10,L", "600.jpg,11,Lateral")
    cxnet = make_covid_cxnet(root, ("001", "010", "192-", "446p", "500", "600"), *views)
    make_nih_subset(root, ("1_0", "2_0", "3_1"), ("0_3", "1_4", "2_5", "3_6", "4_7"))
    cohen = make_cohen(root, COHEN)
    shutil.copy(cxnet / "chest_xray_images" / "covid19" / "010.png", cohen / "images" / "c6.png")
    return root


def _make(collections: Path, **changes) -> Cohort:
    return PAPER.cohort(PAPER.protocol("cpu", {"cohort": changes}), collections, collections / "cache" / "made")


# --- the radiographs


def test_the_order_is_the_authors_and_lateral_views_stay_out(collections):
    cohort = _make(collections)
    assert cohort.classes == LABELS
    labels = cohort.table["label"].tolist()
    assert labels == [COVID] * 4 + [CAP] * 3 + [NORMAL] * 5 + ["normal, outside"] + ["COVID-19, outside"] * 3
    assert stems(cohort, COVID) == ["001", "010", "192-", "446p"]
    assert (cohort.table["severity"] == "").all(), "not stratified by what only some images have"


def test_what_the_authors_left_out_in_may_2020_can_be_left_out(collections):
    assert stems(_make(collections, early=False), COVID) == ["001", "010", "446p"]
    cohort = _make(collections, early=False, children=False)
    assert stems(cohort, COVID) == ["001", "010"]
    assert stems(cohort, COVID_ASIDE) == ["192-", "446p"]


def test_counts_take_the_first_and_name_what_is_too_many(collections):
    cohort = _make(collections, covid=2, normal=3, cap=1, outside=1)
    assert cohort.counts() == dict.fromkeys(LABELS, 0) | dict(zip(ALL, (3, 1, 2, 1, 1), strict=True))
    assert stems(cohort, COVID) == ["001", "010"]
    for key, count, words in (("covid", 5, "COVID-19 images, but there are 4"), ("cap", 4, "NIH .*, but there are 3")):
        refused(f"{count} {words}", _make, collections, **{key: count})


def test_the_nih_images_are_the_seeds(collections):
    found = [stems(_make(collections, normal=2, cap=1, outside=0, seed=seed), NORMAL) for seed in (0, 1, 2, 3, 4, 5, 1)]
    assert found[1] == found[6]
    assert len(set(map(tuple, found))) > 1


def test_the_external_test_has_other_people_and_no_copies(collections):
    cohort = _make(collections)
    chosen = cohort.table[cohort.table["label"].isin(OUTSIDE)]
    assert set(chosen["source"]) == {"cohen"}
    assert chosen["patient_id"].is_unique
    # Left out: c3, lateral; c6, a copy of covid_cxnet/010, and c8 of the same patient; c9, whose patient's normal
    # image, of the rarer class, is taken.
    covid = set(stems(cohort, "COVID-19, outside"))
    assert covid in ({"c0", "c7", "c1"}, {"c0", "c7", "c2"}), "one per patient"
    assert stems(cohort, "normal, outside") == ["c4"]
    assert set(_make(collections, outside=0).table["label"]) == set(CLASSES)


def test_only_the_external_test_is_outside(collections):
    cohort = _make(collections)
    taking_part = BASE_V1_EXTERNAL.takes_part(SimpleNamespace(cohort=cohort))
    assert taking_part.tolist() == cohort.table["source"].eq("cohen").tolist()
    assert set(BASE_V1_EXTERNAL.labelled(cohort).table.loc[taking_part, "label"]) == {NORMAL, COVID}


def test_the_template_is_a_covid_image_of_the_training_part(collections):
    cohort = _make(collections)
    part = np.full(len(cohort), "train", object)
    execution = SimpleNamespace(cohort=cohort, division=part)
    assert FLAT.template(execution) == 0, "as the authors', where that is in the training part"
    part[:2] = "test", "validation"
    assert FLAT.template(execution) == 2
    assert cohort.table["label"][2] == COVID
    part[:] = "test"
    with pytest.raises(IndexError):
        FLAT.template(execution)


def test_what_is_missing_is_said_for_the_systems_that_need_it(collections, tmp_path):
    paper, cpu = (PAPER.protocol(profile) for profile in ("paper", "cpu"))
    kind = COHORTS.settings(paper)
    for name, subset in (("base_v1", True), ("base_v1_leaky", True), ("base_v2", False), ("cxnet_v1", False),
                         ("flat", False), ("level1", False)):  # fmt: skip
        images = paper.split_of(PAPER.system(name).split).images
        reason = kind.missing(collections, Asked((), images, lambda collection: None))
        assert reason is None if subset else "Data_Entry_2017.csv" in reason, name
    assert PAPER.missing_images(cpu, collections) == {}
    missing = PAPER.missing_images(paper, collections)
    lacking_kermany = {name for name, reason in missing.items() if "Kermany" in reason}
    assert {"base_v1", "base_v1_external"} < lacking_kermany
    assert {"base_v2", "cxnet_v1", "flat"} < set(missing) - lacking_kermany, "the whole of NIH's collection"
    assert not [name for name in missing if "_released" in name]
    for name in ("COVID-CXNet", "nih-chestxray14-subset"):
        (tmp_path / name).symlink_to(collections / name)
    reasons = PAPER.missing_images(cpu, tmp_path).values()
    assert all("COVID-19 Image Data Collection" in reason for reason in reasons)
    assert set(PAPER.missing_images(cpu, tmp_path)) == {"base_v1_external"}
    labels = set(PAPER.cohort(cpu, tmp_path, tmp_path / "made").table["label"])
    assert labels == {*CLASSES}
    assert PAPER.missing_images(PAPER.protocol("cpu", {"cohort": {"outside": 0}}), tmp_path) == {}


def test_children_and_further_collections_have_labels_of_their_own(collections, tmp_path):
    for folder in collections.iterdir():
        (tmp_path / folder.name).symlink_to(folder)
    for part in ("train", "test"):
        for number in range(2):
            picture(tmp_path / "chest_xray" / part / "NORMAL" / f"IM-{number}-0001.jpeg", 32, seed=number)
            picture(tmp_path / "chest_xray" / part / "PNEUMONIA" / f"person{number}_virus_1.jpeg", 32)
    for name in ("JPCNN001", "JPCNN002", "JPCLN001"):
        picture(tmp_path / "JSRT" / "All247images" / f"{name}.png", 32)
    cohort = _make(tmp_path, pediatric=3, further=True, outside=2)
    sources = cohort.table.groupby("label")["source"].agg(sorted).to_dict()
    assert sources[NORMAL_CHILD] == ["kermany"] * 3
    assert sources["normal, outside"] == ["cohen", "jsrt"], "filled up to two"
    assert sources["COVID-19, outside"] == ["cohen"] * 2
    assert sources[COVID_FURTHER] == ["cohen"] * 3
    taking_part = PAPER.system("base_v1_released_external").takes_part(SimpleNamespace(cohort=cohort))
    assert set(cohort.table["label"][taking_part]) == {*OUTSIDE, COVID_FURTHER}
    labelled = PAPER.system("base_v1_released").labelled(cohort).table["label"]
    assert set(labelled[cohort.table["label"].isin((NORMAL_CHILD, COVID_ASIDE))]) == {NORMAL}


def test_the_phantoms_external_test_is_of_another_hospital(tmp_path):
    small = {"covid": 3, "normal": 4, "cap": 2, "outside": 2, "size": 64}
    table = PAPER.cohort(PAPER.protocol("smoke", {"cohort": small}), None, tmp_path).table
    patients = table.drop_duplicates("patient_id")["label"].value_counts()
    assert patients.to_dict() == dict(zip(ALL, (4, 2, 3, 2, 2), strict=True))
    order = table["label"].drop_duplicates().tolist()
    assert order == [COVID, CAP, NORMAL, "COVID-19, outside", "normal, outside"]
    external = table["label"].isin(OUTSIDE)
    assert not set(table["patient_id"][external]) & set(table["patient_id"][~external])
    assert external.equals(table["image_id"].str.startswith("outside/"))


# --- the real radiographs


@pytest.fixture(scope="module")
def real_cohort(real_data, copies) -> Cohort:
    return PAPER.cohort(PAPER.protocol("cpu"), real_data, copies / "made")


@pytest.fixture(scope="module")
def duplicates(real_cohort, copies) -> pd.DataFrame:
    return find_duplicates(real_cohort, cache=copies)


@pytest.mark.real
@pytest.mark.slow
def test_the_real_cohort(real_cohort, duplicates):
    counts = real_cohort.counts()
    assert [counts[name] for name in (COVID, CAP, NORMAL, "COVID-19, outside")] == [898, 450, 456, 30]
    assert counts["normal, outside"] == 6, "as the note of the paper says"
    assert any("30 with COVID-19 and 6 normal ones" in text for _, text in REPORT.notes)
    inside = real_cohort.table["label"].iloc[: 898 + 450 + 456]
    assert inside.tolist() == [COVID] * 898 + [CAP] * 450 + [NORMAL] * 456
    external = real_cohort.table.loc[real_cohort.table["label"].isin(OUTSIDE), "image_id"]
    assert len(duplicates), "there are near-duplicates, none of them of an outside image"
    assert not duplicates[["image_id_a", "image_id_b"]].isin(set(external)).any().any()


def _crossing(table: pd.DataFrame, cohort: Cohort, duplicates: pd.DataFrame) -> tuple[int, int]:
    """Return how many patients, and how many pairs of near-duplicates, are in more than one part."""
    part = table.loc[table["repeat"] == 0].set_index("image_id")["split"]
    patients = cohort.table.set_index("image_id")["patient_id"].reindex(part.index)
    first, second = (duplicates[column].map(part) for column in ("image_id_a", "image_id_b"))
    pairs = first.notna() & second.notna() & (first != second)
    return int((part.groupby(patients).nunique() > 1).sum()), int(pairs.sum())


@pytest.mark.real
@pytest.mark.slow
def test_the_splits_leak_as_published_and_only_those(real_cohort, duplicates):
    """75 patients and 6 near-duplicates cross in the binary one, 103 and 6 in that of three classes."""
    protocol = PAPER.protocol("cpu")
    for name in ("", *protocol.splits):
        settings = protocol.split_of(name)
        patients, pairs = _crossing(divide(real_cohort, settings, duplicates), real_cohort, duplicates)
        if settings.leaky_as_published:
            assert patients > 20, name
            assert pairs > 0, name
        else:
            assert (patients, pairs) == (0, 0), name
