"""Lung masks of files and cohorts: a U-Net set by hand marks what is bright, so every answer is known."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from skimage.filters import rank
from skimage.morphology import disk

import covid_keras
from covid_keras.commands.main import main
from covid_keras.common.errors import UserError
from covid_keras.data import file_hashes
from covid_keras.data.cohort import Cohort
from covid_keras.data.images import encode_png, read_image, read_mask, write_image
from covid_keras.data.phantom import phantom_image
from covid_keras.data.preparation import Preparation, crop_box
from covid_keras.data.splits import read_split
from covid_keras.evaluation.overlap import mask_overlap
from covid_keras.inference.segmentation import overlay, segment_files
from covid_keras.models import LungSegmenter, build_unet, lung_masks, lungs, registry, save_weights
from covid_keras.models.lung_masks import segment_cohort
from covid_keras.models.registry import WeightEntry
from covid_keras.training.lung_split import COLLECTIONS, SPLIT, SPLITS, load_lung_cohort, load_masked
from tests.helpers.command import fails
from tests.helpers.dicom import write_dicom
from tests.helpers.disk import full_disk
from tests.helpers.networks import registered

SIZE = 32
SHAPE = (64, 32)  # height and width: twice and once what the network sees
LEFT, RIGHT, ISLAND = np.s_[16:48, 4:12], np.s_[16:48, 20:28], np.s_[58:60, 15]


def _bright_is_lung():
    """A U-Net with all weights 0 but one path along the first skip: sigmoid(40 x - 20) of each pixel x."""
    model = build_unet((SIZE, SIZE, 1), 2)
    for layer in model.layers:
        layer.set_weights([np.zeros_like(value) for value in layer.get_weights()])
    up = model.get_layer("up4_conv1").get_weights()[0].shape[2] - 2  # the skip comes after the transposed half
    for name, channel in (("down1_conv1", 0), ("down1_conv2", 0), ("up4_conv1", up), ("up4_conv2", 0)):
        kernel, bias = model.get_layer(name).get_weights()
        kernel[1, 1, channel, 0] = 1
        model.get_layer(name).set_weights([kernel, bias])
    kernel, bias = model.get_layer("lung").get_weights()
    kernel[0, 0, 0, 0] = 40
    model.get_layer("lung").set_weights([kernel, bias - 20])
    return model


@pytest.fixture(scope="module")
def weight_file(tmp_path_factory):
    return save_weights(_bright_is_lung(), tmp_path_factory.mktemp("weights") / "bright.h5")


@pytest.fixture
def entry(weight_file, monkeypatch) -> WeightEntry:
    """Put the hand-set U-Net into the registry's place, alone."""
    fields = {"classes": ("lung",), "builder": "build_unet", "arguments": {"filters": 2}, "threshold": 0.5}
    made = registered("lungs_unet16", weight_file, (SIZE, SIZE, 1), **fields)
    _register(monkeypatch, made)
    return made


def _register(monkeypatch, made: WeightEntry) -> None:
    monkeypatch.setattr(registry, "load_registry", lambda: {made.name: made})


def _chest(empty: bool = False) -> np.ndarray:
    """A radiograph with two bright lungs and a bright speck; black where empty."""
    image = np.zeros(SHAPE, np.uint8)
    if not empty:
        image[:] = np.random.default_rng(0).integers(20, 40, SHAPE)
        for place in (LEFT, RIGHT, ISLAND):
            image[place] = 220
    return image


def _truth() -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[LEFT] = mask[RIGHT] = 255
    return mask


# --- files


def test_files_get_mask_crop_and_overlay(entry, tmp_path):
    chest = _chest()
    path = write_image(tmp_path / "chest.png", chest)
    out = segment_files([path], tmp_path / "out", "lungs_unet16").folder
    assert out == tmp_path / "out"
    assert {file.name for file in out.iterdir()} == {"chest_mask.png", "chest_crop.png", "chest_overlay.png"}
    # The speck is no lung: islands below a tenth of the largest are dropped.
    np.testing.assert_array_equal(read_mask(out / "chest_mask.png"), _truth())
    crop = read_image(out / "chest_crop.png")
    # Rows 16 to 47, columns 4 to 27; the box's own 2.5 % are less than a pixel (see lung_bounding_box).
    np.testing.assert_array_equal(crop, chest[16:47, 4:27])
    drawn = cv2.cvtColor(cv2.imread(str(out / "chest_overlay.png")), cv2.COLOR_BGR2RGB)
    assert drawn.shape == (*SHAPE, 3)
    np.testing.assert_array_equal(drawn, overlay(chest, _truth()))


