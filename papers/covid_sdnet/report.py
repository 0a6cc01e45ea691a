"""The report of COVID-SDNet: caveats, pictures of crops and transformed pairs, notes on heat maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import pandas as pd

from covid_keras.evaluation.predictions import choose_examples
from covid_keras.reporting.prose import notes, prose
from covid_keras.reporting.results import PaperReport, Pictures
from papers.covid_sdnet.systems import NO_NORMAL_PCR

if TYPE_CHECKING:
    from covid_keras.reporting.examples import Examples

PROSE = ("papers.covid_sdnet", "report.md.j2")
EVIDENCE = {
    "covid_caps_pretrained": "covid_caps",
    "covid_caps_retrained": "covid_caps",
    "covidnet_pretrained": "covidnet",
    "covidnet_retrained": "covidnet",
    "fucitnet": "fucitnet",
    "covid_sdnet": "covid_sdnet",
}


def pictures_of_pairs(examples: Examples) -> Pictures:
    """Return the examples beside their transformed versions (`papers.covid_sdnet.figures.transformed_pairs`)."""
    from papers.covid_sdnet.figures import transformed_pairs

    return transformed_pairs(examples)


def pictures_of_crops(examples: Examples) -> Pictures:
    """Return the examples before and after the crop (`papers.covid_sdnet.figures.crop_pictures`)."""
    from papers.covid_sdnet.figures import crop_pictures

    return crop_pictures(examples)


@dataclass(frozen=True)
class SdnetReport(PaperReport):
    """A report with examples of every severity level, as in figures 5 to 8 of the paper."""

    example_groups: ClassVar[str] = "class and severity level"

    def choose(self, predictions: pd.DataFrame) -> pd.DataFrame:
        return choose_examples(predictions, by_severity=True)


def _with_twins(table: dict) -> dict:
    """Repeat the entries of a table per system for the systems of Tables VII and VIII."""
    return table | {name + NO_NORMAL_PCR: value for name, value in table.items()}


REPORT = SdnetReport(
    notes=notes(*PROSE, "notes"),
    proposed=("covid_sdnet", "covid_sdnet" + NO_NORMAL_PCR),
    pictures=_with_twins(
        {"resnet50_crop": pictures_of_crops} | dict.fromkeys(("fucitnet", "covid_sdnet"), pictures_of_pairs)
    ),
    evidence_notes=_with_twins({name: prose(*PROSE, f"evidence_of_{block}") for name, block in EVIDENCE.items()}),
)
