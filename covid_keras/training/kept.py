"""What stays of a finished execution: nothing that nobody reads.

A training's state goes. Best weights of later repeats serve the executions that build on them, and go with the inputs
made for a single execution once these are done: reports, `predict` and exports read those of the first repeat. A full
run of 25 executions per system so takes a fifth of the space. `reproduce --keep-weights` keeps all.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from covid_keras.training.executions import Execution

STATE = "state.npz"


def remove_spent(execution: Execution) -> None:
    """Remove what nobody reads any more of an execution that was just finished, and of those that it builds on."""
    (execution.folder / STATE).unlink(missing_ok=True)
    if not execution.repeat or execution.run.settings.get("keep_weights"):
        return
    if _has_stand_in(execution) and (inputs := vars(execution).get("inputs")) and inputs.own:
        for path in inputs.prepared.paths:
            Path(path).unlink(missing_ok=True)
    for one in (*execution.lower, execution):  # its own weights may not need those below, which then may be unfinished
        if one.done and _has_stand_in(one) and all(later.done for later in _building_on(one)):
            one.weights.unlink(missing_ok=True)


def _has_stand_in(execution: Execution) -> bool:
    """Return whether that of the first repeat, which reports show, is done; another machine may be training it."""
    return execution.repeat > 0 and execution.run.execution(execution.system.name, 0, execution.fold).done


def _building_on(execution: Execution) -> Iterator[Execution]:
    """Yield the executions of its fold, systems left out included, that build on an execution."""
    run, place = execution.run, (execution.repeat, execution.fold)
    for name in run.protocol.systems:
        above = execution.system.name in run.paper.chain(name)[:-1]
        if above and run.paper.runs_in(run.paper.system(name), run.protocol, *place):
            yield run.execution(name, *place)


def lost_weights(execution: Execution) -> bool:
    """Return whether a finished execution trained a network whose weights are no longer there."""
    return execution.done and "weights_sha256" in execution.details and not execution.weights.is_file()
