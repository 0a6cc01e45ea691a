"""The paper's own lung segmenters: U-Net 1, 2 and 3, trained on radiographs with human masks, and used on others.

Each is trained once into a folder and kept there: weights, history, overlap an image, and last the record, whose
presence says that the training is done. Unlike the recipe of the shipped U-Net (`covid_keras.training.lung_recipe`)
everything is as published: no batch normalisation, no augmentation, a constant rate, a loss of 1 - Dice pixel by pixel,
and the epoch that is best on the validation part.

Two things differ from the authors' code on purpose: pixels that annotators marked "ignore" count neither in the loss
nor in any measure (the paper's collections have none), and large radiographs are shrunk by the mean over areas, not by
interpolation between the four nearest pixels.

References
----------
.. [1] D. Arias-Garzon et al., "COVID-19 detection in X-ray images using convolutional neural networks", Machine
   Learning with Applications 6 (2021) 100138, sections 2.3 and 3.2, equations 1 to 4; loss, dropout and threshold as in
   the authors' code.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from keras import ops

from covid_keras.data.cohort import Cohort
from covid_keras.data.images import image_size, read_mask
from covid_keras.data.splits import check_disjoint
from covid_keras.errors import UserError
from covid_keras.evaluation.overlap import mask_overlap
from covid_keras.files import atomic_path, fingerprint, locked, read_record, sha256_of, write_json
from covid_keras.models.lungs import BATCH, LungSegmenter, probability_to_mask, unet_input
from covid_keras.models.registry import WeightEntry
from covid_keras.models.unet import build_unet
from covid_keras.models.weights import load_weights, save_weights
from covid_keras.progress import open_bar, progress
from covid_keras.settings import as_plain, build
from covid_keras.training.devices import describe_device
from covid_keras.training.lung_recipe import load_stack
from covid_keras.training.provenance import provenance
from covid_keras.training.resume import BEST, STATE, ResumableTraining
from papers.arias_vgg19.overlap import (
    OVERLAP,
    PARTS,
    RECORD,
    SUMS,
    authors_dice,
    binary_overlap,
    iou_of_sums,
    measured_of,
    pixel_dice,
    soft_sums,
    summary_of,
)
from papers.arias_vgg19.settings import SegmenterSettings, Standardise

__all__ = ["PaperSegmenter", "Scaling", "SegmenterSettings", "measured_of", "network_of", "train_segmenter"]

WEIGHTS, HISTORY, STARTED = "weights.h5", "history.csv", "started.json"
# Raise it whenever the same weights and threshold give another mask than before: kept masks are then made anew.
ALGORITHM = 1
# A true Dice on the validation part below which masks are of no use.
POOR = 0.5

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scaling:
    """Equation 2, z = (x - mean) / std, of images that equation 1 has brought to 0..1.

    Attributes
    ----------
    mode : {"global", "authors", "per_image"}
        "global": mean and std of all training pixels, for every image (the letter of the paper). "authors": training
        images by their own, all others by the means of the training images' means and stds. "per_image": each image by
        its own.
    mean, std : float
        The two scalars; in mode "per_image" noted, not used.
    """

    mode: Standardise
    mean: float
    std: float

    @classmethod
    def of(cls, mode: Standardise, images: np.ndarray) -> Scaling:
        """Take the scalars from the training images, (n, H, W) in 0..1; flat ones have no spread and are left out.

        Raises
        ------
        UserError
            Where every image is flat.
        """
        images = images.astype(np.float64)
        varied = images[np.ptp(images, axis=(1, 2)) > 0]
        if not len(varied):
            raise UserError("segmenter", "every training image is of one grey level", "Check the radiographs")
        if mode == "global":
            return cls(mode, float(varied.mean()), float(varied.std()))
        return cls(mode, float(varied.mean(axis=(1, 2)).mean()), float(varied.std(axis=(1, 2)).mean()))

    def __call__(self, images: np.ndarray, training: bool = False) -> np.ndarray:
        """Return images, (n, H, W) in 0..1, as the network takes them: float32 (n, H, W, 1).

        `training` tells the images that the network learns from, which the authors scale differently. An image of one
        grey level becomes 0 where it is scaled by its own std.
        """
        mean, std = self.mean, self.std
        if self.mode == "per_image" or (self.mode == "authors" and training):
            mean = images.mean(axis=(1, 2), dtype=np.float64, keepdims=True)
            std = images.std(axis=(1, 2), dtype=np.float64, keepdims=True)
            std = np.where(std > 0, std, 1.0)
        return ((images - mean) / std).astype(np.float32)[..., None]


def network_of(settings: SegmenterSettings) -> keras.Model:
    """Return the uncompiled network with random weights."""
    further = {"form": settings.form} if settings.form != "published" else {}
    return build_unet((settings.size, settings.size, 1), settings.filters, **further)


# -------------------------------------------------------------------------------------------- loss and metrics


def dice(y_true, y_pred):
    """Return the authors' Dice (`pixel_dice`) an image, over the pixels that count.

    `y_true` is float (batch, H, W, 2): the mask and the pixels that count; `y_pred` (batch, H, W, 1), in 0..1.
    """
    counts = y_true[..., 1]
    each = pixel_dice(y_true[..., 0], y_pred[..., 0]) * counts
    return ops.sum(each, axis=(1, 2)) / ops.maximum(ops.sum(counts, axis=(1, 2)), 1.0)


def iou(y_true, y_pred):
    """Return the authors' IoU of the whole batch; arguments as of `dice`."""
    counts = y_true[..., 1]
    lung, p = y_true[..., 0] * counts, y_pred[..., 0] * counts
    return iou_of_sums(ops.sum(lung * p), ops.sum(lung), ops.sum(p))