def test_overlay_tints_the_lungs_alone():
    chest = _chest()
    drawn, mask = overlay(chest, _truth()), _truth() > 0
    assert (drawn[~mask] == chest[~mask][:, None]).all(), "outside stays grey"
    assert (drawn[16, 4:12] == [230, 159, 0]).all(), "the border is orange"
    inner = cv2.erode(_truth(), np.ones((3, 3))) > 0
    assert (drawn[inner] == (0.8 * 220 + 0.2 * np.array([230, 159, 0])).astype(np.uint8)).all()
    np.testing.assert_array_equal(overlay(chest, np.zeros_like(chest)), np.repeat(chest[..., None], 3, axis=2))


def test_no_lungs_give_an_empty_mask_and_the_whole_image(entry, tmp_path, caplog):
    path = write_image(tmp_path / "dark.png", _chest(empty=True))
    out = segment_files([path], tmp_path / "out", "lungs_unet16").folder
    assert not read_mask(out / "dark_mask.png").any()
    assert read_image(out / "dark_crop.png").shape == SHAPE
    assert "dark.png: no lungs found" in caplog.text


def test_threshold_is_the_callers(entry, tmp_path):
    grey = _chest()
    grey[RIGHT] = 120  # about half between dark and bright: probability sigmoid(40 x 0.5 - 20)
    path = write_image(tmp_path / "grey.png", grey)
    strict = segment_files([path], tmp_path / "strict", "lungs_unet16", threshold=0.999)
    lenient = segment_files([path], tmp_path / "lenient", "lungs_unet16", threshold=0.001)
    strict, lenient = (read_mask(out.folder / "grey_mask.png") > 0 for out in (strict, lenient))
    assert strict[LEFT].mean() > 0.8
    assert not strict[RIGHT].any()
    assert lenient[RIGHT].all()


@pytest.mark.parametrize("threshold", [0.0, 1.0, 50.0, -0.1])
def test_a_threshold_that_is_no_probability_is_refused(tmp_path, threshold):
    path = write_image(tmp_path / "chest.png", _chest())
    with pytest.raises(UserError, match=f"--threshold: .*{threshold}"):
        segment_files([path], tmp_path / "out", "lungs_unet16", threshold)
    assert not (tmp_path / "out").exists()


def test_an_altered_file_is_refused(entry, weight_file, tmp_path, monkeypatch):
    altered = tmp_path / "altered.h5"
    altered.write_bytes(weight_file.read_bytes() + b"\0")
    _register(monkeypatch, WeightEntry(**{**vars(entry), "file": str(altered)}))
    path = write_image(tmp_path / "chest.png", _chest())
    with pytest.raises(UserError, match="is not the registered file"):
        segment_files([path], tmp_path / "out", "lungs_unet16")
    altered.unlink()
    with pytest.raises(UserError, match="is missing"):
        segment_files([path], tmp_path / "out", "lungs_unet16")


def test_weights_are_a_registered_name_or_ones_own_file(entry, weight_file, tmp_path):
    assert LungSegmenter(weight_file).entry.sha256 == entry.sha256
    assert LungSegmenter(weight_file).entry.measured == {}, "our measurements are not those of another file"
    with pytest.raises(UserError, match="lungs_unet61"):
        LungSegmenter("lungs_unet61")
    other = save_weights(build_unet((SIZE, SIZE, 1), 4), tmp_path / "other.h5")
    with pytest.raises(UserError, match=r"other\.h5: .*has shape"):
        LungSegmenter(other).masks([_chest()])
    with pytest.raises(UserError, match=r"other\.h5: .*has shape"):
        segment_files([write_image(tmp_path / "chest.png", _chest())], tmp_path / "out", other)
    assert not (tmp_path / "out").exists()


def test_masks_of_many_sizes_and_of_none(entry):
    segmenter = LungSegmenter()
    shapes = [(64, 32), (48, 200), (301, 77)] * 6  # more than a batch
    found = segmenter.masks([np.full(shape, 90, np.uint8) for shape in shapes])
    assert [mask.shape for mask in found] == shapes
    assert segmenter.masks([]) == []


# --- cohorts


