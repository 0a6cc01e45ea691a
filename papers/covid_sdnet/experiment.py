"""COVID-SDNet (Tabik et al. 2020), composed from the core."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covid_keras.data.preparation import Preparation
from covid_keras.settings import build
from covid_keras.training.experiment import Paper, System
from covid_keras.training.protocol import Protocol
from papers.covid_sdnet.cohorts import available, make_cohort, sources

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Options:
    """Settings of `protocol.yaml` that only this paper knows.

    Attributes
    ----------
    batchnorm_momentum : float, optional
        See `covid_keras.models.build_resnet50`; as published (0.99) where not given.
    """

    batchnorm_momentum: float | None = None


# Section III-A of the paper: the lungs' box, enlarged by 2.5 % on each of its four sides.
CROP_MARGIN = 0.025


def full_image(protocol: Protocol) -> Preparation:
    """The whole radiograph, resized (row "Without seg." of Table V)."""
    return Preparation(size=protocol.size)


def lung_crop(protocol: Protocol) -> Preparation:
    """The box of both lungs with its margin, resized (row "With seg." of Table V)."""
    return Preparation(size=protocol.size, crop="lungs", margin=CROP_MARGIN)


def build_resnet50_classifier(protocol: Protocol, classes: tuple[str, ...]) -> keras.Model:
    """ResNet-50, Dense 512 ReLU, Dense softmax; all layers fine-tuned (section IV-C)."""
    from covid_keras.models import build_resnet50

    options = build(Options, protocol.options, "protocol.yaml", "options")
    return build_resnet50(
        (*protocol.size, 3),
        len(classes),
        weights=protocol.weights,
        batchnorm_momentum=options.batchnorm_momentum,
    )


def imagenet_scaling(images: Any) -> Any:
    """Scale as keras.applications' ResNet-50 expects: BGR order, ImageNet channel means subtracted, from 0..255."""
    import keras

    return keras.applications.resnet50.preprocess_input(images)


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
        "The U-Net knows the stand-in's positives",
        "The shipped lung U-Net was trained on human masks of Cohen's collection, from which all positives of profile "
        "cpu come (never on their labels), and on no NIH radiograph. Masks, and so crops, may be better on positives; "
        "the rows with segmentation can profit from that.",
    ),
)

PAPER = Paper(
    name="covid_sdnet",
    aliases=("tabik",),
    title="COVIDGR dataset and COVID-SDNet methodology for predicting COVID-19 based on chest X-ray images",
    citation="S. Tabik et al., IEEE Journal of Biomedical and Health Informatics 24(12):3595-3605, 2020",
    doi="10.1109/JBHI.2020.3037127",
    folder=Path(__file__).resolve().parent,
    systems=(
        System("resnet50_full", "Without seg. (ResNet-50)", full_image, build_resnet50_classifier, imagenet_scaling),
        System("resnet50_crop", "With seg. (ResNet-50)", lung_crop, build_resnet50_classifier, imagenet_scaling),
    ),
    cohort=make_cohort,
    available=available,
    positive="P",
    notes=NOTES,
    titles={
        "covid_sdnet": "COVID-SDNet",
        "covid_sdnet_no_normal_pcr": "COVID-SDNet, Normal-PCR+ removed",
        "fucitnet": "FuCiTNet",
        "covid_caps_pretrained": "COVID-CAPS (pretrained)",
        "covid_caps_retrained": "COVID-CAPS (retrained)",
        "covidnet_pretrained": "COVIDNet-CXR (pretrained)",
        "covidnet_retrained": "COVIDNet-CXR (retrained)",
    },
    severity_systems=("covid_sdnet",),
    sources=sources,
)
