"""Synthetic chest radiographs with known truth: lungs, opacities, extent, hospital, markers.

Used if no real radiographs are available, and as ground truth for tests. Results on it say nothing about patients.
"""

from covid_keras.data.phantom.collection import (
    GENERATOR_VERSION,
    TABIK_SEVERITIES,
    PhantomSettings,
    make_phantom,
    plan_collection,
)
from covid_keras.data.phantom.opacities import lung_points, measure_extent
from covid_keras.data.phantom.sample import HOSPITALS, LABELS, VIEWS, PhantomSample, phantom_image

__all__ = [
    "GENERATOR_VERSION",
    "HOSPITALS",
    "LABELS",
    "TABIK_SEVERITIES",
    "VIEWS",
    "PhantomSample",
    "PhantomSettings",
    "lung_points",
    "make_phantom",
    "measure_extent",
    "phantom_image",
    "plan_collection",
]
