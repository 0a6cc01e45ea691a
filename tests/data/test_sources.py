"""Sources: each official layout as made files, the real collections' counts, and what is refused."""

from __future__ import annotations

import importlib
import logging
import re
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from covid_keras.data import SOURCES, check_source, get_source, load_source
from covid_keras.data.images import read_image, read_mask
from covid_keras.data.sources.base import Source, image_ids
from tests.helpers.collections import append, empty
from tests.helpers.refusals import refused


def picture(path: Path, size: tuple[int, int] = (20, 24)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.random.default_rng(len(path.name)).integers(0, 255, size, np.uint8))
    return path


def write_rows(path: Path, header: str, *rows: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join((header, *rows)) + "\n")
    return path


def drop_column(path: Path, column: str) -> None:
    pd.read_csv(path, dtype=str, keep_default_na=False).drop(columns=column).to_csv(path, index=False)


# --- every source


@pytest.mark.parametrize("name", SOURCES)
def test_card_is_complete_and_the_module_says_what_it_is(name: str, tmp_path: Path) -> None:
    source = get_source(name)
    assert isinstance(source, Source)
    assert source.name == name
    assert source.images > 0 or name == "phantom"
    assert source.checks or name == "phantom"
    assert all((source.title, source.licence, source.size, source.layout, source.access, source.citation))
    said = importlib.import_module(f"covid_keras.data.sources.{name}").__doc__
    assert all(word in said for word in ("What\n", "Layout\n", "Cohort\n", "Known problems\n"))
    assert source.locate(tmp_path) is None
    assert source.locate(tmp_path / "absent") is None


@pytest.mark.parametrize("name", [name for name in SOURCES if name != "phantom"])
def test_absent_collection_says_where_it_looked_and_how_to_get_it(name: str, tmp_path: Path) -> None:
    assert get_source(name).url in refused(re.escape(str(tmp_path)), load_source, name, tmp_path)


def test_unknown_source_lists_the_known() -> None:
    refused(r"not a known source.*covidgr, cohen", get_source, "cohan")


def test_ids_are_stems_unless_two_files_share_one() -> None:
    assert image_ids("s", ["a.png", "b.png", "b.jpg"]) == ["s/a", "s/b.png", "s/b.jpg"]


# --- covidgr


@pytest.fixture
def covidgr(tmp_path: Path) -> Path:
    folder = tmp_path / "COVIDGR-1.0"
    for name in ("aa", "ab"):
        picture(folder / "N" / f"{name}.jpg")
    for name in ("ba", "bb", "bc", "bd", "be"):
        picture(folder / "P" / f"{name}.jpg")
    write_rows(folder / "severity.csv", "Name,Severity", "ba,NORMAL-PCR+", "bb,MILD", "bc,MODERATE", "bd,SEVERE")
    return folder


def test_covidgr_reads_labels_and_levels(covidgr: Path) -> None:
    cohort = load_source("covidgr", covidgr.parent)
    assert cohort.classes == ("N", "P")
    assert list(cohort.table["image_id"][:3]) == ["covidgr/aa", "covidgr/ab", "covidgr/ba"]
    assert list(cohort.table["severity"]) == ["", "", "Normal-PCR+", "Mild", "Moderate", "Severe", ""], (
        "a positive without a row keeps an unknown severity"
    )
    assert len(cohort.patients()) == 7
    assert read_image(cohort.table["path"][0]).shape == (20, 24)
    checks = {what: (expected, found) for what, expected, found in check_source("covidgr", covidgr)}
    levels = {"Normal-PCR+": (76, 1), "Mild": (100, 1), "Moderate": (171, 1), "Severe": (79, 1)}
    assert checks == {"N": (426, 2), "P": (426, 5), **levels}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("ba,MILD", r"severity\.csv: 'ba' is listed twice in column 'Name'"),
        ("zz,MILD", r"severity\.csv: image 'zz' of column 'Name' is not in P/"),
        ("aa,MILD", r"image 'aa' of column 'Name' is in N/, not in P/"),
        ("be,GRAVE", r"'be' has the unknown severity 'GRAVE'"),
        (",MILD", r"column 'Name' is empty in line 6"),
    ],
)
def test_covidgr_refuses_bad_rows(covidgr: Path, row: str, message: str) -> None:
    append(covidgr / "severity.csv", row)
    refused(message, load_source, "covidgr", covidgr)


