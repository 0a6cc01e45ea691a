"""The collections of Arias-Garzon and others, 2021: each official layout as made files of 16 pixels a side."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from covid_keras.common.errors import UserError
from covid_keras.data import Cohort, check_source, get_source, images, load_source
from covid_keras.data.images import image_size, read_image, read_mask
from covid_keras.data.sources import bimcv
from covid_keras.data.sources.united_masks import binary_masks
from tests.helpers.collections import (
    BIMCV,
    SIDE,
    append,
    empty,
    half,
    lines,
    make_jsrt,
    make_kermany,
    make_montgomery,
    make_negative,
    make_nih_masks,
    make_padchest,
    make_positive,
    make_precovid,
    make_shenzhen,
    picture,
)
from tests.helpers.refusals import refused

MAKERS: dict[str, Callable[[Path], Path]] = {
    "bimcv_positive": make_positive,
    "bimcv_negative": make_negative,
    "padchest": make_padchest,
    "precovid": make_precovid,
    "kermany": make_kermany,
    "montgomery": make_montgomery,
    "shenzhen": make_shenzhen,
    "jsrt": make_jsrt,
    "nih_masks": make_nih_masks,
}


def test_every_collection_is_found_and_none_is_taken_for_another(tmp_path: Path) -> None:
    folders = {name: make(tmp_path) for name, make in MAKERS.items()}
    for name, folder in folders.items():
        assert get_source(name).locate(tmp_path) == folder.resolve()
        found = [other for other in MAKERS if get_source(other).locate(folder) is not None]
        assert found == [name]
        assert set(get_source(name).checks) <= set(get_source(name).count(folder))
        cohort = load_source(name, folder)
        assert {read_image(path).shape for path in cohort.table["path"]} <= {(SIDE, SIDE), (2 * SIDE, 2 * SIDE)}
        assert set(cohort.table["source"]) == {name}


@pytest.mark.real
@pytest.mark.parametrize("folder", ["covid-chestxray-dataset", "COVID-CXNet", "nih-chestxray14-subset"])
def test_a_real_folder_of_another_collection_is_taken_for_none_of_them(real_data: Path, folder: str) -> None:
    assert [name for name in MAKERS if get_source(name).locate(real_data / folder) is not None] == []


# --- BIMCV


def test_bimcv_positive_reads_views_findings_and_tests(tmp_path: Path) -> None:
    folder = make_positive(tmp_path)
    cohort = load_source("bimcv_positive", tmp_path)
    rows = cohort.table.set_index(cohort.table["image_id"].str.removeprefix("bimcv_positive/sub-"))
    assert cohort.counts() == {"COVID-19": 5}
    assert rows["view"].to_dict() == {
        "S03001_ses-E1_run-1_bp-chest_vp-ap_cr": "AP",
        "S03001_ses-E2_run-1_bp-chest_vp-pa_dx": "PA",
        "S03002_ses-E3_run-1_bp-chest_vp-ll_dx": "L",
        "S03003_ses-E4_run-1_bp-chest_acq-2_dx": "",
        "S03003_ses-E4_run-1_bp-chest_dx": "L",  # from the header, since the name does not tell
    }
    assert cohort.patients() == ["bimcv/sub-S03001", "bimcv/sub-S03002", "bimcv/sub-S03003"]
    assert list(rows["tested"]) == ["positive", "positive", "", "", ""]
    assert rows["finding"].iloc[0] == "['pneumonia'\t'unchanged']"
    assert list(rows["finding"])[1:] == [""] * 4
    assert check_source("bimcv_positive", folder) == [("frontal radiographs", 12_802, 2), ("radiographs", 5, 5)]


def test_bimcv_tells_what_is_missing(tmp_path: Path) -> None:
    folder = make_positive(tmp_path)
    tables = folder / "derivatives"
    listing = tables / "partitions.tsv"
    # a subject whose archive is not unpacked is no error, CT is not a radiograph
    text = listing.read_text() + "sub-S09999\tses-E5\tsub-S09999/ses-E5/mod-rx/sub-S09999_ses-E5_vp-ap_cr.png\n"
    text += "sub-S03001\tses-E1\tsub-S03001/ses-E1/mod-ct/sub-S03001_ses-E1_ct.nii.gz\n"
    listing.write_text(text)
    assert get_source("bimcv_positive").count(folder)["listed radiographs missing"] == 0
    listing.write_text(text + "sub-S03001\tses-E1\tsub-S03001/ses-E1/mod-rx/sub-S03001_ses-E1_vp-pa_cr.png\n")
    refused(r"sub-S03001_ses-E1_vp-pa_cr\.png: .*0 of the 6", load_source, "bimcv_positive", folder)
    lines(listing, "subject\tfile", "sub-S03001\tx.png")
    refused(r"partitions\.tsv: has 2 columns, not subject, session, file", load_source, "bimcv_positive", folder)
    listing.unlink()
    assert len(load_source("bimcv_positive", folder)) == 5
    assert check_source("bimcv_positive", folder) == [("frontal radiographs", 12_802, 2)]
    lines(tables / "EHR" / "sil_reg_covid_posi.tsv", "participant\tdate", "sub-S03001\t1.4.2020")
    refused(r"sil_reg_covid_posi\.tsv: column 'result' is missing", load_source, "bimcv_positive", folder)
    labels = tables / "labels" / "labels_covid_posi.tsv"
    lines(labels, "PatientID\tLabels", "sub-S03001\t[]")
    refused(r"labels_covid_posi\.tsv: column 'ReportID' is missing", load_source, "bimcv_positive", folder)
    labels.unlink()
    refused(r"labels_covid_posi\.tsv: cannot be read", get_source("bimcv_positive").load, folder)


def test_bimcv_refuses_misplaced_files_bad_headers_and_no_images(tmp_path: Path) -> None:
    folder = make_negative(tmp_path)
    (folder / BIMCV.format("04001", "8", ".json")).write_text("[1]")
    picture(folder / BIMCV.format("04001", "8", ".png"))
    refused(r"\.json: is not the JSON of a DICOM header", load_source, "bimcv_negative", folder)
    (folder / BIMCV.format("04001", "8", ".json")).unlink()
    picture(folder / "sub-S04001/ses-E8/mod-rx/sub-S04002_ses-E8_vp-pa_dx.png")
    refused("its name is not of the subject and session of its folder", load_source, "bimcv_negative", folder)
    for path in folder.glob("sub-S*/ses-E*/mod-rx/*.png"):
        path.unlink()
    refused(r"holds no sub-S\*/ses-E\*/mod-rx/\*\.png", load_source, "bimcv_negative", folder)


def test_negatives_lose_the_patients_of_the_positives(tmp_path: Path) -> None:
    make_positive(tmp_path)
    make_negative(tmp_path)
    positive, negative = (load_source(f"bimcv_{kind}", tmp_path) for kind in ("positive", "negative"))
    assert negative.counts() == {"no COVID-19": 3}
    curated = bimcv.without_patients_of(negative, positive)
    assert curated.patients() == ["bimcv/sub-S04001"]
    assert len(curated) == 2
    both = Cohort.concat([curated, positive], ("no COVID-19", "COVID-19"))
    assert both.counts() == {"no COVID-19": 2, "COVID-19": 5}
    refused("no images", bimcv.without_patients_of, negative, negative)


def test_inverted_images_are_turned_once(tmp_path: Path) -> None:
    make_positive(tmp_path)
    cohort = load_source("bimcv_positive", tmp_path)
    turned = bimcv.upright_grey(cohort, tmp_path / "turned")
    changed = turned.table["path"] != cohort.table["path"]
    assert list(cohort.table["image_id"][changed]) == ["bimcv_positive/sub-S03003_ses-E4_run-1_bp-chest_dx"]
    old, new = (read_image(table["path"][changed].iloc[0]) for table in (cohort.table, turned.table))
    assert old[0, 0] == 0
    assert np.array_equal(new, 255 - old)
    written = Path(turned.table["path"][changed].iloc[0])
    os.utime(written, (1, 1))
    bimcv.upright_grey(cohort, tmp_path / "turned")
    assert written.stat().st_mtime == 1


# --- padchest


def test_padchest_takes_frontal_and_lateral_of_the_unpacked_archives(tmp_path: Path) -> None:
    folder = make_padchest(tmp_path)
    cohort = load_source("padchest", tmp_path)
    columns = ["image_id", "label", "view", "projection", "patient_id", "finding"]
    assert cohort.table[columns].to_numpy().tolist() == [
        ["padchest/a", "frontal", "PA", "PA", "padchest/11", "['normal', 'exclude']"],
        ["padchest/b", "lateral", "L", "L", "padchest/11", "['normal']"],
        ["padchest/c", "frontal", "AP Supine", "AP_horizontal", "padchest/12", ""],
        ["padchest/d", "frontal", "AP", "AP", "padchest/13", "['pneumonia']"],
    ]
    assert get_source("padchest").count(folder) == {
        "rows of the table": 8,
        "patients of the table": 5,
        "other projections left out": 2,
        "rows without a patient left out": 1,
        "of archives that are not here": 1,
        "listed images missing": 0,
        "frontal": 3,
        "lateral": 1,
    }


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("8,e.png,0,16,OBLIQUE,", "e.png.*OBLIQUE"),
        ("8,a.png,0,16,PA,", "'a.png' is listed twice in column 'ImageID'"),
        ("8,gone.png,0,16,PA,", r"gone\.png: .*0 of the 5 images"),
    ],
)
def test_padchest_refuses_bad_rows(tmp_path: Path, row: str, message: str) -> None:
    folder = make_padchest(tmp_path)
    append(next(folder.glob("*.csv")), row)
    refused(message, load_source, "padchest", folder)


def test_padchest_refuses_a_missing_column_table_and_archive(tmp_path: Path) -> None:
    folder = make_padchest(tmp_path)
    table = next(folder.glob("*.csv"))
    text = table.read_text()
    table.write_text(text.replace("Projection", "View"))
    refused("column 'Projection' is missing", load_source, "padchest", folder)
    table.unlink()
    refused(r"160K_01\.02\.19\.csv: cannot be read", get_source("padchest").load, folder)
    bare = lines(tmp_path / "bare" / table.name, *text.splitlines()).parent
    refused("holds none of the folders 0/ to 54/", load_source, "padchest", bare)


# --- precovid


def test_precovid_reads_a_folder_of_ones_own(tmp_path: Path) -> None:
    folder = make_precovid(tmp_path)
    table = load_source("precovid", tmp_path).table
    assert table[["image_id", "patient_id", "label", "view", "year"]].to_numpy().tolist() == [
        ["precovid/a", "precovid/1", "normal", "PA", "2016"],
        ["precovid/b", "precovid/1", "normal", "", "2017"],
    ]
    assert check_source("precovid", folder) == [("images", 5_469, 2)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("c.png,2,PA,2016", r"metadata\.csv: image 'c.png' is not in images/"),
        ("../metadata.csv,2,PA,2016", "image '../metadata.csv' is not in images/"),
        ("unlisted.png,,PA,2016", "image 'unlisted.png' has no patient_id"),
        ("unlisted.png,2,frontal,2016", "image 'unlisted.png' has the unknown view 'frontal'.*AP Supine"),
        ("a.png,2,PA,2016", "'a.png' is listed twice"),
        (",2,PA,2016", "column 'filename' is empty in line 4"),
    ],
)
def test_precovid_refuses_bad_rows(tmp_path: Path, row: str, message: str) -> None:
    folder = make_precovid(tmp_path)
    append(folder / "metadata.csv", row)
    refused(message, load_source, "precovid", folder)


def test_precovid_refuses_a_missing_column_and_table(tmp_path: Path) -> None:
    folder = make_precovid(tmp_path)
    lines(folder / "metadata.csv", "filename,view", "a.png,PA")
    refused("column 'patient_id' is missing", load_source, "precovid", folder)
    (folder / "metadata.csv").unlink()
    refused(r"metadata\.csv: cannot be read", get_source("precovid").load, folder)


# --- kermany


def test_kermany_reads_labels_patients_and_parts(tmp_path: Path) -> None:
    folder = make_kermany(tmp_path)
    cohort = load_source("kermany", tmp_path)
    rows = cohort.table.set_index(cohort.table["image_id"].str.removeprefix("kermany/"))
    assert cohort.counts() == {"normal": 4, "viral pneumonia": 1, "bacterial pneumonia": 3}
    assert rows["patient_id"].str.removeprefix("kermany/").to_dict() == {
        "train/IM-0115-0001": "IM-0115",
        "train/NORMAL2-IM-0588-0001-0002": "NORMAL2-IM-0588",
        "train/person1_bacteria_1": "person1",
        "train/person2_bacteria_3": "person2",
        "val/IM-0115-0002": "IM-0115",
        "val/person1946_bacteria_4874": "person1946",
        "test/IM-0001-0001": "IM-0001",
        "test/person1_virus_6": "person1",
    }
    assert rows["part"].value_counts().to_dict() == {"train": 4, "val": 2, "test": 2}
    assert check_source("kermany", folder)[3:] == [
        ("normal, train and val", 1_349, 3),
        ("pneumonia, train and val", 3_883, 3),
    ]


def test_kermany_reads_the_names_of_the_first_release(tmp_path: Path) -> None:
    folder = tmp_path / "chest_xray"
    for name in ("NORMAL/NORMAL-11419-0001", "PNEUMONIA/VIRUS-614452-0001", "PNEUMONIA/BACTERIA-11419-0004"):
        for part in ("train", "test"):
            picture(folder / part / f"{name}.jpeg")
    cohort = load_source("kermany", folder)
    assert cohort.counts() == {"normal": 2, "viral pneumonia": 2, "bacterial pneumonia": 2}
    assert cohort.patients() == ["kermany/11419", "kermany/614452"]


def test_kermany_has_one_image_with_two_numbers(tmp_path: Path) -> None:
    folder = make_kermany(tmp_path)
    picture(folder / "train" / "PNEUMONIA" / "person447_virus_921_1.jpeg")
    row = load_source("kermany", folder).table.set_index("image_id").loc["kermany/train/person447_virus_921_1"]
    assert (row["label"], row["patient_id"]) == ("viral pneumonia", "kermany/person447")


def test_kermany_refuses_odd_names_and_missing_folders(tmp_path: Path) -> None:
    folder = make_kermany(tmp_path)
    odd = picture(folder / "train" / "NORMAL" / "person9_virus_9.jpeg")
    refused(r"person9_virus_9\.jpeg: is not named like a file of NORMAL/", load_source, "kermany", folder)
    odd.rename(folder / "train" / "PNEUMONIA" / "person9_fungus_9.jpeg")
    refused("is not named like a file of PNEUMONIA/", load_source, "kermany", folder)
    (folder / "train" / "PNEUMONIA" / "person9_fungus_9.jpeg").unlink()
    empty(folder / "test" / "NORMAL")
    refused("NORMAL: the folder has no images", load_source, "kermany", folder)


# --- masks


def test_montgomery_masks_are_united_once(tmp_path: Path) -> None:
    make_montgomery(tmp_path)
    cohort = load_source("montgomery", tmp_path)
    assert cohort.counts() == {"normal": 1, "tuberculosis": 1}
    assert (cohort.table["mask_path"] == "").all()
    united = binary_masks(cohort, tmp_path / "united")
    for row in united.table.itertuples():
        mask = read_mask(row.mask_path, read_image(row.path).shape)
        assert (mask[:, : SIDE // 2 - 1] == 255).all()
        assert (mask[:, SIDE // 2 - 1 : SIDE // 2 + 1] == 0).all(), "the gap between the lungs"
        assert (mask[:, SIDE // 2 + 1 :] == 255).all()
    first = Path(united.table["mask_path"][0])
    written = first.stat().st_mtime_ns
    binary_masks(cohort, tmp_path / "united")
    assert first.stat().st_mtime_ns == written, "a union that is newer than both masks is kept"
    os.utime(first, (1, 1))
    half(Path(cohort.table["mask_left"][0]), left=False)
    binary_masks(cohort, tmp_path / "united")
    assert (read_mask(first)[:, 0] == 0).all(), "a mask that changed is united again"


def test_masks_of_single_lungs_must_fit(tmp_path: Path) -> None:
    folder = make_montgomery(tmp_path)
    left, right = (folder / "ManualMask" / side / "MCUCXR_0001_0.png" for side in ("leftMask", "rightMask"))
    half(left, left=True, side=20)
    with pytest.raises(UserError, match=r"rightMask/.*the mask is 16x16 pixels but its image is 20x20"):
        binary_masks(load_source("montgomery", folder), tmp_path / "united")
    half(right, left=False, side=20)
    with pytest.raises(UserError, match=r"leftMask/.*the mask is 20x20 pixels but its image is 16x16"):
        binary_masks(load_source("montgomery", folder), tmp_path / "united")
    right.unlink()
    refused(r"MCUCXR_0001_0\.png: has the mask of one lung only", load_source, "montgomery", folder)
    left.unlink()
    cohort = load_source("montgomery", folder)
    assert list(binary_masks(cohort, tmp_path / "united").table["mask_path"].ne("")) == [False, True]
    assert get_source("montgomery").count(folder)["images with both masks"] == 1
    picture(folder / "CXR_png" / "MCUCXR_0002.png")
    refused("is not named MCUCXR_<number>_<0 or 1>", load_source, "montgomery", folder)


def test_shenzhen_has_masks_for_some(tmp_path: Path) -> None:
    folder = make_shenzhen(tmp_path)
    cohort = load_source("shenzhen", tmp_path)
    assert [Path(mask).name for mask in cohort.table["mask_path"]] == [
        "CHNCXR_0001_0_mask.png",
        "",
        "CHNCXR_0327_1_mask.png",
    ]
    assert check_source("shenzhen", folder) == [
        ("normal", 326, 2),
        ("tuberculosis", 336, 1),
        ("images with a mask", 566, 2),
    ]
    half(folder / "mask" / "CHNCXR_0001_0_mask.png", left=True, side=20)
    row = load_source("shenzhen", folder).table.iloc[0]
    refused("the mask is 20x20 pixels but its image is 16x16", read_mask, row.mask_path, read_image(row.path).shape)
    empty(folder / "CXR_png")
    refused("CXR_png: the folder has no images", get_source("shenzhen").load, folder)


def test_jsrt_unites_gifs_of_half_the_size(tmp_path: Path) -> None:
    folder = make_jsrt(tmp_path)
    cohort = load_source("jsrt", tmp_path)
    assert cohort.counts() == {"normal": 2, "nodule": 1}
    united = binary_masks(cohort, tmp_path / "united")
    mask = read_mask(united.table["mask_path"][0], (2 * SIDE, 2 * SIDE))
    assert (mask[:, : SIDE - 2] == 255).all()
    assert (mask[:, SIDE - 2 : SIDE + 2] == 0).all()
    assert (mask[:, SIDE + 2 :] == 255).all()
    (folder / "scratch" / "fold2" / "masks" / "left lung" / "JPCNN002.gif").unlink()
    refused(r"JPCNN002\.png: has the mask of one lung only", load_source, "jsrt", folder)
    empty(folder / "All247images")
    refused(r"holds no JPCLN\*\.IMG or JPCNN\*\.IMG", get_source("jsrt").load, folder)


def test_a_mask_of_0_and_1_and_a_larger_mask_are_united_too(tmp_path: Path) -> None:
    folder = make_jsrt(tmp_path)
    picture(folder / "All247images" / "JPCLN001.png")
    for lung in ("left lung", "right lung"):
        place = folder / "scratch" / "fold1" / "masks" / lung
        half(place / "JPCLN001.gif", left=lung.startswith("left"), side=2 * SIDE, value=1)
    united = binary_masks(load_source("jsrt", folder).filter(lambda table: table["label"] == "nodule"), tmp_path / "u")
    mask = read_mask(united.table["mask_path"][0], (SIDE, SIDE))
    assert list(mask[0]) == [255] * 7 + [0] + [255] * 8, "every second pixel of the mask"


@pytest.mark.parametrize(
    ("values", "lung"),
    [
        ((0, 1), (0, 255)),
        ((0, 255), (0, 255)),
        ((0, 100, 128, 200), (0, 255, 255, 255)),  # soft borders: from half the maximum on
        ((0, 99, 100, 200), (0, 0, 255, 255)),
        ((0, 1, 2), (0, 255, 255)),  # a value a lung
        ((0, 127, 255), (0, 0, 255)),
    ],
)
def test_masks_of_any_values_become_0_and_255(tmp_path: Path, values: tuple[int, ...], lung: tuple[int, ...]) -> None:
    folder = make_nih_masks(tmp_path)
    pixels = np.resize(np.array(values, np.uint8), (SIDE, SIDE))
    Image.fromarray(pixels).save(folder / "masks" / "odd_mask.png")
    made = binary_masks(load_source("nih_masks", tmp_path), tmp_path / "binary").table
    expected = np.resize(np.array(lung, np.uint8), (SIDE, SIDE))
    np.testing.assert_array_equal(read_mask(made["mask_path"][1], (SIDE, SIDE)), expected)
    assert made["mask_path"][1] == str(tmp_path / "binary" / "nih_masks" / "odd.png")


def test_a_binary_mask_is_made_once_and_again_when_its_file_changed(tmp_path: Path) -> None:
    folder = make_nih_masks(tmp_path)
    cohort = load_source("nih_masks", tmp_path)
    made = Path(binary_masks(cohort, tmp_path / "binary").table["mask_path"][1])
    written = made.stat().st_mtime_ns
    binary_masks(cohort, tmp_path / "binary")
    assert made.stat().st_mtime_ns == written
    os.utime(made, (1, 1))
    half(folder / "masks" / "odd_mask.png", left=False, value=1)
    binary_masks(cohort, tmp_path / "binary")
    assert list(read_mask(made)[0]) == [0] * (SIDE // 2 + 1) + [255] * (SIDE // 2 - 1)


def test_one_file_and_two_files_are_made_in_one_call(tmp_path: Path) -> None:
    make_montgomery(tmp_path)
    make_nih_masks(tmp_path)
    both = [load_source(name, tmp_path) for name in ("montgomery", "nih_masks")]
    table = pd.concat([cohort.table for cohort in both]).assign(label="lungs")
    table.loc[table["image_id"] == "nih_masks/odd", "mask_path"] = ""
    made = binary_masks(Cohort(table, ("lungs",), "both"), tmp_path / "binary").table
    assert [Path(path).name for path in made["mask_path"]] == [
        "MCUCXR_0001_0.png",
        "MCUCXR_0104_1.png",
        "00000013_005.png",
        "",
    ]
    assert made["mask_path"][0] == str(tmp_path / "binary" / f"{made['image_id'][0]}.png")
    lungs = [np.count_nonzero(read_mask(path)[0] == 255) for path in made["mask_path"][:3]]
    assert lungs == [SIDE - 2, SIDE - 2, SIDE // 2 - 1]


@pytest.mark.parametrize(("value", "words"), [(0, "marks no lung"), (1, "marks every pixel"), (255, "every pixel")])
def test_an_empty_mask_and_one_that_is_all_lung_are_refused(tmp_path: Path, value: int, words: str) -> None:
    flat = Image.fromarray(np.full((SIDE, SIDE), value, np.uint8))
    flat.save(make_nih_masks(tmp_path) / "masks" / "odd_mask.png")
    refused(rf"odd_mask\.png.*{words}", binary_masks, load_source("nih_masks", tmp_path), tmp_path / "binary")
    flat.save(make_montgomery(tmp_path) / "ManualMask" / "rightMask" / "MCUCXR_0104_1.png")
    with pytest.raises(UserError, match=rf"rightMask/MCUCXR_0104_1\.png.*{words}"):
        binary_masks(load_source("montgomery", tmp_path), tmp_path / "binary")
    assert not list(tmp_path.rglob("binary/**/odd.png"))
    assert not list(tmp_path.rglob("binary/**/MCUCXR_0104_1.png"))


def test_two_lungs_that_fill_the_image_are_refused(tmp_path: Path) -> None:
    left = make_montgomery(tmp_path) / "ManualMask" / "leftMask" / "MCUCXR_0001_0.png"
    Image.fromarray(255 - np.array(Image.open(left.parents[1] / "rightMask" / left.name))).save(left)
    refused(r"leftMask/.*marks every pixel", binary_masks, load_source("montgomery", tmp_path), tmp_path / "binary")


def test_nih_masks_share_the_patients_of_chestxray14(tmp_path: Path) -> None:
    folder = make_nih_masks(tmp_path)
    cohort = load_source("nih_masks", tmp_path)
    assert cohort.patients() == ["chestxray14/00000013", "nih_masks/odd"]
    assert check_source("nih_masks", folder) == [("images", 100, 2), ("images with a mask", 100, 2)]
    (folder / "masks" / "odd_mask.png").unlink()
    refused(r"odd\.png: has no mask masks/odd_mask\.png", load_source, "nih_masks", folder)
    (folder / "masks" / "00000013_005_mask.png").unlink()
    refused("masks: the folder has no images", get_source("nih_masks").load, folder)


# --- what the reader had to learn


def test_raw_jsrt_files_are_read_inverted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_RAW_SIDE", SIDE)
    folder = tmp_path / "JSRT"
    values = np.full((SIDE, SIDE), 4095, ">u2")
    values[0, 0], values[1, 2] = 0, 2048
    (folder / "All247images").mkdir(parents=True)
    path = folder / "All247images" / "JPCLN001.IMG"
    values.tofile(path)
    image = read_image(path)
    assert image.dtype == np.uint8
    assert image_size(path) == image.shape == (SIDE, SIDE)
    assert (image[0, 0], image[1, 2], image[5, 5]) == (255, 127, 0), "high is dark in the file"
    picture(path.with_suffix(".png"))
    assert list(load_source("jsrt", tmp_path).table["path"]) == [str(path.resolve())], "the raw file goes first"
    path.write_bytes(b"\0" * 100)
    refused("512 bytes .*got 100", read_image, path)


def test_gif_is_a_format_of_masks_alone(tmp_path: Path) -> None:
    path = half(tmp_path / "m.gif", left=True)
    assert set(np.unique(read_mask(path))) == {0, 255}
    refused("GIF", read_image, path)
    frame = Image.fromarray(np.eye(SIDE, dtype=np.uint8) * 255)
    frame.save(path, save_all=True, append_images=[frame.rotate(90)])
    refused("holds 2 pages", read_mask, path)
