"""Inputs of `predict` and `segment`: find and read files, folders and arrays, and place their outputs."""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from covid_keras.common.errors import UserError, printable
from covid_keras.common.files import expanded
from covid_keras.common.progress import open_bar
from covid_keras.common.tables import FORMULA_SIGNS, write_table
from covid_keras.common.threads import bounded_map
from covid_keras.data.images import Radiograph, image_size, radiograph_of, read_radiograph
from covid_keras.data.picture import Picture, check_finite, check_size
from covid_keras.data.sniff import IMAGE_SUFFIXES, is_radiograph

ERRORS = "errors.csv"
# Endings of the outputs of an image, and names of those of a whole call.
_ENDINGS = ("_mask.png", "_crop.png", "_overlay.png", "_heatmap.png")
_OWN_NAMES = frozenset((ERRORS, "predictions.csv", "predictions.json"))
# Bytes of a name, on the usual file systems, without an ending.
_LONGEST_NAME = 255 - max(map(len, _ENDINGS))
# Suffixes searched for in folders, besides radiographs with other names (DICOM archives use any).
SUFFIXES = IMAGE_SUFFIXES | {".img"}
# DICOM modalities that are not projection radiographs. Others, or none (converted files), are accepted.
_NO_RADIOGRAPH = frozenset({"CT", "MR", "US", "PT", "NM", "MG"})
# Images per batch: bounds the memory.
GROUP = 8
_READERS = 4  # threads: each keeps several decoded pictures waiting

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Item(NamedTuple):
    """An input radiograph.

    Attributes
    ----------
    path : Path
        Its file, or the name of an array.
    place : str
        Path of its outputs relative to the output folder, without suffix: "ward/chest".
    array : ndarray, optional
        The radiograph, if given as an array.
    """

    path: Path
    place: str
    array: np.ndarray | None = None


class Read(NamedTuple):
    """An item with its radiograph, or the error."""

    item: Item
    radiograph: Radiograph | None = None
    error: UserError | None = None


class RefusedImages(UserError):
    """Some pictures cannot be used.

    Parameters
    ----------
    errors : sequence of UserError
        One per picture, at least one. The message is that of the first, with the number of the others.
    """

    def __init__(self, errors: Sequence[UserError]) -> None:
        self._errors, first = tuple(errors), errors[0]
        others = f" (and {len(errors) - 1} more refused)" if len(errors) > 1 else ""
        super().__init__(first.subject, first.problem + others, first.remedy)

    @property
    def errors(self) -> tuple[UserError, ...]:
        """The errors, in the order of the pictures."""
        return self._errors

    def __reduce__(self) -> tuple[type[RefusedImages], tuple[tuple[UserError, ...]]]:  # type: ignore[override]
        """Pickle by the individual errors."""
        return type(self), (self._errors,)


# --- finding


def find_items(given: Sequence[Path], out: Path | None = None) -> list[Item]:
    """Return the radiographs of files and folders, in the order given, each once.

    Folders are searched recursively for files with `SUFFIXES` and others that `is_radiograph` accepts, without hidden
    files (".name") and the output folder. Outputs mirror the folder structure: of a single folder, or, if several
    arguments include a folder or files of the same name, below their common parent.

    Raises
    ------
    UserError
        If a folder contains no such file, cannot be read, or is the output folder.
    """
    files: dict[str, tuple[Path, Path]] = {}
    for path in given:
        found = _search(path, out) if os.path.isdir(path) else [path]
        for file in found:
            name = file.relative_to(path) if file != path else Path(path.name)
            files.setdefault(os.path.abspath(file), (file, name))
    names = [name for _, name in files.values()]
    if len(given) == 1 or not any(map(os.path.isdir, given)):
        if _different(places := [_without_suffix(name) for name in names]):
            return _items(files, places)
        if len(given) == 1:
            return _items(files, [name.as_posix() for name in names])
    base = os.path.commonpath([os.path.dirname(path) for path in files])
    whole = [Path(os.path.relpath(path, base)) for path in files]
    places = [_without_suffix(name) for name in whole]
    return _items(files, places if _different(places) else [name.as_posix() for name in whole])


def _items(files: dict[str, tuple[Path, Path]], places: Iterable[str]) -> list[Item]:
    """Return the items; raise `UserError` if two outputs would be one file, or one the folder of another."""
    items = [Item(file, _writable(place)) for (file, _), place in zip(files.values(), places, strict=True)]
    owners: dict[str, Path] = {}
    for item in items:
        for name in (f"{_one_case(item.place)}{ending}" for ending in _ENDINGS):
            if name in owners:
                raise UserError(item.path, f"would have the same outputs as {owners[name]}", "Rename one of them")
            owners[name] = item.path
    for item in items:
        for parent in Path(_one_case(item.place)).parents:
            if parent.as_posix() in owners:
                problem = f"is in a folder named like an output of {owners[parent.as_posix()]}"
                raise UserError(item.path, problem, "Rename one of them")
    return items


def _writable(place: str) -> str:
    """Return the place of an output with names that every file system takes and that can be shown.

    A name that has to be changed ends in a hash of the original one.
    """
    first, *others = place.split("/")
    return "/".join([_writable_name(first, first in _OWN_NAMES), *map(_writable_name, others)])


def _writable_name(name: str, taken: bool = False) -> str:
    shown = "".join(one if printable(one) == one else "_" for one in name)
    if shown == name and len(name.encode()) <= _LONGEST_NAME and not taken:
        return name
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:8]
    return f"{shown.encode()[: _LONGEST_NAME - 9].decode(errors='ignore')}-{digest}"


def _without_suffix(name: Path) -> str:
    return (name.with_suffix("") if name.suffix.lower() in SUFFIXES else name).as_posix()


