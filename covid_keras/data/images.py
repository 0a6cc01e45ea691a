"""One reader for every radiograph: PNG, JPEG, TIFF, BMP and DICOM to grey 8-bit arrays, and PNG out.

What is done, in this order: the file's kind is told by its content (`sniff`); the size is checked from the header,
before anything is decoded; the file is decoded whole at its own depth (a truncated file is an error, never a half-grey
picture); EXIF orientation is applied; transparency is composited over black; colour becomes grey by the ITU-R 601 luma
(0.299 R + 0.587 G + 0.114 B); DICOM values become display values (`dicom`).

Then values are stretched linearly from the picture's own minimum and maximum to 0..255. `read_radiograph`, for
networks, always does; `read_image`, for cohorts, leaves the 8-bit values of PNG, JPEG, TIFF and BMP files as they are.

Raw files of the JSRT database (`.IMG`: 2048 x 2048 values of 16 bits, high byte first, 12 of them used): inverted,
since they hold dark as high, then the linear stretch.
"""

from __future__ import annotations

import io
import warnings
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

# The JSRT database's files have no header: side and depth are those of its description.
_RAW_SIDE, _RAW_BYTES = 2048, 2
# Masks of nothing above number their parts, or hold 0 and 1.
_MAX_LABEL = 9


class ImageWarning(UserWarning):
    """The reader had to decide something that the file leaves in doubt."""


class Radiograph(NamedTuple):
    """A radiograph as a network is to see it, whatever file it came from.

    Attributes
    ----------
    pixels : ndarray of uint8, shape (H, W)
        Bright = dense, stretched linearly from the picture's own minimum and maximum to 0..255; 0 where it is constant.
    warnings : tuple of str
        What was doubtful in the file and how it was decided: short sentences, to be read after "FILE: ".
    modality : str
        The DICOM modality, such as "DX" or "CT"; "" where the file does not say it.
    colours : ndarray of uint8, shape (h, w, 3), optional
        The picture as RGB, reduced to less than 512 a side; None where the file holds one grey channel.
    stored : ndarray of uint8, shape (H, W), optional
        The grey levels as `read_image` has them: as the file holds them where it has 8 bits, else `pixels`.
    """

    pixels: np.ndarray
    warnings: tuple[str, ...] = ()
    modality: str = ""
    colours: np.ndarray | None = None
    stored: np.ndarray | None = None


def radiograph_of(picture: Picture) -> Radiograph:
    """Return a decoded picture as a radiograph."""
    pixels = picture.stretched()
    stored = picture.values if picture.values.dtype == np.uint8 else pixels
    return Radiograph(pixels, picture.warnings, picture.modality, picture.colours, stored)


def read_radiograph(path: str | Path) -> Radiograph:
    """Read a radiograph for a network: grey, normalised alike whatever the file's format and depth.

    Takes the files of `read_image` and raises its errors.
    """
    return radiograph_of(_read(Path(path)))


def read_image(path: str | Path) -> np.ndarray:
    """Read a radiograph as grey.

    Parameters
    ----------
    path : str or Path
        A PNG, JPEG, TIFF or BMP file, a DICOM file of one frame (known by its content, or by the suffix
        `.dcm`), or a raw file of the JSRT database (known by the suffix `.IMG`).

    Returns
    -------
    numpy.ndarray
        Shape (H, W), uint8, 0..255, C-contiguous, bright = dense. A constant image of more than 8 bits
        becomes 0 everywhere.

    Raises
    ------
    UserError
        If the file is missing, a folder, empty, not such an image or damaged; where a side is shorter than
        `MIN_SIDE` or longer than `MAX_SIDE` pixels; where a DICOM or TIFF file has several frames; where
        a DICOM file needs pydicom, or the decoder of its compression, and it is not installed; where a raw file has
        another length.
    """
    picture = _read(Path(path))
    for note in picture.warnings:
        warnings.warn(f"{path}: {note}", ImageWarning, stacklevel=2)
    return picture.values if picture.values.dtype == np.uint8 else picture.stretched()


