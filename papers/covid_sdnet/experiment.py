"""COVID-SDNet (Tabik et al. 2020), composed from the core: every row of its tables as a system."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from covid_keras.common.errors import UserError
from covid_keras.data.preparation import Preparation
from covid_keras.paper.paper import Paper, System
from covid_keras.paper.protocol import Protocol
from papers.covid_sdnet import networks
from papers.covid_sdnet.cohorts import (
    CLASSES,
    PNEUMONIA,
    available,
    make_cohort,
    no_pneumonia,
    sources,
    without_normal_pcr,
)
from papers.covid_sdnet.settings import options_of
from papers.covid_sdnet.transforms import evidence_pairs, feed_pairs

if TYPE_CHECKING:
    pass

# Section III-A of the paper: the lungs' box, enlarged by 2.5 % on each of its four sides.
CROP_MARGIN = 0.025
# COVIDNet's own preparation: the top 8 % of the rows are cut off, the middle square is kept.
COVIDNET_DROP_TOP = 0.08
NO_NORMAL_PCR = "_no_normal_pcr"


def full_image(protocol: Protocol) -> Preparation:
    """The whole radiograph, resized (row "Without seg." of Table V)."""
    return Preparation(size=protocol.size)


def lung_crop(protocol: Protocol) -> Preparation:
    """The box of both lungs with its margin, resized (row "With seg." of Table V)."""
    return Preparation(size=protocol.size, crop="lungs", margin=CROP_MARGIN)


def cit_crop(protocol: Protocol) -> Preparation:
    """The lung crop at the size of the transformation network, bicubic."""
    size = options_of(protocol).cit.size or protocol.size
    return Preparation(size=size, crop="lungs", margin=CROP_MARGIN, interpolation="cubic")


def caps_image(protocol: Protocol) -> Preparation:
    """The whole radiograph at the size of COVID-CAPS."""
    return Preparation(size=options_of(protocol).covid_caps.size)


def released_caps_image(protocol: Protocol) -> Preparation:
    """The whole radiograph at the size that the released COVID-CAPS was trained on."""
    return Preparation(size=networks.released_caps_size())


def covidnet_image(protocol: Protocol) -> Preparation:
    """The radiograph in COVIDNet's frame."""
    return Preparation(size=options_of(protocol).covidnet.size, drop_top=COVIDNET_DROP_TOP, square=True)


def check(protocol: Protocol) -> None:
    """Say before the first training what the transformation network will want."""
    needed = any(name.startswith("fucitnet") for name in protocol.systems)
    if needed and networks.initial_weights(protocol, "resnet18") == "none" and options_of(protocol).cit.frozen:
        raise UserError(
            "--weights none",
            "would freeze the first half of ResNet-18 at random values",
            "Add --set options.cit.frozen=false",
        )
    if needed and protocol.weights != "none" and "resnet18" not in protocol.files:
        raise UserError(
            "ResNet-18 ImageNet weights",
            "are needed by FuCiTNet and COVID-SDNet, and keras.applications has none",
            "Give --checkpoint resnet18=FILE (torchvision's: see papers/covid_sdnet/README.md), or --weights none",
        )


WITHOUT_SEG = System(
    "resnet50_full",
    "Without seg. (ResNet-50)",
    full_image,
    networks.build_resnet50_classifier,
    networks.imagenet_scaling,
)
WITH_SEG = System(
    "resnet50_crop", "With seg. (ResNet-50)", lung_crop, networks.build_resnet50_classifier, networks.imagenet_scaling
)
FUCITNET = System(
    "fucitnet",
    "FuCiTNet",
    cit_crop,
    networks.build_cit,
    compile=networks.compile_cit,
    callbacks=networks.cit_callbacks,
    decide=networks.decide_fucitnet,
    evidence=networks.evidence_fucitnet,
    one_device=True,
)
COVID_SDNET = System(
    "covid_sdnet",
    "COVID-SDNet",
    cit_crop,
    networks.build_twins,
    networks.imagenet_scaling,
    after="fucitnet",
    feed=feed_pairs,
    decide=networks.decide_covid_sdnet,
    evidence=evidence_pairs,
)
CAPS_PRETRAINED = System(
    "covid_caps_pretrained",
    "COVID-CAPS (pretrained)",
    released_caps_image,
    networks.build_covid_caps_retrained,
    released=True,
    restore=networks.restore_covid_caps,
    missing=networks.caps_missing,
)
CAPS_RETRAINED = System(
    "covid_caps_retrained",
    "COVID-CAPS (retrained)",
    caps_image,
    networks.build_covid_caps_retrained,
    compile=networks.compile_covid_caps,
)
COVIDNET_PRETRAINED = System(
    "covidnet_pretrained",
    "COVIDNet-CXR (pretrained)",
    covidnet_image,
    networks.build_covidnet_retrained,
    classes=("N", PNEUMONIA, "P"),  # the authors' order: normal, pneumonia, COVID-19
    released=True,
    restore=networks.restore_covidnet,
    missing=networks.covidnet_file_missing,
    surrogate=networks.covidnet_given,
)
COVIDNET_RETRAINED = System(
    "covidnet_retrained",
    "COVIDNet-CXR (retrained)",
    covidnet_image,
    networks.build_covidnet_retrained,
    classes=(*CLASSES, PNEUMONIA),
    compile=networks.compile_covidnet,
    plan=networks.plan_covidnet,
    missing=no_pneumonia,
    surrogate=networks.covidnet_surrogate,
)


def without_normal(system: System) -> System:
    """Return the same system in the experiment of Tables VII and VIII."""
    return dataclasses.replace(
        system,
        name=system.name + NO_NORMAL_PCR,
        title=f"{system.title}, Normal-PCR+ removed",
        settings=system.settings or system.name,
        cases=without_normal_pcr,
        after=system.after and system.after + NO_NORMAL_PCR,
    )


RETRAINED = (COVIDNET_RETRAINED, CAPS_RETRAINED, WITH_SEG, FUCITNET, COVID_SDNET)  # the rows of Table VII


PAPER = Paper(
    name="covid_sdnet",
    aliases=("tabik",),
    title="COVIDGR dataset and COVID-SDNet methodology for predicting COVID-19 based on chest X-ray images",
    citation="S. Tabik et al., IEEE Journal of Biomedical and Health Informatics 24(12):3595-3605, 2020",
    doi="10.1109/JBHI.2020.3037127",
    report="papers.covid_sdnet.report",
    folder=Path(__file__).resolve().parent,
    systems=(
        COVIDNET_PRETRAINED,
        COVIDNET_RETRAINED,
        CAPS_PRETRAINED,
        CAPS_RETRAINED,
        WITHOUT_SEG,
        WITH_SEG,
        FUCITNET,
        COVID_SDNET,
        *map(without_normal, RETRAINED),
    ),
    cohort=make_cohort,
    available=available,
    positive="P",
    scored=CLASSES,
    files={
        "resnet18": "ImageNet ResNet-18 of torchvision, .npz or .h5",
        "vgg16": "keras.applications' VGG-16 notop .h5",
        "resnet50v2": "keras.applications' ResNet50V2 notop .h5",
        "covid_caps": "the authors' COVID-CAPS .h5",
        "covidnet": "a COVIDNet checkpoint, .h5 in the layout of build_covidnet",
    },
    registered={"vgg16": "vgg16_notop", "resnet50v2": "resnet50v2_notop", "covid_caps": networks.CAPS_FILE},
    check=check,
    sources=sources,
)
