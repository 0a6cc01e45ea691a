"""Model builders, which return uncompiled, flat `keras.Model` objects, and loading of weight files.

TensorFlow is imported when a name is first used.
"""

from covid_keras.common.lazy import lazy_exports

_EXPORTS = {
    "build_unet": "covid_keras.models.unet",
    "build_resunet": "covid_keras.models.resunet",
    "build_base_cnn": "covid_keras.models.cxnet",
    "build_chexnet": "covid_keras.models.cxnet",
    "build_cxnet": "covid_keras.models.cxnet",
    "build_covid_caps": "covid_keras.models.capsules",
    "build_covidnet": "covid_keras.models.covidnet",
    "build_resnet18": "covid_keras.models.resnet18",
    "build_resnet50": "covid_keras.models.resnet",
    "build_vgg": "covid_keras.models.vgg",
    "load_weights": "covid_keras.models.weights",
    "save_weights": "covid_keras.models.weights",
    "LungSegmenter": "covid_keras.models.lungs",
}
__getattr__, __dir__, __all__ = lazy_exports(__name__, _EXPORTS)
