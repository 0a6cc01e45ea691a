"""The systems of COVID-CXNet that are trained here, one per row of its tables."""

from __future__ import annotations

from dataclasses import replace

from papers.covid_cxnet import images, networks
from papers.covid_cxnet.cohorts import CAP, CLASSES, COVID, NORMAL, NORMAL_CHILD, OUTSIDE, PNEUMONIA
from papers.covid_cxnet.systems import Baseline, External, Flat, Hierarchical, Level, Single, leaky, on_fewer

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
# The authors' division in place of the disjoint one.
LEAKS = {"small": "small_leaky", "base": "base_leaky", "binary": "binary_leaky", "": "three_leaky"}
ON_PUBLISHED_SPLIT = tuple(leaky(system, LEAKS[system.split]) for system in DISJOINT)
