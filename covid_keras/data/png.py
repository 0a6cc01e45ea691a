"""Read PNG files tolerantly: check the chunks that matter for the pixels, and drop the others before decoding.

Pillow does not check that the pixel data is complete and has the right checksums, but rejects intact files with a large
colour profile or a bad checksum in a comment.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from covid_keras.common.errors import UserError
from covid_keras.data.picture import check_file, damaged

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PALETTE = 3  # a colour type
_CRITICAL = (b"PLTE", b"tRNS", b"IDAT", b"IEND")
_USEFUL = (b"acTL", b"eXIf", b"gAMA", b"pHYs", b"sRGB")
_LONGEST_USEFUL = 1 << 20
# Bytes that are inflated at once, to at most a thousand times as many.
_PART = 1 << 14
# First column and row, and their steps, of the seven passes of an interlaced file and the single pass of a plain one.
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_PLAIN = ((0, 0, 1, 1),)


class Header(NamedTuple):
    """Header of a PNG file: size, bits per channel, colour type, interlacing."""

    width: int
    height: int
    depth: int
    colour: int
    interlaced: bool

    @property
    def channels(self) -> int:
        """Return the number of channels, alpha included."""
        return _CHANNELS[self.colour]

    def decoded_bytes(self) -> int:
        """Return the number of bytes of the inflated pixels, including one filter byte per row."""
        total = 0
        for left, top, across, down in _ADAM7 if self.interlaced else _PLAIN:
            columns, rows = -(-(self.width - left) // across), -(-(self.height - top) // down)
            if columns > 0 and rows > 0:
                total += rows * (1 + -(-columns * self.channels * self.depth // 8))
        return total


class Png(NamedTuple):
    """A PNG file: its header, and the bodies of the relevant chunks by name."""

    header: Header
    chunks: dict[bytes, bytearray]

    def encode(self, path: Path, without: bytes = b"") -> io.BytesIO:
        """Return a PNG file with only the relevant chunks, whose pixels are not compressed.

        It can be called once. Raises `UserError` if pixels are missing or left over.
        """
        stream = io.BytesIO()
        stream.write(_SIGNATURE)
        _write_chunk(stream, b"IHDR", [struct.pack(">IIBBBBB", *self.header[:4], 0, 0, self.header.interlaced)])
        for name in _CRITICAL:
            if name in self.chunks and name != without:
                body = self.chunks.pop(name) if name == b"IDAT" else self.chunks[name]  # frees the memory
                _write_chunk(stream, name, _stored(path, self.header, body) if name == b"IDAT" else [body])
        stream.seek(0)
        return stream


def read_png(path: Path, pixels: bool = True) -> Png:
    """Read a PNG file; without `pixels`, only the header and other small chunks.

    Raises `UserError` if the size is out of bounds, the file is animated, or a relevant chunk is missing, damaged or
    incomplete. Other damaged chunks are dropped.
    """
    chunks: dict[bytes, bytearray] = {}
    with open(path, "rb") as stream:
        header = _read_header(path, stream)
        while b"IEND" not in chunks:
            _read_chunk(path, stream, chunks, pixels)
    if pixels and b"IDAT" not in chunks:
        raise damaged(path, "it has no pixels")
    if header.colour == _PALETTE and not chunks.get(b"PLTE"):
        raise damaged(path, "it has no palette")
    return Png(header, chunks)


def _read_header(path: Path, stream: BinaryIO) -> Header:
    start = stream.read(33)[8:]
    if len(start) < 25 or start[:8] != b"\0\0\0\rIHDR" or start[8:] != start[8:21] + _checksum(start[4:8], start[8:21]):
        raise damaged(path, "its header")
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", start[8:21])
    if depth not in _DEPTHS.get(colour, ()):
        raise damaged(path, "its header")
    header = Header(width, height, depth, colour, bool(interlaced))
    check_file(path, height, width, -(-header.channels * depth // 8))
    return header


def _read_chunk(path: Path, stream: BinaryIO, chunks: dict[bytes, bytearray], pixels: bool) -> None:
    start = stream.read(8)
    if len(start) < 8:
        raise damaged(path, "it ends before its last chunk")
    length, name = struct.unpack(">I4s", start)
    if name == b"fdAT":
        raise _animated(path)
    if (
        name not in _CRITICAL + _USEFUL
        or (name == b"IDAT" and not pixels)
        or (name in _USEFUL and (length > _LONGEST_USEFUL or name in chunks))
    ):
        stream.seek(length + 4, os.SEEK_CUR)
        return
    body = stream.read(length)
    if name == b"acTL" and body[:4] != b"\0\0\0\1":  # the number of frames
        raise _animated(path)
    if stream.read(4) == _checksum(name, body):
        chunks.setdefault(name, bytearray()).extend(body)
    elif name in _CRITICAL:
        raise damaged(path, f"chunk {name.decode()} is truncated or has a wrong checksum")


def _animated(path: Path) -> UserError:
    return UserError(path, "is animated", "Save one radiograph per file")


def _stored(path: Path, header: Header, deflated: bytearray) -> Iterator[bytes]:
    """Inflate the pixels and yield them as a deflate stream without compression, in parts."""
    expected, found = header.decoded_bytes(), 0
    decoder, encoder = zlib.decompressobj(), zlib.compressobj(0)
    try:
        for start in range(0, len(deflated), _PART):
            part = decoder.decompress(memoryview(deflated)[start : start + _PART])
            if (found := found + len(part)) > expected:
                break
            yield encoder.compress(part)
    except zlib.error as error:
        raise damaged(path, error) from error
    if found < expected:
        raise damaged(path, f"it has only {100 * found // expected} % of its pixels")
    if found > expected or not decoder.eof:
        raise damaged(path, f"it has more pixels than an image of {header.width}x{header.height}, or no checksum")
    yield encoder.flush()


def _checksum(name: bytes, body: bytes | bytearray) -> bytes:
    return zlib.crc32(body, zlib.crc32(name)).to_bytes(4, "big")


def _write_chunk(stream: io.BytesIO, name: bytes, parts: Iterable[bytes | bytearray]) -> None:
    start, checksum, length = stream.tell(), zlib.crc32(name), 0
    stream.write(bytes(4) + name)
    for part in parts:
        checksum, length = zlib.crc32(part, checksum), length + stream.write(part)
    stream.write(checksum.to_bytes(4, "big"))
    stream.seek(start)
    stream.write(length.to_bytes(4, "big"))
    stream.seek(0, os.SEEK_END)
