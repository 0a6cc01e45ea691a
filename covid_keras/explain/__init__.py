"""Why a network answered what it answered: Grad-CAM, and how much of its evidence lies in the lungs.

TensorFlow is imported when `grad_cam` is first used, not when this package is.
"""

from covid_keras._lazy import lazy_exports

_EXPORTS = {
    "grad_cam": "covid_keras.explain.gradcam",
    "heat_in_lungs": "covid_keras.explain.where",
    "lung_area_share": "covid_keras.explain.where",
}
__getattr__, __dir__, __all__ = lazy_exports(__name__, _EXPORTS)
