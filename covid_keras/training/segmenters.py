"""Lung segmenters that papers train on radiographs with human masks.

A subclass of `SegmenterKind` defines what differs between papers. `train_segmenter` trains in one process at a time,
resumes to the identical result, keeps the best epoch on validation, and measures Dice and IoU at the radiograph's own
size. `covid_keras.training.trained_segmenter` then marks the lungs of a cohort. (For the shipped U-Net, which selects
nothing on validation, see `covid_keras.training.lung_recipe`.)

Pixels that annotators marked "ignore" count neither in the loss nor in the metrics. Large radiographs are downsampled
by area averaging.
"""

from __future__ import annotations

import functools
import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.common.files import (
    fingerprint,
    locked,
    read_record,
    remove_unfinished,
    sha256_of,
    write_json,
    write_record,
)
from covid_keras.common.memory import TRAIN_LESS, naming_shortage
from covid_keras.common.progress import progress
from covid_keras.common.provenance import provenance
from covid_keras.common.settings import as_plain
from covid_keras.common.tables import write_table
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
from covid_keras.models.lungs import BATCH, probability_to_mask
from covid_keras.models.pieces import train_in_pieces
from covid_keras.models.weights import save_weights
from covid_keras.paper.protocol import SegmenterSettings
from covid_keras.paper.unfreezing import WHOLE, Stage
from covid_keras.training.devices import compute_reproducibly, describe_device
from covid_keras.training.fitting import Feed, Plateau, PlateauRate, epoch_bar, fit
from covid_keras.training.losses import MaskedDiceCrossEntropy, masked_dice
from covid_keras.training.lung_recipe import MaskedBatches, load_stack, moved_together
from covid_keras.training.records import HISTORY, read_segmenter
from covid_keras.training.resume import BEST, STATE, ResumableTraining

WEIGHTS, STARTED = "weights.h5", "started.json"
# Masks with a validation Dice below this are unusable.
POOR = 0.5

_log = logging.getLogger(__name__)


# -------------------------------------------------------------------------------------------- differences of papers


class Scaling(Protocol):
    """Scaling of a network's input: a dataclass, whose fields are part of the cache key of masks."""

    def __call__(self, images: np.ndarray, training: bool = False) -> np.ndarray:
        """Scale images, (n, H, W) in 0..1, to float32 (n, H, W, 1); `training` is true for training images."""

    def recorded(self) -> dict[str, float]:
        """Return the values fitted to the training images, for the record."""


@dataclass(frozen=True)
class UnitScaling:
    """No scaling: radiographs stay in 0..1."""

    def __call__(self, images: np.ndarray, training: bool = False) -> np.ndarray:
        return images.astype(np.float32)[..., None]

    def recorded(self) -> dict[str, float]:
        return {}  # nothing is fitted


class SegmenterKind(ABC):
    """How a paper builds, trains and measures its segmenters; subclasses override what differs.

    Attributes
    ----------
    paper, citation : str
        Short name of the paper, part of the cache key of masks; name of its authors in reports.
    settings : type
        Dataclass of the segmenters' settings.
    monitor : str
        Metric whose maximum selects the epoch.
    input_range : str
        Range of the network's input, in words.
    """

    paper: str
    citation: str
    settings: type[Any]
    monitor: str = "val_masked_dice"
    input_range: str = "0-1"

    @abstractmethod
    def network(self, settings: Any) -> keras.Model:
        """Return the uncompiled network with input (size, size, 1) and random weights."""

    def losses(self) -> tuple[Any, list[Any]]:
        """Return loss and metrics.

        Targets are (batch, H, W, 2), the mask and the pixels that count; predictions are probabilities (batch, H, W,
        1).
        """
        return MaskedDiceCrossEntropy(), [masked_dice]

    def scaling(self, settings: Any, images: np.ndarray) -> Scaling:
        """Return the scaling, fitted to the training images (n, H, W) in 0..1."""
        return UnitScaling()

    def scaling_of(self, settings: Any, record: dict[str, Any]) -> Scaling:
        """Return the scaling of a finished training from its record."""
        return UnitScaling()

    def augmentation(self, settings: Any) -> Augmentation | None:
        """Return the augmentation of training images; None for no augmentation.

        It moves scaled images, so its fill value is a scaled grey level.
        """
        return None

    def plateau(self, settings: Any) -> Plateau | None:
        """Return the schedule that lowers the learning rate on a plateau; None keeps the rate constant."""
        return None

    def measure(self, lung: np.ndarray, p: np.ndarray, counts: np.ndarray) -> dict[str, float]:
        """Return further metrics of an image, column of `overlap.csv` to value.

        The arguments are mask, probability and the pixels that count, each (H, W) at the network's size.
        """
        return {}

    def summary(self, table: pd.DataFrame, settings: Any) -> dict[str, dict[str, float | int]]:
        """Return the summary of the overlap table for the record, per part of the split; it must contain `dice`."""
        return summary_of(table)


