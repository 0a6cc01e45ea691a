"""Recognise the ImageNet weight files of keras.applications without importing Keras."""

from __future__ import annotations

import hashlib
from pathlib import Path

from covid_keras.models.registry import load_registry

# MD5 listed by keras.applications for its files without top layers.
IMAGENET_NOTOP_MD5 = {entry.md5: entry.name for entry in load_registry().values() if entry.md5}


def is_imagenet(path: str | Path) -> bool:
    """Return whether a weight file is one of keras.applications' ImageNet files, by its MD5."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "md5").hexdigest() in IMAGENET_NOTOP_MD5
