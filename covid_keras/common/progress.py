"""Progress bars with the time left, on standard error, silent where nobody watches."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")


def open_bar(*arguments: Any, **options: Any) -> tqdm:
    """Return a tqdm bar with this suite's settings (see `progress`), for what is not a loop over items."""
    terminal = sys.stderr.isatty()
    interval = 0.2 if terminal else 30.0
    settings = {
        "disable": os.environ.get("COVID_KERAS_QUIET") == "1",
        "mininterval": interval,
        "maxinterval": interval,
        "dynamic_ncols": terminal,
        "file": sys.stderr,
    }
    return tqdm(*arguments, **(settings | options))


def progress(items: Iterable[T], description: str, total: int | None = None, unit: str = "image") -> Iterator[T]:
    """Yield `items` under a bar with rate and time left.

    Where standard error is not a terminal (a log file, CI) the bar prints a line about every 30 seconds instead of
    redrawing itself; `COVID_KERAS_QUIET=1` silences it.
    """
    yield from open_bar(items, desc=description, total=total, unit=unit)
