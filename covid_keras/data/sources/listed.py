"""What collections with a list of their files share: some listed images may be missing, not many."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from covid_keras.common.errors import UserError

LOGGER = logging.getLogger(__name__)

# Copies in use lack a few files; more than this share means that unpacking stopped.
MAX_MISSING = 0.1


def present(names: Sequence[str], files: Collection[str], place: Path, listing: Path) -> np.ndarray:
    """Return which of the listed images are there; log how many are not, and the first of them.

    Parameters
    ----------
    names : sequence of str
        The images listed, as `files` names them.
    files : collection of str
        The images that are there.
    place : Path
        The folder of the images, for the messages.
    listing : Path
        What lists them, for the messages.

    Returns
    -------
    numpy.ndarray
        Shape (n,), bool.

    Raises
    ------
    UserError
        Where more than a tenth are missing.
    """
    there = np.array([name in files for name in names], bool)
    absent = len(there) - int(there.sum())
    if absent:
        first = names[int(np.argmin(there))]
        if absent > MAX_MISSING * len(there):
            problem = f"is listed in {listing.name} but missing, as are {absent - 1} of the {len(there)} images listed"
            raise UserError(place / first, problem, "Unpack the images again, or remove these rows")
        LOGGER.info("%s lists %d images that are not there, the first: %s", listing, absent, place / first)
    return there
