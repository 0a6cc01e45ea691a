"""COVID-CXNet's cohorts: which images, in which order, and that the external test is of other people."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import pandas as pd
import pytest

from covid_keras.common.errors import UserError
from covid_keras.data.cohort import Cohort
from covid_keras.data.duplicates import find_duplicates
from covid_keras.training.division import divide
from papers.covid_cxnet.cohorts import (
    CAP,
    CLASSES,
    COVID,
    NORMAL,
    OUTSIDE,
    available,
    make_cohort,
    sources,
)
from papers.covid_cxnet.experiment import PAPER, first_covid, outside

ALL = (*CLASSES, *OUTSIDE)
SMALL = {"cohort": {"covid": 3, "normal": 4, "cap": 2, "outside": 2, "size": 64}}


def _picture(path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 255, (64, 64)).astype(np.uint8))


@pytest.fixture(scope="module")
def collections(tmp_path_factory):
    """The three collections in little, with a copy of a COVID-19 image in the outside one."""
    root = tmp_path_factory.mktemp("data")
    images = root / "COVID-CXNet" / "chest_xray_images" / "covid19"
    for seed, stem in enumerate(("001", "010", "192-", "446p", "500", "600")):
        _picture(images / f"{stem}.png", seed)
    views = "filename,patient_id,view\n010.jpg,10,AP\n500.jpg,10,L\n600.jpg,11,Lateral\n"
    (images.parents[1] / "metadata.csv").write_text(views)
    nih = root / "nih-chestxray14-subset"
    for seed, name in enumerate(("Pneumonia/00000001_000", "Pneumonia/00000002_000", "Pneumonia/00000003_001")):
        _picture(nih / f"{name}.jpg", 20 + seed)
    for number in range(5):
        _picture(nih / "No_findings" / f"0000000{number}_00{3 + number}.jpg", 30 + number)
    cohen = root / "covid-chestxray-dataset"
    rows = ["patientid,finding,view,modality,filename"]
    for number, (patient, finding, view) in enumerate(
        [
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
    ):
        _picture(cohen / "images" / f"c{number}.png", 50 + number)
        rows.append(f"{patient},{finding},{view},X-ray,c{number}.png")
    shutil.copy(images / "010.png", cohen / "images" / "c6.png")
    (cohen / "metadata.csv").write_text("\n".join(rows) + "\n")
    return root


def _make(collections, tmp_path, **changes):
    return make_cohort(PAPER.protocol("cpu", {"cohort": changes}), collections, tmp_path)


def _stems(cohort, label: str) -> list[str]:
    return [name.split("/")[1] for name in cohort.table.loc[cohort.table["label"] == label, "image_id"]]


# --- the radiographs


def test_the_order_is_the_authors_and_lateral_views_stay_out(collections, tmp_path):
    cohort = _make(collections, tmp_path)
    assert cohort.classes == ALL == ("normal", "CAP", "COVID-19", "normal, outside", "COVID-19, outside")
    labels = cohort.table["label"].tolist()
    assert labels == [COVID] * 4 + [CAP] * 3 + [NORMAL] * 5 + ["normal, outside"] + ["COVID-19, outside"] * 3
    assert _stems(cohort, COVID) == ["001", "010", "192-", "446p"]
    assert (cohort.table["severity"] == "").all(), "not stratified by what only some images have"


def test_what_the_authors_left_out_in_may_2020_can_be_left_out(collections, tmp_path):
    assert _stems(_make(collections, tmp_path, early=False), COVID) == ["001", "010", "446p"]
    assert _stems(_make(collections, tmp_path, early=False, children=False), COVID) == ["001", "010"]


def test_counts_take_the_first_and_name_what_is_too_many(collections, tmp_path):
    cohort = _make(collections, tmp_path, covid=2, normal=3, cap=1, outside=1)
    assert cohort.counts() == dict(zip(ALL, (3, 1, 2, 1, 1), strict=True))
    assert _stems(cohort, COVID) == ["001", "010"]
    for key, words in (("covid", "5 COVID-19 images, there are 4"), ("cap", "4 NIH images Pneumonia, there are 3")):
        with pytest.raises(UserError, match=words):
            _make(collections, tmp_path, **{key: int(words[0])})


def test_the_nih_images_are_the_seeds(collections, tmp_path):
    def chosen(seed):
        return tuple(_stems(_make(collections, tmp_path, normal=2, cap=1, outside=0, seed=seed), NORMAL))

    assert chosen(1) == chosen(1)
    assert len({chosen(seed) for seed in range(6)}) > 1


def test_the_external_test_has_other_people_and_no_copies(collections, tmp_path):
    cohort = _make(collections, tmp_path)
    chosen = cohort.table[cohort.table["label"].isin(OUTSIDE)]
    assert set(chosen["source"]) == {"cohen"}
    assert chosen["patient_id"].is_unique
    stems = set(_stems(cohort, "COVID-19, outside"))
    assert "c6" not in stems, "a copy of covid_cxnet/010"
    assert "c8" not in stems, "another image of the patient of that copy"
    assert "c9" not in stems, "a patient whose normal image, of the rarer class, is taken"
    assert "c3" not in stems, "a lateral view"
    assert {"c0", "c7"} < stems
    assert len(stems & {"c1", "c2"}) == 1
    assert _stems(cohort, "normal, outside") == ["c4"]
    assert set(_make(collections, tmp_path, outside=0).table["label"]) == set(CLASSES)


def test_only_the_external_test_is_outside(collections, tmp_path):
    cohort = _make(collections, tmp_path)
    taking_part = outside(cohort, pd.DataFrame(), (NORMAL, COVID), 0)
    assert taking_part.tolist() == cohort.table["source"].eq("cohen").tolist()
    labelled = PAPER.system("base_v1_external").labelled(cohort)
    assert set(labelled.table.loc[taking_part, "label"]) == {NORMAL, COVID}


def test_the_template_is_a_covid_image_of_the_training_part(collections, tmp_path):
    cohort = _make(collections, tmp_path)
    part = np.full(len(cohort), "train", object)
    assert first_covid(cohort, part) == 0, "as the authors', where that is in the training part"
    part[:2] = "test", "validation"
    assert first_covid(cohort, part) == 2
    assert cohort.table["label"][2] == COVID
    with pytest.raises(IndexError):
        first_covid(cohort, np.full(len(cohort), "test", object))


# --- what is at hand


def test_available_says_what_is_missing(collections, tmp_path):
    paper, cpu, smoke = (PAPER.protocol(name) for name in ("paper", "cpu", "smoke"))
    assert available(paper, None) == available(cpu, None) == "no data folder"
    assert available(smoke, None) is None
    assert available(cpu, tmp_path) == f"no COVID-CXNet images below {tmp_path}"
    assert available(cpu, collections) is None
    assert "without Data_Entry_2017.csv" in available(paper, collections)
    part = tmp_path / "part"
    for name in ("COVID-CXNet", "nih-chestxray14-subset"):
        shutil.copytree(collections / name, part / name)
    assert available(cpu, part) == f"no COVID-19 Image Data Collection below {part}"
    assert available(PAPER.protocol("cpu", {"cohort": {"outside": 0}}), part) is None
    assert sources(cpu) == ("covid_cxnet", "chestxray14", "cohen")
    assert sources(smoke) == ()


# --- the phantom


def test_the_phantoms_external_test_is_of_another_hospital(tmp_path):
    protocol = PAPER.protocol("smoke", SMALL)
    cohort = make_cohort(protocol, None, tmp_path / "one")
    patients = cohort.table.drop_duplicates("patient_id")["label"].value_counts()
    assert patients.to_dict() == dict(zip(ALL, (4, 2, 3, 2, 2), strict=True))
    order = cohort.table["label"].drop_duplicates().tolist()
    assert order == [COVID, CAP, NORMAL, "COVID-19, outside", "normal, outside"]
    external = cohort.table["label"].isin(OUTSIDE)
    assert cohort.table["image_id"].is_unique
    assert not set(cohort.table["patient_id"][external]) & set(cohort.table["patient_id"][~external])
    assert external.equals(cohort.table["image_id"].str.startswith("outside/"))
    again = make_cohort(protocol, None, tmp_path / "two")
    assert again.fingerprint() == cohort.fingerprint()
    make_cohort(PAPER.protocol("smoke", {"cohort": SMALL["cohort"] | {"seed": 12}}), None, tmp_path / "one")
    assert len(list((tmp_path / "one").iterdir())) == 4, "beside the first"


# --- the real radiographs


@pytest.fixture(scope="module")
def real_cohort(real_data, tmp_path_factory) -> Cohort:
    return make_cohort(PAPER.protocol("cpu"), real_data, tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def duplicates(real_cohort) -> pd.DataFrame:
    return find_duplicates(real_cohort)


@pytest.mark.real
@pytest.mark.slow
def test_the_real_cohort(real_cohort, duplicates):
    counts = real_cohort.counts()
    assert [counts[name] for name in (COVID, CAP, NORMAL, "COVID-19, outside")] == [898, 450, 456, 30]
    assert counts["normal, outside"] == 6, "as the note of the paper says"
    assert any("30 with COVID-19 and 6 normal ones" in text for _, text in PAPER.notes)
    assert "30 and 6 of those at hand" in (PAPER.folder / "README.md").read_text(encoding="utf-8")
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
