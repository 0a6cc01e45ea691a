"""Groups of systems tested on the same images, and their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Group:
    """Systems tested on the same images.

    Attributes
    ----------
    name : str
        What distinguishes the group; "" for a single group.
    titles : dict
        System -> title, without the group's name.
    """

    name: str
    titles: dict[str, str]

    def titled(self, what: str) -> str:
        """Return the title of a figure or table of the group."""
        return f"{what}: {self.name}" if self.name else what


def named_groups(
    groups: list[dict[str, str]], origins: Mapping[str, str] = MappingProxyType({}), classes: Sequence[str] = ()
) -> list[Group]:
    """Name groups of systems (name -> title) by the ending, after a comma, that all titles of a group share.

    A group of one system among several groups is named by its title; a group whose systems share an origin, by that
    origin. If given, `classes` (one text per group) is put before the name. Ambiguous names get a number.

    >>> [group.name for group in named_groups([{"a": "A", "b": "B"}, {"c": "A, cut", "d": "B, cut"}])]
    ['', 'cut']
    >>> named_groups([{"c": "A, cut", "d": "B, cut"}])[0].titles
    {'c': 'A', 'd': 'B'}
    """
    named = [
        Group(origin, titles)
        if len(titles) > 1 and (origin := _common(origins.get(name, "") for name in titles))
        else _named(titles, alone=len(groups) == 1)
        for titles in groups
    ]
    for place, (group, what) in enumerate(zip(named, classes, strict=False)):
        if what and len(group.titles) > 1:
            named[place] = Group(", ".join(filter(None, (what, group.name))), group.titles)
    names = [group.name for group in named]
    return [
        Group(f"{group.name} ({place} of {len(named)})".strip(), group.titles) if names.count(group.name) > 1 else group
        for place, group in enumerate(named, 1)
    ]


def _common(values: Iterable[str]) -> str:
    """Return the common value; "" if the values differ."""
    found = set(values)
    return found.pop() if len(found) == 1 else ""


def _named(titles: dict[str, str], alone: bool) -> Group:
    if len(titles) == 1:
        return Group("" if alone else next(iter(titles.values())), titles)
    endings = {title.rpartition(", ")[2] if ", " in title else "" for title in titles.values()}
    ending = endings.pop() if len(endings) == 1 else ""
    return Group(ending, {name: title.removesuffix(f", {ending}") for name, title in titles.items()})
