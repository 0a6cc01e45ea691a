"""Example images of a run, with factual and counterfactual Grad-CAM maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.data.cohort import Cohort
from covid_keras.data.pipeline import make_dataset
from covid_keras.data.preparation import Preparation, crop_box
from covid_keras.data.prepared_images import PreparedImages, prepare_cohort
from covid_keras.evaluation.predictions import choose_examples
from covid_keras.explain.gradcam import grad_cam
from covid_keras.explain.network import map_cells
from covid_keras.explain.where import heat_in_lungs, lung_area_share
from covid_keras.paper.protocol import Protocol
from covid_keras.paper.system import System
from covid_keras.preprocessing import centre_square, drop_top, keep_lungs, remove_lungs
from covid_keras.reporting.crops import read_lungs
from covid_keras.reporting.pictures import Explanation
from covid_keras.training.executions import Execution

if TYPE_CHECKING:
    import keras

SIDE = 320  # longest side of a picture in the report, pixels


@dataclass(frozen=True, eq=False)
class Examples:
    """The n example images of one execution; the argument of a paper's `pictures`.

    Attributes
    ----------
    execution : Execution
        The finished execution.
    predictions : pandas.DataFrame
        One row per image, as chosen by `PaperReport.choose`; columns as in `covid_keras.evaluation.read_predictions`.
    cohort : Cohort
        The same images in the same order: files, patients, masks.
    prepared : PreparedImages
        The same images, prepared: (h, w, c) uint8, 0..255.
    network : keras.Model
        With its best weights; takes scaled prepared images (float32), or the output of `System.feed`.
    """

    execution: Execution
    predictions: pd.DataFrame
    cohort: Cohort
    prepared: PreparedImages
    network: keras.Model

    @classmethod
    def of(
        cls,
        execution: Execution,
        predictions: pd.DataFrame,
        network: keras.Model,
        choose: Callable[[pd.DataFrame], pd.DataFrame] = choose_examples,
    ) -> Examples:
        """Choose the examples from an execution's predictions, and prepare them if not cached.

        Raises
        ------
        UserError
            If an image is missing or damaged, an execution that it builds on is unfinished, or the folder of prepared
            images cannot be written.
        """
        rows, whole = choose(predictions), execution.cohort
        # Only these rows: other files may be gone, and preparing them takes time.
        places = pd.Index(whole.table["image_id"]).get_indexer(rows["image_id"])
        cohort = Cohort(whole.table.iloc[places], whole.classes, whole.name)
        _require_files(cohort)
        prepared = prepare_cohort(cohort, execution.preparation, execution.run.cache)
        return cls(execution, rows, cohort, prepared, network)

    @property
    def before(self) -> Execution | None:
        """The execution that it builds on, or None."""
        return self.execution.before

    @property
    def system(self) -> System:
        """The system of the execution."""
        return self.execution.system

    @property
    def protocol(self) -> Protocol:
        """The protocol of the run."""
        return self.execution.protocol


def explain_examples(examples: Examples) -> list[Explanation]:
    """Explain the examples with the execution's best weights, in order."""
    system, rows, scored = examples.system, examples.predictions, examples.execution.scored
    fed = _inputs(examples)
    scores = rows[[f"score_{name}" for name in scored]].to_numpy()
    predicted = [scored.index(name) for name in rows["predicted"]]
    order = _predicted_first(scores, np.array(predicted))
    names = [tuple(scored[index] for index in pair) for pair in order[:, :2]]
    maps = _maps(system, scored, examples.network, fed, names)
    preparation = system.preparation(examples.protocol)
    return [
        _case(row, files, preparation, heat, pair, float(score[at]))
        for row, files, heat, pair, score, at in zip(
            rows.itertuples(), examples.cohort.table.itertuples(), maps, names, scores, predicted, strict=True
        )
    ]


