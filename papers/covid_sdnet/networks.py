"""The networks of each row of the tables: how they are built, compiled, loaded and asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from covid_keras.common.errors import UserError
from covid_keras.models.registry import find_weights, load_registry
from covid_keras.paper.protocol import Protocol, TrainingSettings
from papers.covid_sdnet.settings import Options, options_of

if TYPE_CHECKING:
    import keras

CAPS_FILE = "covid_caps_binary_86"


def initial_weights(protocol: Protocol, name: str) -> str:
    """Return the initial weights of a network other than ResNet-50: the user's file, "imagenet", or "none"."""
    return protocol.files.get(name) or ("none" if protocol.weights == "none" else "imagenet")


def imagenet_scaling(images: Any) -> Any:
    """Scale as keras.applications' ResNet-50 expects: BGR order, ImageNet channel means subtracted, from 0..255."""
    import keras

    return keras.applications.resnet50.preprocess_input(images)


def build_resnet50_classifier(protocol: Protocol, classes: tuple[str, ...]) -> keras.Model:
    """ResNet-50, Dense 512 ReLU, Dense softmax; all layers fine-tuned (section IV-C)."""
    from covid_keras.models import build_resnet50

    options = options_of(protocol)
    return build_resnet50(
        (*protocol.size, 3),
        len(classes),
        weights=protocol.weights,
        batchnorm_momentum=options.batchnorm_momentum,
    )


def build_twins(protocol: Protocol, classes: tuple[str, ...]) -> keras.Model:
    """The same network with four outputs, applied to both transformed versions of an image (section IV-D)."""
    from papers.covid_sdnet.fusion import FOUR

    return build_resnet50_classifier(protocol, FOUR)


def build_cit(protocol: Protocol, classes: tuple[str, ...]) -> keras.Model:
    """Build the class-inherent transformation network: a generator a class, ResNet-18, VGG-16 (section IV-B).

    Without ImageNet weights there is no perceptual loss: VGG-16 at random would teach the generators nothing.
    """
    from covid_keras.models.resnet18 import build_resnet18
    from papers.covid_sdnet.cit import CiTNetwork, build_perceptual
    from papers.covid_sdnet.generator import build_generator

    cit = options_of(protocol).cit
    size = cit.size or protocol.size
    generators = [build_generator(size, cit.filters, name=f"generator_{name}") for name in classes]
    classifier = build_resnet18(
        (*size, 3), len(classes), weights=initial_weights(protocol, "resnet18"), frozen=cit.frozen
    )
    vgg = initial_weights(protocol, "vgg16")
    perceptual = build_perceptual(vgg, size) if cit.perceptual and vgg != "none" else None
    return CiTNetwork(generators, classifier, perceptual)


def compile_cit(model: keras.Model, training: TrainingSettings, protocol: Protocol, counts: np.ndarray) -> None:
    """Attach the three optimisers and the losses; a class of fewer images weighs more, equal classes 1."""
    weights = counts.max() / np.maximum(counts, 1)
    model.compile_cit(
        cit_settings(options_of(protocol), training, model.perceptual is not None), weights / weights.max()
    )


def cit_settings(options: Options, training: TrainingSettings, perceptual: bool) -> Any:
    """Return the settings of the transformation network's training."""
    from papers.covid_sdnet.cit import CiTSettings

    cit = options.cit
    return CiTSettings(
        lambda_=cit.lambda_,
        perceptual=cit.perceptual if perceptual else 0.0,
        total_variation=cit.total_variation,
        generator_rate=cit.generator_rate,
        generator_decay=cit.generator_decay,
        classifier_rate=training.optimizer.learning_rate,
        classifier_step=cit.classifier_step,
        filters=cit.filters,
    )


def cit_callbacks(protocol: Protocol) -> list[Any]:
    """The classifier's learning rate by epoch."""
    from papers.covid_sdnet.cit import rate_callback

    return [rate_callback(cit_settings(options_of(protocol), protocol.training_of("fucitnet"), False))]


