"""Lung segmenters that a paper trains itself, on radiographs with human masks, once, and uses on others.

The folder receives weights, history, overlap an image, and last the record, whose presence says that the training is
done. What papers do differently is a `SegmenterKind`; everything else is here: one process at a time, going on after a
kill to the very same result, the epoch that is best on the validation part, Dice and IoU at the radiograph's own size,
masks for a cohort. (The recipe of the U-Net that ships selects nothing on validation:
`covid_keras.training.lung_recipe`.)

Pixels that annotators marked "ignore" count neither in the loss nor in any measure, and large radiographs are shrunk by
the mean over areas.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from covid_keras.common.errors import UserError
from covid_keras.common.files import atomic_path, fingerprint, locked, read_record, sha256_of, write_json
from covid_keras.common.progress import progress
from covid_keras.common.provenance import provenance
from covid_keras.common.settings import as_plain, build
from covid_keras.data.augment import Augmentation
from covid_keras.data.cohort import Cohort
from covid_keras.data.images import image_size, read_mask
from covid_keras.data.splits import check_disjoint
from covid_keras.evaluation.overlap import (
    NETWORK_SIZE,
    OVERLAP,
    OWN_SIZE,
    PARTS,
    RECORD,
    binary_overlap,
    mask_overlap,
    summary_of,
)
from covid_keras.models.lungs import BATCH, LungSegmenter, probability_to_mask, unet_input
from covid_keras.models.registry import WeightEntry
from covid_keras.models.weights import load_weights, save_weights
from covid_keras.training.devices import describe_device
from covid_keras.training.lung_recipe import EpochBar, MaskedBatches, load_stack, moved_together
from covid_keras.training.resume import BEST, STATE, ResumableTraining

WEIGHTS, HISTORY, STARTED = "weights.h5", "history.csv", "started.json"
# Raise it whenever the same weights and threshold give another mask than before: kept masks are then made anew.
ALGORITHM = 1
# A true Dice on the validation part below which masks are of no use.
POOR = 0.5

_log = logging.getLogger(__name__)


# -------------------------------------------------------------------------------------------- what papers differ in


class Settings(Protocol):
    """What the settings of every segmenter hold; a dataclass of the paper's, which may hold more.

    Attributes
    ----------
    size : int
        Side of the square input in pixels.
    epochs, batch_size, learning_rate : int, int, float
        Of Adam.
    seed : int
        Of initial weights, order, dropout and augmentation.
    threshold : float
        Probability from which on a pixel is lung.
    """

    size: int
    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    threshold: float


class Scaling(Protocol):
    """How a network takes radiographs: a dataclass, whose fields decide a mask as the weights do."""

    def __call__(self, images: np.ndarray, training: bool = False) -> np.ndarray:
        """Return images, (n, H, W) in 0..1, as float32 (n, H, W, 1); `training` tells those that it learns from."""

    def recorded(self) -> dict[str, float]:
        """Return what of it was found in the training images, for the record."""


@dataclass(frozen=True)
class UnitScaling:
    """Radiographs as they are, their smallest grey level 0, their largest 1."""

    def __call__(self, images: np.ndarray, training: bool = False) -> np.ndarray:
        """Return images, (n, H, W) in 0..1, as float32 (n, H, W, 1)."""
        return images.astype(np.float32)[..., None]

    def recorded(self) -> dict[str, float]:
        """Return nothing: it is the same whatever the images."""
        return {}


@dataclass(frozen=True)
class Plateau:
    """A learning rate that falls where the monitored quantity no longer rises.

    Attributes
    ----------
    patience : int
        Epochs in a row without a new best after which the rate falls; 0: never.
    factor : float
        What it is then multiplied with.
    """

    patience: int
    factor: float

    def rate(self, first: float, values: Sequence[float]) -> float:
        """Return the rate of the next epoch, of the monitored quantity in all epochs so far; one with NaN is no best.

        A function of the history alone, so that a training that goes on after a kill has the same rates.
        """
        rate, best, waited = first, -np.inf, 0
        for value in values:
            waited = 0 if value > best else waited + 1
            best = value if value > best else best
            if waited == self.patience > 0:
                rate, waited = rate * self.factor, 0
        return rate


@dataclass(frozen=True)
class SegmenterKind:
    """A paper's segmenters.

    Attributes
    ----------
    paper, citation : str
        Short name, part of the keys of kept masks; what the report calls its authors.
    settings : type
        The dataclass of its `Settings`.
    network : callable
        Settings to the uncompiled network, of input (size, size, 1), with random weights.
    loss : callable or keras.losses.Loss
        Of targets (batch, H, W, 2), the mask and the pixels that count, and probabilities (batch, H, W, 1).
    metrics : tuple
        Of the same arguments.
    monitor : str
        The quantity whose largest value chooses the epoch, such as "val_dice".
    scaling : callable
        (settings, training images (n, H, W) in 0..1) to `Scaling`.
    scaling_of : callable
        (settings, record) to the same.
    input_range : str
        What the network takes, in words.
    augmentation : callable
        Settings to how training images are moved; None not at all. Grey levels outside the picture are those of the
        scaled one.
    plateau : callable
        Settings to `Plateau`; None keeps the rate.
    further : callable, optional
        (mask (H, W), probability (H, W), pixels that count (H, W)) to further numbers of an image, by column of the
        table of overlaps.
    summary : callable
        (table of overlaps, settings) to what the record says of each part; `dice` among it.
    """

    paper: str
    citation: str
    settings: type
    network: Callable[[Any], keras.Model]
    loss: Any
    metrics: tuple[Any, ...]
    monitor: str
    scaling: Callable[[Any, np.ndarray], Scaling] = lambda settings, images: UnitScaling()
    scaling_of: Callable[[Any, dict[str, Any]], Scaling] = lambda settings, record: UnitScaling()
    input_range: str = "0-1"
    augmentation: Callable[[Any], Augmentation | None] = lambda settings: None
    plateau: Callable[[Any], Plateau | None] = lambda settings: None
    further: Callable[[np.ndarray, np.ndarray, np.ndarray], dict[str, float]] | None = None
    summary: Callable[[pd.DataFrame, Any], dict[str, dict[str, float | int]]] = lambda table, settings: summary_of(
        table
    )


# -------------------------------------------------------------------------------------------- training


@dataclass(frozen=True, eq=False)
class _Data:
    """What a network learns from and is measured on; rows in the order of `table`.

    Attributes
    ----------
    table : pandas.DataFrame
        image_id, patient_id, path, mask_path, part.
    stack : ndarray of uint8, (n, H, W, 3)
        As `load_stack` gives it: eight times smaller than what the network is fed, which is made batch by batch.
    """

    table: pd.DataFrame
    stack: np.ndarray
    scaling: Scaling

    def rows(self, part: str) -> np.ndarray:
        """Return the places of a part."""
        return np.flatnonzero(self.table["part"] == part)

    def inputs(self, rows: np.ndarray) -> np.ndarray:
        """Return scaled radiographs, float32 (b, H, W, 1)."""
        grey = self.stack[rows, ..., 0].astype(np.float32) / 255
        learnt = (self.table["part"].to_numpy()[rows] == "train")[:, None, None, None]
        return np.where(learnt, self.scaling(grey, training=True), self.scaling(grey))

    def targets(self, rows: np.ndarray) -> np.ndarray:
        """Return the mask and the pixels that count, 0 or 1, float32 (b, H, W, 2)."""
        return (self.stack[rows, ..., 1:] > 127).astype(np.float32)


class _Batches(MaskedBatches):
    """The training part as a network takes it, moved where the paper moves it."""

    def __init__(self, data: _Data, settings: Settings, augmentation: Augmentation | None, epoch: int) -> None:
        self.data, self.augmentation = data, augmentation
        super().__init__(data.rows("train"), settings.batch_size, settings.seed, epoch)

    def take(self, rows: np.ndarray, index: int):
        inputs = self.data.inputs(rows)
        if self.augmentation is None or not self.augmentation.moves:
            return inputs, self.data.targets(rows)
        soft = self.data.stack[rows, ..., 1:].astype(np.float32) / 255
        return moved_together(inputs, soft, rows, self.seed, self.epoch, self.augmentation)


class _PlateauRate(keras.callbacks.Callback):
    """Set the rate of each epoch by what the tracker saw before it."""

    def __init__(self, plateau: Plateau, first: float, tracker: ResumableTraining) -> None:
        super().__init__()
        self.plateau, self.first, self.tracker = plateau, first, tracker

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        values = [one[self.tracker.monitor] for one in self.tracker.history]
        self.model.optimizer.learning_rate = self.plateau.rate(self.first, values)


def train_segmenter(
    kind: SegmenterKind, name: str, settings: Settings, cohort: Cohort, split: pd.Series, folder: Path
) -> Path:
    """Train one segmenter into `folder`, or go on with it; nothing to do where it is done.

    One process trains a folder at a time; any other waits and then finds it done. Where it is done, the files are
    hashed and no more, so this may be called whenever the segmenter is needed. A true Dice below 0.5 on the validation
    part, as of a network that came to mark nothing at all, is warned of each time.

    Parameters
    ----------
    kind : SegmenterKind
    name : str
        What it is called in progress and record, such as "unet1".
    settings : Settings
        Of the kind's dataclass.
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
                _train(kind, name, settings, cohort, parts, folder, key)
    _warn_if_poor(name, folder)
    return folder


