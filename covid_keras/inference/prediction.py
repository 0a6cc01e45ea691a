"""A model's answer on radiographs of the user's own: probability, decision, the lungs, and where the evidence lies.

TensorFlow is imported once the arguments have been found usable, not when this module is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import cv2
import numpy as np
import pandas as pd

from covid_keras import DISCLAIMER, __version__, explain, models
from covid_keras.common.errors import UserError
from covid_keras.common.files import atomic_path, require_writable_folder, write_json
from covid_keras.common.progress import progress
from covid_keras.common.quiet import import_tensorflow
from covid_keras.common.settings import as_plain
from covid_keras.data.images import read_image
from covid_keras.data.preparation import Preparation, crop_box
from covid_keras.evaluation.decisions import decide_scores
from covid_keras.inference.files import has_dicom_header, require_different_stems
from covid_keras.inference.network import RegisteredNetwork
from covid_keras.inference.view_check import ViewNetwork, ViewVerdict, check_views, doubt_of, find_view_network
from covid_keras.models.registry import WeightEntry, find_model
from covid_keras.preprocessing import LungBox, centre_square, drop_top

if TYPE_CHECKING:
    from covid_keras.models.lungs import LungSegmenter

# Images that go through the networks at a time: bounds the memory, and Grad-CAM copies its network for each group.
GROUP = 16
# DICOM modalities that are not projection radiographs; what has another or none (converted files) is taken.
_NO_RADIOGRAPH = frozenset({"CT", "MR", "US", "PT", "NM", "MG"})
TABLE, RECORD = "predictions.csv", "predictions.json"


@dataclass(frozen=True)
class Prediction:
    """What a model says of one radiograph.

    Attributes
    ----------
    image : Path
        As given.
    probabilities : dict of str to float
        Of each class, 0 to 1, in the order of the entry's classes.
    predicted : str
        The class decided for.
    size : (int, int)
        Height and width of the radiograph, pixels.
    lung_area : float
        Share of the picture that is lung, 0 to 1.
    lung_box : LungBox
        The smallest box that holds the marked lungs, in pixels of the radiograph; the whole where none were found.
    view : LungBox
        The part of the radiograph that the network saw.
    doubt : str
        Why the picture may be no frontal chest radiograph; "" where nothing speaks against it.
    heat_in_lungs, lungs_in_view : float
        Share of the Grad-CAM heat (for the class decided for, within `view`) that lies on the lungs, and the
        lungs' share of the view, which heat spread evenly would have. NaN where no heat was asked for; the first also
        where no region raises the class's score.
    heatmap : str
        Name of the picture, "" where none was asked for.
    verdict : ViewVerdict, optional
        What the check of the view found, "frontal" and its probability; None where none was asked for.
    """

    image: Path
    probabilities: dict[str, float]
    predicted: str
    size: tuple[int, int]
    lung_area: float
    lung_box: LungBox
    view: LungBox
    doubt: str = ""
    heat_in_lungs: float = math.nan
    lungs_in_view: float = math.nan
    heatmap: str = ""
    verdict: ViewVerdict | None = None

    def row(self) -> dict[str, object]:
        """Return the prediction as a row of `predictions.csv`."""
        height, width = self.size
        return {
            "image": str(self.image),
            "predicted": self.predicted,
            **{f"probability_{name}": value for name, value in self.probabilities.items()},
            "checked_view": self.verdict.view if self.verdict else "",
            "checked_view_probability": self.verdict.probability if self.verdict else math.nan,
            "doubt": self.doubt,
            "height": height,
            "width": width,
            "lung_area": self.lung_area,
            **{f"lungs_{side}": value for side, value in self.lung_box._asdict().items()},
            **{f"view_{side}": value for side, value in self.view._asdict().items()},
            "heat_in_lungs": self.heat_in_lungs,
            "lungs_in_view": self.lungs_in_view,
            "heatmap": self.heatmap,
        }


@dataclass(frozen=True)
class Predictions:
    """The predictions of a call, in the order of its images, and the folder that holds them."""

    entry: WeightEntry
    rows: tuple[Prediction, ...]
    folder: Path

    def lines(self) -> list[str]:
        """Return what a user is to read: one line per image, what the model cannot tell, the disclaimer."""
        return [*(describe(row, self.entry) for row in self.rows), *limits_of(self.entry), DISCLAIMER]


def predict_files(
    images: Sequence[Path],
    out: Path,
    model: str,
    weights: Path | None = None,
    draw: Draw | None = None,
    check_view: bool = False,
) -> Predictions:
    """Predict radiographs by a registered model; write `predictions.csv`, `predictions.json` and heat maps.

    Every file is read, and checked where that is asked for, before the first is predicted, and all are predicted before
    the table is written, so that a bad one leaves nothing behind.

    Parameters
    ----------
    images : sequence of Path
        PNG, JPEG, TIFF or DICOM.
    out : Path
        Folder; made where missing. Receives `predictions.csv` (one row per image), `predictions.json` (the same and
        what made it) and, with `draw`, `<stem>_heatmap.png`.
    model : str
        A registered name (see `covid_keras.models.registry.predictive_models`).
    weights : Path, optional
        A file of the same network in place of the registered one; every tensor must fit.
    draw : callable, optional
        Explain the class decided for by Grad-CAM and have this draw it, given the PNG's path, the answer, the entry.
    check_view : bool
        Refuse what is not a frontal chest radiograph (see `covid_keras.inference.view_check`).

    Raises
    ------
    RefusedImages
        A `UserError` that names every picture refused by the check of the view.
    UserError
        For an unknown model, weights that are missing, altered or of another network, a file that is not a radiograph,
        two of one stem whose pictures would overwrite each other, or a folder that cannot be written.
    """
    entry = find_model(model, weights)
    predictor = Predictor(entry)
    view_network = find_view_network() if check_view else None
    _check_images(images, heatmap=draw is not None)
    import_tensorflow()
    predictor.load()
    verdicts = check_views(images, view_network.load(), predictor.segmenter) if view_network else [None] * len(images)
    require_writable_folder(out)
    rows = []
    answers = progress(predictor.answers(images, heatmap=draw is not None), "predicting", len(images))
    for answer, verdict in zip(answers, verdicts, strict=True):
        if draw:
            draw(out / answer.prediction.heatmap, answer, entry)
        rows.append(replace(answer.prediction, verdict=verdict))
    found = Predictions(entry, tuple(rows), out)
    _write_table(found, predictor, view_network)
    return found


def _check_images(images: Sequence[Path], heatmap: bool) -> None:
    if heatmap:
        require_different_stems(images, "heat maps", "Predict")
    for path in images:
        read_image(path)
        if (modality := _modality(path)) in _NO_RADIOGRAPH:
            raise UserError(path, f"is not a radiograph (DICOM modality {modality})", "Give a frontal chest radiograph")


def _modality(path: Path) -> str:
    """Return a DICOM file's modality, such as "DX" or "CT"; "" where it says none or is not a DICOM file."""
    if not has_dicom_header(path):
        return ""
    from pydicom import dcmread  # an extra, which `read_image` has found installed

    return str(dcmread(path, stop_before_pixels=True, specific_tags=["Modality"]).get("Modality") or "")


