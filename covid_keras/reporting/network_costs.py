"""Measure what a prediction of each system costs, on the device that makes the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from covid_keras.common.provenance import machine
from covid_keras.models.costs import Pass, measure_cost
from covid_keras.models.lungs import LungSegmenter
from covid_keras.reporting.heat_shares import COSTS, write_measured
from covid_keras.training.devices import describe_device

if TYPE_CHECKING:
    from covid_keras.reporting.results import Results

COST_COLUMNS = ("system", "parameters", "flops", "milliseconds", "ratio", "reference", "device")


def measure_costs(results: Results) -> pd.DataFrame:
    """Measure the systems in `PaperReport.cost_systems` and write the table into the run folder.

    Each is measured in its first execution: all networks that an image passes, the members of an ensemble and the lung
    segmenter included, but not reading and preparing the image. Time is also given as a multiple of that of the
    reference, the first of these systems that was run.

    Returns
    -------
    DataFrame
        One row per system, columns `COST_COLUMNS`. A system without a network, such as a logistic regression, has its
        recorded number of parameters only. Empty if the reference has no network either.

    Raises
    ------
    UserError
        If weights are missing.
    """
    names, lungs, rows = [name for name in results.report.cost_systems if name in results.systems], _Lungs(results), []
    reference = lungs.passes(names[0]) if names else []
    if not reference:
        return pd.DataFrame(columns=list(COST_COLUMNS))
    for name in names:
        passes = reference if name == names[0] else lungs.passes(name)
        rows.append({"system": name} | _cost(results, name, passes, reference))
    frame = pd.DataFrame(rows).assign(reference=names[0], device=_device_words())
    return write_measured(results.run.path / COSTS, frame[list(COST_COLUMNS)], hashed=True)


class _Lungs:
    """The networks of systems, with that of the lung segmenter, which is loaded once, for those that need masks."""

    def __init__(self, results: Results) -> None:
        self.results, self._network = results, None

    def passes(self, name: str) -> list[Pass]:
        """Return the networks that an image passes in a system's first execution, each with how often."""
        run = self.results.run
        found = self.results.executions_of(name)[0][0].passes
        images = [run.paper.system(one).images(run.protocol) for one in run.paper.chain(name)]
        if not any(one is not None and one.needs_mask for one in images):
            return found
        if self._network is None:
            own = run.paper.kept_segmenter(run.protocol, run.cache.parent)
            self._network = (own or LungSegmenter(lungs=run.protocol.lungs)).model
        return [*found, (self._network, 1)]


def _cost(results: Results, name: str, passes: list[Pass], reference: list[Pass]) -> dict[str, Any]:
    if passes:
        return measure_cost(passes, reference)._asdict()
    parameters = results.executions_of(name)[0][1]["parameters"]
    return {"parameters": parameters, "flops": np.nan, "milliseconds": np.nan, "ratio": np.nan}


def _device_words() -> str:
    gpus, here = describe_device()["gpus"], machine()
    return ", ".join(map(str, gpus)) or f"{here['cores']} CPU cores, {here['processor']}"
