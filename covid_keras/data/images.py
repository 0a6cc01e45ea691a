"""One reader for every radiograph: PNG, JPEG, TIFF, BMP and DICOM to grey 8-bit arrays, and PNG out.

What is done, in this order: the size is checked from the header, before anything is decoded; the file is
decoded whole (a truncated file is an error, never a half-grey picture); EXIF orientation is applied;
transparency is composited over black; colour becomes grey by the ITU-R 601 luma
(0.299 R + 0.587 G + 0.114 B); values of more than 8 bits are stretched linearly from minimum and maximum
to 0..255, values of 8 bits in PNG, JPEG, TIFF and BMP files never.

DICOM: rescale slope and intercept (or modality LUT), then the VOI LUT or first window, then the linear
stretch, which leaves out the pixels that carry the padding value; MONOCHROME1 is inverted, so that bone is
bright as in every other file.

Raw files of the JSRT database (`.IMG`: 2048 x 2048 values of 16 bits, high byte first, 12 of them used): inverted,
since they hold dark as high, then the linear stretch.
"""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from covid_keras.common.errors import UserError
from covid_keras.common.files import atomic_path

if TYPE_CHECKING:
    from pydicom import Dataset

MIN_SIDE = 16
MAX_SIDE = 12_000

_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
# Masks alone: the lung outlines of the SCR database are GIF files.
_MASK_FORMATS = (*_FORMATS, "GIF")
# The JSRT database's files have no header: side and depth are those of its description.
_RAW_SUFFIX, _RAW_SIDE, _RAW_BYTES = ".img", 2048, 2
_DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})
_DICOM_EXTRA = "Run: pip install 'covid-keras[dicom]'"
_EXIF_ORIENTATION = 0x0112
_TIFF_PHOTOMETRIC = 262

# What Pillow and pydicom raise on damaged files; anything else is a fault of ours and must show itself.
_DECODE_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, struct.error, IndexError, KeyError, TypeError, AttributeError,
    NotImplementedError, OverflowError,
)  # fmt: skip

# EXIF orientation -> what makes the picture upright.
_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: np.fliplr,
    3: lambda image: np.rot90(image, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image, 2).T,
    8: lambda image: np.rot90(image, 1),
}


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
    """

    pixels: np.ndarray
    warnings: tuple[str, ...] = ()
    modality: str = ""


def read_radiograph(path: str | Path) -> Radiograph:
    """Read a radiograph for a network: grey, normalised alike whatever the file's format and depth.

    Takes the files of `read_image` and raises its errors.
    """
    path = Path(path)
    modality = str(_dicom_header(path).get("Modality") or "") if _is_dicom(path) else ""
    return Radiograph(_stretch(read_image(path)), (), modality)


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
        Where the file is missing, a folder, empty, not such an image or damaged; where a side is shorter than
        `MIN_SIDE` or longer than `MAX_SIDE` pixels; where a DICOM or TIFF file has several frames; where
        a DICOM file needs pydicom, or the decoder of its compression, and it is not installed; where a raw file has
        another length.
    """
    path = Path(path)
    if _is_dicom(path):
        return _read_dicom(path)
    if _is_raw(path):
        values = np.fromfile(path, ">u2").astype(np.int32).reshape(_RAW_SIDE, _RAW_SIDE)
        return _stretch(-values)
    with _open(path) as image:
        orientation = _orientation(image)
        grey = _decode(path, image, _grey)
    return _upright(grey, orientation)


