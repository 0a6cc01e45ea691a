"""The collections of Hertel and Benlamri, 2022: each official layout as made files of a few pixels a side."""

from __future__ import annotations

import builtins
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from covid_keras.common.errors import UserError
from covid_keras.data import check_source, get_source, load_source
from covid_keras.data.images import read_image, read_mask
from covid_keras.data.sources import darwin_v7_whole, rsna
from tests.helpers.collections import (
    COVIDX_TEST,
    COVIDX_TRAIN,
    ONE,
    SIDE,
    THREE,
    TWO,
    append,
    empty,
    lines,
    make_covidx,
    make_dicom,
    make_ricord,
    make_rsna,
    picture,
    replace,
)
from tests.helpers.refusals import refused

Points = list[dict[str, float]]


def box(left: float, top: float, right: float, bottom: float) -> Points:
    return [{"x": x, "y": y} for x, y in ((left, top), (right, top), (right, bottom), (left, bottom))]


def tag(name: str) -> dict[str, Any]:
    return {"name": name, "tag": {}}


def outline(path: Points, name: str = "Lung") -> dict[str, Any]:
    return {"name": name, "polygon": {"path": path}, "bounding_box": {"x": 0, "y": 0, "w": 1, "h": 1}}


def darwin_1(
    folder: Path, name: str, *annotations: dict[str, Any], original: str = "", size: tuple[int, int] = (260, 256)
) -> Path:
    """Write an image and its annotations in Darwin JSON 1.0; return the JSON file."""
    picture(folder / "images" / name, *size)
    image = {"filename": name, "width": size[0], "height": size[1], "path": "/", "url": "https://v7"}
    if original:
        image["original_filename"] = original
    text = json.dumps({"dataset": "covid", "image": image, "annotations": annotations})
    return lines(folder / "annotations" / f"{Path(name).stem}.json", text)


def darwin_2(folder: Path, name: str, *annotations: dict[str, Any]) -> Path:
    """The same in Darwin JSON 2.0, in a folder of the platform's."""
    picture(folder / "images" / "adults" / name, 256, 256)
    slot = {"slot_name": "0", "type": "image", "width": 256, "height": 256, "source_files": [{"file_name": "b.jpg"}]}
    item = {"name": name, "path": "/adults", "slots": [slot]}
    text = json.dumps({"version": "2.0", "item": item, "annotations": annotations})
    return lines(folder / "annotations" / f"{Path(name).stem}.json", text)


LEFT, RIGHT = box(20, 30, 100, 200), box(140.4, 30.2, 239.6, 200)


def make_darwin(root: Path) -> Path:
    folder = root / "covid-19-chest-x-ray-dataset"
    both = outline(LEFT, "Left Lung"), outline(RIGHT)
    darwin_1(folder, "person1_virus_6.jpeg", *both, tag("Viral Pneumonia"))
    darwin_1(folder, "0001.jpeg", *both, tag("No Pneumonia (healthy)"), original="IM-0115-0001.jpeg", size=(255, 300))
    darwin_1(folder, "a.jpg", *both, tag("View/AP_Supine"), tag("Viral Pneumonia"), tag("COVID-19"), original="c.jpg")
    darwin_1(folder, "side.jpg", tag("View/Lateral"), tag("COVID-19"))
    darwin_1(folder, "slice.jpg", tag("CT"), tag("View/Axial"), tag("COVID-19"))
    parts = {"paths": [LEFT, box(40, 50, 80, 100)]}
    darwin_2(folder, "b.png", {"name": "Lung", "polygon": parts}, outline(box(90, 150, 120, 160), "Ignore"))
    return folder


def make_cohen(root: Path) -> Path:
    folder = root / "covid-chestxray-dataset"
    for name in ("b.jpg", "c.jpg", "day2.jpg"):
        picture(folder / "images" / name)
    rows = ("7,COVID-19,PA,X-ray,b.jpg", "8,COVID-19,AP,X-ray,c.jpg", "8,COVID-19,AP,X-ray,day2.jpg")
    lines(folder / "metadata.csv", "patientid,finding,view,modality,filename", *rows)
    return folder


