"""DICOM files: what they hold, and their way to a `Picture`; the display steps themselves stand in `dicom_display`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from covid_keras.common.errors import UserError
from covid_keras.data import dicom_display as display
from covid_keras.data.picture import DECODE_ERRORS, Picture, check_finite, check_size, damaged, luma, small_colours

if TYPE_CHECKING:
    from pydicom import Dataset

_EXTRA = "Run: pip install 'covid-keras[dicom]'"
_DEFAULTS = {"SamplesPerPixel": 1, "PixelRepresentation": 0, "PhotometricInterpretation": "MONOCHROME2"}
# Storage classes that tell the modality, whatever the tag says: words of their names -> modality.
_STORAGE = {"CT Image": "CT", "MR Image": "MR", "Ultrasound": "US", "Positron": "PT", "Nuclear": "NM", "Mammo": "MG"}
_COLOUR_MODELS = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "YBR_PARTIAL_420"})
_PALETTE = "PALETTE COLOR"


def dicom_size(path: Path) -> tuple[int, int]:
    """Return (height, width) as `read_dicom` would give it, from the header alone."""
    return display.Geometry.of(_read_header(path), []).size(path)


def read_dicom(path: Path) -> Picture:
    """Read a DICOM file of one frame as it is to be displayed; the values are float64.

    Raises `UserError` where pydicom or the decoder of its compression is missing, where there is no image, or several,
    or one out of bounds, or where its pixels are damaged or not understood.
    """
    header, notes = _read_header(path), list[str]()
    display.drop_empty(header, notes)
    geometry = display.Geometry.of(header, notes)
    geometry.size(path)
    data = _read_data(path, notes)
    stored = _decode(path, data)
    if data.PhotometricInterpretation == _PALETTE:
        stored = _from_palette(path, stored, header)
    check_finite(path, stored)
    if stored.ndim == 3:
        picture = Picture(luma(stored), None, small_colours(stored))
    else:
        stored, valid = display.stored_bits(path, stored, header, notes)
        picture = Picture(display.display_values(stored, valid, header, notes), valid)
    return geometry.apply(picture)._replace(warnings=tuple(notes), modality=_modality(path, header))


def _pydicom(path: Path) -> Any:
    try:
        import pydicom
        import pydicom.encaps
        import pydicom.pixels
    except ImportError as error:
        raise UserError(path, "is a DICOM file, and pydicom 3 is not installed", _EXTRA) from error
    return pydicom


def _read_header(path: Path) -> Dataset:
    """Read everything but the pixels; check that it is one image of a usable size."""
    pydicom = _pydicom(path)
    try:
        # force: some archives store DICOM without the 128-byte preamble.
        header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        height, width = int(header.Rows), int(header.Columns)
        frames = int(header.get("NumberOfFrames") or 1)
    except DECODE_ERRORS as error:
        raise UserError(path, "is not a DICOM file with an image in it", "Check the file, or remove it") from error
    check_size(path, height, width)
    if frames > 1:
        raise UserError(path, f"holds {frames} frames", "Save one radiograph per file")
    return header


def _read_data(path: Path, notes: list[str]) -> Dataset:
    """Read the whole file, what its decoder needs filled in where it is missing."""
    pydicom = _pydicom(path)
    try:
        data = pydicom.dcmread(path, force=True)
        if "TransferSyntaxUID" not in data.file_meta:  # a file without preamble has no header to say it
            implicit, little = data.original_encoding
            uid = pydicom.uid
            explicit = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
            data.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if implicit else explicit
        allocated = int(data.BitsAllocated)
        defaults = _DEFAULTS | {"BitsStored": allocated, "HighBit": int(data.get("BitsStored") or allocated) - 1}
        for keyword, value in defaults.items():
            if data.get(keyword) in (None, ""):
                setattr(data, keyword, value)
                notes.append(f"it does not say its {keyword}, taken as {value}")
        if data.file_meta.TransferSyntaxUID.name.startswith("JPEG ") and data.SamplesPerPixel == 1:
            _trust_codec(pydicom, data)
    except DECODE_ERRORS as error:
        raise damaged(path, error) from error
    kinds = _COLOUR_MODELS if data.SamplesPerPixel != 1 else {"MONOCHROME1", "MONOCHROME2", _PALETTE}
    if data.PhotometricInterpretation not in kinds:
        problem = f"its colours ({data.PhotometricInterpretation}, {data.SamplesPerPixel} channels) are not understood"
        raise UserError(path, problem, "Save it as grey PNG")
    return data


def _trust_codec(pydicom: Any, data: Dataset) -> None:
    """Set the number of allocated bits to that of the JPEG stream: some files have 8 bits in what they call 16."""
    frame = next(pydicom.encaps.generate_frames(data.PixelData, number_of_frames=1))
    place = 2
    while place + 5 <= len(frame) and frame[place] == 0xFF:
        marker = frame[place + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a frame header: its first byte is the depth
            precision = frame[place + 4]
            data.BitsAllocated = 8 if precision <= 8 else 16
            data.BitsStored = min(data.BitsStored, data.BitsAllocated)
            data.HighBit = data.BitsStored - 1
            return
        place += 2 + int.from_bytes(frame[place + 2 : place + 4], "big")


def _decode(path: Path, data: Dataset) -> np.ndarray:
    pydicom = _pydicom(path)
    try:
        # The bits that are not stored are left to `stored_bits`: pydicom takes them to be the highest, always.
        return pydicom.pixels.pixel_array(data, correct_unused_bits=False)
    except RuntimeError as error:  # covers NotImplementedError
        raise UserError(path, f"its compression cannot be decoded ({error})", _EXTRA) from error
    except DECODE_ERRORS as error:
        raise damaged(path, error) from error


def _from_palette(path: Path, stored: np.ndarray, header: Dataset) -> np.ndarray:
    """Return colours (H, W, 3) of indices into the file's palette."""
    try:
        if "RedPaletteColorLookupTableData" not in header:
            return _pydicom(path).pixels.apply_color_lut(stored, header)[..., :3]
        little = header.original_encoding[1] is not False
        tables = [
            display.LookUp.of(header[f"{name}PaletteColorLookupTableDescriptor"], header[f"{name}{data}"], little)
            for name, data in ((name, "PaletteColorLookupTableData") for name in ("Red", "Green", "Blue"))
        ]
        return np.stack([table.apply(stored) for table in tables], axis=-1)
    except DECODE_ERRORS as error:
        raise UserError(path, f"its palette is not understood ({error})", "Save it as grey PNG") from error


def _modality(path: Path, header: Dataset) -> str:
    """Return the modality, that of the storage class first: converters often copy the tag of another file."""
    try:
        storage = _pydicom(path).uid.UID(str(header.get("SOPClassUID") or "")).name
        named = next((modality for words, modality in _STORAGE.items() if words in storage), "")
        return named or str(header.get("Modality") or "").strip().upper()
    except DECODE_ERRORS:
        return ""
