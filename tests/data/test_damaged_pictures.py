"""Pictures that decoders read without an error, though some of their pixels are missing or damaged, are refused."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from covid_keras.data import images
from covid_keras.data.dicom_frames import check_frame
from covid_keras.data.images import image_size, read_image, read_mask
from tests.helpers.damaged import (
    DEEP,
    GREY,
    HEIGHT,
    JPEGS,
    WIDTH,
    dicom,
    encoded,
    half,
    packed,
    repeated,
    tiff,
    zeroed,
)
from tests.helpers.made_files import lossless_jpeg, png_chunk, write_png
from tests.helpers.refusals import refused


def refuses(tmp_path: Path, content: bytes, read: Callable = read_image, words: str = "damaged or truncated") -> None:
    path = tmp_path / "picture"
    path.write_bytes(content)
    refused(words, read, path)


def reads(tmp_path: Path, content: bytes, read: Callable = read_image) -> np.ndarray:
    path = tmp_path / "picture"
    path.write_bytes(content)
    return read(path)


# --- JPEG


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


def test_coefficients_stated_wrongly_in_a_sequential_jpeg_are_ignored(tmp_path, capfd):
    sound = encoded(GREY, "JPEG")
    place = sound.index(b"\xff\xda") + 7
    assert sound[place : place + 3] == b"\0\x3f\0"
    odd = sound[:place] + b"\0\x05\0" + sound[place + 3 :]
    assert np.array_equal(reads(tmp_path, odd), reads(tmp_path, sound))
    refuses(tmp_path, zeroed(odd))
    assert capfd.readouterr().err == ""


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


def test_lzw_tiff_of_codes_that_are_not_in_its_table(tmp_path, capfd):
    content = bytearray(encoded(GREY, "TIFF", compression="tiff_lzw"))
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        place = file.pages[0].dataoffsets[0]
    content[place + 40 : place + 60] = b"\xff" * 20
    refuses(tmp_path, bytes(content), words=": ")
    assert capfd.readouterr().err == ""


# --- BMP and GIF


@pytest.mark.parametrize("tag", [257, 258, 259, 262, 273, 277, 279])
def test_tiff_with_a_tag_that_cannot_be_read(tmp_path, tag, capfd):
    content = bytearray(tiff(GREY, None))
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        place = file.pages[0].tags[tag].offset
    content[place + 4 : place + 8] = b"\xff\xff\xff\x7f"  # the number of its values
    refuses(tmp_path, bytes(content))
    assert capfd.readouterr().err == ""


def test_tiff_of_another_depth_than_its_strips(tmp_path):
    content = bytearray(tiff(GREY, None))
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        place = file.pages[0].tags[258].valueoffset
    content[place] = 1  # bits
    refuses(tmp_path, bytes(content))


@pytest.mark.parametrize("palette", [b"", bytes(3)])
def test_png_without_the_colours_of_its_pixels(tmp_path, palette):
    head, rows = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 3, 0, 0, 0), (b"\0" + bytes(range(WIDTH))) * HEIGHT
    chunks = [(b"IHDR", head), (b"PLTE", palette), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    refuses(tmp_path, b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*one) for one in chunks))


def test_bmp_and_gif(tmp_path):
    for kind, read in (("BMP", read_image), ("GIF", read_mask)):
        sound = encoded(GREY, kind)
        assert np.array_equal(reads(tmp_path, sound, read), GREY)
        for damaged in (half(sound), half(sound, b"\0;")):
            refuses(tmp_path, damaged, read)


# --- DICOM


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


def test_a_palette_of_more_than_16_bits(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    wide = GREY.astype(np.uint32)
    content = pydicom.dcmread(io.BytesIO(dicom(pydicom, wide.tobytes(), "ExplicitVRLittleEndian", DEEP)))
    content.BitsAllocated, content.BitsStored, content.HighBit = 32, 32, 31
    content.PhotometricInterpretation = "PALETTE COLOR"
    with io.BytesIO() as stream:
        content.save_as(stream)
        refuses(tmp_path, stream.getvalue(), words="palette")


def test_a_frame_of_another_size_than_the_header(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    large = np.zeros((700, 900), np.uint8)
    for syntax, frame in (("JPEGBaseline8Bit", encoded(large, "JPEG")), ("JPEG2000", encoded(large, "JPEG2000"))):
        refuses(tmp_path, dicom(pydicom, frame, syntax), words="900x700")


@pytest.mark.parametrize("read", [read_image, image_size])
@pytest.mark.parametrize("broken", [b"US\x01\0", b"FD\x03\0", b"\x55\x01\x02\0", b"SQ\x02\0"])
@pytest.mark.parametrize("element", [0x10, 0x11])
def test_dicom_with_a_number_that_cannot_be_read(tmp_path, element, broken, read):
    sound = dicom(pytest.importorskip("pydicom"), GREY.tobytes(), "ExplicitVRLittleEndian")
    place = sound.index(struct.pack("<HH", 0x28, element)) + 4
    refuses(tmp_path, sound[:place] + broken + sound[place + 4 :], read, words=": ")


# --- any


@pytest.mark.parametrize("read", [read_image, read_mask, image_size])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "DICOM"])
def test_a_file_that_vanishes_while_it_is_read(tmp_path, monkeypatch, read, kind):
    if kind == "DICOM" and read is read_mask:
        pytest.skip("no mask")
    if kind == "DICOM":
        sound = dicom(pytest.importorskip("pydicom"), GREY.tobytes(), "ExplicitVRLittleEndian")
    else:
        sound = encoded(GREY, kind)
    sniff = images.sniff

    def sniff_and_remove(path: Path) -> str:
        found = sniff(path)
        path.unlink()
        return found

    monkeypatch.setattr(images, "sniff", sniff_and_remove)
    refuses(tmp_path, sound, read, words="cannot be read|No such file")
