"""Convert stored DICOM values to display values, in the order of PS3.3 (C.7.6.3, C.11.1, C.11.2, C.8.11).

1. Mask the stored values to BitsStored, and exclude padding pixels.
2. Apply the modality LUT, or rescale slope and intercept.
3. Apply the first VOI LUT, or the first window (LINEAR, LINEAR_EXACT or SIGMOID).
4. Invert once if MONOCHROME1 or the presentation LUT shape INVERSE applies (low values are bright).
5. Resample to square pixels, and turn the image upright.

Empty or invalid optional tags are ignored with a warning; they never make a file unreadable.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import cv2
import numpy as np

from covid_keras.common.errors import UserError
from covid_keras.data.picture import DECODE_ERRORS, Picture, check_size

if TYPE_CHECKING:
    from pydicom import Dataset

_SPACINGS = ("PixelAspectRatio", "PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
_OPTIONAL = (
    "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "VOILUTSequence", "VOILUTFunction", "WindowCenter",
    "WindowWidth", "PixelPaddingValue", "PixelPaddingRangeLimit", "PresentationLUTShape", *_SPACINGS,
)  # fmt: skip
# Largest aspect ratio of pixels that are resampled.
_MOST_ASPECT = 4.0
# Bytes of an element that is looked at; the largest tables have 128 KiB.
_LONGEST = 1 << 18
_AXES = {"L": "RL", "R": "RL", "A": "AP", "P": "AP", "H": "HF", "F": "HF"}
_IGNORED = "which is ignored"


# --- tags


def drop_senseless(header: Dataset, notes: list[str]) -> None:
    """Delete unreadable tags, long ones and empty optional ones, with one warning for each kind but the long ones."""
    broken, empty = [], []
    for tag in list(header.keys()):
        if getattr(header.get_item(tag), "length", 0) > _LONGEST:  # not decoded yet, which may take much memory
            del header[tag]
            continue
        try:
            element = header[tag]  # decoded now
        except Exception:  # pydicom raises errors of many classes on malformed values
            broken.append(str(tag))
            del header[tag]
            continue
        if element.keyword in _OPTIONAL and _is_empty(element.value):
            empty.append(element.keyword)
            del header[tag]
    notes += [f"tags ignored, since their values cannot be read: {', '.join(broken)}"] if broken else []
    notes += [f"empty tags ignored: {', '.join(empty)}"] if empty else []


def _is_empty(value: Any) -> bool:
    return value is None or (not isinstance(value, (int, float)) and len(value) == 0)


def _numbers(header: Dataset, keyword: str, notes: list[str]) -> list[float]:
    """Return the numbers of a tag; an empty list if it is absent or has values that are not finite numbers."""
    if keyword not in header:
        return []
    try:
        value = header[keyword].value
        value = np.frombuffer(value, "<u2") if isinstance(value, bytes) else value
        numbers = [float(one) for one in ([value] if isinstance(value, (str, int, float)) else value)]
    except DECODE_ERRORS:
        numbers = [math.nan]
    if all(map(math.isfinite, numbers)):
        return numbers
    notes.append(f"its {keyword} is not a number, {_IGNORED}")
    return []


# --- stored values


def stored_bits(
    path: Path, stored: np.ndarray, header: Dataset, notes: list[str]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Clear the unused bits; return the stored values and a mask of the non-padding pixels (None: all).

    Raises `UserError` if the unused bits are set and not declared as an overlay.
    """
    if stored.dtype.kind not in "iu":
        return stored, None
    whole = 8 * stored.dtype.itemsize
    bits = min(int(header.get("BitsStored") or whole), whole)
    low = int(header.get("HighBit") or bits - 1) + 1 - bits
    low = low if 0 <= low <= whole - bits else 0
    padding = _padding(stored, whole, header, notes)
    # Shifting up and down drops the higher bits and extends the sign.
    cut = np.right_shift(np.left_shift(stored, whole - bits - low), whole - bits)
    unused = np.left_shift(cut, low) != stored
    if stored.dtype.kind == "i" and low == 0:  # the sign may or may not be extended
        unused &= (stored < 0) | (stored >= 1 << bits)
    if unused.any() and not _has_overlay(header):
        if (unused & ~padding).any():
            problem = f"its pixel values exceed the {bits} bits of BitsStored"
            raise UserError(path, problem, "Correct BitsStored and HighBit, or save it as 16-bit PNG")
        unused[:] = False
    elif unused.any():
        notes.append("the overlay in the unused bits is ignored")
    padding |= _padding(cut, bits, header, [])
    if padding.all():
        notes.append("all pixels have the padding value, which is ignored")
    return cut, None if padding.all() or not padding.any() else ~padding


