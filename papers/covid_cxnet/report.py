"""The report of COVID-CXNet: caveats and the paper's figures of example images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from covid_keras.reporting.prose import notes, prose
from covid_keras.reporting.results import PaperReport, Pictures
from papers.covid_cxnet.paper import DISJOINT
from papers.covid_cxnet.systems import LEAKY

if TYPE_CHECKING:
    from covid_keras.reporting.examples import Examples

PROSE = ("papers.covid_cxnet", "report.md.j2")


def pictures_of_base(examples: Examples) -> Pictures:
    """Figures 12 and 17 of the paper, of the examples."""
    from papers.covid_cxnet.figures import explanation_pictures

    return explanation_pictures(examples)


def pictures_of_whole(examples: Examples) -> Pictures:
    """Figures 2, 3, 12, 14, 16 and 17 of the paper, of the examples."""
    from papers.covid_cxnet.figures import enhancement_pictures, explanation_pictures
    from papers.covid_cxnet.probing import probe_pictures

    return [*enhancement_pictures(examples), *explanation_pictures(examples), *probe_pictures(examples)]


def pictures_of_lungs(examples: Examples) -> Pictures:
    """Figures 4, 12, 17 and 18 of the paper, of the examples."""
    from papers.covid_cxnet.figures import explanation_pictures, roi_pictures

    return [*roi_pictures(examples), *explanation_pictures(examples)]


REPORT = PaperReport(
    notes=notes(*PROSE, "notes"),
    proposed=("cxnet_v1", "cxnet_v2", "flat", "hierarchical"),
    leaks=tuple((system.name + LEAKY, system.name) for system in DISJOINT),
    heat_pairs=(("cxnet_v2", "cxnet_v1"),),
    pictures={
        **dict.fromkeys(("base_v1", "base_v1_released"), pictures_of_base),
        "cxnet_v1": pictures_of_whole,
        "cxnet_v2": pictures_of_lungs,
    },
    evidence_notes=dict.fromkeys(("hierarchical", "hierarchical" + LEAKY), prose(*PROSE, "evidence_of_hierarchy")),
)
