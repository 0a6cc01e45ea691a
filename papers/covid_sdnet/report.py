"""The report of COVID-SDNet: caveats, pictures of transformed pairs, notes on heat maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

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


def _with_twins(table: dict) -> dict:
    """Extend a table by system to the systems of Tables VII and VIII."""
    return table | {name + NO_NORMAL_PCR: value for name, value in table.items()}


REPORT = PaperReport(
    notes=notes(*PROSE, "notes"),
    proposed=("covid_sdnet", "covid_sdnet" + NO_NORMAL_PCR),
    pictures=_with_twins(dict.fromkeys(("fucitnet", "covid_sdnet"), pictures_of_pairs)),
    evidence_notes=_with_twins({name: prose(*PROSE, f"evidence_of_{block}") for name, block in EVIDENCE.items()}),
)
