"""COVID-CXNet (Haghanifar et al. 2020), composed from the core: every row of its tables as a system."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from covid_keras.data.cohort import Cohort
from covid_keras.data.preparation import Preparation
from covid_keras.paper.paper import Paper, System
from covid_keras.paper.protocol import Protocol
from papers.covid_cxnet import networks
from papers.covid_cxnet.cohorts import CAP, CLASSES, COVID, NORMAL, OUTSIDE, PNEUMONIA, available, make_cohort, sources
from papers.covid_cxnet.settings import options_of

if TYPE_CHECKING:
    pass

LEAKY = "_leaky"
BINARY = (NORMAL, COVID)


def _chain(protocol: Protocol, size: tuple[int, int], roi: bool = False) -> Preparation:
    """Section 3.2 as the authors' code runs it: everything in the frame, then the network's size."""
    options = options_of(protocol)
    crop = {"crop": "lungs", "dilate": options.roi.dilate, "margin_pixels": options.roi.margin_pixels} if roi else {}
    return Preparation(
        size=size,
        frame=options.frame,
        interpolation="cubic",
        overflow=options.overflow,
        enhance="stack",
        stack_order=options.order,
        **crop,
    )


def _grey(protocol: Protocol, size: tuple[int, int]) -> Preparation:
    """The whole radiograph in grey: in the frame, or in the network's own size where that is larger."""
    options = options_of(protocol)
    frame = tuple(max(pair) for pair in zip(options.frame, size, strict=True))
    return Preparation(size=size, frame=frame, interpolation="cubic", overflow=options.overflow)


def grey_image(protocol: Protocol) -> Preparation:
    """The whole radiograph in grey (base v1)."""
    return _grey(protocol, options_of(protocol).base_v1)


def base_image(protocol: Protocol) -> Preparation:
    """The whole radiograph, enhanced (base v2)."""
    return _chain(protocol, options_of(protocol).base_v2)


def whole_image(protocol: Protocol) -> Preparation:
    """The whole radiograph, enhanced (COVID-CXNet v1)."""
    return _chain(protocol, protocol.size)


def lung_image(protocol: Protocol) -> Preparation:
    """The box of the lungs, enhanced (COVID-CXNet v2 and the three-class networks)."""
    return _chain(protocol, protocol.size, roi=True)


def densenet_image(protocol: Protocol) -> Preparation:
    """The whole radiograph, enhanced, at the size of the DenseNet-121 baseline."""
    return _chain(protocol, options_of(protocol).baselines.densenet)


def resnet_image(protocol: Protocol) -> Preparation:
    """The whole radiograph in grey, at the size of the ResNet-50 baseline."""
    return _grey(protocol, options_of(protocol).baselines.resnet)


def first_covid(cohort: Cohort, part: np.ndarray) -> int:
    """Return the row of the template of histogram matching: the first COVID-19 image of the training part.

    The authors take the first of all images, wherever it falls in the split.
    """
    return int(np.flatnonzero((cohort.table["label"] == COVID).to_numpy() & (part == "train"))[0])


def outside(cohort: Cohort, splits: pd.DataFrame, classes: tuple[str, ...], seed: int) -> np.ndarray:
    """Return which images are of a collection that nothing is trained on, bool (n,)."""
    return cohort.table["label"].isin(OUTSIDE).to_numpy()


def mixture(protocol: Protocol) -> str:
    """Say why the external test cannot be compared: the paper's 60 images are not known."""
    return "other external images than the paper's 30 and 30, and far fewer normal ones"


