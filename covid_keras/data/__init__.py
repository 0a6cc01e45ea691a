"""Radiographs: sources, cohorts, splits, near-duplicates, preparation and `tf.data` input.

Importing this package does not import TensorFlow; names that need it are imported on first use.
"""

from __future__ import annotations

from covid_keras.common.lazy import lazy_exports

_NAMES = {
    "cohort": ("Cohort", "severity_level"),
    "images": ("read_image", "read_radiograph", "read_mask", "write_image", "image_size"),
    "splits": ("patient_folds", "hold_out", "check_disjoint", "write_split", "read_split"),
    "duplicates": ("find_duplicates", "duplicate_groups", "perceptual_hash"),
    "download": ("safe_unpack",),
    "phantom": ("phantom_image", "make_phantom"),
    "sources": ("SOURCES", "get_source", "load_source", "check_source"),
    "preparation": ("Preparation",),
    "prepared_images": ("PreparedImages", "prepare_image", "prepare_cohort"),
    "scalings": ("samplewise_standardize",),
    # These two import TensorFlow.
    "augment": ("Augmentation", "augment_batch"),
    "pipeline": ("make_dataset",),
}

__getattr__, __dir__, __all__ = lazy_exports(
    __name__, {name: f"{__name__}.{module}" for module, names in _NAMES.items() for name in names}
)