def read_mask(path: str | Path, shape: tuple[int, ...] | None = None, labels: bool = False) -> np.ndarray:
    """Read a mask with the values that the file holds, never stretched.

    Parameters
    ----------
    path : str or Path
        A PNG, JPEG, TIFF, BMP or GIF file. 1-bit files give 0 and 255; colour and palette files become grey.
    shape : tuple of int, optional
        The image's (H, W), which the mask must have.
    labels : bool
        Take a mask of small numbers too, such as 0 and 1, which the caller tells apart. Else it is refused: read with
        255 as lung it would be empty.

    Returns
    -------
    numpy.ndarray
        Shape (H, W), uint8, C-contiguous.

    Raises
    ------
    UserError
        As for `read_image`; where the mask has another shape; where it holds values over 255 or below 0, or,
        without `labels`, no value but small ones.
    """
    path = Path(path)
    kind = sniff(path)
    if kind not in RADIOGRAPHS - {DICOM, JSRT_RAW} | {GIF}:
        raise not_a_radiograph(path, kind)
    mask = raster.read_raster(path, kind).values
    if mask.dtype != np.uint8:
        if mask.min() < 0 or mask.max() > 255:
            raise UserError(path, "the mask holds values outside 0 to 255", "Save it as an 8-bit PNG, 255 = lung")
        mask = mask.astype(np.uint8)
    if not labels and 0 < mask.max() <= _MAX_LABEL:
        remedy = "Multiply its values by 255 (255 = lung, 0 = rest)"
        raise UserError(path, f"the mask holds no value but 0 to {mask.max()}, so that no pixel would be lung", remedy)
    if shape is not None and mask.shape != tuple(shape[:2]):
        problem = f"the mask is {mask.shape[1]}x{mask.shape[0]} pixels but its image is {shape[1]}x{shape[0]}"
        raise UserError(path, problem, "Give the mask that was drawn on this image, at its size")
    return mask


def write_image(path: str | Path, image: np.ndarray) -> Path:
    """Write an 8-bit image as PNG, whole or not at all; return the path.

    Parameters
    ----------
    path : str or Path
        Must end in `.png`.
    image : numpy.ndarray
        Shape (H, W) grey or (H, W, 3) RGB, uint8.

    Raises
    ------
    ValueError
        If the array is not such an image or the name does not end in `.png`.
    UserError
        If the file cannot be written; nothing is left behind.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"images are written as .png, not as {path.name}")
    content = encode_png(image)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return path


def encode_png(image: np.ndarray) -> bytes:
    """Return an image as `write_image` writes it."""
    image = np.asarray(image)
    if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        raise ValueError(f"a PNG is written from uint8 (H, W) or (H, W, 3), not {image.dtype} {image.shape}")
    with io.BytesIO() as stream:
        Image.fromarray(np.ascontiguousarray(image)).save(stream, format="PNG")
        return stream.getvalue()


def image_size(path: str | Path) -> tuple[int, int]:
    """Return (height, width) as `read_image` would give it, from the header alone.

    Raises `UserError` as for `read_image`, as far as the header tells.
    """
    path = Path(path)
    kind = sniff(path)
    if kind == DICOM or _is_named_dicom(path, kind):
        return dicom.dicom_size(path)
    if kind == JSRT_RAW:
        _check_raw(path)
        return _RAW_SIDE, _RAW_SIDE
    if kind not in RADIOGRAPHS:
        raise not_a_radiograph(path, kind)
    return raster.raster_size(path, kind)


def _read(path: Path) -> Picture:
    kind = sniff(path)
    if kind == DICOM or _is_named_dicom(path, kind):
        return dicom.read_dicom(path)
    if kind == JSRT_RAW:
        _check_raw(path)
        return Picture(-np.fromfile(path, ">u2").astype(np.int32).reshape(_RAW_SIDE, _RAW_SIDE))
    if kind not in RADIOGRAPHS:
        raise not_a_radiograph(path, kind)
    return raster.read_raster(path, kind)


def _is_named_dicom(path: Path, kind: str) -> bool:
    """Whether a file of no known kind is called DICOM: its reader then says what is missing."""
    return kind in ("", "text") and path.suffix.lower() in (".dcm", ".dicom")


def _check_raw(path: Path) -> None:
    size, expected = path.stat().st_size, _RAW_SIDE**2 * _RAW_BYTES
    if size != expected:
        problem = f"has {size:,} bytes, a raw image of the JSRT database has {expected:,}"
        raise UserError(path, problem, "Download it again, or convert it to PNG")
