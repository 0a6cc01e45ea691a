"""Explain predictions: Grad-CAM, LIME, and the shares of heat in the lungs or on text.

Names are imported on first use, so importing this package does not import TensorFlow.
"""

from covid_keras.common.lazy import lazy_exports

_GRADCAM = "covid_keras.explain.gradcam"
_EXPORTS = {
    "grad_cam": _GRADCAM,
    "authors_grad_cam": _GRADCAM,
    "LimeExplanation": "covid_keras.explain.lime_map",
    "explain_by_lime": "covid_keras.explain.lime_map",
    "find_text": "covid_keras.explain.text",
    "conceal": "covid_keras.explain.text",
    "text_effect": "covid_keras.explain.text",
    "heat_shares": "covid_keras.explain.shares",
    "compare_shares": "covid_keras.explain.shares",
    "heat_in_lungs": "covid_keras.explain.where",
    "lung_area_share": "covid_keras.explain.where",
}
__getattr__, __dir__, __all__ = lazy_exports(__name__, _EXPORTS)
