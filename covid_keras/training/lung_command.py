"""`covid-keras train-lungs`: the recipe behind the shipped U-Net, run again by anyone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from covid_keras._quiet import import_tensorflow
from covid_keras.data.cohort import Cohort
from covid_keras.data.locations import require_data
from covid_keras.data.sources import load_source
from covid_keras.data.splits import check_disjoint, read_split
from covid_keras.errors import UserError
from covid_keras.files import require_writable_folder, write_json
from covid_keras.models.registry import FOLDER
from covid_keras.training.choices import PRECISIONS, require_choice

# Patients and near-duplicates disjoint, 80/20; written once and read ever since, so that later models (and other
# papers' segmenters) are measured on the same patients.
SPLIT = FOLDER / "lungs_unet16_split.csv"


def load_lung_cohort(data: Path) -> Cohort:
    """Return the radiographs with human masks, those that the split names.

    Raises
    ------
    UserError
        Where images of the split are missing.
    """
    cohort = load_source("darwin_v7", data)
    named = set(read_split(SPLIT)["image_id"])
    if missing := sorted(named - set(cohort.table["image_id"])):
        raise UserError(
            data,
            f"lacks {len(missing)} of the {len(named)} radiographs of the recipe, e.g. {missing[0]}",
            "`covid-keras data check darwin_v7 cohen` shows what is there",
        )
    return cohort.filter(cohort.table["image_id"].isin(named))


def train_lungs(given: Path | None, out: Path, epochs: int | None, precision: str) -> Path:
    """Train, measure and write the lung U-Net into `out`; return it."""
    require_choice("--precision", precision, PRECISIONS)
    if epochs is not None and epochs < 1:
        raise UserError(f"--epochs {epochs}", "must be at least 1", "Leave it out for the shipped recipe")
    cohort = load_lung_cohort(require_data(given))
    require_writable_folder(out)
    table = read_split(SPLIT)
    check_disjoint(table, cohort)
    import_tensorflow()
    from covid_keras.training.lung_recipe import LungRecipe, run_recipe
    from covid_keras.training.provenance import provenance

    recipe = LungRecipe(precision=PRECISIONS[precision])
    recipe = recipe if epochs is None else dataclasses.replace(recipe, epochs=epochs)
    summary = run_recipe(cohort, table.set_index("image_id")["split"], out, recipe)
    write_json(out / "provenance.json", provenance(cohort=cohort.fingerprint(), dice=summary))
    return out
