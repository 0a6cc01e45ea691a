"""Share of a heat map on the lungs, and the share expected by chance."""

from __future__ import annotations

import numpy as np


def heat_in_lungs(heat: np.ndarray, mask: np.ndarray) -> float:
    """Return the share of a heat map's sum that is on the lungs.

    Compare it with `lung_area_share`, the share of evenly spread heat.

    Parameters
    ----------
    heat : ndarray (H, W), not negative
        A heat map, as from `grad_cam`; any scale.
    mask : ndarray (H, W)
        Lung mask in the same geometry; `mask > 0` is lung.

    Returns
    -------
    float
        0 to 1; NaN if the heat is zero everywhere.

    Raises
    ------
    ValueError
        If the shapes differ, or heat is negative or not finite.

    Examples
    --------
    >>> heat_in_lungs(np.array([[3.0, 1.0]]), np.array([[255, 0]]))
    0.75
    """
    heat, lungs = np.asarray(heat, dtype=np.float64), _as_lungs(mask)
    if heat.shape != lungs.shape:
        raise ValueError(f"heat and mask must have the same shape (got {heat.shape} and {lungs.shape})")
    if not np.isfinite(heat).all() or (heat < 0).any():
        raise ValueError("heat must be finite and not negative")
    total = heat.sum()
    return float(heat[lungs].sum() / total) if total > 0 else float("nan")


def lung_area_share(mask: np.ndarray) -> float:
    """Return the share of the picture that is lung (0 to 1): the share of evenly spread heat.

    Parameters
    ----------
    mask : ndarray (H, W)
        Lung mask; `mask > 0` is lung.
    """
    return float(_as_lungs(mask).mean())


def _as_lungs(mask: np.ndarray) -> np.ndarray:
    lungs = np.asarray(mask) > 0
    if lungs.ndim != 2 or lungs.size == 0:
        raise ValueError(f"mask must have the shape (H, W) and at least one pixel (got {lungs.shape})")
    return lungs