def _is_done(folder: Path, key: str) -> bool:
    """Whether the training is done; refuse one of other settings or other images."""
    if not (folder / RECORD).is_file():
        return False
    _require_same(folder / RECORD, key)
    _remove_state(folder)
    return True


def _train(
    kind: SegmenterKind, name: str, settings: Settings, cohort: Cohort, parts: pd.Series, folder: Path, key: str
) -> None:
    """Train, measure, and write all of it; the record last."""
    tf.config.experimental.enable_op_determinism()
    data = _load(kind, settings, cohort, parts)
    # After the data: a training that goes on must draw the numbers of one that was never killed.
    keras.utils.set_random_seed(settings.seed)
    model = kind.network(settings)
    tracker = _fit(kind, name, model, data, settings, folder)
    table = _measure(kind, model, data, settings)
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
        **data.scaling.recorded(),
        overlap=kind.summary(table, settings),
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


def _key_of(settings: Settings, cohort: Cohort, parts: pd.Series) -> str:
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


def _load(kind: SegmenterKind, settings: Settings, cohort: Cohort, parts: pd.Series) -> _Data:
    """Read radiographs and masks; the scaling is found in the training part."""
    stack = load_stack(cohort, settings.size)
    grey = stack[(parts == "train").to_numpy(), ..., 0].astype(np.float32) / 255
    table = cohort.table[["image_id", "patient_id", "path", "mask_path"]].assign(part=parts)
    return _Data(table, stack, kind.scaling(settings, grey))


