"""What reading a picture may cost: a few bytes per pixel, whatever the file claims or unpacks to."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from covid_keras.data.images import image_size, read_image
from covid_keras.data.picture import MAX_BYTES, MAX_SIDE
from tests.helpers.damaged import dicom, encoded
from tests.helpers.images import smooth_noise
from tests.helpers.made_files import png_chunk, write_png
from tests.helpers.refusals import refused

MOST_PER_PIXEL, BESIDE = 8, 2 << 20
# Reads a small picture first, so that libraries are loaded; prints the peak above it in bytes, and the error.
PROGRAM = """
import sys
from covid_keras.common.errors import UserError
from covid_keras.data.images import read_radiograph
read_radiograph(sys.argv[1])
def status(key):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))
with open("/proc/self/clear_refs", "w") as stream:
    stream.write("5")  # resets the peak
before, said = status("VmRSS"), ""
try:
    read_radiograph(sys.argv[2])
except UserError as error:
    said = str(error)
print(status("VmHWM") - before, said)
"""
SIDE = 2400


def cost(tmp_path: Path, name: str, small: bytes, content: bytes) -> tuple[int, str]:
    """Return the peak memory for reading a picture, and its error, in a process that has read a small one before."""
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("needs /proc/self/clear_refs")
    paths = [tmp_path / f"small-{name}", tmp_path / name]
    paths[0].write_bytes(small)
    paths[1].write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, paths)], capture_output=True, text=True, check=True, timeout=120
    )
    peak, _, said = done.stdout.strip().partition(" ")
    return int(peak), said


def deep(side: int) -> np.ndarray:
    return smooth_noise(0, side, side).astype(np.uint16) * 250 + np.arange(side, dtype=np.uint16) % 200


def tiff(image: np.ndarray, **options: object) -> bytes:
    with io.BytesIO() as stream:
        tifffile.imwrite(stream, image, **options)
        return stream.getvalue()


def deep_png(side: int) -> bytes:
    return encoded(deep(side), "PNG", compress_level=1)


def deep_dicom(side: int, syntax: str = "ExplicitVRLittleEndian") -> bytes:
    return dicom(pytest.importorskip("pydicom"), deep(side).tobytes(), syntax, deep(side))


def colours(side: int, mode: str, kind: str, **options: object) -> bytes:
    image = Image.fromarray(smooth_noise(0, side, side)).convert(mode)
    if image.mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(smooth_noise(1, side, side)))
    with io.BytesIO() as stream:
        image.save(stream, kind, **options)
        return stream.getvalue()


SOUND: dict[str, Callable[[int], bytes]] = {
    "8.png": lambda side: encoded(smooth_noise(0, side, side), "PNG"),
    "16.png": deep_png,
    "8.jpg": lambda side: encoded(smooth_noise(0, side, side), "JPEG"),
    "progressive.jpg": lambda side: encoded(smooth_noise(0, side, side), "JPEG", progressive=True),
    "8.bmp": lambda side: encoded(smooth_noise(0, side, side), "BMP"),
    "16.tif": lambda side: tiff(deep(side)),
    "16-deflated.tif": lambda side: tiff(deep(side), compression="zlib"),
    "16.dcm": deep_dicom,
    "alpha.png": lambda side: colours(side, "RGBA", "PNG"),
    "grey-alpha.png": lambda side: colours(side, "LA", "PNG"),
    "palette-alpha.png": lambda side: colours(side, "P", "PNG", transparency=bytes(range(256))),
    "colour.png": lambda side: colours(side, "RGB", "PNG"),
    "colour.tif": lambda side: colours(side, "RGB", "TIFF"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SOUND)
def test_reading_takes_a_few_bytes_per_pixel(tmp_path, name):
    peak, said = cost(tmp_path, name, SOUND[name](200), SOUND[name](SIDE))
    assert said == ""
    assert peak <= MOST_PER_PIXEL * SIDE**2 + BESIDE


# --- files that unpack to more than they state; each would take some 200 MB or more

BOMB = 200 << 20


def png_bomb() -> bytes:
    head = struct.pack(">IIBBBBB", 200, 200, 8, 0, 0, 0, 0)
    chunks = png_chunk(b"IHDR", head) + png_chunk(b"IDAT", zlib.compress(bytes(BOMB))) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def tiff_with(tag: int, value: int, **options: object) -> bytes:
    """Return a TIFF file with another value of a tag."""
    content = tiff(deep(200), **options)
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        found = file.pages[0].tags[tag]
        size = found.valuebytecount
    return content[: found.valueoffset] + value.to_bytes(size, "little") + content[found.valueoffset + size :]


def tiff_bomb() -> bytes:
    """Return a TIFF file whose only strip inflates to more than the image."""
    content = tiff(deep(200), compression="zlib", rowsperstrip=200)
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        offset, count = file.pages[0].tags[273], file.pages[0].tags[279]
    packed = zlib.compress(bytes(BOMB))
    made = bytearray(content)
    for tag, value in ((offset, len(content)), (count, len(packed))):
        made[tag.valueoffset : tag.valueoffset + tag.valuebytecount] = value.to_bytes(tag.valuebytecount, "little")
    return bytes(made) + packed


def dicom_bomb() -> bytes:
    """Return a deflated DICOM file of 200 x 200 pixels with 200 MB of zeros after them."""
    content = deep_dicom(200, "DeflatedExplicitVRLittleEndian")
    start = 132 + 12 + int.from_bytes(content[140:144], "little")
    whole = zlib.decompress(content[start:], -zlib.MAX_WBITS)
    place = whole.index(b"\xe0\x7f\x10\x00OW") + 8
    encoder = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    made = whole[:place] + BOMB.to_bytes(4, "little") + bytes(BOMB)
    return content[:start] + encoder.compress(made) + encoder.flush()


def rle_bomb() -> bytes:
    frame = struct.pack("<16I", 2, 64, 64 + 100_000, *[0] * 13) + b"\x81\0" * (BOMB // 256)
    return dicom(pytest.importorskip("pydicom"), frame, "RLELossless", deep(200))


# Elements of a header, each of a few bytes; items of a sequence, and how it ends if its length is not given.
ELEMENTS = b"".join(struct.pack("<HH2sH", 0x29, 0x1000 + n % 0xE000, b"SH", 0) for n in range(300_000))
ITEMS = struct.pack("<HHIHH2sH", 0xFFFE, 0xE000, 8, 8, 0x100, b"SH", 0) * 300_000
SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def sequence(length: int) -> bytes:
    return struct.pack("<HH2sHI", 0x29, 0x1010, b"SQ", 0, length)


def dicom_with(elements: bytes) -> bytes:
    """Return a DICOM file with further elements before its pixels."""
    content = deep_dicom(200)
    place = content.index(b"\xe0\x7f\x10\x00OW")
    return content[:place] + elements + content[place:]


def jpeg_with(segment: bytes) -> bytes:
    """Return a JPEG file with a segment a million times."""
    content = SOUND["8.jpg"](200)
    return content[:2] + segment * 1_000_000 + content[2:]


def many_scans() -> bytes:
    """Return a JPEG file of 4000 x 4000 pixels whose last scan, of few bytes, occurs a thousand times."""
    content = encoded(np.zeros((4000, 4000), np.uint8), "JPEG", progressive=True)
    return content[:-2] + content[content.rindex(b"\xff\xda") : -2] * 1000 + content[-2:]


BOMBS: dict[str, tuple[Callable[[], bytes], Callable[[int], bytes]]] = {
    "deflate.png": (png_bomb, SOUND["8.png"]),
    "deflate.tif": (tiff_bomb, SOUND["16.tif"]),
    "tile.tif": (lambda: tiff_with(322, 1 << 15, tile=(128, 128)), SOUND["16.tif"]),
    "channels.tif": (lambda: tiff_with(277, 5000), SOUND["16.tif"]),
    "deflate.dcm": (dicom_bomb, deep_dicom),
    "rle.dcm": (rle_bomb, deep_dicom),
    "elements.dcm": (lambda: dicom_with(ELEMENTS), deep_dicom),
    "items.dcm": (lambda: dicom_with(sequence(len(ITEMS)) + ITEMS), deep_dicom),
    "items-of-unknown-length.dcm": (lambda: dicom_with(sequence(0xFFFFFFFF) + ITEMS + SEQUENCE_END), deep_dicom),
    "application-segments.jpg": (lambda: jpeg_with(b"\xff\xe2\x00\x02"), SOUND["8.jpg"]),
    "tables.jpg": (lambda: jpeg_with(b"\xff\xc4\x00\x02"), SOUND["8.jpg"]),
    "scans.jpg": (many_scans, SOUND["progressive.jpg"]),
}
# A long sequence is not looked at.
HARMLESS = ("items.dcm",)


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_at_little_cost(tmp_path, name):
    make, sound = BOMBS[name]
    peak, said = cost(tmp_path, name, sound(200), make())
    assert (name in said) != (name in HARMLESS)
    assert peak < BOMB // 3


def test_the_limits_are_checked_before_decoding(tmp_path):
    path = tmp_path / "picture"
    head = struct.pack(">IIBBBBB", MAX_SIDE, MAX_SIDE, 16, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", head) + png_chunk(b"IEND", b""))
    for read in (image_size, read_image):
        refused(f"at most {MAX_BYTES // 6:,} pixels of 6 bytes", read, path)
    write_png(path, np.zeros((200, 200), np.uint8), png_chunk(b"eXIf", bytes(3 << 20)))
    assert read_image(path).shape == (200, 200)
    Image.new("L", (MAX_SIDE + 1, 20)).save(path, "BMP")
    refused(f"{MAX_SIDE} pixels", read_image, path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF"])
def test_a_file_far_larger_than_its_pixels_is_refused_unread(tmp_path, kind):
    path = tmp_path / "picture"
    path.write_bytes(encoded(smooth_noise(0, 200, 200), kind))
    os.truncate(path, 1 << 30)  # sparse: it takes no room
    tracemalloc.start()
    try:
        refused("too many for 200x200 pixels", read_image, path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
    finally:
        tracemalloc.stop()