def read_mask(path: str | Path, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Read a mask with the values that the file holds, never stretched.

    Parameters
    ----------
    path : str or Path
        A PNG, JPEG, TIFF, BMP or GIF file. 1-bit files give 0 and 255; colour and palette files become grey.
    shape : tuple of int, optional
        The image's (H, W), which the mask must have.

    Returns
    -------
    numpy.ndarray
        Shape (H, W), uint8, C-contiguous.

    Raises
    ------
    UserError
        As for `read_image`; where the mask has another shape; where it holds values over 255 or below 0.
    """
    path = Path(path)
    _is_dicom(path)  # for its checks: a mask is never DICOM
    with _open(path, _MASK_FORMATS) as image:
        orientation = _orientation(image)
        values = _decode(path, image, _raw_values)
    if values.dtype != np.uint8:
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 255:
            raise UserError(path, "the mask holds values outside 0 to 255", "Save it as an 8-bit PNG, 255 = lung")
        values = values.astype(np.uint8)
    mask = _upright(values, orientation)
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
        Where the array is not such an image or the name does not end in `.png`.
    UserError
        Where the file cannot be written; nothing is left behind.
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
    if _is_dicom(path):
        header = _dicom_header(path)
        return int(header.Rows), int(header.Columns)
    if _is_raw(path):
        return _RAW_SIDE, _RAW_SIDE
    with _open(path) as image:
        width, height = image.size
        return (width, height) if _orientation(image) >= 5 else (height, width)


# -------------------------------------------------------------------------- Pillow's formats


def _is_dicom(path: Path) -> bool:
    """Tell DICOM by content or suffix; check on the way that `path` is a readable file, not empty."""
    if path.is_dir():
        raise UserError(path, "is a folder, not an image", "Give the image file itself")
    try:
        with open(path, "rb") as stream:
            start = stream.read(132)
    except FileNotFoundError as error:
        raise UserError(path, "there is no such image", "Check the path") from error
    except OSError as error:
        raise UserError(path, f"cannot be read ({error.strerror})", "Check its permissions") from error
    if not start:
        raise UserError(path, "the file is empty (0 bytes)", "Fetch it again")
    return start[128:] == b"DICM" or path.suffix.lower() in _DICOM_SUFFIXES


@contextlib.contextmanager
def _open(path: Path, formats: tuple[str, ...] = _FORMATS) -> Iterator[Image.Image]:
    """Open without decoding; refuse what is no image, or has a size or a number of frames out of bounds."""
    # A stream, not the path: Pillow maps uncompressed TIFF files into memory by their path, and then mixes up
    # the sides of those whose orientation swaps them (seen with Pillow 13.0).
    with open(path, "rb") as stream:
        try:
            image = Image.open(stream, formats=formats)
            frames = getattr(image, "n_frames", 1) if image.format in ("TIFF", "GIF") else 1
        except UnidentifiedImageError as error:
            problem = "is not a PNG, JPEG, TIFF, BMP or DICOM image, whatever its name says"
            raise UserError(path, problem, "Convert it to PNG, or remove it") from error
        except Image.DecompressionBombError as error:
            # Raised above 179 million pixels: one side is then longer than 13,000.
            raise UserError(path, f"has a side of more than {MAX_SIDE} pixels", "Scale it down") from error
        except _DECODE_ERRORS as error:
            raise _damaged(path, error) from error
        _check_size(path, image.height, image.width)
        if frames > 1:
            raise UserError(path, f"holds {frames} pages", "Save one radiograph per file")
        yield image


def _check_size(path: Path, height: int, width: int) -> None:
    if min(height, width) < MIN_SIDE:
        problem = f"is {width}x{height} pixels, a radiograph has at least {MIN_SIDE} a side"
        raise UserError(path, problem, "Fetch the full image, or remove it")
    if max(height, width) > MAX_SIDE:
        raise UserError(path, f"is {width}x{height} pixels, more than {MAX_SIDE} a side", "Scale it down")


def _damaged(path: Path, error: Exception) -> UserError:
    problem = f"the image is damaged or truncated ({str(error) or type(error).__name__})"
    return UserError(path, problem, "Fetch the file again")


def _decode(path: Path, image: Image.Image, convert: Callable[[Image.Image], np.ndarray]) -> np.ndarray:
    try:
        image.load()
        return convert(image)
    except _DECODE_ERRORS as error:
        raise _damaged(path, error) from error


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8, from the header. Pillow turns TIFF files upright by itself."""
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return 1  # asking a PNG without an eXIf chunk would decode it
    try:
        value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except _DECODE_ERRORS:  # a camera's broken EXIF block says nothing, and the pixels are sound
        return 1
    return value if value in _UPRIGHT else 1


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    return np.ascontiguousarray(_UPRIGHT[orientation](image) if orientation in _UPRIGHT else image)


def _raw_values(image: Image.Image) -> np.ndarray:
    """Return the decoded values: uint8, or int32 / uint16 / float32 for files of more than 8 bits."""
    if image.mode.startswith(("I", "F")):
        values = np.array(image)
        # Pillow inverts "0 is white" itself, but only up to 8 bits.
        if image.format == "TIFF" and getattr(image, "tag_v2", {}).get(_TIFF_PHOTOMETRIC) == 0:
            values = values.max() - values
        return values
    if image.has_transparency_data:
        colour = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), colour)
    if image.mode not in ("1", "L"):
        # Through RGB: a direct conversion from RGBA, CMYK or a palette to L does not exist for every mode.
        image = image.convert("RGB")
    return np.array(image.convert("L"))  # a copy: asarray would be read-only


