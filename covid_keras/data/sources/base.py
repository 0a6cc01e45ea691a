"""`Source`: the data card of a collection, with methods to find, read and count it."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.common.tables import name_key, parse_number, read_table
from covid_keras.data.cohort import Cohort, one_patient_each
from covid_keras.data.sniff import IMAGE_SUFFIXES, is_radiograph

DOWNLOAD_AGAIN = "Correct the file or download it again"
_NAMED = 5

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Download:
    """A file of a collection with a download URL.

    Parameters
    ----------
    url : str
        Download URL.
    sha256 : str or None
        Hexadecimal digest of the file. None: not pinned, so the download must be requested as unverified.
    file_name : str
        File name below the data root.
    unpack : bool
        Unpack the archive to a folder with its name.
    strip_top : bool
        Unpack the contents of the archive's only top-level folder.
    """

    url: str
    sha256: str | None
    file_name: str
    unpack: bool = False
    strip_top: bool = False


@dataclass(frozen=True, kw_only=True)
class Source:
    """A collection: its data card, and how to read it. Each subclass reads one layout.

    Parameters
    ----------
    name : str
        Key of the source on the command line.
    title, url, licence, size, layout, access, citation, doi : str
        Text of the data card: `size` as published, `layout` of the folder, `access` = how to get it.
    images : int
        Expected number of images.
    classes : tuple of str
        Labels of its cohort, in class order.
    folders, marks : tuple of str
        Usual names of its folder, and files or folders in it that identify it (see `find_folders`).
    checks : dict
        Expected counts, compared with `count(folder)` as "expected n, found n".
    lungs : {"", "fields", "whole"}
        What its lung masks cover: "fields" leaves out the lung behind the heart, "whole" includes it; "" if there
        are none.
    downloads : tuple of Download
        Files with a download URL; empty if terms must be accepted or a login is needed.
    """

    name: str
    title: str
    url: str
    licence: str
    size: str
    images: int
    layout: str
    access: str
    citation: str
    classes: tuple[str, ...]
    folders: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    doi: str = ""
    checks: dict[str, int] = field(default_factory=dict)
    lungs: Literal["", "fields", "whole"] = ""
    downloads: tuple[Download, ...] = ()

    def locate(self, data: Path) -> Path | None:
        """Return the first of `locate_all`; None if there is none."""
        return next(iter(self.locate_all(data)), None)

    def locate_all(self, data: Path) -> list[Path]:
        """Return each folder of the collection at or below the data root, in the order of `folders`.

        Together they are the collection: a copy, a subset or a second archive beside the first hides nothing.
        """
        return find_folders(data, self.folders, self.marks, self.is_own)

    def is_own(self, folder: Path) -> bool:
        """Whether a folder with one of the marks, possibly the data root, belongs to this collection."""
        return True

    def is_named(self, folder: Path) -> bool:
        """Whether a folder, or what it links to, has one of the usual names."""
        return not {folder.name, folder.resolve().name}.isdisjoint(self.folders)

    def load(self, folder: Path) -> Cohort:
        """Return the cohort; raise `UserError` if the files do not have the expected layout."""
        raise NotImplementedError

    def count(self, folder: Path) -> dict[str, int]:
        """Return the counts found for the keys of `checks`. Default: images per class."""
        return self.load(folder).counts()

    def expected(self, folder: Path) -> dict[str, int]:
        """Return the expected counts for the layout in `folder`."""
        return self.checks

    def cohort(self, columns: Mapping[str, Any], classes: tuple[str, ...] = ()) -> Cohort:
        """Build a cohort of this source from columns; paths become absolute, and classes default to the source's."""
        table = pd.DataFrame(columns).assign(source=self.name)
        table["path"] = [str(path.resolve()) if isinstance(path, Path) else path for path in table["path"]]
        return Cohort(table, classes or self.classes, self.name)


def find_folders(
    data: str | Path, names: Iterable[str], marks: Iterable[str], is_own: Callable[[Path], bool] = Path.is_dir
) -> list[Path]:
    """Return those of `data/<name>` and `data` itself that contain any of `marks`, each folder once.

    A named folder that cannot be opened is returned too, so that reading it reports why.

    Parameters
    ----------
    data : str or Path
        The data root.
    names : iterable of str
        Usual names of the collection's folder. They and the marks may hold "*".
    marks : iterable of str
        Files or folders, relative to the collection's folder. A mark ending in "/" must be a folder.
    is_own : callable
        Whether a folder with a mark belongs to the collection.
    """
    data, marks, found = Path(data).absolute(), tuple(marks), dict[Path, None]()
    for folder in (*(folder for name in names for folder in _matching(data, name)), data):
        try:
            own = any(_has(folder, mark) for mark in marks) and is_own(folder)
        except OSError:
            own = folder != data
        if own:
            found[folder.resolve()] = None
    return list(found)


def _matching(folder: Path, name: str) -> list[Path]:
    return sorted(folder.glob(name)) if "*" in name else [folder / name]


