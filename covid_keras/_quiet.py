"""Importing TensorFlow without its start-up chatter, which goes to the file descriptor and heeds no log level."""

from __future__ import annotations

import os
import sys
import tempfile


def import_tensorflow() -> None:
    """Import TensorFlow and Keras with standard error set aside, to be shown only if the import fails."""
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    with tempfile.TemporaryFile() as aside:
        kept = os.dup(2)
        os.dup2(aside.fileno(), 2)
        try:
            import keras  # noqa: F401
            import tensorflow as tf

            # The device look-up chatters as well, once.
            tf.config.list_physical_devices()
        except BaseException:
            aside.seek(0)
            os.write(kept, aside.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
