"""The paper's ResUNet in a run, compared with the shipped U-Net.

The comparison is paired, on the images of the validation part. Neither network was trained on its patients, but the
ResUNet's epoch was chosen on it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.common.tables import read_table, write_table
from covid_keras.data.cohort import Cohort
from covid_keras.data.sources import darwin_v7_whole, load_source
from covid_keras.data.splits import read_split
from covid_keras.evaluation import bootstrap_mean
from covid_keras.evaluation.overlap import read_overlap
from covid_keras.models.registry import FOLDER
from covid_keras.paper.protocol import Protocol
from covid_keras.training.lung_split import SPLIT, load_lung_cohort
from covid_keras.training.segmenter_runs import PHANTOM, PaperSegmenters, lung_cohort
from papers.hertel_ensemble.cohorts import COHORTS
from papers.hertel_ensemble.segmenter import segmenter_settings
from papers.hertel_ensemble.settings import options_of

if TYPE_CHECKING:
    from covid_keras.training.runfolder import RunFolder
    from covid_keras.training.segmenters import SegmenterKind

NAME, UNET = "resunet", "unet"
# File in a segmenter's folder: Dice and IoU of the shipped U-Net on the same validation images.
SHIPPED = "shipped.csv"
SHIPPED_DICE = FOLDER / "lungs_unet16_dice.csv"


class ResUNet(PaperSegmenters):
    """The ResUNet, and a U-Net with the same settings, one of the networks that the paper tried as well.

    They learn from the whole Darwin set, from Cohen's images of it, or from the phantom.
    """

    names = (NAME, UNET)
    cohorts = COHORTS
    collections: ClassVar = {"stand_in": ("darwin_v7",), "published": ("darwin_v7_whole",)}
    further = (SHIPPED,)

    def settings(self, protocol: Protocol) -> dict[str, Any]:
        settings = segmenter_settings(protocol)
        if settings is None:
            return {}
        if UNET in protocol.systems and settings.size % 16:
            problem = f"options.segmenter.size is {settings.size}, which the U-Net cannot halve four times"
            raise UserError("protocol.yaml", problem, "Use a multiple of 16, or leave unet out of systems")
        return dict.fromkeys(self.names, settings)

    def masks(self, protocol: Protocol) -> str:
        return options_of(protocol).masks

    def kind(self, name: str) -> SegmenterKind:
        from papers.hertel_ensemble.resunet import ResUNetKind, UNetKind

        return ResUNetKind() if name == NAME else UNetKind()

    def cohort_key(self, protocol: Protocol) -> Any:
        """Return the kind alone, except for the phantom: the classifiers' images do not matter to the segmenter."""
        kind = self._kind_of(protocol)
        return protocol.cohort if kind == PHANTOM else {"kind": kind}

    def load_masked(self, protocol: Protocol, data: Path | None, cache: Path) -> Cohort:
        """Return the radiographs; of the whole set, as in the paper, frontal ones with at least 256 pixels per side."""
        if self._kind_of(protocol) == "stand_in":
            cohort = load_lung_cohort(data)
        else:
            whole = darwin_v7_whole.frontal_and_large(load_source("darwin_v7_whole", data))
            cohort = darwin_v7_whole.draw_masks(whole, cache / "darwin-masks")
        return lung_cohort(cohort.table, cohort.name)

    def division(self, protocol: Protocol, cohort: Cohort, cache: Path) -> pd.Series:
        """Return the part of each radiograph; for Cohen's images the split of the shipped U-Net, for the comparison."""
        if self._kind_of(protocol) == "stand_in":
            return read_split(SPLIT).set_index("image_id")["split"]
        return super().division(protocol, cohort, cache)

    def train(self, protocol: Protocol, data: Path | None, cache: Path, name: str) -> Path:
        """Return the folder of a segmenter, trained, measured, and compared with the shipped U-Net."""
        folder = super().train(protocol, data, cache, name)
        if not (folder / SHIPPED).is_file():
            cohort = self.mask_cohort(protocol, data, cache)
            split = self.division(protocol, cohort, cache)
            validation = cohort.filter(cohort.table["image_id"].map(split) == "validation")
            write_table(folder / SHIPPED, _shipped_overlap(self._kind_of(protocol), validation))
        return folder


SEGMENTERS = ResUNet()


# -------------------------------------------------------------------------------------------- beside the shipped U-Net


def compared_masks(run: RunFolder | Path) -> pd.DataFrame:
    """Return Dice of the ResUNet and of the shipped U-Net, one row per validation image that both marked.

    Parameters
    ----------
    run : RunFolder or Path
        A run, or a folder with `overlap.csv` and `shipped.csv` of its ResUNet (also as published).

    Returns
    -------
    pandas.DataFrame
        `image_id`, `patient_id`, `dice` and `dice_shipped`, 0..1, of masks at the radiograph's own size and threshold
        0.5; masks of the shipped U-Net are postprocessed as in use (holes filled, islands removed). Empty if the
        ResUNet is not done.
    """
    columns = ["image_id", "patient_id", "dice", "dice_shipped"]
    folder = run if isinstance(run, Path) else SEGMENTERS.done(run).get(NAME)
    if folder is None:
        return pd.DataFrame(columns=columns)
    shipped = read_table(folder / SHIPPED, ("image_id", "dice")).astype({"dice": np.float64})
    shipped = shipped[["image_id", "dice"]].rename(columns={"dice": "dice_shipped"})
    table = read_overlap(folder)
    return table[table["part"] == "validation"].merge(shipped, on="image_id", validate="one_to_one")[columns]


def paired_difference(frame: pd.DataFrame) -> dict[str, float | int]:
    """Return the mean of ResUNet minus shipped U-Net over the images of a frame from `compared_masks`.

    Returns
    -------
    dict
        `images`, `patients`; `mean`, `low`, `high`: the difference of Dice, -1..1, with its 95 % interval by bootstrap
        over patients; `wins`, `losses`, `ties`: number of images on which the ResUNet's Dice is larger, smaller, equal.

    Raises
    ------
    ValueError
        If there is no image.
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


def _shipped_overlap(kind: str, validation: Cohort) -> pd.DataFrame:
    """Return `image_id`, `dice` and `iou` of the shipped U-Net on the validation images of a kind of cohort.

    For its own split, the published values are returned. For other splits, patients in its training part are left out.
    """
    columns = ["image_id", "dice", "iou"]
    if kind == "stand_in":
        table = read_table(SHIPPED_DICE, columns)
        return table.loc[table["image_id"].isin(validation.table["image_id"]), columns]
    from covid_keras.models.lungs import LungSegmenter
    from covid_keras.training.lung_recipe import measure

    split = read_split(SPLIT)
    learnt = validation.table["patient_id"].isin(split.loc[split["split"] == "train", "patient_id"])
    shipped = LungSegmenter(lungs="whole")
    return measure(shipped.model, validation.filter(~learnt), shipped.threshold)[columns]
