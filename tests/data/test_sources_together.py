"""Collections side by side: a broken one hides no other, and two folders of one collection are both read."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from covid_keras.commands.main import main
from covid_keras.common.errors import UserError
from covid_keras.data import check_source, get_source, load_source
from covid_keras.data.file_hashes import FileHashes
from covid_keras.data.images import read_image, read_mask
from covid_keras.data.phantom import make_phantom
from covid_keras.data.sniff import IMAGE_SUFFIXES
from covid_keras.data.sources import SOURCES, unavailable
from covid_keras.data.sources.united_masks import binary_masks
from covid_keras.paper.cohorts import missing_collection
from tests.helpers import collections as made
from tests.helpers.refusals import refused

PATIENTS = ((1, "Pneumonia/Viral/COVID-19", "PA"), (2, "No Finding", "AP"))


def _cohen(root: Path) -> Path:
    folder = made.make_cohen(root, PATIENTS)
    made.half(folder / "annotations" / "lung-masks-darwin-v7" / "c0.png", left=True, side=64)
    return folder


def _darwin(root: Path) -> Path:
    folder = root / "covid-19-chest-x-ray-dataset"
    made.picture(folder / "images" / "a.png")
    made.lines(folder / "annotations" / "a.json", "{}")
    return folder


def _phantom(root: Path) -> Path:
    make_phantom(root / "phantom", composition={"normal": 2}, size=48, follow_ups=0.0)
    return root / "phantom"


MAKERS: dict[str, Callable[[Path], Path]] = {
    "covidgr": lambda root: made.make_covidgr(root, ("N/a", "P/b"), "b,MILD"),
    "cohen": _cohen,
    "darwin_v7": _cohen,
    "covid_cxnet": lambda root: made.make_covid_cxnet(root, ("1", "2"), "1.png,7,PA"),
    "chestxray14": lambda root: made.make_nih_subset(root, ("1_0",), ("2_0",)),
    "bimcv_positive": made.make_positive,
    "bimcv_negative": made.make_negative,
    "darwin_v7_whole": _darwin,
    "phantom": _phantom,
    **{
        name: getattr(made, f"make_{name}")
        for name in (
            "padchest", "precovid", "kermany", "covidx", "ricord", "rsna", "montgomery", "shenzhen", "jsrt",
            "nih_masks",
        )
    },
}  # fmt: skip


def _break(folder: Path) -> None:
    """Damage every table, and give every radiograph a name that its collection does not know."""
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        if path.suffix not in IMAGE_SUFFIXES - {".dcm"}:
            path.write_bytes(b"\x00\xff\xfe")
        elif "mask" not in str(path.relative_to(folder)).lower() and path.stem != "JPCLN001":
            path.rename(path.with_stem(f"{path.stem}_odd"))
    if folder.name == "JSRT":
        shutil.rmtree(folder / "scratch" / "fold1" / "masks" / "left lung")


def test_every_source_has_a_made_collection() -> None:
    assert set(MAKERS) == set(SOURCES)


@pytest.mark.parametrize("name", SOURCES)
def test_a_broken_collection_hides_no_other(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound = [other for other in ("kermany", "montgomery", "rsna", "covidgr") if other != name]
    for other in sound:
        MAKERS[other](tmp_path)
    folder = MAKERS[name](tmp_path)
    _break(folder)
    assert main(["data", "check", "--data", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert f"covid-keras: error: {name}: {folder.parent.resolve()}" in said.err
    assert not [other for other in sound if f"{other}: " not in said.out]
    assert main(["data", "list", "--data", str(tmp_path)]) == 0
    assert f"{name}: {get_source(name).title}" in capsys.readouterr().out
    reason = missing_collection([*sound, name], tmp_path)
    assert reason is not None
    assert reason.startswith(f"{get_source(name).title} cannot be read: ")
    assert "\n" not in reason
    assert missing_collection(sound, tmp_path) is None


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), ValueError("odd"), KeyError("column")])
def test_whatever_reading_raises_is_one_line_that_names_the_folder(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = made.make_kermany(tmp_path)
    made.make_montgomery(tmp_path)

    def fail(*given: object) -> None:
        raise error

    monkeypatch.setattr("covid_keras.data.sources.kermany.image_files", fail)
    refused(f"{folder.name}: cannot be read", load_source, "kermany", tmp_path)
    assert main(["data", "check", "--data", str(tmp_path)]) == 2
    assert "montgomery: normal: expected 80, found 1" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["jsrt", "chestxray14", "darwin_v7", "ricord"])
def test_a_folder_that_may_not_be_opened_counts_as_found(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = MAKERS[name](tmp_path).resolve()

    def refuse(*given: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("covid_keras.data.sources.base._has", refuse)
    assert folder in get_source(name).locate_all(tmp_path), "so that reading it reports why"


# --- several folders of one collection


@pytest.mark.parametrize("name", sorted(set(SOURCES) - {"phantom", "darwin_v7_whole"}))
def test_two_folders_of_a_collection_are_both_read_and_an_image_of_both_counts_once(name: str, tmp_path: Path) -> None:
    first = MAKERS[name](tmp_path)
    once = len(load_source(name, tmp_path))
    places = get_source("cohen" if name == "darwin_v7" else name).folders
    others = [tmp_path / place for place in places if "*" not in place and not (tmp_path / place).exists()]
    second = next(place for place in others if first not in place.parents)
    shutil.copytree(first, second)
    assert set(get_source(name).locate_all(tmp_path)) == {first.resolve(), second.resolve()}
    assert len(load_source(name, tmp_path)) == once
    assert len(check_source(name, tmp_path)) == 2 * len(check_source(name, first))


def test_a_copy_that_cannot_be_read_is_left_out_with_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    first = made.make_kermany(tmp_path)
    made.picture(tmp_path / "kermany" / "train" / "PNEUMONIA" / "odd.jpeg")
    assert len(load_source("kermany", tmp_path)) == len(load_source("kermany", first))
    assert unavailable("kermany", tmp_path) is None
    assert "kermany: left out: " in caplog.text
    assert main(["data", "check", "--data", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert f"error: kermany: {tmp_path / 'kermany'}" in said.err
    assert f"kermany: normal in {first.resolve()}: expected 1,583, found 4" in said.out


def test_an_image_of_two_patients_in_two_folders_is_refused(tmp_path: Path) -> None:
    for folder, patient in (("pre-covid", "1"), ("precovid", "2")):
        made.picture(tmp_path / folder / "images" / "a.png")
        made.lines(tmp_path / folder / "metadata.csv", "filename,patient_id,view", f"a.png,{patient},PA")
    refused("pre-covid/images/a.png: is also .*precovid/images/a.png", load_source, "precovid", tmp_path)


def test_only_one_release_of_kermany_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made.make_kermany(tmp_path)
    once = len(load_source("kermany", tmp_path))
    for name in ("NORMAL/NORMAL-11419-0001", "PNEUMONIA/BACTERIA-11419-0004"):
        for part in ("train", "test"):
            made.picture(tmp_path / "ChestXRay2017" / "chest_xray" / part / f"{name}.jpeg")
    assert len(load_source("kermany", tmp_path)) == once
    assert "ChestXRay2017" in caplog.text


def test_ricord_is_read_from_every_manifest(tmp_path: Path) -> None:
    first = made.make_ricord(tmp_path)
    moved = tmp_path / "manifest-2" / first.name / "MIDRC-RICORD-1C-SITE2-000002"
    once = load_source("ricord", tmp_path).table["image_id"]
    moved.parent.mkdir(parents=True)
    (first / moved.name).rename(moved)
    assert set(load_source("ricord", tmp_path).table["image_id"]) == set(once)


def test_a_linked_folder_is_found_by_its_name(tmp_path: Path) -> None:
    made.make_precovid(tmp_path / "elsewhere").rename(tmp_path / "mine")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "pre-covid").symlink_to(tmp_path / "mine")
    assert len(load_source("precovid", tmp_path / "data")) == 2


# --- NIH: the whole collection, the subset and the table's rows

NIH = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position"
ROWS = (
    "00000001_000.png,No Finding,0,1,058Y,M,PA",
    "00000002_000.png,Pneumonia|Edema,0,2,414,F,AP",
    "00000003_001.png,Pneumonia,1,3,11M,,AP",
)


def _whole(root: Path) -> Path:
    for name in ("00000001_000", "00000002_000"):
        made.picture(root / "ChestX-ray14" / "images" / f"{name}.png")
    made.lines(root / "ChestX-ray14" / "Data_Entry_2017.csv", NIH, *ROWS[:2])
    return root / "ChestX-ray14"


def test_nih_whole_and_subset_are_both_read(tmp_path: Path) -> None:
    whole = _whole(tmp_path)
    subset = made.make_nih_subset(tmp_path, pneumonia=("2_0", "3_1"), no_findings=("1_0", "4_0"))
    assert get_source("chestxray14").locate_all(tmp_path) == [whole.resolve(), subset.resolve()]
    cohort = load_source("chestxray14", tmp_path)
    rows = cohort.table.set_index(cohort.table["image_id"].str.removeprefix("chestxray14/"))
    assert rows["label"].to_dict() == {
        "00000001_000": "No_findings",
        "00000002_000": "Pneumonia",
        "00000004_000": "No_findings",
        "00000003_001": "Pneumonia",
    }
    assert [Path(path).suffix for path in rows["path"]] == [".png", ".png", ".jpg", ".jpg"]
    assert cohort.classes == ("No_findings", "Pneumonia", "other")


@pytest.mark.parametrize("table", ["Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv", "Data_Entry_2017_rows.csv"])
@pytest.mark.parametrize("place", [".", ".."])
def test_the_subset_takes_view_age_and_sex_from_the_table(table: str, place: str, tmp_path: Path) -> None:
    subset = made.make_nih_subset(tmp_path, pneumonia=("2_0", "3_1"), no_findings=("1_0", "4_0"))
    made.lines(subset / place / table, NIH, *ROWS, "00000009_000.png,Mass,0,9,50,F,PA")
    table = load_source("chestxray14", tmp_path).table.set_index("image_id")
    rows = table.fillna({"age": -1})[["view", "age", "sex"]]
    assert rows.rename(lambda name: name[-12:]).round(2).T.to_dict("list") == {
        "00000001_000": ["PA", 58, "M"],
        "00000004_000": ["", -1, ""],
        "00000002_000": ["AP", -1, "F"],
        "00000003_001": ["AP", 0.92, ""],
    }


def test_a_table_without_images_hides_no_subset(tmp_path: Path) -> None:
    made.lines(tmp_path / "ChestX-ray14" / "Data_Entry_2017.csv", NIH, *ROWS)
    made.make_nih_subset(tmp_path, ("2_0",), ("1_0",))
    assert len(load_source("chestxray14", tmp_path)) == 2


@pytest.mark.real
def test_the_real_subset_has_views_ages_and_sexes(real_data: Path) -> None:
    table = load_source("chestxray14", real_data).table
    counts = table.groupby(["label", "view"]).size().to_dict()
    assert counts == {
        ("No_findings", "AP"): 314, ("No_findings", "PA"): 142, ("Pneumonia", "AP"): 209, ("Pneumonia", "PA"): 241,
    }  # fmt: skip
    assert table["label"][table["age"] < 18].value_counts().to_dict() == {"No_findings": 66, "Pneumonia": 18}
    assert table["sex"].value_counts().to_dict() == {"M": 478, "F": 428}
    assert table["age"].notna().all()


@pytest.mark.real
def test_real_kermany_gives_each_child_one_id(real_data: Path) -> None:
    table = load_source("kermany", real_data).table
    assert table.groupby(["part", "label"]).size().to_dict() == {
        ("train", "normal"): 1341, ("train", "viral pneumonia"): 1345, ("train", "bacterial pneumonia"): 2530,
        ("test", "normal"): 234, ("test", "viral pneumonia"): 148, ("test", "bacterial pneumonia"): 242,
    }  # fmt: skip
    numbers = table["image_id"].str.extract(r"/((?:NORMAL2-)?IM-\d+|person\d+)[-_]")[0]
    assert (table["patient_id"] == "kermany/" + numbers).all()


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "images", "masks"), [("montgomery", 138, 138), ("shenzhen", 562, 466), ("jsrt", 247, 247)]
)
def test_real_lung_fields_are_all_read(name: str, images: int, masks: int, real_data: Path, tmp_path: Path) -> None:
    cohort = load_source(name, real_data)
    table = cohort.table
    has_mask = (table["mask_path"] != "") | (table.get("mask_left", "") != "")
    assert (len(table), int(has_mask.sum())) == (images, masks)
    assert table["patient_id"].is_unique
    some = cohort.filter(has_mask.to_numpy() & (table.index % 40 == 0))
    for row in binary_masks(some, tmp_path).table.itertuples():
        assert read_mask(row.mask_path, read_image(row.path).shape).any()


def test_cards_tell_masks_without_the_heart_from_those_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    lungs = {name: source.lungs for name, source in SOURCES.items() if source.lungs}
    assert {name for name, value in lungs.items() if value == "fields"} == {
        "montgomery",
        "shenzhen",
        "jsrt",
        "nih_masks",
    }
    assert {name for name, value in lungs.items() if value == "whole"} == {
        "cohen", "darwin_v7", "darwin_v7_whole", "phantom",
    }  # fmt: skip
    assert main(["data", "list"]) == 0
    assert capsys.readouterr().out.count("    masks: lungs with") == len(lungs)


@pytest.mark.parametrize(
    ("reading", "age", "sex"),
    [
        ("Patient's Sex: F\nPatient's Age: 027Y\nnormal", 27, "F"),
        ("male 45yrs\nnormal", 45, "M"),
        ("Female, 33yrs\nsecondary PTB in the right upper field", 33, "F"),
        ("Male, 9month\nnormal", 0.75, "M"),
        ("normal", None, ""),
    ],
)
@pytest.mark.parametrize("name", ["montgomery", "shenzhen"])
def test_clinical_readings_give_age_and_sex(
    name: str, reading: str, age: float | None, sex: str, tmp_path: Path
) -> None:
    folder = MAKERS[name](tmp_path)
    stem = Path(load_source(name, tmp_path).table["path"][0]).stem
    made.lines(folder / "ClinicalReadings" / f"{stem}.txt", reading)
    table = load_source(name, tmp_path).table
    assert table["sex"].tolist() == [sex] + [""] * (len(table) - 1)
    assert table["age"].dropna().tolist() == ([] if age is None else [age])


def test_shenzhens_children_marked_ap_are_ap(tmp_path: Path) -> None:
    folder = made.make_shenzhen(tmp_path)
    made.picture(folder / "CXR_png" / "CHNCXR_0075_0.png")
    table = load_source("shenzhen", tmp_path).table
    assert table.loc[table["view"] == "AP", "image_id"].tolist() == ["shenzhen/CHNCXR_0075_0"]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", SOURCES)
def test_a_pipe_in_a_collection_holds_nobody_up(name: str, tmp_path: Path) -> None:
    folder = MAKERS[name](tmp_path)
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    for number, file in enumerate({path.suffix: path for path in files}.values()):
        root = tmp_path / str(number)
        shutil.copytree(folder, root / folder.name)
        piped = root / folder.name / file
        piped.unlink()
        os.mkfifo(piped)
        with contextlib.suppress(UserError):
            if str(piped) in set(load_source(name, root).table["path"]):
                refused("not a regular file", read_image, piped)
                refused("not a regular file", FileHashes(tmp_path / "hashes").of, str(piped))
