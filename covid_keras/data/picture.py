"""Decoded images, checks and errors shared by the readers of all formats."""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from covid_keras.common.errors import UserError
from covid_keras.data.sniff import MAX_BYTES, MAX_SIDE, MIN_SIDE

# Colours are downscaled by an integer factor to about this size.
_COLOUR_SIDE = 256
# Bytes that a file may have beside its pixels.
_BESIDE = 1 << 26
# Larger values overflow when they are stretched.
_MOST = 1e300
# Values that are processed at once; rows that are downscaled at once.
_BAND, _ROWS = 1 << 18, 64
# ITU-R 601 in 65,536ths, as in Pillow: integers keep grey stored as colour exact.
_LUMA = (19_595, 38_470, 7_471)

# Errors of the decoders on damaged files; other errors are bugs.
DECODE_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, struct.error, IndexError, KeyError, TypeError, AttributeError,
    NotImplementedError, ArithmeticError, AssertionError, zlib.error, lzma.LZMAError,
)  # fmt: skip

# EXIF orientation -> transform that turns the image upright.
_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: np.fliplr,
    3: lambda image: np.rot90(image, 2),
    4: np.flipud,
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image, 2).swapaxes(0, 1),
    8: lambda image: np.rot90(image, 1),
}


class Picture(NamedTuple):
    """A decoded image before stretching.

    Attributes
    ----------
    values : ndarray, shape (H, W)
        Display values, bright = dense, of any type.
    valid : ndarray of bool, shape (H, W), optional
        False for padding and fully transparent pixels. Default: all valid.
    colours : ndarray of uint8, shape (h, w, 3), optional
        RGB, downscaled to less than 512 pixels per side; None for grey files.
    warnings : tuple of str
        Ambiguities in the file and how they were resolved.
    modality : str
        The DICOM modality; "" if unknown.
    """

    values: np.ndarray
    valid: np.ndarray | None = None
    colours: np.ndarray | None = None
    warnings: tuple[str, ...] = ()
    modality: str = ""

    def mapped(self, change: Callable[[np.ndarray], np.ndarray]) -> Picture:
        """Apply `change` to each array."""
        valid, colours = (None if plane is None else change(plane) for plane in (self.valid, self.colours))
        return self._replace(values=change(self.values), valid=valid, colours=colours)

    def turned(self, orientation: int) -> Picture:
        """Turn the picture upright, given its EXIF orientation (1 to 8)."""
        if orientation not in _UPRIGHT:
            return self
        return self.mapped(lambda plane: np.ascontiguousarray(_UPRIGHT[orientation](plane)))

    def stretched(self) -> np.ndarray:
        """Stretch valid values linearly from minimum and maximum to 0..255, rounded; other pixels become 0."""
        inside = None if self.valid is None or not self.valid.any() else self.valid
        low, high = self.values.min(), self.values.max()
        if inside is not None:
            low, high = self.values.min(where=inside, initial=high), self.values.max(where=inside, initial=low)
        if self.values.dtype == np.uint8:
            grey = cv2.LUT(self.values, _linear(np.arange(256), int(low), int(high)))
        else:
            grey = _linear(self.values, float(low), float(high))
        if inside is not None:
            grey[~inside] = 0
        return grey


