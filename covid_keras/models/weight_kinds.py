"""Detect the type of a weight file: HDF5, a `.keras` archive, or another type, which is named in the error."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from pathlib import Path

import h5py

from covid_keras.common.errors import UserError

DOWNLOAD_AGAIN, ANOTHER, NO_KERAS = (
    "Download the file again and check its sha256",
    "Give the file of this model",
    "Give a file written by Keras",
)
# Errors of h5py and zipfile on malformed files.
DAMAGED = (
    OSError,
    KeyError,
    RuntimeError,
    TypeError,
    ValueError,
    NotImplementedError,
    zipfile.BadZipFile,
    EOFError,
    zlib.error,
)
# Member of a `.keras` archive with the weights.
MEMBER = "model.weights.h5"
# Bytes of the index of a zip archive.
_LONGEST_INDEX = 1 << 20
# Trailing bytes of the index of a TensorFlow checkpoint.
_TABLE = bytes.fromhex("57fb808b247547db")


def require_weight_file(path: str | Path) -> None:
    """Raise `UserError`, naming the actual type, unless the file is HDF5 or a `.keras` archive."""
    path = Path(path)
    try:
        if not path.is_file():
            raise UserError(path, *_what_is_no_file(path))
        if not h5py.is_hdf5(path) and not _is_keras_archive(path):
            raise UserError(path, *_what_it_is(path))
    except OSError as error:
        raise UserError(path, f"cannot be read ({error.strerror})", "Check the path and its permissions") from error


def is_numpy_archive(path: str | Path) -> bool:
    """Whether a file is an `.npz` archive, independent of its name."""
    return any(name.endswith(".npy") for name in _members(Path(path)))


class _WithSmallIndex(io.FileIO):
    """A zip archive whose index, which is read at once, is short: the objects of a long one would fill the memory."""

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > _LONGEST_INDEX:
            raise zipfile.BadZipFile("its index is too long")
        return super().read(size)


def _members(path: Path) -> list[str]:
    """Return the names in a zip archive; an empty list if it is none, damaged, or has tens of thousands of members."""
    try:
        with _WithSmallIndex(str(path)) as stream, zipfile.ZipFile(stream) as archive:
            return archive.namelist()
    except DAMAGED:
        return []


def _is_keras_archive(path: Path) -> bool:
    return MEMBER in _members(path)


_SAVE_AS_HDF5 = "Load it with the program that wrote it, and save it with model.save_weights('NAME.h5')"
_CHECKPOINT = ("is part of a TensorFlow checkpoint, which has no layer names", _SAVE_AS_HDF5)


def _what_is_no_file(path: Path) -> tuple[str, str]:
    """Return problem and remedy for a path that is not a file."""
    if not path.exists():
        if path.with_name(f"{path.name}.index").is_file():
            return _CHECKPOINT
        return "cannot be read as HDF5 (it does not exist)", "Check the path"
    if not path.is_dir():
        return "is not a regular file", "Check the path"
    names = sorted(each.name for each in path.iterdir())
    if "saved_model.pb" in names:
        return "is a folder of a TensorFlow SavedModel", _SAVE_AS_HDF5
    if any(name.endswith(".index") for name in names):
        return "is a folder of a TensorFlow checkpoint", _SAVE_AS_HDF5
    files = [name for name in names if name.endswith((".h5", ".hdf5", ".keras"))]
    return "is a folder", f"Give a file: {', '.join(files[:5])}" if files else "Give the weight file itself"


# First bytes of other formats, problem, remedy.
_SIGNATURES = (
    (
        (b"version https://git-lfs", b"version https://hawser"),
        "is a Git LFS pointer, not the file itself",
        "Run git lfs pull in its repository, or download the file from the repository's page",
    ),
    ((b"model_checkpoint_path",), *_CHECKPOINT),
    ((b"\x08\x01\x12",), "is the graph of a TensorFlow SavedModel (.pb)", _SAVE_AS_HDF5),
    (
        (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"7z\xbc\xaf", b"Rar!", b"\x28\xb5\x2f\xfd"),
        "is a compressed archive",
        "Unpack it and give the weight file in it",
    ),
    ((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"), "is a Python pickle (PyTorch writes such files)", NO_KERAS),
    ((b"\x93NUMPY",), "is a NumPy array", NO_KERAS),
)


def _what_it_is(path: Path) -> tuple[str, str]:
    """Return problem and remedy for a file that is neither HDF5 nor a `.keras` archive."""
    with open(path, "rb") as stream:
        head = stream.read(4096)
        stream.seek(max(0, path.stat().st_size - len(_TABLE)))
        tail = stream.read()
    if not head:
        return "cannot be read as HDF5 (it is empty)", DOWNLOAD_AGAIN
    if head.startswith(b"PK"):
        return _what_archive(path)
    for starts, problem, remedy in _SIGNATURES:
        if head.startswith(starts):
            return problem, remedy
    if tail == _TABLE or re.search(r"\.data-\d+-of-\d+$|\.index$|\.ckpt$|\.meta$", path.name):
        return _CHECKPOINT
    if path.suffix == ".pb":
        return "is a TensorFlow graph (.pb)", _SAVE_AS_HDF5
    if head[4:8] == b"TFL3" or head[8:10] == b'{"':
        return f"is a {'TensorFlow Lite model' if head[4:8] == b'TFL3' else 'safetensors file'}", NO_KERAS
    if head[257:262] == b"ustar":
        return "is a tar archive", "Unpack it and give the weight file in it"
    return _what_text(head)


def _what_text(head: bytes) -> tuple[str, str]:
    page = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if page.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--")) or b"<html" in page:
        problem = "is a web page, not a weight file, and cannot be read as HDF5"
        return problem, "Download the file itself (on GitHub with 'Download raw file', on Google Drive signed in)"
    if page.startswith(b"{"):
        problem = "is JSON (a server response, a model description or the index of sharded weights), not a weight file"
        return problem, "Give the .h5 file; save sharded weights as one file"
    text = head[:80].decode("utf-8", "ignore")
    if text and text.replace("\n", "").replace("\r", "").replace("\t", "").isprintable():
        return f"cannot be read as HDF5 (it is text that begins with {text[:40]!r})", DOWNLOAD_AGAIN
    return "is not an HDF5 weight file and cannot be read as HDF5", NO_KERAS


def _what_archive(path: Path) -> tuple[str, str]:
    """Return problem and remedy for a zip archive that is not a `.keras` archive."""
    names = _members(path)
    if not names:
        return "is a damaged zip archive, or one of too many files (.keras files are zip archives)", DOWNLOAD_AGAIN
    if any(name.endswith("data.pkl") for name in names):
        return "is a PyTorch checkpoint", NO_KERAS
    if any(name.endswith(".npy") for name in names):
        return "is a NumPy archive (.npz)", NO_KERAS
    if "model.weights.json" in names:
        return "contains sharded weights", "Save the model as one file"
    files = [name for name in names if name.endswith((".h5", ".hdf5", ".keras"))]
    what = ", ".join(ascii(name)[1:-1] for name in files[:3]) or "the weight file in it"
    return "is a zip archive, not a weight file", f"Unpack it and give {what}"


def what_damage(error: Exception) -> tuple[str, str]:
    """Return problem and remedy for an error while reading a weight file."""
    text = str(error)
    if cut := re.search(r"truncated file: eof = (\d+),.*stored_eof = (\d+)", text):
        found, whole = (f"{int(number):,}" for number in cut.groups())
        return f"cannot be read as HDF5 (it is truncated: {found} of {whole} bytes)", DOWNLOAD_AGAIN
    if "already open for write" in text:
        return "is still being written by another program, or was not closed", "Wait for it, or run h5clear -s on it"
    return f"cannot be read as HDF5 ({text})", DOWNLOAD_AGAIN
