"""Public collections of chest radiographs, one module each, read in their official folder layout.

A module's docstring describes the collection and its known problems. `SOURCE` is the data card: location, licence,
size, citation, and how to get it.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from covid_keras.common.errors import UserError
from covid_keras.data.cohort import Cohort
from covid_keras.data.sources.base import Download, Source

__all__ = ["SOURCES", "Download", "Source", "check_source", "get_source", "load_source", "locate_source"]


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


def locate_source(name: str, data_root: str | Path) -> Path:
    """Return the folder of a source at or below the data root.

    Raises `UserError` if it is not found; the message says how to get it.
    """
    source = get_source(name)
    folder = source.locate(Path(data_root))
    if folder is None:
        problem = f"does not contain {source.title} ({name}); expected layout: {source.layout}"
        raise UserError(Path(data_root).absolute(), problem, source.access)
    return folder


def load_source(name: str, data_root: str | Path) -> Cohort:
    """Return the cohort of a source found at or below the data root.

    Raises `UserError` if the collection is not found or does not have the expected layout.
    """
    return get_source(name).load(locate_source(name, data_root))


def check_source(name: str, data_root: str | Path) -> list[tuple[str, int, int]]:
    """Return (what, expected, found) for each count of the data card; raise `UserError` as `load_source`."""
    source = get_source(name)
    folder = locate_source(name, data_root)
    found = source.count(folder)
    return [(what, expected, found.get(what, 0)) for what, expected in source.expected(folder).items()]
