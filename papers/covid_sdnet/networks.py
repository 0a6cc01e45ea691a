"""The networks of each row of the tables: builders, initial weights, checkpoints."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from covid_keras.common.errors import UserError
from covid_keras.models.registry import load_registry
from covid_keras.models.weight_kinds import require_weight_file
from covid_keras.paper.initial_weights import require_full_width, weight_file, weight_file_missing
from covid_keras.paper.protocol import Protocol, TrainingSettings
from papers.covid_sdnet.cohorts import COVIDNET_CLASSES
from papers.covid_sdnet.settings import Options, options_of

if TYPE_CHECKING:
    import keras

# COVID-CAPS: name in --checkpoint NAME=FILE, registered file.
CAPS, CAPS_FILE = "covid_caps", "covid_caps_binary_86"


def initial_weights(protocol: Protocol, name: str) -> str:
    """Return the initial weights of a network other than ResNet-50: the user's file, "imagenet", or "none"."""
    return protocol.files.get(name) or ("none" if protocol.weights == "none" else "imagenet")


def imagenet_scaling(images: Any) -> Any:
    """Scale as keras.applications' ResNet-50 expects: BGR order, ImageNet channel means subtracted, from 0..255."""
    import keras

    return keras.applications.resnet50.preprocess_input(images)


def build_resnet50_classifier(protocol: Protocol, classes: tuple[str, ...]) -> keras.Model:
    """Build ResNet-50, Dense 512 ReLU, Dense softmax; all layers fine-tuned (section IV)."""
    from covid_keras.models import build_resnet50
    from covid_keras.models.steady import narrowed

    options = options_of(protocol)
    model = build_resnet50(
        (*protocol.size, 3),
        len(classes),
        weights=protocol.weights,
        batchnorm_momentum=options.batchnorm_momentum,
    )
    return narrowed(model, options.width)


def build_twins(protocol: Protocol, classes: tuple[str, ...]) -> keras.Model:
    """Build the same network with four outputs, applied to both transformed versions of an image (section IV)."""
    from papers.covid_sdnet.fusion import FOUR

    return build_resnet50_classifier(protocol, FOUR)


def build_cit(protocol: Protocol, classes: tuple[str, ...], random: bool = False) -> keras.Model:
    """Build the class-inherent transformation network: one generator per class, ResNet-18, VGG-16 (section IV-2).

    Without ImageNet weights there is no perceptual loss, since the features of a random VGG-16 mean nothing. With
    `random`, the same network as with the protocol's weights gets random ones, to measure its cost.
    """
    from covid_keras.models.resnet18 import build_resnet18
    from covid_keras.models.steady import narrowed
    from papers.covid_sdnet.cit import CiTNetwork
    from papers.covid_sdnet.cit_losses import build_perceptual
    from papers.covid_sdnet.generator import build_generator

    options = options_of(protocol)
    cit = options.cit
    size = cit.size or protocol.size
    # A scope of TensorFlow has a name without blanks.
    names = [re.sub(r"\W", "_", name) for name in classes]
    generators = [build_generator(size, cit.filters, name=f"generator_{name}") for name in names]
    resnet, vgg = (initial_weights(protocol, name) for name in ("resnet18", "vgg16"))
    classifier = build_resnet18((*size, 3), len(classes), weights="none" if random else resnet, frozen=cit.frozen)
    wanted = cit.perceptual and vgg != "none"
    perceptual = build_perceptual("none" if random else vgg, size) if wanted else None
    return CiTNetwork(generators, narrowed(classifier, options.width), perceptual)


def cit_settings(options: Options, training: TrainingSettings, perceptual: bool) -> Any:
    """Return the settings of the transformation network's training."""
    from papers.covid_sdnet.cit import CiTSettings

    settings = CiTSettings(**vars(options.cit), classifier_rate=training.optimizer.learning_rate)
    return settings if perceptual else replace(settings, perceptual=0.0)


def build_covid_caps_retrained(protocol: Protocol, classes: tuple[str, ...]) -> keras.Model:
    """Build COVID-CAPS with random weights; `fine_tune_caps` loads a checkpoint."""
    from covid_keras.models import build_covid_caps
    from covid_keras.models.steady import he_initialised

    options = options_of(protocol).covid_caps
    model = build_covid_caps((*options.size, 3), len(classes))
    return he_initialised(model) if options.initial == "he" else model


