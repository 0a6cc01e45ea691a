"""Read radiographs (PNG, JPEG, TIFF, BMP, DICOM) as grey 8-bit arrays, and write PNG.

The file type is detected from the content (`sniff`), and the size is checked from the header. The file is then decoded
at its own bit depth; a truncated file is an error. EXIF orientation is applied, transparency is composited over black,
colour is converted to grey by the ITU-R 601 luma (0.299 R + 0.587 G + 0.114 B), and DICOM values are converted to
display values (`dicom`).

`read_radiograph`, for networks, stretches values linearly from the image's minimum and maximum to 0..255. `read_image`,
for cohorts, keeps the 8-bit values of PNG, JPEG, TIFF and BMP files, and stretches all others.

Raw files of the JSRT database (`.IMG`: 2048 x 2048 big-endian 16-bit values, 12 bits used) are inverted, because high
values are dark, and stretched.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from covid_keras.common.errors import UserError
from covid_keras.common.files import atomic_path
from covid_keras.data import dicom, raster
from covid_keras.data.picture import MAX_SIDE, MIN_SIDE, Picture
from covid_keras.data.sniff import DICOM, GIF, JSRT_RAW, RADIOGRAPHS, not_a_radiograph, sniff

__all__ = [
    "MAX_SIDE",
    "MIN_SIDE",
    "ImageWarning",
    "Radiograph",
    "encode_png",
    "image_size",
    "read_image",
    "read_mask",
    "read_radiograph",
    "write_image",
]

# Files of the JSRT database have no header; these are the documented size and depth.
_RAW_SIDE, _RAW_BYTES = 2048, 2
# Masks without larger values are label masks, or hold 0 and 1.
_MAX_LABEL = 9


class ImageWarning(UserWarning):
    """Something in an image file is ambiguous; the message says how it was resolved."""


class Radiograph(NamedTuple):
    """A radiograph normalised for a network, independent of the file format.

    Attributes
    ----------
    pixels : ndarray of uint8, shape (H, W)
        Bright = dense, stretched linearly from the image's minimum and maximum to 0..255. A constant image is 0.
    warnings : tuple of str
        Ambiguities in the file and how they were resolved, as short sentences to follow "FILE: ".
    modality : str
        The DICOM modality, such as "DX" or "CT"; "" if unknown.
    colours : ndarray of uint8, shape (h, w, 3), optional
        RGB, downscaled to less than 512 pixels per side; None for grey files.
    stored : ndarray of uint8, shape (H, W), optional
        The grey levels of `read_image`: as stored for 8-bit files, else equal to `pixels`.
    """

    pixels: np.ndarray
    warnings: tuple[str, ...] = ()
    modality: str = ""
    colours: np.ndarray | None = None
    stored: np.ndarray | None = None


def radiograph_of(picture: Picture) -> Radiograph:
    """Convert a decoded picture to a radiograph."""
    pixels = picture.stretched()
    stored = picture.values if picture.values.dtype == np.uint8 else pixels
    return Radiograph(pixels, picture.warnings, picture.modality, picture.colours, stored)


def read_radiograph(path: str | Path) -> Radiograph:
    """Read a radiograph as grey, normalised independently of file format and bit depth.

    Accepts the same files and raises the same errors as `read_image`.
    """
    return radiograph_of(_read(Path(path)))


def read_image(path: str | Path) -> np.ndarray:
    """Read a radiograph as a grey 8-bit image.

    Parameters
    ----------
    path : str or Path
        A PNG, JPEG, TIFF or BMP file, a DICOM file with one frame, or a raw file of the JSRT database (detected by its
        suffix `.IMG`; all others by content).

    Returns
    -------
    numpy.ndarray
        Shape (H, W), uint8, 0..255, C-contiguous, bright = dense. A constant image of more than 8 bits becomes 0.

    Raises
    ------
    UserError
        If the file is missing, a folder, empty, damaged or of another type; a side is shorter than `MIN_SIDE` or longer
        than `MAX_SIDE` pixels; a DICOM or TIFF file has several frames; pydicom or a decoder is not installed; a raw
        file has the wrong length.
    """
    picture = _read(Path(path))
    for note in picture.warnings:
        warnings.warn(f"{path}: {note}", ImageWarning, stacklevel=2)
    return picture.values if picture.values.dtype == np.uint8 else picture.stretched()


def read_mask(path: str | Path, shape: tuple[int, ...] | None = None, labels: bool = False) -> np.ndarray:
    """Read a mask with its stored values.

    Parameters
    ----------
    path : str or Path
        A PNG, JPEG, TIFF, BMP or GIF file. 1-bit files give 0 and 255; colour and palette files are converted to grey.
    shape : tuple of int, optional
        The required (H, W), that of the image.
    labels : bool
        Accept masks of small numbers, such as 0 and 1. By default they are rejected, because with 255 as lung they
        would be empty.

    Returns
    -------
    numpy.ndarray
        Shape (H, W), uint8, C-contiguous.

    Raises
    ------
    UserError
        As `read_image`; also if the shape differs, a value lies outside 0..255 or, without `labels`, all values are
        small.
    """
    path = Path(path)
    kind = sniff(path)
    if kind not in RADIOGRAPHS - {DICOM, JSRT_RAW} | {GIF}:
        raise not_a_radiograph(path, kind)
    with _readable(path):
        mask = raster.read_raster(path, kind).values
    if mask.dtype != np.uint8:
        if mask.min() < 0 or mask.max() > 255:
            raise UserError(path, "mask values must lie in 0 to 255", "Save it as an 8-bit PNG, 255 = lung")
        mask = mask.astype(np.uint8)
    if not labels and 0 < mask.max() <= _MAX_LABEL:
        remedy = "Multiply its values by 255 (255 = lung, 0 = rest)"
        raise UserError(path, f"the mask has only values from 0 to {mask.max()}, so no pixel would be lung", remedy)
    if shape is not None and mask.shape != tuple(shape[:2]):
        problem = f"the mask is {mask.shape[1]}x{mask.shape[0]} pixels but its image is {shape[1]}x{shape[0]}"
        raise UserError(path, problem, "Give the mask of this image at its size")
    return mask


def write_image(path: str | Path, image: np.ndarray, effort: int = 6) -> Path:
    """Write an 8-bit image atomically as PNG; return the path.

    Parameters
    ----------
    path : str or Path
        Must end in `.png`.
    image : numpy.ndarray
        Shape (H, W) grey or (H, W, 3) RGB, uint8.
    effort : int
        Compression, 0 to 9. At 1, radiographs take a sixth of the time of 6, and files are a fifth larger.

    Raises
    ------
    ValueError
        If the array or the suffix is not supported.
    UserError
        If the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"the file name must end in .png, got {path.name}")
    content = encode_png(image, effort)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return path