def _has(folder: Path, mark: str) -> bool:
    return any(path.is_dir() if mark.endswith("/") else path.is_file() for path in _matching(folder, mark))


def image_files(folder: str | Path) -> list[Path]:
    """Return the image files of a folder (without subfolders), sorted by name.

    Files without a suffix are detected by content. Raises `UserError` if the folder is missing or has no images.
    """
    folder, remedy = Path(folder), "Unpack the collection in its official layout"
    if not folder.is_dir():
        raise UserError(folder, "the folder does not exist", remedy)
    named = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and _is_image(path))
    files = [path for path in named if path.is_file()]
    if len(files) < len(named):
        warn_lost(
            folder, "folders or broken links that are named like images", [p.name for p in named if p not in files]
        )
    if not files:
        raise UserError(folder, "the folder has no images", remedy)
    return files


@functools.cache
def _warn_once(message: str) -> None:
    LOGGER.warning(message)


def warn_lost(listing: Path, why: str, names: Sequence[str]) -> None:
    """Warn once per process of items left out of the cohort, with their number and the first of them."""
    if len(names):
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        _warn_once(f"{listing}: {why} ({len(names)}): {', '.join(names[:_NAMED])}{more}")


def _is_image(path: Path) -> bool:
    """Whether a file is an image, by suffix; by content if it has no suffix or a number (DICOM archives)."""
    suffix = path.suffix.lower()
    return suffix in IMAGE_SUFFIXES or ((not suffix or suffix[1:].isdigit()) and is_radiograph(path))


def image_ids(source: str, names: Iterable[str]) -> list[str]:
    """Return "<source>/<stem>" for each file name; the whole name if two names share a stem."""
    names = list(names)
    repeated = pd.Series([Path(name).stem for name in names]).duplicated(keep=False)
    return [f"{source}/{name if twice else Path(name).stem}" for name, twice in zip(names, repeated, strict=True)]


def read_metadata(
    path: Path, columns: Iterable[str], key: str | None = None, optional: Iterable[str] = (), patient: str = ""
) -> pd.DataFrame:
    """Read a collection's CSV file as text, with one spelling per patient in the column `patient`.

    If `key` is given, its values must be non-empty and distinct.

    Raises `UserError` if the file or a column is missing, there are no rows, or a key is empty or repeated, ignoring
    case and blanks.
    """
    table = read_table(path, columns, optional)
    if patient:
        table[patient] = one_patient_each(table[patient], str(path))
    if table.empty:
        raise UserError(path, "the table has no rows", "Download the file again")
    if key is not None:
        if (table[key] == "").any():
            line = int((table[key] == "").argmax()) + 2
            raise UserError(path, f"column '{key}' is empty in line {line}", DOWNLOAD_AGAIN)
        repeated = table[key][table[key].map(name_key).duplicated()]
        if len(repeated):
            problem = f"'{repeated.iloc[0]}' is listed twice in column '{key}'"
            raise UserError(path, problem, "Keep one row, or download the file again")
    return table


def refuse(
    path: Path,
    wrong: pd.Series,
    names: pd.Series | pd.Index,
    problem: str | pd.Series,
    remedy: str = DOWNLOAD_AGAIN,
    what: str = "image",
) -> None:
    """Raise `UserError` naming the first row that is `wrong` (bool), with its problem."""
    rows = np.flatnonzero(wrong)
    if len(rows):
        said = problem if isinstance(problem, str) else problem.iloc[rows[0]]
        raise UserError(path, f"{what} '{names[wrong.to_numpy()].tolist()[0]}' {said}", remedy)


def parse_extent(text: str, path: Path, column: str, key: str) -> float:
    """Parse a score of 0 to 8 from a CSV cell, NaN if empty; raise `UserError` naming the cell if invalid."""
    if not text:
        return float("nan")
    cell = f"in column '{column}' of '{key}'"
    try:
        value = parse_number(text)
    except ValueError as error:
        raise UserError(path, f"'{text}' {cell} is not a number", DOWNLOAD_AGAIN) from error
    if not 0 <= value <= 8:
        raise UserError(path, f"{text} {cell} lies outside 0 to 8", DOWNLOAD_AGAIN)
    return value


_AGE = re.compile(r"0*(\d+(?:\.\d+)?) ?(y|m|w|d|)[a-z]*$")
_PER_YEAR = {"": 1, "y": 1, "m": 12, "w": 52, "d": 365}
_OLDEST = 120


def parse_age(text: str) -> float:
    """Return an age in years from a cell such as 58, 058Y, 45yrs or 11M; NaN if unknown or above 120."""
    match = _AGE.match(text.strip().lower())
    age = float(match[1]) / _PER_YEAR[match[2]] if match else float("nan")
    return age if age <= _OLDEST else float("nan")


def parse_sex(text: str) -> str:
    """Return "F", "M" or "" (unknown) from a cell such as F, Male or female."""
    return {"f": "F", "female": "F", "m": "M", "male": "M"}.get(text.strip().lower(), "")