def fine_tune_caps(model: keras.Model, protocol: Protocol) -> None:
    """Load the released checkpoint, unless the protocol asks for random initial weights."""
    from covid_keras.models import load_weights

    if options_of(protocol).covid_caps.initial == "released":
        load_weights(model, weight_file(protocol, CAPS, CAPS_FILE))


def caps_missing(protocol: Protocol) -> str | None:
    """Return None if the COVID-CAPS checkpoint is available, else the reason."""
    return weight_file_missing(protocol, CAPS, CAPS_FILE)


def released_caps_size() -> tuple[int, int]:
    """Return the height and width of the images on which the released COVID-CAPS was trained."""
    height, width, _ = load_registry()[CAPS_FILE].input_shape
    return height, width


def restore_covid_caps(protocol: Protocol, classes: tuple[str, ...]) -> keras.Model:
    """Build COVID-CAPS with its authors' weights, at their 224 pixels."""
    from covid_keras.models import build_covid_caps, load_weights

    size = load_registry()[CAPS_FILE].input_shape
    model = build_covid_caps(size, len(classes))
    load_weights(model, weight_file(protocol, CAPS, CAPS_FILE))
    return model


def covidnet_weights(protocol: Protocol) -> str:
    """Return the initial weights of COVIDNet; "none" if `fine_tune_covidnet` loads a checkpoint."""
    if options_of(protocol).covidnet.variant != "large" or "covidnet" in protocol.files:
        return "none"
    return initial_weights(protocol, "resnet50v2")


def build_covidnet_retrained(protocol: Protocol, classes: tuple[str, ...]) -> keras.Model:
    """Build a surrogate of COVIDNet-CXR A, whose widths were never published, with three outputs."""
    from covid_keras.models import build_covidnet
    from covid_keras.models.steady import narrowed

    options = options_of(protocol)
    covidnet = options.covidnet
    model = build_covidnet(
        (*covidnet.size, 3),
        len(classes),
        covidnet.variant,
        covidnet_weights(protocol),
        batchnorm_momentum=covidnet.batchnorm_momentum,
    )
    return narrowed(model, options.width)


def fine_tune_covidnet(model: keras.Model, protocol: Protocol, classes: tuple[str, ...]) -> None:
    """Load the user's checkpoint, if any, with its three output neurons in the order of `classes`."""
    from covid_keras.models import load_weights

    if "covidnet" not in protocol.files:
        return
    load_weights(model, protocol.files["covidnet"])
    head, order = model.get_layer("probability"), [COVIDNET_CLASSES.index(name) for name in classes]
    head.set_weights([tensor[..., order] for tensor in head.get_weights()])


def restore_covidnet(protocol: Protocol, classes: tuple[str, ...]) -> keras.Model:
    """Build the protocol's variant of COVIDNet with the weights of the user's file."""
    from covid_keras.models import build_covidnet, load_weights

    covidnet = options_of(protocol).covidnet
    model = build_covidnet((*covidnet.size, 3), 3, variant=covidnet.variant)
    load_weights(model, protocol.files["covidnet"])
    return model


def perceptual_unread(protocol: Protocol) -> tuple[str, str] | None:
    """Return reason and remedy if the protocol has a perceptual loss but no weights for it, else None."""
    if not options_of(protocol).cit.perceptual or initial_weights(protocol, "vgg16") != "none":
        return None
    return "VGG-16 would be random, so the loss is left out", "Give --checkpoint vgg16=FILE"


def resnet18_missing(protocol: Protocol) -> str | None:
    """Return None if the initial weights of FuCiTNet's classifier are available or not wanted, else the reason."""
    if protocol.weights != "none" and "resnet18" not in protocol.files:
        return "ResNet-18's ImageNet weights are not given: --checkpoint resnet18=FILE (torchvision's)"
    return None


def check(protocol: Protocol) -> None:
    """Raise `UserError` if initial weights are missing or do not fit the protocol."""
    fine_tuned = ("covidnet",) if any(name.startswith("covidnet_retrained") for name in protocol.systems) else ()
    require_full_width(protocol, options_of(protocol).width, ("resnet18", "resnet50v2", *fine_tuned))
    for name in {"covid_caps", "covidnet"} & set(protocol.files):
        require_weight_file(protocol.files[name])
    needed = any(name.startswith("fucitnet") for name in protocol.systems)
    if needed and initial_weights(protocol, "resnet18") == "none" and options_of(protocol).cit.frozen:
        raise UserError(
            "--weights none",
            "would freeze the first half of ResNet-18 at random values",
            "Add --set options.cit.frozen=false",
        )