MAKERS: dict[str, Callable[[Path], Path]] = {
    "covidx": make_covidx,
    "ricord": make_ricord,
    "rsna": make_rsna,
    "darwin_v7_whole": make_darwin,
    "cohen": make_cohen,
}


def test_every_collection_is_found_and_none_is_taken_for_another(tmp_path: Path) -> None:
    folders = {name: make(tmp_path) for name, make in MAKERS.items()}
    for name, folder in folders.items():
        assert get_source(name).locate(tmp_path) == folder.resolve()
        assert [other for other in MAKERS if get_source(other).locate(folder) is not None] == [name]
        assert set(get_source(name).checks) <= set(get_source(name).count(folder))
        cohort = load_source(name, folder)
        assert all(read_image(path).ndim == 2 for path in cohort.table["path"])
        assert set(cohort.table["source"]) == {name}


@pytest.mark.real
@pytest.mark.parametrize("folder", ["covid-chestxray-dataset", "COVID-CXNet", "nih-chestxray14-subset"])
def test_a_real_folder_of_another_collection_is_taken_for_none_of_them(real_data: Path, folder: str) -> None:
    ours = [name for name in MAKERS if name != "cohen"]
    assert [name for name in ours if get_source(name).locate(real_data / folder) is not None] == []


# --- covidx


def test_covidx_reads_both_lists_and_unites_patients(tmp_path: Path) -> None:
    folder = make_covidx(tmp_path)
    table = load_source("covidx", tmp_path).table
    columns = ["image_id", "patient_id", "label", "part", "collection"]
    assert [" ".join(row) for row in table[columns].to_numpy()] == [
        "covidx/SARS-Fig4a-day7 cohen/7 pneumonia train cohen",
        "covidx/lancet-a cohen/311a COVID-19 train cohen",
        "covidx/COVID-00015a fig1/COVID-00015 COVID-19 train fig1",
        "covidx/COVID-00015b fig1/COVID-00015 COVID-19 train fig1",
        "covidx/CR.1.2.840.66 actmed/ANON66 COVID-19 train actmed",
        "covidx/COVID-19 (69) sirm/COVID-19(69) COVID-19 train sirm",
        f"covidx/{ONE} rsna/{ONE} normal train rsna",
        f"covidx/{TWO} rsna/{TWO} pneumonia train rsna",
        # the collection is told by the id's form, where the list does not name it
        "covidx/lancet-b cohen/311a COVID-19 test cohen",
        "covidx/DX.1.2.840.67 actmed/ANON66 COVID-19 test actmed",
        f"covidx/{THREE} rsna/{THREE} normal test rsna",
    ]
    counts = get_source("covidx").count(folder)
    assert (counts["patients in both parts"], counts["listed images missing"]) == (2, 0)
    assert check_source("covidx", folder)[:4] == [
        ("normal", 8_066, 2),
        ("pneumonia", 5_575, 2),
        ("COVID-19", 617, 7),
        ("normal, train", 7_966, 1),
    ]


