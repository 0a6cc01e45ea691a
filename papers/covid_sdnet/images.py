"""How the rows of the tables prepare their radiographs."""

from __future__ import annotations

from covid_keras.data.preparation import Preparation
from covid_keras.paper.protocol import Protocol
from papers.covid_sdnet import networks
from papers.covid_sdnet.settings import options_of

# Section IV-1 of the paper: the box of both lungs, enlarged by 2.5 % on each of its four sides.
CROP_MARGIN = 0.025
# Share of the rows that COVIDNet's own code cuts off at the top.
COVIDNET_DROP_TOP = 0.08


def full_image(protocol: Protocol) -> Preparation:
    """Resize the whole radiograph (row "Without seg." of Table V)."""
    return Preparation(size=protocol.size)


def lung_crop(protocol: Protocol) -> Preparation:
    """Crop to the box of both lungs with its margin, and resize (row "With seg." of Table V)."""
    return Preparation(size=protocol.size, crop="lungs", margin=CROP_MARGIN)


def cit_crop(protocol: Protocol) -> Preparation:
    """Crop to the lungs at the size of the transformation network, with bicubic interpolation."""
    size = options_of(protocol).cit.size or protocol.size
    return Preparation(size=size, crop="lungs", margin=CROP_MARGIN, interpolation="cubic")


def caps_image(protocol: Protocol) -> Preparation:
    """Resize the whole radiograph to the size of the retrained COVID-CAPS."""
    return Preparation(size=options_of(protocol).covid_caps.size)


def released_caps_image(protocol: Protocol) -> Preparation:
    """Resize the whole radiograph to the size on which the released COVID-CAPS was trained."""
    return Preparation(size=networks.released_caps_size())


def covidnet_image(protocol: Protocol) -> Preparation:
    """Frame the radiograph as COVIDNet does: without the top rows, then the central square."""
    return Preparation(size=options_of(protocol).covidnet.size, drop_top=COVIDNET_DROP_TOP, square=True)
