"""COVID-CXNet (Haghanifar et al. 2020): one system per row of its tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from covid_keras.paper import Paper
from covid_keras.paper.protocol import Protocol
from papers.covid_cxnet import networks
from papers.covid_cxnet.cohorts import COHORTS
from papers.covid_cxnet.released import FILES, RELEASED
from papers.covid_cxnet.rows import (
    BASE_V1,
    BASE_V1_EXTERNAL,
    BASE_V2,
    CXNETS,
    DENSENET,
    ON_PUBLISHED_SPLIT,
    RESNET,
    SERIES,
)
from papers.covid_cxnet.settings import Options, options_of

if TYPE_CHECKING:
    from covid_keras.models.lungs import LungSegmenter

AS_RELEASED = frozenset(system.name for system in RELEASED)
OUR_IMAGES = ("options.frame", "options.order", "options.base_v1", "options.base_v2")


@dataclass(frozen=True)
class CxnetPaper(Paper):
    """COVID-CXNet's images with those of other collections, or the phantom."""

    cohorts = COHORTS
    option_readers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "base_v1": ("base_v1",),
        "base_v2": ("base_v2",),
        **dict.fromkeys(("baselines.densenet", "baselines.frozen", "baselines.variant"), ("densenet121",)),
        **dict.fromkeys(("baselines.resnet", "baselines.resnet_frozen"), ("resnet50",)),
        "order": ("base_v2", "cxnet", "flat", "level", "densenet121"),
        "batchnorm_momentum": ("cxnet", "flat", "level", "densenet121", "resnet50"),
        "width": ("cxnet", "flat", "level", "densenet121", "resnet50"),
        "roi": ("cxnet_v2", "flat", "level"),
    }

    readers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "weights": ("cxnet", "flat", "level", "densenet121", "resnet50"),
        "files.chexnet": ("cxnet", "flat", "level"),
        "files.covid_cxnet_base_v1": ("base_v1_released",),
        "files.covid_cxnet_base_v_free": ("base_v2_released",),
    }
    figure_options = ("lime_samples", "probed")

    def reads(self, name: str, key: str) -> bool:
        # The authors' networks share a prefix with ours, but have sizes and an order of channels of their own.
        return super().reads(name, key) and not (name in AS_RELEASED and key.startswith(OUR_IMAGES))

    def read_options(self, protocol: Protocol) -> Options:
        return options_of(protocol)

    def check(self, protocol: Protocol) -> None:
        networks.check(protocol)

    def segmenter(self, protocol: Protocol, data: Path | None, cache: Path) -> LungSegmenter:
        """Return the shipped U-Net, used as it was trained or as the authors use theirs."""
        from covid_keras.models.lungs import LungSegmenter

        mode = "authors" if options_of(protocol).roi.mode == "authors" else "shipped"
        return LungSegmenter(mode=mode, lungs=protocol.lungs)


PAPER = CxnetPaper(
    name="covid_cxnet",
    aliases=("haghanifar",),
    title="COVID-CXNet: Detecting COVID-19 in frontal chest X-ray images using deep learning",
    citation="A. Haghanifar et al., arXiv 2006.13807, version of 30 July 2020",
    doi="10.48550/arXiv.2006.13807",
    folder=Path(__file__).resolve().parent,
    systems=(
        BASE_V1,
        BASE_V1_EXTERNAL,
        *SERIES,
        BASE_V2,
        *RELEASED,
        DENSENET,
        RESNET,
        *CXNETS,
        *ON_PUBLISHED_SPLIT,
    ),
    report="papers.covid_cxnet.report",
    files={
        networks.CHEXNET: "CheXNet: DenseNet-121 with 14 outputs, Keras .h5",
        **dict.fromkeys(FILES, "the authors' base model, .hdf5"),
    },
    registered={name: name for name in FILES},
)
