"""Reference reproduction suite for four papers on COVID-19 in chest radiographs.

Research software: not a medical device, not for diagnosis.
"""

from covid_keras.common.lazy import lazy_exports

__version__ = "0.2.0"

DISCLAIMER = "For research only. Not a medical device: nothing here may be used to diagnose, treat or triage a patient."

# Nothing heavy is imported before one of these is used.
__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "Prediction": "covid_keras.inference.answers",
        "predict": "covid_keras.inference.library",
        "segment": "covid_keras.inference.library",
        "evaluate": "covid_keras.reporting.evaluation",
        "UserError": "covid_keras.common.errors",
    },
)