def _padding(stored: np.ndarray, bits: int, header: Dataset, notes: list[str]) -> np.ndarray:
    """Return a mask of the padding pixels; the padding value may be written signed or unsigned."""
    given = _numbers(header, "PixelPaddingValue", notes)[:1]
    given += _numbers(header, "PixelPaddingRangeLimit", notes)[:1] if given else []
    values = [int(value) for value in given]
    if not values or not all(-(1 << bits - 1) <= value < 1 << bits for value in values):
        return np.zeros(stored.shape, bool)
    if stored.dtype.kind == "i":
        values = [value - (1 << bits) if value >= 1 << bits - 1 else value for value in values]
    # Modulo 2**16, -2000 and 63536 are equal.
    above = (stored.astype(np.int64) - min(values)) & ((1 << bits) - 1)
    return above <= max(values) - min(values)


def _has_overlay(header: Dataset) -> bool:
    """Whether the file declares an overlay in the unused pixel bits (retired, but still in use)."""
    groups = range(0x6000, 0x6020, 2)
    return any((group, 0x0102) in header and (group, 0x3000) not in header for group in groups)


# --- display values


def display_values(stored: np.ndarray, valid: np.ndarray | None, header: Dataset, notes: list[str]) -> np.ndarray:
    """Convert stored grey values to display values, float64, bright = dense."""
    if str(header.get("PresentationIntentType") or "").strip().upper() == "FOR PROCESSING":
        notes.append("it is raw detector data (FOR PROCESSING), not meant for display")
    values = _rescaled(stored, header, notes)
    shown = _shown(values, header, notes)
    kept = shown if valid is None else shown[valid]
    if kept.min() == kept.max() and shown is not values:
        notes.append("its window or VOI LUT gives a constant image, so it is not applied")
        shown = values
    return -shown if _is_inverted(header, notes) else shown


def _rescaled(stored: np.ndarray, header: Dataset, notes: list[str]) -> np.ndarray:
    if table := _look_up(header, "ModalityLUTSequence", notes):
        return table.apply(stored)
    slope, intercept = (_numbers(header, f"Rescale{name}", notes)[:1] for name in ("Slope", "Intercept"))
    if slope == [0.0]:
        notes.append(f"its RescaleSlope is 0, {_IGNORED}")
        slope = []
    values = stored.astype(np.float64)
    if slope or intercept:
        values *= (slope or [1.0])[0]
        values += (intercept or [0.0])[0]
    return values


def _shown(values: np.ndarray, header: Dataset, notes: list[str]) -> np.ndarray:
    """Apply the VOI LUT or the window; return `values` itself if there is no valid one."""
    if table := _look_up(header, "VOILUTSequence", notes):
        return table.apply(values)
    centre, width = (_numbers(header, f"Window{name}", notes)[:1] for name in ("Center", "Width"))
    if not (centre and width):
        if centre or width:
            notes.append(f"its window has no {'width' if centre else 'centre'}, {_IGNORED}")
        return values
    function = str(header.get("VOILUTFunction") or "LINEAR").strip().upper()
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        notes.append(f"its VOILUTFunction {function} is not known, taken as LINEAR")
    if width[0] <= 0 or (width[0] < 1 and function not in ("LINEAR_EXACT", "SIGMOID")):
        notes.append(f"its WindowWidth is {width[0]:g}, {_IGNORED}")
        return values
    return _windowed(values, centre[0], width[0], function)


