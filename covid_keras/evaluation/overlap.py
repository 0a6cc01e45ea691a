"""Dice and IoU of lung masks against human ones."""

from __future__ import annotations

import numpy as np
import pandas as pd

from covid_keras.data.sources.darwin_v7 import IGNORE, LUNG


def mask_overlap(mask: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Return Dice and IoU of a mask (0/255) against a human one (255 lung, 127 not counted), at full size."""
    counts = truth != IGNORE
    marked, lung = (mask > 127) & counts, (truth == LUNG) & counts
    both, either = np.count_nonzero(marked & lung), np.count_nonzero(marked | lung)
    total = np.count_nonzero(marked) + np.count_nonzero(lung)
    return (2 * both / total if total else 1.0), (both / either if either else 1.0)


def summarise_overlap(table: pd.DataFrame) -> dict[str, float | None]:
    """Return mean, percentiles and extremes of Dice and IoU over images, rounded to four digits.

    Parameters
    ----------
    table : pandas.DataFrame
        A row an image: `patient_id`, `dice`, `iou` (0..1).

    Returns
    -------
    dict
        `images`, `patients`; for each measure `<measure>_mean`, `_std` (ddof 1; None for one image), `_min`, `_max`
        and the percentiles `_p5`, `_p25`, `_p50`, `_p75`, `_p95`.
    """
    values: dict[str, float | None] = {"images": len(table), "patients": int(table["patient_id"].nunique())}
    for name in ("dice", "iou"):
        column = table[name]
        values |= {
            f"{name}_mean": column.mean(),
            f"{name}_std": column.std(ddof=1) if len(column) > 1 else None,
            f"{name}_min": column.min(),
            f"{name}_max": column.max(),
        }
        values |= {f"{name}_p{p}": np.percentile(column, p) for p in (5, 25, 50, 75, 95)}
    return {key: round(float(value), 4) if isinstance(value, float) else value for key, value in values.items()}