def test_covidgr_refuses_missing_column_folder_and_table(covidgr: Path) -> None:
    drop_column(covidgr / "severity.csv", "Severity")
    refused(r"severity\.csv: column 'Severity' is missing", load_source, "covidgr", covidgr)
    (covidgr / "severity.csv").unlink()
    refused(r"severity\.csv: cannot be read", load_source, "covidgr", covidgr)
    empty(covidgr / "N")
    refused("N: the folder has no images", load_source, "covidgr", covidgr)
    (covidgr / "N").rmdir()
    refused("N: the folder does not exist", load_source, "covidgr", covidgr)


# --- cohen and darwin_v7

SCORES = "annotations/covid-severity-scores.csv"
COHEN = "patientid,finding,view,modality,filename,license"


@pytest.fixture
def cohen(tmp_path: Path) -> Path:
    folder = tmp_path / "covid-chestxray-dataset"
    for name in ("a.jpg", "b.png", "c.jpeg", "d.jpg", "e.jpg", "ct.png", "todo.jpg", "unlisted.jpg"):
        picture(folder / "images" / name)
    write_rows(
        folder / "metadata.csv",
        COHEN,
        "1,COVID-19,PA,X-ray,a.jpg,CC BY",
        '2,"COVID-19, ARDS",AP Supine,X-ray,b.png,',
        "3,Pneumonia/Viral/COVID-19,AP,X-ray,c.jpeg,",
        "4,Pneumonia,PA,X-ray,d.jpg,",
        "4,SARS,L,X-ray,e.jpg,",
        "5,COVID-19,Axial,CT,ct.png,",
        "6,todo,PA,X-ray,todo.jpg,",
        "5,COVID-19,Axial,CT,v.nii.gz,",
        # a second row of d.jpg: patients 4 and 7 are one person
        "7,Pneumonia,PA,X-ray,d.jpg,",
    )
    write_rows(
        folder / SCORES, "filename,geographic_mean,opacity_mean", "a.jpg,2.5,1", "d.jpg,1,1", "elsewhere.jpg,3,1"
    )
    masks = folder / "annotations" / "lung-masks-darwin-v7"
    for name in ("a", "b", "e", "unlisted"):
        picture(masks / f"{name}.png")
    return folder


def test_cohen_maps_findings_views_scores_and_masks(cohen: Path) -> None:
    cohort = load_source("cohen", cohen.parent)
    rows = cohort.table.set_index("image_id")
    assert list(rows.index) == [f"cohen/{stem}" for stem in "abcde"]
    assert list(rows["label"]) == ["COVID-19"] * 3 + ["other"] * 2
    assert rows.loc["cohen/b", "finding"] == "COVID-19, ARDS"
    assert rows.loc["cohen/a", "license"] == "CC BY"
    assert rows.loc["cohen/a", ["extent", "severity"]].tolist() == [2.5, "Moderate"]
    assert rows.loc["cohen/d", ["extent", "severity"]].tolist() == [1.0, ""], "severity is for COVID-19 only"
    assert [Path(mask).name for mask in rows["mask_path"]] == ["a.png", "b.png", "", "", "e.png"]
    assert list(cohort.frontal().table["view"]) == ["PA", "AP Supine", "AP", "PA"]


