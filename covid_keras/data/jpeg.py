"""Whether a JPEG file holds all its pixels.

libjpeg fills what is missing with grey and warns where nobody hears it: a file that was cut and closed again by an end
marker, or that has zeros in its middle, decodes without an error.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from covid_keras.data.picture import DECODE_ERRORS, damaged

# A marker, not a stuffed byte, a restart within a scan or a fill byte.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_SOI, _EOI, _SOS, _TEM, _TABLES = 0xD8, 0xD9, 0xDA, 0x01, 0xC4
_FRAMES = frozenset(range(0xC0, 0xD0)) - {_TABLES, 0xC8, 0xCC}
_SEQUENTIAL = frozenset({0xC0, 0xC1, 0xC9})
_BLOCK, _FILL = 8, 128
# More zero bytes in a row than a block has coefficients of one code each.
_ZEROS = bytes(32)


class Jpeg(NamedTuple):
    """Where a JPEG's pixels end in its bytes, and whether what is missing of them is left grey."""

    end: int
    leaves_grey: bool

    def seems_cut(self, grey: np.ndarray) -> bool:
        """Whether the decoded picture (H, W) may lack pixels: its last block has the grey that libjpeg fills in."""
        top, left = ((side - 1) // _BLOCK * _BLOCK for side in grey.shape)
        return not self.leaves_grey or bool((np.abs(grey[top:, left:].astype(int) - _FILL) <= 1).all())

    def continued(self, content: bytes) -> bytes:
        """Return the file with more data at its end: only what lacks data is decoded to another picture."""
        return content[: self.end] + bytes(4096) + b"\xff\xd9"


def read_jpeg(path: Path, content: bytes) -> Jpeg:
    """Follow a JPEG's segments to its end; raise `UserError` if a scan is missing or has zeros in its middle."""
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
        raise damaged(path, "not all of its scans are there")
    end = found.start() if found else len(content)
    if frame in _SEQUENTIAL and scan and speaking and content.find(_ZEROS, scan, end) >= 0:
        raise damaged(path, "zeros in place of pixels")
    return Jpeg(end, frame in _SEQUENTIAL and len(missing) < 4)


def check_jpeg(path: Path, content: bytes, grey: np.ndarray | None = None) -> None:
    """Raise `UserError` if a JPEG lacks pixels.

    It is decoded again where the picture seems cut, and before that where `grey`, (H, W) as Pillow decodes it, is not
    given.
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
    """Note how many bits of which coefficients are still missing after a scan."""
    first, last, bits = scan[-3:]
    for component in scan[1 : 1 + 2 * scan[0] : 2]:
        if component in missing:
            missing[component][first : last + 1] = bits & 0x0F


def _zeros_speak(tables: bytes) -> bool:
    """Whether zero bits mean coefficients in one of these Huffman tables: no picture then has a long run of them.

    The code of zeros alone is that of a table's first value, whose low half is the coefficient's number of bits.
    """
    place, speak = 0, False
    while place + 17 < len(tables):
        speak |= tables[place] >> 4 == 1 and tables[place + 17] & 0x0F > 0
        place += 17 + sum(tables[place + 1 : place + 17])
    return speak
