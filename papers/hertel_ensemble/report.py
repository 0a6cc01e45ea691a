"""The report of Hertel & Benlamri: what its reader must know, and what only this paper shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from covid_keras.evaluation import Measured
from covid_keras.reporting.html import Section
from covid_keras.reporting.paper_report import PaperReport, Pictures
from covid_keras.training.runfolder import RunFolder
from papers.hertel_ensemble import stages
from papers.hertel_ensemble.measures import measure
from papers.hertel_ensemble.systems import KINDS, TASKS

if TYPE_CHECKING:
    from covid_keras.reporting.examples import Examples
    from covid_keras.reporting.results import Results

NOTES = (
    (
        "Class goes with collection",
        "In the paper BIMCV and RICORD have COVID-19 images alone, and nearly all normal and pneumonia images are the "
        "RSNA's; in profile cpu the normal ones and most pneumonias are NIH ChestX-ray14's, no COVID-19 image is. A "
        "network can win by telling collections apart; masking the lungs takes away only part of it, and the frame of "
        "the picture, which decides how much of it the lungs fill, stays.",
    ),
    (
        "COVID-19 for training and for testing differ",
        "The paper trains on COVID-19 images of BIMCV and RICORD and tests on those of COVIDx and RICORD. In profile "
        "cpu COVID-CXNet's take the place of the former, for all three parts as RICORD's, Cohen's that of COVIDx's, "
        "for validation and test alone (three classes and two; not on the division in COVIDGR's place). Cohen's "
        "pneumonias, as COVIDx's, are trained on: where a network knows that collection, it knows it as one without "
        "COVID-19. So sensitivity is given by collection, and is lower on Cohen's by design.",
    ),
    (
        "The segmenter was taught some of the test images",
        "In profile cpu the ResUNet learns from human masks of Cohen's collection, whatever part the image is of here, "
        "most of the COVID-19 images tested among them, and of no NIH or COVID-CXNet image: masks may be better on one "
        "class than on the others. The report counts them. In the paper Darwin's set and COVIDx share images, too.",
    ),
    (
        "Validation chose twice",
        "The validation part chooses the epoch of each network and the weights of the average, as in the paper: "
        "validation accuracies are flattered, those of the ensemble most.",
    ),
)


def pictures_of_masking(examples: Examples) -> Pictures:
    """Figure 11 of the paper, of the examples."""
    from papers.hertel_ensemble.figures import segmentation_pictures

    return segmentation_pictures(examples)


class Report(PaperReport):
    """The report of the paper, with its lung segmenter beside the systems."""

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
        from papers.hertel_ensemble.sections import make_sections

        return make_sections(results)


REPORT = Report(
    notes=NOTES,
    proposed=tuple(f"{kind}_{task}" for task in TASKS for kind in KINDS),
    heat_pairs=(("densenet201_multi", "densenet201_whole"),),
    pictures={"densenet201_whole": pictures_of_masking},
)