def _fit(
    kind: SegmenterKind, name: str, model: keras.Model, data: _Data, settings: Settings, folder: Path
) -> ResumableTraining:
    """Train to the last epoch, from wherever a killed training stood; leave the best epoch's weights in the model."""
    optimizer = keras.optimizers.Adam(settings.learning_rate)
    model.compile(optimizer, kind.loss, metrics=list(kind.metrics), jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    tracker = ResumableTraining(folder, kind.monitor, patience=settings.epochs)
    start = tracker.restore(model)
    callbacks = [tracker, EpochBar(name, settings.epochs, start)]
    if (plateau := kind.plateau(settings)) is not None:
        callbacks.append(_PlateauRate(plateau, settings.learning_rate, tracker))
    validation = data.rows("validation")
    if start < settings.epochs:
        model.fit(
            _Batches(data, settings, kind.augmentation(settings), start),
            validation_data=(data.inputs(validation), data.targets(validation)),
            validation_batch_size=settings.batch_size,
            initial_epoch=start,
            epochs=settings.epochs,
            shuffle=False,  # the batches are shuffled already; this would shuffle their order by Python's own state
            verbose=0,
            callbacks=callbacks,
        )
    tracker.restore_best(model)
    return tracker


def _measure(kind: SegmenterKind, model: keras.Model, data: _Data, settings: Settings) -> pd.DataFrame:
    """Return the overlap of every image.

    `dice` and `iou` are of the binary mask at the radiograph's own size, neither filled nor freed of islands,
    `dice_small` and `iou_small` of that at the network's; then what the kind measures further.
    """
    rows, every = [], np.arange(len(data.table))
    for i, row in enumerate(progress(data.table.itertuples(index=False), "measuring Dice", len(data.table))):
        if i % BATCH == 0:
            batch = every[i : i + BATCH]
            found, targets = model.predict_on_batch(data.inputs(batch))[..., 0], data.targets(batch)
        p, (lung, counts) = found[i % BATCH], np.moveaxis(targets[i % BATCH], -1, 0)
        truth = read_mask(row.mask_path, image_size(row.path))
        whole = mask_overlap(probability_to_mask(p, truth.shape, settings.threshold, clean=False), truth)
        small = binary_overlap(lung, p, counts, settings.threshold)
        measured = dict(zip((*OWN_SIZE, *NETWORK_SIZE), (*whole, *small), strict=True))
        measured |= kind.further(lung, p, counts) if kind.further else {}
        rows.append({"image_id": row.image_id, "patient_id": row.patient_id, "part": row.part} | measured)
    return pd.DataFrame(rows)


# -------------------------------------------------------------------------------------------- use


class TrainedSegmenter(LungSegmenter):
    """A trained segmenter, for `covid_keras.models.lung_masks.segment_cohort`; the network is built where first needed.

    Radiographs are scaled as validation images were, and neither holes nor islands of the mask are touched unless
    asked.

    Parameters
    ----------
    kind : SegmenterKind
        That it was trained as.
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

    def __init__(
        self, kind: SegmenterKind, folder: str | Path, threshold: float | None = None, clean: bool = False
    ) -> None:
        path = Path(folder) / RECORD
        record = read_record(path, ("name", "settings", "weights_sha256"))
        self.kind = kind
        self.settings = build(kind.settings, record["settings"], path, "settings")
        self.scaling = kind.scaling_of(self.settings, record)
        self.entry = _entry_of(kind, Path(folder) / WEIGHTS, record, self.settings)
        self.mode, self.clean, self.size = f"{kind.paper} {record['name']}", clean, self.settings.size
        self.threshold = self.settings.threshold if threshold is None else threshold

    @functools.cached_property
    def model(self) -> keras.Model:
        """The network with its weights."""
        model = self.kind.network(self.settings)
        load_weights(model, self.entry.path)
        return model

    @property
    def key(self) -> dict[str, object]:
        """What decides a mask besides the radiograph; for cache keys."""
        return {
            "sha256": self.entry.sha256,
            "threshold": self.threshold,
            "clean": self.clean,
            "algorithm": f"{self.kind.paper} {ALGORITHM}",
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

    def to_mask(self, probability: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Turn one probability map into a mask, uint8 (H, W) of 0/255, of the radiograph's own `shape`."""
        return probability_to_mask(probability, shape, self.threshold, self.clean)


def _entry_of(kind: SegmenterKind, path: Path, record: dict[str, Any], settings: Settings) -> WeightEntry:
    """Return the weights as a registered file would be; refuse those that were altered since."""
    if not path.is_file() or sha256_of(path) != record["weights_sha256"]:
        raise UserError(path, "is missing or is not what the training wrote", "Delete its folder and train it again")
    return WeightEntry(
        name=record["name"],
        file=str(path.resolve()),
        title=f"{record['name']} of {kind.citation}, trained here",
        origin="trained by this run",
        licence="that of this project",
        bytes=path.stat().st_size,
        ships=False,
        input_shape=(settings.size, settings.size, 1),
        input_range=kind.input_range,
        classes=("lung",),
        sha256=record["weights_sha256"],
        threshold=settings.threshold,
    )
