"""Decode PNG, JPEG, TIFF, BMP and (for masks) GIF to a `Picture`.

Pillow decodes files of up to 8 bits per channel. It keeps only the high byte of deeper colours, so OpenCV decodes
16-bit PNG, and tifffile decodes TIFF of types other than uint8 (OpenCV if tifffile lacks the codec).
"""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from covid_keras.common.errors import UserError
from covid_keras.common.quiet import standard_error_aside
from covid_keras.data.jpeg import check_jpeg, check_segments_before_pixels
from covid_keras.data.picture import (
    DECODE_ERRORS,
    MAX_SIDE,
    Picture,
    bands,
    blocks,
    check_file,
    check_finite,
    check_size,
    damaged,
    luma,
    reduced,
    small_colours,
)
from covid_keras.data.png import Png, read_png
from covid_keras.data.sniff import GIF, JPEG, PNG, TIFF
from covid_keras.data.tiff_segments import check_segments

if TYPE_CHECKING:
    from tifffile import TiffPage

_EXIF_ORIENTATION = 0x0112
_OLD_SUBFILE_TYPE, _X_RESOLUTION, _Y_RESOLUTION = 255, 282, 283  # TIFF tags
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK = 0, 1, 2, 3, 5  # TIFF's photometric interpretations
_PREMULTIPLIED, _ALPHA = 1, 2  # TIFF's kinds of extra channels
# Libtiff's messages, such as "Fax4Decode: Bad code word at line 85 of strip 0 (x 118)."
_LIBTIFF = re.compile(rb"^[\w.]+: [^\r\n]*\.\n", re.MULTILINE)
# Thumbnails included; more pages are not looked at.
_MOST_PAGES = 64
# What tifffile logs of a tag that it leaves out; the tags that decide on the pixels.
_BROKEN_TAG = re.compile(r"TiffTag (\d+)")
_OF_PIXELS = frozenset({*range(256, 260), 262, 266, 273, 277, 278, 279, 284, 317, 320, *range(322, 326), 338, 339, 347})
_ONE_EACH = "Save one radiograph per file"


def raster_size(path: Path, kind: str) -> tuple[int, int]:
    """Return (height, width) of the upright image from the header alone."""
    if kind == PNG:
        png = read_png(path, pixels=False)
        size, orientation = (png.header.height, png.header.width), _png_orientation(png)
    elif kind == TIFF:
        with _tiff_page(path, []) as page:
            size, orientation = (page.imagelength, page.imagewidth), _tiff_orientation(page)
    else:
        with _opened(path, kind) as image:
            size, orientation = (image.height, image.width), _exif_orientation(image)
    return size[::-1] if orientation >= 5 else size


def read_raster(path: Path, kind: str) -> Picture:
    """Decode a file completely and turn it upright.

    Raises `UserError` if it is damaged, its size or number of pages is out of bounds, or its colour model is not
    supported.
    """
    notes: list[str] = []
    if kind == PNG:
        picture, orientation = _read_png(path, notes)
    elif kind == TIFF:
        picture, orientation = _read_tiff(path, notes)
    else:
        with _opened(path, kind) as image:
            orientation = _exif_orientation(image)
            _note_aspect(notes, *image.info.get("jfif_density", (1, 1)))
            if kind == JPEG:
                check_jpeg(path, path.read_bytes())
            picture = _decoded(path, image)
    check_finite(path, picture.values)
    if picture.valid is not None and not picture.valid.any():
        notes.append("it is fully transparent, so it is black")
    return picture._replace(warnings=tuple(notes)).turned(orientation)


def _note_aspect(notes: list[str], x: float, y: float) -> None:
    if x > 0 and y > 0 and not 0.99 <= x / y <= 1.01:
        notes.append(f"its resolution differs between the axes ({x:g} across, {y:g} down); it is not resampled")


# --- what Pillow decodes: 8 bits per channel and less


