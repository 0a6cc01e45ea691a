"""The report of COVID-SDNet: what its reader must know, the pictures of transformed pairs, what heat maps show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from covid_keras.reporting.results import PaperReport, Pictures
from papers.covid_sdnet.systems import NO_NORMAL_PCR

if TYPE_CHECKING:
    from covid_keras.reporting.examples import Examples

CAPS_NOTE = "The score of a class is the length of its capsule, which no softmax follows."
COVIDNET_NOTE = (
    "Of its three logits those of the two classes evaluated. The pictures are cut as the network takes them: the top "
    "8 % of the rows off, the middle square kept."
)
FUCITNET_NOTE = (
    "The map for a class is of that class's logit on the image as the class's own generator made it; the picture "
    "under the map is the crop before any transformation."
)
SDNET_NOTE = (
    "The map for P is of the logit of P+ on the positive transformation x+, the map for N of N- on the negative "
    "transformation x-; the picture under the map is the crop before any transformation."
)
EVIDENCE = {
    "covid_caps_pretrained": CAPS_NOTE,
    "covid_caps_retrained": CAPS_NOTE,
    "covidnet_pretrained": COVIDNET_NOTE,
    "covidnet_retrained": COVIDNET_NOTE,
    "fucitnet": FUCITNET_NOTE,
    "covid_sdnet": SDNET_NOTE,
}
NOTES = (
    (
        "Patients of COVIDGR-1.0",
        "The collection publishes no patient ids, so one image is taken as one patient (profile paper): images of one "
        "patient may lie on both sides of a split, and nobody can tell.",
    ),
    (
        "Severities of the stand-in cohort",
        "The four levels are radiologists' extent scores (0 to 8) of Cohen's collection, rounded half up and binned as "
        "the paper bins its RALE scores (profile cpu); they were not graded by the paper's radiologists.",
    ),
    (
        "Class is collection in the stand-in cohort",
        "All positives come from one collection and all negatives from another (profile cpu): a network can win by "
        "telling the collections apart, without looking at any lung.",
    ),
    (
        "The released COVID-CAPS knows the stand-in",
        "COVID-CAPS as released was trained on COVIDx, which is made of the very collections of profile cpu: it has "
        "likely seen many of the images that it is tested on there.",
    ),
    (
        "The U-Net knows the stand-in's positives",
        "The shipped lung U-Net was trained on human masks of Cohen's collection, from which all positives of profile "
        "cpu come (never on their labels), and on no NIH radiograph. Masks, and so crops, may be better on positives; "
        "the rows with segmentation can profit from that.",
    ),
)


def pictures_of_pairs(examples: Examples) -> Pictures:
    """Return the examples beside their transformed versions (`papers.covid_sdnet.figures.transformed_pairs`)."""
    from papers.covid_sdnet.figures import transformed_pairs

    return transformed_pairs(examples)


def _with_twins(table: dict) -> dict:
    """Return a table by system that holds for the systems of Tables VII and VIII, too."""
    return table | {name + NO_NORMAL_PCR: value for name, value in table.items()}


REPORT = PaperReport(
    notes=NOTES,
    proposed=("covid_sdnet", "covid_sdnet" + NO_NORMAL_PCR),
    pictures=_with_twins(dict.fromkeys(("fucitnet", "covid_sdnet"), pictures_of_pairs)),
    evidence_notes=_with_twins(EVIDENCE),
)
