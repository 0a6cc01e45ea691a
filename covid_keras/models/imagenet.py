"""Recognise the ImageNet weight files of keras.applications without importing Keras."""

from __future__ import annotations

from pathlib import Path

from covid_keras.common.files import digest_of
from covid_keras.models.registry import load_registry

# MD5 listed by keras.applications for its files without top layers.
IMAGENET_NOTOP_MD5 = {entry.md5: entry.name for entry in load_registry().values() if entry.md5}


def is_imagenet(path: str | Path) -> bool:
    """Return whether a weight file is one of keras.applications' ImageNet files, by its MD5."""
    return digest_of(path, "md5") in IMAGENET_NOTOP_MD5
