"""Read DICOM files as `Picture`; `dicom_display` applies the display steps."""

from __future__ import annotations

import contextlib
import io
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from covid_keras.common.errors import UserError
from covid_keras.data import dicom_display as display
from covid_keras.data.dicom_frames import check_frame, jpeg_frame
from covid_keras.data.picture import (
    DECODE_ERRORS,
    Picture,
    bands,
    check_finite,
    check_size,
    damaged,
    luma,
    small_colours,
)

if TYPE_CHECKING:
    from pydicom import Dataset

_EXTRA = "Run: pip install 'covid-keras[dicom]'"
_DEFAULTS = {"SamplesPerPixel": 1, "PixelRepresentation": 0, "PhotometricInterpretation": "MONOCHROME2"}
# Words in the names of storage classes -> modality, which takes precedence over the tag.
_STORAGE = {"CT Image": "CT", "MR Image": "MR", "Ultrasound": "US", "Positron": "PT", "Nuclear": "NM", "Mammo": "MG"}
_COLOUR_MODELS = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "YBR_PARTIAL_420"})
_PALETTE = "PALETTE COLOR"
# Bytes that a file may have beside its pixels.
_SLACK = 1 << 24
# Bytes that are inflated at once; the header is expected in the first of them.
_PART = 1 << 22
# Calls of `read`, two or three per element: a radiograph has some hundred elements.
_MOST_READS = 100_000
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def dicom_size(path: Path) -> tuple[int, int]:
    """Return the (height, width) of `read_dicom` from the header alone."""
    return display.Geometry.of(_read_header(path, []), []).size(path)


def read_dicom(path: Path) -> Picture:
    """Read a single-frame DICOM file as display values: stretched to uint8, or float64.

    Raises `UserError` if pydicom or a decoder is missing, the file has no image or several frames, the size is out of
    bounds, or the pixels are damaged or in an unsupported format.
    """
    notes: list[str] = []
    header = _read_header(path, notes)
    geometry = display.Geometry.of(header, notes)
    geometry.size(path)
    stored = _decode(path, _read_data(path, notes))
    check_finite(path, stored)
    if str(header.get("PhotometricInterpretation") or "").strip().upper() == _PALETTE:
        picture = geometry.apply(_by_palette(path, stored, header))
    elif stored.ndim == 3:
        picture = geometry.apply(Picture(luma(stored), None, small_colours(stored)))
    elif stored.dtype.itemsize > 2:
        picture = geometry.apply(_displayed(path, stored, header, notes))
    else:
        picture = geometry.apply(_by_table(path, stored, header, notes, geometry.aspect == 1))
    return picture._replace(warnings=tuple(notes), modality=_modality(path, header))


def _by_table(path: Path, stored: np.ndarray, header: Dataset, notes: list[str], stretch: bool) -> Picture:
    """Convert each stored value that occurs, then the image by a table, which takes little memory.

    The values are stretched to 0..255 already, unless they are still to be resampled.
    """
    codes, present = _codes(stored)
    levels = _displayed(path, present.view(stored.dtype), header, notes)
    values = levels.stretched() if stretch else levels.values
    valid = None if levels.valid is None else _looked_up(codes, present, levels.valid)
    return Picture(_looked_up(codes, present, values), valid)