@pytest.fixture
def cohort(tmp_path) -> Cohort:
    """Two chests and a black picture, with human masks that must be replaced."""
    rows = []
    for i, empty in enumerate((False, True, False)):
        image = _chest(empty)
        image[0, i] += 0 if empty else 60  # no two files of the same bytes
        path = write_image(tmp_path / "images" / f"{i}.png", image)
        row = {"image_id": f"made/{i}", "path": str(path), "patient_id": f"made/{i}", "source": "made"}
        rows.append(row | {"label": "NP"[i % 2], "mask_path": "/human.png"})
    return Cohort(pd.DataFrame(rows), ("N", "P"), "made")


def test_a_cohort_is_segmented_once(entry, cohort, tmp_path):
    masked, facts = segment_cohort(cohort, tmp_path / "cache")
    counts = {"images": 3, "computed": 3, "empty": 1, "empty_ids": ["made/1"]}
    assert facts == counts | {"weights_sha256": entry.sha256, "threshold": 0.5, "lungs": "whole"}
    assert list(masked.table["image_id"]) == list(cohort.table["image_id"])
    for i in (0, 2):
        np.testing.assert_array_equal(read_mask(masked.table["mask_path"][i], SHAPE), _truth())
    again, facts = segment_cohort(cohort, tmp_path / "cache")
    assert (facts["computed"], facts["empty"]) == (0, 1)
    assert list(again.table["mask_path"]) == list(masked.table["mask_path"])
    assert list(cohort.table["mask_path"]) == ["/human.png"] * 3, "the cohort given stays as it was"


@pytest.mark.slow
def test_another_image_or_threshold_is_segmented_anew(entry, cohort, tmp_path):
    segment_cohort(cohort, tmp_path / "cache")
    write_image(tmp_path / "images" / "1.png", _chest())
    _, facts = segment_cohort(cohort, tmp_path / "cache")
    assert (facts["computed"], facts["empty"]) == (1, 0)
    _, facts = segment_cohort(cohort, tmp_path / "cache", LungSegmenter(threshold=0.9))
    assert (facts["computed"], facts["threshold"]) == (3, 0.9)


def test_another_way_of_cleaning_makes_new_masks(entry, cohort, tmp_path, monkeypatch):
    segment_cohort(cohort, tmp_path / "cache")
    monkeypatch.setattr(lungs, "ALGORITHM", lungs.ALGORITHM + 1)
    assert segment_cohort(cohort, tmp_path / "cache")[1]["computed"] == 3


def test_a_moved_collection_keeps_its_masks(entry, cohort, tmp_path):
    """The key is the radiograph's bytes, not its place."""
    segment_cohort(cohort, tmp_path / "cache")
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    paths = [path.replace("/images/", "/elsewhere/") for path in cohort.table["path"]]
    moved = Cohort(cohort.table.assign(path=paths), cohort.classes, "made")
    assert segment_cohort(moved, tmp_path / "cache")[1]["computed"] == 0


def test_the_network_is_built_only_where_a_mask_is_missing(entry, cohort, tmp_path, monkeypatch):
    """As the docstring of segment_cohort promises: a run that has its masks needs no network."""
    segment_cohort(cohort, tmp_path / "cache")
    built = []
    monkeypatch.setattr(lungs, "build_unet", lambda *given, **named: built.append(given) or build_unet(*given, **named))
    segment_cohort(cohort, tmp_path / "cache")
    assert not built


class _Bright:
    """Stands in for a segmenter, without a network: what is bright is lung."""

    key, mode, threshold, lungs = {"sha256": "0" * 64, "threshold": 0.5}, "shipped", 0.5, "whole"
    entry = SimpleNamespace(sha256="0" * 64, ships=True)

    def masks(self, images):
        return [np.where(image > 127, 255, 0).astype(np.uint8) for image in images]


@pytest.fixture
def cache(cohort, tmp_path, monkeypatch) -> Path:
    """A cache with the masks of the cohort, whose files count as settled."""
    monkeypatch.setattr(file_hashes, "_SETTLED_NS", -(10**12))
    assert segment_cohort(cohort, tmp_path / "cache", _Bright())[1]["computed"] == 3
    return tmp_path / "cache"


def test_a_resume_neither_reads_radiographs_nor_decodes_masks(cohort, cache, monkeypatch):
    monkeypatch.setattr("covid_keras.data.file_hashes.sha256_of", lambda path: pytest.fail(f"{path} was read"))
    monkeypatch.setattr(lung_masks, "read_image", lambda path: pytest.fail(f"{path} was decoded"))
    masked, facts = segment_cohort(cohort, cache, _Bright())
    assert (facts["computed"], facts["empty_ids"]) == (0, ["made/1"])
    assert all(Path(path).is_file() for path in masked.table["mask_path"])