class Answer(NamedTuple):
    """A prediction with what its picture is drawn of.

    `image` and `mask`, uint8 (H, W), are the whole radiograph and its lungs (0/255); `heat`, float32 0..1, of the
    network's input size, lies on the prediction's `view`. None where no heat was asked for.
    """

    prediction: Prediction
    image: np.ndarray
    mask: np.ndarray
    heat: np.ndarray | None


Draw = Callable[[Path, Answer, WeightEntry], object]


class Predictor(RegisteredNetwork):
    """A registered network that predicts, with the lung U-Net.

    Parameters
    ----------
    entry : WeightEntry
        Of `covid_keras.models.registry.find_model`.

    Raises
    ------
    UserError
        Where the entry does not say how its input is prepared.
    """

    segmenter: LungSegmenter

    def __init__(self, entry: WeightEntry) -> None:
        super().__init__(entry, entry.input_preparation())

    def load(self) -> Self:
        """Build the network and the lung U-Net and load their weights; raise `UserError` where a file does not fit."""
        self.segmenter = models.LungSegmenter()
        self.segmenter.model  # noqa: B018 - loaded now, so that a damaged file leaves no empty folder
        return super().load()

    def answers(self, images: Sequence[Path], heatmap: bool = False) -> Iterator[Answer]:
        """Yield the answer on each radiograph, in order; see `predict_files` for the errors."""
        for start in range(0, len(images), GROUP):
            yield from self._group(images[start : start + GROUP], heatmap)

    def _group(self, paths: Sequence[Path], heatmap: bool) -> Iterator[Answer]:
        pictures = [read_image(path) for path in paths]
        masks = self.segmenter.masks(pictures)
        fed = self.network_input(paths, masks)
        scores = self.probabilities(fed)
        decided = decide_scores(scores, self.entry.threshold).tolist()
        heats = explain.grad_cam(self.model, fed, decided) if heatmap else [None] * len(paths)
        for path, image, mask, row, index, heat in zip(paths, pictures, masks, scores, decided, heats, strict=True):
            known = dict(zip(self.entry.classes, map(float, row), strict=True))
            prediction = self._prediction(path, mask, known, self.entry.classes[index], heat)
            yield Answer(prediction, image, mask, heat)

    def _prediction(
        self, path: Path, mask: np.ndarray, known: dict[str, float], predicted: str, heat: np.ndarray | None
    ) -> Prediction:
        view = view_box(mask, self.preparation)
        shares = (math.nan, math.nan)
        if heat is not None:
            lungs = mask[view.slices]
            shares = explain.heat_in_lungs(_laid_on(heat, lungs.shape), lungs), explain.lung_area_share(lungs)
        area, picture = explain.lung_area_share(mask), f"{path.stem}_heatmap.png" if heat is not None else ""
        box = mask_box(mask)
        return Prediction(path, known, predicted, mask.shape, area, box, view, doubt_of(mask), *shares, picture)


