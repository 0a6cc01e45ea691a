"""One picture in every depth, number of channels and layout: the same pixels; what is in doubt warns or is refused."""

from __future__ import annotations

import contextlib
import os
import struct
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, PngImagePlugin

from covid_keras.common.errors import UserError
from covid_keras.data.images import ImageWarning, image_size, read_image, read_mask, read_radiograph
from covid_keras.data.sniff import sniff
from covid_keras.data.sources.base import image_files
from tests.helpers.dicom import write_dicom
from tests.helpers.made_files import png_chunk, write_png

H, W = 24, 40


@pytest.fixture
def grey() -> np.ndarray:
    """Levels 40 to 167, no symmetry; none of them lies between two levels once stretched."""
    rows, columns = np.mgrid[:H, :W]
    return (40 + (rows * 67 + columns * 29) % 128).astype(np.uint8)


def stretched(values: np.ndarray) -> np.ndarray:
    values = values.astype(float)
    return np.rint((values - values.min()) * 255 / (values.max() - values.min())).astype(np.uint8)


def planes(grey: np.ndarray, channels: int, dtype: type = np.uint16) -> np.ndarray:
    deep = grey.astype(dtype) * (257 if np.dtype(dtype).itemsize > 1 else 1)
    opaque = np.full_like(deep, np.iinfo(dtype).max)
    return np.dstack([deep] * (channels - (channels % 2 == 0)) + [opaque] * (channels % 2 == 0)).squeeze()


def _tiff(path, values, **options):
    tifffile.imwrite(path, values, **options)
    return path


def _encodings(folder, grey):
    deep = grey.astype(np.uint16) * 257
    for channels in (1, 2, 3, 4):
        yield write_png(folder / f"{channels}-16.png", planes(grey, channels))
        yield write_png(folder / f"{channels}-8.png", planes(grey, channels, np.uint8))
    image = Image.fromarray(grey)
    for name in ("grey.bmp", "grey.tif"):
        image.save(folder / name)
        yield folder / name
    image.convert("RGB").save(folder / "rgb.bmp")
    yield folder / "rgb.bmp"
    image.convert("P").save(folder / "palette.png")
    yield folder / "palette.png"
    yield write_png(folder / "12-in-16.png", grey.astype(np.uint16) * 16, png_chunk(b"sBIT", b"\x0c"))
    for name, values, options in _tiffs(grey, deep):
        yield _tiff(folder / f"{name}.tif", values, **options)
    for name, values in (("rgb", planes(grey, 3)), ("rgba", planes(grey, 4))):
        cv2.imwrite(str(folder / f"{name}-lzw.tif"), values, [cv2.IMWRITE_TIFF_COMPRESSION, 5])
        yield folder / f"{name}-lzw.tif"
    Image.fromarray(deep).save(folder / "lzw.tif", compression="tiff_lzw")
    yield folder / "lzw.tif"
    pytest.importorskip("pydicom")
    yield write_dicom(folder / "a.dcm", grey)
    yield write_dicom(folder / "bare", grey, preamble=False)


def _tiffs(grey, deep):
    yield "16", deep, {}
    yield "big-endian", deep, {"byteorder": ">"}
    yield "bigtiff", deep, {"bigtiff": True}
    yield "white", 65_535 - deep, {"photometric": "miniswhite"}
    yield "white-8", 255 - grey, {"photometric": "miniswhite"}
    yield "white-signed", -deep.astype(np.int32), {"photometric": "miniswhite"}
    yield "signed", grey.astype(np.int16) * 9 - 999, {}
    yield "signed-8", (grey.astype(int) - 110).astype(np.int8), {}
    yield "32", deep.astype(np.uint32) * 60_000, {}
    yield "float", deep.astype(np.float32) / 65_535, {}
    yield "double", deep.astype(np.float64) - 1e6, {}
    yield "half", grey.astype(np.float16), {}
    yield "tiled", deep, {"tile": (16, 16)}
    yield "deflated", deep, {"compression": "zlib", "predictor": True}
    yield "rgb", planes(grey, 3), {"photometric": "rgb"}
    yield "rgba", planes(grey, 4), {"photometric": "rgb", "extrasamples": ["unassalpha"]}
    yield "la", planes(grey, 2), {"photometric": "minisblack", "extrasamples": ["assocalpha"], "planarconfig": "contig"}
    yield "planar", np.moveaxis(planes(grey, 3), 2, 0).copy(), {"photometric": "rgb", "planarconfig": "separate"}
    yield "float-rgb", planes(grey, 3).astype(np.float32), {"photometric": "rgb"}


