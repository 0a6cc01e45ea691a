"""The image reader: every kind of file against known values, every kind of bad file against its message."""

from __future__ import annotations

import io
import struct
import sys
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from covid_keras.common.errors import UserError
from covid_keras.data.images import MAX_SIDE, MIN_SIDE, image_size, read_image, read_mask, read_radiograph, write_image

H, W = 24, 40


@pytest.fixture
def grey() -> np.ndarray:
    """A picture without any symmetry, 0..255."""
    rows, columns = np.mgrid[:H, :W]
    return np.clip(rows * 6 + columns * 3, 0, 255).astype(np.uint8)


@pytest.fixture
def rgb() -> np.ndarray:
    smooth = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return cv2.resize(smooth, (W, H), interpolation=cv2.INTER_LINEAR)


def luma(colour: np.ndarray) -> np.ndarray:
    return colour.astype(float) @ [0.299, 0.587, 0.114]


def check(path, expected, tolerance=0.51):
    """The contract of every reading: type, layout, size from the header, values."""
    image = read_image(path)
    assert image.dtype == np.uint8
    assert image.ndim == 2
    assert image.flags.c_contiguous
    assert image.flags.writeable
    assert image_size(path) == image.shape == expected.shape
    assert np.abs(image.astype(float) - expected).max() <= tolerance


def test_images_pillow_modes(tmp_path, grey, rgb):
    for name, array, expected, tolerance in (
        ("grey.png", grey, grey, 0),
        ("grey.bmp", grey, grey, 0),
        ("grey.tif", grey, grey, 0),
        ("grey.jpg", grey, grey, 8),
        ("rgb.png", rgb, luma(rgb), 1),
        ("rgb.tif", rgb, luma(rgb), 1),
        ("bits.png", grey > 99, (grey > 99) * 255, 0),
    ):
        Image.fromarray(array).save(tmp_path / name)
        check(tmp_path / name, expected, tolerance)


def test_images_progressive_colour_jpeg_equals_cv2(tmp_path, rgb):
    Image.fromarray(rgb).save(tmp_path / "a.jpg", quality=95, progressive=True, subsampling=0)
    check(tmp_path / "a.jpg", luma(cv2.imread(str(tmp_path / "a.jpg"), cv2.IMREAD_COLOR)[..., ::-1]), 2)


def test_images_transparency_is_composited_over_black(tmp_path, grey, rgb):
    alpha = np.full((H, W), 255, np.uint8)
    alpha[:, :10], alpha[:, 10:20] = 0, 128
    share = alpha / 255
    Image.fromarray(np.dstack([rgb, alpha])).save(tmp_path / "rgba.png")
    check(tmp_path / "rgba.png", luma(rgb) * share, 1.5)
    Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)]).save(tmp_path / "la.png")
    check(tmp_path / "la.png", grey * share, 1.5)


def test_images_palette_with_and_without_transparency(tmp_path, rgb):
    palette = Image.fromarray(rgb).quantize(16)
    colours = np.array(palette.getpalette()[:48]).reshape(-1, 3)
    indices = np.asarray(palette)
    palette.save(tmp_path / "p.png")
    check(tmp_path / "p.png", luma(colours[indices]), 1)
    clear = int(indices[0, 0])
    palette.save(tmp_path / "t.png", transparency=clear)
    check(tmp_path / "t.png", np.where(indices == clear, 0, luma(colours[indices])), 1)


def test_images_transparent_colour_key(tmp_path, grey):
    Image.fromarray(grey).save(tmp_path / "key.png", transparency=int(grey[5, 5]))
    check(tmp_path / "key.png", np.where(grey == grey[5, 5], 0, grey))