def mask_box(mask: np.ndarray) -> LungBox:
    """Return the smallest box that holds a mask's (H, W) marked pixels, the whole picture where there are none."""
    left, top, width, height = cv2.boundingRect((np.asarray(mask) > 0).astype(np.uint8))
    if not width:
        return LungBox(0, mask.shape[0], 0, mask.shape[1], whole=True)
    return LungBox(top, top + height, left, left + width)


def view_box(mask: np.ndarray, preparation: Preparation) -> LungBox:
    """Return the part of a radiograph that a network sees, in pixels, ends exclusive.

    Parameters
    ----------
    mask : ndarray (H, W)
        The radiograph's lung mask, not 0 is lung.
    preparation : Preparation

    Returns
    -------
    LungBox
        `whole` where it should have been cropped to the lungs and the mask shows none.
    """
    if preparation.crop:
        return crop_box(mask, preparation)
    # Numbers of rows and columns in place of pixels go through the same cuts; broadcast, they take no memory.
    rows = np.broadcast_to(np.arange(mask.shape[0])[:, None], mask.shape)
    columns = np.broadcast_to(np.arange(mask.shape[1]), mask.shape)
    if preparation.drop_top:
        rows, columns = (drop_top(numbers, preparation.drop_top) for numbers in (rows, columns))
    if preparation.square:
        rows, columns = centre_square(rows), centre_square(columns)
    return LungBox(int(rows[0, 0]), int(rows[-1, 0]) + 1, int(columns[0, 0]), int(columns[0, -1]) + 1)


def describe_decision(row: Prediction, entry: WeightEntry) -> str:
    """Say the probability of the second of two classes, or of each, and the class decided for."""
    if len(entry.classes) > 2:
        return ", ".join(f"{name} {value:.3f}" for name, value in row.probabilities.items()) + f": {row.predicted}"
    name = entry.classes[1]
    side = "at or above" if row.predicted == name else "below"
    return f"{name} {row.probabilities[name]:.3f}, {side} the threshold {entry.threshold:g}: {row.predicted}"


def describe(row: Prediction, entry: WeightEntry) -> str:
    """Return one line on one image: its probability, the decision, the lungs, where the evidence lies."""
    parts = [f"{row.image}: {describe_decision(row, entry)}", f"lungs {100 * row.lung_area:.0f} % of the picture"]
    if row.verdict:
        parts.append(f"view: {row.verdict.view} ({row.verdict.probability:.3f})")
    if row.heatmap:
        parts.append(heat_words(row))
    if row.doubt:
        parts.append(doubt_words(row))
    return "; ".join(parts)


def limits_of(entry: WeightEntry) -> list[str]:
    """Return the sentence on what the model cannot tell, where its entry has one."""
    return [f"What the network cannot tell: {entry.limits}"] if entry.limits else []


def doubt_words(row: Prediction) -> str:
    """Say why a picture may be none that the model is for."""
    return f"DOUBTFUL, {row.doubt}: is it a frontal chest radiograph?"


def heat_words(row: Prediction) -> str:
    """Say how much of the heat lies in the lungs, beside what chance would give."""
    if row.lung_box.whole:
        return "no lungs to compare the heat with"
    if math.isnan(row.heat_in_lungs):
        return f"no region speaks for {row.predicted}"
    chance = f"by chance {100 * row.lungs_in_view:.0f} %"
    return f"{100 * row.heat_in_lungs:.0f} % of the heat for {row.predicted} in the lungs ({chance})"


def _laid_on(heat: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Enlarge a heat map from the network's input size to that of its view, float32 0..1."""
    return np.clip(cv2.resize(heat, shape[::-1], interpolation=cv2.INTER_LINEAR), 0, 1)


def _write_table(found: Predictions, predictor: Predictor, view_network: ViewNetwork | None) -> None:
    rows, entry = [row.row() for row in found.rows], found.entry
    with atomic_path(found.folder / TABLE) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False, float_format="%.7g")
    record = {
        "disclaimer": DISCLAIMER,
        "limits": entry.limits,
        "model": entry.name,
        "title": entry.title,
        "card": entry.card,
        "sha256": entry.sha256,
        "classes": list(entry.classes),
        "threshold": entry.threshold,
        "preparation": as_plain(predictor.preparation),
        "scaling": entry.scaling,
        "lungs": predictor.segmenter.key,
        "view_network": view_network and {"name": view_network.entry.name, "sha256": view_network.entry.sha256},
        "version": __version__,
        # JSON knows no NaN.
        "predictions": [{key: None if value != value else value for key, value in row.items()} for row in rows],
    }
    write_json(found.folder / RECORD, record)
