"""Display names of systems and numbers, shared by the report's sections."""

from __future__ import annotations

import numpy as np
import pandas as pd

from covid_keras.evaluation import PublishedCell
from covid_keras.evaluation.uncertainty import SHARES, mean_interval
from covid_keras.reporting.results import Results
from covid_keras.reporting.wording import NOTHING, published_number, with_bounds
from papers.hertel_ensemble.networks import NETWORKS as BUILT
from papers.hertel_ensemble.systems import TASKS as OF_PAPER

NETWORKS = {name: network.title for name, network in BUILT.items()}
ENSEMBLES = {"average": "weighted average", "vote": "majority vote"}
TASKS = {name: task.title for name, task in OF_PAPER.items()}
VALIDATION = "accuracy_validation"


def systems_of(results: Results, task: str) -> list[str]:
    """Return the systems of a task that were run, networks first."""
    names = [f"{name}_{task}" for name in (*NETWORKS, *ENSEMBLES)]
    return [name for name in names if name in results.systems]


def short_title(system: str) -> str:
    """Return the name of a system without its task.

    >>> short_title("vgg19_multi"), short_title("vote_gr5"), short_title("densenet201_whole")
    ('VGG-19', 'majority vote', 'DenseNet-201')
    """
    return (NETWORKS | ENSEMBLES)[system.rpartition("_")[0]]


def mean_words(values: pd.Series, patients: pd.Series) -> str:
    """Return the mean of values from 0 to 1, such as booleans, in percent, with its interval by patient."""
    if values.empty:
        return NOTHING
    shares = 100 * values.to_numpy(np.float64)
    interval = mean_interval(shares, patients.to_numpy(), sure=SHARES)
    return with_bounds(shares.mean(), *interval, kind=interval.kind)


def cell_words(cell: PublishedCell) -> str:
    """Return a printed cell as text: its words, or its number in its own unit, marked if doubtful."""
    if cell.lost or cell.text:
        return cell.text
    unit = " %" if cell.unit == "percent" else ""
    spread = "" if cell.std is None else f" ± {published_number(cell.std, cell.unit)}"
    return f"{published_number(cell.mean, cell.unit)}{spread}{unit}" + "†" * bool(cell.doubt)
