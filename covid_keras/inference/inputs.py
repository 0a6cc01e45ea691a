"""What a user gives to be predicted or segmented: files, folders and arrays, where their outputs go, what is read."""

from __future__ import annotations

import contextlib
import csv
import itertools
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from covid_keras.common.errors import UserError
from covid_keras.common.files import atomic_path, require_writable_folder, staged
from covid_keras.common.progress import open_bar
from covid_keras.common.threads import bounded_map
from covid_keras.data.images import Radiograph, image_size, radiograph_of, read_radiograph
from covid_keras.data.picture import Picture, check_finite, check_size
from covid_keras.data.sniff import IMAGE_SUFFIXES, is_radiograph

ERRORS = "errors.csv"
# What a folder is searched for, besides radiographs of other names: archives call DICOM files what they like.
SUFFIXES = IMAGE_SUFFIXES | {".img"}
# DICOM modalities that are not projection radiographs; what has another or none (converted files) is taken.
_NO_RADIOGRAPH = frozenset({"CT", "MR", "US", "PT", "NM", "MG"})
# Images that go through the networks at a time: bounds the memory.
GROUP = 8
_READERS = 4  # threads: each keeps several decoded pictures waiting

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Item(NamedTuple):
    """A radiograph that was given.

    Attributes
    ----------
    path : Path
        Its file; of an array the words that name it.
    place : str
        Where its outputs go, below the folder of the outputs, without a suffix: "ward/chest".
    array : ndarray, optional
        The radiograph itself, where no file was given.
    """

    path: Path
    place: str
    array: np.ndarray | None = None


class Read(NamedTuple):
    """An item with its radiograph, or with why there is none."""

    item: Item
    radiograph: Radiograph | None = None
    error: UserError | None = None


class RefusedImages(UserError):
    """Some pictures cannot be used.

    Parameters
    ----------
    errors : sequence of UserError
        One per picture, at least one. The message is the first one's, with the number of the others.
    """

    def __init__(self, errors: Sequence[UserError]) -> None:
        self._errors, first = tuple(errors), errors[0]
        others = f" (and {len(errors) - 1} more refused)" if len(errors) > 1 else ""
        super().__init__(first.subject, first.problem + others, first.remedy)

    @property
    def errors(self) -> tuple[UserError, ...]:
        """The refusals, in the order of the pictures."""
        return self._errors

    def __reduce__(self) -> tuple[type[RefusedImages], tuple[tuple[UserError, ...]]]:  # type: ignore[override]
        """Pickle by the single errors."""
        return type(self), (self._errors,)


# --- finding


def find_items(given: Sequence[Path], out: Path | None = None) -> list[Item]:
    """Return the radiographs of files and folders, in the order given, each once.

    A folder is searched to any depth for files of `SUFFIXES` and what `is_radiograph` finds; what is hidden
    (".name") and the folder of the outputs are left out. The outputs of a single folder mirror it; those of several
    arguments mirror the folders below the one that holds them all, where a folder is among them or two files have one
    name.

    Raises
    ------
    UserError
        If a folder holds no such file, cannot be read, or is the folder of the outputs.
    """
    files: dict[str, tuple[Path, Path]] = {}
    for path in given:
        found = _search(path, out) if path.is_dir() else [path]
        for file in found:
            name = file.relative_to(path) if file != path else Path(path.name)
            files.setdefault(os.path.abspath(file), (file, name))
    names = [name for _, name in files.values()]
    if len(given) == 1 or not any(path.is_dir() for path in given):
        if _different(places := [_without_suffix(name) for name in names]):
            return _items(files, places)
        if len(given) == 1:
            return _items(files, [name.as_posix() for name in names])
    base = os.path.commonpath([os.path.dirname(path) for path in files])
    whole = [Path(os.path.relpath(path, base)) for path in files]
    places = [_without_suffix(name) for name in whole]
    return _items(files, places if _different(places) else [name.as_posix() for name in whole])


def _items(files: dict[str, tuple[Path, Path]], places: Iterable[str]) -> list[Item]:
    return [Item(file, place) for (file, _), place in zip(files.values(), places, strict=True)]


def _without_suffix(name: Path) -> str:
    return (name.with_suffix("") if name.suffix.lower() in SUFFIXES else name).as_posix()


def _different(places: list[str]) -> bool:
    """Whether no two places are one, on a file system that does not tell capitals apart either."""
    return len({place.casefold() for place in places}) == len(places)


