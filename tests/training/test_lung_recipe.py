"""The recipe of the lung U-Net: ignored pixels count nowhere, one seed gives one network, the split is whole."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace

import cv2
import keras
import numpy as np
import pandas as pd
import pytest

from covid_keras.commands.train_lungs import train_lungs
from covid_keras.common.errors import UserError
from covid_keras.common.files import sha256_of
from covid_keras.data.cohort import Cohort
from covid_keras.data.duplicates import find_duplicates
from covid_keras.data.sources import get_source, load_source
from covid_keras.data.splits import check_disjoint, read_split
from covid_keras.evaluation.overlap import mask_overlap, summarise_overlap
from covid_keras.models import build_unet, load_weights
from covid_keras.models.registry import FOLDER, LUNG_NETWORKS, load_registry
from covid_keras.training import lung_recipe
from covid_keras.training.losses import MaskedDiceCrossEntropy, masked_dice
from covid_keras.training.lung_conventions import CLASSIFIED, difference_of_masks
from covid_keras.training.lung_recipe import LungRecipe, Tones, _Batches, fit_unet, load_stack, measure, run_recipe
from covid_keras.training.lung_split import COLLECTIONS, MEASURED, SPLIT, SPLITS, load_lung_cohort
from tests.helpers.images import cohort_of

TINY = LungRecipe(size=32, network={"filters": 4, "normalisation": "encoder"}, epochs=2, batch=2, precision="float32")
SHAPE = (64, 32)  # height and width: twice and once the side that the network sees
LEFT, RIGHT, IGNORED = np.s_[16:48, 4:12], np.s_[16:48, 20:28], np.s_[16:24, 20:28]


def _lungs(ignore: bool = False) -> np.ndarray:
    """A human mask: two blocks of lung, the top of the right one ignored where asked."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[LEFT] = mask[RIGHT] = 255
    if ignore:
        mask[IGNORED] = 127
    return mask


@pytest.fixture
def masked(tmp_path) -> Cohort:
    """Three radiographs whose lungs are bright: marked right, with ignored pixels, and with one lung forgotten."""
    forgotten = _lungs()
    forgotten[RIGHT] = 0
    image = np.where(_lungs() > 0, 200, 40).astype(np.uint8)
    names = [f"made/{i}" for i in range(3)]
    masks = dict(zip(names, (_lungs(), _lungs(ignore=True), forgotten), strict=True))
    table = cohort_of(tmp_path, dict.fromkeys(names, image), masks).table
    return Cohort(table.assign(label="x", view="PA", patient_id=["made/p0", "made/p0", "made/p1"]), ("x",), "made")


class BrightIsLung:
    """Stands for a network: the probability of lung is the brightness that it is given."""

    input_shape = (None, 32, 32, 1)

    def predict_on_batch(self, images: np.ndarray) -> np.ndarray:
        return images


# --- overlap

LEFT_HALF = np.repeat([[255, 255, 0, 0]], 4, axis=0).astype(np.uint8)
EMPTY, FULL, IGNORE = (np.full((4, 4), value, np.uint8) for value in (0, 255, 127))
PARTLY = np.repeat([[255, 255, 127, 0]], 4, axis=0).astype(np.uint8)


@pytest.mark.parametrize(
    ("marked", "truth", "dice", "iou"),
    [
        (np.roll(LEFT_HALF, 1, axis=1), LEFT_HALF, 0.5, 1 / 3),
        (LEFT_HALF, LEFT_HALF, 1, 1),
        (255 - LEFT_HALF, LEFT_HALF, 0, 0),
        # What was marked where nobody judged does not count.
        (np.where(PARTLY > 0, 255, 0), PARTLY, 1, 1),
        (LEFT_HALF, PARTLY, 1, 1),
        # Nothing against nothing is whole.
        (EMPTY, EMPTY, 1, 1),
        (FULL, IGNORE, 1, 1),
        (FULL, EMPTY, 0, 0),
    ],
)
def test_overlap_by_hand(marked, truth, dice, iou):
    assert mask_overlap(marked, truth) == pytest.approx((dice, iou))


# --- loss