def test_covidx_reads_a_clone_of_covid_net_with_the_mappings(tmp_path: Path) -> None:
    folder = make_covidx(tmp_path).rename(tmp_path / "COVID-Net")
    (folder / "labels").mkdir()
    for part in ("train", "test"):
        name = f"{part}_COVIDx5.txt"
        (folder / name).rename(folder / "labels" / name)
    mappings = [{"subset_img_id": name, "img_id": "00000013_005.png"} for name in (ONE, THREE)]
    lines(folder / "labels" / rsna.MAPPINGS, json.dumps(mappings))
    table = load_source("covidx", tmp_path).table.set_index("image_id")
    assert table.loc[[f"covidx/{name}" for name in (ONE, TWO, THREE)], "patient_id"].to_list() == [
        "chestxray14/00000013",
        f"rsna/{TWO}",
        "chestxray14/00000013",
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("7 x.png positive cohen", r"train_COVIDx5\.txt: line 9 is not '<patient> <file> <class> <collection>'"),
        ("7 x.png COVID-19 ricord", "line 9 is not .* a collection of cohen, fig1, actmed, sirm, rsna"),
        ("someone x.png COVID-19", "line 9 is not"),
        ("x.png COVID-19 cohen", "line 9 is not"),
        ("7 lancet-a.png COVID-19 cohen", "'lancet-a.png' is listed twice"),
        ("7 gone.png COVID-19 cohen", r"gone\.png: is listed in train_COVIDx5\.txt but missing, as are 0 of the 9"),
    ],
)
def test_covidx_refuses_bad_lines(tmp_path: Path, row: str, message: str) -> None:
    lines(make_covidx(tmp_path) / "train_COVIDx5.txt", *COVIDX_TRAIN, row)
    refused(message, load_source, "covidx", tmp_path)


def test_covidx_refuses_missing_lists_and_images(tmp_path: Path) -> None:
    folder = make_covidx(tmp_path)
    listing = folder / "test_COVIDx5.txt"
    lines(listing, *COVIDX_TEST, COVIDX_TRAIN[1])
    picture(folder / "data" / "test" / "lancet-a.png")
    refused(r"test_COVIDx5\.txt: 'lancet-a\.png' is listed twice", load_source, "covidx", folder)
    listing.write_bytes(b"\xff\xfe\x00")
    refused("is not a text file", load_source, "covidx", folder)
    lines(listing, "")
    refused("the list is empty", load_source, "covidx", folder)
    listing.unlink()
    refused(r"test_COVIDx5\.txt: cannot be read", load_source, "covidx", folder)
    empty(folder / "data" / "train")
    refused(r"data/train: the folder has no images", load_source, "covidx", folder)


def test_a_few_missing_images_are_left_out_and_counted(tmp_path: Path) -> None:
    folder = make_covidx(tmp_path)
    more = [f"{number} {number}.png pneumonia cohen" for number in range(1000, 1003)]
    for row in more[:-1]:
        picture(folder / "data" / "train" / row.split()[1])
    lines(folder / "train_COVIDx5.txt", *COVIDX_TRAIN, *more)
    counts = get_source("covidx").count(folder)
    assert (counts["pneumonia, train"], counts["listed images missing"]) == (4, 1)


# --- rsna


def test_rsna_reads_each_image_once(tmp_path: Path) -> None:
    folder = make_rsna(tmp_path)
    table = load_source("rsna", tmp_path).table
    assert table[["image_id", "patient_id", "label", "boxes"]].to_numpy().tolist() == [
        [f"rsna/{ONE}", f"rsna/{ONE}", "normal", 0],
        [f"rsna/{TWO}", f"rsna/{TWO}", "pneumonia", 2],
        [f"rsna/{THREE}", f"rsna/{THREE}", "other", 0],
    ]
    assert check_source("rsna", folder) == [("normal", 8_851, 1), ("pneumonia", 6_012, 1), ("other", 11_821, 1)]
    assert get_source("rsna").count(folder)["patients"] == 3


def test_rsna_patients_are_those_of_chestxray14_with_the_mappings(tmp_path: Path) -> None:
    folder = make_rsna(tmp_path)
    names = {ONE: "00000013_005.png", TWO: "00000013_026.png", THREE: "00000099_000.png"}
    mappings = [{"subset_img_id": name, "img_id": image} for name, image in names.items()]
    path = lines(folder / rsna.MAPPINGS, json.dumps(mappings))
    assert load_source("rsna", folder).patients() == ["chestxray14/00000013", "chestxray14/00000099"]
    for text in ("{}", '["a"]', '[{"subset_img_id": "a"}]', '[{"subset_img_id": "a", "img_id": "b.png"}]'):
        lines(path, text)
        if text == "{}":
            assert rsna.nih_patients(folder) == {}
            continue
        refused(r"mappings_2018\.json: is not the RSNA's list", load_source, "rsna", folder)