def test_cohen_joins_patients_who_share_a_file(cohen: Path) -> None:
    append(cohen / "metadata.csv", "8,Pneumonia,PA,X-ray,e.jpg,\n7,Pneumonia,PA,X-ray,a.jpg,")
    rows = load_source("cohen", cohen).table.set_index("image_id")
    assert rows.index.tolist() == [f"cohen/{name}" for name in "abcde"]
    assert rows["patient_id"].tolist() == [f"cohen/{number}" for number in (1, 2, 3, 1, 1)]


def test_cohen_counts_what_it_leaves_out(cohen: Path) -> None:
    found = get_source("cohen").count(cohen)
    assert found == {
        "X-rays": 5,
        "frontal X-rays": 4,
        "frontal COVID-19": 3,
        "patients (frontal)": 4,
        "severity scores": 2,
        "CT left out": 1,
        "images without a row left out": 1,
        "listed X-rays missing": 0,
        "undecided findings left out": 1,
    }


def test_cohen_tolerates_few_missing_files(cohen: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(20):
        picture(cohen / "images" / f"more{number}.jpg")
    with (cohen / "metadata.csv").open("a") as stream:
        stream.writelines(f"1{number},SARS,PA,X-ray,more{number}.jpg,\n" for number in range(20))
    (cohen / "images" / "more3.jpg").unlink()
    with caplog.at_level(logging.INFO):
        assert get_source("cohen").count(cohen)["listed X-rays missing"] == 1
    assert "more3.jpg" in caplog.text
    for number in range(4, 10):
        (cohen / "images" / f"more{number}.jpg").unlink()
    refused(r"more3\.jpg: .*6 of", load_source, "cohen", cohen)


def test_cohen_is_not_taken_for_another_collection_with_a_metadata_table(tmp_path: Path) -> None:
    write_rows(tmp_path / "metadata.csv", "image,patient,label", "1,2,3")
    assert get_source("cohen").locate(tmp_path) is None
    write_rows(tmp_path / "metadata.csv", COHEN, "1,COVID-19,PA,X-ray,a.jpg,")
    assert get_source("cohen").locate(tmp_path) == tmp_path.resolve()


def test_cohen_without_scores_has_no_severity(cohen: Path) -> None:
    (cohen / SCORES).unlink()
    assert load_source("cohen", cohen).table["extent"].isna().all()


@pytest.mark.parametrize(
    ("file", "row", "message"),
    [
        (SCORES, "a.jpg,1,1", "'a.jpg' is listed twice in column 'filename'"),
        (SCORES, "b.png,much,1", "'much' in column 'geographic_mean' of 'b.png'"),
        (SCORES, "b.png,9,1", "9 in column 'geographic_mean' of 'b.png' lies outside"),
        ("metadata.csv", ",COVID-19,PA,X-ray,b.png,", "line '11' .*patientid"),
    ],
)
def test_cohen_refuses_bad_cells(cohen: Path, file: str, row: str, message: str) -> None:
    append(cohen / file, row)
    assert Path(file).name in refused(message, load_source, "cohen", cohen)


@pytest.mark.parametrize("column", ["patientid", "finding", "view", "modality", "filename"])
def test_cohen_refuses_a_missing_column(cohen: Path, column: str) -> None:
    drop_column(cohen / "metadata.csv", column)
    refused(rf"metadata\.csv: column '{column}' is missing", load_source, "cohen", cohen)


def test_darwin_v7_is_the_frontal_images_with_a_mask(cohen: Path) -> None:
    cohort = load_source("darwin_v7", cohen.parent)
    assert list(cohort.table["image_id"]) == ["cohen/a", "cohen/b"]
    assert get_source("darwin_v7").count(cohen) == {"masks": 4, "frontal X-rays with a mask": 2}
    assert get_source("darwin_v7").locate(cohen) == cohen.resolve()
    masks = cohen / "annotations" / "lung-masks-darwin-v7"
    (masks / "a.png").unlink()
    (masks / "b.png").unlink()
    refused("name of a frontal X-ray", load_source, "darwin_v7", cohen)
    empty(masks)
    masks.rmdir()
    assert get_source("darwin_v7").locate(cohen.parent) is None


# --- covid_cxnet


@pytest.fixture
def cxnet(tmp_path: Path) -> Path:
    folder = tmp_path / "COVID-CXNet"
    for name in ("001.jpg", "010.jpeg", "192-.png", "481p-.jpg", "446p.jpg"):
        picture(folder / "chest_xray_images" / "covid19" / name)
    write_rows(
        folder / "metadata.csv",
        "filename,patient_id,view",
        "010.png,10,AP",
        "446p.jpg,10,",
        "192-.png,,PA",
        "507.webp,12,",
    )
    return folder


def test_covid_cxnet_joins_by_stem_and_reads_the_flags(cxnet: Path) -> None:
    cohort = load_source("covid_cxnet", cxnet.parent)
    rows = cohort.table.set_index("image_id")
    assert cohort.counts() == {"COVID-19": 5}
    assert rows.index.tolist() == [f"covid_cxnet/{name}" for name in ("001", "010", "192-", "446p", "481p-")]
    patients = ("unknown-001", "10", "unknown-192-", "10", "unknown-481p-")
    assert rows["patient_id"].tolist() == [f"covid_cxnet/{name}" for name in patients]
    assert list(rows.index[rows["early"]]) == ["covid_cxnet/192-", "covid_cxnet/481p-"]
    assert list(rows.index[rows["child"]]) == ["covid_cxnet/446p", "covid_cxnet/481p-"]
    assert rows.loc["covid_cxnet/010", "view"] == "AP"


def test_covid_cxnet_refuses_bad_tables(cxnet: Path) -> None:
    append(cxnet / "metadata.csv", "010.jpeg,11,")
    refused(r"metadata\.csv: image '010.jpeg' is listed twice", load_source, "covid_cxnet", cxnet)
    write_rows(cxnet / "metadata.csv", "filename,patient_id,view", "z.jpg,1,")
    refused(r"z\.jpg: .*missing", load_source, "covid_cxnet", cxnet)
    write_rows(cxnet / "metadata.csv", "filename,view", "001.jpg,")
    refused("column 'patient_id' is missing", load_source, "covid_cxnet", cxnet)


# --- chestxray14

NIH = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,View Position"


@pytest.fixture
def nih(tmp_path: Path) -> Path:
    folder = tmp_path / "ChestX-ray14"
    picture(folder / "images_001" / "images" / "00000001_000.png")
    picture(folder / "images_001" / "images" / "00000001_001.png")
    picture(folder / "images_002" / "images" / "00000002_000.png")
    write_rows(
        folder / "Data_Entry_2017.csv",
        NIH,
        "00000001_000.png,No Finding,0,1,58,PA",
        "00000001_001.png,Effusion|Pneumonia,1,1,58,AP",
        "00000002_000.png,Cardiomegaly,0,2,81,PA",
    )
    return folder


@pytest.fixture
def subset(tmp_path: Path) -> Path:
    folder = tmp_path / "nih-chestxray14-subset"
    for name in ("No_findings/00000061_000", "No_findings/00000150_002", "Pneumonia/00000061_012"):
        picture(folder / f"{name}.jpg")
    return folder


def test_whole_chestxray14(nih: Path) -> None:
    cohort = load_source("chestxray14", nih.parent)
    assert cohort.counts() == {"No_findings": 1, "Pneumonia": 1, "other": 1}
    assert list(cohort.table["finding"]) == ["No Finding", "Effusion|Pneumonia", "Cardiomegaly"]
    assert cohort.patients() == ["chestxray14/00000001", "chestxray14/00000002"]
    assert list(cohort.table["view"]) == ["PA", "AP", "PA"]
    assert list(cohort.table["follow_up"]) == [0, 1, 0]
    assert check_source("chestxray14", nih) == [("images", 112_120, 3), ("patients", 30_805, 2)]


def test_subset_groups_patients_over_both_folders(subset: Path) -> None:
    cohort = load_source("chestxray14", subset.parent)
    assert cohort.classes == ("No_findings", "Pneumonia")
    assert cohort.patients() == ["chestxray14/00000061", "chestxray14/00000150"]
    assert list(cohort.table["image_id"]) == [
        "chestxray14/00000061_000",
        "chestxray14/00000150_002",
        "chestxray14/00000061_012",
    ]
    assert ("patients", 612, 2) in check_source("chestxray14", subset)


def test_subset_refuses_an_image_in_both_folders_and_odd_names(subset: Path) -> None:
    picture(subset / "Pneumonia" / "00000150_002.jpg")
    refused(r"image '00000150_002' is there twice \(No_findings/.*Pneumonia/", load_source, "chestxray14", subset)
    (subset / "Pneumonia" / "00000150_002.jpg").rename(subset / "Pneumonia" / "person7.jpg")
    refused(r"person7\.jpg: is not named <patient>_<follow-up>", load_source, "chestxray14", subset)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("00000003_000.png,No Finding,0,3,58,PA", "'00000003_000.png' of column 'Image Index' is missing"),
        ("00000001_000.png,No Finding,0,1,58,PA", "'00000001_000.png' is listed twice in column 'Image Index'"),
        ("00000001_002.png,Effusion|Flu,2,1,58,PA", "00000001_002.png.*'Flu'"),
        ("00000001_002.png,Effusion,2,one,58,PA", "00000001_002.png.*'Patient ID': one"),
    ],
)
def test_whole_chestxray14_refuses_bad_rows(nih: Path, row: str, message: str) -> None:
    append(nih / "Data_Entry_2017.csv", row)
    assert "Data_Entry_2017.csv" in refused(message, load_source, "chestxray14", nih)


