"""Match the images of two tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import PureWindowsPath

import numpy as np

from covid_keras.common.errors import UserError
from covid_keras.common.tables import name_key


def match_images(here: Sequence[str], there: Sequence[str], where: str, other: str, notes: list[str]) -> np.ndarray:
    """Return the row in another table for each image, -1 if unmatched, (n,) int; add notes on unmatched images.

    Images are matched by the whole name or by its last parts (folder and file name, file name, stem): of the variants
    that are unique in both tables, the one with most matches is used.

    Raises
    ------
    UserError
        If no image matches, or the other table repeats an image.
    """
    if again := [name for name, count in Counter(there).items() if count > 1]:
        raise UserError(other, f"lists image {again[0]} several times", "Keep one row per image")
    best = np.full(len(here), -1)
    for key in _KEYS:
        mine, theirs = [key(name) for name in here], [key(name) for name in there]
        if len(set(mine)) == len(set(here)) and len(set(theirs)) == len(there):
            place = {name: at for at, name in enumerate(theirs)}
            found = np.array([place.get(name, -1) for name in mine])
            best = found if (found >= 0).sum() > (best >= 0).sum() else best
    if (best < 0).all():
        problem = f"names none of the images of {other} (it has {here[0]}, and there is {there[0]})"
        raise UserError(where, problem, "Name the column of images with --image")
    sides = ((len(set(here)), where, other), (len(there), other, where))
    matched = len({place for place in best.tolist() if place >= 0})
    notes += [
        f"LEFT OUT: {n - matched} of {n} images of {one} are not in {two}" for n, one, two in sides if n > matched
    ]
    return best


def _last(parts: int) -> Callable[[str], str]:
    return lambda name: name_key("/".join(PureWindowsPath(name).parts[-parts:]))


_KEYS: tuple[Callable[[str], str], ...] = (
    str, _last(3), _last(2), _last(1), lambda name: name_key(PureWindowsPath(name).stem),
)  # fmt: skip
