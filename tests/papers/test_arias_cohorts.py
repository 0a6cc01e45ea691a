"""The cohorts of Arias-Garzón et al.: from which collection each label is, who is curated away, what stands in."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from covid_keras.data.cohort import Cohort
from covid_keras.data.images import read_image
from papers.arias_vgg19 import cohorts as labels
from papers.arias_vgg19.cohorts import COHORTS, PUBLISHED, STAND_IN
from papers.arias_vgg19.paper import PAPER
from papers.arias_vgg19.systems import SourceControl
from tests.helpers.collections import (
    make_cohen,
    make_kermany,
    make_negative,
    make_nih_subset,
    make_padchest,
    make_positive,
    make_precovid,
    stems,
)
from tests.helpers.refusals import refused

POSITIVE = (labels.POSITIVE_PA, labels.POSITIVE_AP, labels.POSITIVE_OTHER)
COHEN = [  # patient, finding, view
    (1, "COVID-19", "PA"),
    (1, "COVID-19, ARDS", "L"),
    (2, "Pneumonia/Viral/COVID-19", "AP Supine"),
    (3, "COVID-19", "AP"),
    (4, "SARS", "PA"),
    (4, "Pneumonia", "L"),
    (5, "No Finding", "AP"),
    (6, "todo", "PA"),
]


@pytest.fixture(scope="module")
def collections(tmp_path_factory) -> Path:
    """All collections of the paper and those that stand in, in little."""
    root = tmp_path_factory.mktemp("data")
    for make in (make_positive, make_negative, make_padchest, make_precovid, make_kermany):
        make(root)
    make_cohen(root, COHEN)
    make_nih_subset(root, ("1_0", "2_0", "2_1"), ("0_3", "1_4", "2_5", "3_6", "4_7"))
    return root


def _make(collections: Path, profile: str, **changes) -> Cohort:
    given = {"padchest": [3, 1]} if profile == "paper" else {}
    return PAPER.cohort(PAPER.protocol(profile, {"cohort": given | changes}), collections, collections / "made")


def _control(cohort: Cohort):
    """Which images take part in the control of the collections."""
    control = next(system for system in PAPER.systems if isinstance(system, SourceControl))
    return control.takes_part(SimpleNamespace(cohort=cohort))


# --- the paper's own collections


def test_every_label_is_of_one_collection(collections):
    cohort = _make(collections, "paper")
    assert cohort.classes == PUBLISHED
    assert cohort.counts() == dict(zip(PUBLISHED, (3, 1, 1, 1, 3, 1, 2, 2, 3, 3, 3), strict=True))
    of_label = cohort.table.groupby("label")["source"].unique().map("".join).to_dict()
    sources = ["padchest"] * 2 + ["bimcv_positive"] * 3 + ["bimcv_negative"] * 2
    sources += ["precovid", "cohen", "kermany", "kermany"]
    assert of_label == dict(zip(PUBLISHED, sources, strict=True))
    assert cohort.table["image_id"].is_unique
    assert (cohort.table["severity"] == "").all()


def test_negatives_of_patients_who_are_positive_too_have_a_label_of_their_own(collections):
    """Experiment 2 leaves them out, Experiment 1 does not."""
    patients = _make(collections, "paper").table.groupby("label")["patient_id"].agg(set)
    positive = set().union(*(patients[label] for label in POSITIVE))
    assert patients[labels.NEGATIVE_SHARED] == {"bimcv/sub-S03002"} < positive
    assert patients[labels.NEGATIVE_CURATED] == {"bimcv/sub-S04001"}
    assert not patients[labels.NEGATIVE_CURATED] & positive


def test_lateral_positives_are_offered_as_the_paper_does(collections):
    """It is the filter that refuses them; those that are compared with are frontal."""
    views = _make(collections, "paper").table.groupby("label")["view"].agg(sorted)
    assert [views[label] for label in POSITIVE] == [["PA"], ["AP"], ["", "L", "L"]]
    assert views[labels.COMPARED_COVID] == ["AP", "AP Supine", "PA"]


def test_dark_bone_is_turned_and_nothing_else(collections):
    """Or the polarity of the files would tell the positive collection from the negative one."""
    table = _make(collections, "paper").table
    (turned,) = table[table["path"].map(lambda path: (collections / "made") in Path(path).parents)].itertuples()
    assert turned.image_id.endswith("sub-S03003_ses-E4_run-1_bp-chest_dx")
    assert turned.label == labels.POSITIVE_OTHER
    assert read_image(turned.path)[0, 0] == 255, "0 in the file"


def test_the_comparison_has_kermanys_images_without_their_test_part(collections):
    """As many as the paper counts: 1,349 normal and 3,883 with pneumonia."""
    table = _make(collections, "paper").table
    mine = table[table["source"] == "kermany"]
    assert set(mine["part"]) == {"train", "val"}
    assert not mine["path"].str.contains("/test/").any()


def test_how_many_of_padchest_is_drawn_by_the_seed(collections):
    found = [stems(_make(collections, "paper", padchest=[1, 1], seed=seed), labels.FRONTAL) for seed in (0, 1, 2, 3, 1)]
    assert found[4] == found[1]
    assert {len(names) for names in found} == {1}
    assert len(set(map(tuple, found))) > 1
    refused("4 of PadChest, but there are 3", _make, collections, "paper", padchest=[4, 1])
    assert COHORTS.settings(PAPER.protocol("paper")).padchest == (2481, 815), "table 1's"


# --- what stands in


def test_the_stand_in_says_the_view_by_its_label(collections):
    cohort = _make(collections, "cpu")
    assert cohort.classes == STAND_IN
    found = [stems(cohort, label) for label in STAND_IN]
    assert found[:5] == [["c0"], ["c2", "c3"], ["c1"], ["c4", "c6"], ["c5"]]
    assert [len(names) for names in found[5:]] == [5, 3]
    nih = cohort.table["label"].isin((labels.NORMAL, labels.PNEUMONIA))
    assert set(cohort.table["source"][nih]) == {"chestxray14"}
    assert set(cohort.table["source"][~nih]) == {"cohen"}


def test_counts_are_drawn_and_what_is_too_many_is_named(collections):
    counts = _make(collections, "cpu", covid=2, normal=1, pneumonia=2).counts()
    assert sum(counts.get(label, 0) for label in STAND_IN[:3]) == 2
    assert [counts[label] for label in STAND_IN[3:]] == [2, 1, 1, 2]
    for key, count, words in (
        ("covid", 5, "COVID-19 images, but there are 4"),
        ("normal", 6, "NIH images, but there are 5"),
    ):
        refused(f"{count} {words}", _make, collections, "cpu", **{key: count})


def test_images_without_finding_are_no_pneumonia(collections):
    cohort = _make(collections, "cpu")
    names = cohort.table["image_id"][_control(cohort)].str.partition("/")[2].tolist()
    assert names == ["c4", *stems(cohort, labels.PNEUMONIA)]
    without = Cohort(cohort.table.drop(columns="finding"), cohort.classes, cohort.name)
    assert _control(without).sum() == 5


@pytest.mark.real
def test_the_real_stand_in(real_data, tmp_path):
    cohort = PAPER.cohort(PAPER.protocol("cpu"), real_data, tmp_path)
    assert cohort.counts() == dict(zip(STAND_IN, (201, 166, 21, 86, 17, 456, 450), strict=True))
    assert len(cohort.patients()) == 878
    lateral = cohort.table["label"].isin((labels.COVID_LATERAL, labels.OTHER_LATERAL))
    assert lateral.equals(cohort.table["view"].str.startswith("L"))
    cohen = cohort.table["source"] == "cohen"
    assert (lateral.sum(), cohen.sum()) == (38, 491), "who always says frontal is right in 92 %"
    control = cohort.table["label"][_control(cohort)].value_counts().to_dict()
    assert control == {labels.PNEUMONIA: 450, labels.OTHER: 73}


def test_the_phantoms_views_and_hospitals(tmp_path):
    small = {"covid": 12, "other": 8, "normal": 6, "pneumonia": 4, "size": 32}
    cohort = PAPER.cohort(PAPER.protocol("smoke", {"cohort": small}), None, tmp_path)
    table = cohort.table
    assert cohort.classes == STAND_IN == tuple(cohort.counts())
    other = table["label"].isin((labels.OTHER, labels.OTHER_LATERAL))
    assert other.equals(table["image_id"].str.startswith("other/")), "hospital B"
    assert table.groupby(other)["patient_id"].nunique().to_dict() == {False: 22, True: 8}
    lateral = table["label"].isin((labels.COVID_LATERAL, labels.OTHER_LATERAL))
    assert lateral.equals(table["view"] == "L")
    for finding in (labels.NORMAL, labels.PNEUMONIA):
        assert set(table["view"][table["label"] == finding]) == {"PA", "AP"}, "as the frontal COVID-19 images"
    assert set(table["view"][table["label"] == labels.COVID_AP]) == {"AP"}
