"""The kinds of systems: each makes its predictions for one execution.

A system is `Trained` here, `Released` by its authors, `Composed` of networks trained before, the `BestOf` several on
validation, or an `Ensemble` of predictions. A paper's own behaviour is a subclass in that paper that overrides methods.
Code outside this module does not depend on the kind of a system.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from covid_keras.common.errors import UserError
from covid_keras.common.files import require_intact
from covid_keras.common.settings import as_plain
from covid_keras.data.splits import PARTS
from covid_keras.evaluation.ensembles import Combined, average_predictions
from covid_keras.evaluation.predictions import read_predictions, score_columns
from covid_keras.paper.execution import Execution, Outcome, Trainer
from covid_keras.paper.inputs import Inputs
from covid_keras.paper.protocol import Protocol, TrainingSettings
from covid_keras.paper.system import System
from covid_keras.paper.unfreezing import Groups, Stage, stages_of

if TYPE_CHECKING:
    import keras
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Trained(System):
    """A network that is trained here.

    Attributes
    ----------
    build : callable
        (protocol, class names) -> uncompiled `keras.Model`.
    """

    build: Callable[[Protocol, tuple[str, ...]], keras.Model]

    # Groups of the backbone's layers, by prefixes of their names, the topmost first; unfrozen in stages if `unfreeze`
    # says so (see `covid_keras.paper.unfreezing`).
    groups: ClassVar[Groups] = ()
    # Training settings that it does not read -> reason and remedy. A change of one is refused by name.
    unread: ClassVar[Mapping[str, tuple[str, str]]] = {}
    # Whether `compile` attaches the class weights; otherwise the fit loop weighs the images.
    weighs_classes: ClassVar[bool] = False
    # Inputs that `feed` makes of each image.
    views: ClassVar[int] = 1

    def untrained(self, protocol: Protocol, classes: tuple[str, ...]) -> keras.Model:
        """Return the network that the protocol trains, with random weights, to measure its cost."""
        return self.build(protocol.without_weights(), classes)

    def step_passes(self, model: keras.Model) -> list[tuple[keras.Model, int]]:
        """Return the functional networks that an input passes in a training step, in order, each with how often."""
        return [(model, 1)]

    def learns_by(self, protocol: Protocol) -> dict[str, Any]:
        return {name: value for name, value in as_plain(self.training(protocol)).items() if name != "repeats"}

    def epochs(self, protocol: Protocol) -> int:
        return sum(stage.epochs for stage in self.stages(protocol))

    def stages(self, protocol: Protocol) -> list[Stage]:
        """Return the stages of its training; a single one without progressive unfreezing."""
        return stages_of(self.training(protocol), self.groups)

    def summary(self, protocol: Protocol) -> str:
        training, stages = self.training(protocol), self.stages(protocol)
        optimizer = training.optimizer
        # Adam does not use this setting.
        momentum = f", momentum {optimizer.momentum:g}" if optimizer.momentum and optimizer.name == "sgd" else ""
        falling = ", falling to 0" if training.schedule == "cosine" else ""
        words = (
            f"{'SGD' if optimizer.name == 'sgd' else optimizer.name.capitalize()} {optimizer.learning_rate:g}"
            f"{momentum}{falling}\nat most {training.epochs} epochs of batches of {training.batch_size}"
        )
        return words if len(stages) == 1 else f"{words}\nin stages: {', '.join(stage.name for stage in stages)}"

    def learned_from(self, execution: Execution) -> np.ndarray:
        return execution.division == "train"

    def run(self, trainer: Trainer) -> Outcome:
        return trainer.train()

    def network(self, execution: Execution) -> keras.Model:
        path = execution.weights
        if not path.is_file():
            again = f"--restart {execution.address} --keep-weights"  # else those of later repeats are removed
            raise UserError(path, "is missing", f"Restore it, or train again with {again}")
        recorded = execution.details.get("weights_sha256", "")
        require_intact(path, recorded, f"Restore it, or train again with --restart {execution.address}")
        model = self.build(execution.protocol.without_weights(), execution.classes)
        try:
            model.load_weights(path)
        except (OSError, ValueError, KeyError, IndexError) as error:
            # Raised by Keras and HDF5 for a truncated file, another format, or another network's weights.
            problem = f"does not hold the weights of {execution.name} ({error})"
            raise UserError(path, problem, "Restore it") from error
        return model

    def require_trained(self, remedy: str) -> None:
        return None

    # ------------------------------------------------------------------------------------------------ its training

    def initialise(self, model: keras.Model, protocol: Protocol) -> None:
        """Load initial weights that `build` does not, such as a released checkpoint to fine-tune."""

    def compile(self, model: keras.Model, training: TrainingSettings, protocol: Protocol, counts: np.ndarray) -> None:
        """Attach optimiser and loss: cross-entropy on softmax outputs, or on one sigmoid.

        `counts` holds the training images of each class, (classes,).
        """
        from covid_keras.models.compiling import compile_classifier

        compile_classifier(model, training.optimizer, training.label_smoothing)

    def callbacks(self, protocol: Protocol) -> list[keras.callbacks.Callback]:
        """Return further callbacks; each must depend on the epoch only, so that a resumed training agrees."""
        return []

    def plan(self, labels: np.ndarray, training: TrainingSettings, protocol: Protocol, seed: int) -> np.ndarray | None:
        """Return the batches of a training part, int64 (epochs, steps, batch); None for all images, shuffled.

        Batches are indices into `labels`, int64 (n,), the labels of the training part.
        """
        return None

    def adapt(self, model: keras.Model, inputs: Inputs, rows: np.ndarray) -> None:
        """Adapt layers to the training images, `rows` of `inputs`, before the first step.

        For example mean and std of a standardising layer, which are saved with the weights.
        """


@dataclass(frozen=True, kw_only=True)
class Released(System):
    """A network released by its authors: one execution, tested on all images.

    Attributes
    ----------
    restore : callable
        (protocol, class names) -> model with the released weights.
    """

    restore: Callable[[Protocol, tuple[str, ...]], keras.Model]

    origin: ClassVar[str] = "as released"
    reads_split: ClassVar[bool] = False

    def repeats(self, protocol: Protocol) -> int:
        return 1

    def folds(self, protocol: Protocol) -> int:
        return 1

    def place(self, repeat: int, fold: int) -> tuple[int, int]:
        return 0, 0

    def runs_where(self, protocol: Protocol, repeat: int, fold: int) -> bool:
        return True

    def summary(self, protocol: Protocol) -> str:
        return "run as released,\none execution on all images"

    def division(self, execution: Execution) -> np.ndarray:
        return np.where(self.takes_part(execution), "test", "").astype(object)

    def network(self, execution: Execution) -> keras.Model:
        return self.restore(execution.protocol, execution.classes)


@dataclass(frozen=True, kw_only=True)
class Composed(System):
    """A network composed of trained ones, without training.

    Attributes
    ----------
    compose : callable
        (protocol, class names, networks that it builds on) -> model.
    """

    compose: Callable[[Protocol, tuple[str, ...], list[keras.Model]], keras.Model]

    def summary(self, protocol: Protocol) -> str:
        return f"made of {self.after},\nnot trained"

    def network(self, execution: Execution) -> keras.Model:
        parts = [one.network for one in execution.chain]
        return self.compose(execution.protocol, execution.classes, parts)


@dataclass(frozen=True, kw_only=True)
class BestOf(System):
    """Per fold, the system with the best validation accuracy.

    Attributes
    ----------
    candidates : tuple of str
        Systems that differ only in their network. Ties are broken by the smaller validation cross-entropy, then by
        order.
    """

    candidates: tuple[str, ...]

    @property
    def below(self) -> tuple[str, ...]:
        return self.candidates

    def summary(self, protocol: Protocol) -> str:
        return f"the better of {' and '.join(self.candidates)}\non validation"

    def part(self, execution: Execution) -> np.ndarray:
        return execution.below(self.candidates[0]).part

    def run(self, trainer: Trainer) -> Outcome:
        outcome = trainer.apply()
        chosen = self.chosen(trainer.execution)
        return Outcome(outcome.frame, outcome.facts | {"chosen": chosen})

    def network(self, execution: Execution) -> keras.Model | None:
        return execution.below(self.chosen(execution)).network

    def passes(self, execution: Execution) -> list[tuple[keras.Model, int]]:
        return execution.below(self.chosen(execution)).passes

    def chosen(self, execution: Execution) -> str:
        """Return the candidate chosen on validation."""
        return max(self.candidates, key=lambda name: merit(execution.below(name)))


def merit(execution: Execution) -> tuple[float, float]:
    """Return accuracy and mean log score of the truth on the validation part of an execution that is done."""
    frame = read_predictions(execution.predictions)
    frame = frame[frame["split"] == "validation"]
    right = float((frame["label"] == frame["predicted"]).mean())
    scores = frame[score_columns(frame)].to_numpy(np.float64)
    names = np.array([column.removeprefix("score_") for column in score_columns(frame)])
    of_truth = scores[frame["label"].to_numpy()[:, None] == names[None, :]]
    return right, float(np.log(np.maximum(of_truth, 1e-12)).mean())


@dataclass(frozen=True, kw_only=True)
class Ensemble(System):
    """Predictions combined from those of other systems on the same fold, without a network.

    Attributes
    ----------
    members : tuple of str
    """

    members: tuple[str, ...]

    @property
    def below(self) -> tuple[str, ...]:
        return self.members

    def summary(self, protocol: Protocol) -> str:
        return f"an ensemble of {' and '.join(self.members)},\nnot trained"

    def images(self, protocol: Protocol) -> None:
        return None

    def predicted_parts(self, execution: Execution) -> tuple[np.ndarray, bool]:
        frames = [read_predictions(execution.below(name).predictions) for name in self.members]
        parts = frames[0].set_index("image_id")["split"]
        for frame in frames[1:]:
            parts = parts[parts.index.isin(frame["image_id"])]
        return execution.cohort.table["image_id"].map(parts).fillna("").to_numpy(dtype=object), True

    def combine(self, protocol: Protocol, frames: list[pd.DataFrame]) -> Combined:
        """Combine the members' predictions, one table each; return them with what was chosen."""
        return average_predictions(frames, system=self.name)

    def run(self, trainer: Trainer) -> Outcome:
        members = [trainer.execution.below(name) for name in self.members]
        protocol = trainer.execution.protocol
        combined = self.combine(protocol, [read_predictions(one.predictions) for one in members])
        part = combined.frame["split"]
        facts = {
            "seed": self.training(protocol).seed,
            "parameters": sum(one.details["parameters"] for one in members),
            "images": {name: int((part == name).sum()) for name in PARTS},
            "device": members[0].details["device"],
            "policy": members[0].details["policy"],
            "combined": combined.facts,
        }
        return Outcome(combined.frame, facts)

    def network(self, execution: Execution) -> None:
        return None

    def passes(self, execution: Execution) -> list[tuple[keras.Model, int]]:
        return [one for name in self.members for one in execution.below(name).passes]
