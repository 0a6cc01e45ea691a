"""Reference reproduction suite for four papers on COVID-19 in chest radiographs.

Importing these imports TensorFlow: `covid_keras.segmentation`; of `models` all that build a network, `lungs` and
`weights`; of `training` `devices`, `execution`, `losses`, `lung_recipe`, `margin`, `networks`, `resume`, `segmenters`
and `weighted`; `explain.gradcam` and `explain.network`; `data.augment` and `data.pipeline`; `reporting.examples`.
Nothing else does: neither this package nor its subpackages as such (`import covid_keras.data`), whose names that need
TensorFlow import it on first use.

Research software: not a medical device, not for diagnosis.
"""

__version__ = "0.1.0"

DISCLAIMER = "For research only. Not a medical device: nothing here may be used to diagnose, treat or triage a patient."