_CXNET = System(
    "cxnet_v1",
    "COVID-CXNet v1",
    whole_image,
    networks.build_covid_cxnet,
    classes=BINARY,
    scored=BINARY,
    split="binary",
    evidence=networks.evidence_single,
)
BASE_V1 = dataclasses.replace(
    _CXNET,
    name="base_v1",
    title="Base Model v1",
    preparation=grey_image,
    build=networks.build_base_v1,
    channels=1,
    split="small",
)
BASE_V1_EXTERNAL = dataclasses.replace(
    BASE_V1,
    name="base_v1_external",
    title="Base Model v1, other sources",
    settings="base_v1",
    surrogate=mixture,
    after="base_v1",
    compose=networks.same_network,
    everywhere=True,
    relabel=OUTSIDE,
    cases=outside,
)
BASE_V2 = dataclasses.replace(
    _CXNET, name="base_v2", title="Base Model v2", preparation=base_image, build=networks.build_base_v2, split="base"
)
DENSENET = dataclasses.replace(
    _CXNET,
    name="densenet121",
    title="DenseNet-121 (ImageNet)",
    preparation=densenet_image,
    build=networks.build_densenet,
    missing=networks.baselines_missing,
)
RESNET = dataclasses.replace(
    _CXNET,
    name="resnet50",
    title="ResNet-50 (ImageNet)",
    preparation=resnet_image,
    build=networks.build_resnet,
    missing=networks.baselines_missing,
)
CXNET_V1 = _CXNET
CXNET_V2 = dataclasses.replace(_CXNET, name="cxnet_v2", title="COVID-CXNet v2", preparation=lung_image)
FLAT = System(
    "flat",
    "Flat Multiclass COVID-CXNet",
    lung_image,
    networks.build_covid_cxnet,
    classes=CLASSES,
    scored=CLASSES,
    template=first_covid,
)
LEVEL1 = dataclasses.replace(
    FLAT,
    name="level1",
    title="Hierarchical, level 1 (normal or pneumonia)",
    classes=(NORMAL, PNEUMONIA),
    scored=(NORMAL, PNEUMONIA),
    relabel={CAP: PNEUMONIA, COVID: PNEUMONIA},
    evidence=lambda model, inputs, name: (model, inputs[:, 0], int(name == PNEUMONIA)),
)
LEVEL2 = dataclasses.replace(
    FLAT,
    name="level2",
    title="Hierarchical, level 2 (CAP or COVID-19)",
    classes=(CAP, COVID),
    scored=(CAP, COVID),
    after="level1",
    evidence=networks.evidence_single,
)
HIERARCHICAL = dataclasses.replace(
    FLAT,
    name="hierarchical",
    title="Hierarchical Multiclass COVID-CXNet",
    after="level2",
    compose=networks.hierarchy,
    decide=networks.decide_hierarchy,
    evidence=networks.evidence_hierarchy,
)


def leaky(system: System, split: str) -> System:
    """Return the same system on the authors' division by image, whose test part chooses the epoch too."""
    return dataclasses.replace(
        system,
        name=system.name + LEAKY,
        title=f"{system.title}, split as published",
        settings=system.settings or system.name,
        split=split,
        after=system.after and system.after + LEAKY,
    )


DISJOINT = (BASE_V1, BASE_V2, CXNET_V1, CXNET_V2, FLAT, LEVEL1, LEVEL2, HIERARCHICAL)
LEAKS = {"small": "small_leaky", "base": "base_leaky", "binary": "binary_leaky", "": "three_leaky"}


PAPER = Paper(
    name="covid_cxnet",
    aliases=("haghanifar",),
    title="COVID-CXNet: Detecting COVID-19 in frontal chest X-ray images using deep learning",
    citation="A. Haghanifar et al., arXiv 2006.13807, version of 30 July 2020",
    doi="10.48550/arXiv.2006.13807",
    report="papers.covid_cxnet.report",
    folder=Path(__file__).resolve().parent,
    systems=(
        BASE_V1,
        BASE_V1_EXTERNAL,
        BASE_V2,
        DENSENET,
        RESNET,
        CXNET_V1,
        CXNET_V2,
        FLAT,
        LEVEL1,
        LEVEL2,
        HIERARCHICAL,
        *(leaky(system, LEAKS[system.split]) for system in DISJOINT),
    ),
    cohort=make_cohort,
    available=available,
    files={networks.CHEXNET: "CheXNet: DenseNet-121 with 14 outputs, Keras .h5"},
    check=networks.check,
    lung_mode=lambda protocol: "authors" if options_of(protocol).roi.mode == "authors" else "shipped",
    sources=sources,
)
