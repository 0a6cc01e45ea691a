"""The report of Arias-Garzón et al.: what its reader must know, and what only this paper shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from covid_keras.evaluation import Measured
from covid_keras.reporting.html import Section
from covid_keras.reporting.paper_report import PaperReport
from covid_keras.training.runfolder import RunFolder
from papers.arias_vgg19 import stages
from papers.arias_vgg19.experiment import EXPERIMENTS, PARTS
from papers.arias_vgg19.measures import measure

if TYPE_CHECKING:
    from covid_keras.reporting.results import Results

NOTES = (
    (
        "Class is collection",
        "COVID-19 images come from other collections than the images without it, in the paper as here (profile cpu: "
        "Cohen's collection against NIH ChestX-ray14): a network can win by telling collections apart, without looking "
        "at any lung. Part e, from which the lungs are removed, and the controls show how far that goes.",
    ),
    (
        "What stands in for the paper's experiments",
        "In profile cpu the negatives of Experiment 1 are NIH images with pneumonia, those of Experiment 3 NIH images "
        "without finding; Experiment 2, curated negatives of BIMCV, has no stand-in.",
    ),
    (
        "Two accuracies",
        'The "accuracy" of Tables 6, 10, 14 and 15 is (TP + TN) / (TP + TN + 2 FP): the authors\' code counts false '
        "positives twice and false negatives never. It is measured here as accuracy_faulty, beside the true one.",
    ),
    (
        "The U-Net knows some of the images",
        "In profile cpu the lungs of parts d and e are marked by the shipped U-Net, trained on human masks of Cohen's "
        "collection, as the COVID-19 images are, and on no NIH radiograph: the outline of its masks may itself tell "
        "the collections apart, in d and in e.",
    ),
)


class Report(PaperReport):
    """The report of the paper, with its lung segmenters beside the systems."""

    def measure(self, predictions: pd.DataFrame) -> list[Measured]:
        """Return the metrics that only this paper prints."""
        return measure(predictions)

    def measured_beside(self, run: RunFolder) -> list[Measured]:
        """Return Dice and IoU of what the run trained to mark the lungs."""
        return stages.measured(run)

    def measured_from(self, folder: Path, profile: str) -> list[Measured]:
        """Return the same from the published files."""
        return stages.kept(folder, profile)

    def published_files(self, run: RunFolder) -> dict[str, str]:
        """Return overlap and record of what the run trained to mark the lungs."""
        return stages.published_files(run)

    def sections(self, results: Results) -> list[Section]:
        """Return the sections that only this paper has."""
        from papers.arias_vgg19.sections import make_sections

        return make_sections(results)


REPORT = Report(
    notes=NOTES,
    proposed=tuple(f"{name}_{part}" for name in EXPERIMENTS for part in PARTS),
    pairs=(),  # its own section has them, with more than accuracy
)
