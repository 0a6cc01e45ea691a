"""Pictures in many encodings, and damage to them."""

from __future__ import annotations

import io
import struct
from types import ModuleType

import numpy as np
import tifffile
from PIL import Image

from tests.helpers.images import smooth_noise

HEIGHT, WIDTH = 240, 200
STRIP = 40


def textured(seed: int = 0) -> np.ndarray:
    """Return lights and shades with some noise, uint8."""
    noise = np.random.default_rng(seed).integers(0, 25, (HEIGHT, WIDTH))
    return (smooth_noise(seed, HEIGHT, WIDTH) * 0.9 + noise).astype(np.uint8)


GREY = textured()
DEEP = GREY.astype(np.uint16) * 257


def encoded(image: np.ndarray, kind: str, **options: object) -> bytes:
    """Return an image as Pillow writes it."""
    with io.BytesIO() as stream:
        Image.fromarray(image).save(stream, kind, **options)
        return stream.getvalue()


def half(content: bytes, end: bytes = b"") -> bytes:
    """Return the first half of a file, and an end."""
    return content[: len(content) // 2] + end


def zeroed(content: bytes, count: int = 600) -> bytes:
    """Return a file with zeros in the middle."""
    start = len(content) * 2 // 5
    return content[:start] + bytes(count) + content[start + count :]


def repeated(content: bytes) -> bytes:
    """Return a file of which a part occurs twice."""
    return content[: len(content) * 3 // 5] + content[len(content) * 2 // 5 :]


def tiff(image: np.ndarray, compression: str | None) -> bytes:
    """Return an image as tifffile writes it, in strips of 40 rows."""
    with io.BytesIO() as stream:
        tifffile.imwrite(stream, image, compression=compression, rowsperstrip=STRIP)
        return stream.getvalue()


def dicom(pydicom: ModuleType, frame: bytes, syntax: str, image: np.ndarray = GREY) -> bytes:
    """Return a DICOM file of a frame, with the header of `image`."""
    data, uid = pydicom.Dataset(), getattr(pydicom.uid, syntax)
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = uid
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    data.Rows, data.Columns = image.shape
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    data.BitsAllocated = data.BitsStored = 8 * image.dtype.itemsize
    data.HighBit = data.BitsStored - 1
    data.PixelData = pydicom.encaps.encapsulate([frame]) if uid.is_encapsulated else frame
    data["PixelData"].VR = "OW"
    with io.BytesIO() as stream:
        data.save_as(stream, enforce_file_format=True)
        return stream.getvalue()


def packed(image: np.ndarray) -> bytes:
    """Return an RLE frame of one segment, of literal runs."""
    runs = [image.tobytes()[start : start + 128] for start in range(0, image.size, 128)]
    content = b"".join(bytes([len(run) - 1]) + run for run in runs)
    return struct.pack("<16I", 1, 64, *[0] * 14) + content + bytes(len(content) % 2)


COLOUR = np.dstack([textured(1), textured(2), textured(3)])
JPEGS = {
    "grey": encoded(GREY, "JPEG"),
    "optimised": encoded(GREY, "JPEG", optimize=True),
    "restarts": encoded(GREY, "JPEG", restart_marker_rows=2),
    "progressive": encoded(GREY, "JPEG", progressive=True),
    "colour": encoded(COLOUR, "JPEG", quality=90),
    "colour, progressive": encoded(COLOUR, "JPEG", progressive=True),
    "not subsampled": encoded(COLOUR, "JPEG", subsampling=0),
}
