"""Progressive fine-tuning: first the new layers only, then the backbone from the top, in stages.

A network is a head on a backbone whose layers form groups, given by prefixes of their names, the topmost group first.
The stages are: all layers (only from random weights); the head; the head and the topmost group; then one more group per
stage. The head's stage trains all its epochs; later ones stop early without improvement. Each stage begins with the
best weights so far.

References
----------
.. [1] R. Hertel, R. Benlamri, "A deep learning segmentation-classification pipeline for X-ray-based COVID-19
   diagnosis", Biomedical Engineering Advances 3 (2022) 100041.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from covid_keras.paper.protocol import TrainingSettings

if TYPE_CHECKING:
    import keras

Groups = Sequence[tuple[str, ...]]
SCRATCH, HEAD, WHOLE = "scratch", "head", "whole"


@dataclass(frozen=True)
class Stage:
    """One stage of a training.

    Attributes
    ----------
    name : str
        "scratch", "head", or the prefix of the group that becomes trainable.
    groups : int
        Number of trainable groups, from the top, beside the head.
    epochs : int
        Maximum number of epochs.
    patience : int
        Epochs without improvement after which it ends.
    learning_rate : float
    steady : bool
        Whether batch-normalisation statistics are frozen.
    """

    name: str
    groups: int
    epochs: int
    patience: int
    learning_rate: float
    steady: bool = True

    def applied(self, training: TrainingSettings) -> TrainingSettings:
        """Return training settings with this stage's learning rate."""
        optimizer = dataclasses.replace(training.optimizer, learning_rate=self.learning_rate)
        return dataclasses.replace(training, optimizer=optimizer)


def stages_of(training: TrainingSettings, groups: Groups) -> list[Stage]:
    """Return the stages of a training in order; a single one, "whole", without progressive unfreezing.

    Parameters
    ----------
    training : TrainingSettings
        `epochs` and `optimizer` are the head's; `unfreeze` sets the other stages.
    groups : sequence of tuple of str
        Prefixes of the names of the backbone's layers, the topmost group first; may be empty.
    """
    rate, unfreeze = training.optimizer.learning_rate, training.unfreeze
    if not groups or not unfreeze.epochs:
        return [Stage(WHOLE, len(groups), training.epochs, training.patience, rate)]
    stages = [Stage(HEAD, 0, training.epochs, training.epochs, rate)]
    if unfreeze.scratch:
        first = Stage(SCRATCH, len(groups), unfreeze.scratch, training.patience, unfreeze.scratch_rate, steady=False)
        stages.insert(0, first)
    for number, group in enumerate(groups[: unfreeze.groups], 1):
        stages.append(Stage(group[0].strip("_"), number, unfreeze.epochs, unfreeze.patience, unfreeze.learning_rate))
    return stages


def open_stage(model: keras.Model, groups: Groups, stage: Stage) -> None:
    """Make only the head and the stage's groups trainable. Compile the model afterwards.

    Raises
    ------
    ValueError
        If a group matches no layer of the model.
    """
    from covid_keras.models.steady import hold_statistics

    for number, group in enumerate(groups):
        layers = layers_of(model, group)
        if not layers:
            raise ValueError(f"no layer of {model.name} begins with {' or '.join(group)}")
        for layer in layers:
            layer.trainable = number < stage.groups
    hold_statistics(model, stage.steady)


def layers_of(model: keras.Model, beginnings: Iterable[str]) -> list[keras.layers.Layer]:
    """Return the layers whose names begin with one of the prefixes."""
    return [layer for layer in model.layers if layer.name.startswith(tuple(beginnings))]
