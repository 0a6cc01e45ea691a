"""Check the strips or tiles of a TIFF page before it is decoded.

The decoders fill what is missing with black, ignore checksums, and allocate whatever size a tile or a compressed strip
claims to have.
"""

from __future__ import annotations

import lzma
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from covid_keras.common.errors import UserError
from covid_keras.data.jpeg import check_jpeg
from covid_keras.data.picture import check_file, damaged, unpacks_to

if TYPE_CHECKING:
    from tifffile import TiffPage

_NONE, _JPEG, _PACKBITS, _LZMA, _DEFLATE = 1, 7, 32_773, 34_925, frozenset({8, 32_946, 50_013})
_YCBCR, _SEPARATE = 6, 2
# Four channels of 32 bits.
_MOST_BYTES_PER_PIXEL = 16
# Tiles may be larger than a small image.
_LARGEST_TILE = 1 << 24
_OTHER_SIZE = "a strip or tile does not have the size that it should have"


def check_segments(path: Path, page: TiffPage) -> None:
    """Raise `UserError` if strips or tiles are missing, incomplete or larger than the image."""
    depth = -(-page.samplesperpixel * _bits(page) // 8) * page.imagedepth
    if depth > _MOST_BYTES_PER_PIXEL:
        problem = f"has {page.samplesperpixel * page.imagedepth} channels of {_bits(page)} bits"
        raise UserError(path, problem, "Save one radiograph per file, as grey PNG")
    check_file(path, page.imagelength, page.imagewidth, depth)
    sizes = _sizes(page)
    if max(sizes) > max(_LARGEST_TILE, 2 * depth * page.imagelength * page.imagewidth):
        raise UserError(path, f"has tiles of {max(sizes):,} bytes, larger than the image", "Save it as grey PNG")
    if len(page.dataoffsets) < len(sizes) or len(page.databytecounts) < len(sizes):
        raise damaged(path, f"it has only {len(page.dataoffsets)} of {len(sizes)} strips or tiles")
    for offset, count, size in zip(page.dataoffsets, page.databytecounts, sizes, strict=False):
        page.parent.filehandle.seek(offset)
        content = page.parent.filehandle.read(count)
        if not count or len(content) < count:
            raise damaged(path, "a strip or tile is missing or truncated")
        _check_segment(path, page, content, size)


def _sizes(page: TiffPage) -> list[int]:
    """Return the number of bytes of each strip or tile when decoded."""
    planes = page.samplesperpixel if page.planarconfig == _SEPARATE else 1
    height, row = page.imagelength, _row_bytes(page)
    if page.is_tiled:
        count = -(-height // page.tilelength) * -(-page.imagewidth // page.tilewidth)
        return [page.tilelength * page.tiledepth * row] * (planes * count)
    rows = min(page.rowsperstrip or height, height)
    return planes * [min(rows, height - top) * row for top in range(0, height, rows)]


def _row_bytes(page: TiffPage) -> int:
    """Return the number of bytes of a row of a strip or tile."""
    samples = 1 if page.planarconfig == _SEPARATE else page.samplesperpixel
    return -(-(page.tilewidth if page.is_tiled else page.imagewidth) * samples * _bits(page) // 8)


def _bits(page: TiffPage) -> int:
    return max(page.bitspersample) if isinstance(page.bitspersample, tuple) else page.bitspersample


def _check_segment(path: Path, page: TiffPage, content: bytes, size: int) -> None:
    # The last strip may be filled up to the height of the others.
    kind, most = page.compression, _sizes(page)[0]
    if kind == _NONE:
        if len(content) < size and page.photometric != _YCBCR:  # chrominance may be subsampled
            raise damaged(path, "a strip or tile is truncated")
        if len(content) >= most + _row_bytes(page):  # another size or depth would shift the pixels
            raise damaged(path, _OTHER_SIZE)
    elif kind == _JPEG:
        tables = page.jpegtables
        check_jpeg(path, tables[:-2] + content[2:] if tables else content)
    elif kind == _PACKBITS:
        if not (unpacks_to(size, content) or unpacks_to(most, content)):
            raise damaged(path, _OTHER_SIZE)
    elif kind in _DEFLATE or kind == _LZMA:
        decoder = lzma.LZMADecompressor() if kind == _LZMA else zlib.decompressobj()
        found = len(decoder.decompress(content, most + 1))
        if not decoder.eof or not size <= found <= most:
            raise damaged(path, _OTHER_SIZE)
