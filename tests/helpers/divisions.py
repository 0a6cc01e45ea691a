"""Cohorts without files, and how a division shares out their images."""

from __future__ import annotations

import numpy as np
import pandas as pd

from covid_keras.data.cohort import Cohort
from covid_keras.paper.protocol import Protocol
from covid_keras.training.division import divide

NO_PAIRS = pd.DataFrame({"image_id_a": [], "image_id_b": []})


def cohort_of(classes: tuple[str, ...], patients: int, most: int = 3) -> Cohort:
    """Return so many patients of each label, of one to `most` images each."""
    rng = np.random.default_rng(0)
    rows = [
        {"patient_id": f"{label}{patient}", "label": label}
        for label in classes
        for patient in range(patients)
        for _ in range(rng.integers(1, most + 1))
    ]
    ids = [f"i{number:04d}" for number in range(len(rows))]
    return Cohort(pd.DataFrame(rows).assign(image_id=ids, path=ids), classes, "made")


def divided(protocol: Protocol, split: str, cohort: Cohort) -> pd.DataFrame:
    """Return the table of a division of the protocol, no images alike."""
    return divide(cohort, protocol.split_of(split), NO_PAIRS)


def shares_of(table: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Return the share of each label's images in each part."""
    found = table.groupby("label")["split"].value_counts(normalize=True).unstack(fill_value=0.0)
    return found.to_dict("index")