# -------------------------------------------------------------------------------------------- training


@dataclass(frozen=True, eq=False)
class _Data:
    """Images and masks for training and evaluation; rows are in the order of `table`.

    Attributes
    ----------
    table : pandas.DataFrame
        Columns image_id, patient_id, path, mask_path, part.
    stack : ndarray of uint8, (n, H, W, 3)
        From `load_stack`. Kept as uint8 to save memory; float32 inputs and targets are made batch by batch.
    """

    table: pd.DataFrame
    stack: np.ndarray
    scaling: Scaling

    def rows(self, part: str) -> np.ndarray:
        """Return the row numbers of a part of the split."""
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
    """Batches of the training part, augmented if the paper augments."""

    def __init__(self, data: _Data, settings: SegmenterSettings, augmentation: Augmentation | None, epoch: int) -> None:
        self.data, self.augmentation = data, augmentation
        super().__init__(data.rows("train"), settings.batch_size, settings.seed, epoch)

    def take(self, rows: np.ndarray, index: int):
        inputs = self.data.inputs(rows)
        if self.augmentation is None or not self.augmentation.moves:
            return inputs, self.data.targets(rows)
        soft = self.data.stack[rows, ..., 1:].astype(np.float32) / 255
        return moved_together(inputs, soft, rows, self.seed, self.epoch, self.augmentation)


def train_segmenter(
    kind: SegmenterKind,
    name: str,
    settings: SegmenterSettings,
    cohort: Cohort,
    split: pd.Series,
    folder: Path,
    micro_batch: int = 0,
) -> Path:
    """Train one segmenter into `folder`, or resume it; do nothing if it is finished.

    Only one process trains a folder at a time; others wait for it. If the training is finished, only files are hashed,
    so this function may be called whenever the segmenter is needed. Each call warns if the Dice on the validation part
    is below 0.5, for example because the network marks nothing.

    Parameters
    ----------
    kind : SegmenterKind
    name : str
        Name in progress bars and the record, such as "unet1".
    settings : SegmenterSettings
    cohort : Cohort
        Radiographs with human masks (`mask_path`; 255 lung, 127 not counted).
    split : Series of str, index image_id
        "train" or "validation"; images not listed are not used. Patients must be disjoint.
    folder : Path
        Receives `weights.h5`, `history.csv`, `overlap.csv` and, last, `record.json`. During training it also holds the
        state from which a killed training resumes to the identical result.
    micro_batch : int
        Images of a batch that are processed at a time; 0: all.

    Returns
    -------
    Path
        `folder`.

    Raises
    ------
    UserError
        If the split leaks or lacks a part, a mask is missing, the folder holds a training with other settings or
        images, or the training diverged.
    """
    training = _Training(kind, name, settings, *_taken(cohort, split), Path(folder), micro_batch)
    if not training.done:
        with locked(training.folder, wait=True):
            if not training.done:  # the process waited for may have finished it
                training.claim()
                with naming_shortage(name, TRAIN_LESS):
                    training.run()
    training.warn_if_poor()
    return training.folder


