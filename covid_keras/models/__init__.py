"""Model builders, each returning an uncompiled, flat `keras.Model`, and the loading of weight files.

TensorFlow is imported when the first name is used, not when this package is.
"""

from covid_keras._lazy import lazy_exports

_EXPORTS = {
    "build_unet": "covid_keras.models.unet",
    "build_resnet50": "covid_keras.models.resnet",
    "load_weights": "covid_keras.models.weights",
    "save_weights": "covid_keras.models.weights",
    "LungSegmenter": "covid_keras.models.lungs",
}
__getattr__, __dir__, __all__ = lazy_exports(__name__, _EXPORTS)