def encode_png(image: np.ndarray, effort: int = 6) -> bytes:
    """Encode an image as PNG (see `write_image`)."""
    image = np.asarray(image)
    if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        raise ValueError(f"image must be uint8 (H, W) or (H, W, 3), got {image.dtype} {image.shape}")
    with io.BytesIO() as stream:
        Image.fromarray(np.ascontiguousarray(image)).save(stream, format="PNG", compress_level=effort)
        return stream.getvalue()


def image_size(path: str | Path) -> tuple[int, int]:
    """Return the (height, width) of `read_image` from the header alone.

    Raises the errors of `read_image` that the header reveals.
    """
    with _readable(path := Path(path)):
        return _size_of_kind(path, sniff(path))


def _size_of_kind(path: Path, kind: str) -> tuple[int, int]:
    if kind == DICOM or _is_named_dicom(path, kind):
        return dicom.dicom_size(path)
    if kind == JSRT_RAW:
        _check_raw(path)
        return _RAW_SIDE, _RAW_SIDE
    if kind not in RADIOGRAPHS:
        raise not_a_radiograph(path, kind)
    return raster.raster_size(path, kind)


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Report a file that vanishes, or cannot be read any more, after its type was detected."""
    try:
        yield
    except OSError as error:
        raise UserError(path, f"cannot be read ({error.strerror or error})", "Check that it is still there") from error


@np.errstate(all="ignore")  # values that are not finite are refused
def _read(path: Path) -> Picture:
    with _readable(path):
        return _read_kind(path, sniff(path))


def _read_kind(path: Path, kind: str) -> Picture:
    if kind == DICOM or _is_named_dicom(path, kind):
        return dicom.read_dicom(path)
    if kind == JSRT_RAW:
        _check_raw(path)
        return Picture(-np.fromfile(path, ">u2").astype(np.int32).reshape(_RAW_SIDE, _RAW_SIDE))
    if kind not in RADIOGRAPHS:
        raise not_a_radiograph(path, kind)
    return raster.read_raster(path, kind)


def _is_named_dicom(path: Path, kind: str) -> bool:
    """Whether a file of unknown type is named like DICOM, whose reader gives a specific error."""
    return kind in ("", "text") and path.suffix.lower() in (".dcm", ".dicom")


def _check_raw(path: Path) -> None:
    size, expected = path.stat().st_size, _RAW_SIDE**2 * _RAW_BYTES
    if size != expected:
        problem = f"must have {expected:,} bytes as a raw image of the JSRT database (got {size:,})"
        raise UserError(path, problem, "Download it again, or convert it to PNG")
