"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from covid_keras.common import files
from tests.helpers.refusals import refused


def test_atomic_path_replaces_only_at_the_end(tmp_path):
    path = tmp_path / "deep" / "x.weights.h5"
    path.parent.mkdir()
    path.write_text("old")
    with files.atomic_path(path) as temporary:
        assert temporary.name.endswith(".weights.h5")
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_failure_leaves_what_was_there(tmp_path):
    path = files.write_text(tmp_path / "x.txt", "old")

    def half() -> None:
        with files.atomic_path(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_disk_full_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def full(self, *args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    refused(r"x\.json: the disk is full", files.write_json, tmp_path / "x.json", {"a": 1})
    assert list(tmp_path.iterdir()) == []


def test_unwritable_folder_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    refused("cannot be written", files.require_writable_folder, tmp_path / "file" / "out")


def test_json_round_trip_and_faults(tmp_path):
    path = files.write_json(tmp_path / "x.json", {"ä": [1, 2]})
    assert files.read_json(path) == {"ä": [1, 2]}
    path.write_text("{")
    refused("not valid JSON", files.read_json, path)
    refused("cannot be read", files.read_json, tmp_path / "none.json")


def test_hashes(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"abc" * 700_000)
    assert files.sha256_of(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert files.fingerprint({"a": 1, "b": 2}) == files.fingerprint({"b": 2, "a": 1}) != files.fingerprint({"a": 1})
