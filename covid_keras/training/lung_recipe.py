"""The recipe of the shipped lung U-Net, trained on radiographs with human masks.

`covid-keras train-lungs --data DIR --out DIR` runs it. Training and validation patients are disjoint, and pixels that
annotators marked "ignore" count neither in the loss nor in Dice. Nothing is selected on the validation part: the
learning rate warms up over the first epoch, then follows a cosine to almost 0, and the last epoch ships.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from covid_keras.common.files import fingerprint, write_json
from covid_keras.common.progress import progress
from covid_keras.common.tables import write_table
from covid_keras.data.augment import Augmentation, augment_batch
from covid_keras.data.cohort import Cohort
from covid_keras.data.images import read_image, read_mask
from covid_keras.data.sources.darwin_v7 import IGNORE, LUNG
from covid_keras.evaluation.overlap import mask_overlap, summarise_overlap
from covid_keras.models.lungs import LARGEST, probability_to_mask, unet_input
from covid_keras.models.unet import build_unet
from covid_keras.models.weights import save_weights
from covid_keras.training.fitting import Feed, epoch_bar, fit_epochs
from covid_keras.training.losses import MaskedDiceCrossEntropy, masked_dice
from covid_keras.training.resume import ResumableTraining

# Number of simulated opacities per image, and their smallest and largest standard deviation in sides.
_OPACITIES, _SPREAD = 5, (0.05, 0.2)
_MOTION = Augmentation(rotation=12.0, shift=(0.08, 0.08), shear=5.0, flip=True, zoom=(0.8, 1.2), fill="constant")


@dataclass(frozen=True)
class Tones:
    """The photometric augmentation.

    Attributes
    ----------
    gamma, contrast, brightness : float
        Half-widths: exponent 2**U(-gamma, gamma), factor 1 + U, offset U.
    opacity : float
        Largest density of simulated opacities: blurred bright spots, like consolidations, without effect on the
        mask.
    equalised : float
        Share of images that are equalised locally (CLAHE of a random clip limit) beforehand.
    """

    gamma: float = 0.6
    contrast: float = 0.2
    brightness: float = 0.1
    opacity: float = 0.0
    equalised: float = 0.0

    def equalise(self, images: np.ndarray, rows: np.ndarray, seed: int, epoch: int) -> np.ndarray:
        """Equalise a share of the images, uint8 (b, H, W), drawn from seed, epoch and `rows`, the images' keys."""
        result = images.copy()
        for place, row in enumerate(rows if self.equalised else ()):
            rng = np.random.default_rng([seed, epoch, row])
            if rng.random() < self.equalised:
                result[place] = cv2.createCLAHE(10 ** rng.uniform(0, 2), (4, 4)).apply(images[place])
        return result

    def __call__(self, images: tf.Tensor, key: list[int]) -> tf.Tensor:
        """Change the grey levels of images, float32 (b, H, W, 1) in 0..1; `key` are two integers that seed the draw."""
        draws = tf.random.stateless_uniform((3, tf.shape(images)[0], 1, 1, 1), key, -1.0, 1.0)
        images = tf.clip_by_value(images, 0.0, 1.0)
        if self.opacity:
            images = images + (1 - images) * self._opacities(tf.shape(images), [key[0] + 1, key[1]])
        images = images ** (2.0 ** (self.gamma * draws[0]))
        return tf.clip_by_value(images * (1 + self.contrast * draws[1]) + self.brightness * draws[2], 0, 1)

    def _opacities(self, shape: tf.Tensor, key: list[int]) -> tf.Tensor:
        """Return the densities of Gaussian spots, 0..1, float32 (b, H, W, 1)."""
        draws = tf.random.stateless_uniform((5, shape[0], _OPACITIES, 1, 1), key)
        smallest, largest = _SPREAD
        y, x = tf.linspace(0.0, 1.0, shape[1])[:, None], tf.linspace(0.0, 1.0, shape[2])
        tall, wide = (smallest + (largest - smallest) * draw for draw in (draws[2], draws[3]))
        density = self.opacity * draws[4]
        spots = density * tf.exp(-(((y - draws[0]) / tall) ** 2 + ((x - draws[1]) / wide) ** 2) / 2)
        return tf.reduce_max(spots, axis=1)[..., None]


