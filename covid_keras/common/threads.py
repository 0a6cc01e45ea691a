"""Work spread over threads, few items ahead of who takes the results."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_In = TypeVar("_In")
_Out = TypeVar("_Out")

# Results that may wait to be taken, per thread.
AHEAD = 8


def bounded_map(function: Callable[[_In], _Out], items: Sequence[_In], workers: int | None = None) -> Iterator[_Out]:
    """Yield `function(item)` in order, computed by `workers` threads (default: one per core).

    At most `AHEAD * workers` items are begun before the first result is taken; the first error stops the rest.
    """
    # process_cpu_count (Python 3.13) heeds the processors that this process may use.
    workers = workers or getattr(os, "process_cpu_count", os.cpu_count)() or 1
    with ThreadPoolExecutor(workers) as pool:
        pending: deque[Future[_Out]] = deque()
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) >= AHEAD * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def limit_threads(threads: int | None) -> None:
    """Have OpenCV and TensorFlow compute with so many threads; None leaves their own choice.

    To be called before TensorFlow computes anything; later only OpenCV can be told.
    """
    if threads is None:
        return
    import cv2
    import tensorflow as tf

    cv2.setNumThreads(threads)
    with contextlib.suppress(RuntimeError):  # TensorFlow has begun
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
