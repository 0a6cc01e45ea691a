"""What a network is fed: prepared images with the labels of its own task, each belonging to an image of the cohort."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from covid_keras.data.preparation import PreparedImages


@dataclass(frozen=True, eq=False)
class Inputs:
    """The inputs of one execution.

    Attributes
    ----------
    prepared : PreparedImages
        m images; an image of the cohort may have several (its views), one after the other.
    labels : ndarray (m,) int64
        Class index of each, in the network's own classes; -1 if it takes no part.
    owner : ndarray (m,) int64
        The row of the cohort that each belongs to, ascending.
    outputs : int
        How many classes the labels count.
    """

    prepared: PreparedImages
    labels: np.ndarray
    owner: np.ndarray
    outputs: int

    def rows_of(self, part: np.ndarray, *names: str) -> np.ndarray:
        """Return which inputs belong to the parts named ("train", ...), ascending int64."""
        return np.flatnonzero(np.isin(part[self.owner], names))
