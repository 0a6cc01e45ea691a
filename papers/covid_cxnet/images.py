"""Preparations of radiographs per network (section 3.2)."""

from __future__ import annotations

from covid_keras.data.preparation import Preparation
from covid_keras.paper.protocol import Protocol
from papers.covid_cxnet.settings import options_of


def _chain(protocol: Protocol, size: tuple[int, int], roi: bool = False) -> Preparation:
    """Section 3.2 as in the authors' code: crop and enhance in the frame, then resize to the network's input."""
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
    """The whole radiograph in grey, resized to the larger of frame and network's input."""
    options = options_of(protocol)
    frame = tuple(max(pair) for pair in zip(options.frame, size, strict=True))
    return Preparation(size=size, frame=frame, interpolation="cubic", overflow=options.overflow)


def grey_image(protocol: Protocol) -> Preparation:
    """Whole radiograph in grey, for base v1."""
    return _grey(protocol, options_of(protocol).base_v1)


def base_image(protocol: Protocol) -> Preparation:
    """Whole radiograph, enhanced, for base v2."""
    return _chain(protocol, options_of(protocol).base_v2)


def whole_image(protocol: Protocol) -> Preparation:
    """Whole radiograph, enhanced, for COVID-CXNet v1."""
    return _chain(protocol, protocol.size)


def lung_image(protocol: Protocol) -> Preparation:
    """Box of the lungs, enhanced, for COVID-CXNet v2 and the three-class networks."""
    return _chain(protocol, protocol.size, roi=True)


def densenet_image(protocol: Protocol) -> Preparation:
    """Whole radiograph, enhanced, for the DenseNet-121 baseline."""
    return _chain(protocol, options_of(protocol).baselines.densenet)


def resnet_image(protocol: Protocol) -> Preparation:
    """Whole radiograph in grey, for the ResNet-50 baseline."""
    return _grey(protocol, options_of(protocol).baselines.resnet)
