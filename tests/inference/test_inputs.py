"""Which radiographs files and folders are, and where their outputs go."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from covid_keras.common.errors import UserError
from covid_keras.inference.inputs import RefusedImages, find_items, items_of


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a/x.png", "a/sub/y.JPG", "b/x.png", "b/x.dcm", "b/.z/x.png", "b/x.txt", "x.png", "1.2.840.dcm"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"content")
    return tmp_path


@pytest.mark.parametrize(
    ("given", "places"),
    [
        (["a/x.png"], ["x"]),
        (["1.2.840.dcm"], ["1.2.840"]),
        (["a/x.png", "a/sub/y.JPG"], ["x", "y"]),
        (["a/x.png", "a/x.png", "./a/x.png"], ["x"]),
        (["x.png", "a/x.png"], ["x", "a/x"]),
        (["b/x.png", "b/x.dcm"], ["x.png", "x.dcm"]),
        (["a"], ["x", "sub/y"]),
        (["b"], ["x.dcm", "x.png"]),
        (["a", "x.png"], ["a/x", "a/sub/y", "x"]),
        (["a", "a/x.png"], ["x", "sub/y"]),
        (["a/sub", "b/x.png"], ["a/sub/y", "b/x"]),
    ],
)
def test_outputs_are_in_folders_like_the_input(folder, given, places):
    assert [item.place for item in find_items(list(map(Path, given)))] == places


def test_what_is_no_file_is_left_out(folder):
    os.mkfifo("a/pipe.png")
    Path("a/gone.png").symlink_to("nowhere.png")
    assert [item.place for item in find_items([Path("a")])] == ["gone", "x", "sub/y"]


def test_outputs_are_no_input(folder):
    assert [item.place for item in find_items([Path("a")], Path("a/sub"))] == ["x"]
    with pytest.raises(UserError, match="output folder"):
        find_items([Path("a")], Path("./a"))


def test_what_a_function_of_the_library_is_given(folder):
    array = np.zeros((20, 20))
    for given, names, single in (
        ("a/x.png", ["a/x.png"], True),
        (Path("a"), ["a/x.png", "a/sub/y.JPG"], False),
        (array, ["array"], True),
        ([array, "x.png", array], ["array 1", "x.png", "array 3"], False),
        ((path for path in ["x.png"]), ["x.png"], False),
        (np.array(["x.png", "a/x.png"]), ["x.png", "a/x.png"], False),
    ):
        items, was_single = items_of(given)
        assert ([str(item.path) for item in items], was_single) == (names, single)
    for wrong in (None, 3, [3], {"a": 1}.values()):
        with pytest.raises(UserError):
            items_of(wrong)


def test_refusals_are_one_error_each():
    import pickle

    error = RefusedImages([UserError("a.png", "is empty", "Fetch it"), UserError("b.png", "is a cat", "")])
    assert "(and 1 more refused)" in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert [one.subject for one in again.errors] == ["a.png", "b.png"]
    assert str(again) == str(error)