def _grey(image: Image.Image) -> np.ndarray:
    values = _raw_values(image)
    return values if values.dtype == np.uint8 else _stretch(values)


def _stretch(values: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Map minimum and maximum (of the `valid` pixels, default all) linearly to 0 and 255, rounded."""
    values = values.astype(np.float64)
    inside = values if valid is None or not valid.any() else values[valid]
    low, high = float(inside.min()), float(inside.max())
    if not np.isfinite([low, high]).all():
        raise ValueError("it holds values that are not finite numbers")
    if high == low:
        return np.zeros(values.shape, np.uint8)
    # Multiplied first, so that the same picture gives the same levels at any depth.
    return np.rint(np.clip((values - low) * 255.0 / (high - low), 0, 255)).astype(np.uint8)


# ------------------------------------------------------------------------------------- JSRT's raw files


def _is_raw(path: Path) -> bool:
    """Tell a raw file by its suffix; check that its length is that of an image."""
    if path.suffix.lower() != _RAW_SUFFIX:
        return False
    size, expected = path.stat().st_size, _RAW_SIDE**2 * _RAW_BYTES
    if size != expected:
        problem = f"has {size:,} bytes, a raw image of the JSRT database has {expected:,}"
        raise UserError(path, problem, "Fetch it again, or convert it to PNG")
    return True


# ------------------------------------------------------------------------------------- DICOM


def _pydicom(path: Path) -> Any:
    try:
        import pydicom
        import pydicom.pixels
    except ImportError as error:
        raise UserError(path, "is a DICOM file, and pydicom 3 is not installed", _DICOM_EXTRA) from error
    return pydicom


def _dicom_header(path: Path) -> Dataset:
    """Read everything but the pixels; check that it is one image of a usable size."""
    pydicom = _pydicom(path)
    try:
        # force: some archives store DICOM without the 128-byte preamble.
        header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        height, width = int(header.Rows), int(header.Columns)
        frames = int(header.get("NumberOfFrames") or 1)
    except _DECODE_ERRORS as error:
        raise UserError(path, "is not a DICOM file with an image in it", "Check the file, or remove it") from error
    _check_size(path, height, width)
    if frames > 1:
        raise UserError(path, f"holds {frames} frames", "Save one radiograph per file")
    return header


def _read_dicom(path: Path) -> np.ndarray:
    _dicom_header(path)
    pydicom = _pydicom(path)
    try:
        data = pydicom.dcmread(path, force=True)
        if "TransferSyntaxUID" not in data.file_meta:  # a file without preamble has no header to say it
            data.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
        return np.ascontiguousarray(_dicom_grey(pydicom.pixels, data))
    except RuntimeError as error:  # covers NotImplementedError
        raise UserError(path, f"its compression cannot be decoded ({error})", _DICOM_EXTRA) from error
    except _DECODE_ERRORS as error:
        raise _damaged(path, error) from error


def _dicom_grey(pixels: Any, data: Dataset) -> np.ndarray:
    stored = data.pixel_array
    kind = str(data.get("PhotometricInterpretation", "MONOCHROME2"))
    if kind == "PALETTE COLOR":
        stored = pixels.apply_color_lut(stored, data)[..., :3]
    if stored.ndim == 3:
        values = stored.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    else:
        values = pixels.apply_rescale(stored, data)
        if "VOILUTSequence" in data:  # a table is looked up by whole numbers
            values = np.rint(values).astype(np.int64)
        values = pixels.apply_voi_lut(values, data).astype(np.float64)
    padding = data.get("PixelPaddingValue")
    # Borders are filled with a value far outside the picture's own, which would flatten the stretch.
    valid = None if padding is None or stored.ndim == 3 else stored != padding
    if kind == "MONOCHROME1":
        values = -values
    grey = _stretch(values, valid)
    if valid is not None:
        grey[~valid] = 0
    return grey
