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
    from matplotlib.figure import Figure

    from covid_keras.reporting.examples import Examples

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


def pictures_of_whole(examples: Examples) -> list[tuple[str, str, Figure]]:
    """Figures 2, 3, 12, 14 and 17 of the paper, of the examples."""
    from papers.covid_cxnet.figures import enhancement_pictures, explanation_pictures
    from papers.covid_cxnet.probing import probe_pictures

    return [*enhancement_pictures(examples), *explanation_pictures(examples), *probe_pictures(examples)]


def pictures_of_lungs(examples: Examples) -> list[tuple[str, str, Figure]]:
    """Figures 4, 12, 17 and 18 of the paper, of the examples."""
    from papers.covid_cxnet.figures import explanation_pictures, roi_pictures

    return [*roi_pictures(examples), *explanation_pictures(examples)]


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
CXNET_V1 = dataclasses.replace(_CXNET, pictures=pictures_of_whole)
CXNET_V2 = dataclasses.replace(
    _CXNET, name="cxnet_v2", title="COVID-CXNet v2", preparation=lung_image, pictures=pictures_of_lungs
)
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
    evidence_note="The map for normal is of level 1, those for CAP and COVID-19 are of level 2.",
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
        pictures=None,  # those of its twin say what there is to see
    )


DISJOINT = (BASE_V1, BASE_V2, CXNET_V1, CXNET_V2, FLAT, LEVEL1, LEVEL2, HIERARCHICAL)
LEAKS = {"small": "small_leaky", "base": "base_leaky", "binary": "binary_leaky", "": "three_leaky"}

NOTES = (
    (
        "Class is collection",
        "COVID-19 images come from COVID-CXNet, which gathered them from publications and the web, normal and CAP "
        "images from NIH ChestX-ray14: a network can win by telling collections apart, without looking at any lung. "
        "This holds for the paper as for us; the external test and the shares of heat in the lungs show how much.",
    ),
    (
        "Patients",
        "Half of the COVID-19 images have no patient id and count as one patient each; NIH patients appear among "
        'normal and CAP images and stay on one side of a split, as do near-duplicates. In the rows "split as '
        'published" images are divided at random as the authors did (seed 18), and the test part chooses the epoch: '
        "those numbers are flattered, and shown to say by how much.",
    ),
    (
        "The external test is small",
        "Of Cohen's collection only patients count of whom no image is, or looks like, one of the other cohorts: in "
        "profile cpu 30 with COVID-19 and 6 normal ones, where the paper has 30 and 30. Accuracy and F-score depend on "
        "that mixture (who always says COVID-19 has an F-score of 0.91 here, of 0.67 there): read sensitivity and "
        "specificity.",
    ),
    (
        "Flat and hierarchical",
        "In profile cpu the two levels are trained with class weights, somewhat longer and with milder augmentation "
        "than the flat network: the difference between them is not that of the scheme alone.",
    ),
    (
        "The U-Net knows some of the images",
        "The shipped lung U-Net was trained on human masks of Cohen's collection, which shares many images with "
        "COVID-CXNet, and on no NIH radiograph: lung boxes may be better on COVID-19 images.",
    ),
)

PAPER = Paper(
    name="covid_cxnet",
    aliases=("haghanifar",),
    title="COVID-CXNet: Detecting COVID-19 in frontal chest X-ray images using deep learning",
    citation="A. Haghanifar et al., arXiv 2006.13807, version of 30 July 2020",
    doi="10.48550/arXiv.2006.13807",
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
    proposed=("cxnet_v1", "cxnet_v2", "flat", "hierarchical"),
    notes=NOTES,
    leaks=tuple((system.name + LEAKY, system.name) for system in DISJOINT),
    heat_pairs=(("cxnet_v2", "cxnet_v1"),),
    lung_mode=lambda protocol: "authors" if options_of(protocol).roi.mode == "authors" else "shipped",
    sources=sources,
)
