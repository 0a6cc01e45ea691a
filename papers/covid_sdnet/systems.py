"""Systems of COVID-SDNet: compilation, inputs and evidence of each network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from covid_keras.common.errors import UserError
from covid_keras.data.cohort import Cohort
from covid_keras.data.prepared_images import PreparedImages
from covid_keras.paper import Released, Trained
from covid_keras.paper.execution import Execution
from covid_keras.paper.inputs import Inputs
from covid_keras.paper.protocol import Protocol, TrainingSettings
from papers.covid_sdnet import networks, transforms
from papers.covid_sdnet.cohorts import no_pneumonia, without_normal_pcr
from papers.covid_sdnet.fusion import BINARY, fuse
from papers.covid_sdnet.settings import options_of

if TYPE_CHECKING:
    import keras

NO_NORMAL_PCR = "_no_normal_pcr"


@dataclass(frozen=True, kw_only=True)
class ResNet50(Trained):
    """ResNet-50 as keras.applications scales its inputs: BGR order, ImageNet channel means subtracted, from 0..255."""

    scaling: Any = networks.imagenet_scaling
    build: Any = networks.build_resnet50_classifier

    def imagenet(self, protocol: Protocol) -> dict[str, str]:
        return {"resnet50_notop": "--weights FILE"} if protocol.weights == "imagenet" else {}


@dataclass(frozen=True, kw_only=True)
class CovidSdnet(ResNet50):
    """The four-class twins on the transformed pairs that FuCiTNet makes (section IV)."""

    build: Any = networks.build_twins

    views: ClassVar[int] = 2

    def reads_size(self, protocol: Protocol) -> bool:
        return True  # of the transformed images

    def feed(self, execution: Execution, cohort: Cohort, part: np.ndarray, prepared: PreparedImages) -> Inputs:
        signs = dict(zip(execution.classes, BINARY, strict=True))
        cohort = self.labelled(cohort)
        labels = {name: signs.get(name, name) for name in cohort.classes}
        signed = cohort.relabel(labels, tuple(dict.fromkeys(labels.values())))
        return transforms.feed_pairs(execution.protocol, signed, execution.below(self.after), part, prepared)

    def passes(self, execution: Execution) -> list[tuple[keras.Model, int]]:
        generators = transforms.load_cit(execution.protocol, execution.below(self.after)).generators
        return [*((generator, 1) for generator in generators), (self.network(execution), len(generators))]

    def decide(self, outputs: np.ndarray, classes: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Fuse the twins' softmax outputs for x+ (first view) and x- by the paper's rules (section IV)."""
        positive, score = fuse(outputs[:, 0], outputs[:, 1])
        return positive.astype(np.int64), np.stack([1 - score, score], axis=1)

    def evidence(
        self, model: keras.Model, inputs: np.ndarray, name: str, classes: tuple[str, ...]
    ) -> tuple[keras.Model, np.ndarray, int]:
        return transforms.evidence_pairs(model, inputs, BINARY[classes.index(name)])


