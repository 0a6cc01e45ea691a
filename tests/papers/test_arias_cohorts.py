"""The cohorts of Arias-Garzón et al.: from which collection each label is, who is curated away, what stands in."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from covid_keras.common.errors import UserError
from covid_keras.data.cohort import Cohort
from covid_keras.data.images import read_image
from papers.arias_vgg19 import cohorts as labels
from papers.arias_vgg19.cohorts import PUBLISHED, STAND_IN, available, make_cohort, settings_of, sources
from papers.arias_vgg19.experiment import PAPER, pneumonia_only

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
SMALL = {"cohort": {"covid": 12, "other": 8, "normal": 6, "pneumonia": 4, "size": 32}}


@pytest.fixture(scope="module")
def collections(collections_of, tmp_path_factory) -> Path:
    """All collections of the paper and those that stand in, in little."""
    root, arias = tmp_path_factory.mktemp("data"), collections_of("test_sources_arias")
    for name in ("bimcv_positive", "bimcv_negative", "padchest", "precovid", "kermany"):
        arias.MAKERS[name](root)
    rows = ["patientid,finding,view,modality,filename"]
    for number, (patient, finding, view) in enumerate(COHEN):
        arias.picture(root / "covid-chestxray-dataset" / "images" / f"c{number}.png")
        rows.append(f'{patient},"{finding}",{view},X-ray,c{number}.png')
    arias.lines(root / "covid-chestxray-dataset" / "metadata.csv", *rows)
    for name in ("Pneumonia/00000001_000", "Pneumonia/00000002_000", "Pneumonia/00000002_001"):
        _picture(root / "nih-chestxray14-subset" / f"{name}.jpg")
    for number in range(5):
        _picture(root / "nih-chestxray14-subset" / "No_findings" / f"0000000{number}_00{3 + number}.jpg")
    return root


def _picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((16, 16), 90, np.uint8))


def _make(collections: Path, profile: str, **changes) -> Cohort:
    given = {"padchest": [3, 1]} if profile == "paper" else {}
    return make_cohort(PAPER.protocol(profile, {"cohort": given | changes}), collections, collections / "made")


def _stems(cohort: Cohort, label: str) -> list[str]:
    return cohort.table.loc[cohort.table["label"] == label, "image_id"].str.partition("/")[2].tolist()


# --- the paper's own collections


def test_every_label_is_of_one_collection(collections):
    cohort = _make(collections, "paper")
    assert cohort.classes == PUBLISHED
    assert cohort.counts() == dict(zip(PUBLISHED, (3, 1, 1, 1, 3, 1, 2, 2, 3, 3, 3), strict=True))
    of_label = cohort.table.groupby("label")["source"].unique().map(lambda names: "".join(names)).to_dict()
    assert of_label == {
        labels.FRONTAL: "padchest",
        labels.LATERAL: "padchest",
        **dict.fromkeys(POSITIVE, "bimcv_positive"),
        labels.NEGATIVE_SHARED: "bimcv_negative",
        labels.NEGATIVE_CURATED: "bimcv_negative",
        labels.PRE_COVID: "precovid",
        labels.COMPARED_COVID: "cohen",
        labels.COMPARED_NORMAL: "kermany",
        labels.COMPARED_PNEUMONIA: "kermany",
    }
    assert cohort.table["image_id"].is_unique
    assert (cohort.table["severity"] == "").all()


def test_negatives_of_patients_who_are_positive_too_have_a_label_of_their_own(collections):
    """Experiment 2 leaves them out, Experiment 1 does not."""
    cohort = _make(collections, "paper")
    patients = {label: set(rows["patient_id"]) for label, rows in cohort.table.groupby("label")}
    positive = set().union(*(patients[label] for label in POSITIVE))
    assert patients[labels.NEGATIVE_SHARED] == {"bimcv/sub-S03002"} < positive
    assert patients[labels.NEGATIVE_CURATED] == {"bimcv/sub-S04001"}
    assert not patients[labels.NEGATIVE_CURATED] & positive


def test_lateral_positives_are_offered_as_the_paper_does(collections):
    """It is the filter that refuses them."""
    table = _make(collections, "paper").table
    views = {label: sorted(table.loc[table["label"] == label, "view"]) for label in POSITIVE}
    assert views == {labels.POSITIVE_PA: ["PA"], labels.POSITIVE_AP: ["AP"], labels.POSITIVE_OTHER: ["", "L", "L"]}
    assert set(table.loc[table["label"] == labels.COMPARED_COVID, "view"]) == {"PA", "AP", "AP Supine"}, (
        "chosen by hand"
    )


def test_dark_bone_is_turned_and_nothing_else(collections):
    """Or the polarity of the files would tell the positive collection from the negative one."""
    table = _make(collections, "paper").table
    turned = table["path"].map(lambda path: (collections / "made") in Path(path).parents)
    assert _stems(Cohort(table[turned], PUBLISHED, ""), labels.POSITIVE_OTHER) == [
        "sub-S03003_ses-E4_run-1_bp-chest_dx"
    ]
    assert turned.sum() == 1
    assert read_image(table["path"][turned].iloc[0])[0, 0] == 255, "0 in the file"


def test_the_comparison_has_kermanys_images_without_their_test_part(collections):
    """As many as the paper counts: 1,349 normal and 3,883 with pneumonia."""
    table = _make(collections, "paper").table
    mine = table[table["source"] == "kermany"]
    assert set(mine["part"]) == {"train", "val"}
    assert not mine["path"].str.contains("/test/").any()


def test_how_many_of_padchest_is_drawn_by_the_seed(collections):
    def drawn(seed: int) -> tuple[str, ...]:
        return tuple(_stems(_make(collections, "paper", padchest=[1, 1], seed=seed), labels.FRONTAL))

    of_seed = {seed: drawn(seed) for seed in range(4)}
    assert drawn(1) == of_seed[1]
    assert {len(names) for names in of_seed.values()} == {1}
    assert len(set(of_seed.values())) > 1
    with pytest.raises(UserError, match="asks for 4 of PadChest, there are 3"):
        _make(collections, "paper", padchest=[4, 1])
    assert settings_of(PAPER.protocol("paper")).padchest == (2481, 815), "table 1's"


# --- what stands in


def test_the_stand_in_says_the_view_by_its_label(collections):
    cohort = _make(collections, "cpu")
    assert cohort.classes == STAND_IN
    assert {label: _stems(cohort, label) for label in STAND_IN[:5]} == {
        labels.COVID_PA: ["c0"],
        labels.COVID_AP: ["c2", "c3"],
        labels.COVID_LATERAL: ["c1"],
        labels.OTHER: ["c4", "c6"],
        labels.OTHER_LATERAL: ["c5"],
    }
    assert (cohort.counts()[labels.NORMAL], cohort.counts()[labels.PNEUMONIA]) == (5, 3)
    nih = cohort.table["label"].isin((labels.NORMAL, labels.PNEUMONIA))
    assert set(cohort.table["source"][nih]) == {"chestxray14"}
    assert set(cohort.table["source"][~nih]) == {"cohen"}


def test_counts_are_drawn_and_what_is_too_many_is_named(collections):
    cohort = _make(collections, "cpu", covid=2, normal=1, pneumonia=2)
    counts = cohort.counts()
    assert sum(counts.get(label, 0) for label in STAND_IN[:3]) == 2
    assert [counts[label] for label in STAND_IN[3:]] == [2, 1, 1, 2]
    for key, words in (("covid", "5 COVID-19 images, there are 4"), ("normal", "6 NIH images, there are 5")):
        with pytest.raises(UserError, match=words):
            _make(collections, "cpu", **{key: int(words[0])})


def test_images_without_finding_are_no_pneumonia(collections):
    cohort = _make(collections, "cpu")
    taking_part = pneumonia_only(cohort, None, ("elsewhere", "Cohen"), 0)
    assert cohort.table["image_id"][taking_part].str.partition("/")[2].tolist() == [
        "c4", *_stems(cohort, labels.PNEUMONIA)
    ]  # fmt: skip
    without = Cohort(cohort.table.drop(columns="finding"), cohort.classes, cohort.name)
    assert pneumonia_only(without, None, (), 0).sum() == 5


@pytest.mark.real
def test_the_real_stand_in(real_data, tmp_path):
    cohort = make_cohort(PAPER.protocol("cpu"), real_data, tmp_path)
    assert cohort.counts() == dict(zip(STAND_IN, (201, 166, 21, 86, 17, 456, 450), strict=True))
    assert len(cohort.patients()) == 878
    lateral = cohort.table["label"].isin((labels.COVID_LATERAL, labels.OTHER_LATERAL))
    assert lateral.equals(cohort.table["view"].str.startswith("L"))
    cohen = cohort.table["source"] == "cohen"
    assert (lateral.sum(), cohen.sum()) == (38, 491), "who always says frontal is right in 92 %"
    control = cohort.table["label"][pneumonia_only(cohort, None, (), 0)].value_counts().to_dict()
    assert control == {labels.PNEUMONIA: 450, labels.OTHER: 73}
    assert available(PAPER.protocol("cpu"), real_data) is None
    assert "below" in available(PAPER.protocol("paper"), real_data)


# --- the phantom


def test_the_phantoms_views_and_hospitals(tmp_path):
    protocol = PAPER.protocol("smoke", SMALL)
    cohort = make_cohort(protocol, None, tmp_path / "one")
    table = cohort.table
    assert cohort.classes == STAND_IN == tuple(cohort.counts())
    elsewhere = table["label"].isin((labels.NORMAL, labels.PNEUMONIA))
    assert table["image_id"].is_unique
    assert elsewhere.equals(table["image_id"].str.startswith("elsewhere/"))
    assert not set(table["patient_id"][elsewhere]) & set(table["patient_id"][~elsewhere])
    assert table.groupby(elsewhere)["patient_id"].nunique().to_dict() == {False: 20, True: 10}
    lateral = table["label"].isin((labels.COVID_LATERAL, labels.OTHER_LATERAL))
    assert lateral.equals(table["view"] == "L")
    assert set(table["view"][elsewhere]) == {"PA"}
    assert set(table["view"][table["label"] == labels.COVID_AP]) == {"AP"}
    assert all(Path(path).is_file() for path in table["mask_path"])
    again = make_cohort(protocol, None, tmp_path / "two")
    assert again.fingerprint() == cohort.fingerprint()
    other = make_cohort(PAPER.protocol("smoke", {"cohort": SMALL["cohort"] | {"seed": 22}}), None, tmp_path / "one")
    assert other.fingerprint() != cohort.fingerprint()
    assert len(list((tmp_path / "one").iterdir())) == 4, "beside the first"


# --- what is at hand


def test_available_says_what_is_missing(collections, tmp_path):
    paper, cpu, smoke = (PAPER.protocol(name) for name in ("paper", "cpu", "smoke"))
    assert available(paper, None) == available(cpu, None) == "no data folder"
    assert available(smoke, None) is None
    assert available(paper, collections) is None
    assert available(cpu, collections) is None
    part = tmp_path / "part"
    shutil.copytree(collections / "covid-chestxray-dataset", part / "covid-chestxray-dataset")
    assert "ChestX-ray14" in available(cpu, part)
    assert "BIMCV-COVID19+" in available(paper, part)
    assert sources(cpu) == ("cohen", "chestxray14")
    assert sources(paper) == ("bimcv_positive", "bimcv_negative", "padchest", "precovid", "cohen", "kermany")
    assert sources(smoke) == ()
