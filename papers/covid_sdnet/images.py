"""Preparations of radiographs, per row of the tables."""

from __future__ import annotations

from covid_keras.data.preparation import Preparation
from covid_keras.paper.protocol import Protocol
from papers.covid_sdnet import networks
from papers.covid_sdnet.settings import options_of

# Section IV-1 of the paper: the box of both lungs, enlarged by 2.5 % on each of its four sides.
CROP_MARGIN = 0.025
# COVIDNet's own preparation: the top 8 % of the rows are cut off, the middle square is kept.
COVIDNET_DROP_TOP = 0.08


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
    """The whole radiograph at the size of the released COVID-CAPS."""
    return Preparation(size=networks.released_caps_size())


def covidnet_image(protocol: Protocol) -> Preparation:
    """The radiograph in COVIDNet's frame."""
    return Preparation(size=options_of(protocol).covidnet.size, drop_top=COVIDNET_DROP_TOP, square=True)
