"""Importing TensorFlow without its start-up chatter, which goes to the file descriptor and heeds no log level."""

from __future__ import annotations

import os
import sys
import tempfile


def import_tensorflow() -> None:
    """Import TensorFlow and Keras with standard error set aside, to be shown only if the import fails.

    Where it was not imported yet, GPUs are told to give memory as it is needed (see `grow_memory`).
    """
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    with tempfile.TemporaryFile() as aside:
        kept = os.dup(2)
        os.dup2(aside.fileno(), 2)
        try:
            import keras  # noqa: F401
            import tensorflow  # noqa: F401

            grow_memory()  # the device look-up in it chatters as well, once
        except BaseException:
            aside.seek(0)
            os.write(kept, aside.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def grow_memory() -> None:
    """Have each GPU give memory as it is needed.

    By default the first process takes all of it, and a run has two at a time: the one that segments and explains, and
    the worker that trains. To be called before TensorFlow uses a GPU.
    """
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
