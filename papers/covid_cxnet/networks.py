"""Builders of the networks of each row of the tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from covid_keras.common.errors import UserError
from covid_keras.models.weight_kinds import require_weight_file
from covid_keras.paper.initial_weights import require_full_width
from covid_keras.paper.protocol import Protocol
from papers.covid_cxnet.settings import options_of

if TYPE_CHECKING:
    import keras

CHEXNET = "chexnet"  # name of the weight file in --checkpoint NAME=FILE
LEVELS = ("level1", "level2")


def initial_weights(protocol: Protocol) -> str:
    """Return the initial weights of CheXNet's convolutions: the user's file, "imagenet" or "none"."""
    return protocol.files.get(CHEXNET) or protocol.weights


def build_base_v1(protocol: Protocol, classes: tuple[str, ...]) -> keras.Model:
    """Build the base CNN for grey images (section 4.1)."""
    from covid_keras.models import build_base_cnn

    return build_base_cnn((*options_of(protocol).base_v1, 1))


def build_base_v2(protocol: Protocol, classes: tuple[str, ...]) -> keras.Model:
    """Build the base CNN for enhanced images of three channels (section 4.1)."""
    from covid_keras.models import build_base_cnn

    return build_base_cnn((*options_of(protocol).base_v2, 3))


def build_covid_cxnet(protocol: Protocol, classes: tuple[str, ...]) -> keras.Model:
    """Build COVID-CXNet: one sigmoid for two classes, softmax for three (section 4.3)."""
    from covid_keras.models import build_cxnet
    from covid_keras.models.steady import narrowed

    options = options_of(protocol)
    model = build_cxnet(
        (*protocol.size, 3),
        1 if len(classes) == 2 else len(classes),
        weights=initial_weights(protocol),
        batchnorm_momentum=options.batchnorm_momentum,
    )
    return narrowed(model, options.width)


def build_densenet(protocol: Protocol, classes: tuple[str, ...]) -> keras.Model:
    """Build the DenseNet-121 baseline (section 4.2)."""
    from covid_keras.models.steady import narrowed
    from papers.covid_cxnet.baselines import build_densenet121

    options = options_of(protocol)
    model = build_densenet121(
        (*options.baselines.densenet, 3),
        protocol.weights,
        frozen=options.baselines.frozen,
        variant=options.baselines.variant,
        batchnorm_momentum=options.batchnorm_momentum,
    )
    return narrowed(model, options.width)


def build_resnet(protocol: Protocol, classes: tuple[str, ...]) -> keras.Model:
    """Build the ResNet-50 baseline (section 4.2)."""
    from covid_keras.models.steady import narrowed
    from papers.covid_cxnet.baselines import build_resnet50_baseline

    options = options_of(protocol)
    model = build_resnet50_baseline(
        (*options.baselines.resnet, 3),
        protocol.weights,
        frozen=options.baselines.resnet_frozen,
        batchnorm_momentum=options.batchnorm_momentum,
    )
    return narrowed(model, options.width)


def same_network(protocol: Protocol, classes: tuple[str, ...], parts: list[keras.Model]) -> keras.Model:
    """Return the network of the system that this one builds on, unchanged."""
    return parts[-1]


def hierarchy(protocol: Protocol, classes: tuple[str, ...], parts: list[keras.Model]) -> keras.Model:
    """Join both levels: output (batch, 2), P(pneumonia) of level 1 and P(COVID-19) of level 2."""
    import keras

    inputs = keras.Input(parts[0].input_shape[1:], name="radiograph")
    for name, part in zip(LEVELS, parts, strict=True):
        part.name = name
    return keras.Model(inputs, keras.layers.Concatenate(name="levels")([part(inputs) for part in parts]))


def check(protocol: Protocol) -> None:
    """Raise `UserError` for weight files that cannot be used, before the first training."""
    require_full_width(protocol, options_of(protocol).width, (CHEXNET,))
    for path in protocol.files.values():
        require_weight_file(path)
    if protocol.weights not in ("imagenet", "none") and {"densenet121", "resnet50"} <= set(protocol.systems):
        raise UserError(
            f"--weights {Path(protocol.weights).name}",
            "cannot be the initial weights of DenseNet-121 and of ResNet-50",
            "Leave one of them out by --set systems=[...]; CheXNet's file is given by --checkpoint chexnet=FILE",
        )


def chexnet_missing(protocol: Protocol) -> str | None:
    """Return None if COVID-CXNet's initial weights are available: a CheXNet file, or random ones if those are asked."""
    if protocol.weights == "imagenet" and CHEXNET not in protocol.files:
        return "no CheXNet weights, which cannot be downloaded: give --checkpoint chexnet=FILE, or --weights none"
    return None


def baselines_missing(protocol: Protocol, frozen: bool) -> str | None:
    """Return the reason not to train a baseline: its frozen layers would keep random weights; else None."""
    if protocol.weights == "none" and frozen:
        return "its frozen layers need ImageNet weights, and the protocol starts from random ones"
    return None
