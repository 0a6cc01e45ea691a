"""Lung masks of 0 and 255, one an image, whatever form a collection keeps them in.

What trains on masks takes 255 alone as lung. Collections keep 0 and 1, soft borders, or a file for each lung
(Montgomery, JSRT with SCR); what is written here has one form. The masks of `darwin_v7` must not come here: their third
value, 127, means "not judged".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.data.cohort import Cohort
from covid_keras.data.images import image_size, read_mask, write_image

LEFT, RIGHT = "mask_left", "mask_right"


def require_both(masks: pd.DataFrame, paths: Sequence[str | Path]) -> None:
    """Refuse images (`paths`) of whose two masks, columns `mask_left` and `mask_right`, one alone is there."""
    one_only = (masks[LEFT] == "") != (masks[RIGHT] == "")
    if one_only.any():
        problem = "has the mask of one lung only"
        raise UserError(paths[int(one_only.argmax())], problem, "Unpack the masks of both lungs again")


def binary_masks(cohort: Cohort, folder: str | Path) -> Cohort:
    """Write a mask of 0 and 255 for each image that has any, once, and return the cohort with `mask_path` set to it.

    Lung is what holds at least half the file's greatest value. A mask that is newer than what it was made of is kept.

    Parameters
    ----------
    cohort : Cohort
        Its `mask_path` names the one file, or its columns `mask_left` and `mask_right` the two that are united; where
        a row has both, the two count. Rows without either stay as they are.
    folder : str or Path
        Where the masks go, as `<image id>.png`: uint8, 0 and 255, at the image's size.

    Returns
    -------
    Cohort
        With `mask_path` filled in.

    Raises
    ------
    UserError
        If a file cannot be read; a file marks nothing or every pixel, or a whole mask does; the masks of one image
        differ in size; their sides and the image's are not the same or one a whole multiple of the other (SCR masks
        have 1024 pixels a side, the JSRT images 2048); nothing can be written to the folder.
    """
    # Collections joined to one with a file for each lung have no value in its columns.
    table = cohort.table.fillna({name: "" for name in (LEFT, RIGHT) if name in cohort.table})
    masks = []
    for row in table.itertuples():
        two = (getattr(row, LEFT, ""), getattr(row, RIGHT, ""))
        sources = two if all(two) else (row.mask_path,) if row.mask_path else ()
        if not sources:
            masks.append(row.mask_path)
            continue
        target = (Path(folder) / f"{row.image_id}.png").absolute()
        if not _is_newer(target, sources):
            write_image(target, _binary(sources, image_size(row.path)))
        masks.append(str(target))
    return Cohort(table.assign(mask_path=masks), cohort.classes, cohort.name)


def _is_newer(target: Path, sources: tuple[str, ...]) -> bool:
    try:
        made = target.stat().st_mtime
        return all(Path(source).stat().st_mtime <= made for source in sources)
    except OSError:  # no mask made yet, or a source that reading it will name
        return False


def _binary(sources: tuple[str, ...], shape: tuple[int, int]) -> np.ndarray:
    """Return the union of one or two files, uint8 (H, W) of 0 and 255, at `shape`."""
    first, *others = sources
    lungs = _lungs(first)
    for other in others:
        lungs = lungs | _lungs(other, lungs.shape)
    return np.where(_some(_at_size(lungs, shape, first), first), 255, 0).astype(np.uint8)


def _lungs(path: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Read a file; tell lung in a mask of 0 and 255, of 0 and 1, of a value a lung (0, 1, 2) and with soft borders."""
    mask = read_mask(path, shape, labels=True)
    return _some(mask >= max(mask.max() / 2, 0.5), path)


def _some(lungs: np.ndarray, path: str) -> np.ndarray:
    """Refuse what no radiograph's mask can be."""
    if lungs.all() or not lungs.any():
        marked = "every pixel" if lungs.any() else "no lung"
        raise UserError(path, f"the mask marks {marked}", "Get the file again, or leave its image out")
    return lungs


def _at_size(lungs: np.ndarray, shape: tuple[int, int], subject: str) -> np.ndarray:
    """Repeat or drop pixels by a whole factor, so that nothing is interpolated."""
    (rows, columns), (height, width) = lungs.shape, shape
    if height % rows == 0 and height // rows * columns == width:
        return lungs.repeat(height // rows, axis=0).repeat(height // rows, axis=1)
    if rows % height == 0 and rows // height * width == columns:
        step = rows // height
        return lungs[step // 2 :: step, step // 2 :: step]
    problem = f"the mask is {columns}x{rows} pixels but its image is {width}x{height}"
    raise UserError(subject, problem, "Give the mask that was drawn on this image")