@contextlib.contextmanager
def _opened(path: Path, kind: str, content: io.BytesIO | None = None, page: int = 0) -> Iterator[Image.Image]:
    """Open a file, or its `content`, without decoding; check its size and number of pages."""
    # Open a stream: given a path, Pillow memory-maps uncompressed TIFF files and then confuses height and width of
    # those whose orientation swaps them (seen with Pillow 13.0).
    with open(path, "rb") if content is None else content as stream:
        if kind == JPEG:
            check_segments_before_pixels(path, stream)
        try:
            image = Image.open(stream, formats=(kind,))
            pages = getattr(image, "n_frames", 1) if kind == GIF else 1
            if page:
                image.seek(page)
        except Image.DecompressionBombError as error:
            # Raised above 179 million pixels, so one side is longer than 13,000.
            raise UserError(path, f"has a side of more than {MAX_SIDE} pixels", "Scale it down") from error
        except UnidentifiedImageError as error:
            if kind == TIFF:  # its header was read before
                raise UserError(path, "its pixel layout is not supported", "Save it as grey PNG") from error
            raise damaged(path, f"its {kind} header") from error
        except DECODE_ERRORS as error:
            raise damaged(path, error) from error
        check_file(path, image.height, image.width, len(image.getbands()))
        if pages > 1:
            raise UserError(path, f"holds {pages} pages", _ONE_EACH)
        yield image


def _decoded(path: Path, image: Image.Image, content: io.BytesIO | None = None) -> Picture:
    try:
        image.load()
        if content is not None:
            content.close()  # frees its memory
        if image.mode.startswith(("I", "F")):
            return Picture(np.array(image))
        return _from_pillow(image)
    except DECODE_ERRORS as error:
        raise damaged(path, error) from error


def _from_pillow(image: Image.Image) -> Picture:
    if image.mode in ("1", "L") and not image.has_transparency_data:
        # A copy: asarray would be read-only.
        return Picture(np.array(image if image.mode == "L" else image.convert("L")))
    size = (image.height, image.width)
    grey, valid = np.empty(size, np.uint8), np.ones(size, bool)

    def parts() -> Iterator[Image.Image]:
        """Yield the image in RGB, in parts, whose copies take little memory, and convert each to grey."""
        for top, end in blocks(*size):
            part = image.crop((0, top, image.width, end))
            if image.has_transparency_data:
                part = part if part.mode == "RGBA" else part.convert("RGBA")
                valid[top:end] = np.asarray(part.getchannel("A")) > 0
                part = Image.alpha_composite(Image.new("RGBA", part.size, (0, 0, 0, 255)), part)
            part = part.convert("RGB")  # also because not every mode converts directly to L
            grey[top:end] = np.asarray(part.convert("L"))
            yield part

    colours = reduced(parts(), *size)
    return Picture(grey, None if valid.all() else valid, colours)


def _exif_orientation(image: Image.Image) -> int:
    try:
        return _orientation(image.getexif().get(_EXIF_ORIENTATION))
    except DECODE_ERRORS:  # a broken EXIF block does not affect the pixels
        return 1


def _orientation(value: Any) -> int:
    return value if value in range(1, 9) else 1


# --- deeper channels


def _from_channels(colour: np.ndarray, opacity: np.ndarray | None = None, premultiplied: bool = False) -> Picture:
    """Return the picture of channels (H, W, 1 or 3) of any type, composited over black by `opacity` (H, W)."""
    grey = colour.shape[2] == 1
    colours = None if grey else small_colours(colour)
    values = colour[..., 0] if grey else luma(colour)
    if opacity is None or (opacity.all() and opacity.min() == opacity.max()):
        return Picture(values, None, colours)
    if not premultiplied:
        factor, opaque = (opacity.max() or 1.0), np.empty(values.shape)
        for rows in bands(values):
            opaque[rows] = values[rows] * (opacity[rows] / factor)
        values = opaque
    return Picture(values, opacity > 0, colours)


