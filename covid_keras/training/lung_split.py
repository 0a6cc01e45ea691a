"""The radiographs of the shipped U-Net and their split."""

from __future__ import annotations

from pathlib import Path

from covid_keras.common.errors import UserError
from covid_keras.data.cohort import Cohort
from covid_keras.data.sources import load_source
from covid_keras.data.splits import read_split
from covid_keras.models.registry import FOLDER

# Patients and near-duplicates disjoint, 80/20. Fixed, so that later models (and other papers' segmenters) are evaluated
# on the same patients.
SPLIT = FOLDER / "lungs_unet16_split.csv"


def load_lung_cohort(data: Path) -> Cohort:
    """Return the radiographs with human masks that are in the split.

    Raises
    ------
    UserError
        If images of the split are missing.
    """
    cohort = load_source("darwin_v7", data)
    named = set(read_split(SPLIT)["image_id"])
    if missing := sorted(named - set(cohort.table["image_id"])):
        raise UserError(
            data,
            f"lacks {len(missing)} of the {len(named)} radiographs of the recipe, e.g. {missing[0]}",
            "See `covid-keras data check darwin_v7 cohen`",
        )
    return cohort.filter(cohort.table["image_id"].isin(named))
