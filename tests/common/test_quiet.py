"""TensorFlow's start-up log: silent in a user's own program, whose settings stay as they were."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from covid_keras.common.quiet import quiet_import, standard_error_aside
from tests.helpers.damaged import DEEP, GREY, JPEGS, dicom, encoded, half, packed, tiff, zeroed

PROGRAM = """
import os
from covid_keras.models import build_base_cnn
model = build_base_cnn((128, 128, 3))
assert "TF_CPP_MIN_LOG_LEVEL" not in os.environ
import sys
assert "tensorflow" in sys.modules
"""


@pytest.mark.slow
def test_library_use_is_silent_and_changes_no_setting():
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_not_tensorflows_is_shown(capfd, monkeypatch):
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    with quiet_import():
        os.write(2, b"a warning of another library\n")
    assert capfd.readouterr().err == "a warning of another library\n"

    def fail() -> None:
        with quiet_import():
            os.write(2, b"what is missing\n")
            raise ImportError

    with pytest.raises(ImportError):
        fail()
    assert capfd.readouterr().err == "what is missing\n"
    assert "TF_CPP_MIN_LOG_LEVEL" not in os.environ


def test_standard_error_is_taken_aside_by_pattern(capfd):
    with standard_error_aside(re.compile(rb"^bad: .*\n", re.MULTILINE)) as said:
        os.write(2, b"one\nbad: two\nthree\n")
        with standard_error_aside() as inner:
            os.write(2, b"bad: four\n")
    assert (said, inner) == ([b"bad: two\n"], [b"bad: four\n"])
    assert capfd.readouterr().err == "one\nthree\n"


@pytest.mark.slow
@pytest.mark.parametrize("command", ["segment", "predict"])
def test_bad_pictures_are_named_in_one_line_each(tmp_path, command):
    folder = tmp_path / "pictures"
    folder.mkdir()
    bad = dict(damaged_pictures())
    for name, content in bad.items():
        (folder / name).write_bytes(content)
    environment = {**os.environ, "COVID_KERAS_QUIET": "1"}
    words = [sys.executable, "-m", "covid_keras", command, str(folder), "--out", str(tmp_path / "out")]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False, timeout=300)
    lines = done.stderr.splitlines()
    assert done.returncode == 2
    assert len(lines) == len(bad), done.stderr
    for line in lines:
        assert line.startswith(f"covid-keras: error: {folder}")
    assert not (tmp_path / "out").exists()


def damaged_pictures() -> Iterator[tuple[str, bytes]]:
    """Yield file names and damaged pictures that libraries comment on."""
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("openjpeg")
    yield "half.jpg", half(JPEGS["colour"], b"\xff\xd9")
    for compression in ("tiff_lzw", "tiff_adobe_deflate"):
        for depth, image in (("8", GREY), ("16", DEEP)):
            sound = encoded(image, "TIFF", compression=compression)
            yield f"{compression}-{depth}.tif", zeroed(sound)
            yield f"{compression}-{depth}-cut.tif", half(sound)
    for syntax, kind in (("JPEG2000Lossless", "JPEG2000"), ("JPEGBaseline8Bit", "JPEG")):
        sound = encoded(GREY, kind)
        yield f"{syntax}.dcm", dicom(pydicom, half(sound), syntax)
        yield f"{syntax}-cut.dcm", half(dicom(pydicom, sound, syntax))
    yield "raw.dcm", half(dicom(pydicom, GREY.tobytes(), "ExplicitVRLittleEndian"))
    yield "rle.dcm", dicom(pydicom, half(packed(GREY)), "RLELossless")
    yield "nan.tif", tiff(np.full(GREY.shape, np.nan, np.float32), None)