@dataclass(frozen=True, kw_only=True)
class FuCiTNet(Trained):
    """The class-inherent transformation network, with a training step of its own, for one device or several GPUs."""

    build: Any = networks.build_cit

    weighs_classes: ClassVar[bool] = True
    unread: ClassVar[Mapping[str, tuple[str, str]]] = dict.fromkeys(
        ("optimizer.decay", "schedule"),
        ("the rate of FuCiTNet's classifier falls in steps", "Set options.cit.classifier_step"),
    ) | {"label_smoothing": ("the cross-entropy of FuCiTNet takes no smoothed labels", "Omit it")}

    def missing(self, protocol: Protocol, data: Path | None) -> str | None:
        return networks.resnet18_missing(protocol)

    def imagenet(self, protocol: Protocol) -> dict[str, str]:
        wanted = options_of(protocol).cit.perceptual and networks.initial_weights(protocol, "vgg16") == "imagenet"
        return {"vgg16_notop": "--checkpoint vgg16=FILE"} if wanted else {}

    def untrained(self, protocol: Protocol, classes: tuple[str, ...]) -> keras.Model:
        return networks.build_cit(protocol, classes, random=True)

    def step_passes(self, model: keras.Model) -> list[tuple[keras.Model, int]]:
        versions = len(model.generators)
        perceptual = [(model.perceptual.model, versions)] if model.perceptual else []
        return [*((generator, 1) for generator in model.generators), (model.classifier, versions), *perceptual]

    def strategy(self, asked: str) -> str:
        if asked == "tpu":
            problem = "cannot train FuCiTNet, whose step takes gradients of parts of one pass"
            raise UserError("--strategy tpu", problem, "Use --strategy one, or mirrored with several GPUs")
        return asked

    def compile(self, model: keras.Model, training: TrainingSettings, protocol: Protocol, counts: np.ndarray) -> None:
        """Attach the three optimisers and the losses; balanced class weights are those of the authors' code."""
        from covid_keras.models.compiling import make_optimizer

        weights = counts.max() / np.maximum(counts, 1) if training.class_weights == "balanced" else np.ones(len(counts))
        settings = networks.cit_settings(options_of(protocol), training, model.perceptual is not None)
        steady = replace(training.optimizer, decay=0.0)  # `callbacks` sets the rate
        model.compile_cit(settings, weights / weights.max(), optimizer=make_optimizer(steady))

    def callbacks(self, protocol: Protocol) -> list[keras.callbacks.Callback]:
        """Return the classifier's learning rate by epoch."""
        from papers.covid_sdnet.cit import rate_callback

        settings = networks.cit_settings(options_of(protocol), self.training(protocol), False)
        return [rate_callback(settings)]

    def passes(self, execution: Execution) -> list[tuple[keras.Model, int]]:
        model = self.network(execution)
        return [*((generator, 1) for generator in model.generators), (model.classifier, len(model.generators))]

    def decide(self, outputs: np.ndarray, classes: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Decide by the largest of the logits of both transformed versions (the authors' own test program).

        The score of a class is its largest softmax probability among them, as a share of the sum over classes.
        """
        from papers.covid_sdnet.fusion import fuse_logits

        logits = outputs[:, 0].astype(np.float64)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True)).reshape(len(logits), -1, len(classes)).max(axis=1)
        return fuse_logits(logits, len(classes)), odds / odds.sum(axis=1, keepdims=True)

    def evidence(
        self, model: keras.Model, inputs: np.ndarray, name: str, classes: tuple[str, ...]
    ) -> tuple[keras.Model, np.ndarray, int]:
        """Explain the classifier on the output of the class's own generator."""
        index = classes.index(name)
        # As the decision sees it: not clipped to grey levels.
        return model.classifier, model.generators[index].predict(inputs[:, 0], verbose=0), index


@dataclass(frozen=True, kw_only=True)
class CovidCaps(Trained):
    """COVID-CAPS, fine-tuned from its released weights or trained from random ones."""

    build: Any = networks.build_covid_caps_retrained

    unread: ClassVar[Mapping[str, tuple[str, str]]] = {
        "label_smoothing": ("the margin loss of COVID-CAPS takes no smoothed labels", "Omit it")
    }

    def missing(self, protocol: Protocol, data: Path | None) -> str | None:
        return networks.caps_missing(protocol) if options_of(protocol).covid_caps.initial == "released" else None

    def initialise(self, model: keras.Model, protocol: Protocol) -> None:
        networks.fine_tune_caps(model, protocol)

    def compile(self, model: keras.Model, training: TrainingSettings, protocol: Protocol, counts: np.ndarray) -> None:
        """Attach Adam and the margin loss, without class weights, as in the paper."""
        from covid_keras.models.compiling import make_optimizer
        from papers.covid_sdnet.margin import MarginLoss

        model.compile(make_optimizer(training.optimizer), MarginLoss(), metrics=["accuracy"], jit_compile=False)


@dataclass(frozen=True, kw_only=True)
class CovidCapsReleased(Released):
    """COVID-CAPS with its authors' weights."""

    restore: Any = networks.restore_covid_caps

    def missing(self, protocol: Protocol, data: Path | None) -> str | None:
        return networks.caps_missing(protocol)


@dataclass(frozen=True, kw_only=True)
class CovidNet(Trained):
    """A surrogate of COVIDNet-CXR A, with a third class and with COVIDNet's batches and loss."""

    build: Any = networks.build_covidnet_retrained

    unread: ClassVar[Mapping[str, tuple[str, str]]] = {
        "label_smoothing": ("the cross-entropy of COVIDNet takes no smoothed labels", "Omit it")
    }

    def initialise(self, model: keras.Model, protocol: Protocol) -> None:
        networks.fine_tune_covidnet(model, protocol, self.classes)

    def missing(self, protocol: Protocol, data: Path | None) -> str | None:
        return no_pneumonia(protocol, data)

    def imagenet(self, protocol: Protocol) -> dict[str, str]:
        wanted = networks.covidnet_weights(protocol) == "imagenet"
        return {"resnet50v2_notop": "--checkpoint resnet50v2=FILE"} if wanted else {}

    def surrogate(self, protocol: Protocol) -> str:
        return (
            "surrogate network: widths and checkpoint of COVIDNet-CXR A are not obtainable "
            f"(variant {options_of(protocol).covidnet.variant} trained here)"
        )

    def compile(self, model: keras.Model, training: TrainingSettings, protocol: Protocol, counts: np.ndarray) -> None:
        """Attach Adam and the weighted cross-entropy; COVID-19 weighs `positive_weight`."""
        from covid_keras.models.compiling import make_optimizer
        from papers.covid_sdnet.weighted import WeightedCrossEntropy

        weights = [1.0] * len(counts)
        weights[1] = options_of(protocol).covidnet.positive_weight
        loss = WeightedCrossEntropy(weights)
        model.compile(make_optimizer(training.optimizer), loss, metrics=["accuracy"], jit_compile=False)

    def plan(self, labels: np.ndarray, training: TrainingSettings, protocol: Protocol, seed: int) -> np.ndarray:
        """Return COVIDNet's batches: the other classes in turn, with some places taken by positives."""
        from papers.covid_sdnet.batches import covidnet_epoch

        others, positives = np.flatnonzero(labels != 1), np.flatnonzero(labels == 1)
        size, share = training.batch_size, options_of(protocol).covidnet.positive_share
        epochs = range(training.epochs)
        return np.stack([covidnet_epoch(others, positives, size, share, seed, epoch) for epoch in epochs])


@dataclass(frozen=True, kw_only=True)
class CovidNetReleased(Released):
    """COVIDNet with weights from the user's file."""

    restore: Any = networks.restore_covidnet

    def missing(self, protocol: Protocol, data: Path | None) -> str | None:
        return None if "covidnet" in protocol.files else "checkpoint not obtainable"

    def surrogate(self, protocol: Protocol) -> str:
        return "the checkpoint given is not COVIDNet-CXR A, whose widths were never published"


class WithoutNormalPcr(Trained):
    """A system in the experiment of Tables VII and VIII."""

    def takes_part(self, execution: Execution) -> np.ndarray:
        return without_normal_pcr(execution.cohort, execution.splits, execution.classes, execution.split_seed)


def without_normal(system: Trained) -> Trained:
    """Return the same system in the experiment of Tables VII and VIII."""
    kind = type(f"{type(system).__name__}WithoutNormalPcr", (WithoutNormalPcr, type(system)), {})
    same = {one.name: getattr(system, one.name) for one in fields(system)}
    changes = {
        "name": system.name + NO_NORMAL_PCR,
        "title": f"{system.title}, Normal-PCR+ removed",
        "settings": system.settings or system.name,
        "after": system.after and system.after + NO_NORMAL_PCR,
    }
    return kind(**same | changes)