def test_the_loss_sees_no_ignored_pixel():
    rng = np.random.default_rng(0)
    truth = np.ones((2, 8, 8, 2), np.float32)
    truth[..., 0] = rng.random((2, 8, 8)) > 0.5
    truth[:, :4, :, 1] = 0
    said = rng.uniform(0.1, 0.9, (2, 8, 8, 1)).astype(np.float32)
    other = said.copy()
    other[:, :4] = rng.uniform(0.1, 0.9, (2, 4, 8, 1))
    for function in (MaskedDiceCrossEntropy(), masked_dice):
        np.testing.assert_array_equal(np.asarray(function(truth, said)), np.asarray(function(truth, other)))
    # Right everywhere but where nobody judged: no loss, full Dice.
    right = np.where(truth[..., 1:] > 0, truth[..., :1], 1 - truth[..., :1])
    assert float(MaskedDiceCrossEntropy()(truth, right)) == pytest.approx(0, abs=1e-4)
    np.testing.assert_array_equal(np.asarray(masked_dice(truth, right)), [1, 1])


def test_the_loss_of_an_even_guess():
    """p = 1/2 on 32 lung and 32 other pixels: entropy log 2, soft Dice (2 x 16 + 1) / (32 + 32 + 1)."""
    truth = np.ones((1, 8, 8, 2), np.float32)
    truth[:, :4, :, 0] = 0
    found = float(MaskedDiceCrossEntropy()(truth, np.full((1, 8, 8, 1), 0.5, np.float32)))
    assert found == pytest.approx(np.log(2) + 1 - 33 / 65, abs=1e-5)


# --- images in, numbers out


def test_stack_holds_radiograph_lung_and_what_counts(masked):
    stack = load_stack(masked, 32)
    assert stack.shape == (3, 32, 32, 3)
    assert stack.dtype == np.uint8
    image, lung, counts = np.moveaxis(stack[1], -1, 0)
    block, ignored = np.zeros((32, 32), bool), np.zeros((32, 32), bool)
    block[8:24, 4:12] = block[8:24, 20:28] = True
    ignored[8:12, 20:28] = True
    np.testing.assert_array_equal(image, np.where(block, 255, 0))  # min-max: 40 is 0, 200 is 255
    np.testing.assert_array_equal(lung, np.where(block & ~ignored, 255, 0))
    np.testing.assert_array_equal(counts, np.where(ignored, 0, 255))
    assert (stack[0, ..., 2] == 255).all()


def test_measure_and_summary(masked):
    table = measure(BrightIsLung(), masked)
    assert list(table["image_id"]) == ["made/2", "made/0", "made/1"], "worst first"
    assert list(table.columns) == ["image_id", "patient_id", "view", "dice", "iou"]
    # The forgotten lung is marked all the same: both blocks against one.
    assert table["dice"].tolist() == pytest.approx([2 / 3, 1, 1])
    assert table["iou"].tolist() == pytest.approx([1 / 2, 1, 1])
    summary = summarise_overlap(table)
    assert (summary["images"], summary["patients"]) == (3, 2)
    assert summary["dice_mean"] == 0.8889
    assert summary["dice_std"] == round(float(np.std([2 / 3, 1, 1], ddof=1)), 4)
    assert (summary["dice_min"], summary["dice_max"], summary["iou_min"]) == (0.6667, 1.0, 0.5)
    assert (summary["dice_p50"], summary["iou_p5"]) == (1.0, 0.55)
    json.dumps(summary)


def test_measure_drops_islands_unless_told_not_to(masked):
    image = cv2.imread(masked.table["path"][0], cv2.IMREAD_GRAYSCALE)
    image[60:62, 30] = 200  # one pixel of the network's
    cv2.imwrite(masked.table["path"][0], image)
    one = masked.filter(masked.table["image_id"] == "made/0")
    assert measure(BrightIsLung(), one)["dice"][0] == 1
    assert measure(BrightIsLung(), one, clean=False)["dice"][0] < 1


# --- training


@pytest.mark.slow
def test_one_seed_gives_one_network(monkeypatch, tmp_path):
    """Of a network of one convolution and dropout, which takes seconds less to compile; also after a kill."""
    monkeypatch.setattr(lung_recipe, "build_unet", one_convolution)
    stack = np.random.default_rng(5).integers(0, 255, (4, 32, 32, 3)).astype(np.uint8)
    stack[..., 1:] = np.where(stack[..., 1:] > 127, 255, 0)
    killed = tmp_path / "killed"
    with monkeypatch.context() as patch:
        patch.setattr(lung_recipe, "epoch_bar", stopping_after_one)
        with pytest.raises(KeyboardInterrupt):
            fit_unet(stack, stack[:2], TINY, killed)
    (first, history), (again, history_again) = (
        fit_unet(stack, stack[:2], TINY, folder) for folder in (tmp_path, killed)
    )
    assert list(history.columns) == ["loss", "masked_dice", "val_loss", "val_masked_dice"]
    assert len(history) == TINY.epochs
    assert np.isfinite(history.to_numpy()).all()
    pd.testing.assert_frame_equal(history, history_again)
    assert all(np.array_equal(a, b) for a, b in zip(first.get_weights(), again.get_weights(), strict=True))