def test_one_picture_in_every_encoding_gives_the_same_pixels(tmp_path, grey):
    count = 0
    for path in _encodings(tmp_path, grey):
        read = read_radiograph(path)
        assert np.array_equal(read.pixels, stretched(grey)), path.name
        assert image_size(path) == read.pixels.shape
        assert read.warnings == (), path.name
        count += 1
    assert count > 30


def test_transparency_is_black_and_no_part_of_the_stretch(tmp_path, grey):
    expected = stretched(grey[:, 10:])
    for name, dtype in (("8", np.uint8), ("16", np.uint16)):
        layers = planes(grey, 2, dtype)
        layers[:, :10, 1] = 0
        read = read_radiograph(write_png(tmp_path / f"{name}.png", layers)).pixels
        assert not read[:, :10].any()
        assert np.array_equal(read[:, 10:], expected)
        key = planes(grey, 1, dtype)
        key[:, :10] = 7
        keyed = write_png(tmp_path / f"key{name}.png", key, png_chunk(b"tRNS", struct.pack(">H", 7)))
        assert np.array_equal(read_radiograph(keyed).pixels, read)
    layers[..., 1] = 0
    with pytest.warns(ImageWarning, match="fully transparent"):
        read_image(write_png(tmp_path / "clear.png", layers))


def test_palette_and_cmyk_of_16_bits(tmp_path, grey):
    table = np.tile(np.arange(65_536, dtype=np.uint16)[::-1], (3, 1))
    path = _tiff(tmp_path / "p.tif", grey.astype(np.uint16), photometric="palette", colormap=table)
    assert np.array_equal(read_radiograph(path).pixels, 255 - stretched(grey))
    inks = np.dstack([np.zeros((H, W, 3), np.uint16), 65_535 - planes(grey, 1)])
    path = _tiff(tmp_path / "cmyk.tif", inks, photometric="separated")
    assert np.array_equal(read_radiograph(path).pixels, stretched(grey))


def test_deep_tiff_is_turned_upright(tmp_path, grey):
    turned = _tiff(tmp_path / "t.tif", planes(grey, 3), photometric="rgb", extratags=[(274, 3, 1, 6, True)])
    assert np.array_equal(read_radiograph(turned).pixels, stretched(np.rot90(grey, -1)))
    assert image_size(turned) == (W, H)


def test_colour_of_a_radiograph_is_reduced_and_grey_has_none(tmp_path):
    deep = np.zeros((600, 300, 3), np.uint16)
    deep[..., 0] = 65_535
    colours = read_radiograph(write_png(tmp_path / "red.png", deep)).colours
    assert colours.shape == (300, 150, 3)
    assert colours[0, 0].tolist() == [255, 0, 0]
    assert (
        read_radiograph(write_png(tmp_path / "grey.png", deep[..., 0] + np.eye(600, 300, dtype=np.uint16))).colours
        is None
    )


# --- pages


def _pages(path, *pages):
    with tifffile.TiffWriter(path) as writer:
        for values, kind in pages:
            writer.write(values, subfiletype=kind, photometric="minisblack", metadata=None)
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_with_reduced_pages_gives_the_full_one(tmp_path, grey, dtype):
    full = planes(np.kron(grey, np.ones((4, 4), np.uint8)), 1, dtype)
    small = full[::8, ::8]
    for name, pages in {"after": [(full, 0), (small, 1)], "before": [(small, 1), (full, 0), (small, 1)]}.items():
        path = _pages(tmp_path / f"{name}.tif", *pages)
        assert np.array_equal(read_radiograph(path).pixels, stretched(full))
        assert image_size(path) == full.shape
    unsaid = read_radiograph(_pages(tmp_path / "unsaid.tif", (small, 0), (full, 0)))
    assert np.array_equal(unsaid.pixels, stretched(full))
    assert "thumbnail" in unsaid.warnings[0]
    with pytest.raises(UserError, match="2 pages"):
        read_radiograph(_pages(tmp_path / "two.tif", (full, 0), (full[:, ::-1], 0)))
    with pytest.raises(UserError, match="2 pages"):
        read_radiograph(_pages(tmp_path / "other.tif", (full, 0), (full[:48, :30], 0)))