def test_a_stopped_segmentation_keeps_what_it_had(cohort, tmp_path, monkeypatch):
    """The batch that was done is kept, its emptiness with it; what remains is computed."""
    monkeypatch.setattr(lung_masks, "BATCH", 1)
    written = []

    def stopping(mask):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(mask)
        return encode_png(mask)

    monkeypatch.setattr(lung_masks, "encode_png", stopping)
    with pytest.raises(KeyboardInterrupt):
        segment_cohort(cohort, tmp_path / "cache", _Bright())
    monkeypatch.setattr(lung_masks, "encode_png", encode_png)
    read = []
    monkeypatch.setattr(lung_masks, "read_image", lambda path: read.append(path) or read_image(path))
    _, facts = segment_cohort(cohort, tmp_path / "cache", _Bright())
    assert (facts["computed"], facts["empty_ids"]) == (1, ["made/1"])
    assert read == [cohort.table["path"][2]], "one radiograph and no mask"


def test_a_radiograph_that_is_gone_is_named(cohort, tmp_path):
    Path(cohort.table["path"][1]).unlink()
    with pytest.raises(UserError, match=r"1\.png: cannot be read"):
        segment_cohort(cohort, tmp_path / "cache", _Bright())


# --- COVID-CXNet's way


@pytest.mark.slow
def test_the_authors_masks_are_the_saturated_pixels_of_the_equalised_picture(entry):
    """Against the steps one by one; a rank is 1 where nothing in the disk is brighter, and the network marks that."""
    chest = cv2.resize(_chest(), (120, 200), interpolation=cv2.INTER_LINEAR)
    small = np.clip(cv2.resize(chest.astype(np.float32), (320, 320), interpolation=cv2.INTER_CUBIC), 0, 255)
    ranked = rank.equalize(small.astype(np.uint8), disk(40))
    fed = cv2.resize(ranked, (SIZE, SIZE), interpolation=cv2.INTER_AREA).astype(np.float32)
    fed = (fed - fed.min()) / np.ptp(fed)
    probability = 1 / (1 + np.exp(20 - 40 * fed))
    expected = cv2.resize((probability >= 0.999).astype(np.uint8) * 255, (120, 200), interpolation=cv2.INTER_NEAREST)
    found = LungSegmenter(mode="authors").masks([chest])[0]
    np.testing.assert_array_equal(found, expected)
    assert 0 < np.mean(expected > 0) < 0.5
    assert (found != LungSegmenter().masks([chest])[0]).any()


def test_the_letter_of_saturation_is_a_probability_of_exactly_1():
    probability = np.array([[1, 1 - 1e-7], [0.9989, 0.999]], np.float32)
    assert (lungs.saturated_mask(probability, (2, 2), 1.0) > 0).tolist() == [[True, False], [False, False]]
    assert (lungs.saturated_mask(probability, (2, 2)) > 0).tolist() == [[True, True], [False, True]]
    corner = lungs.saturated_mask(probability, (6, 4), 1.0)
    assert corner.dtype == np.uint8
    assert (corner == np.kron([[255, 0], [0, 0]], np.ones((3, 2)))).all()


@pytest.mark.slow
def test_the_masks_of_the_two_modes_are_kept_apart(entry, cohort, tmp_path):
    shipped, facts = segment_cohort(cohort, tmp_path / "cache")
    assert "mode" not in facts
    authors, facts = segment_cohort(cohort, tmp_path / "cache", mode="authors")
    assert (facts["computed"], facts["mode"], facts["threshold"]) == (3, "authors", 0.999)
    assert not set(shipped.table["mask_path"]) & set(authors.table["mask_path"])
    # Nor would they meet at one threshold.
    _, facts = segment_cohort(cohort, tmp_path / "cache", LungSegmenter(threshold=0.999, clean=False))
    assert facts["computed"] == 3
    assert segment_cohort(cohort, tmp_path / "cache", mode="authors")[1]["computed"] == 0
    with pytest.raises(UserError, match="segmentation mode"):
        segment_cohort(cohort, tmp_path / "cache", mode="author")


# --- the two conventions