def test_whole_chestxray14_refuses_a_missing_column_and_no_images(nih: Path, tmp_path: Path) -> None:
    drop_column(nih / "Data_Entry_2017.csv", "Patient ID")
    refused("column 'Patient ID' is missing", load_source, "chestxray14", nih)
    write_rows(tmp_path / "bare" / "Data_Entry_2017.csv", NIH, "00000001_000.png,No Finding,0,1,58,PA")
    refused("holds neither images/ nor images_001/images/", load_source, "chestxray14", tmp_path / "bare")


# --- the real collections


@pytest.mark.real
@pytest.mark.parametrize("name", ["cohen", "darwin_v7", "covid_cxnet", "chestxray14"])
def test_real_collections_hold_what_their_cards_expect(real_data: Path, name: str) -> None:
    checks = check_source(name, real_data)
    assert checks
    assert [found for _, _, found in checks] == [expected for _, expected, _ in checks]


@pytest.mark.real
def test_real_numbers_are_those_published_with_the_copies(real_data: Path) -> None:
    cohen = load_source("cohen", real_data).frontal()
    assert len(cohen) == 453
    assert (cohen.table["mask_path"] != "").all()
    scored = cohen.table[cohen.table["extent"].notna()]
    assert len(scored) == 93
    assert scored["severity"].value_counts().to_dict() == {"Mild": 32, "Moderate": 28, "Severe": 22, "Normal-PCR+": 11}
    assert len(load_source("covid_cxnet", real_data)) == 898
    nih = load_source("chestxray14", real_data)
    assert nih.counts() == {"No_findings": 456, "Pneumonia": 450}
    assert len(nih.patients()) == 612


