"""Fetch registered weight files, and put ImageNet weights where keras.applications finds them. Imports no Keras."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from covid_keras.common.errors import UserError
from covid_keras.common.files import atomic_path, expanded, require_writable_folder
from covid_keras.models.registry import VARIABLE, WeightEntry, store_folder


def fetch_weights(entry: WeightEntry, folder: Path) -> Path:
    """Download a file into a temporary folder, verify it, then move it into `folder`; return its path.

    Raises
    ------
    UserError
        If the download fails, its digest is wrong, or the folder cannot be written. No partial file is left.
    """
    from covid_keras.data.download import download
    from covid_keras.data.sources.base import Download

    by_hand = f"Try again, or download {entry.url} by hand, then: covid-keras weights add FILE"
    require_writable_folder(folder)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetching-") as aside:
        item: Any = Download(entry.url, entry.sha256 or None, entry.file, unpack=False)
        try:
            path = download(item, aside, unverified=True)
        except UserError as error:
            subject = error.subject if error.subject == entry.url else folder / entry.file
            raise UserError(subject, error.problem, by_hand) from error
        if not entry.is_of(path):
            algorithm, digest = entry.digest
            problem = f"the download does not have the {algorithm.upper()} {digest} and was removed"
            raise UserError(entry.url, problem, by_hand)
        os.replace(path, folder / entry.file)
    return folder / entry.file


def is_here(entry: WeightEntry) -> bool:
    """Return whether the registered file is in its place and intact."""
    return entry.path.is_file() and entry.is_of(entry.path)


def writable_store() -> Path:
    """Return the folder of weight files that do not ship, created if missing; raise `UserError` if not writable."""
    try:
        return require_writable_folder(store_folder())
    except UserError as error:
        raise UserError(store_folder(), error.problem, f"Set {VARIABLE} to a folder that can be written") from error


# -------------------------------------------------------------------------------------------- of keras.applications


def keras_cache() -> Path:
    """Return the folder in which keras.applications looks for its weights; it may not exist."""
    home = expanded("~") if os.access(expanded("~"), os.W_OK) else Path("/tmp")
    return expanded(os.environ.get("KERAS_HOME") or home / ".keras") / "models"


def find_cached(entry: WeightEntry) -> Path | None:
    """Return an intact file in Keras' cache, else in the folder of weight files; None if there is none."""
    places = (keras_cache() / entry.file, entry.path)
    return next((path for path in places if path.is_file() and entry.is_of(path)), None)


def provide_imagenet(entry: WeightEntry) -> Path:
    """Return a file of keras.applications in Keras' cache, copied from the folder of weight files or downloaded.

    Raises
    ------
    UserError
        If it is in neither place and cannot be downloaded, or the cache cannot be written.
    """
    target, found = keras_cache() / entry.file, find_cached(entry)
    if found is None:
        return fetch_weights(entry, keras_cache())
    if found != target:
        with atomic_path(target) as temporary:
            shutil.copyfile(found, temporary)
    return target