@pytest.mark.parametrize(
    ("table", "row", "message"),
    [
        (rsna.FINDINGS, f"{ONE},Lung Opacity", f"class_info.csv: patientId '{ONE}' has two classes"),
        (rsna.FINDINGS, "4,Mass", "class_info.csv: patientId '4' has a class that is not one of Normal, Lung Opacity"),
        (rsna.FINDINGS, "4,Normal", f"labels.csv: patientId '4' is not listed, but is in {rsna.FINDINGS}"),
        (rsna.BOXES, f"{ONE},1,1,1,1,1", f"labels.csv: patientId '{ONE}' has a Target that does not fit its class"),
        (rsna.BOXES, f"{ONE},,,,,2", f"labels.csv: patientId '{ONE}' has a Target that is neither 0 nor 1"),
    ],
)
def test_rsna_refuses_bad_rows(tmp_path: Path, table: str, row: str, message: str) -> None:
    append(make_rsna(tmp_path) / table, row)
    refused(message, load_source, "rsna", tmp_path)


def test_rsna_refuses_missing_images_tables_and_columns(tmp_path: Path) -> None:
    folder = make_rsna(tmp_path)
    (folder / rsna.IMAGES / f"{ONE}.png").unlink()
    refused(f"{ONE}: is listed in {rsna.FINDINGS} but missing, as are 0 of the 3", load_source, "rsna", folder)
    replace(folder / rsna.BOXES, "Target", "Label")
    refused("column 'Target' is missing", load_source, "rsna", folder)
    (folder / rsna.BOXES).unlink()
    refused(r"stage_2_train_labels\.csv: cannot be read", load_source, "rsna", folder)
    replace(folder / rsna.FINDINGS, "patientId", "patient")
    refused("column 'patientId' is missing", load_source, "rsna", folder)


# --- ricord


def test_ricord_keeps_what_the_header_calls_frontal(tmp_path: Path) -> None:
    folder = make_ricord(tmp_path)
    cohort = load_source("ricord", tmp_path)
    assert cohort.table[["image_id", "patient_id", "label", "view", "study"]].to_numpy().tolist() == [
        ["ricord/1.2.3.2", "ricord/419639-000025", "COVID-19", "AP", "1.9.1"],
        ["ricord/1.2.3.3", "ricord/419639-000025", "COVID-19", "PA", "1.9.1"],
        ["ricord/1.2.3.5", "ricord/SITE2-000002", "COVID-19", "AP Supine", "1.9.2"],
    ]
    assert len(cohort.frontal()) == 3
    assert read_image(cohort.table["path"][0])[0, 0] == 255, "MONOCHROME1 is turned"
    assert get_source("ricord").count(folder) == {
        "studies": 3,
        "patients": 2,
        "images": 6,
        "frontal radiographs": 3,
        "patients with a frontal radiograph": 2,
        "other views left out": 1,
        "unknown views left out": 1,
        "other modalities left out": 1,
    }
    assert check_source("ricord", folder) == [("studies", 998, 3), ("patients", 361, 2)]


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"PatientID": "MIDRC-RICORD-1C-1-2"}, "its header names the patient 'MIDRC-RICORD-1C-1-2', its folder"),
        ({"StudyInstanceUID": ""}, "its header has no StudyInstanceUID"),
        ({"SOPInstanceUID": ""}, "its header has no SOPInstanceUID"),
        ({"SOPInstanceUID": "1.2.3.2"}, "image id 'ricord/1.2.3.2' is listed more than once"),
    ],
)
def test_ricord_refuses_bad_headers(tmp_path: Path, tags: dict[str, str], message: str) -> None:
    folder, subject = make_ricord(tmp_path), "MIDRC-RICORD-1C-SITE2-000002"
    make_dicom(folder / subject / "study-9" / "1.9" / "1-1.dcm", subject, 9, **tags)
    refused(message, load_source, "ricord", folder)