@dataclass(frozen=True)
class LungRecipe:
    """Settings of the recipe; the defaults are those of the shipped network for whole lungs.

    Attributes
    ----------
    size : int
        Side of the square input in pixels.
    network : dict
        Arguments of `build_unet`.
    entropy : float
        Weight of the cross-entropy in the loss (see `MaskedDiceCrossEntropy`).
    epochs, batch, learning_rate : int, int, float
        Adam, with the gradient norm clipped at 1. Over the first epoch, the rate rises linearly from
        `learning_rate / 10` to `learning_rate`. It then follows a cosine that would reach 0 after `epochs` further
        epochs; training ends one epoch earlier, at about `learning_rate * (pi / (2 * epochs))**2` (0.1 % of it for 45
        epochs).
    precision : str
        Keras dtype policy while training; Dice is always measured in float32.
    seed : int
        Seed of initial weights, order, dropout and augmentation.
    motion : Augmentation
        The geometric augmentation, the same transform for a radiograph and its mask.
    tones : Tones
    largest : int, optional
        Largest number of regions of a mask (see `clean_mask`).
    """

    size: int = 224
    network: dict[str, Any] = field(default_factory=lambda: {"filters": 16, "normalisation": "encoder"})
    entropy: float = 1.0
    epochs: int = 45
    batch: int = 8
    learning_rate: float = 2e-3
    precision: str = "mixed_bfloat16"
    seed: int = 0
    motion: Augmentation = _MOTION
    tones: Tones = field(default_factory=Tones)
    largest: int | None = None

    def build(self) -> keras.Model:
        """Return the network, with random weights."""
        return build_unet((self.size, self.size, 1), **self.network)


# Convention -> recipe of the shipped network. "fields" is that of Mineo, which Tabik et al. crop with: the loss and the
# layers are his, 256 pixels instead of 512 and half of the filters are what two cores train in an hour.
RECIPES = {
    "fields": LungRecipe(
        size=256,
        network={"filters": 16, "normalisation": "encoder", "form": "mineo"},
        entropy=0.0,
        epochs=40,
        motion=Augmentation(
            rotation=15.0,
            shift=(0.1, 0.1),
            shear=8.0,
            flip=True,
            zoom=(0.7, 1.3),
            keep_aspect=False,
            fill="constant",
        ),
        tones=Tones(gamma=1.0, contrast=0.3, brightness=0.15, opacity=0.9, equalised=0.3),
        largest=LARGEST["fields"],
    ),
    "whole": LungRecipe(),
}


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

    def __init__(self, stack: np.ndarray, recipe: LungRecipe, epoch: int = 0) -> None:
        self.stack, self.recipe = stack, recipe
        super().__init__(np.arange(len(stack)), recipe.batch, recipe.seed, epoch)

    def take(self, rows: np.ndarray, index: int):
        stack, tones = self.stack[rows], self.recipe.tones
        stack[..., 0] = tones.equalise(stack[..., 0], rows, self.seed, self.epoch)
        scaled = tf.convert_to_tensor(stack, tf.float32) / 255.0
        moved, targets = moved_together(
            scaled[..., :1], scaled[..., 1:], rows, self.seed, self.epoch, self.recipe.motion
        )
        return tones(moved, [self.seed + 7919, self.epoch * 100_003 + index]), targets


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


