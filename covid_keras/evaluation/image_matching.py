"""Which rows of two tables are of the same image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PureWindowsPath

import numpy as np

from covid_keras.common.errors import UserError
from covid_keras.common.tables import name_key


def match_images(here: Sequence[str], there: Sequence[str], where: str, other: str, notes: list[str]) -> np.ndarray:
    """Return of each image of one table its row in another, -1 where it has none, (n,) int; note what is unmatched.

    Images are the same by their whole name, else by that without folders, else by that without a suffix; of these
    counts the one that tells the images of either table apart and finds most.

    Raises
    ------
    UserError
        Where no image is in both.
    """
    best = np.full(len(here), -1)
    for key in (str, _file_name, _stem):
        mine, theirs = [key(name) for name in here], [key(name) for name in there]
        if len(set(mine)) == len(mine) and len(set(theirs)) == len(theirs):
            place = {name: at for at, name in enumerate(theirs)}
            found = np.array([place.get(name, -1) for name in mine])
            best = found if (found >= 0).sum() > (best >= 0).sum() else best
    matched = int((best >= 0).sum())
    if not matched:
        problem = f"names none of the images of {other}, or some of them twice ({here[0]}; there {there[0]})"
        raise UserError(where, problem, "Name the column of images with --image")
    for left, total, one, two in ((len(here), len(here), where, other), (len(there), len(there), other, where)):
        if left > matched:
            notes.append(f"LEFT OUT: {left - matched} of {total} images of {one} are not in {two}")
    return best


def _file_name(name: str) -> str:
    return name_key(PureWindowsPath(name).name)


def _stem(name: str) -> str:
    return name_key(PureWindowsPath(name).stem)
