"""The network of an execution that is done: what was released, what was trained, or what is made of others."""

from __future__ import annotations

import keras
import numpy as np

from covid_keras.common.errors import UserError
from covid_keras.evaluation.predictions import read_predictions, score_columns
from covid_keras.paper.paper import Paper
from covid_keras.training.inputs import execution_below
from covid_keras.training.resume import BEST
from covid_keras.training.runfolder import Execution, RunFolder


def network_of(paper: Paper, run: RunFolder, execution: Execution) -> keras.Model:
    """Return the network of an execution with its best weights.

    Raises
    ------
    UserError
        Where the weights are missing, damaged, or another network's, or an ensemble has no network of its own.
    """
    system = paper.system(execution.system)
    if system.members:
        raise UserError(execution.name, "is an ensemble and has no network", f"Take one of {', '.join(system.members)}")
    classes = paper.classes_of(system, run.cohort)
    if system.choose:
        return network_of(paper, run, chosen_of(paper, run, execution))
    if system.released:
        return system.restore(run.protocol, classes)
    if system.compose is not None:
        return system.compose(
            run.protocol, classes, [network_of(paper, run, one) for one in parts_of(paper, run, execution)]
        )
    path = execution.folder / BEST
    if not path.is_file():
        raise UserError(path, "is missing", "Restore the file")
    model = system.build(run.protocol.without_weights(), classes)
    try:
        model.load_weights(path)
    except (OSError, ValueError, KeyError, IndexError) as error:
        # What Keras and HDF5 raise for a file that is cut short, no HDF5, or another network's.
        raise UserError(path, f"does not hold the weights of {execution.name} ({error})", "Restore it") from error
    return model


def chosen_of(paper: Paper, run: RunFolder, execution: Execution) -> Execution:
    """Return which execution a choosing one is: right most often on the validation part of the same fold.

    Of equals the one of the smaller cross-entropy there; of those the first named.

    Raises
    ------
    UserError
        Where one of them is not done.
    """
    candidates = [execution_below(paper, run, name, execution) for name in paper.system(execution.system).choose]
    for one in candidates:
        if not one.done:
            raise UserError(one.name, f"is not done, and {execution.name} chooses among it", "Train it first")
    return max(candidates, key=_merit)


def _merit(execution: Execution) -> tuple[float, float]:
    """Accuracy and mean log score of the truth on the validation part."""
    frame = read_predictions(execution.predictions)
    frame = frame[frame["split"] == "validation"]
    right = float((frame["label"] == frame["predicted"]).mean())
    scores = frame[score_columns(frame)].to_numpy(np.float64)
    names = np.array([column.removeprefix("score_") for column in score_columns(frame)])
    of_truth = scores[frame["label"].to_numpy()[:, None] == names[None, :]]
    return right, float(np.log(np.maximum(of_truth, 1e-12)).mean())


def members_of(paper: Paper, run: RunFolder, execution: Execution) -> list[Execution]:
    """Return the executions that an ensemble is made of; raise `UserError` where one is not done."""
    members = [execution_below(paper, run, name, execution) for name in paper.system(execution.system).members]
    for one in members:
        if not one.done:
            raise UserError(one.name, f"is not done, and {execution.name} is made of it", "Train it first")
    return members


def parts_of(paper: Paper, run: RunFolder, execution: Execution) -> list[Execution]:
    """Return the executions that a composed one is made of; raise `UserError` where one is not done."""
    parts = [execution_below(paper, run, name, execution) for name in paper.chain(execution.system)[:-1]]
    for part in parts:
        if not part.done:
            raise UserError(part.name, f"is not done, and {execution.name} is made of it", "Train it first")
    return parts
