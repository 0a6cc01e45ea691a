"""The three networks: DenseNet-201, ResNet-152 and VGG-19 with new dense layers, and the stages of their unfreezing.

Each is a backbone, pooling, one dense layer with ReLU (128, 1024 or 4096 units), dropout 0.1, and three softmax outputs
or one sigmoid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from covid_keras.common.errors import UserError
from covid_keras.paper.initial_weights import check_initial_weights
from covid_keras.paper.protocol import Protocol
from papers.hertel_ensemble.segmenter import segmenter_settings
from papers.hertel_ensemble.settings import options_of

if TYPE_CHECKING:
    import keras

DROPOUT = 0.1
HEAT_LAYERS = {"densenet201": "relu", "resnet152": "conv5_block3_out", "vgg19": "block5_conv"}
_SMALLEST = 32


@dataclass(frozen=True)
class Network:
    """One of the three networks.

    Attributes
    ----------
    title, kind, shallow : str
        Its name in the tables, its name in `keras.applications`, and that of the shallowest network of its family.
    units : int
        Units of the new dense layer.
    groups : tuple of tuple of str
        Prefixes of the names of layers that are unfrozen together, the topmost group first. Layers between two blocks
        belong to the lower one, the stem to the lowest.
    """

    title: str
    kind: str
    shallow: str
    units: int
    groups: tuple[tuple[str, ...], ...]


NETWORKS = {
    "densenet201": Network(
        "DenseNet-201",
        "DenseNet201",
        "DenseNet121",
        128,
        (
            ("conv5_", "bn", "relu"),
            ("conv4_", "pool4_"),
            ("conv3_", "pool3_"),
            ("conv2_", "pool2_", "conv1_", "pool1", "zero_padding2d"),
        ),
    ),
    "resnet152": Network(
        "ResNet-152",
        "ResNet152",
        "ResNet50",
        1024,
        (("conv5_",), ("conv4_",), ("conv3_",), ("conv2_", "conv1_", "pool1_")),
    ),
    "vgg19": Network(
        "VGG-19", "VGG19", "VGG16", 4096, (("block5_",), ("block4_",), ("block3_",), ("block2_",), ("block1_",))
    ),
}


def builder(name: str) -> Callable[[Protocol, tuple[str, ...]], keras.Model]:
    """Return the builder of one of `NETWORKS` for `covid_keras.paper.paper.System`."""

    def build(protocol: Protocol, classes: tuple[str, ...]) -> keras.Model:
        options = options_of(protocol)
        return build_network(
            name,
            (*protocol.size, 3),
            len(classes),
            weights=protocol.files.get(name, protocol.weights),
            pooling=options.pooling,
            steady=options.statistics == "frozen",
            width=options.width,
            batchnorm_momentum=options.batchnorm_momentum,
            shallow=options.shallow,
        )

    return build


def build_network(
    name: str,
    input_shape: tuple[int, int, int] = (256, 256, 3),
    classes: int = 3,
    weights: str | Path = "imagenet",
    pooling: str = "average",
    steady: bool = True,
    width: float = 1.0,
    batchnorm_momentum: float | None = None,
    shallow: bool = False,
) -> keras.Model:
    """Build DenseNet-201, ResNet-152 (version 1) or VGG-19 without top, with the paper's new layers.

    Parameters
    ----------
    name : str
        Key of `NETWORKS`.
    input_shape : tuple of int
        Height, width, 3; at least 32. Images are standardised one by one.
    classes : int
        2 gives one sigmoid, the probability of the second class; more give one softmax output per class.
    weights : {"imagenet", "none"} or path
        Initial weights of the backbone; a file must be keras.applications' `notop` one.
    pooling : {"average", "flatten"}
        Global average pooling, or all positions of the last feature maps.
    steady : bool
        Whether batch-normalisation statistics can be frozen (see `covid_keras.models.steady`).
    width : float
        Width relative to the published filters and units; below 1 with "none" only.
    batchnorm_momentum : float, optional
        See `covid_keras.models.backbones.set_batchnorm_momentum`.
    shallow : bool
        Build DenseNet-121, ResNet-50 or VGG-16 instead.

    Returns
    -------
    keras.Model
        Uncompiled and flat, backbone layers named as in keras.applications; output float32 (batch, 1 or classes).

    Raises
    ------
    UserError
        If ImageNet weights cannot be downloaded, or the file is missing or does not fit.
    ValueError
        If the pooling is unknown, or `width` is combined with weights.
    """
    import keras
    from keras import layers

    if pooling not in ("average", "flatten"):
        raise ValueError(f"pooling must be average or flatten, not {pooling!r}")
    if width != 1 and weights != "none":
        raise ValueError("width other than 1 requires random initial weights")
    network = NETWORKS[name]
    kind = network.shallow if shallow else network.kind
    base = _backbone(kind, input_shape, weights, steady, width, batchnorm_momentum)
    pool = layers.GlobalAveragePooling2D(name="pooling") if pooling == "average" else layers.Flatten(name="pooling")
    x = pool(base.output)
    x = layers.Dense(max(1, round(width * network.units)), activation="relu", name="hidden")(x)
    x = layers.Dropout(DROPOUT, name="dropout")(x)
    single = classes == 2
    # float32 also under a mixed-precision policy: a probability in bfloat16 has three digits.
    x = layers.Dense(
        1 if single else classes, activation="sigmoid" if single else "softmax", dtype="float32", name="probability"
    )(x)
    return keras.Model(base.input, x, name=name)


def _backbone(
    kind: str,
    input_shape: tuple[int, int, int],
    weights: str | Path,
    steady: bool,
    width: float,
    momentum: float | None,
) -> keras.Model:
    import keras

    from covid_keras.models.backbones import load_backbone
    from covid_keras.models.steady import he_initialised, narrowed, steadied

    inputs = keras.Input(input_shape, name="radiograph")
    make = getattr(keras.applications, kind)
    base = load_backbone(
        kind, lambda given: make(include_top=False, weights=given, input_tensor=inputs), weights, momentum
    )
    if width != 1:
        base = narrowed(base, width)
    if weights == "none" and kind.startswith("VGG"):
        base = he_initialised(base)
    return steadied(base) if steady and not kind.startswith("VGG") else base


def step_unread(protocol: Protocol) -> tuple[str, str] | None:
    """Return reason and remedy if no grid of the ensemble's weights is searched, else None."""
    if (weights := options_of(protocol).ensemble.weights) == "validation":
        return None
    return f"{weights} weights are not searched", "Set options.ensemble.weights to validation"


