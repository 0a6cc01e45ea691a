"""What a paper's numbers were measured on: the section `evidence` of `protocol.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Annotated

from annotated_types import MinLen

from covid_keras.common.settings import Count

ALTERNATIVES = " or "
ENOUGH = 0.75  # share of the smaller in the larger number of images from which on a number is a replication


@dataclass(frozen=True)
class Evidence:
    """The images behind the printed numbers of some systems.

    Attributes
    ----------
    systems : tuple of str
        Names of systems or lung segmenters; `*` stands for any text. The first entry that names a system counts.
    images : dict
        Collection -> number of the paper's images. "a or b" are images of either collection; images that an earlier
        key has counted are not counted again.
    classes : dict
        Class of the systems -> number of the paper's images, if the collections do not tell the classes apart.
    spare : tuple of str
        Keys of `images` without which the numbers are still replications.
    tables : tuple of str
        Tables of the paper that the entry is about. Default: all.
    drawn : str
        What was drawn anew because the paper does not publish it; such numbers are replications at best.
    differs : str
        Why the numbers are stand-ins even with all images.
    """

    systems: Annotated[tuple[str, ...], MinLen(1)]
    images: Annotated[dict[str, Count], MinLen(1)]
    classes: dict[str, Count] = field(default_factory=dict)
    spare: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    drawn: str = ""
    differs: str = ""

    def is_about(self, system: str, table: str = "") -> bool:
        """Return whether the entry is about a system in a table ("": in any)."""
        named = any(fnmatchcase(system, name) for name in self.systems)
        return named and (not table or not self.tables or table in self.tables)

    @property
    def collections(self) -> tuple[tuple[str, ...], ...]:
        """The collections; each inner tuple holds alternatives."""
        return tuple(tuple(key.split(ALTERNATIVES)) for key in self.images)


@dataclass(frozen=True)
class Found:
    """How many of a paper's images a run used.

    Attributes
    ----------
    wanted, found : int
        The paper's number of images, and how many of them are there.
    differences : tuple of str
        The collections with another number of images, as text.
    close : bool
        Whether none of the numbers is too far from the paper's for a replication (`is_close`).
    others : dict
        Collections that the paper does not use -> number of images.
    """

    wanted: int
    found: int
    differences: tuple[str, ...] = ()
    close: bool = True
    others: dict[str, int] = field(default_factory=dict)


def is_close(count: int, wanted: int) -> bool:
    """Return whether a number of images is at least three quarters of the paper's, and at most four thirds.

    >>> is_close(75, 100), is_close(74, 100), is_close(100, 75), is_close(101, 75)
    (True, False, True, False)
    """
    return ENOUGH * wanted <= count and ENOUGH * count <= wanted


def count_images(evidence: Evidence, used: Mapping[str, int]) -> Found:
    """Compare the images used, by collection, with the paper's.

    >>> paper = Evidence(("unet",), {"montgomery": 138, "jsrt": 240, "nih_masks": 100})
    >>> count_images(paper, {"montgomery": 138, "jsrt": 247}).differences
    ('jsrt 247 instead of 240', 'nih_masks 0 instead of 100')
    """
    left, there = dict(used), {}
    for key, names in zip(evidence.images, evidence.collections, strict=True):
        taken = 0
        for name in names:
            take = min(left.get(name, 0), evidence.images[key] - taken)
            left[name], taken = left.get(name, 0) - take, taken + take
        there[key] = taken
    found = sum(there.values())
    # Surplus images are told with the last key that names their collection.
    keys = {name: key for key, names in zip(evidence.images, evidence.collections, strict=True) for name in names}
    for name, key in keys.items():
        there[key] += left[name]
    differences = _differences(there, evidence.images)
    wanted, others = sum(evidence.images.values()), {name: n for name, n in used.items() if n and name not in keys}
    needed = [key for key in evidence.images if key not in evidence.spare]
    close = is_close(found, wanted) and all(is_close(there[key], evidence.images[key]) for key in needed)
    return Found(wanted, found, differences, close, others)


def count_classes(evidence: Evidence, used: Mapping[str, int]) -> Found:
    """Compare the images used, by class, with the paper's."""
    wanted, there = evidence.classes, {name: used.get(name, 0) for name in evidence.classes}
    close = all(is_close(there[name], count) for name, count in wanted.items())
    return Found(sum(wanted.values()), sum(there.values()), _differences(there, wanted), close)


def _differences(there: Mapping[str, int], wanted: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(f"{key} {there[key]:,} instead of {n:,}" for key, n in wanted.items() if there[key] != n)
