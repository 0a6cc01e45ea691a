"""Public collections of chest radiographs, one module each, read in their official folder layout."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from covid_keras.common.errors import UserError
from covid_keras.data.cohort import Cohort
from covid_keras.data.sources.base import Download, Source, SourceCard

__all__ = ["SOURCES", "Download", "Source", "SourceCard", "check_source", "get_source", "load_source", "locate_source"]


class _Sources(Mapping[str, Source]):
    """Name -> module, imported on first use."""

    _names = (
        "covidgr",
        "cohen",
        "darwin_v7",
        "covid_cxnet",
        "chestxray14",
        "bimcv_positive",
        "bimcv_negative",
        "precovid",
        "padchest",
        "kermany",
        "covidx",
        "ricord",
        "rsna",
        "montgomery",
        "shenzhen",
        "jsrt",
        "nih_masks",
        "darwin_v7_whole",
        "phantom",
    )

    def __getitem__(self, name: str) -> Source:
        if name not in self._names:
            raise KeyError(name)
        return importlib.import_module(f"{__name__}.{name}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


SOURCES: Mapping[str, Source] = _Sources()


def get_source(name: str) -> Source:
    """Return the module of a source; raise `UserError` where there is none of that name."""
    try:
        return SOURCES[name]
    except KeyError as error:
        raise UserError(name, "there is no such source", f"Choose one of {', '.join(SOURCES)}") from error


def locate_source(name: str, data_root: str | Path) -> Path:
    """Return the folder of a source at or below the data root.

    Raises
    ------
    UserError
        Where it is not found: says where it was looked for and how to get it.
    """
    source = get_source(name)
    folder = source.locate(Path(data_root))
    if folder is None:
        raise UserError(
            Path(data_root).absolute(),
            f"holds no {source.CARD.title} ({name}); expected layout: {source.CARD.layout}",
            source.CARD.access,
        )
    return folder


def load_source(name: str, data_root: str | Path) -> Cohort:
    """Return the cohort of a source found at or below the data root.

    Raises
    ------
    UserError
        Where the collection is not found, or its files do not fit its layout.
    """
    return get_source(name).load(locate_source(name, data_root))


def check_source(name: str, data_root: str | Path) -> list[tuple[str, int, int]]:
    """Return (what, expected, found) for each count on the source's card.

    A source with several layouts offers `expected(folder)`, the counts for the layout that lies there.

    Raises
    ------
    UserError
        As for `load_source`.
    """
    source = get_source(name)
    folder = locate_source(name, data_root)
    checks = source.expected(folder) if hasattr(source, "expected") else source.CARD.checks
    found = source.count(folder)
    return [(what, expected, found.get(what, 0)) for what, expected in checks.items()]
