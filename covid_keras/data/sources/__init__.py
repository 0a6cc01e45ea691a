"""Public collections of chest radiographs, one module each, read in their official folder layout.

A module's docstring describes the collection and its known problems. `SOURCE` is the data card: location, licence,
size, citation, and how to get it.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.common.tables import name_key
from covid_keras.data.cohort import Cohort
from covid_keras.data.sources.base import Download, Source

__all__ = [
    "SOURCES", "Download", "Source", "check_folder", "check_source", "get_source", "load_source", "locate_source",
    "unavailable",
]  # fmt: skip

LOGGER = logging.getLogger(__name__)
_T = TypeVar("_T")


class _Sources(Mapping[str, Source]):
    """Maps names to sources; modules are imported on first use."""

    _names = (
        "covidgr", "cohen", "darwin_v7", "covid_cxnet", "chestxray14", "bimcv_positive", "bimcv_negative", "precovid",
        "padchest", "kermany", "covidx", "ricord", "rsna", "montgomery", "shenzhen", "jsrt", "nih_masks",
        "darwin_v7_whole", "phantom",
    )  # fmt: skip

    def __getitem__(self, name: str) -> Source:
        if name not in self._names:
            raise KeyError(name)
        return importlib.import_module(f"{__name__}.{name}").SOURCE

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


SOURCES: Mapping[str, Source] = _Sources()


def get_source(name: str) -> Source:
    """Return a source by name; raise `UserError` if the name is unknown."""
    try:
        return SOURCES[name]
    except KeyError as error:
        raise UserError(name, "is not a known source", f"Choose one of {', '.join(SOURCES)}") from error


def locate_source(name: str, data_root: str | Path) -> list[Path]:
    """Return the folders of a source at or below the data root, at least one.

    Raises `UserError` if none is found; the message says how to get the collection.
    """
    source = get_source(name)
    folders = source.locate_all(Path(data_root))
    if not folders:
        problem = f"does not contain {source.title} ({name}); expected layout: {source.layout}"
        raise UserError(Path(data_root).absolute(), problem, source.access)
    return folders


def load_source(name: str, data_root: str | Path) -> Cohort:
    """Return the cohort of a source found at or below the data root, united over its folders.

    An image that several folders hold counts once, as in the first. A folder that cannot be read is left out with a
    warning if another can.

    Raises `UserError` if the collection is not found, no folder has the expected layout, or an image has different
    patients in two folders.
    """
    source = get_source(name)
    return _united([cohort for _, cohort in _each_folder(name, data_root, source.load)], source)


def unavailable(name: str, data_root: str | Path | None) -> str | None:
    """Return None if a source can be read below the data root, else the reason in one line."""
    source = get_source(name)
    if data_root is None:
        return "no data folder"
    if source.locate(Path(data_root)) is None:
        return f"no {source.title} in {data_root}"
    try:
        load_source(name, data_root)
    except UserError as error:
        return f"{source.title} cannot be read: {error}".rstrip(".")  # a reason stands within sentences
    return None


def check_source(name: str, data_root: str | Path) -> list[tuple[str, int, int]]:
    """Return (what, expected, found) for each count of the data card, of each folder.

    Folders that cannot be read are treated as by `load_source`, also for the errors.
    """
    counted = _each_folder(name, data_root, get_source(name).count)
    return [row for folder, found in counted for row in _rows(name, folder, found, len(counted) > 1)]


def check_folder(name: str, folder: Path, several: bool = False) -> list[tuple[str, int, int]]:
    """Return (what, expected, found) for one folder of a source, which is named if it is one of `several`.

    Raises `UserError` if the folder does not have the expected layout.
    """
    return _rows(name, folder, _read(get_source(name).count, folder), several)


def _rows(name: str, folder: Path, found: Mapping[str, int], several: bool) -> list[tuple[str, int, int]]:
    place = f" in {folder}" if several else ""
    expected = get_source(name).expected(folder)
    return [(f"{what}{place}", count, found.get(what, 0)) for what, count in expected.items()]


def _each_folder(name: str, data_root: str | Path, read: Callable[[Path], _T]) -> list[tuple[Path, _T]]:
    """Read every folder of a source; warn of those that cannot be read, or raise the first error if none can."""
    results, errors = [], []
    for folder in locate_source(name, data_root):
        try:
            results.append((folder, _read(read, folder)))
        except UserError as error:
            errors.append(error)
    if not results:
        raise errors[0]
    for left_out in errors:
        LOGGER.warning("%s: left out: %s", name, left_out)
    return results


def _read(read: Callable[[Path], _T], folder: Path) -> _T:
    """Read a folder; turn what a damaged file or a refused permission raises into a `UserError`."""
    try:
        return read(folder)
    except (OSError, ValueError, LookupError) as error:
        subject = getattr(error, "filename", None) or folder
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise UserError(subject, f"cannot be read ({reason})", "Check the file and its permissions") from error


def _united(cohorts: Sequence[Cohort], source: Source) -> Cohort:
    """Join the cohorts of a source's folders, each image once."""
    if len(cohorts) == 1:
        return cohorts[0]
    table = pd.concat([cohort.table for cohort in cohorts], ignore_index=True)
    keys = table["image_id"].map(name_key)
    patients = table["patient_id"].groupby(keys).transform("nunique")
    if (patients > 1).any():
        where = table["path"][keys == keys[int((patients > 1).argmax())]]
        problem = f"is also {where.iloc[1]}, of another patient"
        raise UserError(where.iloc[0], problem, "Rename or remove one of the two")
    found = {label for cohort in cohorts for label in cohort.classes}
    classes = tuple(label for label in source.classes if label in found)
    return Cohort(table[~keys.duplicated()], classes, source.name)
