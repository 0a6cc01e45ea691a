"""Check that every pixel of a JPEG comes from its data.

libjpeg fills the pixels that it cannot decode with grey, and only warns. Pillow drops these warnings. OpenCV writes
them to standard error, so files are decoded a second time, at an eighth of their size, to see them. Damage that leaves
the number of blocks as it was gives no warning, and JPEG has no checksum: a few changed bytes may pass.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

from covid_keras.common.quiet import standard_error_aside
from covid_keras.data.picture import damaged

# A marker other than a stuffed byte, a restart marker or a fill byte.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_SOI, _EOI, _SOS, _TEM, _TABLES, _COMMENT = 0xD8, 0xD9, 0xDA, 0x01, 0xC4, 0xFE
_FRAMES = frozenset(range(0xC0, 0xD0)) - {_TABLES, 0xC8, 0xCC}
_LOSSLESS = frozenset({0xC3, 0xC7, 0xCB, 0xCF})
_SEQUENTIAL = frozenset({0xC0, 0xC1})
# More consecutive zero bytes than a block has coefficients.
_ZEROS = bytes(32)
# libjpeg prints only its first warning, so segments without pixels, which may cause harmless ones, are left out.
_ALL_COEFFICIENTS = b"\x00\x3f\x00"
_WITHOUT_PIXELS = frozenset({*range(0xE0, 0xF0), _COMMENT})
_LOSS = re.compile(
    rb"^(?:Corrupt JPEG data: |Premature end of JPEG file|Inconsistent progression sequence ).*\n?", re.MULTILINE
)
# Far above those of real files: headers and scans that cost time and memory, but hold nothing.
_MOST_SEGMENTS, _MOST_SCANS = 4096, 64
_PADDED = b"extraneous bytes before marker 0xd9"


def check_jpeg(path: Path, content: bytes) -> None:
    """Raise `UserError` if pixels of a JPEG are missing or damaged; zeros after the last pixel are accepted."""
    pixels = _pixel_data(path, content)
    loss = _warning(pixels)
    if _PADDED in loss:
        loss = _warning(pixels.rstrip(b"\0"))
    if loss:
        raise damaged(path, loss.decode("ascii", "replace").removeprefix("Corrupt JPEG data: ").strip())


def check_segments_before_pixels(path: Path, stream: BinaryIO) -> None:
    """Raise `UserError` if a JPEG has too many segments before its first scan; return to the start of the stream."""
    stream.seek(2)
    for _ in range(_MOST_SEGMENTS):
        start = stream.read(4)
        if len(start) < 4 or start[0] != 0xFF or start[1] == _SOS:
            stream.seek(0)
            return
        # A fill byte may precede a marker.
        stream.seek(-3 if start[1] == 0xFF else int.from_bytes(start[2:], "big") - 2, os.SEEK_CUR)
    raise damaged(path, f"it has more than {_MOST_SEGMENTS:,} segments")


def _pixel_data(path: Path, content: bytes) -> bytes:
    """Return a JPEG without application data, comments and end marker; raise `UserError` if a scan is missing."""
    parts, place, missing, frame, speaking, scans = [b"\xff\xd8"], 2, dict[int, np.ndarray](), 0, False, 0
    while found := _MARKER.search(content, place):
        marker, start = content[found.start() + 1], found.end()
        parts += [content[place : found.start()]] if scans else []
        if marker == _EOI:
            break
        place = start if marker in (_SOI, _TEM) else start + int.from_bytes(content[start : start + 2], "big")
        body = content[start + 2 : place]
        if marker in _FRAMES and len(body) >= 6:
            frame, missing = marker, {one: np.full(64, 99) for one in body[6::3] if marker not in _LOSSLESS}
            parts += [content[found.start() : start + 2], b"\x08", body[1:]]  # the codes do not depend on the depth
            continue
        elif marker == _TABLES:
            speaking |= _zeros_speak(body)
        elif marker == _SOS and len(body) >= 4:
            scans += 1
            if frame in _SEQUENTIAL:  # whose decoder reads all coefficients, and warns if others are stated
                body = body[:-3] + _ALL_COEFFICIENTS
            _mark(missing, body)
        if scans > _MOST_SCANS or len(parts) > 2 * _MOST_SEGMENTS:
            raise damaged(path, f"it has more than {_MOST_SCANS} scans or {_MOST_SEGMENTS:,} segments")
        if marker == _SOS:
            parts += [content[found.start() : start + 2], body]
        elif marker not in _WITHOUT_PIXELS | {_SOI}:
            parts += [content[found.start() : place]]
    else:
        parts.append(content[place:].rstrip(b"\0"))
    if any(one.any() for one in missing.values()):
        raise damaged(path, "scans are missing")
    if frame in _SEQUENTIAL and speaking and any(_ZEROS in part.rstrip(b"\0") for part in parts):
        raise damaged(path, "zeros in place of pixels")
    return b"".join(parts)


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


def _warning(pixels: bytes) -> bytes:
    """Return libjpeg's warning that pixels are missing; empty if there is none."""
    with standard_error_aside(_LOSS) as said:
        cv2.imdecode(np.frombuffer(pixels + b"\xff\xd9", np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8)
    return b"".join(said)
