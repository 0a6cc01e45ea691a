"""The network of an execution that is done: what was released, what was trained, or what is made of others."""

from __future__ import annotations

import keras

from covid_keras.errors import UserError
from covid_keras.training.experiment import Paper
from covid_keras.training.inputs import execution_below
from covid_keras.training.resume import BEST
from covid_keras.training.runfolder import Execution, RunFolder


def network_of(paper: Paper, run: RunFolder, execution: Execution) -> keras.Model:
    """Return the network of an execution with its best weights.

    Raises
    ------
    UserError
        Where the weights are missing, damaged, or another network's.
    """
    system = paper.system(execution.system)
    classes = paper.classes_of(system, run.cohort)
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


def parts_of(paper: Paper, run: RunFolder, execution: Execution) -> list[Execution]:
    """Return the executions that a composed one is made of; raise `UserError` where one is not done."""
    parts = [execution_below(paper, run, name, execution) for name in paper.chain(execution.system)[:-1]]
    for part in parts:
        if not part.done:
            raise UserError(part.name, f"is not done, and {execution.name} is made of it", "Train it first")
    return parts
