"""The paper's U-Nets in a run: training data and published files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from covid_keras.common.tables import read_written, table_text
from covid_keras.data.cohort import Cohort
from covid_keras.data.sources.united_masks import binary_masks
from covid_keras.evaluation import Measured
from covid_keras.paper.cohorts import drawn
from covid_keras.paper.protocol import Protocol
from covid_keras.training.segmenter_runs import PaperSegmenters, lung_cohort
from papers.arias_vgg19.cohorts import COHORTS, PublishedCohort
from papers.arias_vgg19.networks import VERDICTS
from papers.arias_vgg19.overlap import measured_of
from papers.arias_vgg19.settings import UNETS, options_of, segmenter_settings

if TYPE_CHECKING:
    from covid_keras.training.runfolder import RunFolder
    from covid_keras.training.segmenters import SegmenterKind


class UNets(PaperSegmenters):
    """U-Net 1, 2 and 3, trained on the paper's collections, Cohen's with Darwin's masks, or the phantom."""

    names = UNETS
    cohorts = COHORTS
    collections: ClassVar = {"stand_in": ("darwin_v7",), "published": ("montgomery", "jsrt", "nih_masks")}
    spare: ClassVar = ("nih_masks",)

    def settings(self, protocol: Protocol) -> dict[str, Any]:
        return segmenter_settings(protocol)

    def masks(self, protocol: Protocol) -> str:
        return options_of(protocol).masks

    def kind(self, name: str) -> SegmenterKind:
        from papers.arias_vgg19.segmenters import UNetKind

        return UNetKind()

    def load_masked(self, protocol: Protocol, data: Path | None, cache: Path) -> Cohort:
        """Return the radiographs with masks; of JSRT's 247 as many as the paper counts, drawn by the cohort's seed."""
        cohort, settings = super().load_masked(protocol, data, cache), self.cohorts.settings(protocol)
        if not isinstance(settings, PublishedCohort):
            return cohort.filter(cohort.table["mask_path"] != "")
        # Not for Darwin's masks, which have a value of their own for pixels that nobody judged.
        cohort = binary_masks(cohort, cache / "binary-masks")
        table = cohort.table[cohort.table["mask_path"] != ""]
        jsrt = table["source"] == "jsrt"
        some = drawn(table[jsrt], settings.jsrt, np.random.default_rng(settings.seed), "JSRT images with masks")
        return lung_cohort(pd.concat([table[~jsrt], some]).sort_index(), cohort.name)

    def measured_of(self, folder: Path, name: str) -> list[Measured]:
        return measured_of(folder, name)

    def published_files(self, run: RunFolder) -> dict[str, str]:
        """Return the default files and the view filter's answers."""
        verdicts = said_by_filters(run)
        return super().published_files(run) | ({VERDICTS: verdicts} if verdicts else {})


_COLUMNS = ("image_id", "filter")
_AGAIN = "Delete it, and train the systems after it again with `covid-keras reproduce --restart`"


def said_by_filters(run: RunFolder) -> str:
    """Return the view filter's answer per fold and image as CSV; "" without a filter."""
    found = [
        read_written(one.folder / VERDICTS, _AGAIN, _COLUMNS, ["frontal"], dtype=dict.fromkeys(_COLUMNS, str)).assign(
            repeat=one.repeat, fold=one.fold
        )
        for one in run.executions()
        if (one.folder / VERDICTS).is_file()
    ]
    return table_text(pd.concat(found), "%.9g") if found else ""


SEGMENTERS = UNets()
