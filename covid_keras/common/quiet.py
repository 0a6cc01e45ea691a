"""Silence what libraries write to standard error past Python's logging."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_READERS = ("pydicom", "pylibjpeg", "libjpeg", "openjpeg", "tifffile", "PIL", "numpy", "h5py")
_NOWHERE = logging.NullHandler()
_EVERYTHING = re.compile(rb".+", re.DOTALL)
# Reentrant, because an import may happen while a file is read.
_TURN = threading.RLock()


def import_tensorflow() -> None:
    """Import TensorFlow and Keras silently (see `quiet_import`).

    If TensorFlow was not imported before, GPUs allocate memory as needed and compute in full float32 (see `grow_memory`
    and `keep_float32`).
    """
    if "tensorflow" in sys.modules:
        return
    with quiet_import():
        import keras  # noqa: F401
        import tensorflow  # noqa: F401

        grow_memory()
        keep_float32()


@contextlib.contextmanager
def quiet_import() -> Iterator[None]:
    """Silence TensorFlow's C++ log if the block is the first to import it.

    Standard error is captured within the block, and printed afterwards if the import failed or did not happen.
    TF_CPP_MIN_LOG_LEVEL is set within the block only, because TensorFlow reads it during import; a value set by the
    user takes precedence (0 shows everything).
    """
    if "tensorflow" in sys.modules or os.environ.get(_LEVEL) == "0":
        yield
        return
    is_ours = _LEVEL not in os.environ
    os.environ.setdefault(_LEVEL, "3")
    imported, said = False, []
    try:
        with standard_error_aside() as said:
            yield
            imported = "tensorflow" in sys.modules
    finally:
        if is_ours:
            os.environ.pop(_LEVEL, None)
        if not imported:
            _write_back(said)


@contextlib.contextmanager
def standard_error_aside(pattern: re.Pattern[bytes] = _EVERYTHING) -> Iterator[list[bytes]]:
    """Divert what is written to file descriptor 2, to which C libraries write; one block at a time.

    Yields a list. After the block it holds the matches of `pattern`; everything else is printed then.
    """
    said: list[bytes] = []
    with _TURN, tempfile.TemporaryFile() as aside:
        if sys.stderr:  # None without a console
            sys.stderr.flush()
        try:
            kept = os.dup(2)
        except OSError:  # closed: nothing to divert
            yield said
            return
        os.dup2(aside.fileno(), 2)
        try:
            yield said
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            aside.seek(0)
            text = aside.read()
            said += pattern.findall(text)
            _write_back([pattern.sub(b"", text)])


def _write_back(said: list[bytes]) -> None:
    if text := b"".join(said):
        os.write(2, text)


def keep_float32() -> None:
    """Keep GPUs from rounding the factors of float32 products to 10 bits (TF32), the default on recent ones."""
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(False)


def silence_readers() -> None:
    """Silence the logs and warnings of libraries that read files, for the command line.

    What is wrong with a file is said in one line of our own. Warning filters given by the user take precedence.
    """
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
    for name in _READERS:
        logging.getLogger(name).addHandler(_NOWHERE)
        logging.getLogger(name).propagate = False
    if not sys.warnoptions:
        warnings.filterwarnings("ignore", module=rf"({'|'.join(_READERS)})(\.|$)")


def grow_memory() -> None:
    """Allocate GPU memory as needed. Call it before TensorFlow uses a GPU.

    By default the first process takes all GPU memory, but a run has two processes: the main process, which segments
    and explains, and the worker, which trains.
    """
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
