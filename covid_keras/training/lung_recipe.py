"""The recipe of the shipped lung U-Net, trained on radiographs with human masks.

`covid-keras train-lungs --data DIR --out DIR` runs it. Training and validation patients are disjoint, and pixels that
annotators marked "ignore" count neither in the loss nor in Dice. Nothing is selected on the validation part: the
learning rate warms up over the first epoch, then follows a cosine to almost 0, and the last epoch ships.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from covid_keras.common.files import atomic_path, write_json
from covid_keras.common.progress import progress
from covid_keras.data.augment import Augmentation, augment_batch
from covid_keras.data.cohort import Cohort
from covid_keras.data.images import read_image, read_mask
from covid_keras.data.sources.darwin_v7 import IGNORE, LUNG
from covid_keras.evaluation.overlap import mask_overlap, summarise_overlap
from covid_keras.models.lungs import probability_to_mask, unet_input
from covid_keras.models.unet import build_unet
from covid_keras.models.weights import save_weights
from covid_keras.training.fitting import Feed, epoch_bar, fit_epochs
from covid_keras.training.losses import MaskedDiceCrossEntropy, masked_dice


@dataclass(frozen=True)
class LungRecipe:
    """Settings of the recipe; the defaults are those of the shipped weights.

    Attributes
    ----------
    size : int
        Side of the square input in pixels.
    filters, normalisation : int, str
        Arguments of `build_unet`.
    epochs, batch, learning_rate : int, int, float
        Adam, with the gradient norm clipped at 1. Over the first epoch, the rate rises linearly from
        `learning_rate / 10` to `learning_rate`. It then follows a cosine that would reach 0 after `epochs` further
        epochs; training ends one epoch earlier, at about `learning_rate * (pi / (2 * epochs))**2` (0.1 % of it for 45
        epochs).
    precision : str
        Keras dtype policy while training; Dice is always measured in float32.
    seed : int
        Seed of initial weights, order, dropout and augmentation.
    gamma, contrast, brightness : float
        Half-widths of the photometric augmentation: exponent 2**U(-gamma, gamma), factor 1 + U, offset U.
    """

    size: int = 224
    filters: int = 16
    normalisation: str = "encoder"
    epochs: int = 45
    batch: int = 8
    learning_rate: float = 2e-3
    precision: str = "mixed_bfloat16"
    seed: int = 0
    rotation: float = 12.0
    shift: float = 0.08
    zoom: float = 0.2
    shear: float = 5.0
    gamma: float = 0.6
    contrast: float = 0.2
    brightness: float = 0.1

    @property
    def augmentation(self) -> Augmentation:
        """The geometric part, the same transform for a radiograph and its mask."""
        return Augmentation(
            rotation=self.rotation,
            shift=(self.shift, self.shift),
            shear=self.shear,
            flip=True,
            zoom=(1 - self.zoom, 1 + self.zoom),
            fill="constant",
        )


class MaskedBatches(keras.utils.PyDataset):
    """Shuffled batches of radiographs and masks, determined by seed and epoch; a subclass defines `take`.

    Parameters
    ----------
    rows : ndarray of int
        Indices of the training images.
    batch_size, seed : int
        The order is drawn from (seed, epoch).
    epoch : int
        The epoch with which the training starts or resumes.
    """

    def __init__(self, rows: np.ndarray, batch_size: int, seed: int, epoch: int = 0) -> None:
        super().__init__(workers=1)
        self.rows, self.batch_size, self.seed, self.epoch = rows, batch_size, seed, epoch
        self._shuffle()

    def take(self, rows: np.ndarray, index: int):
        """Return inputs (b, H, W, 1) and [mask, counted pixels] (b, H, W, 2), both float32, of images `rows`.

        `index` is the batch's number within the epoch.
        """
        raise NotImplementedError

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __getitem__(self, index: int):
        return self.take(self.order[index * self.batch_size : (index + 1) * self.batch_size], index)

    def on_epoch_end(self) -> None:
        self.epoch += 1
        self._shuffle()

    def _shuffle(self) -> None:
        self.order = np.random.default_rng([self.seed, self.epoch]).permutation(self.rows)


def moved_together(
    images: np.ndarray, targets: np.ndarray, rows: np.ndarray, seed: int, epoch: int, augmentation: Augmentation
) -> tuple[tf.Tensor, tf.Tensor]:
    """Transform radiographs, (b, H, W, 1), and [mask, counted pixels], (b, H, W, 2) in 0..1, alike.

    Masks are thresholded at 0.5 to stay binary after interpolation. `rows` are the images' keys (see
    `covid_keras.data.augment.augment_batch`). Returns float32 tensors of these shapes.
    """
    both = tf.concat([tf.convert_to_tensor(images, tf.float32), tf.convert_to_tensor(targets, tf.float32)], -1)
    moved = augment_batch(both, tf.convert_to_tensor(rows, tf.int64), seed, epoch, augmentation)
    return moved[..., :1], tf.cast(moved[..., 1:] > 0.5, tf.float32)


class _Batches(MaskedBatches):
    """The recipe's batches, with geometric and photometric augmentation."""

    def __init__(self, stack: np.ndarray, recipe: LungRecipe) -> None:
        self.stack, self.recipe = stack, recipe
        super().__init__(np.arange(len(stack)), recipe.batch, recipe.seed)

    def take(self, rows: np.ndarray, index: int):
        scaled = tf.convert_to_tensor(self.stack[rows], tf.float32) / 255.0
        moved, targets = moved_together(
            scaled[..., :1], scaled[..., 1:], rows, self.seed, self.epoch, self.recipe.augmentation
        )
        return self._photometric(moved, index), targets

    def _photometric(self, images: tf.Tensor, index: int) -> tf.Tensor:
        key = [self.recipe.seed + 7919, self.epoch * 100_003 + index]
        draws = tf.random.stateless_uniform((3, tf.shape(images)[0], 1, 1, 1), key, -1.0, 1.0)
        images = tf.clip_by_value(images, 0.0, 1.0) ** (2.0 ** (self.recipe.gamma * draws[0]))
        return tf.clip_by_value(
            images * (1 + self.recipe.contrast * draws[1]) + self.recipe.brightness * draws[2], 0, 1
        )


