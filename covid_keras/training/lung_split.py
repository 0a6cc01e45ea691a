"""The radiographs with human masks behind the shipped lung networks, and their splits."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.data.cohort import Cohort
from covid_keras.data.sources import get_source, load_source
from covid_keras.data.sources.united_masks import binary_masks
from covid_keras.data.splits import read_split
from covid_keras.models.registry import FOLDER, LUNG_NETWORKS
from covid_keras.training.segmenter_runs import lung_cohort

# Convention -> collections whose human masks follow it.
COLLECTIONS = {"fields": ("montgomery", "shenzhen"), "whole": ("darwin_v7",)}
# Collections of the same convention that are only measured, if available: SCR's masks may not be passed on.
MEASURED = {"fields": ("jsrt",), "whole": ()}
# Patients and near-duplicates disjoint, 80/20. Fixed, so that later models (and other papers' segmenters) are evaluated
# on the same patients.
SPLITS = {lungs: FOLDER / f"{name}_split.csv" for lungs, name in LUNG_NETWORKS.items()}
SPLIT = SPLITS["whole"]


def load_masked(names: tuple[str, ...], data: Path, made: Path) -> Cohort:
    """Return the radiographs of collections that have human masks: 255 lung, 127 ignored.

    Parameters
    ----------
    names : tuple of str
        Collections with masks.
    data : Path
        Root of the collections.
    made : Path
        Folder for masks that have to be united or made binary.
    """
    tables = []
    for name in names:
        cohort = load_source(name, data)
        if name != "darwin_v7":  # whose 127 must stay
            cohort = binary_masks(cohort, made)
        tables.append(cohort.table[cohort.table["mask_path"] != ""])
    return lung_cohort(pd.concat(tables), " and ".join(names))


def load_lung_cohort(data: Path, lungs: str = "whole", made: Path | None = None) -> Cohort:
    """Return the radiographs with human masks that are in the split of a convention.

    Parameters
    ----------
    data : Path
        Root of the collections.
    lungs : {"fields", "whole"}
    made : Path, optional
        See `load_masked`; default `masks` in the working directory, unused for "whole".

    Raises
    ------
    UserError
        If images of the split are missing.
    """
    names = COLLECTIONS[lungs]
    cohort = load_masked(names, data, made or Path("masks"))
    named = set(read_split(SPLITS[lungs])["image_id"])
    if missing := sorted(named - set(cohort.table["image_id"])):
        raise UserError(
            data,
            f"lacks {len(missing)} of the {len(named)} radiographs of the recipe, e.g. {missing[0]}",
            f"See `covid-keras data check {' '.join(names)}`",
        )
    return cohort.filter(cohort.table["image_id"].isin(named))


def load_measured(data: Path, lungs: str, made: Path) -> Cohort | None:
    """Return the radiographs of the collections that are only measured; None if none is available."""
    names = tuple(name for name in MEASURED[lungs] if get_source(name).locate(data))
    return load_masked(names, data, made) if names else None
