"""What a paper states about its printed numbers beyond the numbers: the key `audit` of `published.yaml`.

Nothing here says that a number is wrong. A fact is what the paper states of the images, runs and totals behind a cell;
`covid_keras.audit` asks whether the numbers are possible under it. The keys, at a table, a column, a row or a cell (of
each key the closest one counts)::

    audit:
      quantity: accuracy        # what the paper calls the number, where our `metric` is another
      images: 120               # images of the test set that a share, or a row of metrics, is of
      positives: 96             # of these, the class that sensitivity is of
      negatives: 1047           # and the rest
      positives_total: 478      # of all parts of the division together, training included: other shares of these are
      negatives_total: 5232     #   tried where the stated test set gives no row of a table
      images_from: 1600         # where the number of images is not stated: at least and at most so many, and all
      images_to: 2600           #   cells of the column are of the same images
      executions: 25            # the number is a mean over so many trainings
      folds: 5                  # whose test sets are the parts of a division of the images by so many folds
      equal_folds: images       # of equal size up to one image; `classes`: with as many images of each class, up to one
      same_as: PLACE            # the paper gives this number a second time, as the number there
      sum_of: [PLACE, ...]      # the number is the sum of these (several such lists may be given)
      mean_of: [PLACE, ...]     # the number is the mean of these
      weighted_mean_of:         # the number is the mean of these, weighted by so many images
        - [PLACE, IMAGES]
      share_of: [[PART, ALL], ...]  # the number is the share of a printed count in so many images, for every pair
      difference_of: [[A, B], ...]  # the number is A less B, of every pair
      bound: least              # every such difference is at least (least) or at most (most) the number

A PLACE is the table, row and column of another printed cell, `text 2.2 | comparison, normal | test`; the column
`printed` may be left out. A number of images is a whole number, the PLACE of a printed count, or a list of these that
is added up, so what the paper states once stands in the file once.

The rules know these metrics, as `metric` or as `quantity`: accuracy, sensitivity (recall of the positive class),
specificity, precision_positive, precision_negative, f1_positive, f1_negative, false_positive_rate,
false_negative_rate, weighted_recall, and pairs of dice and iou (dice_train with iou_train). Beside a printed confusion
matrix of the same system also what `covid_keras.evaluation` computes of one, such as f1_<class>, macro_f1 or
weighted_precision. Rules that need no metric (sums, means, shares, repeated tables, intervals) look at every number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

Place = tuple[str, str, str]
Count = int | Place

_COUNTS = ("images", "positives", "negatives", "positives_total", "negatives_total", "images_from", "images_to")
BOUNDS = ("least", "most")
EQUAL = ("images", "classes")
_COLUMN = "printed"


@dataclass(frozen=True)
class Facts:
    """The facts of one cell; see the module's docstring. Counts are tuples of numbers and places to be added up."""

    quantity: str = ""
    images: tuple[Count, ...] = ()
    positives: tuple[Count, ...] = ()
    negatives: tuple[Count, ...] = ()
    positives_total: tuple[Count, ...] = ()
    negatives_total: tuple[Count, ...] = ()
    images_from: tuple[Count, ...] = ()
    images_to: tuple[Count, ...] = ()
    executions: int = 1
    folds: int = 1
    equal_folds: str = ""
    same_as: tuple[Place, ...] = ()
    sum_of: tuple[tuple[Place, ...], ...] = ()
    mean_of: tuple[Place, ...] = ()
    weighted_mean_of: tuple[tuple[Place, tuple[Count, ...]], ...] = ()
    share_of: tuple[tuple[Place, tuple[Count, ...]], ...] = ()
    difference_of: tuple[tuple[Place, Place], ...] = ()
    bound: str = ""

    def places(self) -> list[Place]:
        """Return every cell that is named."""
        weighted = [(place,) for place, _ in self.weighted_mean_of]
        return [
            *self.counted(),
            *self.same_as,
            *self.mean_of,
            *(place for group in (*self.sum_of, *self.difference_of, *weighted) for place in group),
        ]

    def counted(self) -> list[Place]:
        """Return the cells whose numbers are numbers of images."""
        counts = [getattr(self, name) for name in _COUNTS]
        weights = [count for _, count in (*self.weighted_mean_of, *self.share_of)]
        parts = [place for place, _ in self.share_of]
        return [one for count in (*counts, *weights, parts) for one in count if isinstance(one, tuple)]


NO_FACTS = Facts()
_KEYS = tuple(field.name for field in fields(Facts))


