"""The cohorts of Hertel & Benlamri: from which collection each label is, who is left out, in which part it may be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from covid_keras.data import load_source
from covid_keras.data.cohort import Cohort
from covid_keras.data.duplicates import find_duplicates
from covid_keras.data.images import read_image
from covid_keras.paper import cohorts
from covid_keras.training.division import divide
from papers.hertel_ensemble import cohorts as labels
from papers.hertel_ensemble.cohorts import CHILDREN, COVIDGR, PUBLISHED, STAND_IN
from papers.hertel_ensemble.paper import PAPER
from tests.helpers.collections import (
    BIMCV,
    COVIDX_TRAIN,
    lines,
    make_cohen,
    make_covid_cxnet,
    make_covidgr,
    make_covidx,
    make_dicom,
    make_kermany,
    make_nih_subset,
    make_positive,
    make_ricord,
    picture,
    replace,
    stems,
)
from tests.helpers.refusals import refused

NO_PAIRS = pd.DataFrame({"image_id_a": [], "image_id_b": []})


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """The paper's collections in little, without COVIDGR-1.0; one more of BIMCV's images has dark bone."""
    pytest.importorskip("pydicom")
    root = tmp_path_factory.mktemp("published")
    covidx = make_covidx(root)
    more = [f"{90 + place} {90 + place}.png {('normal', 'pneumonia')[place % 2]} cohen" for place in range(40)]
    for row in more:
        picture(covidx / "data" / "train" / row.split()[1])
    lines(covidx / "train_COVIDx5.txt", *COVIDX_TRAIN, *more)
    ricord = make_ricord(root)
    for number in range(20):
        subject = f"MIDRC-RICORD-1C-SITE1-{number:06d}"
        make_dicom(ricord / subject / f"s{number}" / "1.1" / "1-1.dcm", subject, 50 + number)
    header = {"00280004": {"vr": "CS", "Value": ["MONOCHROME1"]}, "00280010": {"vr": "US", "Value": [16]}}
    (make_positive(root) / BIMCV.format("03001", "2", "_vp-pa_dx.json")).write_text(json.dumps(header))
    return root


@pytest.fixture(scope="module")
def with_covidgr(published, tmp_path_factory) -> Path:
    """The same, and COVIDGR-1.0."""
    root = tmp_path_factory.mktemp("all")
    for path in published.iterdir():
        if path.name != "cache":
            (root / path.name).symlink_to(path)
    make_covidgr(root, ("N/aa", "N/ab", "P/ba", "P/bb", "P/bc"), "ba,NORMAL-PCR+", "bb,MILD")
    return root


COHEN = [  # patient, finding, view
    (1, "COVID-19", "PA"),
    (1, "COVID-19", "L"),
    (2, "Pneumonia/Viral/COVID-19", "AP Supine"),
    (3, "COVID-19", "AP"),
    (4, "SARS", "PA"),
    (5, "No Finding", "AP"),
    (6, "Tuberculosis", "PA"),
    (4, "Pneumonia", "L"),
]


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory) -> Path:
    """What stands in, in little; in COVID-CXNet a child, a side view, copies of two of Cohen's (COVID-19 and SARS)."""
    root = tmp_path_factory.mktemp("stand_in")
    cohen = make_cohen(root, COHEN)
    cxnet = make_covid_cxnet(root, ("001", "010", "192-", "446p", "500"), "010.jpg,10,AP", "500.jpg,10,L")
    for name, copy in (("c0", "600"), ("c4", "601")):
        shutil.copy(cohen / "images" / f"{name}.png", cxnet / "chest_xray_images" / "covid19" / f"{copy}.png")
    make_nih_subset(root, ("1_0", "2_0"), ("1_1", "3_0", "4_0", "5_0"))
    make_kermany(root)
    return root


def _make(root: Path, profile: str, **changes) -> Cohort:
    given = {"ricord": 0, "bimcv": 0} if profile == "paper" else {"cohen": 0, "children": 0}
    return PAPER.cohort(PAPER.protocol(profile, {"cohort": given | changes}), root, root / "cache" / "made")


# --- the paper's collections


def test_every_label_is_of_its_collection(published):
    cohort = _make(published, "paper")
    assert cohort.classes == PUBLISHED
    assert cohort.counts() == dict(zip(PUBLISHED, (7, 23, 3, 22, 22), strict=True))
    of_label = cohort.table.groupby("label")["source"].unique().map("".join).to_dict()
    sources = ("covidx", "ricord", "bimcv_positive", "covidx", "covidx")
    assert of_label == dict(zip(PUBLISHED, sources, strict=True))
    assert (cohort.table["severity"] == "").all()
    assert not cohort.table["view"].str.startswith("L").any(), "frontal alone"


