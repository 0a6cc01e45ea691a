"""The example images of a run with their factual and counterfactual Grad-CAM maps."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import cv2
import numpy as np
import pandas as pd

from covid_keras.data.images import read_image, read_mask
from covid_keras.data.pipeline import make_dataset
from covid_keras.data.preparation import Preparation, prepare_cohort
from covid_keras.explain.gradcam import grad_cam
from covid_keras.explain.where import heat_in_lungs, lung_area_share
from covid_keras.preprocessing import lung_bounding_box
from covid_keras.reporting.pictures import Explanation
from covid_keras.training.experiment import Paper
from covid_keras.training.protocol import Protocol
from covid_keras.training.resume import BEST
from covid_keras.training.runfolder import Execution, RunFolder

SIDE = 320  # longest side of a picture in the report, pixels
LUNG_THRESHOLD = 127


def choose_examples(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the clearest right and the clearest wrong test image of each class, by the score of the predicted class.

    Chosen by score alone, so that nobody picks the pretty ones; fewer rows where a class has no wrong image.
    """
    test = predictions[predictions["split"] == "test"]
    scores = test[[name for name in test.columns if name.startswith("score_")]].max(axis=1)
    test = test.assign(_score=scores, _right=test["label"] == test["predicted"])
    chosen = test.sort_values(["_score", "image_id"], ascending=[False, True]).drop_duplicates(["label", "_right"])
    return chosen.sort_values(["label", "_right"], ascending=[False, False]).drop(columns=["_score", "_right"])


def explain_execution(
    paper: Paper, run: RunFolder, execution: Execution, predictions: pd.DataFrame
) -> list[Explanation]:
    """Explain the examples of one execution with its best weights.

    Parameters
    ----------
    paper, run, execution
        The execution must be done, its weights in place.
    predictions : pandas.DataFrame
        Its predictions.

    Returns
    -------
    list of Explanation
        As `choose_examples` orders them; empty where the weights were removed.
    """
    if not (execution.folder / BEST).is_file():
        return []
    system, classes = paper.system(execution.system), run.cohort.classes
    preparation = system.preparation(run.protocol)
    model = system.build(_without_download(run.protocol), classes)
    model.load_weights(execution.folder / BEST)
    rows = choose_examples(predictions)
    places = run.cohort.table.reset_index().set_index("image_id").loc[rows["image_id"], "index"].to_numpy()
    prepared = prepare_cohort(run.cohort, preparation, run.settings["cache"])
    images = np.concatenate(
        [batch.numpy() for batch in make_dataset(prepared, places, scaling=system.scaling, channels=system.channels)]
    )
    scores = rows[[f"score_{name}" for name in classes]].to_numpy()
    order = np.argsort(-scores, axis=1, kind="stable")
    maps = [grad_cam(model, images, order[:, rank]) for rank in (0, 1)]
    table = run.cohort.table.iloc[places]
    return [
        _case(row, files, preparation, (factual, other), (classes[a], classes[b]), float(score[a]))
        for row, files, factual, other, (a, b), score in zip(
            rows.itertuples(), table.itertuples(), *maps, order[:, :2], scores, strict=True
        )
    ]


def _without_download(protocol: Protocol) -> Protocol:
    """The protocol with random initial weights: the run's own replace them in any case."""
    return dataclasses.replace(protocol, weights="none")


def _case(
    row, files, preparation: Preparation, maps: tuple[np.ndarray, np.ndarray], names: tuple[str, str], score: float
) -> Explanation:
    """Bring picture, lungs and maps of one image to one size, in the picture's own aspect."""
    image = read_image(files.path)
    mask = (
        np.where(read_mask(files.mask_path, image.shape) > LUNG_THRESHOLD, 255, 0).astype(np.uint8)
        if files.mask_path
        else np.zeros_like(image)
    )
    if preparation.crop:
        box = lung_bounding_box(mask, preparation.margin)
        image, mask = image[box.slices], mask[box.slices]
    scale = SIDE / max(image.shape)
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    mask = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
    heat = [np.clip(cv2.resize(one, size, interpolation=cv2.INTER_LINEAR), 0, 1) for one in maps]
    return Explanation(image, heat[0], heat[1], row.label, names[0], names[1], score, mask, row.image_id)


def heat_table(system: str, cases: Iterable[Explanation]) -> pd.DataFrame:
    """Return, a row an example, the share of each map's heat that lies in the lungs, and the lungs' share of area."""
    rows = [
        {
            "system": system,
            "image_id": case.name,
            "label": case.label,
            "predicted": case.predicted,
            "other": case.other,
            "score": case.score,
            "heat_in_lungs_predicted": heat_in_lungs(case.factual, case.mask),
            "heat_in_lungs_other": heat_in_lungs(case.counterfactual, case.mask),
            "lung_area": lung_area_share(case.mask),
        }
        for case in cases
    ]
    return pd.DataFrame(rows)