def load_stack(cohort: Cohort, size: int) -> np.ndarray:
    """Return uint8 (n, size, size, 3): radiograph (min-max), human mask 0/255, pixels that count 0/255."""
    stack = np.empty((len(cohort), size, size, 3), np.uint8)
    rows = cohort.table[["path", "mask_path"]].itertuples(index=False)
    for i, row in enumerate(progress(rows, "reading radiographs", len(cohort))):
        image = read_image(row.path)
        mask = read_mask(row.mask_path, image.shape)
        stack[i, ..., 0] = np.rint(unet_input(image, size)[..., 0] * 255)
        for channel, marked in ((1, mask == LUNG), (2, mask != IGNORE)):
            full = np.where(marked, 255, 0).astype(np.uint8)
            stack[i, ..., channel] = cv2.resize(full, (size, size), interpolation=cv2.INTER_AREA)
    return stack


def fit_unet(stack: np.ndarray, validation: np.ndarray, recipe: LungRecipe) -> tuple[keras.Model, pd.DataFrame]:
    """Train on `stack`, evaluate on `validation` (both from `load_stack`); return the model and its history."""
    keras.utils.set_random_seed(recipe.seed)
    keras.mixed_precision.set_dtype_policy(recipe.precision)
    try:
        model = build_unet((recipe.size, recipe.size, 1), recipe.filters, recipe.normalisation)
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    batches = _Batches(stack, recipe)
    schedule = keras.optimizers.schedules.CosineDecay(
        recipe.learning_rate / 10,
        recipe.epochs * len(batches),
        warmup_target=recipe.learning_rate,
        warmup_steps=len(batches),
    )
    model.compile(keras.optimizers.Adam(schedule, clipnorm=1.0), MaskedDiceCrossEntropy(), metrics=[masked_dice])
    scaled, history = validation.astype(np.float32) / 255, keras.callbacks.History()
    feed = Feed(
        lambda start, end: batches,
        (scaled[..., :1], (scaled[..., 1:] > 0.5).astype(np.float32)),
        {"validation_batch_size": 16, "shuffle": True},  # as for the shipped weights
    )
    with epoch_bar("the U-Net", recipe.epochs) as tell:
        fit_epochs(model, feed, 0, recipe.epochs, [history], tell)
    return model, pd.DataFrame(history.history)


def measure(model: keras.Model, cohort: Cohort, threshold: float = 0.5, clean: bool = True) -> pd.DataFrame:
    """Return Dice and IoU at the radiograph's own size, one row per image, worst first."""
    size, rows = model.input_shape[1], []
    for row in progress(cohort.table.itertuples(index=False), "measuring Dice", len(cohort)):
        image = read_image(row.path)
        truth = read_mask(row.mask_path, image.shape)
        probability = model.predict_on_batch(unet_input(image, size)[None])[0, ..., 0]
        overlap = mask_overlap(probability_to_mask(probability, image.shape, threshold, clean), truth)
        rows.append((row.image_id, row.patient_id, row.view, *overlap))
    columns = ["image_id", "patient_id", "view", "dice", "iou"]
    return pd.DataFrame(rows, columns=columns).sort_values("dice", ignore_index=True)


def run_recipe(cohort: Cohort, split: pd.Series, out: Path, recipe: LungRecipe) -> dict[str, float]:
    """Train and evaluate; write weights, history and Dice into `out`; return the validation summary.

    Parameters
    ----------
    cohort : Cohort
        Images with human masks (`mask_path`).
    split : Series of str, index image_id
        "train" or "validation"; patients disjoint.
    out : Path
        Folder for `lungs_unet16.h5`, `history.csv`, `dice.csv`, `dice.json` and `recipe.json`.
    recipe : LungRecipe
    """
    part = cohort.table["image_id"].map(split)
    train, validation = cohort.filter(part == "train"), cohort.filter(part == "validation")
    model, history = fit_unet(load_stack(train, recipe.size), load_stack(validation, recipe.size), recipe)
    save_weights(model, out / "lungs_unet16.h5")
    plain = build_unet((recipe.size, recipe.size, 1), recipe.filters, recipe.normalisation)
    plain.set_weights(model.get_weights())
    table = measure(plain, validation)
    summary = summarise_overlap(table)
    for name, frame in (("history.csv", history), ("dice.csv", table)):
        with atomic_path(out / name) as temporary:
            frame.to_csv(temporary, index=False)
    write_json(out / "dice.json", summary)
    write_json(out / "recipe.json", asdict(recipe))
    return summary