def _taken(cohort: Cohort, split: pd.Series) -> tuple[Cohort, pd.Series]:
    """Return the images of the split and their parts; raise `UserError` for leaks, empty parts and missing masks."""
    known = cohort.filter(cohort.table["image_id"].map(split).isin(PARTS))
    parts = known.table["image_id"].map(split)
    for name in PARTS:
        if not (parts == name).any():
            raise UserError("split", f"has no {name} images", "Split the radiographs with masks again")
    check_disjoint(known.table[["image_id"]].assign(repeat=0, fold=0, split=parts), known)
    if not (known.table["mask_path"] != "").all():
        without = known.table["image_id"][known.table["mask_path"] == ""].iloc[0]
        raise UserError(without, "has no lung mask to learn from", "Leave it out of the split")
    return known, parts


@dataclass(frozen=True, eq=False)
class _Training:
    """The training of one segmenter; `parts` are in the order of the cohort."""

    kind: SegmenterKind
    name: str
    settings: SegmenterSettings
    cohort: Cohort
    parts: pd.Series
    folder: Path
    micro_batch: int = 0

    @functools.cached_property
    def key(self) -> str:
        """Hash of settings, images, masks and split."""
        rows = zip(self.cohort.table["image_id"], self.parts, self.cohort.table["mask_path"], strict=True)
        masks = sorted((image, part, sha256_of(path)) for image, part, path in rows)
        identity = {"settings": as_plain(self.settings), "cohort": self.cohort.fingerprint(), "masks": masks}
        return fingerprint(identity | self._pieces)

    @property
    def _pieces(self) -> dict[str, int]:
        return {"micro_batch": self.micro_batch} if self.micro_batch else {}

    @property
    def done(self) -> bool:
        """Whether the training is finished; raise `UserError` if the folder has other settings or images."""
        if not (self.folder / RECORD).is_file():
            return False
        self._require_same(RECORD)
        self._remove_state()
        return True

    def claim(self) -> None:
        """Record which training uses the folder, so that no other resumes from its state."""
        remove_unfinished(self.folder)
        if (self.folder / STARTED).is_file():
            self._require_same(STARTED)
        write_json(self.folder / STARTED, {"key": self.key})

    def _require_same(self, name: str) -> None:
        remedy = f"Delete {self.folder}, and give the same command again"
        if read_record(self.folder / name, ("key",), remedy)["key"] != self.key:
            problem = "contains a segmenter with other settings or images"
            raise UserError(self.folder, problem, "Choose another folder, or delete this one")

    def _remove_state(self) -> None:
        for name in (STATE, BEST, STARTED):
            (self.folder / name).unlink(missing_ok=True)

    def run(self) -> None:
        """Train, evaluate and write everything, the record last."""
        compute_reproducibly()
        data = self.load()
        # Seeded after loading the data, so that a resumed training draws the same numbers.
        keras.utils.set_random_seed(self.settings.seed)
        model = self.kind.network(self.settings)
        tracker = self.fit(model, data)
        table = self.measure(model, data)
        save_weights(model, self.folder / WEIGHTS)
        for file, frame in ((HISTORY, pd.DataFrame(tracker.history)), (OVERLAP, table)):
            write_table(self.folder / file, frame)
        record = provenance(
            name=self.name,
            key=self.key,
            settings=as_plain(self.settings),
            **self._pieces,
            parameters=int(model.count_params()),
            seconds=round(tracker.seconds, 1),
            epochs=len(tracker.history),
            best_epoch=tracker.best_epoch,
            **data.scaling.recorded(),
            overlap=self.kind.summary(table, self.settings),
            cohort=self.cohort.name,
            cohort_fingerprint=self.cohort.fingerprint(),
            device=describe_device(),
            weights_sha256=sha256_of(self.folder / WEIGHTS),
            overlap_sha256=sha256_of(self.folder / OVERLAP),
            history_sha256=sha256_of(self.folder / HISTORY),
        )
        write_record(self.folder / RECORD, record)
        self._remove_state()

    def load(self) -> _Data:
        """Read radiographs and masks; fit the scaling on the training part."""
        stack = load_stack(self.cohort, self.settings.size)
        grey = stack[(self.parts == "train").to_numpy(), ..., 0].astype(np.float32) / 255
        table = self.cohort.table[["image_id", "patient_id", "path", "mask_path"]].assign(part=self.parts)
        return _Data(table, stack, self.kind.scaling(self.settings, grey))

    def fit(self, model: keras.Model, data: _Data) -> ResumableTraining:
        """Train or resume to the last epoch; restore the best epoch's weights."""
        settings, (loss, metrics) = self.settings, self.kind.losses()
        model.compile(keras.optimizers.Adam(settings.learning_rate), loss, metrics=metrics, jit_compile=False)
        model.optimizer.build(model.trainable_variables)
        train_in_pieces(model, self.micro_batch)
        tracker = ResumableTraining(self.folder, self.kind.monitor, patience=settings.epochs, identity=self.key)
        moved, plateau, validation = self.kind.augmentation(settings), self.kind.plateau(settings), data.rows(PARTS[1])
        feed = Feed(
            lambda start, end: _Batches(data, settings, moved, start),
            (data.inputs(validation), data.targets(validation)),
            {"validation_batch_size": min(settings.batch_size, self.micro_batch or settings.batch_size)},
        )
        watch = [PlateauRate(plateau, settings.learning_rate, tracker)] if plateau else []
        stage = Stage(WHOLE, 0, settings.epochs, settings.epochs, settings.learning_rate)
        with epoch_bar(self.name, settings.epochs) as tell:
            fit(model, tracker, feed, [stage], tell, watch=lambda stage: watch)
        return tracker

    def measure(self, model: keras.Model, data: _Data) -> pd.DataFrame:
        """Return Dice and IoU of every image.

        `dice` and `iou` compare binary masks at the radiograph's own size, without postprocessing; `dice_small` and
        `iou_small` at the network's size. Further columns hold the metrics of the kind.
        """
        threshold, rows, every = self.settings.threshold, [], np.arange(len(data.table))
        for i, row in enumerate(progress(data.table.itertuples(index=False), "measuring Dice", len(data.table))):
            if i % BATCH == 0:
                batch = every[i : i + BATCH]
                found, targets = model.predict_on_batch(data.inputs(batch))[..., 0], data.targets(batch)
            p, (lung, counts) = found[i % BATCH], np.moveaxis(targets[i % BATCH], -1, 0)
            truth = read_mask(row.mask_path, image_size(row.path))
            whole = mask_overlap(probability_to_mask(p, truth.shape, threshold, clean=False), truth)
            small = binary_overlap(lung, p, counts, threshold)
            measured = dict(zip((*OWN_SIZE, *NETWORK_SIZE), (*whole, *small), strict=True))
            measured |= self.kind.measure(lung, p, counts)
            rows.append({"image_id": row.image_id, "patient_id": row.patient_id, "part": row.part} | measured)
        return pd.DataFrame(rows)

    def warn_if_poor(self) -> None:
        """Log a warning if the validation Dice is below `POOR`, so that masks are unusable."""
        reached = read_segmenter(self.folder)["overlap"].get("validation", {}).get("dice", 0)
        if not reached >= POOR:
            _log.warning(
                "%s: a validation Dice of only %.3f: its masks are unusable; another seed or a lower learning rate may "
                "help (%s)",
                self.name,
                reached,
                self.folder,
            )
