"""Preprocessing of radiographs in NumPy, without TensorFlow.

`intensity` scales grey levels and matches histograms, `enhance` and `beasf` raise local contrast, `lungs` crops to the
lungs or masks them, `framing` crops fixed fractions. No function modifies its arguments.
"""

from __future__ import annotations

from covid_keras.preprocessing.beasf import beasf
from covid_keras.preprocessing.enhance import (
    CHANNELS,
    clahe,
    enhance_stack,
    equalize_adaptive,
    equalize_histogram,
)
from covid_keras.preprocessing.framing import centre_square, drop_top, resize_truncated
from covid_keras.preprocessing.intensity import match_histogram, minmax_normalize, standardize
from covid_keras.preprocessing.lungs import (
    LungBox,
    authors_threshold,
    crop_to_lungs,
    dilate_mask,
    keep_lungs,
    lung_bounding_box,
    remove_lungs,
)

__all__ = [
    "CHANNELS",
    "LungBox",
    "authors_threshold",
    "beasf",
    "centre_square",
    "clahe",
    "crop_to_lungs",
    "dilate_mask",
    "drop_top",
    "enhance_stack",
    "equalize_adaptive",
    "equalize_histogram",
    "keep_lungs",
    "lung_bounding_box",
    "match_histogram",
    "minmax_normalize",
    "remove_lungs",
    "resize_truncated",
    "standardize",
]
