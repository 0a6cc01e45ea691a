"""One lung mask out of two: collections that keep a file for each lung (Montgomery, JSRT with SCR)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from covid_keras.data.cohort import Cohort
from covid_keras.data.images import image_size, read_mask, write_image
from covid_keras.errors import UserError

LEFT, RIGHT = "mask_left", "mask_right"


def united_masks(cohort: Cohort, folder: str | Path) -> Cohort:
    """Unite the masks of the two lungs of each image, once, and return the cohort with `mask_path` set.

    A cohort names one mask file an image. A source with a file for each lung gives `mask_left` and `mask_right`
    instead, and this function writes their union. A union that is newer than both is kept.

    Parameters
    ----------
    cohort : Cohort
        Its columns `mask_left` and `mask_right` name the two files; rows without them (of other sources joined to
        it) stay as they are, and so does a cohort without these columns.
    folder : str or Path
        Where the unions go, as `<image id>.png`: uint8, 0 and 255, at the image's size.

    Returns
    -------
    Cohort
        With `mask_path` filled in.

    Raises
    ------
    UserError
        Where a file cannot be read; the masks of one image differ in size; their sides and the image's are not the
        same or one a whole multiple of the other (SCR masks have 1024 pixels a side, the JSRT images 2048); nothing can
        be written to the folder.
    """
    if not {LEFT, RIGHT} <= set(cohort.table.columns):
        return cohort
    table = cohort.table.fillna({LEFT: "", RIGHT: ""})
    masks = []
    for row in table.itertuples():
        left, right = getattr(row, LEFT), getattr(row, RIGHT)
        if not left or not right:
            masks.append(row.mask_path)
            continue
        target = (Path(folder) / f"{row.image_id}.png").absolute()
        if not _is_newer(target, (left, right)):
            write_image(target, _union(left, right, image_size(row.path)))
        masks.append(str(target))
    return Cohort(table.assign(mask_path=masks), cohort.classes, cohort.name)


def _is_newer(target: Path, sources: tuple[str, str]) -> bool:
    try:
        made = target.stat().st_mtime
        return all(Path(source).stat().st_mtime <= made for source in sources)
    except OSError:  # no union yet, or a mask that reading it will name
        return False


def _union(left: str, right: str, shape: tuple[int, int]) -> np.ndarray:
    """Return the union, uint8 (H, W) of 0 and 255, at `shape`."""
    first = read_mask(left)
    lungs = _foreground(first) | _foreground(read_mask(right, first.shape))
    return np.where(_at_size(lungs, shape, left), 255, 0).astype(np.uint8)


def _foreground(mask: np.ndarray) -> np.ndarray:
    """Tell lung in a mask of 0 and 255 as well as of 0 and 1."""
    return mask > mask.max() / 2


def _at_size(lungs: np.ndarray, shape: tuple[int, int], subject: str) -> np.ndarray:
    """Repeat or drop pixels by a whole factor, so that nothing is interpolated."""
    (rows, columns), (height, width) = lungs.shape, shape
    if height % rows == 0 and height // rows * columns == width:
        return lungs.repeat(height // rows, axis=0).repeat(height // rows, axis=1)
    if rows % height == 0 and rows // height * width == columns:
        step = rows // height
        return lungs[step // 2 :: step, step // 2 :: step]
    raise UserError(
        subject,
        f"the mask is {columns}x{rows} pixels but its image is {width}x{height}",
        "Give the mask that was drawn on this image",
    )