def parse_facts(entries: list[Mapping[str, Any]]) -> Facts:
    """Return the facts of a cell from the `audit` entries that reach it, the closest first.

    Raises
    ------
    ValueError
        Saying in words what is wrong with an entry.
    """
    found: dict[str, Any] = {}
    for entry in reversed(entries):
        if not isinstance(entry, Mapping):
            raise ValueError(f"audit is a mapping, here is {entry!r}")
        if unknown := sorted(set(entry) - set(_KEYS)):
            raise ValueError(f"audit has the unknown key {unknown[0]!r}; known are {', '.join(_KEYS)}")
        found |= {key: _PARSERS[key](value) for key, value in entry.items()}
    if not found:
        return NO_FACTS
    facts = Facts(**found)
    if facts.executions % facts.folds:
        raise ValueError(f"audit: {facts.executions} executions are no whole number of divisions by {facts.folds}")
    if facts.equal_folds and facts.folds == 1:
        raise ValueError("audit: equal_folds without folds")
    if bool(facts.images_from) != bool(facts.images_to):
        raise ValueError("audit: images_from and images_to go together")
    if facts.bound and not facts.difference_of:
        raise ValueError("audit: a bound is one of a difference_of")
    return facts


def place_text(place: Place) -> str:
    """Return a place in words, for messages."""
    table, row, column = place
    title = table_title(table)
    title = title.replace("Running text", "the running text", 1) if title.startswith("Running text") else title
    return f"{title}, {row!r}" + ("" if column == _COLUMN else f", {column!r}")


def table_title(name: str) -> str:
    """Return "Table V" for "V", "Running text" for "text", any other name as it is.

    >>> table_title("text 5.1")
    'Running text, section 5.1'
    >>> table_title("text abstract")
    'Running text, abstract'
    """
    if name == "text":
        return "Running text"
    if name.startswith("text "):
        part = name.removeprefix("text ")
        return f"Running text, {'section ' if part[0].isdigit() else ''}{part}"
    return f"Table {name}" if re.match(r"([IVXLC]+|\d+)\b", name) else name


def _place(value: Any) -> Place:
    parts = tuple(part.strip() for part in value.split("|")) if isinstance(value, str) else ()
    if len(parts) not in (2, 3) or not all(parts):
        raise ValueError(f"audit: {value!r} is no place; write TABLE | ROW | COLUMN")
    return (*parts, _COLUMN) if len(parts) == 2 else parts


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise ValueError(f"audit: {value!r} is no list of {what}")
    return value


def _places(value: Any) -> tuple[Place, ...]:
    return tuple(_place(one) for one in _list(value, "places"))


def _count(value: Any) -> tuple[Count, ...]:
    values = value if isinstance(value, list) and value else [value]
    return tuple(
        int(one) if isinstance(one, str) and one.isascii() and one.isdigit() else _place(one) for one in values
    )


def _whole(value: Any) -> int:
    if not (isinstance(value, str) and value.isascii() and value.isdigit() and int(value) > 0):
        raise ValueError(f"audit: {value!r} is no number of executions or folds")
    return int(value)


def _word(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"audit: quantity cannot be {value!r}")
    return value


def _one_of(name: str, value: Any, known: tuple[str, ...]) -> str:
    if value not in known:
        raise ValueError(f"audit: {name} cannot be {value!r}; choose one of {', '.join(known)}")
    return value


def _sums(value: Any) -> tuple[tuple[Place, ...], ...]:
    lists = value if isinstance(value, list) and value and all(isinstance(one, list) for one in value) else [value]
    return tuple(_places(one) for one in lists)


def _pairs(value: Any) -> list[list[Any]]:
    pairs = _list(value, "pairs")
    if wrong := [one for one in pairs if not isinstance(one, list) or len(one) != 2]:
        raise ValueError(f"audit: {wrong[0]!r} is no pair")
    return pairs


def _counted_pairs(value: Any) -> tuple[tuple[Place, tuple[Count, ...]], ...]:
    return tuple((_place(place), _count(count)) for place, count in _pairs(value))


_PARSERS = {
    "quantity": _word,
    "bound": lambda value: _one_of("bound", value, BOUNDS),
    "equal_folds": lambda value: _one_of("equal_folds", value, EQUAL),
    "executions": _whole,
    "folds": _whole,
    "same_as": lambda value: _places(value if isinstance(value, list) else [value]),
    "sum_of": _sums,
    "mean_of": _places,
    "weighted_mean_of": lambda value: _counted_pairs(value),
    "share_of": lambda value: _counted_pairs(value),
    "difference_of": lambda value: tuple((_place(first), _place(second)) for first, second in _pairs(value)),
    **dict.fromkeys(_COUNTS, _count),
}