@pytest.mark.real
def test_real_masks_fit_their_images(real_data: Path) -> None:
    table = load_source("darwin_v7", real_data).table
    for row in table.iloc[:: len(table) // 20].itertuples():
        mask = read_mask(row.mask_path, read_image(row.path).shape)
        assert set(np.unique(mask)) <= {0, 127, 255}
        assert 0.05 < (mask == 255).mean() < 0.8


# --- cells and files as people leave them


def test_cohen_takes_every_spelling_of_finding_patient_view_and_file(
    cohen: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (cohen / "images" / "folder.jpg").mkdir()
    write_rows(
        cohen / "metadata.csv",
        "\ufeff" + COHEN.replace(",", ";").replace("filename", "File Name"),
        '"3";"Covid-19";"pa";"X-Ray";"A.JPG";',
        "3.0;COVID19;ap supine;xray;b;",
        '"3 ";covid\u201319 ;AP;X-ray;c.jpg;',
        "nan3;non-COVID-19 pneumonia;PA;X-ray;d.jpg;",
        "4;Pneumonia;Lateral;X-ray;images/e.jpg;",
        *(f"5;SARS;PA;X-ray;more{number}.png;" for number in range(20)),
        "5;SARS;PA;X-ray;folder.jpg;",
    )
    for number in range(20):
        picture(cohen / "images" / f"more{number}.png")
    table = load_source("cohen", cohen).table[:5]
    assert table["label"].tolist() == ["COVID-19"] * 3 + ["other"] * 2
    assert table["patient_id"].tolist() == ["cohen/3"] * 3 + ["cohen/nan3", "cohen/4"]
    assert table["view"].tolist() == ["PA", "AP Supine", "AP", "PA", "L"]
    assert [Path(path).name for path in table["path"]] == ["a.jpg", "b.png", "c.jpeg", "d.jpg", "e.jpg"]
    assert table["extent"].tolist()[0] == 2.5
    lost = [record.getMessage() for record in caplog.records if "missing listed images (1)" in record.msg]
    assert len(lost) == 1
    assert "folder.jpg" in lost[0]


@pytest.mark.parametrize(
    "row",
    ["ba.jpg,Normal PCR+", "BA,normal\u2013pcr+", "P\\BA.JPG,normal pcr+", " ba ,NORMAL-PCR+", "ba.jpeg,normal_pcr+"],
)
def test_covidgr_takes_names_with_a_suffix_and_levels_in_any_spelling(covidgr: Path, row: str) -> None:
    write_rows(covidgr / "severity.csv", "name,SEVERITY", row, "bb.jpg,mild")
    assert load_source("covidgr", covidgr).table["severity"].tolist()[2:4] == ["Normal-PCR+", "Mild"]


def test_names_that_may_be_two_files_or_are_one_twice_are_refused(covidgr: Path) -> None:
    append(covidgr / "severity.csv", "BA,MILD")
    refused("'BA' is listed twice", load_source, "covidgr", covidgr)
    write_rows(covidgr / "severity.csv", "Name,Severity", "ba,MILD", "ba.png,MILD")
    refused("'ba' and 'ba.png' are the same file", load_source, "covidgr", covidgr)
    write_rows(covidgr / "severity.csv", "Name,Severity", "ba,MILD")
    picture(covidgr / "P" / "ba.png")
    refused(r"'ba' may be 'ba\.jpg' or 'ba\.png'", load_source, "covidgr", covidgr)
    picture(covidgr / "P" / "BA.jpg").rename(covidgr / "P" / "BA.png")
    (covidgr / "P" / "ba.png").unlink()
    write_rows(covidgr / "severity.csv", "Name,Severity", "bb,MILD")
    refused("differ only in case", load_source, "covidgr", covidgr)


def test_chestxray14_takes_numbers_that_passed_through_floats(nih: Path) -> None:
    listing = nih / "Data_Entry_2017.csv"
    before = load_source("chestxray14", nih).table
    text = listing.read_text().replace(",0,1,", ",0.0,1.0,").replace("No Finding", "no finding").replace(".png", "")
    listing.write_text(text.replace(",", "\t"), encoding="utf-16")
    pd.testing.assert_frame_equal(load_source("chestxray14", nih).table, before)
