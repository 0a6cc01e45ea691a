"""Cache of computed files: prepared images, lung masks, transformed pairs, searches for near-duplicates.

An entry is a file named by a key of all its inputs. It consists of the payload, a mark byte, and a CRC-32 that begins
with the key, so that an entry under another's name is noticed. A PNG payload remains a valid PNG file, because readers
ignore trailing bytes.
"""

from __future__ import annotations

import logging
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from covid_keras.common.errors import UserError
from covid_keras.common.files import atomic_path

_log = logging.getLogger(__name__)

_CHECKSUM = struct.Struct("<I")
_REMEDY = "Run the same command again to recreate it"


class Entry(NamedTuple):
    """A cached entry.

    Attributes
    ----------
    data : ndarray (n,) uint8
        The payload.
    mark : bool
        A flag of the writer, such as "the mask is empty".
    """

    data: np.ndarray
    mark: bool


def read_entry(path: str | Path) -> Entry:
    """Read an entry by path; raise `UserError` if it is missing or damaged."""
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise UserError(path, f"the cached file cannot be read ({error.strerror})", _REMEDY) from error
    end = content.size - _CHECKSUM.size
    if end < 1 or content[end:].tobytes() != _checksum(Path(path).stem, content[:end].data):
        raise UserError(path, "the cached file is damaged, or another's", _REMEDY)
    return Entry(content[: end - 1], bool(content[end - 1]))


def _checksum(key: str, content: bytes | memoryview) -> bytes:
    return _CHECKSUM.pack(zlib.crc32(content, zlib.crc32(key.encode())))


@dataclass(frozen=True)
class Store:
    """Cache folder with entries at `<folder>/<key[:2]>/<key><suffix>`; safe to share between processes.

    Parameters
    ----------
    folder : Path
    suffix : str
        Suffix of the entry files.
    """

    folder: Path
    suffix: str = ".raw"

    def path(self, key: str) -> Path:
        """Return the path of an entry, which may not exist."""
        return self.folder / key[:2] / f"{key}{self.suffix}"

    def put(self, key: str, data: bytes | np.ndarray, mark: bool = False) -> Path:
        """Store bytes or an array atomically; return the path."""
        content = (data.tobytes() if isinstance(data, np.ndarray) else data) + bytes([mark])
        path = self.path(key)
        with atomic_path(path) as temporary:
            temporary.write_bytes(content + _checksum(key, content))
        return path

    def read(self, key: str) -> Entry:
        """Return an existing entry; raise `UserError` if it is missing or damaged."""
        return read_entry(self.path(key))

    def find(self, key: str) -> Entry | None:
        """Return an entry; None if it is missing or (with a warning in the log) damaged."""
        if not self.path(key).is_file():
            return None
        try:
            return self.read(key)
        except UserError as error:
            if not _is_of_version_0_1(self.path(key)):
                _log.warning("%s: %s; it is recreated", error.subject, error.problem)
            return None


def _is_of_version_0_1(path: Path) -> bool:
    """Return whether an entry is intact, but has a checksum without its key."""
    content = path.read_bytes()
    end = len(content) - _CHECKSUM.size
    return end > 0 and content[end:] == _CHECKSUM.pack(zlib.crc32(content[:end]))