def _search(folder: Path, out: Path | None) -> list[Path]:
    if out is not None and out.absolute() == folder.absolute():
        problem = "is the folder of the outputs, too: they would be taken for radiographs the next time"
        raise UserError(folder, problem, "Choose another --out")

    def refuse(error: OSError) -> None:
        raise UserError(error.filename, f"cannot be read ({error.strerror})", "Check its permissions") from error

    found, others = [], []
    for parent, folders, files in os.walk(folder, onerror=refuse):
        shown = sorted(name for name in folders if not name.startswith("."))
        folders[:] = [name for name in shown if out is None or Path(parent, name).absolute() != out.absolute()]
        for path in (Path(parent, name) for name in sorted(files) if not name.startswith(".")):
            if path.is_file() or path.is_symlink():  # no pipe, which nothing may come out of
                (found if is_radiograph(path) else others).append(path)
    if not found:
        problem = "is a folder without PNG, JPEG, TIFF, BMP or DICOM files"
        raise UserError(folder, problem, "Give radiographs, or a folder of them")
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        _log.warning("%s: left out %s%s, which are not of these kinds", folder, others[0].name, more)
    return found


def items_of(images: Any) -> tuple[list[Item], bool]:
    """Return the items of what was given to a function of the library, and whether that was a single radiograph.

    Parameters
    ----------
    images : str, path, ndarray or iterable of them
        Folders, too, which give the files in them.

    Raises
    ------
    UserError
        If it is something else.
    """
    if isinstance(images, str | os.PathLike):
        path = Path(images).expanduser()
        return find_items([path]), not path.is_dir()
    if _is_array(images):
        return [Item(Path("array"), "array", np.asarray(images))], True
    if not isinstance(images, Iterable):
        raise UserError(f"{images!r:.60}", "is not a path, an array or a list of them", "Give one of these")
    items: list[Item] = []
    for number, image in enumerate(images, 1):
        if isinstance(image, str | os.PathLike):
            items += find_items([Path(image).expanduser()])
        elif _is_array(image):
            items.append(Item(Path(f"array {number}"), f"array-{number}", np.asarray(image)))
        else:
            raise UserError(f"{image!r:.60}", "is not a path or an array", "Give a list of paths or (H, W) arrays")
    return items, False


def _is_array(value: Any) -> bool:
    """Whether a value is numbers in an array; one of paths (a column of a table) is a list of paths."""
    is_array = hasattr(value, "__array__") or hasattr(value, "__array_interface__")
    return is_array and np.asarray(value).dtype.kind not in "OUST"


# --- reading


def read_items(items: Sequence[Item], threads: int | None = None) -> Iterator[Read]:
    """Yield each item as it is read, in order; a few are read ahead, so that memory does not grow with their number."""
    return bounded_map(_read, items, min(threads or os.cpu_count() or 1, _READERS))


def read_in_groups(items: Sequence[Item], description: str, threads: int | None = None) -> Iterator[list[Read]]:
    """Yield what `read_items` does in lists of `GROUP`, which go through the networks together, under a bar."""
    reads = read_items(items, threads)
    silent = {"disable": True} if len(items) < 2 else {}
    with open_bar(total=len(items), desc=description, unit="image", **silent) as bar:
        while group := list(itertools.islice(reads, GROUP)):
            yield group
            bar.update(len(group))  # a group at a time: its pictures take their time together


def filled(images: Sequence[T], items: Sequence[Item]) -> list[T]:
    """Return a group's images, the last repeated up to the size of a group: a network is compiled for one size."""
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
        raise UserError(path, f"holds {values.dtype} values", "Give whole numbers or floating-point numbers")
    check_size(path, *values.shape)
    check_finite(path, values)
    return radiograph_of(Picture(values))


def require_readable(items: Sequence[Item]) -> None:
    """Raise `RefusedImages`, which names every file that cannot be read, where the header of one says that it cannot.

    It is quick: whether the pixels are whole is seen when they are read.
    """
    for item in items:
        try:
            if item.array is None:
                image_size(item.path)
        except UserError:
            groups = read_in_groups(items, "checking files")
            raise RefusedImages([read.error for group in groups for read in group if read.error]) from None


# --- writing


def output_folder(out: Path, skip_unreadable: bool) -> AbstractContextManager[Path]:
    """Return the context of the folder to write into: `out` itself, or one whose files move there at the end.

    With `skip_unreadable` what is done stays done. Without it one bad file refuses all, so that nothing may be seen
    before the last is read.
    """
    return contextlib.nullcontext(require_writable_folder(out)) if skip_unreadable else staged(out)


def write_errors(out: Path, errors: Sequence[tuple[Path, str]]) -> None:
    """Write `errors.csv` of files and what is wrong with them; remove an earlier one where nothing is."""
    if not errors:
        (out / ERRORS).unlink(missing_ok=True)
        return
    with atomic_path(out / ERRORS) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerows([("image", "error"), *((cell_text(path), problem) for path, problem in errors)])


def printable(path: Path) -> str:
    """Return a path as text that can be written: bytes of its name that are no characters become escapes."""
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


def cell_text(path: Path) -> str:
    """Return a path as a cell that no spreadsheet takes for a formula, and that is still the path."""
    text = printable(path)
    return os.path.join(".", text) if text.startswith(("=", "+", "-", "@")) else text
