"""Parallel work in threads."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_In = TypeVar("_In")
_Out = TypeVar("_Out")

# Pending results per thread.
AHEAD = 8
# Environment variables with the number of threads of one operation, of TensorFlow and of OpenMP.
THREADS = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS")


def processors() -> int:
    """Return the number of processors that this process may use."""
    # process_cpu_count (Python 3.13) respects the CPU affinity of the process.
    return getattr(os, "process_cpu_count", os.cpu_count)() or 1


def pin_threads(threads: int | None) -> None:
    """Set the threads with which TensorFlow computes, here and in processes started later; None leaves them.

    Call it before TensorFlow is imported.
    """
    if threads is not None:
        os.environ.update(dict.fromkeys(THREADS, str(threads)))


def bounded_map(function: Callable[[_In], _Out], items: Sequence[_In], workers: int | None = None) -> Iterator[_Out]:
    """Yield `function(item)` in order, computed in `workers` threads (default: one per core).

    At most `AHEAD * workers` items are submitted ahead of the consumer. The first error cancels the rest.
    """
    workers = workers or processors()
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
    """Set the number of threads of OpenCV and TensorFlow; None keeps their defaults.

    Call it before TensorFlow computes anything; later it affects OpenCV only.
    """
    if threads is None:
        return
    import cv2
    import tensorflow as tf

    cv2.setNumThreads(threads)
    with contextlib.suppress(RuntimeError):  # TensorFlow is initialised already
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