def test_images_cmyk_jpeg_and_tiff(tmp_path, rgb):
    cmyk = Image.fromarray(rgb).convert("CMYK")
    cmyk.save(tmp_path / "c.tif")
    check(tmp_path / "c.tif", luma(rgb), 1.5)
    # Pillow writes what Photoshop writes: an Adobe marker, and the inks inverted.
    cmyk.save(tmp_path / "c.jpg", quality=100, subsampling=0)
    assert b"Adobe" in (tmp_path / "c.jpg").read_bytes()
    check(tmp_path / "c.jpg", luma(rgb), 6)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_images_16_bit_is_stretched_from_min_to_max(tmp_path, grey, suffix):
    wide = grey.astype(np.uint16) * 13 + 700
    Image.fromarray(wide).save(tmp_path / f"wide.{suffix}")
    span = (wide - 700.0) / (wide.max() - 700.0) * 255
    check(tmp_path / f"wide.{suffix}", span)


def test_images_32_bit_float_and_constant(tmp_path, grey):
    expected = (grey - float(grey.min())) / (float(grey.max()) - grey.min()) * 255
    Image.fromarray(grey.astype(np.int32) * 1000 - 50_000).save(tmp_path / "i.tif")
    check(tmp_path / "i.tif", expected)
    Image.fromarray(grey.astype(np.float32) / 7 - 3).save(tmp_path / "f.tif")
    check(tmp_path / "f.tif", expected)
    Image.fromarray(np.full((H, W), 900, np.uint16)).save(tmp_path / "constant.png")
    check(tmp_path / "constant.png", np.zeros((H, W)), 0)


