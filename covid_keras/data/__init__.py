"""What images there are, who is in which set, and how they are fed.

Importing this package does not import TensorFlow: `make_dataset` and what else needs it is imported on
first use.
"""

from __future__ import annotations

import importlib
from typing import Any

# name -> module that holds it; imported on first use, so that `--help` answers at once.
_EXPORTS = {
    "Cohort": "cohort", "severity_level": "cohort",
    "read_image": "images", "read_mask": "images", "write_image": "images", "image_size": "images",
    "patient_folds": "splits", "hold_out": "splits", "check_disjoint": "splits", "write_split": "splits",
    "read_split": "splits", "split_counts": "splits",
    "find_duplicates": "duplicates", "duplicate_groups": "duplicates",
    "hash_cohort": "duplicates", "perceptual_hash": "duplicates",
    "phantom_image": "phantom", "make_phantom": "phantom",
    "SOURCES": "sources", "get_source": "sources", "load_source": "sources", "check_source": "sources",
    "Preparation": "preparation", "PreparedImages": "preparation",
    "prepare_image": "preparation", "prepare_cohort": "preparation",
    # These import TensorFlow.
    "Augmentation": "augment", "augment_batch": "augment", "make_dataset": "pipeline",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