def fit_unet(
    stack: np.ndarray, validation: np.ndarray, recipe: LungRecipe, folder: Path
) -> tuple[keras.Model, pd.DataFrame]:
    """Train on `stack`, evaluate on `validation` (both from `load_stack`); return the model and its history.

    `folder` keeps the state of a killed training, which is resumed.
    """
    keras.utils.set_random_seed(recipe.seed)
    keras.mixed_precision.set_dtype_policy(recipe.precision)
    try:
        model = recipe.build()
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    steps = len(_Batches(stack, recipe))
    schedule = keras.optimizers.schedules.CosineDecay(
        recipe.learning_rate / 10,
        recipe.epochs * steps,
        warmup_target=recipe.learning_rate,
        warmup_steps=steps,
    )
    loss = MaskedDiceCrossEntropy(recipe.entropy)
    # On processors XLA, Keras' default, makes a step of a U-Net much longer (BENCHMARKS.md).
    model.compile(keras.optimizers.Adam(schedule, clipnorm=1.0), loss, metrics=[masked_dice], jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    scaled = validation.astype(np.float32) / 255
    feed = Feed(
        lambda start, end: _Batches(stack, recipe, start),
        (scaled[..., :1], (scaled[..., 1:] > 0.5).astype(np.float32)),
        {"validation_batch_size": 16},
    )
    tracker = ResumableTraining(folder, "val_masked_dice", recipe.epochs)
    start = tracker.restore(model)
    with epoch_bar("the U-Net", recipe.epochs) as tell:
        if start < recipe.epochs:
            fit_epochs(model, feed, start, recipe.epochs, [tracker], tell)
    return model, pd.DataFrame(tracker.history).drop(columns="epoch")


def measure(
    model: keras.Model, cohort: Cohort, threshold: float = 0.5, clean: bool = True, largest: int | None = None
) -> pd.DataFrame:
    """Return Dice and IoU at the radiograph's own size, one row per image, worst first."""
    size, rows = model.input_shape[1], []
    for row in progress(cohort.table.itertuples(index=False), "measuring Dice", len(cohort)):
        image = read_image(row.path)
        truth = read_mask(row.mask_path, image.shape)
        probability = model.predict_on_batch(unet_input(image, size)[None])[0, ..., 0]
        overlap = mask_overlap(probability_to_mask(probability, image.shape, threshold, clean, largest), truth)
        rows.append((row.image_id, row.patient_id, row.view, *overlap))
    columns = ["image_id", "patient_id", "view", "dice", "iou"]
    return pd.DataFrame(rows, columns=columns).sort_values("dice", ignore_index=True)


def run_recipe(
    cohort: Cohort, split: pd.Series, out: Path, recipe: LungRecipe, name: str, others: Cohort | None = None
) -> dict[str, float]:
    """Train and evaluate; write weights, history and Dice into `out`; return the validation summary.

    A killed training resumes.

    Parameters
    ----------
    cohort : Cohort
        Images with human masks (`mask_path`).
    split : Series of str, index image_id
        "train" or "validation"; patients disjoint.
    out : Path
        Folder for `<name>.h5`, `history.csv`, `dice.csv`, `dice.json` and `recipe.json`.
    recipe : LungRecipe
    name : str
        Name of the network.
    others : Cohort, optional
        Images with human masks of a collection that is only measured, in `dice.csv`.
    """
    part = cohort.table["image_id"].map(split)
    train, validation = cohort.filter(part == "train"), cohort.filter(part == "validation")
    key = fingerprint({"recipe": asdict(recipe), "train": train.fingerprint(), "validation": validation.fingerprint()})
    state = out / f"training-{key}"
    state.mkdir(parents=True, exist_ok=True)
    model, history = fit_unet(load_stack(train, recipe.size), load_stack(validation, recipe.size), recipe, state)
    save_weights(model, out / f"{name}.h5")
    plain = recipe.build()
    plain.set_weights(model.get_weights())
    table = measure(plain, validation, largest=recipe.largest)
    summary = summarise_overlap(table)
    tables = [table] if others is None else [table, measure(plain, others, largest=recipe.largest)]
    for file, frame in (("history.csv", history), ("dice.csv", pd.concat(tables))):
        write_table(out / file, frame)
    write_json(out / "dice.json", summary)
    write_json(out / "recipe.json", asdict(recipe))
    shutil.rmtree(state)
    return summary
