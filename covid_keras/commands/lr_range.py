"""`covid-keras lr-range`: the range test of one network of a paper, on the training part of its first fold."""

from __future__ import annotations

import dataclasses
from argparse import Namespace
from pathlib import Path

import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.common.files import atomic_path
from covid_keras.common.quiet import import_tensorflow
from covid_keras.training.plan import make_plan
from covid_keras.training.preparing import prepare_run


def run_range_test(options: Namespace) -> Path:
    """Write `SYSTEM.csv` (learning_rate, loss) and its plot into `options.out`; return that folder.

    The images are not augmented, as in the authors' runs of it. Nothing is trained: weights are put back.

    Raises
    ------
    UserError
        Where the system is unknown or not trained here, or the data or weights are missing.
    """
    given = {"strategy": "one", "precision": "float32", "cache": None} | vars(options)
    given["set"] = [*options.set, f"systems=[{options.system}]"]
    plan = make_plan(Namespace(**given))
    system = plan.paper.system(options.system)
    if not system.trained:
        raise UserError(system.name, "is not trained, so it has no learning rate", "Choose a system that is")
    plan = dataclasses.replace(plan, out=plan.out / f"run-{system.name}")
    run = prepare_run(plan)
    import_tensorflow()
    from covid_keras.reporting.range_figure import range_figure
    from covid_keras.training.execution import untrained
    from covid_keras.training.range_finder import lr_range_test

    model, batches = untrained(plan.paper, run, run.execution(system.name, 0, 0))
    found = lr_range_test(model, batches, options.low, options.high, options.steps)
    chosen = system.training(plan.protocol).optimizer.learning_rate
    out = Path(options.out)
    with atomic_path(out / f"{system.name}.csv") as temporary:
        pd.DataFrame({"learning_rate": found.rates, "loss": found.losses}).to_csv(temporary, index=False)
    with atomic_path(out / f"{system.name}.png") as temporary:
        range_figure(found, f"Learning-rate range test: {system.title}", chosen).savefig(
            temporary, format="png", dpi=150
        )
    suggested = f"{found.suggested:.2g}" if np.isfinite(found.suggested) else "none: the loss never falls"
    print(f"{system.title}: steepest descent at {suggested}; the protocol trains at {chosen:g}", flush=True)
    return out
