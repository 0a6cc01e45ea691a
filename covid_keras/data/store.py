"""One store for what is made once and kept: prepared images, lung masks, transformed pairs, duplicate searches.

An entry is a file named by a key of everything that it depends on, so that nothing is made twice and no change goes
unnoticed. It holds the payload, then a byte that marks it or not, and the CRC-32 of all before. A PNG with these five
bytes behind it is still a PNG: readers stop at the end of the image.
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
_REMEDY = "Run the same command again to make it anew"


class Entry(NamedTuple):
    """What was kept.

    Attributes
    ----------
    data : ndarray (n,) uint8
        The payload.
    mark : bool
        A remark of whoever made it, e.g. that a mask is empty.
    """

    data: np.ndarray
    mark: bool


def read_entry(path: str | Path) -> Entry:
    """Read an entry by its path; raise `UserError` if it is missing or damaged in any byte."""
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise UserError(path, f"the kept file cannot be read ({error.strerror})", _REMEDY) from error
    end = content.size - _CHECKSUM.size
    if end < 1 or content[end:].tobytes() != _CHECKSUM.pack(zlib.crc32(content[:end].data)):
        raise UserError(path, "the kept file is damaged", _REMEDY)
    return Entry(content[: end - 1], bool(content[end - 1]))


@dataclass(frozen=True)
class Store:
    """Entries below a folder, each at `<folder>/<key[:2]>/<key><suffix>`; may be shared by processes.

    Parameters
    ----------
    folder : Path
    suffix : str
        Of the files, for those who read them by path.
    """

    folder: Path
    suffix: str = ".raw"

    def path(self, key: str) -> Path:
        """Return where the entry of a key is, or would be."""
        return self.folder / key[:2] / f"{key}{self.suffix}"

    def put(self, key: str, data: bytes | np.ndarray, mark: bool = False) -> Path:
        """Keep bytes, or an array's, whole or not at all; return the path."""
        content = (data.tobytes() if isinstance(data, np.ndarray) else data) + bytes([mark])
        path = self.path(key)
        with atomic_path(path) as temporary:
            temporary.write_bytes(content + _CHECKSUM.pack(zlib.crc32(content)))
        return path

    def read(self, key: str) -> Entry:
        """Return an entry that must be there; raise `UserError` if it is missing or damaged."""
        return read_entry(self.path(key))

    def find(self, key: str) -> Entry | None:
        """Return an entry; None where it has to be made: it is missing or, which is logged, damaged."""
        if not self.path(key).is_file():
            return None
        try:
            return self.read(key)
        except UserError as error:
            _log.warning("%s: %s; it is made anew", error.subject, error.problem)
            return None
