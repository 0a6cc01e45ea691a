"""Importing TensorFlow without its start-up chatter, which goes to the file descriptor and heeds no log level."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


def import_tensorflow() -> None:
    """Import TensorFlow and Keras in silence (see `quiet_import`).

    Where TensorFlow was not imported yet, GPUs are told to give memory as it is needed (see `grow_memory`).
    """
    if "tensorflow" in sys.modules:
        return
    with quiet_import():
        import keras  # noqa: F401
        import tensorflow  # noqa: F401

        grow_memory()


@contextlib.contextmanager
def quiet_import() -> Iterator[None]:
    """Silence TensorFlow's C++ log if the block is the first to import it.

    Standard error is set aside within the block, and shown after all where TensorFlow was not imported or the import
    failed. TensorFlow reads its log level when it is imported, so the variable is set for the block alone: neither the
    environment nor any Python logger is changed. Where TF_CPP_MIN_LOG_LEVEL is set already, that level counts, and 0
    shows everything.
    """
    if "tensorflow" in sys.modules or os.environ.get(_LEVEL) == "0":
        yield
        return
    is_ours = _LEVEL not in os.environ
    os.environ.setdefault(_LEVEL, "3")
    try:
        with _standard_error_aside():
            yield
    finally:
        if is_ours:
            os.environ.pop(_LEVEL, None)


@contextlib.contextmanager
def _standard_error_aside() -> Iterator[None]:
    if sys.stderr:  # None in a program without a console
        sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # closed: nothing to silence
        yield
        return
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        imported = False
        try:
            yield
            imported = "tensorflow" in sys.modules
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            if not imported:
                aside.seek(0)
                os.write(2, aside.read())


def grow_memory() -> None:
    """Have each GPU give memory as it is needed.

    By default the first process takes all of it, and a run has two at a time: the one that segments and explains, and
    the worker that trains. To be called before TensorFlow uses a GPU.
    """
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