def _different(places: list[str]) -> bool:
    """Return whether all places differ, also on a case-insensitive file system."""
    return len(set(map(_one_case, places))) == len(places)


def _one_case(place: str) -> str:
    return unicodedata.normalize("NFC", place).casefold()


def _search(folder: Path, out: Path | None) -> list[Path]:
    if out is not None and out.absolute() == folder.absolute():
        problem = "is also the output folder, so outputs would be read as radiographs"
        raise UserError(folder, problem, "Choose another --out")

    def refuse(error: OSError) -> None:
        raise UserError(error.filename, f"cannot be read ({error.strerror})", "Check its permissions") from error

    found, others = [], []
    for parent, folders, files in os.walk(folder, onerror=refuse):
        shown = sorted(name for name in folders if not name.startswith("."))
        folders[:] = [name for name in shown if out is None or Path(parent, name).absolute() != out.absolute()]
        for path in (Path(parent, name) for name in sorted(files) if not name.startswith(".")):
            if path.is_file() or path.is_symlink():  # not a pipe, which may block
                (found if is_radiograph(path) else others).append(path)
    if not found:
        problem = "is a folder without PNG, JPEG, TIFF, BMP or DICOM files"
        raise UserError(folder, problem, "Give radiographs or a folder of them")
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        _log.warning("%s: left out %s%s (not an image format)", folder, others[0].name, more)
    return found


def items_of(images: Any) -> tuple[list[Item], bool]:
    """Return the items of a Python call, and whether it was given a single radiograph.

    Parameters
    ----------
    images : str, path, ndarray or iterable of them
        Folders are searched for files.

    Raises
    ------
    UserError
        If `images` is something else.
    """
    if isinstance(images, str | os.PathLike):
        path = expanded(images)
        return find_items([path]), not os.path.isdir(path)
    if _is_array(images):
        return [Item(Path("array"), "array", np.asarray(images))], True
    if not isinstance(images, Iterable):
        raise UserError(f"{images!r:.60}", "is not a path, an array or a list of them", "Give one of these")
    items: list[Item] = []
    for number, image in enumerate(images, 1):
        if isinstance(image, str | os.PathLike):
            items += find_items([expanded(image)])
        elif _is_array(image):
            items.append(Item(Path(f"array {number}"), f"array-{number}", np.asarray(image)))
        else:
            raise UserError(f"{image!r:.60}", "is not a path or an array", "Give a list of paths or (H, W) arrays")
    return items, False


def _is_array(value: Any) -> bool:
    """Return whether a value is a numeric array; an array of paths (a table column) counts as a list."""
    is_array = hasattr(value, "__array__") or hasattr(value, "__array_interface__")
    return is_array and np.asarray(value).dtype.kind not in "OUST"


# --- reading


def read_items(items: Sequence[Item], threads: int | None = None) -> Iterator[Read]:
    """Yield the items as they are read, in order; only a few are read ahead, to bound the memory."""
    return bounded_map(_read, items, min(threads or os.cpu_count() or 1, _READERS))


def read_in_groups(items: Sequence[Item], description: str, threads: int | None = None) -> Iterator[list[Read]]:
    """Yield the results of `read_items` in batches of `GROUP`, with a progress bar."""
    reads = read_items(items, threads)
    silent = {"disable": True} if len(items) < 2 else {}
    with open_bar(total=len(items), desc=description, unit="image", **silent) as bar:
        while group := list(itertools.islice(reads, GROUP)):
            yield group
            bar.update(len(group))  # per batch, since its pictures are processed together


def filled(images: Sequence[T], items: Sequence[Item]) -> list[T]:
    """Pad a batch by repeating its last image, since a network is compiled for one batch size."""
    return [*images, *images[-1:] * (min(GROUP, len(items)) - len(images))]


def _read(item: Item) -> Read:
    try:
        found = read_radiograph(item.path) if item.array is None else _of_array(item.path, item.array)
    except UserError as error:
        return Read(item, error=error)
    if found.modality in _NO_RADIOGRAPH:
        problem = f"is not a radiograph (DICOM modality {found.modality})"
        return Read(item, error=UserError(item.path, problem, "Give a frontal chest radiograph"))
    return Read(item, found)


def _of_array(path: Path, values: np.ndarray) -> Radiograph:
    if values.ndim != 2:
        remedy = "Give one array (H, W) of grey levels per radiograph"
        raise UserError(path, f"has the shape {values.shape}, not (H, W)", remedy)
    if values.dtype.kind not in "iuf":
        raise UserError(path, f"has dtype {values.dtype}", "Give an integer or floating-point array")
    check_size(path, *values.shape)
    check_finite(path, values)
    return radiograph_of(Picture(values))


def require_readable(items: Sequence[Item]) -> None:
    """Raise `RefusedImages`, naming every unreadable file, if a file's header is invalid.

    Only headers are checked first, which is fast; damaged pixels are found on reading.
    """
    for item in items:
        try:
            if item.array is None:
                image_size(item.path)
        except UserError:
            groups = read_in_groups(items, "checking files")
            raise RefusedImages([read.error for group in groups for read in group if read.error]) from None


# --- writing


def write_errors(folder: Path, errors: Sequence[tuple[Path, str]]) -> None:
    """Write `errors.csv` (file and problem), if there are errors."""
    if not errors:
        return
    import pandas as pd

    rows = [(named(path), problem) for path, problem in errors]
    write_table(folder / ERRORS, pd.DataFrame(rows, columns=["image", "error"]))


def named(path: Path) -> str:
    """Return a path that does not begin like a formula, for tables: the path itself, if need be after "./"."""
    return os.path.join(".", path) if str(path).startswith(FORMULA_SIGNS) else str(path)
