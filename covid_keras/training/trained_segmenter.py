"""A paper's own lung segmenter once it is trained: it marks the lungs of radiographs."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from covid_keras.common.errors import UserError
from covid_keras.common.files import sha256_of
from covid_keras.common.settings import as_plain, build
from covid_keras.evaluation.overlap import RECORD
from covid_keras.models.lungs import BATCH, LungSegmenter, probability_to_mask, unet_input
from covid_keras.models.registry import WeightEntry
from covid_keras.models.weights import load_weights
from covid_keras.paper.protocol import SegmenterSettings
from covid_keras.training.records import read_segmenter
from covid_keras.training.segmenters import WEIGHTS, SegmenterKind

# Increment if the same weights and threshold give different masks, to invalidate cached ones.
ALGORITHM = 1


class TrainedSegmenter(LungSegmenter):
    """A trained segmenter, for `covid_keras.models.lung_masks.segment_cohort`.

    Radiographs are scaled like validation images. The network is built on first use.

    Parameters
    ----------
    kind : SegmenterKind
    folder : Path
        From `covid_keras.training.segmenters.train_segmenter`.
    threshold : float, optional
        Probability threshold for lung pixels. Default: from the training's settings.
    clean : bool
        Fill holes and remove islands like the shipped segmenter.

    Raises
    ------
    UserError
        If the folder has no finished training, or its weights were altered.
    """

    def __init__(
        self, kind: SegmenterKind, folder: str | Path, threshold: float | None = None, clean: bool = False
    ) -> None:
        path = Path(folder) / RECORD
        record = read_segmenter(folder)
        self.kind = kind
        self.settings = build(kind.settings, record["settings"], path, "settings")
        self.scaling = kind.scaling_of(self.settings, record)
        self.entry = _entry_of(kind, Path(folder) / WEIGHTS, record, self.settings)
        self.mode, self.clean, self.size = f"{kind.paper} {record['name']}", clean, self.settings.size
        self.threshold = self.settings.threshold if threshold is None else threshold

    @functools.cached_property
    def model(self) -> keras.Model:
        """The network with the trained weights."""
        model = self.kind.network(self.settings)
        load_weights(model, self.entry.path)
        return model

    @property
    def key(self) -> dict[str, object]:
        """Everything besides the radiograph that determines a mask, for cache keys."""
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
            # Integer grey levels, as in training.
            found.append(self.model.predict_on_batch(self.scaling(np.rint(grey * 255) / 255))[..., 0])
        return np.concatenate(found)

    def to_mask(self, probability: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Turn one probability map into a mask, uint8 (H, W) of 0/255, of the radiograph's own `shape`."""
        return probability_to_mask(probability, shape, self.threshold, self.clean)


def _entry_of(kind: SegmenterKind, path: Path, record: dict[str, Any], settings: SegmenterSettings) -> WeightEntry:
    """Return the weights as a registry entry; raise `UserError` if they were altered."""
    if not path.is_file() or sha256_of(path) != record["weights_sha256"]:
        raise UserError(path, "is missing or was altered", "Delete its folder and train it again")
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
