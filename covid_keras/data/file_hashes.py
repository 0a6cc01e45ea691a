"""SHA-256 of many files, cached between runs."""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path
from typing import Self

from covid_keras.common.errors import UserError
from covid_keras.common.files import read_record, require_writable_folder, sha256_of, write_record

_log = logging.getLogger(__name__)

# A file modified this shortly before being read could change again without a new time stamp.
_SETTLED_NS = 2_000_000_000
# Seconds between saves of the index (0.1 s each for a large one), lost at most when the process is killed.
_SAVE_EVERY = 60.0


class FileHashes:
    """Thread-safe cache of file hashes, keyed by (path, modification time, size).

    The index is written once a minute during use, and at the end of the `with` block.

    Parameters
    ----------
    folder : Path
        Folder of the index `files.json`, created if missing. A missing or damaged index is rebuilt.

    Raises
    ------
    UserError
        If the folder is not writable.
    """

    def __init__(self, folder: Path) -> None:
        self._index = require_writable_folder(folder) / "files.json"
        self._lock, self._changed, self._saved = threading.Lock(), False, time.monotonic()
        self._known: dict[str, list] = {}
        if self._index.is_file():
            try:
                self._known = read_record(self._index, ())
            except UserError:
                _log.warning("%s is damaged; every file is read again", self._index)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.save()

    def of(self, path: str) -> str:
        """Return the hexadecimal SHA-256 of a file.

        Raises `UserError` if the file cannot be read or the index cannot be written.
        """
        try:
            status = os.stat(path)
            # The time of the last change of the entry itself cannot be set back as that of the content can.
            stamp = [status.st_mtime_ns, status.st_ctime_ns, status.st_size]
            known = self._known.get(path)
            if isinstance(known, list) and known[:3] == stamp and len(known) == 4 and isinstance(known[3], str):
                return known[3]
            digest = sha256_of(path)
        except (OSError, ValueError) as error:  # ValueError: a null byte in the path
            problem = f"cannot be read ({getattr(error, 'strerror', None) or error})"
            raise UserError(path, problem, "Check the path in the cohort's table") from error
        if time.time_ns() - status.st_mtime_ns > _SETTLED_NS:
            with self._lock:
                self._known[path], self._changed = [*stamp, digest], True
                due = time.monotonic() - self._saved >= _SAVE_EVERY
            if due:
                self.save()
        return digest

    def save(self) -> None:
        """Write the index if it changed."""
        with self._lock:
            if self._changed:
                write_record(self._index, self._known)
            self._changed, self._saved = False, time.monotonic()
