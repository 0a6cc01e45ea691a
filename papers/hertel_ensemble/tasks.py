"""How the report's sections call tasks and systems, and what they share to tell of them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from covid_keras.evaluation import Difference, bootstrap_mean
from covid_keras.reporting.results import Results
from covid_keras.reporting.tables import NOTHING, number
from covid_keras.reporting.wording import with_bounds
from papers.hertel_ensemble.networks import NETWORKS as BUILT
from papers.hertel_ensemble.systems import TASKS as OF_PAPER

NETWORKS = {name: network.title for name, network in BUILT.items()}
ENSEMBLES = {"average": "weighted average", "vote": "majority vote"}
TASKS = {name: task.title for name, task in OF_PAPER.items()}


def systems_of(results: Results, task: str) -> list[str]:
    """Return the systems of a task that were run, the networks first."""
    names = [f"{name}_{task}" for name in (*NETWORKS, *ENSEMBLES)]
    return [name for name in names if name in results.systems]


def short_title(system: str) -> str:
    """Return how a system is called where its task is told beside it.

    >>> short_title("vgg19_multi"), short_title("vote_gr5"), short_title("densenet201_whole")
    ('VGG-19', 'majority vote', 'DenseNet-201')
    """
    return (NETWORKS | ENSEMBLES)[system.rpartition("_")[0]]


def joined(names: Iterable[str]) -> str:
    """Return names as a sentence lists them.

    >>> joined(["a"]), joined(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def mean_words(values: pd.Series, patients: pd.Series) -> str:
    """Return the mean of true and false in percent, with its interval by patient."""
    if values.empty:
        return NOTHING
    return with_bounds(*bootstrap_mean(100 * values.to_numpy(np.float64), patients.to_numpy()))


def verdict(one: Difference, more: str, less: str, neither: str) -> str:
    """Return which of three words the interval of a difference allows."""
    return more if one.low > 0 else less if one.high < 0 else neither


def span_words(one: Difference) -> str:
    """Return a difference in points with its interval, in one line."""
    low, high = (number(value, signed=True) for value in (one.low, one.high))
    return f"{number(one.difference, signed=True)} points ({low} to {high})"


def sentence(words: str) -> str:
    """Return words with a capital letter.

    >>> sentence("majority vote, COVIDGR")
    'Majority vote, COVIDGR'
    """
    return words[:1].upper() + words[1:]
