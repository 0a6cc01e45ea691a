"""Progress bars on standard error, with the time left."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")


def open_bar(*arguments: Any, **options: Any) -> tqdm:
    """Return a tqdm bar with the suite's settings, for work that is not a loop (see `progress`)."""
    terminal = sys.stderr.isatty()
    interval = 0.2 if terminal else 30.0
    settings = {
        "disable": os.environ.get("COVID_KERAS_QUIET") == "1",
        "mininterval": interval,
        "maxinterval": interval,
        "dynamic_ncols": terminal,
        "smoothing": 0,  # the time left follows from the average rate: steps that are done at once mislead
        "file": sys.stderr,
    }
    return tqdm(*arguments, **(settings | options))


def progress(items: Iterable[T], description: str, total: int | None = None, unit: str = "image") -> Iterator[T]:
    """Yield `items` and show a progress bar with rate and time left.

    If standard error is not a terminal (log file, CI), a line is printed about every 30 seconds instead.
    `COVID_KERAS_QUIET=1` disables the bar.
    """
    yield from open_bar(items, desc=description, total=total, unit=unit)