def dice_loss(y_true, y_pred):
    """Return 1 - the authors' Dice an image; arguments as of `dice`."""
    return 1 - dice(y_true, y_pred)


# -------------------------------------------------------------------------------------------- training


@dataclass(frozen=True, eq=False)
class _Data:
    """What a network learns from and is measured on; rows in the order of `table`.

    Attributes
    ----------
    table : pandas.DataFrame
        image_id, patient_id, path, mask_path, part.
    inputs : ndarray (n, H, W, 1) float32, standardised
    targets : ndarray (n, H, W, 2) float32, 0 or 1
        The mask and the pixels that count.
    """

    table: pd.DataFrame
    inputs: np.ndarray
    targets: np.ndarray
    scaling: Scaling

    def rows(self, part: str) -> np.ndarray:
        """Return the places of a part."""
        return np.flatnonzero(self.table["part"] == part)


class _Batches(keras.utils.PyDataset):
    """Shuffled batches of the training part, the same for the same seed and epoch wherever a training starts."""

    def __init__(self, data: _Data, settings: SegmenterSettings, epoch: int) -> None:
        super().__init__(workers=1)
        self.data, self.settings, self.epoch, self.train = data, settings, epoch, data.rows("train")
        self._shuffle()

    def __len__(self) -> int:
        return -(-len(self.train) // self.settings.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        size = self.settings.batch_size
        rows = self.order[index * size : (index + 1) * size]
        return self.data.inputs[rows], self.data.targets[rows]

    def on_epoch_end(self) -> None:
        self.epoch += 1
        self._shuffle()

    def _shuffle(self) -> None:
        self.order = np.random.default_rng([self.settings.seed, self.epoch]).permutation(self.train)


class _Bar(keras.callbacks.Callback):
    """A bar over epochs with the measures and the time left."""

    def __init__(self, name: str, first: int, epochs: int) -> None:
        super().__init__()
        self.bar = open_bar(initial=first, total=epochs, desc=f"training {name}", unit="epoch")

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.bar.set_postfix({key: f"{value:.3f}" for key, value in (logs or {}).items()}, refresh=False)
        self.bar.update()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        self.bar.close()


def train_segmenter(name: str, settings: SegmenterSettings, cohort: Cohort, split: pd.Series, folder: Path) -> Path:
    """Train one segmenter into `folder`, or go on with it; nothing to do where it is done.

    One process trains a folder at a time; any other waits and then finds it done. Where it is done, the files are
    hashed and no more, so this may be called whenever the segmenter is needed. A true Dice below 0.5 on the validation
    part, as of a network that came to mark nothing at all, is warned of each time.

    Parameters
    ----------
    name : str
        What it is called in progress and record, such as "unet1".
    settings : SegmenterSettings
    cohort : Cohort
        Radiographs with human masks (`mask_path`; 255 lung, 127 not counted).
    split : Series of str, index image_id
        "train" or "validation"; images that it does not name take no part. Patients must be disjoint.
    folder : Path
        Receives `weights.h5`, `history.csv`, `overlap.csv` and, last, `record.json`; while training also what a killed
        one goes on from, to the very same result.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    UserError
        Where the split leaks or lacks a part, a mask is missing, the folder holds the training of other settings or
        other images, or the training diverged.
    """
    folder = Path(folder)
    cohort, parts = _taken(cohort, split)
    key = _key_of(settings, cohort, parts)
    if not _is_done(folder, key):
        with locked(folder, wait=True):
            if not _is_done(folder, key):  # by the process that was waited for
                _claim(folder, key)
                _train(name, settings, cohort, parts, folder, key)
    _warn_if_poor(name, folder)
    return folder


def _is_done(folder: Path, key: str) -> bool:
    """Whether the training is done; refuse one of other settings or other images."""
    if not (folder / RECORD).is_file():
        return False
    _require_same(folder / RECORD, key)
    _remove_state(folder)
    return True


def _train(name: str, settings: SegmenterSettings, cohort: Cohort, parts: pd.Series, folder: Path, key: str) -> None:
    """Train, measure, and write all of it; the record last."""
    tf.config.experimental.enable_op_determinism()
    data = _load(settings, cohort, parts)
    # After the data: a training that goes on must draw the numbers of one that was never killed.
    keras.utils.set_random_seed(settings.seed)
    model = network_of(settings)
    tracker = _fit(name, model, data, settings, folder)
    table = _measure(model, data, settings)
    save_weights(model, folder / WEIGHTS)
    for file, frame in ((HISTORY, pd.DataFrame(tracker.history)), (OVERLAP, table)):
        with atomic_path(folder / file) as temporary:
            frame.to_csv(temporary, index=False)
    record = provenance(
        name=name,
        key=key,
        settings=as_plain(settings),
        parameters=int(model.count_params()),
        seconds=round(tracker.seconds, 1),
        epochs=len(tracker.history),
        best_epoch=tracker.best_epoch,
        mean=data.scaling.mean,
        std=data.scaling.std,
        overlap=summary_of(table, settings.batch_size),
        cohort=cohort.name,
        cohort_fingerprint=cohort.fingerprint(),
        device=describe_device(),
        weights_sha256=sha256_of(folder / WEIGHTS),
    )
    write_json(folder / RECORD, record)
    _remove_state(folder)


def _warn_if_poor(name: str, folder: Path) -> None:
    reached = read_record(folder / RECORD, ("overlap",))["overlap"]["validation"]["dice"]
    if not reached >= POOR:
        _log.warning(
            "%s: a true Dice of only %.3f on the validation images, its masks are of no use; another seed or a lower "
            "learning rate may help (%s)",
            name,
            reached,
            folder,
        )


def _taken(cohort: Cohort, split: pd.Series) -> tuple[Cohort, pd.Series]:
    """Return the images that take part and the part of each; refuse a leak, an empty part and a missing mask."""
    known = cohort.filter(cohort.table["image_id"].map(split).isin(PARTS))
    parts = known.table["image_id"].map(split)
    for name in PARTS:
        if not (parts == name).any():
            raise UserError("split", f"has no image for {name}", "Divide the radiographs with masks again")
    check_disjoint(known.table[["image_id"]].assign(repeat=0, fold=0, split=parts), known)
    if not (known.table["mask_path"] != "").all():
        without = known.table["image_id"][known.table["mask_path"] == ""].iloc[0]
        raise UserError(without, "has no lung mask to learn from", "Leave it out of the split")
    return known, parts


def _key_of(settings: SegmenterSettings, cohort: Cohort, parts: pd.Series) -> str:
    """Return what decides a training: settings, images, masks and division."""
    rows = zip(cohort.table["image_id"], parts, cohort.table["mask_path"], strict=True)
    masks = sorted((image, part, sha256_of(path)) for image, part, path in rows)
    return fingerprint({"settings": as_plain(settings), "cohort": cohort.fingerprint(), "masks": masks})


def _claim(folder: Path, key: str) -> None:
    """Note whose training is begun here, so that no other goes on from its state."""
    for path in folder.glob(".writing-*"):  # of a process killed while it wrote
        path.unlink()
    if (folder / STARTED).is_file():
        _require_same(folder / STARTED, key)
    write_json(folder / STARTED, {"key": key})


def _require_same(path: Path, key: str) -> None:
    if read_record(path, ("key",))["key"] != key:
        raise UserError(
            path.parent,
            "holds a segmenter of other settings or other images",
            "Choose another folder, or delete this one",
        )


def _remove_state(folder: Path) -> None:
    for name in (STATE, BEST, STARTED):
        (folder / name).unlink(missing_ok=True)


def _load(settings: SegmenterSettings, cohort: Cohort, parts: pd.Series) -> _Data:
    """Read radiographs and masks, and standardise the radiographs by the training part."""
    stack = load_stack(cohort, settings.size)
    train = (parts == "train").to_numpy()
    grey = stack[..., 0].astype(np.float32) / 255
    scaling = Scaling.of(settings.standardise, grey[train])
    inputs = np.where(train[:, None, None, None], scaling(grey, training=True), scaling(grey))
    table = cohort.table[["image_id", "patient_id", "path", "mask_path"]].assign(part=parts)
    return _Data(table, inputs, (stack[..., 1:] > 127).astype(np.float32), scaling)


def _fit(name: str, model: keras.Model, data: _Data, settings: SegmenterSettings, folder: Path) -> ResumableTraining:
    """Train to the last epoch, from wherever a killed training stood; leave the best epoch's weights in the model."""
    model.compile(keras.optimizers.Adam(settings.learning_rate), dice_loss, metrics=[dice, iou], jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    tracker = ResumableTraining(folder, "val_dice", patience=settings.epochs)
    start = tracker.restore(model)
    validation = data.rows("validation")
    if start < settings.epochs:
        model.fit(
            _Batches(data, settings, start),
            validation_data=(data.inputs[validation], data.targets[validation]),
            validation_batch_size=settings.batch_size,
            initial_epoch=start,
            epochs=settings.epochs,
            shuffle=False,  # the batches are shuffled already; this would shuffle their order by Python's own state
            verbose=0,
            callbacks=[tracker, _Bar(name, start, settings.epochs)],
        )
    tracker.restore_best(model)
    return tracker


def _measure(model: keras.Model, data: _Data, settings: SegmenterSettings) -> pd.DataFrame:
    """Return the overlap of every image.

    `dice` and `iou` are of the binary mask at the radiograph's own size, `dice_small` and `iou_small` of that at the
    network's; `dice_published` and the sums are of the probability.
    """
    rows = []
    for i, row in enumerate(progress(data.table.itertuples(index=False), "measuring Dice", len(data.table))):
        if i % BATCH == 0:
            found = model.predict_on_batch(data.inputs[i : i + BATCH])[..., 0]
        p, (lung, counts) = found[i % BATCH], np.moveaxis(data.targets[i], -1, 0)
        truth = read_mask(row.mask_path, image_size(row.path))
        whole = mask_overlap(probability_to_mask(p, truth.shape, settings.threshold, clean=False), truth)
        small = binary_overlap(lung, p, counts, settings.threshold)
        published = authors_dice(lung, p, counts), *soft_sums(lung, p, counts)
        rows.append((row.image_id, row.patient_id, row.part, *whole, *small, *published))
    columns = ["image_id", "patient_id", "part", "dice", "iou", "dice_small", "iou_small", "dice_published", *SUMS]
    return pd.DataFrame(rows, columns=columns)


# -------------------------------------------------------------------------------------------- use


class PaperSegmenter(LungSegmenter):
    """A trained segmenter, for `covid_keras.segmentation.segment_cohort`; the network is built where first needed.

    Radiographs are standardised as validation images were, and neither holes nor islands of the mask are touched
    unless asked.

    Parameters
    ----------
    folder : Path
        As `train_segmenter` leaves it.
    threshold : float, optional
        Probability from which on a pixel is lung; that of the training's settings where not given.
    clean : bool
        Fill holes and drop islands as the shipped segmenter does.

    Raises
    ------
    UserError
        Where the folder holds no finished training, or its weights were altered.
    """

    def __init__(self, folder: str | Path, threshold: float | None = None, clean: bool = False) -> None:
        folder = Path(folder)
        record = read_record(folder / RECORD, ("name", "settings", "mean", "std", "weights_sha256"))
        self.settings = build(SegmenterSettings, record["settings"], folder / RECORD, "settings")
        self.scaling = Scaling(self.settings.standardise, record["mean"], record["std"])
        self.entry = _entry_of(folder / WEIGHTS, record, self.settings)
        self.mode, self.clean, self.size = f"arias_vgg19 {record['name']}", clean, self.settings.size
        self.threshold = self.settings.threshold if threshold is None else threshold

    @functools.cached_property
    def model(self) -> keras.Model:
        """The network with its weights."""
        model = network_of(self.settings)
        load_weights(model, self.entry.path)
        return model

    @property
    def key(self) -> dict[str, object]:
        """What decides a mask besides the radiograph; for cache keys."""
        return {
            "sha256": self.entry.sha256,
            "threshold": self.threshold,
            "clean": self.clean,
            "algorithm": f"arias_vgg19 {ALGORITHM}",
            "scaling": as_plain(self.scaling),
        }

    def probabilities(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Return the lung probability, float32 (n, size, size) in 0..1, of uint8 radiographs (H, W) of any sizes."""
        found = [np.empty((0, self.size, self.size), np.float32)]
        for start in range(0, len(images), BATCH):
            grey = np.stack([unet_input(image, self.size)[..., 0] for image in images[start : start + BATCH]])
            # Whole grey levels, as the network was trained on.
            found.append(self.model.predict_on_batch(self.scaling(np.rint(grey * 255) / 255))[..., 0])
        return np.concatenate(found)


def _entry_of(path: Path, record: dict[str, Any], settings: SegmenterSettings) -> WeightEntry:
    """Return the weights as a registered file would be; refuse those that were altered since."""
    if not path.is_file() or sha256_of(path) != record["weights_sha256"]:
        raise UserError(path, "is missing or is not what the training wrote", "Delete its folder and train it again")
    return WeightEntry(
        name=record["name"],
        file=str(path.resolve()),
        title=f"{record['name']} of Arias-Garzon et al., trained here",
        origin="trained by this run",
        licence="that of this project",
        bytes=path.stat().st_size,
        ships=False,
        input_shape=(settings.size, settings.size, 1),
        input_range="standardised, see record.json",
        classes=("lung",),
        sha256=record["weights_sha256"],
        threshold=settings.threshold,
    )
