"""Inputs of a network: prepared images with labels, each belonging to an image of the cohort."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from covid_keras.data.prepared_images import PreparedImages


@dataclass(frozen=True, eq=False)
class Inputs:
    """The inputs of one execution.

    Attributes
    ----------
    prepared : PreparedImages
        m images; an image of the cohort may have several consecutive ones (its views).
    labels : ndarray (m,) int64
        Class index in the network's own classes; -1 if it takes no part.
    owner : ndarray (m,) int64
        Row of the cohort to which each belongs, ascending.
    outputs : int
        Number of classes.
    own : bool
        Whether `prepared` was made for this execution alone, so that nobody reads it once this is done.
    """

    prepared: PreparedImages
    labels: np.ndarray
    owner: np.ndarray
    outputs: int
    own: bool = False

    def rows_of(self, part: np.ndarray, *names: str) -> np.ndarray:
        """Return the indices of the inputs in the named parts ("train", ...), ascending int64."""
        return np.flatnonzero(np.isin(part[self.owner], names))