# --- faults


def test_ancillary_faults_of_png_pass(tmp_path, grey):
    profile = png_chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(3 << 20)))
    for extra in (
        profile,
        png_chunk(b"tEXt", b"a\0b", checksum=1),
        png_chunk(b"eXIf", b"junk"),
        png_chunk(b"pHYs", b""),
    ):
        for dtype in (np.uint8, np.uint16):
            path = write_png(tmp_path / "a.png", planes(grey, 3, dtype), extra)
            assert np.array_equal(read_radiograph(path).pixels, stretched(grey))
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "x" * (2 << 20), zip=True)
    Image.fromarray(grey).save(tmp_path / "text.png", pnginfo=text)
    assert np.array_equal(read_image(tmp_path / "text.png"), grey)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_without_all_its_pixels_is_refused(tmp_path, grey, channels, dtype):
    path = write_png(tmp_path / "a.png", planes(grey, channels, dtype), rows=H // 2)
    with pytest.raises(UserError, match="damaged or truncated"):
        read_radiograph(path)
    content = bytearray(write_png(path, planes(grey, channels, dtype)).read_bytes())
    content[60:64] = b"\0\1\2\3"
    path.write_bytes(content)
    with pytest.raises(UserError, match="checksum"):
        read_image(path)


def test_interlaced_png(tmp_path, grey):
    # By hand, since Pillow does not write it: the seven passes of Adam7.
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    data = b"".join(b"\0" + row.tobytes() for x, y, dx, dy in passes for row in grey[y::dy, x::dx])
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", W, H, 8, 0, 0, 0, 1))
    for cut, name in ((None, "whole"), (-100, "cut")):
        body = png_chunk(b"IDAT", zlib.compress(data[:cut])) + png_chunk(b"IEND", b"")
        (tmp_path / f"{name}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + body)
    assert np.array_equal(read_image(tmp_path / "whole.png"), grey)
    with pytest.raises(UserError, match="damaged"):
        read_image(tmp_path / "cut.png")


@pytest.mark.parametrize(
    ("chunk", "word"),
    [
        (png_chunk(b"gAMA", struct.pack(">I", 100_000)), "gamma"),
        (png_chunk(b"pHYs", struct.pack(">IIB", 2, 1, 0)), "resolution"),
    ],
)
def test_what_png_says_of_its_display_is_warned_of(tmp_path, grey, chunk, word):
    read = read_radiograph(write_png(tmp_path / "a.png", grey, chunk))
    assert word in " ".join(read.warnings)
    assert np.array_equal(read.pixels, stretched(grey))
    with pytest.warns(ImageWarning, match=word):
        assert np.array_equal(read_image(tmp_path / "a.png"), grey)


def test_colour_models_that_are_not_understood_are_refused_as_such(tmp_path, grey):
    lab = _tiff(tmp_path / "lab.tif", planes(grey, 3), photometric="cielab")
    with pytest.raises(UserError, match="colour model"):
        read_radiograph(lab)
    with pytest.raises(UserError, match="0 to 255"):
        read_mask(write_png(tmp_path / "m.png", planes(grey, 3)))


# --- kinds


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"RIFF\x10\0\0\0WEBPVP8 ", "WebP"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1", "HEIC"),
        (b"%PDF-1.7\n", "PDF"),
        (b"PK\x03\x04....", "zip"),
        (b"GIF89a......", "GIF"),
        (struct.pack("<i", 348) + bytes(340) + b"n+1\0", "NIfTI"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:", "Git LFS pointer"),
        (b"image_id,label\n1,2\n", "text"),
        (bytes(range(256)), ""),
    ],
)
def test_a_file_is_named_as_what_it_is(tmp_path, content, kind):
    path = tmp_path / "chest.png"
    path.write_bytes(content)
    assert sniff(path) == kind
    for read in (read_radiograph, read_image, read_mask, image_size):
        if kind == "GIF" and read is read_mask:
            continue
        with pytest.raises(UserError, match="is not a PNG") as caught:
            read(path)
        assert kind in str(caught.value)


@pytest.mark.parametrize("preamble", [True, False])
@pytest.mark.parametrize("name", ["chest", "chest.dcm", "chest.png", "chest.1.2.840"])
def test_dicom_is_known_by_its_content(tmp_path, grey, preamble, name):
    path = write_dicom(tmp_path / name, grey, modality="CT", preamble=preamble)
    assert sniff(path) == "DICOM"
    assert read_radiograph(path).modality == "CT"


def test_a_collections_images_without_a_suffix_are_found(tmp_path, grey):
    found = [
        write_png(tmp_path / "a.png", grey),
        write_dicom(tmp_path / "bare", grey, preamble=False),
        write_dicom(tmp_path / "x.1.2.840", grey),
    ]
    write_dicom(tmp_path / "DICOMDIR", grey)
    write_png(tmp_path / "b.png.bak", grey)
    for name in ("LICENSE", "empty", "notes.txt"):
        (tmp_path / name).write_text("text" if name != "empty" else "")
    assert image_files(tmp_path) == sorted(found)


def _jpegs(grey):
    smooth = cv2.GaussianBlur(np.kron(grey, np.ones((8, 8), np.uint8)), (0, 0), 3)
    image = Image.fromarray(smooth)
    colour = Image.fromarray(np.dstack([smooth, smooth[::-1], smooth[:, ::-1]]))
    yield image, {}
    yield image, {"quality": 95, "restart_marker_rows": 4}
    yield colour, {"quality": 90}
    yield colour, {"progressive": True}
    yield colour.convert("CMYK"), {}
    yield Image.fromarray(np.full((64, 64), 128, np.uint8)), {}  # the very grey of what is missing


@pytest.mark.parametrize("kind", range(6))
def test_jpeg_without_all_its_pixels_is_refused(tmp_path, grey, kind):
    image, options = list(_jpegs(grey))[kind]
    path = tmp_path / "a.jpg"
    image.save(path, **options)
    sound = path.read_bytes()
    read_image(path)
    scan = sound.find(b"\xff\xda") + 14
    half = sound[: (scan + len(sound)) // 2] + b"\xff\xd9"
    zeroed = sound[: scan + 40] + bytes(200) + sound[scan + 240 :]
    for name, content in {"half": half, "zeroed": zeroed}.items():
        if kind == 5 or (name == "zeroed" and options.get("progressive")):
            continue  # one grey all over has no half; where scans refine each other, zeros are data
        path.write_bytes(content)
        with pytest.raises(UserError, match="damaged or truncated"):
            read_image(path)
    path.write_bytes(sound + b"\0" * 500)
    assert read_image(path).shape == image.size[::-1]


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate"])
@pytest.mark.parametrize("share", [0.4, 0.95])
def test_deep_tiff_that_was_cut_is_refused(tmp_path, compression, share):
    noise = np.random.default_rng(1).integers(0, 65_536, (100, 100), dtype=np.uint16)
    path = tmp_path / "a.tif"
    Image.fromarray(noise).save(path, compression=compression)
    content = path.read_bytes()
    assert np.array_equal(read_radiograph(path).pixels, stretched(noise))
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match=r"a\.tif"):
        read_radiograph(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UserError, match="not a regular file"):
        read_radiograph(tmp_path / "pipe.png")


@pytest.mark.parametrize("seed", range(3))
def test_bytes_at_random_are_read_or_refused(tmp_path, grey, seed):
    rng = np.random.default_rng(seed)
    for path in _encodings(tmp_path, grey):
        content = bytearray(path.read_bytes())
        for place in rng.integers(0, min(len(content), 900), 3):
            content[place] = rng.integers(0, 256)
        path.write_bytes(content)
        for read in (image_size, read_radiograph):
            with contextlib.suppress(UserError):  # any other error fails the test
                read(path)
