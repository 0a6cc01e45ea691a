"""Detect file types by content; the limits of images."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from covid_keras.common.errors import UserError
from covid_keras.common.files import require_file

PNG, JPEG, TIFF, BMP, GIF, DICOM = "PNG", "JPEG", "TIFF", "BMP", "GIF", "DICOM"
JSRT_RAW = "raw JSRT"
# Limits of an image: pixels per side, and bytes before compression, four per pixel of the largest image.
MIN_SIDE, MAX_SIDE = 16, 12_000
MAX_BYTES = 4 * MAX_SIDE**2
LIMITS = f"{MIN_SIDE} to {MAX_SIDE:,} pixels per side, at most {MAX_BYTES // 10**6} MB unpacked"
RADIOGRAPHS = frozenset({PNG, JPEG, TIFF, BMP, DICOM, JSRT_RAW})
# Usual suffixes of supported files, without raw JSRT files, because `.img` is used for many other types.
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".dcm", ".dicom"})

# (offset, bytes, kind); the first match counts.
_SIGNATURES = (
    (0, b"\x89PNG\r\n\x1a\n", PNG),
    (0, b"\xff\xd8\xff", JPEG),
    (128, b"DICM", DICOM),  # before TIFF: a DICOM file's preamble may make it a TIFF file as well
    *((0, start, TIFF) for start in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    (0, b"GIF8", GIF),
    (8, b"WEBP", "WebP"),
    (4, b"jP  \r\n", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (4, b"JXL \r\n", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    *((4, b"ftyp" + brand, "AVIF") for brand in (b"avif", b"avis")),
    *((4, b"ftyp" + brand, "HEIC") for brand in (b"heic", b"heix", b"heim", b"hevc", b"mif1", b"msf1")),
    (4, b"ftyp", "video"),
    (0, b"8BPS", "Photoshop"),
    (0, b"%PDF", "PDF"),
    (0, b"%!PS", "PostScript"),
    (344, b"n+1\0", "NIfTI"),
    (344, b"ni1\0", "NIfTI"),
    (4, b"n+2\0", "NIfTI"),
    (0, b"NRRD", "NRRD"),
    (0, b"\x89HDF\r\n\x1a\n", "HDF5"),
    (0, b"\x93NUMPY", "NumPy"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"PK\x05\x06", "zip"),
    (0, b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    (0, b"Rar!", "RAR"),
    (257, b"ustar", "tar"),
    (0, b"BZh", "bzip2"),
    (0, b"\xfd7zXZ\0", "xz"),
    (0, b"version https://git-lfs", "Git LFS pointer"),
)
_GZIP = b"\x1f\x8b"
# Largest file of an image.
MOST_BYTES = 2 * MAX_BYTES
_START = 512
# Possible sizes of the second BMP header; the two-letter signature alone is not reliable.
_BMP_HEADERS = frozenset({12, 40, 52, 56, 64, 108, 124})


def sniff(path: str | Path) -> str:
    """Return the type of a file, independent of its name.

    Returns
    -------
    str
        One of `RADIOGRAPHS`, or the name of another type: "GIF", "WebP", "HEIC", "PDF", "NIfTI", "zip", "web page",
        "text", ...; "" if unknown. Raw files of the JSRT database have no signature and are detected by the suffix
        `.IMG`; DICOM files without preamble by their first element.

    Raises
    ------
    UserError
        If the file is missing, a folder, empty or cannot be read.
    """
    path = Path(path)
    require_file(path, MOST_BYTES)
    try:
        with open(path, "rb") as stream:
            start = stream.read(_START)
    except OSError as error:
        raise UserError(path, f"cannot be read ({error.strerror})", "Check its permissions") from error
    if not start:
        raise UserError(path, "the file is empty (0 bytes)", "Download it again")
    return _kind_of(start) or (JSRT_RAW if path.suffix.lower() == ".img" else _text_kind(start))


def is_radiograph(path: Path) -> bool:
    """Whether a file has an image suffix or the content of a radiograph; never raises."""
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return True
    try:
        return path.name != "DICOMDIR" and sniff(path) in RADIOGRAPHS
    except UserError:  # empty or unreadable
        return False


def not_a_radiograph(path: str | Path, kind: str) -> UserError:
    """Return the error for a file of another type, naming that type."""
    problem = "is not a PNG, JPEG, TIFF, BMP or DICOM image, according to its content"
    problem += f", but {kind}" if kind else ""
    if kind == "Git LFS pointer":
        return UserError(path, problem, "Run git lfs pull to fetch the file itself")
    packed = kind in ("zip", "gzip", "tar", "7-Zip", "RAR", "bzip2", "xz")
    return UserError(path, problem, "Unpack it first" if packed else "Convert it to PNG, or leave it out")


def _kind_of(start: bytes) -> str:
    for offset, signature, kind in _SIGNATURES:
        if start[offset : offset + len(signature)] == signature:
            return kind
    if start[:2] == b"BM" and start[14:18] and int.from_bytes(start[14:18], "little") in _BMP_HEADERS:
        return BMP
    if start[:2] == _GZIP:
        return _packed_kind(start)
    return DICOM if _starts_as_dicom(start) else ""


def _packed_kind(start: bytes) -> str:
    """Return "NIfTI" for a compressed NIfTI volume, else the archive type."""
    try:
        inside = zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(start, _START)
    except zlib.error:
        return "gzip"
    # NIfTI files start with the length of their header: 348 or 540.
    return "NIfTI" if inside[:4] in (struct.pack("<i", 348), struct.pack("<i", 540)) else "gzip"


def _starts_as_dicom(start: bytes) -> bool:
    """Detect DICOM without preamble: an element of group 2 or 8 with a plausible length, followed by another one."""
    for order in "<>":
        offset, last = 0, (0, 0)
        for _ in range(2):
            element = _element(start[offset : offset + 12], order)
            if element is None or element[0] <= last or element[0][0] not in (2, 8):
                break
            last, offset = element[0], offset + element[1]
        else:
            return True
    return False


def _element(data: bytes, order: str) -> tuple[tuple[int, int], int] | None:
    """Return tag and total length of the DICOM element at the start of `data`; None if there is none."""
    if len(data) < 12:
        return None
    group, number = struct.unpack(order + "HH", data[:4])
    representation = data[4:6]
    if not (representation.isalpha() and representation.isupper()):
        header, length = 8, struct.unpack(order + "I", data[4:8])[0]
    elif representation in (b"OB", b"OW", b"SQ", b"UN", b"UT", b"UC", b"UR", b"OF", b"OD", b"OL", b"SV", b"UV"):
        header, length = 12, struct.unpack(order + "I", data[8:12])[0]
    else:
        header, length = 8, struct.unpack(order + "H", data[6:8])[0]
    return None if length % 2 or length > _START - 24 else ((group, number), header + length)


def _text_kind(start: bytes) -> str:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text[:1] == b"<":
        lower = text.lower()
        return "SVG" if b"<svg" in lower else "web page" if b"<html" in lower or b"<!doctype" in lower else "XML"
    printable = sum(32 <= byte < 127 or byte in b"\t\r\n" or byte >= 128 for byte in start)
    return "text" if printable == len(start) and sum(byte < 128 for byte in start) > len(start) / 2 else ""
