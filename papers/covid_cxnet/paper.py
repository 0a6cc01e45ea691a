"""COVID-CXNet (Haghanifar et al. 2020): one system per row of its tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from covid_keras.paper import Paper
from covid_keras.paper.protocol import Protocol
from papers.covid_cxnet import images, networks
from papers.covid_cxnet.cohorts import CAP, CLASSES, COHORTS, COVID, NORMAL, NORMAL_CHILD, OUTSIDE, PNEUMONIA
from papers.covid_cxnet.released import FILES, RELEASED
from papers.covid_cxnet.settings import Options, options_of
from papers.covid_cxnet.systems import Baseline, External, Flat, Hierarchical, Level, Single, leaky, on_fewer

if TYPE_CHECKING:
    from covid_keras.models.lungs import LungSegmenter

CXNET_V1 = Single(
    "cxnet_v1",
    "COVID-CXNet v1",
    images.whole_image,
    classes=(NORMAL, COVID),
    split="binary",
    build=networks.build_covid_cxnet,
)
BASE_V1 = replace(
    CXNET_V1,
    name="base_v1",
    title="Base Model v1",
    preparation=images.grey_image,
    build=networks.build_base_v1,
    channels=1,
    split="small",
    relabel={NORMAL_CHILD: NORMAL},
)
BASE_V1_EXTERNAL = External.like(
    BASE_V1,
    name="base_v1_external",
    title="Base Model v1, other sources",
    settings="base_v1",
    after="base_v1",
    relabel=OUTSIDE,
    compose=networks.same_network,
)
# Figure 9: the same on fewer images.
SERIES = tuple(on_fewer(BASE_V1, count) for count in (300, 450))
BASE_V2 = replace(
    CXNET_V1,
    name="base_v2",
    title="Base Model v2",
    preparation=images.base_image,
    build=networks.build_base_v2,
    split="base",
)
DENSENET = Baseline.like(
    BASE_V1,
    name="densenet121",
    title="DenseNet-121 (ImageNet)",
    preparation=images.densenet_image,
    build=networks.build_densenet,
    channels=3,
    split="young",
    option="frozen",
)
RESNET = replace(
    DENSENET,
    name="resnet50",
    title="ResNet-50 (ImageNet)",
    preparation=images.resnet_image,
    build=networks.build_resnet,
    option="resnet_frozen",
)
CXNET_V2 = replace(CXNET_V1, name="cxnet_v2", title="COVID-CXNet v2", preparation=images.lung_image)
FLAT = Flat("flat", "Flat Multiclass COVID-CXNet", images.lung_image, classes=CLASSES, build=networks.build_covid_cxnet)
LEVEL1 = Level.like(
    FLAT,
    name="level1",
    title="Hierarchical, level 1 (normal or pneumonia)",
    classes=(NORMAL, PNEUMONIA),
    relabel={CAP: PNEUMONIA, COVID: PNEUMONIA},
    build=networks.build_covid_cxnet,
)
LEVEL2 = Level.like(
    FLAT,
    name="level2",
    title="Hierarchical, level 2 (CAP or COVID-19)",
    classes=(CAP, COVID),
    after="level1",
    build=networks.build_covid_cxnet,
)
HIERARCHICAL = Hierarchical.like(
    FLAT, name="hierarchical", title="Hierarchical Multiclass COVID-CXNet", after="level2", compose=networks.hierarchy
)
CXNETS = (CXNET_V1, CXNET_V2, FLAT, LEVEL1, LEVEL2, HIERARCHICAL)
DISJOINT = (BASE_V1, BASE_V2, *CXNETS)
AS_RELEASED = frozenset(system.name for system in RELEASED)
OUR_IMAGES = ("options.frame", "options.order", "options.base_v1", "options.base_v2")
# The authors' division in place of the disjoint one.
LEAKS = {"small": "small_leaky", "base": "base_leaky", "binary": "binary_leaky", "": "three_leaky"}


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
        *(leaky(system, LEAKS[system.split]) for system in DISJOINT),
    ),
    report="papers.covid_cxnet.report",
    files={
        networks.CHEXNET: "CheXNet: DenseNet-121 with 14 outputs, Keras .h5",
        **dict.fromkeys(FILES, "the authors' base model, .hdf5"),
    },
    registered={name: name for name in FILES},
)