def _windowed(values: np.ndarray, centre: float, width: float, function: str) -> np.ndarray:
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
    if function != "LINEAR_EXACT":
        centre, width = centre - 0.5, width - 1
    if width == 0:
        return (values > centre).astype(np.float64)
    return np.clip(values, centre - width / 2, centre + width / 2)


def _is_inverted(header: Dataset, notes: list[str]) -> bool:
    low_is_white = str(header.get("PhotometricInterpretation") or "").strip().upper() == "MONOCHROME1"
    shape = str(header.get("PresentationLUTShape") or "").strip().upper()
    inverted = low_is_white or shape == "INVERSE"
    if shape and low_is_white != (shape == "INVERSE"):
        done = "inverted" if inverted else "not inverted"
        notes.append(f"PresentationLUTShape {shape} contradicts its PhotometricInterpretation; it is {done}")
    sign = _numbers(header, "PixelIntensityRelationshipSign", [])
    has_table = "VOILUTSequence" in header or "ModalityLUTSequence" in header
    if sign and sign[0] == (-1 if inverted else 1) and not has_table:
        notes.append(f"it may be a negative (PixelIntensityRelationshipSign {sign[0]:+.0f})")
    return inverted


# --- tables


class LookUp(NamedTuple):
    """A lookup table, float64, and the input value of its first entry."""

    first: int
    table: np.ndarray

    @classmethod
    def of(cls, descriptor: Any, data: Any, little: bool) -> LookUp:
        """Decode the elements of a LUT, also with packed 8-bit entries; raise `ValueError` if it is empty."""
        count, first, _ = (int(value) for value in descriptor.value)
        count = (count & 0xFFFF) or 1 << 16
        entries = data.value
        if not isinstance(entries, bytes):
            words = np.atleast_1d(np.asarray(entries, np.int64)) & 0xFFFF
            entries = words.astype("<u2").tobytes() if 2 * len(words) < 2 * count else None
            table = words if entries is None else np.frombuffer(entries, np.uint8)
        else:
            wide = len(entries) >= 2 * count
            table = np.frombuffer(entries, np.uint8 if not wide else "<u2" if little else ">u2")
        if len(table) < min(count, 2):
            raise ValueError("the table is empty")
        return cls(first, table[:count].astype(np.float64))

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Look up values; values outside the table take its first or last entry."""
        low, high, last = float(values.min()), float(values.max()), len(self.table) - 1
        # The first value may be signed or unsigned: use the reading that covers more values.
        firsts = (self.first, self.first - 65_536, self.first + 65_536)
        first = max(firsts, key=lambda one: min(high, one + last) - max(low, one))
        return self.table[np.clip(np.rint(values).astype(np.int64) - first, 0, last)]


def _look_up(header: Dataset, keyword: str, notes: list[str]) -> LookUp | None:
    """Return the first table of a sequence; None if there is no usable one."""
    if keyword not in header:
        return None
    try:
        item = header[keyword].value[0]
        return LookUp.of(item["LUTDescriptor"], item["LUTData"], header.original_encoding[1] is not False)
    except DECODE_ERRORS as error:
        notes.append(f"its {keyword} is invalid ({error}), {_IGNORED}")
        return None


# --- geometry


class Geometry(NamedTuple):
    """Size with square pixels, and the transforms that turn an image upright: transpose, then flips."""

    height: int
    width: int
    aspect: float = 1.0
    transposed: bool = False
    mirrored: bool = False
    upside_down: bool = False

    @classmethod
    def of(cls, header: Dataset, notes: list[str]) -> Self:
        """Read it from a header that has `Rows` and `Columns`."""
        height, width, aspect = int(header.Rows), int(header.Columns), _aspect(header, notes)
        if aspect > 1:
            height = round(height * aspect)
        elif aspect < 1:
            width = round(width / aspect)
        return cls(height, width, aspect, *_turns(header, notes))

    def size(self, path: Path) -> tuple[int, int]:
        """Return (height, width) of the upright image; raise `UserError` if it is out of bounds."""
        if max(self.aspect, 1 / self.aspect) > _MOST_ASPECT:
            problem = f"its pixels are {max(self.aspect, 1 / self.aspect):.3g} times as long as wide"
            raise UserError(path, problem, "Correct its pixel spacing, or save it as PNG")
        check_size(path, self.height, self.width)
        return (self.width, self.height) if self.transposed else (self.height, self.width)

    def apply(self, picture: Picture) -> Picture:
        """Return the picture upright and with square pixels."""
        values, valid = picture.values, picture.valid
        if self.aspect != 1:
            if valid is not None:
                values = np.where(valid, values, values[valid].min())
                valid = self._resized(valid.astype(np.uint8), cv2.INTER_NEAREST) > 0
            values = self._resized(values, cv2.INTER_LINEAR)
        return picture._replace(values=values, valid=valid).mapped(self._turned)

    def _resized(self, plane: np.ndarray, how: int) -> np.ndarray:
        return cv2.resize(plane, (self.width, self.height), interpolation=how)

    def _turned(self, plane: np.ndarray) -> np.ndarray:
        plane = plane.swapaxes(0, 1) if self.transposed else plane
        plane = plane[:, ::-1] if self.mirrored else plane
        return np.ascontiguousarray(plane[::-1] if self.upside_down else plane)


def _aspect(header: Dataset, notes: list[str]) -> float:
    """Return the height of a pixel divided by its width; 1 if unknown."""
    for keyword in _SPACINGS:
        numbers = _numbers(header, keyword, notes)
        if not numbers:
            continue
        if len(numbers) != 2 or min(numbers) <= 0:
            notes.append(f"its {keyword} is invalid, {_IGNORED}")
        elif 0.99 <= (ratio := numbers[0] / numbers[1]) <= 1.01:
            return 1.0
        else:
            notes.append(f"its pixels are not square ({keyword}): resampled")
            return ratio
    return 1.0


def _turns(header: Dataset, notes: list[str]) -> tuple[bool, bool, bool]:
    """Return whether to transpose, mirror and flip the image."""
    directions = _directions(header, notes)
    axes = [_AXES[letter] for letter in directions]
    if not directions or axes[0] == axes[1]:
        return False, False, False
    transposed = axes[0] == "HF"
    across, down = directions[::-1] if transposed else directions
    turns = (transposed, across == "R", down == "H")
    if any(turns):
        notes.append(f"its rows point to {directions[0]} and its columns to {directions[1]}: turned upright")
    return turns


def _directions(header: Dataset, notes: list[str]) -> list[str]:
    """Return the patient directions of rows and columns, one letter each; an empty list if unknown."""
    given = header.get("PatientOrientation")
    if given:
        letters = [str(one).strip().upper()[:1] for one in given] if not isinstance(given, str) else [given]
        if len(letters) == 2 and all(letter in _AXES for letter in letters):
            return letters
        notes.append(f"its PatientOrientation is invalid, {_IGNORED}")
    cosines = np.reshape(_numbers(header, "ImageOrientationPatient", notes), -1)
    if len(cosines) != 6 or not cosines[:3].any() or not cosines[3:].any():
        return []
    largest = [(int(np.abs(one).argmax()), one) for one in (cosines[:3], cosines[3:])]
    return [("LPH" if one[axis] > 0 else "RAF")[axis] for axis, one in largest]
