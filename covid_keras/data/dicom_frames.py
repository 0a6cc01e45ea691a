"""Check compressed DICOM frames before they are decoded.

The decoders trust the size in a frame over that in the header, and some fill missing pixels without an error.
"""

from __future__ import annotations

import struct
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from covid_keras.common.errors import UserError
from covid_keras.data.jpeg import check_jpeg
from covid_keras.data.picture import damaged, unpacks_to

# Start and size markers of a JPEG 2000 code stream.
_JPEG_2000 = b"\xff\x4f\xff\x51"
_JPEG_LS = 0xF7
_RLE_HEADER = 64


class JpegFrame(NamedTuple):
    """Frame header of a JPEG or JPEG-LS stream."""

    marker: int
    bits: int
    height: int
    width: int


def jpeg_frame(stream: bytes) -> JpegFrame | None:
    """Return the frame header of a JPEG stream; None if there is none."""
    place = 2
    while place + 9 <= len(stream) and stream[place] == 0xFF:
        marker = stream[place + 1]
        if marker == _JPEG_LS or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return JpegFrame(marker, *struct.unpack(">BHH", stream[place + 4 : place + 9]))
        place += 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
    return None


def check_frame(path: Path, frame: bytes, height: int, width: int, sample_bytes: int) -> None:
    """Raise `UserError` if a frame has another size than the image, or pixels are missing.

    `sample_bytes` is the number of bytes per pixel, of all channels; each is a segment of an RLE frame.
    """
    if frame[:2] == b"\xff\xd8":
        if found := jpeg_frame(frame):
            _require_size(path, (found.height or height, found.width), (height, width))
            if found.marker != _JPEG_LS:
                check_jpeg(path, frame)
    elif (start := frame.find(_JPEG_2000, 0, 1 << 16)) >= 0:
        right, lower, left, upper = struct.unpack(">IIII", frame[start + 8 : start + 24])
        _require_size(path, (lower - upper, right - left), (height, width))
    elif len(frame) > _RLE_HEADER and struct.unpack("<I", frame[:4])[0] == sample_bytes:
        _check_rle(path, frame, height * width, sample_bytes)


def _require_size(path: Path, found: tuple[int, int], stated: tuple[int, int]) -> None:
    if found != stated:
        problem = f"has a frame of {found[1]}x{found[0]} pixels, and a header for {stated[1]}x{stated[0]}"
        raise UserError(path, problem, "Download the file again")


def _check_rle(path: Path, frame: bytes, pixels: int, segments: int) -> None:
    """Raise `UserError` unless each segment holds one byte per pixel; zeros may follow."""
    starts = [*struct.unpack(f"<{segments}I", frame[4 : 4 + 4 * segments]), len(frame)]
    for start, end in pairwise(starts):
        if not unpacks_to(pixels, frame[start:end]):
            raise damaged(path, "an RLE segment does not have one byte per pixel")
