"""Check that a JPEG file is complete.

libjpeg fills missing pixels with grey without raising an error, for example if a truncated file ends with an end marker
or has zeros in the middle.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from covid_keras.data.picture import DECODE_ERRORS, damaged

# A marker other than a stuffed byte, a restart marker or a fill byte.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_SOI, _EOI, _SOS, _TEM, _TABLES = 0xD8, 0xD9, 0xDA, 0x01, 0xC4
_FRAMES = frozenset(range(0xC0, 0xD0)) - {_TABLES, 0xC8, 0xCC}
_SEQUENTIAL = frozenset({0xC0, 0xC1, 0xC9})
_BLOCK, _FILL = 8, 128
# More consecutive zero bytes than a block has coefficients.
_ZEROS = bytes(32)


class Jpeg(NamedTuple):
    """Where the pixel data of a JPEG ends, and whether missing pixels are left grey."""

    end: int
    leaves_grey: bool

    def seems_cut(self, grey: np.ndarray) -> bool:
        """Whether the decoded image (H, W) may be incomplete: its last block has libjpeg's fill grey."""
        top, left = ((side - 1) // _BLOCK * _BLOCK for side in grey.shape)
        return not self.leaves_grey or bool((np.abs(grey[top:, left:].astype(int) - _FILL) <= 1).all())

    def continued(self, content: bytes) -> bytes:
        """Return the file with data appended; only an incomplete file then decodes differently."""
        return content[: self.end] + bytes(4096) + b"\xff\xd9"


def read_jpeg(path: Path, content: bytes) -> Jpeg:
    """Parse the segments of a JPEG; raise `UserError` if a scan is missing or has a run of zeros."""
    place, frame, scan, missing, speaking = 2, 0, 0, dict[int, np.ndarray](), False
    while found := _MARKER.search(content, place):
        marker, start = content[found.start() + 1], found.end()
        if marker == _EOI:
            break
        place = start if marker in (_SOI, _TEM) else start + int.from_bytes(content[start : start + 2], "big")
        body = content[start + 2 : place]
        if marker in _FRAMES and len(body) >= 6:
            frame, missing = marker, {one: np.full(64, 99) for one in body[6::3]}
        elif marker == _TABLES:
            speaking |= _zeros_speak(body)
        elif marker == _SOS and len(body) >= 4:
            _mark(missing, body)
            scan = scan or place
    if any(one.any() for one in missing.values()):
        raise damaged(path, "scans are missing")
    end = found.start() if found else len(content)
    if frame in _SEQUENTIAL and scan and speaking and content.find(_ZEROS, scan, end) >= 0:
        raise damaged(path, "zeros in place of pixels")
    return Jpeg(end, frame in _SEQUENTIAL and len(missing) < 4)


def check_jpeg(path: Path, content: bytes, grey: np.ndarray | None = None) -> None:
    """Raise `UserError` if pixels of a JPEG are missing.

    `grey` is the image as Pillow decodes it, (H, W); it is decoded here if not given, and again if it seems incomplete.
    """
    jpeg = read_jpeg(path, content)
    grey = _levels(path, content) if grey is None else grey
    if jpeg.seems_cut(grey) and not np.array_equal(_levels(path, jpeg.continued(content)), grey):
        raise damaged(path, "some of its pixels are missing")


def _levels(path: Path, content: bytes) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
            grey = image if image.mode == "L" else image.convert("RGB").convert("L")
            return np.asarray(grey)
    except DECODE_ERRORS as error:
        raise damaged(path, error) from error


def _mark(missing: dict[int, np.ndarray], scan: bytes) -> None:
    """Update the number of missing bits per coefficient after a scan."""
    first, last, bits = scan[-3:]
    for component in scan[1 : 1 + 2 * scan[0] : 2]:
        if component in missing:
            missing[component][first : last + 1] = bits & 0x0F


def _zeros_speak(tables: bytes) -> bool:
    """Whether zero bits encode coefficients in one of these Huffman tables, so that long runs of zeros cannot occur.

    The all-zero code stands for the first value of a table; the low half of that value is the coefficient's number of
    bits.
    """
    place, speak = 0, False
    while place + 17 < len(tables):
        speak |= tables[place] >> 4 == 1 and tables[place + 17] & 0x0F > 0
        place += 17 + sum(tables[place + 1 : place + 17])
    return speak
