"""From stored to display values of DICOM, each step against a truth made by hand."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from covid_keras.common.errors import UserError
from covid_keras.data.images import ImageWarning, image_size, read_image, read_radiograph
from tests.helpers.dicom import write_dicom
from tests.helpers.made_files import lossless_jpeg

pydicom = pytest.importorskip("pydicom", reason="DICOM needs covid-keras[dicom]")
H, W = 24, 40


@pytest.fixture
def stored() -> np.ndarray:
    """Values 200 to 3883, no symmetry."""
    rows, columns = np.mgrid[:H, :W]
    return (200 + (rows * 67 + columns * 29) % 128 * 29).astype(np.uint16)


@pytest.fixture
def write(tmp_path, stored):
    """Write 12 bits (or `bits`) of pixels and any tags: None for an empty one, (VR, value) for an ambiguous one."""

    def write(pixels: np.ndarray = stored, bits: int = 12, high: int | None = None, **tags) -> Path:
        path = write_dicom(tmp_path / "a.dcm", np.zeros(pixels.shape, np.uint8))
        data = pydicom.dcmread(path)
        data.BitsAllocated, data.BitsStored = 8 * pixels.dtype.itemsize, bits
        data.HighBit = bits - 1 if high is None else high
        data.PixelRepresentation = int(pixels.dtype.kind == "i")
        data.PixelData = pixels.tobytes()
        for keyword, value in tags.items():
            if isinstance(value, tuple):
                data.add_new(keyword, *value)
            else:
                setattr(data, keyword, value)
        data.save_as(path, enforce_file_format=True)
        return path

    return write


def stretched(values: np.ndarray, inside: np.ndarray | None = None) -> np.ndarray:
    values = values.astype(float)
    kept = values if inside is None else values[inside]
    grey = np.rint(np.clip((values - kept.min()) * 255 / (kept.max() - kept.min()), 0, 255)).astype(np.uint8)
    return grey if inside is None else np.where(inside, grey, 0)


def check(path, expected, *words: str, tolerance: int = 0) -> None:
    """The pixels are as expected, and each word stands in one warning; without words there is none."""
    read = read_radiograph(path)
    assert np.abs(read.pixels.astype(int) - expected).max() <= tolerance
    assert image_size(path) == read.pixels.shape
    assert len(read.warnings) == len(words), read.warnings
    for warning, word in zip(read.warnings, words, strict=True):
        assert word in warning


def _table(values, first=0, bits=16, pack=False):
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(values) % 65_536, first, bits])
    if pack:
        item.add_new("LUTData", "OW", np.asarray(values, np.uint8).tobytes())
    else:
        item.add_new("LUTData", "OW", np.asarray(values, "<u2").tobytes())
    return pydicom.Sequence([item])


# --- tags that say nothing


@pytest.mark.parametrize(
    "tags",
    [
        {"WindowCenter": None, "WindowWidth": None},
        {"RescaleSlope": None, "RescaleIntercept": None},
        {"VOILUTFunction": None},
        {"VOILUTSequence": pydicom.Sequence([])},
        {"ModalityLUTSequence": pydicom.Sequence([])},
        {"PixelPaddingValue": None, "PixelSpacing": None, "PresentationLUTShape": None, "PixelAspectRatio": None},
    ],
    ids=lambda tags: next(iter(tags)),
)
def test_empty_tags_are_absent_with_one_warning(write, stored, tags):
    check(write(**tags), stretched(stored), "empty tags ignored")
    assert all(keyword in read_radiograph(write(**tags)).warnings[0] for keyword in tags)


@pytest.mark.parametrize(
    ("tags", "word"),
    [
        ({"WindowCenter": 5, "WindowWidth": 0}, "WindowWidth is 0"),
        ({"WindowCenter": 5, "WindowWidth": -7}, "WindowWidth is -7"),
        ({"WindowCenter": 5}, "no width"),
        ({"WindowCenter": 90_000, "WindowWidth": 10}, "constant image"),
        ({"RescaleSlope": 0, "RescaleIntercept": 5}, "RescaleSlope is 0"),
        ({"PixelSpacing": [0, 0.1]}, "PixelSpacing is invalid"),
        ({"PatientOrientation": ["X", "F"]}, "PatientOrientation is invalid"),
        ({"VOILUTSequence": pydicom.Sequence([pydicom.Dataset()])}, "VOILUTSequence is invalid"),
        ({"PixelIntensityRelationshipSign": 1}, "negative"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "raw detector data"),
    ],
)
def test_tags_that_make_no_sense_warn_and_change_nothing(write, stored, tags, word):
    check(write(**tags), stretched(stored), word)


def test_warnings_of_a_cohorts_image_are_python_warnings(write, stored):
    with pytest.warns(ImageWarning, match=r"a\.dcm: its RescaleSlope is 0"):
        assert np.array_equal(read_image(write(RescaleSlope=0)), stretched(stored))


def test_numbers_that_are_none_are_ignored(write, stored):
    path = write(RescaleSlope="2.5")
    path.write_bytes(path.read_bytes().replace(b"2.5 ", b"2,5 "))
    check(path, stretched(stored), "RescaleSlope is not a number")


# --- look-up tables and windows


@pytest.mark.parametrize("keyword", ["VOILUTSequence", "ModalityLUTSequence"])
@pytest.mark.parametrize("pack", [True, False])
def test_table_of_8_bits_for_12_bit_pixels(write, stored, keyword, pack):
    table = np.rint(np.sqrt(np.arange(4096) / 4095) * 255)
    path = write(**{keyword: _table(table, bits=8, pack=pack)})
    check(path, stretched(table[stored]))


def test_table_that_starts_later_or_below_zero(write, stored):
    table = np.arange(1000)[::-1] ** 2 // 50
    check(write(VOILUTSequence=_table(table, first=1000)), stretched(table[np.clip(stored.astype(int) - 1000, 0, 999)]))
    values = stored.astype(int) - 1024
    table = np.arange(3000)
    for first in (-500, 65_036):  # the same 16 bits
        path = write(VOILUTSequence=_table(table, first=first), RescaleIntercept=-1024, RescaleSlope=1)
        check(path, stretched(table[np.clip(values + 500, 0, 2999)]))


def test_table_comes_before_the_window(write, stored):
    table = np.arange(4096)[::-1]
    check(write(VOILUTSequence=_table(table), WindowCenter=5, WindowWidth=0), stretched(-stored.astype(int)))


@pytest.mark.parametrize(
    ("function", "low", "high"), [("LINEAR", 1000, 2000), ("LINEAR_EXACT", 999.5 + 0.5, 2001), ("linear", 1000, 2000)]
)
def test_windows(write, stored, function, low, high):
    path = write(WindowCenter=1500.5, WindowWidth=1001, VOILUTFunction=function)
    check(path, stretched(np.clip(stored, low, high)), tolerance=1)


def test_sigmoid_window_of_width_one_and_of_narrow_range(write, stored):
    path = write(WindowCenter=2000, WindowWidth=900, VOILUTFunction="SIGMOID")
    check(path, stretched(1 / (1 + np.exp(-4 * (stored - 2000.0) / 900))))
    check(write(WindowCenter=2000.5, WindowWidth=1), (stored > 2000) * 255)


# --- bright or dark


@pytest.mark.parametrize(
    ("kind", "shape", "inverted", "words"),
    [
        ("MONOCHROME1", "", True, ()),
        ("MONOCHROME1", "INVERSE", True, ()),
        ("MONOCHROME1", "IDENTITY", True, ("inverted",)),
        ("MONOCHROME2", "IDENTITY", False, ()),
        ("MONOCHROME2", "INVERSE", True, ("inverted",)),
    ],
)
def test_inverted_once(write, stored, kind, shape, inverted, words):
    tags = {"PresentationLUTShape": shape} if shape else {}
    expected = stretched(-stored.astype(int) if inverted else stored)
    check(write(PhotometricInterpretation=kind, **tags), expected, *words)


def test_negative_slope_and_monochrome1_cancel(write, stored):
    path = write(PhotometricInterpretation="MONOCHROME1", RescaleSlope=-1, RescaleIntercept=0)
    check(path, stretched(stored))


# --- padding and bits


@pytest.mark.parametrize(("representation", "tag"), [("SS", -2000), ("US", 63_536)])
@pytest.mark.parametrize("dtype", [np.int16, np.uint16])
def test_padding_is_left_out_whatever_its_sign(write, stored, representation, tag, dtype):
    pixels = stored.astype(np.int16)
    pixels[:, :6] = -2000
    element = pydicom.DataElement("PixelPaddingValue", representation, tag)
    path = write(pixels.view(dtype), bits=16)
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.add(element)
    data.save_as(path, implicit_vr=False, little_endian=True)
    inside = np.ones((H, W), bool)
    inside[:, :6] = False
    check(path, stretched(stored, inside))
    data.PhotometricInterpretation = "MONOCHROME1"
    data.save_as(path, implicit_vr=False, little_endian=True)
    check(path, stretched(-stored.astype(int), inside))


@pytest.mark.parametrize(("value", "limit"), [(0, 99), (99, 0)])
def test_padding_range(write, stored, value, limit):
    stored[:, :6], stored[:, 6:8] = 0, 60
    inside = np.ones((H, W), bool)
    inside[:, :8] = False
    check(write(PixelPaddingValue=("US", value), PixelPaddingRangeLimit=("US", limit)), stretched(stored, inside))


def test_padding_all_over_is_ignored(write, stored):
    check(write(PixelPaddingValue=("US", 0), PixelPaddingRangeLimit=("US", 4095)), stretched(stored), "padding")


def test_values_in_the_highest_bits_and_signs_that_are_not_spread(write, stored):
    check(write(stored << 4, high=15), stretched(stored))
    signed = stored.astype(np.int16) - 2048
    check(write(signed), stretched(stored))
    check(write(signed & 0x0FFF), stretched(stored))


def test_overlay_in_the_unused_bits(write, stored):
    pixels = stored.copy()
    pixels[3:9, 4:20] |= 0x8000
    with pytest.raises(UserError, match="the 12 bits"):
        read_radiograph(write(pixels))
    path = write(pixels)
    data = pydicom.dcmread(path)
    data.add_new((0x6000, 0x0100), "US", 16)
    data.add_new((0x6000, 0x0102), "US", 15)
    data.save_as(path)
    check(path, stretched(stored), "overlay")


# --- compression


def _compressed(path, stream, syntax, meta=True):
    data = pydicom.dcmread(path)
    data.PixelData = pydicom.encaps.encapsulate([stream])
    data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 8, 7
    data.file_meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
    if not meta:
        plain = pydicom.Dataset()
        plain.update({element.tag: element for element in data})
        data = plain
    data.save_as(path, implicit_vr=False, little_endian=True)
    return path


def _jpeg(levels):
    with io.BytesIO() as stream:
        Image.fromarray(levels).save(stream, "JPEG", quality=100)
        return stream.getvalue()


@pytest.mark.parametrize("meta", [True, False])
@pytest.mark.parametrize(
    ("encode", "syntax", "tolerance"), [(lossless_jpeg, "JPEGLosslessSV1", 0), (_jpeg, "JPEGBaseline8Bit", 9)]
)
def test_jpeg_of_8_bits_in_what_is_said_to_be_16(write, stored, encode, syntax, tolerance, meta):
    pytest.importorskip("libjpeg")
    levels = stretched(cv2.GaussianBlur(stored, (0, 0), 4))
    check(_compressed(write(), encode(levels), syntax, meta), levels, tolerance=tolerance)


def test_jpeg_that_was_cut_is_refused(write, stored):
    stream = _jpeg(stretched(stored))
    path = _compressed(write(), stream[: len(stream) * 3 // 4] + b"\xff\xd9", "JPEGBaseline8Bit")
    with pytest.raises(UserError, match="damaged"):
        read_radiograph(path)


def test_pixels_of_another_size_are_refused(write, stored):
    for tags in ({"Columns": W - 2}, {"Rows": H - 1}, {"Rows": H + 1}):
        with pytest.raises(UserError, match="bytes"):
            read_radiograph(write(stored, **tags))


def test_dicom_without_pixels_is_no_image(write):
    path = write()
    data = pydicom.dcmread(path)
    del data.PixelData
    data.save_as(path)
    with pytest.raises(UserError, match="not a DICOM file with an image"):
        read_radiograph(path)


def test_rle_keeps_its_values(write, stored):
    path = write(RescaleSlope=2, RescaleIntercept=-7)
    data = pydicom.dcmread(path)
    data.compress(pydicom.uid.RLELossless)
    data.save_as(path)
    check(path, stretched(stored))


# --- how it lies


@pytest.mark.parametrize(
    ("directions", "turn"),
    [
        ("L F", lambda x: x),
        ("LH FR", lambda x: x),
        ("R F", lambda x: x[:, ::-1]),
        ("L H", lambda x: x[::-1]),
        ("R H", lambda x: x[::-1, ::-1]),
        ("F L", lambda x: x.T),
        ("H L", lambda x: x[:, ::-1].T),
        ("F R", lambda x: x[::-1].T),
        ("H R", lambda x: x[::-1, ::-1].T),
        ("A F", lambda x: x),
        ("P H", lambda x: x[::-1]),
        ("L P", lambda x: x),
    ],
)
def test_patient_orientation(write, stored, directions, turn):
    expected = turn(stretched(stored))
    words = () if np.array_equal(expected, stretched(stored)) else ("turned upright",)
    check(write(PatientOrientation=directions.split()), expected, *words)


def test_image_orientation_serves_where_patient_orientation_is_empty(write, stored):
    path = write(PatientOrientation=None, ImageOrientationPatient=[-1, 0, 0, 0, 0, -1])
    check(path, stretched(stored)[:, ::-1], "turned upright")


@pytest.mark.parametrize(
    ("tags", "shape", "square"),
    [
        ({"PixelSpacing": [0.1, 0.2]}, (H, 2 * W), (8, 16)),
        ({"ImagerPixelSpacing": [0.2, 0.1]}, (2 * H, W), (16, 8)),
        ({"PixelAspectRatio": [1, 2]}, (H, 2 * W), (8, 16)),
        ({"PixelAspectRatio": [2, 1], "PatientOrientation": ["F", "L"]}, (W, 2 * H), (8, 16)),
        ({"PixelSpacing": [0.1, 0.1001]}, (H, W), (8, 8)),
    ],
)
def test_pixels_are_made_square(write, stored, tags, shape, square):
    stored[:] = 0
    stored[8:16, 8:16] = 4000
    path = write(**tags)
    read = read_radiograph(path)
    assert read.pixels.shape == shape == image_size(path)
    assert tuple((read.pixels > 127).any(axis=axis).sum() for axis in (1, 0)) == square
    assert ("not square" in " ".join(read.warnings)) == (shape != (H, W))


def test_pixels_that_are_far_from_square_are_refused(write):
    for read in (read_radiograph, image_size):
        with pytest.raises(UserError, match="long as wide"):
            read(write(PixelSpacing=[0.1, 1.0]))


# --- colour and modality


def test_palette_of_16_bits(write, stored):
    table = np.linspace(65_535, 0, 4096).astype("<u2")
    path = write(PhotometricInterpretation="PALETTE COLOR")
    data = pydicom.dcmread(path)
    for name in ("Red", "Green", "Blue"):
        data.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [4096, 0, 16])
        setattr(data, f"{name}PaletteColorLookupTableData", table.tobytes())
    data.save_as(path)
    check(path, stretched(table[stored]))


def test_ybr_colour(tmp_path, stored):
    grey = stretched(stored)
    path = write_dicom(tmp_path / "y.dcm", np.dstack([grey, np.full_like(grey, 128), np.full_like(grey, 128)]))
    data = pydicom.dcmread(path)
    data.PhotometricInterpretation = "YBR_FULL"
    data.save_as(path)
    check(path, grey, tolerance=1)
    data.PhotometricInterpretation = "HSV"
    data.save_as(path)
    with pytest.raises(UserError, match="not supported"):
        read_radiograph(path)


@pytest.mark.parametrize(
    "tags", [{"PhotometricInterpretation": None}, {"BitsStored": 0}, {"HighBit": None}, {"PixelRepresentation": None}]
)
def test_missing_tags_are_filled_in(write, stored, tags):
    check(write(**tags), stretched(stored), next(iter(tags)))


@pytest.mark.parametrize(
    ("modality", "storage", "known"),
    [
        ("DX", "DigitalXRayImageStorageForPresentation", "DX"),
        ("", "CTImageStorage", "CT"),
        ("DX", "CTImageStorage", "CT"),
        (" cr ", "SecondaryCaptureImageStorage", "CR"),
        ("", "SecondaryCaptureImageStorage", ""),
    ],
)
def test_modality_is_that_of_the_storage_class_first(write, modality, storage, known):
    path = write(Modality=modality, SOPClassUID=getattr(pydicom.uid, storage))
    assert read_radiograph(path).modality == known