def test_covidgr_is_beside_it_where_it_is_at_hand(with_covidgr, published):
    cohort = _make(with_covidgr, "paper")
    assert cohort.classes == (*PUBLISHED, *COVIDGR)
    assert (cohort.counts()[labels.POSITIVE_GR], cohort.counts()[labels.NEGATIVE_GR]) == (3, 2)
    assert stems(cohort, labels.NEGATIVE_GR) == ["aa", "ab"]
    assert (cohort.table["severity"] == "").all()


def test_dark_bone_is_turned_and_nothing_else(published):
    """Or the polarity of its files would tell BIMCV, whose images are COVID-19 alone."""
    table = _make(published, "paper").table
    turned = table["path"].map(lambda path: "upright" in Path(path).parts)
    assert table["image_id"][turned].tolist() == ["bimcv_positive/sub-S03001_ses-E2_run-1_bp-chest_vp-pa_dx"]
    assert read_image(table["path"][turned].iloc[0])[0, 0] == 255, "0 in the file"
    assert all(Path(path).is_file() for path in table["path"])


@pytest.mark.parametrize(("name", "label"), [("ricord", labels.COVID_RICORD), ("bimcv", labels.COVID_BIMCV)])
def test_as_many_as_the_paper_counts_are_drawn_by_the_seed(published, name, label):
    everything = stems(_make(published, "paper"), label)
    found = [stems(_make(published, "paper", **{name: 2}, seed=seed), label) for seed in range(4)]
    assert {len(names) for names in found} == {2}
    assert len(set(map(tuple, found))) > 1
    for names in found:
        assert [name for name in everything if name in names] == names, "in the collection's order"
    assert found[0] == stems(_make(published, "paper", **{name: 2}, seed=0), label)
    refused(
        f"{len(everything) + 1} .*, but there are {len(everything)}",
        _make,
        published,
        "paper",
        **{name: len(everything) + 1},
    )


def test_the_collections_are_divided_as_the_paper_says(published):
    protocol, cohort = PAPER.protocol("paper"), _make(published, "paper")
    table = divide(cohort, protocol.split, NO_PAIRS)
    parts = {label: set(rows["split"]) for label, rows in table.groupby("label")}
    assert parts[labels.COVID_COVIDX] == {"validation", "test"}
    assert parts[labels.COVID_BIMCV] == {"train"}
    for label in (labels.COVID_RICORD, labels.NORMAL, labels.PNEUMONIA):
        assert parts[label] == {"train", "validation", "test"}
    assert table.groupby("patient_id")["split"].nunique().max() == 1
    assert set(table["image_id"]) == set(cohort.table["image_id"])


def test_a_patient_of_covidx_with_two_findings_follows_covid(published, tmp_path):
    """COVID-19 is named first: the patient's other image is tested with it, and not trained on."""
    for path in published.iterdir():
        if path.name not in ("cache", "COVIDx5"):
            (tmp_path / path.name).symlink_to(path)
    shutil.copytree(published / "COVIDx5", tmp_path / "COVIDx5")
    replace(tmp_path / "COVIDx5" / "train_COVIDx5.txt", "7 SARS-Fig4a", "311a SARS-Fig4a")
    table = divide(_make(tmp_path, "paper"), PAPER.protocol("paper").split, NO_PAIRS)
    mine = table[table["patient_id"] == "cohen/311a"]
    assert set(mine["label"]) == {labels.COVID_COVIDX, labels.PNEUMONIA}
    assert mine["split"].nunique() == 1
    assert mine["split"].iloc[0] in ("validation", "test")


# --- what stands in


def test_who_stands_in_for_whom(stand_in):
    cohort = _make(stand_in, "cpu")
    assert cohort.classes == STAND_IN
    assert {label: stems(cohort, label) for label in STAND_IN[:2]} == {
        labels.COVID_COHEN: ["c0", "c2", "c3"],
        labels.COVID_CXNET: ["001", "010", "192-"],
    }
    assert sorted(stems(cohort, labels.PNEUMONIA)) == ["00000001_000", "00000002_000", "c4", "c6"]
    assert len(stems(cohort, labels.NORMAL)) == 4
    normal = cohort.table["label"] == labels.NORMAL
    assert set(cohort.table["source"][normal]) == {"chestxray14"}, "Cohen's without finding are in none"
    assert "c5" not in set(cohort.table["image_id"].str.partition("/")[2])


def test_children_are_apart_and_taken_only_where_asked_for(stand_in):
    cohort = _make(stand_in, "cpu", children=1)
    assert cohort.classes == (*STAND_IN, *CHILDREN)
    children = cohort.table[cohort.table["label"].isin(CHILDREN)]
    assert children["label"].tolist() == list(CHILDREN)
    assert set(children["source"]) == {"kermany"}


def test_no_copy_of_cohens_images_is_trained_on(stand_in):
    """Of whatever finding, drawn or not: 600 and 601 are copies, 446p a child, 500 lateral."""
    for drawn in (0, 1):
        cohort = _make(stand_in, "cpu", cohen=drawn)
        assert stems(cohort, labels.COVID_CXNET) == ["001", "010", "192-"]
    assert len(stems(cohort, labels.COVID_COHEN)) == 1


