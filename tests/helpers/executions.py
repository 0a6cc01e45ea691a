"""Executions that were never trained, left as a training that ended leaves them; papers whose systems are changed."""

from __future__ import annotations

import dataclasses
from typing import Any

import pandas as pd

from covid_keras.common.files import sha256_of, write_record
from covid_keras.evaluation import write_predictions
from covid_keras.paper import Paper, System
from covid_keras.training.executions import Execution

RECORD = {"seconds": 0, "epochs": 0, "best_epoch": 0, "versions": {}, "machine": {}, "device": {}, "revision": ""}


def finish(execution: Execution, frame: pd.DataFrame | None = None, **facts: Any) -> Execution:
    """Leave an execution as done, with predictions where given, and a empty record with `facts`."""
    execution.folder.mkdir(parents=True, exist_ok=True)
    if frame is None:
        execution.predictions.write_text("predictions")
    else:
        write_predictions(execution.predictions, frame)
    record = RECORD | {"run": execution.run.identity, "predictions_sha256": sha256_of(execution.predictions)}
    write_record(execution.record, record | facts)
    return execution


def overriding(system: System, **methods: Any) -> System:
    """Return a system with methods, or class attributes, in place of its own."""
    kind = type(f"Other{type(system).__name__}", (type(system),), methods)
    return kind(**{one.name: getattr(system, one.name) for one in dataclasses.fields(system)})


def without(paper: Paper, name: str) -> Paper:
    """Return a paper of which one system has no file."""
    systems = [
        overriding(one, missing=lambda self, protocol, data: "no file") if one.name == name else one
        for one in paper.systems
    ]
    return dataclasses.replace(paper, systems=tuple(systems))