@contextmanager
def stopping_after_one(what: str, epochs: int):
    def tell(done: int, values: dict[str, float]) -> None:
        raise KeyboardInterrupt

    yield tell


def one_convolution(shape, filters, normalisation) -> keras.Model:
    inputs = keras.Input(shape)
    x = keras.layers.Dropout(0.2)(keras.layers.Conv2D(filters, 3, padding="same")(inputs))
    return keras.Model(inputs, keras.layers.Conv2D(1, 1, activation="sigmoid")(x))


def test_batches_are_those_of_seed_and_epoch():
    stack = np.random.default_rng(5).integers(0, 255, (4, 32, 32, 3)).astype(np.uint8)

    def images(recipe: LungRecipe, epoch: int) -> np.ndarray:
        batches = _Batches(stack, recipe)
        for _ in range(epoch):
            batches.on_epoch_end()
        return np.concatenate([np.asarray(batches[i][0]) for i in range(len(batches))])

    first = images(TINY, 1)
    assert first.shape == (4, 32, 32, 1)
    assert first.min() >= 0
    assert first.max() <= 1
    np.testing.assert_array_equal(images(TINY, 1), first)
    assert not np.array_equal(images(TINY, 2), first)
    assert not np.array_equal(images(replace(TINY, seed=1), 1), first)


def test_what_augmentation_moves_in_from_outside_does_not_count():
    """All of the picture counts; a turned and shifted one has corners that nobody has judged."""
    targets = np.asarray(_Batches(np.full((4, 32, 32, 3), 255, np.uint8), TINY)[0][1])
    lung, counts = targets[..., 0], targets[..., 1]
    assert set(np.unique(counts)) == {0, 1}
    assert counts.mean() > 0.5
    np.testing.assert_array_equal(lung, counts)


def test_simulated_opacities_brighten_a_part_and_equalisation_follows_the_key():
    tones = Tones(0, 0, 0, opacity=0.9, equalised=0.5)
    flat = np.full((4, 32, 32, 1), 0.3, np.float32)
    found = np.asarray(tones(flat, [1, 2]))
    assert found.min() >= 0.299
    assert 0.4 < found.max() < 0.94
    assert (found == np.asarray(tones(flat, [1, 2]))).all()
    assert (found != np.asarray(tones(flat, [1, 3]))).any()
    images = np.random.default_rng(0).integers(60, 90, (16, 32, 32)).astype(np.uint8)
    equalised = tones.equalise(images, np.arange(16), 0, 0)
    changed = (equalised != images).any(axis=(1, 2))
    assert 0 < changed.sum() < 16
    np.testing.assert_array_equal(tones.equalise(images[8:], np.arange(8, 16), 0, 0), equalised[8:])


@pytest.mark.slow
def test_the_recipe_writes_weights_that_load_and_their_dice(masked, tmp_path):
    """In bfloat16, as shipped: the weights are float32 all the same, and so is every model made afterwards."""
    split = pd.Series({"made/0": "train", "made/1": "train", "made/2": "validation"})
    recipe, out = replace(TINY, epochs=1, precision="mixed_bfloat16"), tmp_path / "out"
    summary = run_recipe(masked, split, out, recipe, "made")
    assert keras.config.dtype_policy().name == "float32"
    assert {path.name for path in out.iterdir()} == {
        "made.h5", "history.csv", "dice.csv", "dice.json", "recipe.json"
    }  # fmt: skip
    model = build_unet((32, 32, 1), 4, "encoder")
    assert load_weights(model, out / "made.h5").parameters == model.count_params()
    table = measure(model, masked.filter(masked.table["image_id"] == "made/2"))
    assert table["dice"][0] == pytest.approx(pd.read_csv(out / "dice.csv")["dice"][0])
    assert (summary["images"], summary["dice_mean"]) == (1, round(table["dice"][0], 4))
    assert json.loads((out / "recipe.json").read_text())["precision"] == "mixed_bfloat16"


