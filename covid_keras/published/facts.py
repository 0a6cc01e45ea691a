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

Names of metrics, as `metric` or as `quantity`, are those of `covid_keras.published.metrics`; which of them rules know
stands there. Rules that need no metric (sums, means, shares, repeated tables, intervals) look at every number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, MinLen
from pydantic import AfterValidator, BeforeValidator

from covid_keras.common.errors import UserError
from covid_keras.common.settings import build
from covid_keras.published.metrics import metric_name

Place = tuple[str, str, str]
Count = int | Place

_COUNTS = ("images", "positives", "negatives", "positives_total", "negatives_total", "images_from", "images_to")
_COLUMN = "printed"


def _place(value: Any) -> Any:
    """Parse `TABLE | ROW | COLUMN`."""
    if isinstance(value, tuple):
        return value
    parts = tuple(part.strip() for part in value.split("|")) if isinstance(value, str) else ()
    if len(parts) not in (2, 3) or not all(parts):
        raise ValueError(f"{value!r} is not a place; write TABLE | ROW | COLUMN")
    return (*parts, _COLUMN) if len(parts) == 2 else parts


def _counts(value: Any) -> tuple[Count, ...]:
    """Parse a number of images, the place of one, or a list of these."""
    if isinstance(value, tuple):
        return value
    values = value if isinstance(value, list) and value else [value]
    return tuple(
        int(one) if isinstance(one, str) and one.isascii() and one.isdigit() else _place(one) for one in values
    )


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _lists(value: Any) -> Any:
    return value if value and isinstance(value, list) and all(isinstance(one, list) for one in value) else [value]


# Types as written in `published.yaml`.
_Place = Annotated[Place, BeforeValidator(_place)]
_Places = Annotated[tuple[_Place, ...], MinLen(1)]
_Counts = Annotated[tuple[Count, ...], BeforeValidator(_counts)]
_Counted = Annotated[tuple[tuple[_Place, _Counts], ...], MinLen(1)]


@dataclass(frozen=True)
class Facts:
    """The facts of a cell (see the module docstring). Counts are tuples of numbers and places, which are summed."""

    quantity: Annotated[str, MinLen(1), AfterValidator(metric_name)] = ""
    images: _Counts = ()
    positives: _Counts = ()
    negatives: _Counts = ()
    positives_total: _Counts = ()
    negatives_total: _Counts = ()
    images_from: _Counts = ()
    images_to: _Counts = ()
    executions: Annotated[int, Ge(1)] = 1
    folds: Annotated[int, Ge(1)] = 1
    equal_folds: Literal["", "images", "classes"] = ""
    same_as: Annotated[_Places, BeforeValidator(_listed)] = ()
    sum_of: Annotated[tuple[_Places, ...], BeforeValidator(_lists)] = ()
    mean_of: _Places = ()
    weighted_mean_of: _Counted = ()
    share_of: _Counted = ()
    difference_of: Annotated[tuple[tuple[_Place, _Place], ...], MinLen(1)] = ()
    bound: Literal["", "least", "most"] = ""

    def places(self) -> list[Place]:
        """Return all places that occur in the facts."""
        weighted = [(place,) for place, _ in self.weighted_mean_of]
        return [
            *self.counted(),
            *self.same_as,
            *self.mean_of,
            *(place for group in (*self.sum_of, *self.difference_of, *weighted) for place in group),
        ]

    def counted(self) -> list[Place]:
        """Return the places used as numbers of images."""
        counts = [getattr(self, name) for name in _COUNTS]
        weights = [count for _, count in (*self.weighted_mean_of, *self.share_of)]
        parts = [place for place, _ in self.share_of]
        return [one for count in (*counts, *weights, parts) for one in count if isinstance(one, tuple)]


NO_FACTS = Facts()


def read_facts(mapping: Mapping[str, Any], path: str | Path, where: str) -> Facts:
    """Return the facts of a cell; raise `UserError` if they are invalid or exclude each other."""
    facts = build(Facts, mapping, path, f"{where}: audit", strict=False)
    for wrong, problem in (
        (facts.executions % facts.folds, f"{facts.executions} executions are not a multiple of {facts.folds} folds"),
        (facts.equal_folds and facts.folds == 1, "equal_folds without folds"),
        (bool(facts.images_from) != bool(facts.images_to), "images_from and images_to require each other"),
        (facts.bound and not facts.difference_of, "bound requires difference_of"),
    ):
        if wrong:
            raise UserError(path, f"{where}: audit: {problem}", "Correct the file")
    return facts


def place_text(place: Place) -> str:
    """Return a place as text."""
    table, row, column = place
    title = table_title(table)
    title = title.replace("Running text", "the running text", 1) if title.startswith("Running text") else title
    return f"{title}, {row!r}" + ("" if column == _COLUMN else f", {column!r}")


def table_title(name: str) -> str:
    """Return "Table V" for "V" and "Running text" for "text"; return other names unchanged.

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
