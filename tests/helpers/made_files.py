"""Image files of depths and layouts that Pillow does not write."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

_COLOUR = {1: 0, 2: 4, 3: 2, 4: 6}


def png_chunk(name: bytes, body: bytes, checksum: int | None = None) -> bytes:
    """Return a chunk, of a wrong checksum where one is given."""
    checksum = zlib.crc32(name + body) if checksum is None else checksum
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", checksum)


def write_png(path: Path, planes: np.ndarray, extra: bytes = b"", rows: int | None = None) -> Path:
    """Write uint8 or uint16 (H, W) or (H, W, 2 to 4), with `extra` chunks, and only the first `rows`."""
    height, width = planes.shape[:2]
    channels = 1 if planes.ndim == 2 else planes.shape[2]
    head = struct.pack(">IIBBBBB", width, height, 8 * planes.dtype.itemsize, _COLOUR[channels], 0, 0, 0)
    lines = planes.astype(planes.dtype.newbyteorder(">"))[:rows]
    data = zlib.compress(b"".join(b"\0" + line.tobytes() for line in lines))
    chunks = png_chunk(b"IHDR", head) + extra + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    return path


def lossless_jpeg(levels: np.ndarray) -> bytes:
    """Return a lossless JPEG stream (process 14, prediction from the left) of uint8 levels (H, W)."""
    height, width = levels.shape
    predicted = np.empty((height, width), int)
    predicted[:, 1:], predicted[1:, 0], predicted[0, 0] = levels[:, :-1], levels[:-1, 0], 128
    bits = []
    for difference in (levels - predicted).ravel().tolist():
        size = abs(difference).bit_length()
        bits.append(f"{size:04b}")  # the code of a size is the size itself, in four bits
        if size:
            bits.append(f"{difference if difference > 0 else difference + (1 << size) - 1:0{size}b}")
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    scan = int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\0")
    table = b"\0" + bytes([0, 0, 0, 10]) + bytes(12) + bytes(range(10))
    segments = (
        (0xC3, struct.pack(">BHHBBBB", 8, height, width, 1, 1, 0x11, 0)),
        (0xC4, table),
        (0xDA, bytes([1, 1, 0, 1, 0, 0])),
    )
    heads = b"".join(struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in segments)
    return b"\xff\xd8" + heads + scan + b"\xff\xd9"