def _codes(stored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return stored values as unsigned integers, and those that occur, sorted."""
    codes = stored.view(f"u{stored.dtype.itemsize}")
    occurs = np.zeros(1 << 8 * codes.itemsize, bool)
    for rows in bands(codes):
        occurs[codes[rows]] = True
    return codes, np.flatnonzero(occurs).astype(codes.dtype)


def _displayed(path: Path, stored: np.ndarray, header: Dataset, notes: list[str]) -> Picture:
    stored, valid = display.stored_bits(path, stored, header, notes)
    values = display.display_values(stored, valid, header, notes)
    check_finite(path, values)
    return Picture(values, valid)


def _looked_up(codes: np.ndarray, present: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the image of `values`, one for each code in `present`."""
    table = np.zeros((1 << 8 * codes.itemsize, *values.shape[1:]), values.dtype)
    image = np.empty(codes.shape + values.shape[1:], values.dtype)
    table[present] = values
    for rows in bands(codes):
        image[rows] = table[codes[rows]]
    return image


def _pydicom(path: Path) -> Any:
    try:
        import pydicom
        import pydicom.encaps
        import pydicom.pixels
    except ImportError as error:
        raise UserError(path, "is a DICOM file, and pydicom 3 is not installed", _EXTRA) from error
    return pydicom


def _read_header(path: Path, notes: list[str]) -> Dataset:
    """Read everything but the pixels; check that it is one image of a usable size."""
    header = _read_file(path, stop_before_pixels=True, defer_size=_SLACK)
    try:
        _require_plausible(path, header, path.stat().st_size)
        display.drop_senseless(header, notes)
        height, width = int(header.Rows), int(header.Columns)
        frames = int(header.get("NumberOfFrames") or 1)
        depth = _depth(header)
    except UserError:
        raise
    except Exception as error:  # pydicom raises errors of many classes on malformed values
        raise _no_image(path) from error
    if frames > 1:
        raise UserError(path, f"holds {frames} frames", "Save one radiograph per file")
    check_size(path, height, width, depth)
    return header


def _depth(header: Dataset) -> int:
    """Return the number of bytes per pixel."""
    return max(1, int(header.get("SamplesPerPixel") or 1) * int(header.get("BitsAllocated") or 16) // 8)


def _require_plausible(path: Path, header: Dataset, size: int) -> None:
    """Raise `UserError` if a file of `size` bytes is far too large for one frame of the stated size."""
    with contextlib.suppress(*DECODE_ERRORS):  # reported later
        frames = max(1, int(header.get("NumberOfFrames") or 1))
        if size > _SLACK + 2 * int(header.Rows) * int(header.Columns) * _depth(header) * frames:
            problem = f"has {size:,} bytes or more, too many for {header.Columns}x{header.Rows} pixels"
            raise UserError(path, problem, "Check the file, or download it again")


class _Counted:
    """Mixed into a stream: reading a file of too many elements ends, before their objects fill the memory."""

    left = _MOST_READS

    def read(self, size: int | None = -1) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise OverflowError("too many elements")
        return super().read(size)  # type: ignore[misc]


class _File(_Counted, io.FileIO): ...


class _Memory(_Counted, io.BytesIO): ...


def _read_file(path: Path, **options: Any) -> Dataset:
    pydicom = _pydicom(path)
    stream: _Counted | None = None
    try:
        if (inflated := _inflated(pydicom, path)) is None:
            with _File(str(path)) as stream:
                # force: some archives omit the 128-byte preamble.
                return pydicom.dcmread(stream, force=True, **options)
        data = pydicom.dcmread(stream := inflated, force=True, **options | {"defer_size": None})
        data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        return data
    except (UserError, FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # pydicom raises errors of many classes on malformed files
        if stream and stream.left < 0:
            problem = "has too many elements for a radiograph"
            raise UserError(path, problem, "Export it again, or save it as PNG") from error
        raise _no_image(path) from error


def _inflated(pydicom: Any, path: Path) -> _Memory | None:
    """Return the data set of a deflated file, inflated no further than its image needs; None for other files."""
    reader = pydicom.filereader
    with _File(str(path)) as stream:
        reader.read_preamble(stream, force=True)
        meta = reader.read_dataset(stream, False, True, stop_when=lambda tag, *_: tag.group != 2)
        if meta.get("TransferSyntaxUID") != pydicom.uid.DeflatedExplicitVRLittleEndian:
            return None
        deflated = stream.read()
    decoder = zlib.decompressobj(-zlib.MAX_WBITS)
    start = decoder.decompress(deflated, _PART)
    header = pydicom.dcmread(_Memory(start), force=True, stop_before_pixels=True)
    most = _SLACK + 2 * int(header.Rows) * int(header.Columns) * _depth(header)
    content = _Memory()
    content.write(start)
    while (rest := decoder.unconsumed_tail) and content.tell() <= most:
        content.write(decoder.decompress(rest, _PART))
    _require_plausible(path, header, content.tell())
    if not decoder.eof:
        raise damaged(path, "its deflated data set is truncated")
    content.seek(0)
    return content


def _no_image(path: Path) -> UserError:
    return UserError(path, "is not a DICOM file with an image in it", "Check the file, or remove it")


def _read_data(path: Path, notes: list[str]) -> Dataset:
    """Read the whole file and fill in missing elements that the decoder needs."""
    pydicom, data = _pydicom(path), _read_file(path)
    try:
        if not any(keyword in data for keyword in _PIXELS):
            raise _no_image(path)
        if "TransferSyntaxUID" not in data.file_meta:  # a file without preamble lacks this header
            data.file_meta.TransferSyntaxUID = _guessed_syntax(pydicom, data)
        _fill_in(data, notes)
        if "PixelData" in data:
            _check_length(path, data)
    except UserError:
        raise
    except Exception as error:  # as above
        raise damaged(path, error) from error
    kinds = _COLOUR_MODELS if data.SamplesPerPixel != 1 else {"MONOCHROME1", "MONOCHROME2", _PALETTE}
    if data.PhotometricInterpretation not in kinds:
        problem = f"its colours ({data.PhotometricInterpretation}, {data.SamplesPerPixel} channels) are not supported"
        raise UserError(path, problem, "Save it as grey PNG")
    return data


def _fill_in(data: Dataset, notes: list[str]) -> None:
    """Set elements of the pixel format that are missing or impossible."""
    allocated = int(data.BitsAllocated)
    if not 1 <= int(data.get("BitsStored") or 0) <= allocated:
        data.BitsStored = None
    for keyword, value in (*_DEFAULTS.items(), ("BitsStored", allocated), ("HighBit", None)):
        if data.get(keyword) in (None, ""):
            value = data.BitsStored - 1 if value is None else value
            setattr(data, keyword, value)
            notes.append(f"{keyword} is missing, taken as {value}")
    data.PhotometricInterpretation = str(data.PhotometricInterpretation).strip().upper()


def _check_length(path: Path, data: Dataset) -> None:
    """Refuse uncompressed data with a surplus row or more: the stated size is wrong, so rows would be shifted."""
    if data.file_meta.TransferSyntaxUID.is_encapsulated or data.PhotometricInterpretation == "YBR_FULL_422":
        return
    row = int(data.Columns) * int(data.SamplesPerPixel) * int(data.BitsAllocated) // 8
    if (excess := len(data.PixelData) - row * int(data.Rows)) >= row:
        problem = f"has {excess:,} bytes more than an image of {data.Columns}x{data.Rows} pixels"
        raise UserError(path, problem, "Correct Rows and Columns, or download the file again")


def _first_frame(pydicom: Any, data: Dataset) -> bytes:
    return next(pydicom.encaps.generate_frames(data.PixelData, number_of_frames=1))


def _guessed_syntax(pydicom: Any, data: Dataset) -> Any:
    """Guess a missing transfer syntax from the encoding of the header and the first bytes of the pixels."""
    uid, (implicit, little) = pydicom.uid, data.original_encoding
    if "PixelData" in data and data["PixelData"].is_undefined_length:
        frame = _first_frame(pydicom, data)
        if frame[:2] != b"\xff\xd8":
            return uid.JPEG2000 if frame[:2] == b"\xff\x4f" or frame[4:6] == b"jP" else uid.RLELossless
        found = jpeg_frame(frame)
        return {0xC0: uid.JPEGBaseline8Bit, 0xC3: uid.JPEGLossless, 0xF7: uid.JPEGLSLossless}.get(
            found.marker if found else 0, uid.JPEGExtended12Bit
        )
    explicit = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
    return uid.ImplicitVRLittleEndian if implicit else explicit


def _decode(path: Path, data: Dataset) -> np.ndarray:
    pydicom = _pydicom(path)
    try:
        if data.file_meta.TransferSyntaxUID.is_encapsulated:
            frame = _first_frame(pydicom, data)
            check_frame(path, frame, int(data.Rows), int(data.Columns), data.SamplesPerPixel * data.BitsAllocated // 8)
            if data.SamplesPerPixel == 1 and frame[:2] == b"\xff\xd8" and (known := jpeg_frame(frame)):
                # Some files declare 16 bits but store 8: trust the stream.
                data.BitsAllocated = 8 if known.bits <= 8 else 16
                data.BitsStored = min(data.BitsStored, data.BitsAllocated)
                data.HighBit = data.BitsStored - 1
        # `stored_bits` handles unused bits, because pydicom always assumes them to be the highest.
        return pydicom.pixels.pixel_array(data, correct_unused_bits=False)
    except RuntimeError as error:  # covers NotImplementedError
        if "exceptions were raised" in str(error):  # by the decoders
            raise damaged(path, f"its {data.file_meta.TransferSyntaxUID.name} pixels") from error
        raise UserError(path, f"its compression cannot be decoded ({error})", _EXTRA) from error
    except DECODE_ERRORS as error:
        raise damaged(path, error) from error


def _by_palette(path: Path, stored: np.ndarray, header: Dataset) -> Picture:
    """Convert each palette index that occurs, then the image by a table, which takes little memory."""
    if stored.dtype.itemsize > 2:
        problem = f"its palette has indices of {8 * stored.dtype.itemsize} bits, which DICOM does not know"
        raise UserError(path, problem, "Save it as grey PNG")
    codes, present = _codes(stored)
    colours = _palette_colours(path, present.view(stored.dtype), header)
    small = small_colours(_looked_up(codes, present, colours))
    return Picture(_looked_up(codes, present, luma(colours[None])[0]), None, small)


def _palette_colours(path: Path, stored: np.ndarray, header: Dataset) -> np.ndarray:
    """Return the colours (n, 3), uint8 or uint16, of n palette indices."""
    try:
        if "RedPaletteColorLookupTableData" not in header:
            return _pydicom(path).pixels.apply_color_lut(stored[None], header)[0, :, :3]
        little = header.original_encoding[1] is not False
        tables = [
            display.LookUp.of(header[f"{name}PaletteColorLookupTableDescriptor"], header[f"{name}{data}"], little)
            for name, data in ((name, "PaletteColorLookupTableData") for name in ("Red", "Green", "Blue"))
        ]
        return np.stack([table.apply(stored) for table in tables], axis=-1).astype(np.uint16)
    except DECODE_ERRORS as error:
        raise UserError(path, f"its palette is not supported ({error})", "Save it as grey PNG") from error


def _modality(path: Path, header: Dataset) -> str:
    """Return the modality, preferring the storage class: converters often copy the tag from another file."""
    try:
        storage = _pydicom(path).uid.UID(str(header.get("SOPClassUID") or "")).name
        named = next((modality for words, modality in _STORAGE.items() if words in storage), "")
        return named or str(header.get("Modality") or "").strip().upper()
    except DECODE_ERRORS:
        return ""
