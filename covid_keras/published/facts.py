"""Facts that a paper states about its printed numbers: the key `audit` of `published.yaml`.

Facts describe the images, trainings and totals behind a cell; they do not say that a number is wrong.
`covid_keras.audit` checks whether the numbers are possible given the facts. Keys may be set at a table, column, row or
cell; for each key, the closest one counts::

    audit:
      quantity: accuracy        # the metric according to the paper, if it is not our `metric`
      images: 120               # number of test images behind a share or a row of metrics
      positives: 96             # test images of the positive class (denominator of the sensitivity)
      negatives: 1047           # test images of the other classes
      positives_total: 478      # positives and negatives in all parts of the split, including training;
      negatives_total: 5232     #   other fractions of them are tried as the test set if the stated one matches no row
      images_from: 1600         # bounds on the number of images, if it is not stated;
      images_to: 2600           #   all cells of the column are of the same images
      executions: 25            # the number is a mean over 25 trainings
      folds: 5                  # whose test sets are the folds of 5-fold cross-validation
      equal_folds: images       # folds differ by at most one image; `classes`: by at most one image of each class
      same_as: PLACE            # another cell prints the same number
      sum_of: [PLACE, ...]      # the number is the sum of these (or of each list in a list of lists)
      mean_of: [PLACE, ...]     # the number is the mean of these
      weighted_mean_of:         # the number is the mean of these, weighted by numbers of images
        - [PLACE, IMAGES]
      share_of: [[PLACE, IMAGES], ...]  # for each pair, the number is the share of a printed count in these images
      difference_of: [[A, B], ...]      # for each pair of PLACEs, the number is A minus B
      bound: least              # instead, each difference is at least (least) or at most (most) the number

PLACE is the table, row and column of another printed cell, `text 2.2 | comparison, normal | test`; the column
`printed` may be omitted. IMAGES, like every number of images, is a whole number, the PLACE of a printed count, or a
list of these, which is summed.

Metrics (`metric` and `quantity`) are named as in `covid_keras.published.metrics`, which also says which of them the
audit rules know. Rules that need no metric (sums, means, shares, repeated tables, intervals) check every number.
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


def parse_place(value: Any) -> Any:
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
        int(one) if isinstance(one, str) and one.isascii() and one.isdigit() else parse_place(one) for one in values
    )


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _lists(value: Any) -> Any:
    return value if value and isinstance(value, list) and all(isinstance(one, list) for one in value) else [value]


# Types as written in `published.yaml`.
_Place = Annotated[Place, BeforeValidator(parse_place)]
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
    """Return a place as text, as in "Table V, 'ResNet-50', 'Accuracy'"."""
    table, row, column = place
    return f"{table_words(table)}, {row!r}" + ("" if column == _COLUMN else f", {column!r}")


def table_words(name: str) -> str:
    """Return `table_title` as written within a sentence: "the running text" for "Running text"."""
    return re.sub("^Running text", "the running text", table_title(name))


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