def _predicted_first(scores: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return class indices per image: the predicted class, then the others by decreasing score."""
    others = scores.copy()
    others[np.arange(len(scores)), predicted] = np.inf
    return np.argsort(-others, axis=1, kind="stable")


def _inputs(examples: Examples) -> np.ndarray:
    """Return the network's scaled input for each example: float32 (n, views, H, W, C)."""
    system, cohort = examples.system, examples.cohort
    part = np.full(len(cohort), "test", object)
    prepared = system.feed(examples.execution, cohort, part, examples.prepared).prepared
    batches = make_dataset(prepared, np.arange(len(prepared)), scaling=system.scaling, channels=system.channels)
    images = np.concatenate([batch.numpy() for batch in batches])
    return images.reshape(len(cohort), -1, *images.shape[1:])


class _Heat(NamedTuple):
    """A map (h, w) in the size of the network's input, and the number of rows and columns before resizing."""

    map: np.ndarray
    cells: tuple[int, int]


def _maps(
    system: System, classes: tuple[str, ...], model: keras.Model, fed: np.ndarray, names: list[tuple[str, str]]
) -> list[tuple[_Heat, _Heat]]:
    """Return the maps of both classes for each image.

    Grad-CAM copies the network at every call, so each network is called once for all its images and classes.
    """
    asked: dict[int, tuple[keras.Model, list[tuple[list[tuple[int, int]], np.ndarray, int]]]] = {}
    for name in dict.fromkeys(name for pair in names for name in pair):
        places = [(row, rank) for row, pair in enumerate(names) for rank, one in enumerate(pair) if one == name]
        rows = [row for row, _ in places]
        network, images, index = system.evidence(model, fed[rows], name, classes)
        asked.setdefault(id(network), (network, []))[1].append((places, images, index))
    layer = system.heat_layer or None
    maps: dict[tuple[int, int], _Heat] = {}
    for network, parts in asked.values():
        indices = [index for places, _, index in parts for _ in places]
        shown = np.concatenate([images for _, images, _ in parts])
        cells = map_cells(network, layer, shown.shape[1:])
        found = [_Heat(one, cells) for one in grad_cam(network, shown, indices, layer)]
        maps.update(zip([place for places, _, _ in parts for place in places], found, strict=True))
    return [(maps[row, 0], maps[row, 1]) for row in range(len(names))]


def _require_files(cohort: Cohort) -> None:
    for row in cohort.table.itertuples():
        for path in filter(None, (row.path, row.mask_path)):
            if not Path(path).is_file():
                raise UserError(path, f"is missing (example image {row.image_id})", "Restore the file")


def _case(
    row, files, preparation: Preparation, maps: tuple[_Heat, _Heat], names: tuple[str, str], score: float
) -> Explanation:
    """Resize picture, lungs and maps of one image to one size, keeping the picture's aspect ratio.

    Without a mask file, the mask is None and not empty.
    """
    image, mask = _framed(*_read(files, preparation), preparation)
    scale = SIDE / max(image.shape)
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    if mask is not None:
        mask = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
    heat = [np.clip(cv2.resize(one.map, size, interpolation=cv2.INTER_LINEAR), 0, 1) for one in maps]
    cells = tuple(one.cells for one in maps)
    return Explanation(image, heat[0], heat[1], row.label, names[0], names[1], score, mask, row.image_id, cells)


def lungs_as_fed(row, preparation: Preparation) -> np.ndarray:
    """Return the lungs of a row of a cohort's table in the geometry of the network's input, (H, W) uint8, 0 or 255.

    Raises `UserError` if the row has no mask.
    """
    _, framed = _framed(*_read(row, preparation), preparation)
    if framed is None:
        raise UserError(row.path, "has no lung mask", "Fill in mask_path")
    return cv2.resize(framed, preparation.size[::-1], interpolation=cv2.INTER_NEAREST)


def _read(row, preparation: Preparation) -> tuple[np.ndarray, np.ndarray | None]:
    """Return image and lungs, (H, W) uint8, 0 or 255, of a row of a cohort's table; None without a mask."""
    image, lungs = read_lungs(row, preparation)
    return image, None if lungs is None else np.where(lungs, 255, 0).astype(np.uint8)


def _framed(
    image: np.ndarray, mask: np.ndarray | None, preparation: Preparation
) -> tuple[np.ndarray, np.ndarray | None]:
    """Crop and blacken image and mask like the preparation: a map covers only what the network sees."""
    pair = [image] if mask is None else [image, mask]
    if preparation.needs_mask and mask is not None:
        box = crop_box(mask, preparation)
        # With an empty mask, the input was the whole image, or black if the preparation says so.
        if preparation.mask and (not box.whole or preparation.blackens_empty):
            pair[0] = {"keep": keep_lungs, "remove": remove_lungs}[preparation.mask](image, mask)
        if preparation.crop:
            pair = [one[box.slices] for one in pair]
    if preparation.drop_top:
        pair = [drop_top(one, preparation.drop_top) for one in pair]
    if preparation.square:
        pair = [centre_square(one) for one in pair]
    return pair[0], None if mask is None else pair[1]


def heat_table(system: str, cases: Iterable[Explanation]) -> pd.DataFrame:
    """Return, per example, the share of each map's heat in the lungs and the lungs' share of the area.

    Both are NaN without a mask.
    """
    rows = [
        {
            "system": system,
            "image_id": case.name,
            "label": case.label,
            "predicted": case.predicted,
            "other": case.other,
            "score": case.score,
            "heat_in_lungs_predicted": np.nan if case.mask is None else heat_in_lungs(case.factual, case.mask),
            "heat_in_lungs_other": np.nan if case.mask is None else heat_in_lungs(case.counterfactual, case.mask),
            "lung_area": np.nan if case.mask is None else lung_area_share(case.mask),
        }
        for case in cases
    ]
    return pd.DataFrame(rows)