def momentum_unread(protocol: Protocol) -> tuple[str, str] | None:
    """Return reason and remedy if all statistics of batch normalisation are frozen, else None."""
    trainings = [protocol.training_of(name).unfreeze for name in NETWORKS]
    if options_of(protocol).statistics == "trained" or any(one.epochs and one.scratch for one in trainings):
        return None
    return "the statistics are frozen", "Set options.statistics to trained"


def check(protocol: Protocol) -> None:
    """Raise `UserError` for settings that exclude each other."""
    options = options_of(protocol)
    segmenter_settings(protocol)
    check_initial_weights(protocol, NETWORKS, "three networks", options.width)
    if min(protocol.size) < _SMALLEST:
        raise UserError(f"size {protocol.size}", "is too small for five halvings", f"At least {_SMALLEST}")
    if options.statistics == "frozen":
        _check_statistics(protocol)


def _check_statistics(protocol: Protocol) -> None:
    """Raise `UserError` if the frozen statistics would be those of random initial weights."""
    for name, network in NETWORKS.items():
        unfreeze = protocol.training_of(name).unfreeze
        measured = protocol.weights != "none" or name in protocol.files or (unfreeze.epochs and unfreeze.scratch)
        if network.kind.startswith("VGG") or measured:  # VGG has none
            continue
        raise UserError(
            "options.statistics frozen",
            f"would freeze statistics of {network.title} that were never fitted: its initial weights are random",
            "Set training.unfreeze epochs and scratch, use --weights imagenet, or set options.statistics to trained",
        )
