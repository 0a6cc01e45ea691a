"""Pictures that decoders read without an error, though some of their pixels are missing or damaged, are refused."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from covid_keras.data.dicom_frames import check_frame
from covid_keras.data.images import read_image, read_mask
from tests.helpers.images import smooth_noise
from tests.helpers.made_files import lossless_jpeg, png_chunk, write_png
from tests.helpers.refusals import refused

HEIGHT, WIDTH = 240, 200
STRIP = 40


def textured(seed: int = 0) -> np.ndarray:
    """Return lights and shades with some noise, uint8."""
    noise = np.random.default_rng(seed).integers(0, 25, (HEIGHT, WIDTH))
    return (smooth_noise(seed, HEIGHT, WIDTH) * 0.9 + noise).astype(np.uint8)


GREY = textured()
DEEP = GREY.astype(np.uint16) * 257


def encoded(image: np.ndarray, kind: str, **options: object) -> bytes:
    with io.BytesIO() as stream:
        Image.fromarray(image).save(stream, kind, **options)
        return stream.getvalue()


def half(content: bytes, end: bytes = b"") -> bytes:
    return content[: len(content) // 2] + end


def zeroed(content: bytes, count: int = 600) -> bytes:
    start = len(content) * 2 // 5
    return content[:start] + bytes(count) + content[start + count :]


def repeated(content: bytes) -> bytes:
    return content[: len(content) * 3 // 5] + content[len(content) * 2 // 5 :]


def refuses(tmp_path: Path, content: bytes, read: Callable = read_image, words: str = "damaged or truncated") -> None:
    path = tmp_path / "picture"
    path.write_bytes(content)
    refused(words, read, path)


def reads(tmp_path: Path, content: bytes, read: Callable = read_image) -> np.ndarray:
    path = tmp_path / "picture"
    path.write_bytes(content)
    return read(path)


# --- JPEG

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


@pytest.mark.parametrize("kind", JPEGS)
def test_jpeg(tmp_path, kind):
    sound = JPEGS[kind]
    assert reads(tmp_path, sound).shape == (HEIGHT, WIDTH)
    for damaged in (half(sound), half(sound, b"\xff\xd9"), zeroed(sound), repeated(sound), sound[:-400] + b"\xff\xd9"):
        refuses(tmp_path, damaged)


@pytest.mark.parametrize("kind", JPEGS)
def test_what_is_not_of_the_pixels_of_a_jpeg_is_ignored(tmp_path, kind):
    sound = JPEGS[kind]
    comment = b"\xff\xfe\0\x08abcdef"
    odd_version = sound.replace(b"JFIF\0\x01", b"JFIF\0\x09")
    for other in (sound + bytes(500), sound[:2] + comment + sound[2:], odd_version, sound[:-2] + bytes(9) + sound[-2:]):
        assert np.array_equal(reads(tmp_path, other), reads(tmp_path, sound))


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_lossless_jpeg_of_any_depth(bits):
    frame = bytearray(lossless_jpeg(GREY[:60, :64]))
    frame[frame.index(b"\xff\xc3") + 4] = bits
    check_frame(Path("x"), bytes(frame), 60, 64, -(-bits // 8))
    for damaged in (half(frame), half(frame, b"\xff\xd9"), zeroed(frame)):
        refused("damaged or truncated", check_frame, Path("x"), bytes(damaged), 60, 64, -(-bits // 8))
    refused("64x60", check_frame, Path("x"), bytes(frame), 61, 64, -(-bits // 8))


# --- PNG


def test_png_with_other_rows_than_stated(tmp_path):
    for image in (GREY, DEEP):
        content = write_png(tmp_path / "a.png", image).read_bytes()
        for rows in (HEIGHT - 1, HEIGHT + 1):
            head = struct.pack(">II", WIDTH, rows) + content[24:29]
            refuses(tmp_path, content[:8] + png_chunk(b"IHDR", head) + content[33:])


@pytest.mark.parametrize("default", [True, False])
def test_animated_png(tmp_path, default):
    frames = {"save_all": True, "append_images": [Image.fromarray(255 - GREY)], "default_image": default}
    refuses(tmp_path, encoded(GREY, "PNG", **frames), words="animated")
    claimed = write_png(tmp_path / "a.png", GREY, png_chunk(b"acTL", struct.pack(">II", 2, 0)))
    refuses(tmp_path, claimed.read_bytes(), words="animated")
    single = write_png(tmp_path / "a.png", GREY, png_chunk(b"acTL", struct.pack(">II", 1, 0)))
    assert np.array_equal(read_image(single), GREY)


# --- TIFF


def tiff(image: np.ndarray, compression: str | None) -> bytes:
    with io.BytesIO() as stream:
        tifffile.imwrite(stream, image, compression=compression, rowsperstrip=STRIP)
        return stream.getvalue()


def damaged_strips(content: bytes) -> Iterator[bytes]:
    """Yield the file with half its third strip, without it, and, if compressed, with zeros in it."""
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages[0]
        counts, offset = page.tags[279], page.dataoffsets[2]
        count, size = page.databytecounts[2], counts.valuebytecount // counts.count
    place = counts.valueoffset + 2 * size
    for stated in (count // 2, 0):
        yield content[:place] + stated.to_bytes(size, "little") + content[place + size :]
    if page.compression != 1:
        yield content[:offset] + bytes(count) + content[offset + count :]
        yield content[:offset] + zeroed(content[offset : offset + count], 20) + content[offset + count :]


@pytest.mark.parametrize("image", [GREY, DEEP], ids=["8 bits", "16 bits"])
@pytest.mark.parametrize("compression", [None, "zlib", "lzma"])
def test_tiff_without_a_strip(tmp_path, image, compression):
    sound = tiff(image, compression)
    reads(tmp_path, sound)
    for damaged in damaged_strips(sound):
        refuses(tmp_path, damaged)


@pytest.mark.parametrize("compression", ["jpeg", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_tiff_of_pillow(tmp_path, compression):
    sound = encoded(GREY, "TIFF", compression=compression)
    reads(tmp_path, sound)
    with tifffile.TiffFile(io.BytesIO(sound)) as file:
        offset, count = file.pages[0].dataoffsets[0], file.pages[0].databytecounts[0]
    start = offset + count // 3
    refuses(tmp_path, sound[:start] + bytes(count // 3) + sound[start + count // 3 :])


def test_tiff_of_pages(tmp_path):
    pages = {"save_all": True, "append_images": [Image.fromarray(255 - GREY)]}
    refuses(tmp_path, encoded(GREY, "TIFF", **pages), words="2 pages")


# --- BMP and GIF


def test_bmp_and_gif(tmp_path):
    for kind, read in (("BMP", read_image), ("GIF", read_mask)):
        sound = encoded(GREY, kind)
        assert np.array_equal(reads(tmp_path, sound, read), GREY)
        for damaged in (half(sound), half(sound, b"\0;")):
            refuses(tmp_path, damaged, read)


# --- DICOM


def dicom(pydicom, frame: bytes, syntax: str, image: np.ndarray = GREY) -> bytes:
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


@pytest.mark.parametrize(
    "syntax",
    ["ExplicitVRLittleEndian", "DeflatedExplicitVRLittleEndian", "JPEGBaseline8Bit", "JPEGLossless", "JPEG2000Lossless",
     "RLELossless"],
)  # fmt: skip
def test_dicom(tmp_path, syntax):
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("libjpeg")
    frames = {
        "JPEGBaseline8Bit": lambda: encoded(GREY, "JPEG"),
        "JPEGLossless": lambda: lossless_jpeg(GREY),
        "JPEG2000Lossless": lambda: encoded(GREY, "JPEG2000"),
        "RLELossless": lambda: packed(GREY),
    }
    frame = frames.get(syntax, GREY.tobytes)()
    reads(tmp_path, whole := dicom(pydicom, frame, syntax))
    damaged = [half(frame)]
    if syntax.startswith("JPEG"):
        damaged.append(half(frame, b"\xff\xd9"))
    if syntax in ("JPEGBaseline8Bit", "JPEGLossless", "RLELossless"):
        damaged.append(zeroed(frame))
    for one in damaged:
        refuses(tmp_path, dicom(pydicom, one, syntax))
    refuses(tmp_path, whole[: len(whole) * 2 // 3], words="damaged or truncated|is not a DICOM file with an image")


def packed(image: np.ndarray) -> bytes:
    """Return an RLE frame of one segment, of literal runs."""
    runs = [image.tobytes()[start : start + 128] for start in range(0, image.size, 128)]
    content = b"".join(bytes([len(run) - 1]) + run for run in runs)
    return struct.pack("<16I", 1, 64, *[0] * 14) + content + bytes(len(content) % 2)


def test_a_frame_of_another_size_than_the_header(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    large = np.zeros((700, 900), np.uint8)
    for syntax, frame in (("JPEGBaseline8Bit", encoded(large, "JPEG")), ("JPEG2000", encoded(large, "JPEG2000"))):
        refuses(tmp_path, dicom(pydicom, frame, syntax), words="900x700")
