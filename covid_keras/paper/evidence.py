"""What a paper's numbers were measured on: the section `evidence` of `protocol.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Annotated

from annotated_types import MinLen

from covid_keras.common.settings import Count

ALTERNATIVES = " or "


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
    tables : tuple of str
        Tables of the paper that the entry is about. Default: all.
    drawn : str
        What was drawn anew because the paper does not publish it; such numbers are replications at best.
    differs : str
        Why the numbers are stand-ins even with all images.
    """

    systems: Annotated[tuple[str, ...], MinLen(1)]
    images: Annotated[dict[str, Count], MinLen(1)]
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
    others : dict
        Collections that the paper does not use -> number of images.
    """

    wanted: int
    found: int
    differences: tuple[str, ...] = ()
    others: dict[str, int] = field(default_factory=dict)


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
    wanted = evidence.images.items()
    differences = tuple(f"{key} {there[key]:,} instead of {count:,}" for key, count in wanted if there[key] != count)
    others = {name: count for name, count in used.items() if count and name not in keys}
    return Found(sum(evidence.images.values()), found, differences, others)