def test_the_summary_of_one_image_is_json_all_the_same():
    """One image has no standard deviation, and JSON knows no NaN."""
    table = pd.DataFrame({"patient_id": ["a"], "dice": [0.9], "iou": [0.8]})
    assert "NaN" not in json.dumps(summarise_overlap(table))


@pytest.mark.parametrize(
    ("epochs", "precision", "words"), [(0, "bf16", "--epochs: .*at least 1"), (None, "int8", "--precision int8")]
)
def test_what_the_recipe_cannot_use(tmp_path, epochs, precision, words):
    with pytest.raises(UserError, match=words):
        train_lungs(tmp_path, tmp_path / "out", "fields", epochs, precision)
    assert not (tmp_path / "out").exists()


# --- the split that ships


@pytest.mark.parametrize(
    ("lungs", "counts"), [("whole", {"train": 362, "validation": 91}), ("fields", {"train": 483, "validation": 121})]
)
def test_the_committed_split_is_whole_and_its_patients_are_disjoint(lungs, counts):
    path = SPLITS[lungs]
    table = read_split(path)
    assert path.with_name(path.name + ".sha256").read_text().split()[0] == sha256_of(path)
    assert table["split"].value_counts().to_dict() == counts
    assert table["image_id"].is_unique
    assert (table.groupby("patient_id")["split"].nunique() == 1).all()


@pytest.mark.parametrize("lungs", SPLITS)
def test_the_committed_dice_is_of_held_out_images_and_registered(lungs):
    split, name = read_split(SPLITS[lungs]), LUNG_NETWORKS[lungs]
    table = pd.read_csv(FOLDER / f"{name}_dice.csv")
    assert table["image_id"].is_unique
    held_out = table[table["image_id"].isin(split["image_id"])]
    assert set(held_out["image_id"]) == set(split.loc[split["split"] == "validation", "image_id"])
    others = table.loc[~table["image_id"].isin(held_out["image_id"]), "image_id"]
    assert set(others.str.split("/").str[0]) == set(MEASURED[lungs])
    measured = load_registry()[name].measured
    found = summarise_overlap(held_out)
    assert {key: measured[key] for key in found} == pytest.approx(found)


def test_no_shipped_network_for_lung_fields_knows_a_classified_image():
    """The masks of three papers come from it; those of Hertel's own paper were trained on Darwin's."""
    sources = set(read_split(SPLITS["fields"])["image_id"].str.split("/").str[0])
    assert sources == set(COLLECTIONS["fields"])
    assert not sources & set(CLASSIFIED)


@pytest.mark.parametrize("lungs", COLLECTIONS)
def test_a_network_learns_and_is_measured_on_masks_of_its_convention(lungs):
    assert {get_source(name).lungs for name in (*COLLECTIONS[lungs], *MEASURED[lungs])} == {lungs}


# --- what the convention changes


def test_the_difference_of_two_masks_by_hand():
    whole, fields = np.zeros((2, 80, 100), np.uint8)
    whole[10:71, 10:91] = 255
    fields[10:71, 10:41] = fields[10:71, 60:91] = 255
    box_iou, lost, share_fields, share_whole = difference_of_masks(fields, whole)
    assert (box_iou, lost) == pytest.approx((1, 19 / 81)), "the heart lies within the box"
    assert (share_fields, share_whole) == pytest.approx((61 * 62 / 8000, 61 * 81 / 8000))
    fields[:, 60:] = 0
    assert difference_of_masks(fields, whole)[0] < 0.5
    assert np.isnan(difference_of_masks(fields, np.zeros_like(whole))[1])


@pytest.mark.real
@pytest.mark.slow
def test_the_committed_split_divides_the_real_collection_without_leak(real_data, copies):
    cohort, table = load_lung_cohort(real_data), read_split(SPLIT)
    assert set(cohort.table["image_id"]) == set(load_source("darwin_v7", real_data).table["image_id"])
    assert set(cohort.table["image_id"]) == set(table["image_id"])
    pairs = find_duplicates(cohort, cache=copies)
    assert len(pairs) > 0, "the collection is known to hold copies, so that none found means none looked for"
    check_disjoint(table, cohort, pairs)