def bands(image: np.ndarray) -> Iterator[slice]:
    """Yield the image's rows in groups, so that wide intermediate values do not take a multiple of its memory."""
    step = max(1, _BAND * len(image) // max(image.size, 1))
    yield from (slice(top, top + step) for top in range(0, len(image), step))


def _linear(values: np.ndarray, low: float, high: float) -> np.ndarray:
    grey = np.zeros(values.shape, np.uint8)
    for rows in bands(values) if high != low else ():
        scaled = values[rows].astype(np.float64)
        scaled -= low
        scaled *= 255.0  # before the division, so that levels do not depend on the bit depth
        scaled /= high - low
        grey[rows] = np.rint(np.clip(scaled, 0, 255, out=scaled), out=scaled)
    return grey


def luma(colours: np.ndarray) -> np.ndarray:
    """Convert colours (H, W, 3) to grey, float64 (H, W); exact if the channels are equal."""
    wide = np.dtype(np.uint32 if colours.dtype in (np.uint8, np.uint16) else np.float64)
    grey = np.empty(colours.shape[:2])
    for rows in bands(colours):
        red, green, blue = (colours[rows, :, k].astype(wide) * wide.type(weight) for k, weight in enumerate(_LUMA))
        np.divide(red + green + blue, 65_536, out=grey[rows])
    return grey


def small_colours(colours: np.ndarray) -> np.ndarray:
    """Return `Picture.colours` of (H, W, 3); colours of more than 8 bits are scaled by their maximum."""
    height, width = colours.shape[:2]
    scale = 1 if colours.dtype == np.uint8 else 255 / max(float(colours.max()), 1e-9)
    parts = (np.clip(colours[top:end] * scale, 0, 255).astype(np.uint8) for top, end in blocks(height, width))
    return reduced((Image.fromarray(part) for part in parts), height, width)


def blocks(height: int, width: int) -> Iterator[tuple[int, int]]:
    """Yield the first row and the end of groups of rows, which `reduced` downscales like the whole image."""
    factor = _shrinking(height, width)
    step = -(-_ROWS // factor) * factor
    yield from ((top, min(top + step, height)) for top in range(0, height, step))


def reduced(parts: Iterable[Image.Image], height: int, width: int) -> np.ndarray:
    """Return `Picture.colours` of an RGB image, given in `blocks`."""
    return np.concatenate([np.asarray(part.reduce(_shrinking(height, width))) for part in parts])


def _shrinking(height: int, width: int) -> int:
    return max(1, max(height, width) // _COLOUR_SIDE)


def check_size(path: Path, height: int, width: int, depth: int = 1) -> None:
    """Check the size that a file states, before its pixels are read.

    Raises `UserError` if a side is shorter than `MIN_SIDE` or longer than `MAX_SIDE` pixels, or the pixels of `depth`
    bytes each are larger than `MAX_BYTES`.
    """
    if min(height, width) < MIN_SIDE:
        problem = f"must have at least {MIN_SIDE} pixels per side (got {width}x{height})"
        raise UserError(path, problem, "Download the full image, or remove it")
    if max(height, width) > MAX_SIDE:
        raise UserError(path, f"must have at most {MAX_SIDE} pixels per side (got {width}x{height})", "Scale it down")
    if height * width * depth > MAX_BYTES:
        problem = f"must have at most {MAX_BYTES // depth:,} pixels of {depth} bytes (got {width}x{height})"
        raise UserError(path, problem, "Scale it down, or save it as grey PNG")


def check_file(path: Path, height: int, width: int, depth: int) -> None:
    """Raise `UserError` as `check_size`, or if the file is far larger than its pixels."""
    check_size(path, height, width, depth)
    if (size := path.stat().st_size) > _BESIDE + 4 * height * width * depth:
        raise UserError(path, f"has {size:,} bytes, too many for {width}x{height} pixels", "Check the file")


def check_finite(path: Path, values: np.ndarray) -> None:
    """Raise `UserError` if values are not finite numbers, or so large that they cannot be stretched."""
    if values.dtype.kind == "f" and not -_MOST < float(values.min()) <= float(values.max()) < _MOST:  # NaN fails both
        raise UserError(path, f"has NaN, infinite or larger values than {_MOST:g}", "Save it as 16-bit PNG")


def unpacks_to(size: int, packed: bytes) -> bool:
    """Whether run-length encoded bytes (PackBits, as in TIFF and DICOM) unpack to `size` bytes; zeros may follow."""
    total = place = 0
    while total < size and place < len(packed):
        run = packed[place]
        total += run + 1 if run < 128 else 257 - run if run > 128 else 0
        place += run + 2 if run < 128 else 2 if run > 128 else 1
    return total == size and place <= len(packed) and not packed[place:].strip(b"\0")


def damaged(path: Path, error: Exception | str) -> UserError:
    """Return the error for a file that cannot be decoded completely."""
    problem = f"the image is damaged or truncated ({str(error) or type(error).__name__})"
    return UserError(path, problem, "Download the file again")