def test_images_tiff_where_zero_is_white(tmp_path, grey):
    # By hand, as Pillow cannot write it: one strip, 16 bits, PhotometricInterpretation 0.
    wide = grey.astype("<u2") * 200
    tags = [(256, 3, W), (257, 3, H), (258, 3, 16), (259, 3, 1), (262, 3, 0), (273, 4, 8), (277, 3, 1), (278, 3, H)]
    tags += [(279, 4, wide.nbytes)]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", t, k, 1, v) for t, k, v in tags)
    content = struct.pack("<2sHI", b"II", 42, 8 + wide.nbytes) + wide.tobytes() + directory + bytes(4)
    (tmp_path / "white.tif").write_bytes(content)
    expected = (wide.max() - wide.astype(float)) / (wide.max() - wide.min()) * 255
    check(tmp_path / "white.tif", expected)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_exif_orientation(tmp_path, grey, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{suffix}"
    Image.fromarray(grey).save(path, exif=exif, **({"quality": 100} if suffix == "jpg" else {}))
    upright = (grey, grey[:, ::-1], grey[::-1, ::-1], grey[::-1])
    turned = (*upright, grey.T, grey[::-1].T, grey[::-1, ::-1].T, grey[:, ::-1].T)[orientation - 1]
    check(path, turned, 3)
    if suffix == "jpg":  # cv2 turns it by its own reading of the marker
        check(path, cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(float), 1)


def test_images_radiograph_is_normalised_alike_at_any_depth(tmp_path, grey):
    narrow = grey // 2 + 40
    Image.fromarray(narrow).save(tmp_path / "8.png")
    Image.fromarray(narrow.astype(np.uint16) * 13 + 700).save(tmp_path / "16.png")
    read = [read_radiograph(tmp_path / name) for name in ("8.png", "16.png")]
    assert np.array_equal(read[0].pixels, read[1].pixels)
    assert (read[0].pixels.min(), read[0].pixels.max(), read[0].modality) == (0, 255, "")


# --------------------------------------------------------------------------------- bad files


def refused(path, *words) -> str:
    with pytest.raises(UserError) as caught:
        read_image(path)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    for word in words:
        assert word in text
    return text


def test_images_missing_folder_empty_and_text(tmp_path):
    refused(tmp_path / "none.png", "does not exist")
    refused(tmp_path, "is a folder")
    (tmp_path / "empty.png").touch()
    refused(tmp_path / "empty.png", "0 bytes")
    for name in ("text.png", "text.jpg", "page.tif"):
        (tmp_path / name).write_text("<html>404</html>" * 40)
        refused(tmp_path / name, "is not a PNG, JPEG")
    (tmp_path / "text.dcm").write_text("not a DICOM file " * 40)
    refused(tmp_path / "text.dcm", "not a DICOM")
    (tmp_path / "file").touch()
    refused(tmp_path / "file" / "below.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_images_truncated_raises(tmp_path, suffix, share):
    noise = np.random.default_rng(1).integers(0, 256, (200, 200), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, format={"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper()))
    path = tmp_path / f"cut.{suffix}"
    path.write_bytes(buffer.getvalue()[: int(len(buffer.getvalue()) * share)])
    refused(path)


def test_images_damaged_png_data_raises(tmp_path, grey):
    path = tmp_path / "damaged.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (200, 200), dtype=np.uint8)).save(path)
    content = bytearray(path.read_bytes())
    content[5000:5100] = bytes(100)
    path.write_bytes(content)
    refused(path, "damaged or truncated")


def _png_header(path, width, height):
    """A PNG that declares a size and holds next to nothing."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    )
    return path


def test_images_size_limits_are_checked_before_decoding(tmp_path):
    Image.new("L", (1, 1)).save(tmp_path / "one.png")
    refused(tmp_path / "one.png", "1x1", f"at least {MIN_SIDE}")
    Image.new("L", (MIN_SIDE, MIN_SIDE)).save(tmp_path / "small.png")
    assert read_image(tmp_path / "small.png").shape == (MIN_SIDE, MIN_SIDE)
    for number, (width, height) in enumerate([(20_000, 20_000), (20_000, 100), (100, MAX_SIDE + 1)]):
        path = _png_header(tmp_path / f"{number}.png", width, height)
        refused(path, str(MAX_SIDE))
        with pytest.raises(UserError, match=str(MAX_SIDE)):
            image_size(path)


def test_images_several_pages(tmp_path, grey):
    page = Image.fromarray(grey)
    page.save(tmp_path / "pages.tif", save_all=True, append_images=[page])
    refused(tmp_path / "pages.tif", "2 pages")


def test_images_float_with_nan(tmp_path):
    values = np.ones((H, W), np.float32)
    values[3, 3] = np.nan
    Image.fromarray(values).save(tmp_path / "nan.tif")
    refused(tmp_path / "nan.tif", "NaN")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_images_broken_exif_is_ignored(tmp_path, grey):
    Image.fromarray(grey).save(tmp_path / "e.jpg", quality=100, exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x7f")
    check(tmp_path / "e.jpg", grey, 3)


# ---------------------------------------------------------------------------- masks, writing


def test_images_mask_values_are_kept(tmp_path, grey):
    mask = np.zeros((H, W), np.uint8)
    mask[4:20, 5:15], mask[4:20, 25:35] = 255, 127
    write_image(tmp_path / "m.png", mask)
    assert np.array_equal(read_mask(tmp_path / "m.png", shape=(H, W)), mask)
    Image.fromarray(mask > 0).save(tmp_path / "b.png")
    assert set(np.unique(read_mask(tmp_path / "b.png"))) == {0, 255}
    Image.fromarray((mask > 0).astype(np.uint16)).save(tmp_path / "w.png")  # 16-bit 0/1: not stretched
    assert set(np.unique(read_mask(tmp_path / "w.png", labels=True))) == {0, 1}


@pytest.mark.parametrize("value", [1, 2])
def test_a_mask_of_labels_is_refused_where_255_means_lung(tmp_path, value: int) -> None:
    mask = np.zeros((H, W), np.uint8)
    write_image(tmp_path / "m.png", mask)
    assert not read_mask(tmp_path / "m.png").any(), "an empty mask is one"
    mask[4:20, 5:15] = value
    write_image(tmp_path / "m.png", mask)
    with pytest.raises(UserError, match=rf"m\.png: .*0 to {value}.*Multiply"):
        read_mask(tmp_path / "m.png")
    assert np.array_equal(read_mask(tmp_path / "m.png", labels=True), mask)


def test_images_mask_of_another_size_or_range(tmp_path):
    write_image(tmp_path / "m.png", np.zeros((H, W), np.uint8))
    with pytest.raises(UserError, match=rf"m\.png: the mask is {W}x{H} pixels but its image is {H}x{W}"):
        read_mask(tmp_path / "m.png", shape=(W, H))
    Image.fromarray(np.full((H, W), 65_535, np.uint16)).save(tmp_path / "w.png")
    with pytest.raises(UserError, match="0 to 255"):
        read_mask(tmp_path / "w.png")


def test_images_written_png_reads_back(tmp_path, grey, rgb):
    assert np.array_equal(read_image(write_image(tmp_path / "new" / "g.png", grey)), grey)
    write_image(tmp_path / "c.png", rgb[:, ::-1])  # a view that is not contiguous
    assert np.array_equal(np.asarray(Image.open(tmp_path / "c.png")), rgb[:, ::-1])
    for bad in (grey.astype(float), grey[None, :, :, None], np.zeros((H, W, 4), np.uint8)):
        with pytest.raises(ValueError, match="must be uint8"):
            write_image(tmp_path / "bad.png", bad)
    with pytest.raises(ValueError, match=r"end in \.png"):
        write_image(tmp_path / "bad.jpg", grey)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        write_image(tmp_path / "file" / "g.png", grey)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.png", "file", "new"]


# ------------------------------------------------------------------------------------- DICOM


@pytest.fixture
def dicom(tmp_path):
    """Write a 12-bit (or `bits`) radiograph with the given header entries; return its path."""
    pydicom = pytest.importorskip("pydicom")

    def write(stored: np.ndarray, name="x.dcm", bits=12, preamble=True, **entries):
        data = pydicom.Dataset()
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
        data.Rows, data.Columns = stored.shape[:2]
        data.SamplesPerPixel = 3 if stored.ndim == 3 else 1
        if stored.ndim == 3:
            data.PlanarConfiguration = 0
        data.PhotometricInterpretation = "MONOCHROME2"
        data.BitsAllocated = 8 * stored.dtype.itemsize
        data.BitsStored, data.HighBit = bits, bits - 1
        data.PixelRepresentation = int(stored.dtype.kind == "i")
        data.PixelData = stored.tobytes()
        for key, value in entries.items():
            setattr(data, key, value)
        if preamble:
            data.save_as(tmp_path / name, enforce_file_format=True)
        else:
            del data.file_meta
            data.save_as(tmp_path / name, implicit_vr=True, little_endian=True)
        return tmp_path / name

    return write


@pytest.fixture
def stored(grey) -> np.ndarray:
    return grey.astype(np.uint16) * 16 + 15  # 15..4095


def span(values: np.ndarray) -> np.ndarray:
    values = values.astype(float)
    return (values - values.min()) / (values.max() - values.min()) * 255


def test_images_dicom_12_bit_and_monochrome1(dicom, stored):
    check(dicom(stored), span(stored))
    check(dicom(stored, PhotometricInterpretation="MONOCHROME1"), 255 - span(stored))
    assert read_image(dicom(stored, name="no_suffix")).shape == (H, W)  # known by its content


def test_images_dicom_rescale_then_window(dicom, stored):
    check(dicom(stored, RescaleSlope=2, RescaleIntercept=-1024), span(stored))
    # The window's bounds are in rescaled units: stored 500..1500 becomes -24..1976 (centre, width as in the
    # standard, C.11.2.1.2.1: linear between c - 0.5 -+ (w - 1)/2).
    scaled = {"RescaleSlope": 2, "RescaleIntercept": -1024, "WindowCenter": 976.5, "WindowWidth": 2001}
    path = dicom(stored, PhotometricInterpretation="MONOCHROME1", **scaled)
    check(path, 255 - span(np.clip(stored, 500, 1500)), 1)
    two = dicom(stored, WindowCenter=[1000.5, 9], WindowWidth=[1001, 9])  # the first of two windows
    check(two, span(np.clip(stored, 500, 1500)), 1)


def test_images_dicom_voi_lut_comes_before_window(dicom, stored):
    pydicom = pytest.importorskip("pydicom")
    lut = pydicom.Dataset()
    lut.LUTDescriptor = [4096, 0, 16]
    table = (np.sqrt(np.arange(4096) / 4095) * 65_535).astype(np.uint16)
    lut.LUTData = table.tolist()
    lut["LUTDescriptor"].VR, lut["LUTData"].VR = "US", "US"
    path = dicom(stored, VOILUTSequence=[lut], WindowCenter=10, WindowWidth=5, RescaleSlope=1, RescaleIntercept=0)
    check(path, span(table[stored]))


def test_images_dicom_signed_padding_and_colour(dicom, grey, rgb):
    signed = grey.astype(np.int16) * 4 - 300
    signed[:, :6] = -2000
    expected = span(signed[:, 6:])
    expected = np.hstack([np.zeros((H, 6)), expected])
    check(dicom(signed, bits=16, PixelPaddingValue=-2000), expected)
    check(dicom(rgb, bits=8, PhotometricInterpretation="RGB"), span(luma(rgb)))


def test_images_dicom_without_preamble(dicom, stored):
    check(dicom(stored, preamble=False), span(stored))


def test_images_dicom_compressed(tmp_path, dicom, stored):
    pydicom = pytest.importorskip("pydicom")
    data = pydicom.dcmread(dicom(stored))
    data.compress(pydicom.uid.RLELossless)
    data.save_as(tmp_path / "rle.dcm")
    check(tmp_path / "rle.dcm", span(stored))
    data.file_meta.TransferSyntaxUID = pydicom.uid.MPEG2MPML  # a compression nobody decodes here
    data.save_as(tmp_path / "film.dcm")
    refused(tmp_path / "film.dcm", "pip install 'covid-keras[dicom]'")


def test_images_dicom_refusals(tmp_path, dicom, stored):
    refused(dicom(stored, NumberOfFrames=3), "3 frames")
    refused(dicom(stored[:1, :1].copy()), "1x1")
    refused(dicom(stored, Rows=20_000, Columns=20_000), str(MAX_SIDE))
    path = dicom(stored)
    content = path.read_bytes()
    for share in (0.3, 0.7, 0.95):
        path.write_bytes(content[: int(len(content) * share)])
        refused(path)
    path.write_bytes(content[:132])
    refused(path, "not a DICOM")


def test_images_dicom_without_pydicom(monkeypatch, dicom, stored):
    path = dicom(stored)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    refused(path, "pydicom 3 is not installed", "pip install 'covid-keras[dicom]'")


# -------------------------------------------------------------------------- real radiographs


@pytest.mark.real
def test_images_real_files_equal_an_independent_decoder(real_data):
    groups = [
        "covid-chestxray-dataset/images",
        "COVID-CXNet/chest_xray_images/covid19",
        "nih-chestxray14-subset/No_findings",
        "nih-chestxray14-subset/Pneumonia",
        "covid-chestxray-dataset/annotations/lung-masks-darwin-v7",
    ]
    for group in groups:
        files = sorted(path for path in (real_data / group).iterdir() if path.suffix in (".jpg", ".jpeg", ".png"))
        assert files, group
        for path in files[::8]:
            theirs = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            assert np.abs(read_image(path).astype(int) - theirs).max() <= 2, path
            assert image_size(path) == theirs.shape
        if "masks" in group:
            assert set(np.unique(read_mask(files[0]))) <= {0, 127, 255}