@pytest.mark.parametrize(
    ("key", "label", "there"),
    list(zip(("cohen", "cxnet", "normal", "pneumonia"), STAND_IN, (3, 3, 4, 4), strict=True)),
)
def test_counts_are_drawn_and_what_is_too_many_is_named(stand_in, key, label, there):
    assert len(stems(_make(stand_in, "cpu", **{key: 2}), label)) == 2
    refused(f"{there + 1} .*, but there are {there}", _make, stand_in, "cpu", **{key: there + 1})


def test_each_row_needs_its_own_collections(published, with_covidgr, stand_in):
    paper, cpu = PAPER.protocol("paper", {"options": {"masks": "shipped"}}), PAPER.protocol("cpu")
    of_covidgr = {name for name in paper.systems if name.endswith(("_gr", "_gr5"))}
    assert PAPER.missing_images(paper, with_covidgr) == {}
    assert set(PAPER.missing_images(paper, published)) == of_covidgr
    assert all("COVIDGR" in reason for reason in PAPER.missing_images(paper, published).values())
    assert PAPER.missing_images(paper, stand_in)
    assert PAPER.missing_images(cpu, published)


def test_covidgr_alone_makes_its_rows(with_covidgr, tmp_path):
    (tmp_path / "COVIDGR-1.0").symlink_to(with_covidgr / "COVIDGR-1.0")
    protocol = PAPER.protocol("paper", {"options": {"masks": "shipped"}})
    assert not {"average_gr", "vote_gr5"} & set(PAPER.missing(protocol, tmp_path))
    assert set(_make(tmp_path, "paper").table["source"]) == {"covidgr"}


def test_the_phantoms_hospitals_and_patients(tmp_path):
    small = {"cohen": 5, "cxnet": 6, "normal": 4, "pneumonia": 3, "size": 32}
    cohort = PAPER.cohort(PAPER.protocol("smoke", {"cohort": small}), None, tmp_path)
    table = cohort.table
    assert cohort.classes == STAND_IN
    elsewhere = table["label"] == labels.COVID_COHEN
    assert elsewhere.equals(table["image_id"].str.startswith("elsewhere/"))
    assert not set(table["patient_id"][elsewhere]) & set(table["patient_id"][~elsewhere])
    patients = table.groupby("label")["patient_id"].nunique().to_dict()
    assert patients == dict(zip(STAND_IN, (5, 6, 4, 3), strict=True))


# --- the real images


@pytest.mark.real
@pytest.mark.slow
def test_the_real_stand_in(real_data, copies, monkeypatch):
    """The search for copies is done once, over all that is offered of both collections, and looked at here."""
    searched = []

    def search(cohort, **options):
        searched.append((cohort, find_duplicates(cohort, **options)))
        return searched[-1][1]

    monkeypatch.setattr(cohorts, "find_duplicates", search)
    protocol = PAPER.protocol("cpu")
    cohort = PAPER.cohort(protocol, real_data, copies / "made")
    table = cohort.table
    expected = dict(zip(STAND_IN, (200, 656, 456, 523), strict=True)) | dict.fromkeys(CHILDREN, 450)
    assert cohort.counts() == expected
    assert not table["child"].fillna(False).astype(bool)[table["label"] == labels.COVID_CXNET].any()
    assert not table["view"].str.startswith("L").any()
    # Both collections were searched, Cohen's whole; copies were found, none is left.
    ((offered, pairs),) = searched
    cohen = set(load_source("cohen", real_data).frontal().table["image_id"])
    assert cohen <= set(offered.table["image_id"])
    crossing = pairs[pairs["image_id_a"].isin(cohen) != pairs["image_id_b"].isin(cohen)]
    assert len(crossing) > 100
    ours = set(table.loc[table["label"] == labels.COVID_CXNET, "image_id"])
    assert not ours & {*crossing["image_id_a"], *crossing["image_id_b"]}
    # Parts, near-duplicates kept together.
    there = pairs["image_id_a"].isin(table["image_id"]) & pairs["image_id_b"].isin(table["image_id"])
    main, once = (divide(cohort, protocol.split_of(name), pairs[there]) for name in ("", "covidgr"))
    assert set(main.loc[main["label"] == labels.COVID_COHEN, "split"]) == {"validation", "test"}
    for label in (labels.COVID_CXNET, labels.NORMAL, labels.PNEUMONIA):
        assert set(main.loc[main["label"] == label, "split"]) == {"train", "validation", "test"}
    assert main.groupby("patient_id")["split"].nunique().max() == 1
    counts = {labels.COVID_COHEN: 200, labels.COVID_CXNET: 226, labels.NORMAL: 426}
    assert once["label"].value_counts().to_dict() == counts
