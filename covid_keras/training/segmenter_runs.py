"""A paper's own lung segmenters in a run: where they are kept, what they learn from, what is published of them.

They are trained by `covid_keras.training.segmenters`; nothing here imports TensorFlow.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.common.files import fingerprint, read_record, without_folders
from covid_keras.common.settings import as_plain
from covid_keras.data.cohort import Cohort
from covid_keras.data.duplicates import duplicate_groups, find_duplicates
from covid_keras.data.splits import hold_out
from covid_keras.evaluation.overlap import OVERLAP, RECORD
from covid_keras.paper.cohorts import missing_collection
from covid_keras.paper.protocol import Protocol

if TYPE_CHECKING:
    from covid_keras.training.runfolder import RunFolder

STAGES = "segmenters"
LUNGS = "lungs"  # the one label that a cohort of masks needs
VALIDATION = 0.2


def cache_of(run: RunFolder) -> Path:
    """Return the run's cache; its prepared images are one folder of it."""
    return Path(run.settings["cache"]).parent


def folder_of(cache: Path, name: str, settings: Any, cohort: Any, seed: int) -> Path:
    """Return where a segmenter of these settings is kept, trained on this `cohort` of a protocol, divided by `seed`."""
    key = fingerprint({"settings": as_plain(settings), "cohort": cohort, "seed": seed})
    return cache / STAGES / f"{name}-{key}"


def done(folders: Mapping[str, Path]) -> dict[str, Path]:
    """Return those of the folders whose segmenter is trained and measured."""
    return {name: folder for name, folder in folders.items() if (folder / RECORD).is_file()}


def published_files(run: RunFolder, folders: Mapping[str, Path], further: Iterable[str] = ()) -> dict[str, str]:
    """Return what is kept of a run's segmenters beside its predictions.

    Parameters
    ----------
    run : RunFolder
    folders : mapping
        Name to the folder of each segmenter that the protocol trains.
    further : iterable of str
        Further text files of each folder.

    Returns
    -------
    dict
        `<name>/<file>` to text: Dice and IoU of every image, the record without folders of this machine, and `further`.

    Raises
    ------
    UserError
        Where one is not trained.
    """
    if unfinished := set(folders) - set(done(folders)):
        raise UserError(run.path, f"{min(unfinished)} is not trained yet", "Let `covid-keras reproduce` finish it")
    files = {}
    for name, folder in folders.items():
        for file in (OVERLAP, *further):
            files[f"{name}/{file}"] = (folder / file).read_text(encoding="utf-8")
        record = without_folders(read_record(folder / RECORD, ("settings",)))
        files[f"{name}/{RECORD}"] = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    return files


def kept_folders(folder: Path, profile: str, names: Iterable[str]) -> dict[str, Path]:
    """Return the folders among a paper's results in which the files of `published_files` lie, by name."""
    folders = {name: folder / f"{profile}-{name}" for name in names}
    return {name: path for name, path in folders.items() if path.is_dir()}


def phantom_masks(cohort: Cohort) -> Cohort:
    """Return a phantom's frontal radiographs, which have masks, under one label."""
    cohort = cohort.filter(~cohort.table["view"].str.startswith("L"))
    return Cohort(cohort.table.assign(label=LUNGS), (LUNGS,), cohort.name)


def missing_masks(protocol: Protocol, data: Path | None, collections: Iterable[str]) -> None:
    """Raise `UserError` where a collection with lung masks that the profile needs is missing."""
    if reason := missing_collection(collections, data):
        place = f"options of profile {protocol.profile!r}"
        raise UserError(place, reason, "`covid-keras data list` says how to get it")


def divide(protocol: Protocol, cohort: Cohort, cache: Path, synthetic: bool) -> pd.Series:
    """Return the part of each masked radiograph: 80 % training, 20 % validation, patients apart.

    Near-duplicates stay together, too, apart from those of the phantom, whose images look alike to a perceptual hash.
    """
    groups = None if synthetic else duplicate_groups(cohort, find_duplicates(cohort, cache=cache))
    split = hold_out(cohort, {"train": 1 - VALIDATION, "validation": VALIDATION}, protocol.split.seed, groups)
    return split.set_index("image_id")["split"]
