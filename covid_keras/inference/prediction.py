"""Predict the user's radiographs: probabilities, decision, lungs and heat map.

TensorFlow is imported after the arguments are checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import cv2
import numpy as np

from covid_keras import DISCLAIMER, __version__, explain, models
from covid_keras.common.errors import UserError
from covid_keras.common.files import staged, write_json
from covid_keras.common.quiet import import_tensorflow
from covid_keras.common.settings import as_plain
from covid_keras.common.tables import write_table
from covid_keras.common.threads import limit_threads
from covid_keras.data.preparation import Preparation, crop_box
from covid_keras.evaluation.decisions import decide_scores
from covid_keras.inference.answers import Answer, Heat, Prediction, Predictions, row_of
from covid_keras.inference.inputs import (
    ERRORS,
    Item,
    Read,
    RefusedImages,
    filled,
    find_items,
    named,
    read_in_groups,
    require_readable,
    write_errors,
)
from covid_keras.inference.network import RegisteredNetwork
from covid_keras.inference.view_check import (
    FRONTAL,
    ViewNetwork,
    ViewVerdict,
    check_view,
    doubt_of,
    find_view_network,
    refusal,
)
from covid_keras.models.registry import WeightEntry, find_model
from covid_keras.preprocessing import LungBox, centre_square, drop_top

if TYPE_CHECKING:
    from covid_keras.models.lungs import LungSegmenter

TABLE, RECORD = "predictions.csv", "predictions.json"

Draw = Callable[[Path, Answer, WeightEntry], object]


def predict_files(
    given: Sequence[Path],
    out: Path,
    model: str | RegisteredNetwork,
    weights: Path | None = None,
    draw: Draw | None = None,
    check_view: bool = False,
    *,
    score_doubtful: bool = False,
    skip_unreadable: bool = False,
    threads: int | None = None,
) -> Predictions:
    """Predict radiographs; write `predictions.csv`, `predictions.json`, heat maps and `errors.csv`.

    Parameters
    ----------
    given : sequence of Path
        Files (PNG, JPEG, TIFF, BMP or DICOM) and folders of them.
    out : Path
        Output folder, created if missing, for `predictions.csv` (one row per image), `predictions.json` (the same with
        provenance) and, with `draw`, `<name>_heatmap.png`, mirroring the input folders (see `find_items`).
    model : str or RegisteredNetwork
        A registered name (see `covid_keras.models.registry.predictive_models`), or a network, not yet loaded.
    weights : Path, optional
        Weight file used instead of the registered one; every tensor must fit.
    draw : callable, optional
        Draws the Grad-CAM heat map of the predicted class, given the PNG's path, the answer and the entry.
    check_view : bool
        Refuse images that are not frontal chest radiographs (see `covid_keras.inference.view_check`).
    score_doubtful : bool
        Also score images that the check refuses; `doubt` gives the reason.
    skip_unreadable : bool
        Skip unreadable and refused files: their rows have an `error`, and `errors.csv` lists them. Without it, one such
        file leaves no output, and all of them are named.
    threads : int, optional
        Processor threads. Default: one per processor.

    Raises
    ------
    RefusedImages
        A `UserError` that names every unreadable or refused file.
    UserError
        If the model is unknown, its weights are missing, altered or of another network, a folder has no radiographs, or
        `out` cannot be written.
    """
    network = RegisteredNetwork(find_model(model, weights)) if isinstance(model, str) else model
    predictor = Predictor(network, find_view_network() if check_view else None)
    items = find_items(given, out)
    if not skip_unreadable:
        require_readable(items)
    import_tensorflow()
    limit_threads(threads)
    predictor.load()
    with staged(out) as folder:
        answers = []
        for answer in predictor.answers(items, draw is not None, score_doubtful, skip_unreadable, threads):
            if draw and answer.heatmap:
                draw(folder / answer.heatmap, answer, network.entry)
            answers.append(answer._replace(image=None, mask=None, heat=None))
        found = Predictions(network.entry, tuple(answers), out)
        _write_table(folder, found, predictor)
        write_errors(folder, found.failed)
    if not found.failed:  # an earlier call's
        (out / ERRORS).unlink(missing_ok=True)
    return found


class Predictor:
    """A network with the lung U-Net and, optionally, the view network for the view check."""

    segmenter: LungSegmenter

    def __init__(self, network: RegisteredNetwork, view_network: ViewNetwork | None = None) -> None:
        self.network, self.view_network = network, view_network

    def load(self) -> Self:
        """Build the networks and load their weights; raise `UserError` if a file does not fit."""
        self.segmenter = models.LungSegmenter(lungs="whole")  # the view check was calibrated on its masks
        self.segmenter.model  # noqa: B018 - loaded first, so that a damaged file leaves no empty folder
        self.network.load()
        if self.view_network:
            self.view_network.load()
        return self

    def answers(
        self,
        items: Sequence[Item],
        heatmap: bool = False,
        score_doubtful: bool = False,
        skip_unreadable: bool = False,
        threads: int | None = None,
    ) -> Iterator[Answer]:
        """Yield the answer on each radiograph, in order.

        Unless skipped, unreadable and refused ones raise `RefusedImages` after all were checked.
        """
        errors: list[UserError] = []
        for group in read_in_groups(items, "predicting", threads):
            lungs = self._lungs(group, items)
            seen = [self._look(read, found, score_doubtful) for read, found in zip(group, lungs, strict=True)]
            errors += [one.error for one in seen if one.error]
            if skip_unreadable or not errors:
                yield from self._answer(seen, heatmap, items)
        if errors and not skip_unreadable:
            raise RefusedImages(errors)

    def _lungs(self, group: Sequence[Read], items: Sequence[Item]) -> Iterator[np.ndarray | None]:
        """Yield the lung U-Net's probabilities for each radiograph, None for an unreadable one."""
        images = [read.radiograph.pixels for read in group if read.radiograph]
        found = iter(self.segmenter.probabilities(filled(images, items)))
        return (next(found) if read.radiograph else None for read in group)

    def _look(self, read: Read, lungs: np.ndarray | None, score_doubtful: bool) -> _Seen:
        if read.radiograph is None or lungs is None:
            return _Seen(read, error=read.error)
        mask = self.segmenter.to_mask(lungs, read.radiograph.pixels.shape)
        if self.view_network is None:
            return _Seen(read, mask, doubt=doubt_of(mask))
        verdict = check_view(read.radiograph, self.view_network, self.segmenter, lungs)
        refused = verdict.view != FRONTAL and not score_doubtful
        return _Seen(read, mask, verdict, verdict.doubt, refusal(read.item.path, verdict) if refused else None)

    def _answer(self, seen: Sequence[_Seen], heatmap: bool, items: Sequence[Item]) -> Iterator[Answer]:
        scored = [one for one in seen if one.error is None]
        scores, decided, heats = [], [], [None] * len(scored)
        if scored:
            images = [one.image for one in scored]
            masks = self.network.lungs(images, [one.mask for one in scored])
            scored = [one._replace(mask=mask) for one, mask in zip(scored, masks, strict=True)]
            fed = self.network.network_input(images, masks)
            scores = self.network.probabilities(np.stack(filled(fed, items)))[: len(fed)]
            decided = decide_scores(scores, self.network.entry.threshold).tolist()
            heats = self.network.heat(fed, decided) if heatmap else heats
        found = zip(scored, scores, decided, heats, strict=True)
        for one in seen:
            yield Answer(one.failed()) if one.error else self._predicted(*next(found))

    def _predicted(self, one: _Seen, scores: np.ndarray, decided: int, heat: np.ndarray | None) -> Answer:
        classes, mask = self.network.entry.classes, one.mask
        view, share = view_box(mask, self.network.preparation), None
        if heat is not None:
            lungs = mask[view.slices]
            in_lungs = explain.heat_in_lungs(_laid_on(heat, lungs.shape), lungs)
            share = Heat(in_lungs, explain.lung_area_share(lungs))
        prediction = Prediction(
            image=one.read.item.path,
            predicted=classes[decided],
            probabilities=dict(zip(classes, map(float, scores), strict=True)),
            doubt=one.doubt,
            warnings=one.read.radiograph.warnings,
            size=mask.shape,
            lung_area=explain.lung_area_share(mask),
            lung_box=mask_box(mask),
            view=view,
            heat=share,
            verdict=one.verdict,
        )
        picture = f"{one.read.item.place}_heatmap.png" if heat is not None else ""
        return Answer(prediction, picture, one.image, mask, heat)


