"""Progress bars with the time left, on standard error, silent where nobody watches."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def progress(items: Iterable[T], description: str, total: int | None = None, unit: str = "image") -> Iterator[T]:
    """Yield `items` under a bar with rate and time left.

    Where standard error is no terminal (a log file, CI) the bar prints a line about every 30 seconds instead of
    redrawing itself; `COVID_KERAS_QUIET=1` silences it.
    """
    quiet = os.environ.get("COVID_KERAS_QUIET") == "1"
    interval = 0.2 if sys.stderr.isatty() else 30.0
    yield from tqdm(
        items,
        desc=description,
        total=total,
        unit=unit,
        disable=quiet,
        mininterval=interval,
        maxinterval=interval,
        dynamic_ncols=sys.stderr.isatty(),
        file=sys.stderr,
    )