def _read_png(path: Path, notes: list[str]) -> tuple[Picture, int]:
    png = read_png(path)
    gamma = int.from_bytes(png.chunks.get(b"gAMA", b""), "big")
    if gamma and b"sRGB" not in png.chunks and not 40_000 <= gamma <= 60_000:
        notes.append(f"its gamma of {gamma / 100_000:g} is not applied")
    if len(aspect := png.chunks.get(b"pHYs", b"")) == 9:
        _note_aspect(notes, int.from_bytes(aspect[:4], "big"), int.from_bytes(aspect[4:8], "big"))
    if png.header.depth == 16:
        return _deep_png(path, png), _png_orientation(png)
    content = png.encode(path)
    with _opened(path, PNG, content) as image:
        picture = _decoded(path, image, content)
        if image.mode == "P" and np.asarray(image).max() >= len(png.chunks[b"PLTE"]) // 3:
            raise damaged(path, "it has pixels that are not in its palette")
        return picture, _png_orientation(png)


def _deep_png(path: Path, png: Png) -> Picture:
    """Decode 16 bits per channel; the transparent colour is handled here, because OpenCV's versions differ."""
    content = np.frombuffer(png.encode(path, without=b"tRNS").getbuffer(), np.uint8)
    planes = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    del content
    if planes is None or planes.dtype != np.uint16:
        raise damaged(path, "its pixels")
    planes = planes[..., None] if planes.ndim == 2 else planes
    count = 1 if png.header.channels < 3 else 3
    colour = planes[..., :count][..., ::-1]  # OpenCV returns BGR, and four channels for grey with alpha
    if png.header.channels % 2 == 0:
        return _from_channels(colour, planes[..., -1])
    key = np.frombuffer(png.chunks.get(b"tRNS", b""), ">u2")
    return _from_channels(colour, (colour != key).any(axis=2) if len(key) == count else None)


def _png_orientation(png: Png) -> int:
    exif = Image.Exif()
    try:
        exif.load(bytes(png.chunks.get(b"eXIf", b"")))
        return _orientation(exif.get(_EXIF_ORIENTATION))
    except DECODE_ERRORS:
        return 1


# --- TIFF


def _read_tiff(path: Path, notes: list[str]) -> tuple[Picture, int]:
    with _tiff_page(path, notes) as page:
        _note_aspect(notes, *(_ratio(page, tag) for tag in (_X_RESOLUTION, _Y_RESOLUTION)))
        try:
            check_segments(path, page)
            if page.dtype is not None and page.dtype.name in ("uint8", "bool"):
                return _small_tiff(path, page), 1  # Pillow turns TIFF files upright
            return _deep_tiff(path, page), _tiff_orientation(page)
        except DECODE_ERRORS as error:  # of tags that contradict each other
            raise damaged(path, error) from error


def _small_tiff(path: Path, page: TiffPage) -> Picture:
    """Decode a page of 8 bits and less; libtiff reports damaged data on standard error only."""
    with _opened(path, TIFF, page=page.index) as image, standard_error_aside(_LIBTIFF) as said:
        picture = _decoded(path, image)
    if said:
        raise damaged(path, said[0].decode("utf-8", "replace").strip(" .\n"))
    return picture


@contextlib.contextmanager
def _tiff_page(path: Path, notes: list[str]) -> Iterator[TiffPage]:
    """Yield the only full-size page; check its size."""
    import tifffile

    with contextlib.ExitStack() as stack:
        try:
            with _tifffile_log() as said:
                pages = list(itertools.islice(stack.enter_context(tifffile.TiffFile(path)).pages, _MOST_PAGES))
            page = _full_page(path, pages, notes)
            if lost := {int(code) for code in _BROKEN_TAG.findall(said.getvalue())} & _OF_PIXELS:
                raise damaged(path, f"its tag {min(lost)} cannot be read")
            check_size(path, page.imagelength, page.imagewidth)
        except (tifffile.TiffFileError, MemoryError, *DECODE_ERRORS) as error:
            raise damaged(path, error) from error
        yield page


@contextlib.contextmanager
def _tifffile_log() -> Iterator[io.StringIO]:
    """Yield what tifffile logs in this thread: it leaves out tags that it cannot read."""
    log, thread = logging.getLogger("tifffile"), threading.get_ident()
    handler = logging.StreamHandler(said := io.StringIO())
    handler.addFilter(lambda record: record.thread == thread)
    log.addHandler(handler)
    try:
        yield said
    finally:
        log.removeHandler(handler)