class _Seen(NamedTuple):
    """A radiograph to be predicted, with its lungs, or the error."""

    read: Read
    mask: np.ndarray | None = None
    verdict: ViewVerdict | None = None
    doubt: str = ""
    error: UserError | None = None

    @property
    def image(self) -> np.ndarray:
        return self.read.radiograph.pixels

    def failed(self) -> Prediction:
        """Return the prediction that holds the error."""
        warnings = self.read.radiograph.warnings if self.read.radiograph else ()
        return Prediction(
            self.read.item.path, doubt=self.doubt, warnings=warnings, error=self.error.problem, verdict=self.verdict
        )


def mask_box(mask: np.ndarray) -> LungBox:
    """Return the bounding box of a mask (H, W); the whole picture if the mask is empty."""
    left, top, width, height = cv2.boundingRect((np.asarray(mask) > 0).astype(np.uint8))
    if not width:
        return LungBox(0, mask.shape[0], 0, mask.shape[1], whole=True)
    return LungBox(top, top + height, left, left + width)


def view_box(mask: np.ndarray, preparation: Preparation) -> LungBox:
    """Return the part of a radiograph that a network sees, in pixels, ends exclusive.

    Parameters
    ----------
    mask : ndarray (H, W)
        The radiograph's lung mask (not 0: lung).
    preparation : Preparation

    Returns
    -------
    LungBox
        `whole` if the preparation crops to the lungs but the mask is empty.
    """
    if preparation.crop:
        return crop_box(mask, preparation)
    # Apply the crops to row and column numbers instead of pixels; broadcasting needs no memory.
    rows = np.broadcast_to(np.arange(mask.shape[0])[:, None], mask.shape)
    columns = np.broadcast_to(np.arange(mask.shape[1]), mask.shape)
    if preparation.drop_top:
        rows, columns = (drop_top(numbers, preparation.drop_top) for numbers in (rows, columns))
    if preparation.square:
        rows, columns = centre_square(rows), centre_square(columns)
    return LungBox(int(rows[0, 0]), int(rows[-1, 0]) + 1, int(columns[0, 0]), int(columns[0, -1]) + 1)


def _laid_on(heat: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize a heat map to its view, float32 0..1."""
    return np.clip(cv2.resize(heat, shape[::-1], interpolation=cv2.INTER_LINEAR), 0, 1)


def _write_table(folder: Path, found: Predictions, predictor: Predictor) -> None:
    import pandas as pd

    entry, view = found.entry, predictor.view_network
    rows = [row_of(answer, entry) for answer in found.answers]
    table = pd.DataFrame(rows)
    table["image"] = [named(row.image) for row in found.rows]
    table["warnings"] = ["; ".join(row.warnings) for row in found.rows]
    write_table(folder / TABLE, table, "%.7g")
    record = {
        "disclaimer": DISCLAIMER,
        "limits": entry.limits,
        "model": entry.name,
        "title": entry.title,
        "card": entry.card,
        "sha256": entry.sha256,
        "classes": list(entry.classes),
        "threshold": entry.threshold,
        "preparation": as_plain(predictor.network.preparation),
        "scaling": entry.scaling,
        "lungs": predictor.segmenter.key,
        "view_network": view and {"name": view.entry.name, "sha256": view.entry.sha256},
        "version": __version__,
        "predictions": rows,
    }
    write_json(folder / RECORD, record)
