"""The paper's ResUNet in a run: trained where it marks the lungs, else once the classifiers are done; kept.

It is compared with the U-Net that the suite ships, image by image, on the validation part, of which neither has seen a
patient; that U-Net chose nothing there, the ResUNet its epoch.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.common.files import atomic_path
from covid_keras.data.cohort import Cohort, read_table
from covid_keras.data.sources import darwin_v7_whole, load_source
from covid_keras.data.splits import read_split
from covid_keras.evaluation import Measured, bootstrap_mean
from covid_keras.evaluation.overlap import measured_part, parts_of, read_overlap
from covid_keras.models.registry import FOLDER
from covid_keras.paper.cohorts import missing_collection
from covid_keras.paper.protocol import Protocol
from covid_keras.training import segmenter_runs
from covid_keras.training.lung_split import SPLIT, load_lung_cohort
from covid_keras.training.segmenter_runs import LUNGS, cache_of
from papers.hertel_ensemble.cohorts import make_cohort, settings_of
from papers.hertel_ensemble.segmenter import SegmenterSettings, segmenter_settings

if TYPE_CHECKING:
    from covid_keras.training.runfolder import RunFolder

__all__ = ["NAME", "cache_of", "compared_masks", "done", "finish", "kept", "measured", "missing", "segmenter"]

NAME = "resunet"
# Whose masks a profile's cohort of radiographs comes with: the paper's; Cohen's images of the same collection.
MASKED = {"phantom": (), "stand_in": ("darwin_v7",), "published": ("darwin_v7_whole",)}
# Of a trained ResUNet's folder: Dice and IoU of the shipped U-Net on its validation images.
SHIPPED = "shipped.csv"
SHIPPED_DICE = FOLDER / "lungs_unet16_dice.csv"


def segmenter(protocol: Protocol, data: Path | None, cache: Path) -> Any:
    """Return what marks the lungs, trained here where it is the paper's own; None: the shipped U-Net."""
    if protocol.options.get("masks") == "shipped":
        return None
    from covid_keras.training.segmenters import TrainedSegmenter
    from papers.hertel_ensemble.segmenter import kind

    return TrainedSegmenter(kind(), _trained(protocol, data, cache))


def finish(protocol: Protocol, data: Path | None, cache: Path) -> None:
    """Train, measure and compare the ResUNet where the protocol has one; say so where there are no masks for it."""
    if segmenter_settings(protocol) is None:
        return
    if reason := missing(protocol, data):
        print(f"Left out: {NAME}: {reason}", flush=True)
        return
    _trained(protocol, data, cache)


def missing(protocol: Protocol, data: Path | None) -> str | None:
    """Return None where the radiographs with lung masks are at hand, else what is missing."""
    return missing_collection(MASKED[settings_of(protocol).kind], data)


def folder_of(protocol: Protocol, cache: Path) -> Path:
    """Return where the ResUNet of this protocol is kept; it must train one."""
    kind = settings_of(protocol).kind
    # Which radiographs the classifiers get decides nothing here, but where they are the phantom's.
    cohort = protocol.cohort if kind == "phantom" else {"kind": kind}
    return segmenter_runs.folder_of(cache, NAME, _settings(protocol), cohort, protocol.split.seed)


def done(run: RunFolder) -> dict[str, Path]:
    """Return the folder of a run's ResUNet by its name, where it is trained, measured and compared."""
    folders = segmenter_runs.done(_folders(run))
    return {name: folder for name, folder in folders.items() if (folder / SHIPPED).is_file()}


def measured(run: RunFolder) -> list[Measured]:
    """Return Dice and IoU of the ResUNet on its training and validation images, where it is done."""
    return [one for folder in done(run).values() for one in measured_of(folder)]


def measured_of(folder: Path) -> list[Measured]:
    """Return `dice_<part>` and `iou_<part>` in percent, of masks at the radiograph's own size; see `measured_part`."""
    return [one for name, part in parts_of(read_overlap(folder)) for one in measured_part(part, NAME, name)]


def published_files(run: RunFolder) -> dict[str, str]:
    """Return what is kept of the ResUNet beside a run's predictions: Dice and IoU of every image, the shipped one's."""
    folders = _folders(run)
    if unfinished := set(folders) - set(done(run)):
        raise UserError(run.path, f"{min(unfinished)} is not trained yet", "Let `covid-keras reproduce` finish it")
    return segmenter_runs.published_files(run, folders, (SHIPPED,))


def kept(folder: Path, profile: str) -> list[Measured]:
    """Return what `measured` gave, from the files that were published."""
    folders = segmenter_runs.kept_folders(folder, profile, (NAME,))
    return [one for path in folders.values() for one in measured_of(path)]


# -------------------------------------------------------------------------------------------- beside the shipped U-Net


