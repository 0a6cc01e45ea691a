"""What the readers of all formats share: a picture before it is stretched, its checks and its errors."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from covid_keras.common.errors import UserError

MIN_SIDE = 16
MAX_SIDE = 12_000
# Colours are reduced by a whole number, until their longest side is not much more than this.
_COLOUR_SIDE = 256
# ITU-R 601 in 65,536ths, as Pillow has it: whole numbers, so that grey stored as colour stays exactly what it was.
_LUMA = (19_595, 38_470, 7_471)

# What the decoders raise on damaged files; anything else is a fault of ours and must show itself.
DECODE_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, struct.error, IndexError, KeyError, TypeError, AttributeError,
    NotImplementedError, ArithmeticError, zlib.error,
)  # fmt: skip

# EXIF orientation -> what makes the picture upright.
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
    """A decoded picture.

    Attributes
    ----------
    values : ndarray, shape (H, W)
        Display values, bright = dense: uint8 as they are, or of any other type, to be stretched.
    valid : ndarray of bool, shape (H, W), optional
        False where there is no picture, only padding or nothing but transparency; default all.
    colours : ndarray of uint8, shape (h, w, 3), optional
        RGB, reduced to less than 512 a side; None where the file holds one grey channel.
    warnings : tuple of str
        What was doubtful, and how it was decided.
    modality : str
        The DICOM modality; "" where the file does not say it.
    """

    values: np.ndarray
    valid: np.ndarray | None = None
    colours: np.ndarray | None = None
    warnings: tuple[str, ...] = ()
    modality: str = ""

    def mapped(self, change: Callable[[np.ndarray], np.ndarray]) -> Picture:
        """Return the picture with each of its arrays changed alike."""
        valid, colours = (None if plane is None else change(plane) for plane in (self.valid, self.colours))
        return self._replace(values=change(self.values), valid=valid, colours=colours)

    def turned(self, orientation: int) -> Picture:
        """Return the picture upright, whose EXIF orientation, 1 to 8, is given."""
        if orientation not in _UPRIGHT:
            return self
        return self.mapped(lambda plane: np.ascontiguousarray(_UPRIGHT[orientation](plane)))

    def stretched(self) -> np.ndarray:
        """Map minimum and maximum of the valid values linearly to 0 and 255, rounded; what is not valid becomes 0."""
        inside = self.values if self.valid is None or not self.valid.any() else self.values[self.valid]
        low, high = inside.min(), inside.max()
        if self.values.dtype == np.uint8:
            grey = cv2.LUT(self.values, _linear(np.arange(256), int(low), int(high)))
        else:
            grey = _linear(self.values, float(low), float(high))
        if self.valid is not None and self.valid.any():
            grey[~self.valid] = 0
        return grey


def _linear(values: np.ndarray, low: float, high: float) -> np.ndarray:
    if high == low:
        return np.zeros(values.shape, np.uint8)
    scaled = values.astype(np.float64)
    scaled -= low
    scaled *= 255.0  # before the division: the same picture then gives the same levels at any depth
    scaled /= high - low
    return np.rint(np.clip(scaled, 0, 255, out=scaled), out=scaled).astype(np.uint8)


def luma(colours: np.ndarray) -> np.ndarray:
    """Return the grey, float64 (H, W), of colours (H, W, 3), exact where the three are equal."""
    wide = np.dtype(np.uint32 if colours.dtype in (np.uint8, np.uint16) else np.float64)
    red, green, blue = (colours[..., k].astype(wide) * wide.type(weight) for k, weight in enumerate(_LUMA))
    return np.asarray((red + green + blue) / 65_536)


def small_colours(colours: Image.Image | np.ndarray) -> np.ndarray:
    """Return RGB, as `Picture.colours` has it; deeper colours than 8 bits are scaled by their largest value."""
    if not isinstance(colours, Image.Image):
        if colours.dtype != np.uint8:
            colours = np.clip(colours * (255 / max(float(colours.max()), 1e-9)), 0, 255).astype(np.uint8)
        colours = Image.fromarray(np.ascontiguousarray(colours))
    return np.asarray(colours.reduce(max(1, max(colours.size) // _COLOUR_SIDE)))


def check_size(path: Path, height: int, width: int) -> None:
    """Raise `UserError` if a side is shorter than `MIN_SIDE` or longer than `MAX_SIDE` pixels."""
    if min(height, width) < MIN_SIDE:
        problem = f"is {width}x{height} pixels, a radiograph has at least {MIN_SIDE} a side"
        raise UserError(path, problem, "Download the full image, or remove it")
    if max(height, width) > MAX_SIDE:
        raise UserError(path, f"is {width}x{height} pixels, more than {MAX_SIDE} a side", "Scale it down")


def check_finite(path: Path, values: np.ndarray) -> None:
    """Raise `UserError` if values are not finite numbers."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise UserError(path, "holds values that are not finite numbers", "Replace them, and save it as 16-bit PNG")


def damaged(path: Path, error: Exception | str) -> UserError:
    """Return the error of a file whose pixels cannot be decoded whole."""
    problem = f"the image is damaged or truncated ({str(error) or type(error).__name__})"
    return UserError(path, problem, "Download the file again")