def _full_page(path: Path, pages: list[Any], notes: list[str]) -> Any:
    full = [page for page in pages if not (page.is_reduced or page.is_mask or _tag(page, _OLD_SUBFILE_TYPE) == 2)]
    largest = max(full or pages, key=lambda page: page.imagelength * page.imagewidth)
    others = [page for page in full if page is not largest]
    if any(not _is_small_copy(page, largest) for page in others):
        raise UserError(path, f"holds {len(full)} pages", _ONE_EACH)
    if others:
        notes.append(f"its {len(others)} smaller pages of the same aspect ratio are taken as thumbnails")
    return largest


def _is_small_copy(page: Any, full: Any) -> bool:
    height, width = full.imagelength / page.imagelength, full.imagewidth / page.imagewidth
    return min(height, width) >= 2 and 0.95 <= height / width <= 1.05


def _tag(page: Any, code: int) -> Any:
    return page.tags[code].value if code in page.tags else None


def _ratio(page: Any, code: int) -> float:
    value = _tag(page, code)
    return value[0] / value[1] if isinstance(value, tuple) and len(value) == 2 and value[1] else 0.0


def _tiff_orientation(page: Any) -> int:
    return _orientation(_tag(page, _EXIF_ORIENTATION))


def _deep_tiff(path: Path, page: Any) -> Picture:
    planes = _tiff_planes(path, page)
    kind, declared = page.photometric, tuple(page.extrasamples)
    count = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _PALETTE: 1, _RGB: 3, _CMYK: 4}.get(kind, 0)
    if not count or planes.shape[2] < count or planes.dtype.kind not in "iuf":
        model = f"{getattr(kind, 'name', kind)}, {planes.shape[2]} channels of {planes.dtype}"
        problem = f"its colour model ({model}) is not supported"
        raise UserError(path, problem, "Save it as grey PNG")
    colour = planes[..., :count]
    if kind == _WHITE_IS_ZERO:
        colour = colour.max() - colour if colour.dtype.kind == "u" else -colour.astype(np.float64)
    elif kind == _PALETTE:
        colour = np.moveaxis(np.asarray(page.colormap), 0, -1)[colour[..., 0]]
    elif kind == _CMYK:
        left = 1 - colour.astype(np.float64) / np.iinfo(colour.dtype).max
        colour = left[..., :3] * left[..., 3:]
    alpha = next((k for k, extra in enumerate(declared) if extra in (_PREMULTIPLIED, _ALPHA)), None)
    if alpha is None:
        return _from_channels(colour)
    opacity = planes[..., planes.shape[2] - len(declared) + alpha]
    if opacity.dtype.kind != "f":
        opacity = opacity / np.iinfo(opacity.dtype).max
    return _from_channels(colour, opacity, declared[alpha] == _PREMULTIPLIED)


def _tiff_planes(path: Path, page: Any) -> np.ndarray:
    """Decode a page to (H, W, channels)."""
    try:
        planes = page.asarray()
    except DECODE_ERRORS as error:
        if "imagecodecs" not in str(error):
            raise damaged(path, error) from error
        return _opencv_planes(path, page)
    if page.axes not in ("YX", "YXS", "SYX"):
        raise UserError(path, f"holds {planes.shape} values", _ONE_EACH)
    return planes[..., None] if planes.ndim == 2 else np.moveaxis(planes, 0, -1) if page.axes == "SYX" else planes


def _opencv_planes(path: Path, page: Any) -> np.ndarray:
    """Decode a page with OpenCV, which must keep its type and number of channels."""
    count = page.samplesperpixel
    read, found = cv2.imreadmulti(str(path), start=page.index, count=1, flags=cv2.IMREAD_UNCHANGED)
    if not read and count in (1, 3, 4) and page.planarconfig == 1:
        raise damaged(path, "its pixels")
    if read and count in (1, 3, 4) and found[0].dtype == page.dtype and found[0].size == page.size:
        planes = found[0].reshape(page.imagelength, page.imagewidth, count)
        return planes if count == 1 else planes[..., [2, 1, 0, 3][:count]]
    name = getattr(page.compression, "name", page.compression)
    raise UserError(
        path, f"its compression ({name}) of {count} channels of {page.dtype} is not supported", "Save it as PNG"
    )
