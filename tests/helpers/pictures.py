"""Radiographs on disk for tests of figures, and the words of a figure."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import matplotlib.text
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from covid_keras.data.cohort import Cohort
from covid_keras.data.phantom import phantom_image


def phantom_cohort(
    folder: Path, labels: Iterable[str], classes: Sequence[str], side: int = 96, unmarked: Sequence[int] = ()
) -> Cohort:
    """Phantoms i0, i1, ... with their lungs, one per label; on all but the `unmarked` stands an R."""
    rows = []
    for number, label in enumerate(labels):
        made = phantom_image(number + 1, side, marker="" if number in unmarked else "R")
        paths = [str(folder / f"{kind}{number}.png") for kind in ("image", "mask")]
        cv2.imwrite(paths[0], made.image)
        cv2.imwrite(paths[1], np.where(made.lungs > 0, 255, 0).astype(np.uint8))
        rows.append((f"i{number}", paths[0], f"p{number}", label, paths[1]))
    columns = ["image_id", "path", "patient_id", "label", "mask_path"]
    return Cohort(pd.DataFrame(rows, columns=columns), tuple(classes))


def texts(figure: Figure) -> str:
    """All text of a figure, which is drawn on the way."""
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    return "\n".join(text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text())
