"""The base models with their authors' weights.

Each is tested on images of the collections that its authors took, an unknown part of which trained it, and on images of
other collections.

References
----------
.. [1] github.com/armiro/COVID-CXNet, `checkpoints/base_model`: sizes; its script of May 2020: order of the channels.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covid_keras.data.preparation import Preparation
from covid_keras.models.registry import load_registry
from covid_keras.paper import Released
from covid_keras.paper.execution import Execution
from covid_keras.paper.initial_weights import weight_file, weight_file_missing
from covid_keras.paper.protocol import Protocol
from papers.covid_cxnet import images
from papers.covid_cxnet.cohorts import COVID, COVID_ASIDE, COVID_FURTHER, NORMAL, NORMAL_CHILD, OUTSIDE
from papers.covid_cxnet.systems import Elsewhere, OneSigmoid

if TYPE_CHECKING:
    import keras

# Registered weight files.
BASE_V1, BASE_V2 = FILES = ("covid_cxnet_base_v1", "covid_cxnet_base_v_free")
ORDER = ("original", "beasf", "clahe")


@dataclass(frozen=True, kw_only=True)
class AuthorsBase(OneSigmoid, Released):
    """A base model with its authors' weights.

    Attributes
    ----------
    file : str
        Name of its registered weight file; also that of a file that the user gives.
    """

    file: str
    restore: Any = None  # `network` needs `file`

    def missing(self, protocol: Protocol, data: Path | None) -> str | None:
        return weight_file_missing(protocol, self.file, self.file)

    def network(self, execution: Execution) -> keras.Model:
        from covid_keras.models import build_base_cnn, load_weights

        model = build_base_cnn(load_registry()[self.file].input_shape)
        load_weights(model, weight_file(execution.protocol, self.file, self.file))
        return model


@dataclass(frozen=True, kw_only=True)
class AuthorsBaseElsewhere(Elsewhere, AuthorsBase):
    """The same, on images of other collections."""


def grey_image(protocol: Protocol) -> Preparation:
    """The whole radiograph in grey, at the size of the authors' base v1."""
    size = _size_of(BASE_V1)
    return dataclasses.replace(images.grey_image(protocol), size=size, frame=size)


def enhanced_image(protocol: Protocol) -> Preparation:
    """The whole radiograph, enhanced, at the size of the authors' base v2 and in the order of their script."""
    size = _size_of(BASE_V2)
    return dataclasses.replace(images.base_image(protocol), size=size, frame=size, stack_order=ORDER)


def _size_of(name: str) -> tuple[int, int]:
    height, width, _ = load_registry()[name].input_shape
    return height, width


_V1 = AuthorsBase(
    "base_v1_released",
    "Base Model v1, the authors' weights",
    grey_image,
    classes=(NORMAL, COVID),
    relabel={NORMAL_CHILD: NORMAL, COVID_ASIDE: COVID},
    split="small",  # the smallest: such a system reads none
    channels=1,
    file=BASE_V1,
)
_V2 = dataclasses.replace(
    _V1,
    name="base_v2_released",
    title="Base Model v2, the authors' weights",
    preparation=enhanced_image,
    channels=3,
    file=BASE_V2,
)
RELEASED = (
    _V1,
    _V2,
    *(
        AuthorsBaseElsewhere.like(
            system,
            name=f"{system.name}_external",
            title=f"{system.title}, other sources",
            relabel={**OUTSIDE, COVID_FURTHER: COVID},
            file=system.file,
        )
        for system in (_V1, _V2)
    ),
)