@pytest.fixture
def conventions(entry, tmp_path, monkeypatch) -> dict[str, WeightEntry]:
    """The hand-set network under both names; that of the fields marks only the brighter of the two lungs."""
    model = _bright_is_lung()
    kernel, bias = model.get_layer("lung").get_weights()
    model.get_layer("lung").set_weights([kernel, bias - 15])
    file = save_weights(model, tmp_path / "strict.h5")
    fields = registered(
        "lung_fields", file, entry.input_shape, **{name: getattr(entry, name) for name in ("classes", "builder")},
        arguments=entry.arguments, threshold=0.5,
    )  # fmt: skip
    both = {"whole": entry, "fields": fields}
    monkeypatch.setattr(registry, "load_registry", lambda: {one.name: one for one in both.values()})
    return both


def _two_lungs() -> np.ndarray:
    image = _chest()
    image[RIGHT] = 160
    return image


def _by_api(path: Path, lungs: str | None, weights: str | None, out: Path) -> np.ndarray:
    return covid_keras.segment(path, lungs=lungs, weights=weights)


def _by_class(path: Path, lungs: str | None, weights: str | None, out: Path) -> np.ndarray:
    return LungSegmenter(weights, lungs=lungs).masks([read_image(path)])[0]


def _by_command(path: Path, lungs: str | None, weights: str | None, out: Path) -> np.ndarray:
    given = [("--lungs", lungs), ("--weights", weights)]
    options = [word for option, value in given if value for word in (option, value)]
    if main(["segment", str(path), "--out", str(out), *options]):
        raise UserError("segment", "refused", "")
    return read_mask(out / f"{path.stem}_mask.png")


def _by_cohort(path: Path, lungs: str | None, weights: str | None, out: Path) -> np.ndarray:
    """In one cache for all conventions."""
    row = {"image_id": "made/1", "path": str(path), "patient_id": "made/1", "source": "made", "label": "N"}
    cohort = Cohort(pd.DataFrame([row]), ("N",), "made")
    masked, facts = segment_cohort(cohort, path.parent / "cache", LungSegmenter(weights, lungs=lungs))
    assert facts["lungs"] == LungSegmenter(weights, lungs=lungs).lungs
    return read_mask(masked.table["mask_path"][0])


WAYS = [_by_api, _by_class, _by_command, _by_cohort]


@pytest.mark.parametrize("way", WAYS)
def test_each_way_marks_by_the_convention_asked_for(conventions, tmp_path, way):
    path = write_image(tmp_path / "chest.png", _two_lungs())
    marks = {(True, True): "whole", (True, False): "fields"}

    def found(lungs: str | None = None, weights: str | None = None) -> str:
        mask = way(path, lungs, weights, tmp_path / "out")
        return marks[bool(mask[LEFT].all()), bool(mask[RIGHT].any())]

    assert found() == registry.DEFAULT_LUNGS
    for asked in ("fields", "whole", "fields"):
        assert found(asked) == found(None, conventions[asked].name) == found(asked, conventions[asked].name) == asked


@pytest.mark.parametrize("way", WAYS[:3])
def test_a_convention_and_weights_that_contradict_each_other_are_refused(conventions, tmp_path, way):
    path = write_image(tmp_path / "chest.png", _two_lungs())
    for asked, weights in (("fields", "lungs_unet16"), ("whole", "lung_fields"), ("lobes", None)):
        with pytest.raises((UserError, SystemExit)):
            way(path, asked, weights, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_file_has_a_key_for_each_convention(conventions, weight_file):
    """The architectures may differ in size alone, so that the same file gives other masks."""
    keys = {str(LungSegmenter(weight_file, lungs=lungs).key) for lungs in conventions}
    assert len(keys) == 2


# --- the command


def test_the_command_segments_png_and_dicom_alike(entry, tmp_path, capsys):
    chest = _chest()
    chest[0, :2] = 0, 255  # the whole range, so that min-max leaves the DICOM as the PNG is
    files = [write_image(tmp_path / "one.png", chest), write_dicom(tmp_path / "two.dcm", chest)]
    assert main(["segment", *map(str, files), "--out", str(tmp_path / "out")]) == 0
    assert f"Output: {tmp_path / 'out'}" in capsys.readouterr().out
    assert len(list((tmp_path / "out").iterdir())) == 6
    one, two = (read_mask(tmp_path / "out" / f"{stem}_mask.png") for stem in ("one", "two"))
    np.testing.assert_array_equal(one, _truth())
    np.testing.assert_array_equal(two, one)


@pytest.mark.parametrize("more", [[], ["--skip-unreadable"]])
def test_on_a_full_disk_nothing_is_left(entry, tmp_path, capsys, more):
    write_image(tmp_path / "chest.png", _chest())
    for room in (0, 1000):
        with full_disk(room):
            fails(capsys, "segment", tmp_path / "chest.png", "--out", tmp_path / "out", *more)
        assert not (tmp_path / "out").exists()


def test_the_command_goes_on_where_asked(entry, tmp_path, capsys):
    for name in ("a/chest.png", "b/chest.png"):
        write_image(tmp_path / name, _chest())
    (tmp_path / "a" / "bad.png").write_bytes(b"")
    command = ["segment", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "out"), "--json"]
    assert main(command) == 2
    assert "bad.png" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*command, "--skip-unreadable"]) == 3
    rows = json.loads(capsys.readouterr().out)["images"]
    assert [row["mask"] for row in rows] == ["", "a/chest_mask.png", "b/chest_mask.png"]
    assert "empty" in rows[0]["error"]
    for row in rows[1:]:
        np.testing.assert_array_equal(read_mask(tmp_path / "out" / row["mask"]), _truth())
    assert "bad.png" in (tmp_path / "out" / "errors.csv").read_text()


