"""Fixtures shared by the whole suite."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

from covid_keras.common.threads import THREADS

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("COVID_KERAS_QUIET", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

ROOT = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files of slow tests: a worker takes one file at a time, and the last to end is waited for."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Keep the number of threads that a run fixes from the tests after it."""
    kept = {name: os.environ.get(name) for name in THREADS}
    try:
        return (yield)
    finally:
        for name, value in kept.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real radiographs: `COVID_KERAS_DATA`, else `data/`, else skipped with the reason."""
    given = os.environ.get("COVID_KERAS_DATA")
    folder = Path(given) if given else ROOT / "data"
    if not (folder / "covid-chestxray-dataset" / "metadata.csv").is_file():
        pytest.skip(f"no real radiographs below {folder} (set COVID_KERAS_DATA to a folder that holds them)")
    return folder.resolve()


@pytest.fixture(scope="session")
def copies(tmp_path_factory) -> Path:
    """Where searches for near-duplicates among the real radiographs are kept, for all tests and workers."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "copies"
    folder.mkdir(exist_ok=True)
    return folder