def compared_masks(run: RunFolder | Path) -> pd.DataFrame:
    """Return Dice of the ResUNet and of the shipped U-Net, a row a validation image that both marked.

    Parameters
    ----------
    run : RunFolder or Path
        A run, or the folder in which `overlap.csv` and `shipped.csv` of its ResUNet lie (also as published).

    Returns
    -------
    pandas.DataFrame
        `image_id`, `patient_id`, `dice` and `dice_shipped`, 0..1, of masks at the radiograph's own size from a
        probability of 0.5 on; those of the shipped U-Net filled and freed of islands, as it is used. No row where the
        ResUNet is not done.
    """
    columns = ["image_id", "patient_id", "dice", "dice_shipped"]
    folder = run if isinstance(run, Path) else done(run).get(NAME)
    if folder is None:
        return pd.DataFrame(columns=columns)
    shipped = read_table(folder / SHIPPED, ("image_id", "dice")).astype({"dice": np.float64})
    shipped = shipped[["image_id", "dice"]].rename(columns={"dice": "dice_shipped"})
    table = read_overlap(folder)
    return table[table["part"] == "validation"].merge(shipped, on="image_id", validate="one_to_one")[columns]


def paired_difference(frame: pd.DataFrame) -> dict[str, float | int]:
    """Return the mean of ResUNet minus shipped U-Net over images, of a frame as `compared_masks` gives it.

    Returns
    -------
    dict
        `images`, `patients`; `mean`, `low`, `high`: the difference of Dice, -1..1, with its 95 % interval by bootstrap
        over patients; `wins`, `losses`, `ties`: images on which the ResUNet's Dice is larger, smaller, the same.

    Raises
    ------
    ValueError
        Where there is no image.
    """
    difference = (frame["dice"] - frame["dice_shipped"]).to_numpy()
    mean, low, high = bootstrap_mean(difference, frame["patient_id"].tolist())
    return {
        "images": len(frame),
        "patients": int(frame["patient_id"].nunique()),
        "mean": mean,
        "low": low,
        "high": high,
        "wins": int((difference > 0).sum()),
        "losses": int((difference < 0).sum()),
        "ties": int((difference == 0).sum()),
    }


def _shipped_overlap(protocol: Protocol, validation: Cohort) -> pd.DataFrame:
    """Return `image_id`, `dice` and `iou` of the shipped U-Net on validation images.

    On the division that it was trained on itself it was measured when it was made. Of another division, patients that
    it learned from are left out.
    """
    if settings_of(protocol).kind == "stand_in":
        table = read_table(SHIPPED_DICE, ("image_id", "dice", "iou"))
        return table.loc[table["image_id"].isin(validation.table["image_id"]), ["image_id", "dice", "iou"]]
    from covid_keras.models.lungs import LungSegmenter
    from covid_keras.training.lung_recipe import measure

    split = read_split(SPLIT)
    learnt = validation.table["patient_id"].isin(split.loc[split["split"] == "train", "patient_id"])
    shipped = LungSegmenter()
    return measure(shipped.model, validation.filter(~learnt), shipped.threshold)[["image_id", "dice", "iou"]]


# -------------------------------------------------------------------------------------------- training


def mask_cohort(protocol: Protocol, data: Path | None, cache: Path) -> Cohort:
    """Return the masked radiographs that the ResUNet learns from: the whole Darwin set, Cohen's of it, the phantom's.

    Of the whole set those that the paper takes: frontal, no side below 256 pixels.
    """
    kind = settings_of(protocol).kind
    if kind == "phantom":
        return segmenter_runs.phantom_masks(make_cohort(protocol, data, cache / "made"))
    segmenter_runs.missing_masks(protocol, data, MASKED[kind])
    if kind == "stand_in":
        cohort = load_lung_cohort(data)
    else:
        whole = darwin_v7_whole.frontal_and_large(load_source("darwin_v7_whole", data))
        cohort = darwin_v7_whole.draw_masks(whole, cache / "darwin-masks")
    return Cohort(cohort.table.assign(label=LUNGS, severity=""), (LUNGS,), cohort.name)


def division(protocol: Protocol, cohort: Cohort, cache: Path) -> pd.Series:
    """Return the part of each masked radiograph; Cohen's as those of the shipped U-Net, to be compared with it."""
    kind = settings_of(protocol).kind
    if kind == "stand_in":
        return read_split(SPLIT).set_index("image_id")["split"]
    return segmenter_runs.divide(protocol, cohort, cache, synthetic=kind == "phantom")


def _settings(protocol: Protocol) -> SegmenterSettings:
    settings = segmenter_settings(protocol)
    if settings is None:
        raise UserError("protocol.yaml", "options.masks is shipped, no ResUNet is trained", "Give options.segmenter")
    return settings


def _folders(run: RunFolder) -> dict[str, Path]:
    if segmenter_settings(run.protocol) is None:
        return {}
    return {NAME: folder_of(run.protocol, cache_of(run))}


def _trained(protocol: Protocol, data: Path | None, cache: Path) -> Path:
    """Return the folder of the ResUNet, trained, measured, and compared with the shipped U-Net."""
    from covid_keras.training.segmenters import train_segmenter
    from papers.hertel_ensemble.segmenter import kind

    cohort = mask_cohort(protocol, data, cache)
    split = division(protocol, cohort, cache)
    folder = train_segmenter(kind(), NAME, _settings(protocol), cohort, split, folder_of(protocol, cache))
    if not (folder / SHIPPED).is_file():
        validation = cohort.filter(cohort.table["image_id"].map(split) == "validation")
        with atomic_path(folder / SHIPPED) as temporary:
            _shipped_overlap(protocol, validation).to_csv(temporary, index=False)
    return folder
