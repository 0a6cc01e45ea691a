"""A network's answer on radiographs of the user's own: probability, decision, the lungs, and where the evidence lies.

TensorFlow is imported once the arguments have been found usable, not when this module is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import cv2
import numpy as np

from covid_keras import DISCLAIMER, __version__, explain, models
from covid_keras.common.errors import UserError
from covid_keras.common.files import atomic_path, write_json
from covid_keras.common.quiet import import_tensorflow
from covid_keras.common.settings import as_plain
from covid_keras.common.threads import limit_threads
from covid_keras.data.preparation import Preparation, crop_box
from covid_keras.evaluation.decisions import decide_scores
from covid_keras.inference.answers import Answer, Heat, Prediction, Predictions, row_of
from covid_keras.inference.inputs import (
    Item,
    Read,
    RefusedImages,
    cell_text,
    filled,
    find_items,
    output_folder,
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
        Files (PNG, JPEG, TIFF, BMP or DICOM), and folders that are searched for them.
    out : Path
        Folder; created if missing. Receives `predictions.csv` (one row per image), `predictions.json` (the same and
        what made it) and, with `draw`, `<name>_heatmap.png`, in folders as the input is (see `find_items`).
    model : str or RegisteredNetwork
        A registered name (see `covid_keras.models.registry.predictive_models`), or a network, not yet loaded.
    weights : Path, optional
        A file of the registered network in place of its own; every tensor must fit.
    draw : callable, optional
        Explain the class decided for by Grad-CAM and have this draw it, given the PNG's path, the answer, the entry.
    check_view : bool
        Refuse what is not a frontal chest radiograph (see `covid_keras.inference.view_check`).
    score_doubtful : bool
        Predict what the check would refuse, too; its `doubt` says why.
    skip_unreadable : bool
        Go on after a file that cannot be read or is refused: its row has an `error`, and `errors.csv` lists it. Without
        it one such file leaves nothing behind, and every one is named.
    threads : int, optional
        Processor threads; as many as there are processors if not given.

    Raises
    ------
    RefusedImages
        A `UserError` that names every file that cannot be read or is refused.
    UserError
        For an unknown model, weights that are missing, altered or of another network, a folder without radiographs, or
        one that cannot be written.
    """
    network = RegisteredNetwork(find_model(model, weights)) if isinstance(model, str) else model
    predictor = Predictor(network, find_view_network() if check_view else None)
    items = find_items(given, out)
    if not skip_unreadable:
        require_readable(items)
    import_tensorflow()
    limit_threads(threads)
    predictor.load()
    with output_folder(out, skip_unreadable) as folder:
        answers = []
        for answer in predictor.answers(items, draw is not None, score_doubtful, skip_unreadable, threads):
            if draw and answer.heatmap:
                draw(folder / answer.heatmap, answer, network.entry)
            answers.append(answer._replace(image=None, mask=None, heat=None))
        found = Predictions(network.entry, tuple(answers), out)
        _write_table(folder, found, predictor)
    write_errors(out, found.failed)
    return found


class Predictor:
    """A network that predicts, with the lung U-Net and, where the view is checked, the view network.

    Parameters
    ----------
    network : RegisteredNetwork
    view_network : ViewNetwork, optional
        Without it the view is not checked.
    """

    segmenter: LungSegmenter

    def __init__(self, network: RegisteredNetwork, view_network: ViewNetwork | None = None) -> None:
        self.network, self.view_network = network, view_network

    def load(self) -> Self:
        """Build the networks and load their weights; raise `UserError` if a file does not fit."""
        self.segmenter = models.LungSegmenter()
        self.segmenter.model  # noqa: B018 - loaded now, so that a damaged file leaves no empty folder
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
        """Yield the answer on each radiograph, in order, reading each once.

        If some cannot be read or are refused, and are not skipped, the others are still read and checked, though no
        longer predicted, and `RefusedImages` names them all at the end.
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
        """Yield the lung U-Net's probabilities on each radiograph, None if there is none."""
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
    """A radiograph before it is predicted, with its lungs; or why it is not."""

    read: Read
    mask: np.ndarray | None = None
    verdict: ViewVerdict | None = None
    doubt: str = ""
    error: UserError | None = None

    @property
    def image(self) -> np.ndarray:
        return self.read.radiograph.pixels

    def failed(self) -> Prediction:
        """Return the prediction that says why there is none."""
        warnings = self.read.radiograph.warnings if self.read.radiograph else ()
        return Prediction(
            self.read.item.path, doubt=self.doubt, warnings=warnings, error=self.error.problem, verdict=self.verdict
        )


def mask_box(mask: np.ndarray) -> LungBox:
    """Return the smallest box that holds a mask's (H, W) marked pixels, the whole picture if there are none."""
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


def _laid_on(heat: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Enlarge a heat map from the network's input size to that of its view, float32 0..1."""
    return np.clip(cv2.resize(heat, shape[::-1], interpolation=cv2.INTER_LINEAR), 0, 1)


def _write_table(folder: Path, found: Predictions, predictor: Predictor) -> None:
    import pandas as pd

    entry, view = found.entry, predictor.view_network
    rows = [row_of(answer, entry) for answer in found.answers]
    table = pd.DataFrame(rows)
    table["image"] = [cell_text(row.image) for row in found.rows]
    table["warnings"] = ["; ".join(row.warnings) for row in found.rows]
    with atomic_path(folder / TABLE) as temporary:
        table.to_csv(temporary, index=False, float_format="%.7g")
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
