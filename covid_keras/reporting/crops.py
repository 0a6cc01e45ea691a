"""Figure of lung crops: the radiograph with lungs and box, the crop, and the network's input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from covid_keras.data.images import read_image, read_mask
from covid_keras.data.preparation import Preparation, crop_box
from covid_keras.preprocessing import LungBox
from covid_keras.reporting.pictures import aspect, picture_grid, short_name, show_radiograph
from covid_keras.reporting.style import LUNG_OUTLINE, OKABE_ITO, report_style

SIDE = 320  # longest side of a picture, pixels
BOX_COLOUR = OKABE_ITO["vermilion"]


def read_lungs(row, preparation: Preparation) -> tuple[np.ndarray, np.ndarray | None]:
    """Return image (H, W) uint8 and lungs (H, W) bool of a row of a cohort's table; None without a mask."""
    image = read_image(row.path)
    return image, read_mask(row.mask_path, image.shape) > preparation.mask_threshold if row.mask_path else None


def fit(image: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Resize a picture, or a mask by nearest neighbour, to (height, width)."""
    if image.dtype == np.uint8:
        shrinks = size[0] <= image.shape[0] and size[1] <= image.shape[1]
        return cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    kind = np.uint8 if image.dtype == bool else np.int32
    found = cv2.resize(image.astype(kind), (size[1], size[0]), interpolation=cv2.INTER_NEAREST)
    return found.astype(image.dtype)


@dataclass(frozen=True, eq=False)
class Roi:
    """A radiograph, (H, W) uint8, its lungs, (H, W) bool, their box in its pixels, and the network's input.

    `fed` is (h, w, C) uint8.
    """

    image: np.ndarray
    lungs: np.ndarray
    box: LungBox
    fed: np.ndarray
    name: str
    label: str

    @classmethod
    def of(cls, row, preparation: Preparation, fed: np.ndarray) -> Roi:
        """Read the image and mask of a row of a cohort's table; shrunk to the report's size."""
        image, lungs = read_lungs(row, preparation)
        lungs = np.zeros(image.shape, bool) if lungs is None else lungs
        box = crop_box(lungs, preparation)
        scale = min(1.0, SIDE / max(image.shape))
        size = [max(1, round(side * scale)) for side in image.shape]
        rows, columns = size[0] / image.shape[0], size[1] / image.shape[1]
        top, bottom = int(box.top * rows), max(1, round(box.bottom * rows))
        left, right = int(box.left * columns), max(1, round(box.right * columns))
        small = LungBox(top, max(bottom, top + 1), left, max(right, left + 1), box.whole)
        return cls(fit(image, size), fit(lungs, size), small, fed, row.image_id, row.label)


@report_style()
def roi_figure(cases: Sequence[Roi], inputs: Sequence[str], title: str = "From the radiograph to the input") -> Figure:
    """Draw one row per image: radiograph with lungs and box, crop, and the channels of the input named in `inputs`."""
    figure, grid = picture_grid(title, [max(aspect(case.image), 1) for case in cases], 2 + len(inputs))
    for (plain, crop, *fed), case in zip(grid, cases, strict=True):
        show_radiograph(plain, case.image, case.lungs, short_name(case.name, 15), case.label)
        box = case.box
        corner, width, height = (box.left - 0.5, box.top - 0.5), box.right - box.left, box.bottom - box.top
        plain.add_patch(Rectangle(corner, width, height, fill=False, color=BOX_COLOUR, linestyle="--", lw=1.4))
        cut = case.image[box.slices]
        share = 100 * cut.size / case.image.size
        below = "no lung found: all of it" if box.whole else f"{share:.0f} % of the picture"
        show_radiograph(crop, cut, None, "crop", below)
        for number, (axes, name) in enumerate(zip(fed, inputs, strict=True)):
            show_radiograph(axes, case.fed[..., number], title=name)
    for axes in grid.flat:
        axes.xaxis.label.set_fontsize(8.5)
    figure.legend(
        handles=[
            Line2D([], [], color=LUNG_OUTLINE, label="lungs found"),
            Line2D([], [], color=BOX_COLOUR, linestyle="--", label="box"),
        ],
        loc="outside lower right",
        ncols=2,
    )
    return figure
