"""Leakage in anybody's split: what is shared, how tables name it, where the images are."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pandas as pd
import pytest

from covid_keras.data.leakage import check_parts, read_parts
from covid_keras.data.own_images import find_images, folders_cohort, locate_images
from tests.helpers.collections import lines, picture
from tests.helpers.refusals import refused


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_text(text, encoding=encoding)
    return path


def shared(path: Path, **columns: str) -> list[tuple[str, str, str]]:
    rows = check_parts(read_parts([path], columns)).rows
    return list(rows[["kind", "part_a", "part_b"]].itertuples(index=False, name=None))


CLEAN = "image,patient,split\na,1,train\nb,1,train\nc,2,test\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CLEAN, []),
        (CLEAN.replace("c,2", "c,1"), ["patient"]),
        (CLEAN.replace("c,2", "c,1.0"), ["patient"]),
        (CLEAN.replace("c,2", "c,\u00a01 "), ["patient"]),
        (CLEAN.replace("train\nc,2,test", "train\nc,p,test").replace("b,1", "b,P"), ["patient"]),
        (CLEAN.replace("c,2", "a,2"), ["image"]),
        (CLEAN.replace("b,1,train", "b,1,TRAIN "), []),
        (CLEAN.replace("c,2", "c,"), []),
        (CLEAN.replace(",", ";").replace("c;2", "c;1"), ["patient"]),
        (CLEAN.replace("image,patient,split", "File Name,Subject ID,Set").replace("c,2", "c,1"), ["patient"]),
        (CLEAN.replace("image,patient,split", "image,patient,fold").replace("c,2", "c,1"), ["patient"]),
    ],
)
def test_what_two_parts_share_is_found_however_the_table_says_it(tmp_path: Path, text: str, expected: list) -> None:
    assert [kind for kind, *_ in shared(write(tmp_path / "s.csv", text))] == expected


def test_columns_may_be_named(tmp_path: Path) -> None:
    path = write(tmp_path / "s.csv", "split,image,patient,x,y,z\n1,a,p,i,1,train\n2,b,q,j,1,test\n")
    assert shared(path, part="z", patient="Y", image="x") == [("patient", "train", "test")]
    assert shared(path) == []
    refused("column 'who' is missing", read_parts, [path], {"patient": "who"})


def test_each_part_may_be_a_file_of_its_own(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{name}.csv", f"Image,PatientID\n{name},1\n") for name in ("train", "val")]
    paths.append(write(tmp_path / "test.csv", "image;patient_id\nt;2\n", "utf-16"))
    found = check_parts(read_parts(paths))
    assert found.between() == [
        {"parts": ["train", "val"], "image": 0, "patient": 1, "near-duplicate": 0, "divisions": 1}
    ]


def test_folds_are_divisions_of_their_own(tmp_path: Path) -> None:
    rows = ["repeat,fold,image_id,patient_id,split"]
    for fold, (image, patient) in itertools.product(range(3), zip("abc", "112", strict=True)):
        rows.append(f"0,{fold},{image},{patient},{'test' if ord(image) - ord('a') == fold else 'train'}")
    found = check_parts(read_parts([lines(tmp_path / "s.csv", *rows)]))
    assert set(found.rows["kind"]) == {"patient"}, "an image is in another part of each fold, which is no leak"
    assert found.between()[0]["divisions"] == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,patient\na,1\n", "no column of parts.*--part"),
        ("who,patient,split\na,1,x\n", "no column of images.*--image"),
        ("image,patient,split\na,1,x\nb,2,X \n", "only one part"),
        ("image,patient,split\na,1,\n", "no row with an image and a part"),
    ],
)
def test_a_table_that_tells_no_split_is_refused(tmp_path: Path, text: str, message: str) -> None:
    refused(message, read_parts, [write(tmp_path / "s.csv", text)])


# --- images


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Eight pictures in two folders, one of them twice under another name; a damaged file beside them."""
    folder = tmp_path / "images"
    for number in range(8):
        picture(folder / ("train" if number < 6 else "test") / f"{number}.png", 64, seed=number)
    shutil.copy(folder / "train" / "3.png", folder / "test" / "copy.png")
    (folder / "test" / "bad.png").write_bytes(b"no image")
    return folder


def table(tmp_path: Path, suffix: str = ".png") -> Path:
    parts = {**dict.fromkeys(range(6), "train"), 6: "test", 7: "test", "copy": "test", "bad": "test", "lost": "test"}
    rows = [f"{name}{suffix},p{name},{part}" for name, part in parts.items()]
    return write(tmp_path / "s.csv", "\n".join(["image,patient,split", *rows]))


@pytest.mark.parametrize("suffix", [".png", "", ".JPG"])
def test_near_duplicates_across_parts_are_found_past_damaged_and_missing_files(
    tmp_path: Path, images: Path, suffix: str
) -> None:
    found = check_parts(read_parts([table(tmp_path, suffix)]), images)
    assert found.rows[["kind", "image_a", "image_b"]].to_numpy().tolist() == [
        ["near-duplicate", f"3{suffix}", f"copy{suffix}"]
    ]
    assert found.searched == 9
    assert found.absent == (f"lost{suffix}",)
    assert list(found.unreadable) == [f"bad{suffix}"]


def test_a_folder_without_the_images_is_refused(tmp_path: Path, images: Path) -> None:
    split = read_parts([write(tmp_path / "s.csv", CLEAN)])
    refused("none of the images", check_parts, split, images)
    refused("does not exist", check_parts, split, tmp_path / "nowhere")


def test_names_find_their_files_by_as_much_of_the_path_as_they_tell(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("train/1.png", "test/1.png", "test/IM 02.PNG")]
    assert locate_images(["train/1.png", "/elsewhere/test/1.png", "im\u00a002"], files) == {
        "train/1.png": files[0],
        "/elsewhere/test/1.png": files[1],
        "im\u00a002": files[2],
    }
    assert locate_images(["data\\test\\1.png", "train/2.png"], files) == {"data\\test\\1.png": files[1]}
    assert locate_images(["other/1.png", "train/1.png"], files[:1]) == {"train/1.png": files[0]}
    refused("may be", locate_images, ["1.png"], files)


def test_images_below_folders_are_found_by_content_too(tmp_path: Path, images: Path) -> None:
    (images / "train" / "0.png").rename(images / "IM000001")
    (images / "notes.txt").write_text("none")
    (images / ".hidden.png").write_bytes(b"x")
    assert [path.name for path in find_images(images)][:2] == ["IM000001", "6.png"]
    cohort = folders_cohort([images / "test", images])
    assert len(cohort) == 10
    assert cohort.table["source"].value_counts().to_dict() == {str(images): 6, str(images / "test"): 4}
    assert pd.Series(cohort.patients()).is_unique
    (tmp_path / "empty").mkdir()
    refused("no images", find_images, tmp_path / "empty")
