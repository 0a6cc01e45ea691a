"""The report of COVID-CXNet: caveats, the paper's figures of example images, the authors' networks by collection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pandas as pd

from covid_keras.evaluation.summary import summarise
from covid_keras.reporting.document import Section, TableEntry
from covid_keras.reporting.prose import notes, prose, titled
from covid_keras.reporting.results import PaperReport, Pictures, Results
from papers.covid_cxnet.cohorts import (
    COVID,
    COVID_ASIDE,
    COVID_FURTHER,
    COVID_OUTSIDE,
    NORMAL_CHILD,
    NORMAL_OUTSIDE,
)
from papers.covid_cxnet.released import BASE_V1, BASE_V2, RELEASED, AuthorsBase
from papers.covid_cxnet.rows import DISJOINT
from papers.covid_cxnet.systems import LEAKY

if TYPE_CHECKING:
    from covid_keras.reporting.examples import Examples

PROSE = ("papers.covid_cxnet", "report.md.j2")
# The authors' weight file -> the system whose printed matrix is set beside it.
PRINTED_OF = {BASE_V1: "base_v1_external", BASE_V2: "base_v2"}


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


class CxnetReport(PaperReport):
    """The report with the authors' own networks by collection."""

    def sections(self, results: Results) -> list[Section]:
        """Return the share of right answers of the authors' networks per class and collection; [] if none was run."""
        rows = [row for system in RELEASED if system.name in results.systems for row in _by_collection(results, system)]
        if not rows:
            return []
        title, text = titled(*PROSE, "by_collection")
        return [Section(title, tables=[TableEntry(title, text, pd.DataFrame(rows))])]


def _by_collection(results: Results, system: AuthorsBase) -> Iterator[dict[str, str]]:
    printed = {cell.metric: cell.target for cell in results.published if cell.system == PRINTED_OF[system.file]}
    frame = results.predictions_of(system.name)
    for (label, source), part in frame[frame["split"] == "test"].groupby(["label", "source"], sort=False):
        share = next(one for one in summarise(part, positive=COVID) if one.metric == "accuracy")
        metric = "sensitivity" if label == COVID else "specificity"
        yield {
            "system": system.title,
            "class": label,
            "collection": source,
            "images": f"{len(part)} of {part['patient_id'].nunique()} patients",
            "right [95 % interval], %": f"{share.mean:.2f} [{share.low:.2f}, {share.high:.2f}]",
            "paper": f"{printed[metric]:.2f}",
        }


REPORT = CxnetReport(
    notes=notes(*PROSE, "notes"),
    proposed=("cxnet_v1", "cxnet_v2", "flat", "hierarchical"),
    leaks=tuple((system.name + LEAKY, system.name) for system in DISJOINT),
    heat_pairs=(("cxnet_v2", "cxnet_v1"),),
    heat_systems=("base_v1", "densenet121", "resnet50"),
    pictures={
        **dict.fromkeys(("base_v1", "base_v1_released"), pictures_of_base),
        "cxnet_v1": pictures_of_whole,
        "cxnet_v2": pictures_of_lungs,
    },
    labels={
        NORMAL_CHILD: "normal images of children",
        COVID_ASIDE: "COVID-19 without visible abnormality or of children, for the authors' networks alone",
        NORMAL_OUTSIDE: "normal images of other collections for the external test",
        COVID_OUTSIDE: "COVID-19 of other collections for the external test",
        COVID_FURTHER: "further COVID-19 of other collections, for the authors' networks alone",
    },
    evidence_notes=dict.fromkeys(("hierarchical", "hierarchical" + LEAKY), prose(*PROSE, "evidence_of_hierarchy")),
)
