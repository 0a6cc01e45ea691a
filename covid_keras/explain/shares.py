"""Share of Grad-CAM heat in the lungs over a whole test set, and its comparison between two systems.

Cropping to the lungs raises their share of the heat by construction, because they then fill more of the picture. Every
share is therefore given with the lungs' share of the picture, and with two measures relative to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.common.progress import open_bar
from covid_keras.evaluation.uncertainty import LEVEL, RESAMPLES, bootstrap_mean
from covid_keras.explain.where import heat_in_lungs, lung_area_share

if TYPE_CHECKING:
    import keras

MEASURES = ("heat_in_lungs", "lung_area", "enrichment", "beyond_chance")
SHARE_COLUMNS = ("image_id", "patient_id", "class_index", "probability", *MEASURES)


def heat_shares(
    model: keras.Model,
    batches: Iterable[tuple[np.ndarray, np.ndarray]],
    class_index: int | None = None,
    *,
    image_ids: Sequence[str],
    patient_ids: Sequence[str],
    layer: str | None = None,
) -> pd.DataFrame:
    """Measure the share of Grad-CAM heat in the lungs per image, batch by batch.

    Parameters
    ----------
    model, layer
        As in `covid_keras.explain.grad_cam`.
    batches : iterable of (images, masks)
        Images (n, H, W, C) float, scaled as the model takes them, and their lung masks (n, H, W) in the same
        geometry, `mask > 0` is lung.
    class_index : int, optional
        The class to explain. Default: the predicted class of each image.
    image_ids, patient_ids : sequence of str
        Ids of all images, in the order of the batches.

    Returns
    -------
    DataFrame, one row per image
        `image_id`, `patient_id`, `class_index`, `probability` (the model's output for that class);
        `heat_in_lungs`, the share of heat in the lungs; `lung_area`, the lungs' share of the picture;
        `enrichment`, the first divided by the second (1 = chance; its maximum is 1 / area); `beyond_chance` =
        (share - area) / (1 - area) (0 = chance, 1 = all heat in the lungs). NaN without heat or lungs.

    Raises
    ------
    ValueError
        If shapes differ, or the numbers of images and ids differ.
    UserError
        If the model cannot be explained.
    """
    if len(image_ids) != len(patient_ids):
        raise ValueError(f"{len(image_ids)} image ids and {len(patient_ids)} patient ids")
    # Imported here, so that comparing shares does not import TensorFlow.
    from covid_keras.explain.gradcam import cam_of
    from covid_keras.explain.network import LayerGradients, class_scores

    taker = LayerGradients(model, layer)
    rows: list[tuple[int, float, float, float]] = []
    with open_bar(total=len(image_ids), desc="heat in the lungs", unit="image") as bar:
        for images, masks in batches:
            taken = taker(images, class_index)
            maps = cam_of(taken, np.shape(images)[1:3])
            scores = class_scores(taken.outputs, taken.classes)
            rows += [
                (int(index), float(score), heat_in_lungs(heat, mask), lung_area_share(mask))
                for index, score, heat, mask in zip(taken.classes, scores, maps, masks, strict=True)
            ]
            bar.update(len(maps))
    if len(rows) != len(image_ids):
        raise ValueError(f"the batches hold {len(rows)} images, but {len(image_ids)} image ids were given")
    frame = pd.DataFrame(rows, columns=["class_index", "probability", "heat_in_lungs", "lung_area"])
    frame = frame.assign(image_id=list(image_ids), patient_id=list(patient_ids))
    return _relative_to_area(frame)[list(SHARE_COLUMNS)]


def compare_shares(
    frame_a: pd.DataFrame,
    frame_b: pd.DataFrame,
    n: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> pd.DataFrame:
    """Compare two systems on their common images: paired differences with intervals by bootstrap over patients.

    Parameters
    ----------
    frame_a, frame_b : DataFrame
        Two results of `heat_shares`, one row per image.
    n, seed, level
        As in `covid_keras.evaluation.bootstrap_intervals`.

    Returns
    -------
    DataFrame, one row per measure
        `measure` (`heat_in_lungs`, `lung_area`, `enrichment` or `beyond_chance`), the means `a` and `b`, `difference`
        = a - b with its interval `low` to `high`, `n_images`, `n_patients`. Images with an undefined measure in either
        system are left out of it.

    Raises
    ------
    UserError
        If the frames have no common image, repeat one, or disagree on its patient.
    """
    pairs = _paired(frame_a, frame_b)
    rows = []
    for measure in MEASURES:
        sides = pairs[[f"{measure}_a", f"{measure}_b"]].to_numpy(dtype=float)
        known = np.isfinite(sides).all(axis=1)
        a, b = sides[known].T
        patients = pairs["patient_id_a"][known]
        means = (np.nan,) * 5
        if known.any():
            means = (a.mean(), b.mean(), *bootstrap_mean(a - b, patients, n, seed, level))
        rows.append((measure, *means, int(known.sum()), patients.nunique()))
    columns = ["measure", "a", "b", "difference", "low", "high", "n_images", "n_patients"]
    return pd.DataFrame(rows, columns=columns)


def _relative_to_area(frame: pd.DataFrame) -> pd.DataFrame:
    share, area = frame["heat_in_lungs"], frame["lung_area"]
    return frame.assign(
        enrichment=(share / area).where(area > 0),
        beyond_chance=((share - area) / (1 - area)).where((area > 0) & (area < 1)),
    )


def _paired(frame_a: pd.DataFrame, frame_b: pd.DataFrame) -> pd.DataFrame:
    for frame in (frame_a, frame_b):
        if len(twice := frame["image_id"][frame["image_id"].duplicated()]):
            raise UserError(f"image {twice.iloc[0]}", "is explained twice", "Keep one row per image, of one execution")
    pairs = frame_a.merge(frame_b, on="image_id", suffixes=("_a", "_b"))
    if pairs.empty:
        raise UserError("the shares of heat", "have no image in common", "Compare systems tested on the same images")
    if len(torn := pairs[pairs["patient_id_a"] != pairs["patient_id_b"]]):
        raise UserError(f"image {torn['image_id'].iloc[0]}", "belongs to two patients", "Correct the patient ids")
    return pairs