def decide_fucitnet(outputs: np.ndarray, classes: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Decide by the largest of the logits of both transformed versions (the authors' own test program).

    The score of a class is its largest softmax probability among them, as a share of the sum over classes.
    """
    from papers.covid_sdnet.cit import fuse_logits

    logits = outputs[:, 0].astype(np.float64)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True)).reshape(len(logits), -1, len(classes)).max(axis=1)
    return fuse_logits(logits, len(classes)), odds / odds.sum(axis=1, keepdims=True)


def evidence_fucitnet(model: keras.Model, inputs: np.ndarray, name: str) -> tuple[keras.Model, np.ndarray, int]:
    """The evidence for a class: what the classifier sees in the image that the class's own generator made."""
    from papers.covid_sdnet.cohorts import CLASSES

    index = CLASSES.index(name)
    # As the decision sees it: not clipped to grey levels.
    return model.classifier, model.generators[index].predict(inputs[:, 0], verbose=0), index


def decide_covid_sdnet(outputs: np.ndarray, classes: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Fuse the twins' softmax outputs for x+ (first view) and x- by the paper's rules (section IV-D)."""
    from papers.covid_sdnet.fusion import fuse

    positive, score = fuse(outputs[:, 0], outputs[:, 1])
    return positive.astype(np.int64), np.stack([1 - score, score], axis=1)


def build_covid_caps_retrained(protocol: Protocol, classes: tuple[str, ...]) -> keras.Model:
    """COVID-CAPS from random weights."""
    from covid_keras.models import build_covid_caps

    return build_covid_caps((*options_of(protocol).covid_caps.size, 3), len(classes))


def compile_covid_caps(model: keras.Model, training: TrainingSettings, protocol: Protocol, counts: np.ndarray) -> None:
    """Attach Adam and the margin loss; no class weights, as the paper retrains it."""
    from covid_keras.training.execution import make_optimizer
    from papers.covid_sdnet.margin import MarginLoss

    del protocol, counts
    model.compile(make_optimizer(training.optimizer), MarginLoss(), metrics=["accuracy"], jit_compile=False)


def caps_file(protocol: Protocol) -> Path:
    """Return the authors' COVID-CAPS file: the one given, else the registered one where it is here, checked."""
    given = protocol.files.get("covid_caps")
    return Path(given) if given else find_weights(CAPS_FILE).path


def caps_missing(protocol: Protocol, data: Path | None) -> str | None:
    """Return None where the authors' file is at hand."""
    try:
        caps_file(protocol)
    except UserError as error:
        return f"not run: {error.subject} {error.problem}; `covid-keras weights download {CAPS_FILE}`"
    return None


def released_caps_size() -> tuple[int, int]:
    """Return height and width that the released COVID-CAPS was trained on."""
    height, width, _ = load_registry()[CAPS_FILE].input_shape
    return height, width


def restore_covid_caps(protocol: Protocol, classes: tuple[str, ...]) -> keras.Model:
    """COVID-CAPS with its authors' weights, at their 224 pixels."""
    from covid_keras.models import build_covid_caps, load_weights

    size = load_registry()[CAPS_FILE].input_shape
    model = build_covid_caps(size, len(classes))
    load_weights(model, caps_file(protocol))
    return model


def build_covidnet_retrained(protocol: Protocol, classes: tuple[str, ...]) -> keras.Model:
    """A surrogate of COVIDNet-CXR A, whose widths were never published; three outputs."""
    from covid_keras.models import build_covidnet

    covidnet = options_of(protocol).covidnet
    weights = initial_weights(protocol, "resnet50v2") if covidnet.variant == "large" else "none"
    return build_covidnet(
        (*covidnet.size, 3), len(classes), covidnet.variant, weights, batchnorm_momentum=covidnet.batchnorm_momentum
    )


def compile_covidnet(model: keras.Model, training: TrainingSettings, protocol: Protocol, counts: np.ndarray) -> None:
    """Attach Adam and the weighted cross-entropy; COVID-19 weighs `positive_weight`."""
    from covid_keras.training.execution import make_optimizer
    from papers.covid_sdnet.weighted import WeightedCrossEntropy

    weights = [1.0] * len(counts)
    weights[1] = options_of(protocol).covidnet.positive_weight
    model.compile(
        make_optimizer(training.optimizer), WeightedCrossEntropy(weights), metrics=["accuracy"], jit_compile=False
    )


def plan_covidnet(labels: np.ndarray, training: TrainingSettings, protocol: Protocol, seed: int) -> np.ndarray:
    """Return the batches as COVIDNet draws them: the other classes in turn, some places taken by random positives."""
    from papers.covid_sdnet.weighted import covidnet_epoch

    others, positives = np.flatnonzero(labels != 1), np.flatnonzero(labels == 1)
    share = options_of(protocol).covidnet.positive_share
    return np.stack(
        [covidnet_epoch(others, positives, training.batch_size, share, seed, epoch) for epoch in range(training.epochs)]
    )


def covidnet_file_missing(protocol: Protocol, data: Path | None) -> str | None:
    """Return None where the user gave a COVIDNet checkpoint."""
    return None if "covidnet" in protocol.files else "checkpoint not obtainable"


def covidnet_given(protocol: Protocol) -> str:
    """Why the row of a given COVIDNet checkpoint cannot be compared."""
    return "the checkpoint given is not COVIDNet-CXR A, whose widths were never published"


def restore_covidnet(protocol: Protocol, classes: tuple[str, ...]) -> keras.Model:
    """The COVIDNet of the protocol's variant with the weights of the user's file."""
    from covid_keras.models import build_covidnet, load_weights

    covidnet = options_of(protocol).covidnet
    model = build_covidnet((*covidnet.size, 3), 3, variant=covidnet.variant)
    load_weights(model, protocol.files["covidnet"])
    return model


def covidnet_surrogate(protocol: Protocol) -> str:
    """Why no COVIDNet row can be compared."""
    return (
        "surrogate network: widths and checkpoint of COVIDNet-CXR A are not obtainable "
        f"(variant {options_of(protocol).covidnet.variant} trained here)"
    )
