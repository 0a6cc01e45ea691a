"""COVID-SDNet (Tabik et al. 2020): every row of its tables as a system."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from covid_keras.paper import Paper
from covid_keras.paper.protocol import Protocol
from papers.covid_sdnet import images, networks
from papers.covid_sdnet.cohorts import CLASSES, COHORTS, COVIDNET_CLASSES, PNEUMONIA
from papers.covid_sdnet.settings import Options, options_of
from papers.covid_sdnet.systems import (
    CovidCaps,
    CovidCapsReleased,
    CovidNet,
    CovidNetReleased,
    CovidSdnet,
    FuCiTNet,
    ResNet50,
    without_normal,
)

WITHOUT_SEG = ResNet50("resnet50_full", "Without seg. (ResNet-50)", images.full_image)
WITH_SEG = ResNet50("resnet50_crop", "With seg. (ResNet-50)", images.lung_crop)
FUCITNET = FuCiTNet("fucitnet", "FuCiTNet", images.cit_crop)
COVID_SDNET = CovidSdnet("covid_sdnet", "COVID-SDNet", images.cit_crop, after="fucitnet")
CAPS_RELEASED = CovidCapsReleased(
    "covid_caps_pretrained",
    "COVID-CAPS (pretrained)",
    images.released_caps_image,
)
CAPS_RETRAINED = CovidCaps("covid_caps_retrained", "COVID-CAPS (retrained)", images.caps_image)
COVIDNET_RELEASED = CovidNetReleased(
    "covidnet_pretrained",
    "COVIDNet-CXR (pretrained)",
    images.covidnet_image,
    classes=COVIDNET_CLASSES,
)
COVIDNET_RETRAINED = CovidNet(
    "covidnet_retrained",
    "COVIDNet-CXR (retrained)",
    images.covidnet_image,
    classes=(*CLASSES, PNEUMONIA),
)
RETRAINED = (COVIDNET_RETRAINED, CAPS_RETRAINED, WITH_SEG, FUCITNET, COVID_SDNET)  # the rows of Table VII


@dataclass(frozen=True)
class SdnetPaper(Paper):
    """COVIDGR-1.0 or its stand-ins."""

    cohorts = COHORTS
    option_readers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "cit": ("fucitnet", "covid_sdnet"),
        "covid_caps": ("covid_caps_retrained",),
        "covidnet": ("covidnet",),
        "covidnet.batchnorm_momentum": ("covidnet_retrained",),
        "covidnet.positive_share": ("covidnet_retrained",),
        "covidnet.positive_weight": ("covidnet_retrained",),
        "batchnorm_momentum": ("resnet50", "covid_sdnet"),
        "width": ("resnet50", "fucitnet", "covid_sdnet", "covidnet_retrained"),
    }
    conditions: ClassVar[Mapping[str, Callable[[Protocol], tuple[str, str] | None]]] = {
        "options.cit.perceptual": networks.perceptual_unread
    }
    readers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "weights": ("resnet50", "covid_sdnet", "fucitnet", "covidnet_retrained"),
        "files.resnet18": ("fucitnet",),
        "files.vgg16": ("fucitnet",),
        "files.resnet50v2": ("covidnet_retrained",),
        "files.covid_caps": ("covid_caps",),
        "files.covidnet": ("covidnet",),
    }

    def read_options(self, protocol: Protocol) -> Options:
        return options_of(protocol)

    def check(self, protocol: Protocol) -> None:
        networks.check(protocol)


PAPER = SdnetPaper(
    name="covid_sdnet",
    aliases=("tabik",),
    title="COVIDGR dataset and COVID-SDNet methodology for predicting COVID-19 based on chest X-ray images",
    citation="S. Tabik et al., IEEE Journal of Biomedical and Health Informatics 24(12):3595-3605, 2020",
    doi="10.1109/JBHI.2020.3037127",
    folder=Path(__file__).resolve().parent,
    systems=(
        COVIDNET_RELEASED,
        COVIDNET_RETRAINED,
        CAPS_RELEASED,
        CAPS_RETRAINED,
        WITHOUT_SEG,
        WITH_SEG,
        FUCITNET,
        COVID_SDNET,
        *map(without_normal, RETRAINED),
    ),
    positive="P",
    scored=CLASSES,
    report="papers.covid_sdnet.report",
    files={
        "resnet18": "ImageNet ResNet-18 of torchvision, .npz or .h5",
        "vgg16": "keras.applications' VGG-16 notop .h5",
        "resnet50v2": "keras.applications' ResNet50V2 notop .h5",
        "covid_caps": "a COVID-CAPS checkpoint, .h5 (default: the authors'), run as released and fine-tuned",
        "covidnet": "a COVIDNet checkpoint, .h5 in the layout of build_covidnet, run as released and fine-tuned",
    },
    registered={"vgg16": "vgg16_notop", "resnet50v2": "resnet50v2_notop", "covid_caps": networks.CAPS_FILE},
)
