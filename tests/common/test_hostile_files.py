"""What is not a regular file, or too large, is refused before it is read: reading a pipe or a device does not end."""

from __future__ import annotations

import gzip
import os
import socket
import tempfile
from pathlib import Path

import pytest

from covid_keras.common import files, tables
from covid_keras.common.settings import parse_yaml, read_yaml
from covid_keras.common.tables import read_table, read_text, read_written
from covid_keras.data.cohort import Cohort
from covid_keras.data.images import image_size, read_image, read_mask, write_image
from covid_keras.data.splits import read_split
from covid_keras.evaluation.predictions import read_predictions
from covid_keras.models.weight_kinds import require_weight_file
from covid_keras.published.cells import load_published
from tests.helpers.command import fails
from tests.helpers.images import smooth_noise
from tests.helpers.refusals import refused

pytestmark = pytest.mark.timeout(60)

READERS = (
    read_yaml, files.read_json, files.sha256_of, read_text, read_table, read_written, Cohort.from_csv, read_image,
    read_mask, image_size, read_split, read_predictions, require_weight_file, load_published,
)  # fmt: skip
COMMANDS = (
    ("audit", "FILE.yaml"),
    ("check-split", "FILE"),
    ("evaluate", "FILE"),
    ("evaluate", "ALSO", "--labels", "FILE"),
    ("ensemble", "FILE"),
    ("predict", "FILE.png"),
    ("predict", "FILE.dcm"),
    ("predict", "PICTURE", "--weights", "FILE"),
    ("segment", "FILE.png"),
    ("segment", "PICTURE", "--weights", "FILE"),
    ("weights", "add", "FILE"),
    ("weights", "convert", "FILE", "OUT.weights.h5", "--like", "lungs_unet16"),
    ("weights", "check", "FILE", "--like", "lungs_unet16"),
    ("reproduce", "tabik", "--profile", "smoke", "--checkpoint", "resnet18=FILE", "--out", "OUT"),
    ("reproduce", "tabik", "--profile", "smoke", "--weights", "FILE", "--out", "OUT"),
)


@pytest.fixture(params=["pipe", "device", "socket", "folder", "too large"])
def odd(request, tmp_path) -> Path:
    """A path that is not a file that can be read whole."""
    path = tmp_path / "odd"
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "device":
        path.symlink_to("/dev/zero")
    elif request.param == "folder":
        path.mkdir()
    elif request.param == "too large":
        path.touch()
        os.truncate(path, 1 << 40)  # sparse: it takes no room
    else:  # paths of sockets are short
        with tempfile.TemporaryDirectory(prefix="s", dir="/tmp") as folder, socket.socket(socket.AF_UNIX) as made:
            made.bind(f"{folder}/s")
            path.symlink_to(f"{folder}/s")
            yield path
        return
    yield path


@pytest.mark.parametrize("reader", READERS, ids=lambda one: one.__qualname__)
def test_it_is_refused_unread(odd, reader):
    if reader is files.sha256_of and odd.is_file():
        pytest.skip("hashes files of any size")
    refused("odd: ", reader, odd)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_says_so_in_one_line_and_leaves_nothing(command, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COVID_KERAS_WEIGHTS", str(tmp_path / "store"))
    os.mkfifo("odd")
    for suffix in (".yaml", ".png", ".dcm"):
        os.mkfifo(f"odd{suffix}")
    Path("also.csv").write_text("image_id,label,score\na,1,0.5\nb,0,0.1\n")
    write_image("picture.png", smooth_noise(0, 200, 180))
    before = sorted(Path().rglob("*"))
    words = {"FILE": "odd", "ALSO": "also.csv", "PICTURE": "picture.png", "OUT": "out"}

    def given(text: str) -> str:
        for name, word in words.items():
            text = text.replace(name, word)
        return text

    assert "odd" in fails(capsys, *map(given, command))
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize(
    "command",
    [
        ("report", "loop"),
        ("claims", "./loop"),
        ("ensemble", "loop", "also.csv"),
        ("ensemble", "also.csv", "also.csv", "--out", "loop"),
        ("ensemble", "~nobody/x", "also.csv"),
        ("ensemble", "also.csv", "also.csv", "--weights", ""),
        ("reproduce", "tabik", "--profile", "smoke", "--out", "loop"),
        ("reproduce", "tabik", "--profile", "smoke", "--out", "out", "--cache", "loop"),
        ("reproduce", "tabik", "--profile", "smoke", "--checkpoint", "resnet18=~nobody/x", "--out", "out"),
        ("reproduce", "tabik", "--profile", "smoke", "--set", "cohort.seed=-1", "--out", "out"),
        ("reproduce", "tabik", "--data", "~nobody/x", "--out", "out"),
        ("data", "check", "--data", "~nobody"),
    ],
    ids=" ".join,
)
def test_paths_that_lead_nowhere_are_one_line(command, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    Path("also.csv").write_text("image_id,label,score\na,1,0.5\nb,0,0.1\n")
    before = sorted(Path().rglob("*"))
    fails(capsys, *command)
    assert sorted(Path().rglob("*")) == before


def test_yaml_stays_small():
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    refused("more than 200,000 values", parse_yaml, "\n".join(lines), "x")
    refused("contains itself", parse_yaml, "a: &a [*a]", "x")
    for text in ("[" * 1000 + "]" * 1000, "{a: " * 60 + "1" + "}" * 60, "\n".join(" " * i + "a:" for i in range(60))):
        refused("levels deep", parse_yaml, text, "x")
    assert parse_yaml("a: &a {x: [1]}\nb: *a\nc: {<<: *a, y: 2}", "x")["c"] == {"x": [1], "y": 2}


@pytest.mark.parametrize("text", ["[" * 60 + "]" * 60, "[" * 100_000 + "]" * 100_000, '{"a":' * 60 + "1" + "}" * 60])
def test_json_is_not_deep(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    refused("levels deep", files.read_json, tmp_path / "x.json")


def test_an_archive_of_a_table_stays_small(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MOST_TABLE", 100_000)
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 100_000))
    refused("unpack to more than", read_table, path)
    path.write_bytes(path.read_bytes()[:-20])
    path.write_bytes(gzip.compress(b"a,b\n1,2\n")[:-5])
    refused("truncated", read_table, path)


@pytest.mark.parametrize("name", ["a\x1b[2Jb", "a\udcffb", "a\nb", "a\u202eb"])
def test_no_control_character_of_a_name_is_shown(tmp_path, name):
    text = refused("cannot be read", files.read_json, tmp_path / name)
    assert text.isprintable()
