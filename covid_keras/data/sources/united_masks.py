"""Convert the lung masks of collections to one mask per image with values 0 and 255.

Training on masks takes only 255 as lung, but collections have masks of 0 and 1, soft borders, or one file per lung
(Montgomery, JSRT with SCR). Do not use this for the masks of `darwin_v7`: their third value, 127, means "ignore".
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
    """Raise `UserError` if an image of `paths` has only one of the columns `mask_left` and `mask_right`."""
    one_only = (masks[LEFT] == "") != (masks[RIGHT] == "")
    if one_only.any():
        problem = "has the mask of one lung only"
        raise UserError(paths[int(one_only.argmax())], problem, "Unpack the masks of both lungs again")


def binary_masks(cohort: Cohort, folder: str | Path) -> Cohort:
    """Write masks of 0 and 255 for images with masks; return the cohort with `mask_path` set to them.

    Pixels of at least half the maximum of a file are lung. Existing masks newer than their sources are reused.

    Parameters
    ----------
    cohort : Cohort
        `mask_path` gives a single file; `mask_left` and `mask_right`, which take precedence, give two files to unite.
        Rows without masks are not changed.
    folder : str or Path
        Output folder for `<image id>.png`: uint8, 0 and 255, at the image's size.

    Returns
    -------
    Cohort
        With `mask_path` filled in.

    Raises
    ------
    UserError
        If a file cannot be read; a file or mask marks no pixel or every pixel; the masks of an image differ in size;
        the sizes of mask and image are not equal or an integer multiple of each other (SCR masks have 1024 pixels per
        side, JSRT images 2048); the folder is not writable.
    """
    # The columns are empty for images of other collections.
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
    except OSError:  # no mask yet; a missing source raises when it is read
        return False


def _binary(sources: tuple[str, ...], shape: tuple[int, int]) -> np.ndarray:
    """Return the union of one or two mask files, uint8 (H, W) of 0 and 255, at size `shape`."""
    first, *others = sources
    lungs = _lungs(first)
    for other in others:
        lungs = lungs | _lungs(other, lungs.shape)
    return np.where(_some(_at_size(lungs, shape, first), first), 255, 0).astype(np.uint8)


def _lungs(path: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Read a mask file with values 0 and 255, 0 and 1, one value per lung (0, 1, 2), or soft borders."""
    mask = read_mask(path, shape, labels=True)
    return _some(mask >= max(mask.max() / 2, 0.5), path)


def _some(lungs: np.ndarray, path: str) -> np.ndarray:
    """Raise `UserError` if a mask marks no pixel or every pixel."""
    if lungs.all() or not lungs.any():
        marked = "every pixel" if lungs.any() else "no lung"
        raise UserError(path, f"the mask marks {marked}", "Get the file again, or leave its image out")
    return lungs


def _at_size(lungs: np.ndarray, shape: tuple[int, int], subject: str) -> np.ndarray:
    """Resize by an integer factor, without interpolation."""
    (rows, columns), (height, width) = lungs.shape, shape
    if height % rows == 0 and height // rows * columns == width:
        return lungs.repeat(height // rows, axis=0).repeat(height // rows, axis=1)
    if rows % height == 0 and rows // height * width == columns:
        step = rows // height
        return lungs[step // 2 :: step, step // 2 :: step]
    problem = f"the mask is {columns}x{rows} pixels but its image is {width}x{height}"
    raise UserError(subject, problem, "Give the mask of this image")