def test_ricord_refuses_no_images_no_dicom_and_no_pydicom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_ricord(tmp_path)
    files = sorted(folder.glob("*/*/*/*.dcm"))
    imported = builtins.__import__

    def without_pydicom(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("pydicom"):
            raise ImportError(name)
        return imported(name, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(builtins, "__import__", without_pydicom)
        refused(r"pydicom 3 is not installed.*covid-keras\[dicom\]", load_source, "ricord", folder)
    files[0].write_bytes(b"no")
    refused(r"1-1\.dcm: is not a DICOM file", load_source, "ricord", folder)
    for path in files:
        path.unlink()
    refused(r"holds no MIDRC-RICORD-1C-\*/<study>/<series>/\*\.dcm", load_source, "ricord", folder)


# --- darwin_v7_whole


def test_darwin_reads_labels_views_and_patients(tmp_path: Path) -> None:
    folder = make_darwin(tmp_path)
    make_cohen(tmp_path)
    table = load_source("darwin_v7_whole", tmp_path).table
    columns = ["image_id", "patient_id", "label", "view", "outlined", "width", "tags"]
    assert table[columns].to_numpy().tolist() == [
        ["darwin_v7_whole/0001", "kermany/IM-0115", "normal", "AP", True, 255, "No Pneumonia (healthy)"],
        ["darwin_v7_whole/a", "cohen/8", "COVID-19", "AP Supine", True, 260, "View/AP_Supine|Viral Pneumonia|COVID-19"],
        ["darwin_v7_whole/b", "cohen/7", "other", "", True, 256, ""],
        ["darwin_v7_whole/person1_virus_6", "kermany/person1", "viral pneumonia", "AP", True, 260, "Viral Pneumonia"],
        ["darwin_v7_whole/side", "darwin_v7_whole/side", "COVID-19", "L", False, 260, "View/Lateral|COVID-19"],
    ]
    assert check_source("darwin_v7_whole", folder) == [("annotated images", 6_504, 6), ("frontal and large", 6_377, 3)]
    counts = get_source("darwin_v7_whole").count(folder)
    assert {name: counts[name] for name in counts if counts[name] == 1} == {
        "CT left out": 1,
        "lateral X-rays": 1,
        "X-rays without an outline": 1,
        "X-rays with a side under 256 pixels": 1,
        "normal": 1,
        "viral pneumonia": 1,
        "other": 1,
    }


def test_darwin_names_children_as_kermany_does_and_warns_without_cohen(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = ("NORMAL/IM-0115-0001", "NORMAL/NORMAL2-IM-0588-0001-0002", "NORMAL/NORMAL-11419-0001")
    names += ("PNEUMONIA/person1_bacteria_2", "PNEUMONIA/VIRUS-614452-0001", "PNEUMONIA/BACTERIA-11419-0004")
    for name in names:
        picture(tmp_path / "chest_xray" / "train" / f"{name}.jpeg")
        picture(tmp_path / "chest_xray" / "test" / f"{name}.jpeg")
        darwin_1(tmp_path / "darwin_v7_whole", f"{Path(name).name}.jpeg", size=(SIDE, SIDE))
    kermany = load_source("kermany", tmp_path).table
    expected = {Path(path).name: patient for path, patient in zip(kermany["path"], kermany["patient_id"], strict=True)}
    whole = load_source("darwin_v7_whole", tmp_path).table
    found = {Path(path).name: patient for path, patient in zip(whole["path"], whole["patient_id"], strict=True)}
    assert found == expected
    assert "no cohen beside" in caplog.text


def test_darwin_finds_the_places_of_its_own_tools(tmp_path: Path) -> None:
    make_cohen(tmp_path)
    old = make_darwin(tmp_path)
    folder = tmp_path / "v7-labs" / old.name
    (folder / "releases" / "all-images").mkdir(parents=True)
    (old / "annotations").rename(folder / "releases" / "all-images" / "annotations")
    (old / "images").rename(folder / "images")
    assert len(load_source("darwin_v7_whole", tmp_path)) == 5
    assert "cohen/8" in load_source("darwin_v7_whole", tmp_path).patients()


def test_frontal_and_large_drops_laterals_and_small_images(tmp_path: Path) -> None:
    darwin_1(make_darwin(tmp_path), "outlined.jpg", outline(LEFT), tag("View/Lateral"))
    cohort = darwin_v7_whole.frontal_and_large(load_source("darwin_v7_whole", tmp_path))
    assert list(cohort.table["image_id"].str.removeprefix("darwin_v7_whole/")) == ["a", "b", "person1_virus_6"]
    refused("no images", cohort.filter, cohort.table["width"] < 0)


def test_darwin_masks_hold_lungs_holes_and_ignored_areas(tmp_path: Path) -> None:
    make_darwin(tmp_path)
    cohort = darwin_v7_whole.draw_masks(load_source("darwin_v7_whole", tmp_path), tmp_path / "masks")
    masks = dict(
        zip(cohort.table["image_id"].str.removeprefix("darwin_v7_whole/"), cohort.table["mask_path"], strict=True)
    )
    assert masks.pop("side") == ""
    assert all(Path(path).is_relative_to(tmp_path / "masks" / "darwin_v7_whole") for path in masks.values())
    expected = np.zeros((256, 260), np.uint8)
    expected[30:201, 20:101] = 255
    expected[30:201, 140:241] = 255  # corners at 140.4 and 239.6 are rounded
    np.testing.assert_array_equal(read_mask(masks["person1_virus_6"]), expected)
    mask = read_mask(masks["b"], (256, 256))
    assert (mask[40, 60], mask[75, 60], mask[150, 60]) == (255, 0, 255), "a path inside another is a hole"
    assert (mask[155, 95], mask[155, 110], mask[155, 130]) == (127, 127, 0), "ignored on the lung and beside it"


def test_darwin_reads_complex_polygons_of_the_first_form(tmp_path: Path) -> None:
    folder = tmp_path / "darwin_v7_whole"
    hole, stray = box(40, 50, 80, 100), box(0, 0, 9, 9)[:2]
    forms = (
        {"name": "Lung", "complex_polygon": {"path": [LEFT, hole, stray]}},
        {"name": "Lung", "polygon": {"path": LEFT, "additional_paths": [hole]}},
        {"name": "Lung", "polygon": {"paths": [LEFT, hole]}},
    )
    for number, form in enumerate(forms):
        darwin_1(folder, f"{number}.png", form, outline(RIGHT, "Heart"), {"name": "x", "line": {"path": LEFT}})
    cohort = darwin_v7_whole.draw_masks(load_source("darwin_v7_whole", tmp_path), tmp_path / "masks")
    first, *others = (read_mask(path) for path in cohort.table["mask_path"])
    assert (first[40, 60], first[75, 60], first[100, 200], first[0, 5]) == (255, 0, 0, 0)
    for other in others:
        np.testing.assert_array_equal(other, first)


def test_a_darwin_mask_is_drawn_once_and_again_when_its_annotation_changed(tmp_path: Path) -> None:
    annotation = darwin_1(tmp_path / "darwin_v7_whole", "a.png", outline(LEFT))
    cohort = load_source("darwin_v7_whole", tmp_path)
    made = Path(darwin_v7_whole.draw_masks(cohort, tmp_path / "masks").table["mask_path"][0])
    os.utime(made, (1, 1))
    os.utime(annotation)  # newer, but the same
    assert darwin_v7_whole.draw_masks(cohort, tmp_path / "masks").table["mask_path"][0] == str(made)
    assert made.stat().st_mtime == 1
    darwin_1(tmp_path / "darwin_v7_whole", "a.png", outline(RIGHT))
    again = Path(darwin_v7_whole.draw_masks(cohort, tmp_path / "masks").table["mask_path"][0])
    assert again != made
    assert (read_mask(made)[100, 200], read_mask(again)[100, 200]) == (0, 255)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (box(0, 0, 900, 900), "its outlines mark every pixel"),
        (box(900, 900, 950, 950), ""),  # beyond the border: drawn on the border, as V7's own tools do
    ],
)
def test_darwin_outlines_are_cut_at_the_border(tmp_path: Path, path: Points, message: str) -> None:
    darwin_1(tmp_path / "darwin_v7_whole", "a.png", outline(path))
    cohort = load_source("darwin_v7_whole", tmp_path)
    if message:
        refused(rf"a\.json: {message}", darwin_v7_whole.draw_masks, cohort, tmp_path / "masks")
        assert not list((tmp_path).rglob("masks/**/*.png"))
    else:
        mask = read_mask(darwin_v7_whole.draw_masks(cohort, tmp_path / "masks").table["mask_path"][0])
        assert np.argwhere(mask).tolist() == [[255, 259]]


def test_darwin_masks_refuse_what_does_not_fit(tmp_path: Path) -> None:
    folder = tmp_path / "darwin_v7_whole"
    annotation = darwin_1(folder, "a.png", outline(LEFT), outline(box(0, 0, 259, 255), "Ignore"))
    cohort = load_source("darwin_v7_whole", tmp_path)
    refused(r"a\.json: its outlines mark no lung", darwin_v7_whole.draw_masks, cohort, tmp_path / "masks")
    picture(folder / "images" / "a.png", 20, 30)
    with pytest.raises(UserError, match=r"a\.json: was drawn on 260x256 pixels but its image is 20x30"):
        darwin_v7_whole.draw_masks(cohort, tmp_path / "masks")
    annotation.unlink()
    refused(r"a\.json: cannot be read", darwin_v7_whole.draw_masks, cohort, tmp_path / "masks")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"width"', '"w"', "is not an image's annotations in Darwin JSON"),
        ('"path": [{"x"', '"path": [{"u"', "is not an image's annotations in Darwin JSON"),
        ('"filename": "a.png"', '"filename": "../a.png"', "is not an image's annotations in Darwin JSON"),
        ('"image":', '"video":', "is not an image's annotations in Darwin JSON"),
        ("{", "", "is not valid JSON"),
    ],
)
def test_darwin_refuses_other_files(tmp_path: Path, old: str, new: str, message: str) -> None:
    replace(darwin_1(tmp_path / "darwin_v7_whole", "a.png", outline(LEFT)), old, new)
    refused(rf"a\.json: {message}", load_source, "darwin_v7_whole", tmp_path)


def test_darwin_refuses_doubled_and_missing_images_and_no_annotations(tmp_path: Path) -> None:
    folder = make_darwin(tmp_path)
    copy = lines(folder / "annotations" / "z.json", (folder / "annotations" / "a.json").read_text())
    refused(r"a\.jpg.*z\.json", load_source, "darwin_v7_whole", folder)
    copy.unlink()
    (folder / "images" / "a.jpg").unlink()
    with pytest.raises(UserError, match=r"images/a\.jpg: is listed in annotations but missing, as are 0 of the 6"):
        load_source("darwin_v7_whole", folder)
    empty(folder / "annotations")
    with pytest.raises(UserError, match="holds no JSON files in annotations, releases/all-images/annotations"):
        get_source("darwin_v7_whole").load(folder)