@pytest.mark.parametrize("kind", ["png", "dcm"])
def test_the_command_with_the_weights_that_ship(tmp_path, kind):
    sample = phantom_image(1, (300, 240), "normal", 0)
    path = tmp_path / f"chest.{kind}"
    (write_image if kind == "png" else write_dicom)(path, sample.image)
    assert main(["segment", str(path), "--out", str(tmp_path / "out")]) == 0
    mask = read_mask(tmp_path / "out" / "chest_mask.png", (300, 240))
    assert set(np.unique(mask)) <= {0, 255}
    assert cv2.imread(str(tmp_path / "out" / "chest_overlay.png")).shape == (300, 240, 3)
    crop = read_image(tmp_path / "out" / "chest_crop.png")
    assert crop.shape[0] <= 300
    assert crop.shape[1] <= 240


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize(("lungs", "least"), [("whole", 0.93), ("fields", 0.96)])
def test_the_weights_that_ship_find_real_lungs(real_data, tmp_path, lungs, least):
    """Dice over 20 validation patients' images of the first collection, at full size, ignored pixels left out."""
    split = read_split(SPLITS[lungs]).set_index("image_id")["split"]
    cohort = load_masked(COLLECTIONS[lungs][:1], real_data, tmp_path)
    table = cohort.filter(cohort.table["image_id"].map(split) == "validation").table
    table = table.iloc[:: max(len(table) // 20, 1)][:20]
    assert len(table) == 20
    images = [read_image(path) for path in table["path"]]
    masks = LungSegmenter(lungs=lungs).masks(images)
    rows = zip(masks, images, table["mask_path"], strict=True)
    assert np.mean([mask_overlap(mask, read_mask(path, image.shape))[0] for mask, image, path in rows]) > least


@pytest.mark.real
@pytest.mark.slow
def test_the_boxes_of_both_modes_are_near_those_of_human_masks(real_data):
    """Intersection over union with the human box, over 12 validation radiographs; COVID-CXNet dilates its own."""
    split = read_split(SPLIT).set_index("image_id")["split"]
    cohort = load_lung_cohort(real_data)
    table = cohort.filter(cohort.table["image_id"].map(split) == "validation").table.iloc[::7][:12]
    images = [read_image(path) for path in table["path"]]
    human = [read_mask(path, image.shape) > 127 for path, image in zip(table["mask_path"], images, strict=True)]
    shipped, authors = (LungSegmenter(mode=mode).masks(images) for mode in lungs.MODES)
    grown = Preparation(frame=(320, 320), crop="lungs", dilate=(5, 3), margin_pixels=0)
    for masks, preparation, least in ((shipped, Preparation(crop="lungs", margin=0), 0.9), (authors, grown, 0.8)):
        pairs = zip(masks, human, strict=True)
        assert np.mean([_overlap(mask, truth, preparation) for mask, truth in pairs]) > least


def _overlap(mask: np.ndarray, human: np.ndarray, preparation: Preparation) -> float:
    """Intersection over union of the preparation's box of a mask and the box of the human one."""
    found, truth = np.zeros((2, *human.shape), bool)
    found[crop_box(mask, preparation).slices] = True
    truth[crop_box(human, Preparation(crop="lungs", margin=0, box="inclusive")).slices] = True
    return float((found & truth).sum() / (found | truth).sum())
