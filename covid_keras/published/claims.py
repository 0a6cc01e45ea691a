"""Read and validate `claims.yaml`, the claims of a paper in this suite's wording (no quotes).

The file states what is claimed and how it is tested, but contains no outcome and no measured number: those follow from
predictions (`covid_keras.evaluation.claims`). Layout::

    paper: covid_sdnet
    claims:
      - id: twins_most_accurate
        statement: COVID-SDNet is more accurate than the five other retrained methods.
        where: V.C, Table V         # sections, tables and figures of the paper
        source: abstract            # the most prominent place that makes the claim: abstract, conclusion or text
        kind: order                 # difference, order, trend, threshold or share
        data: any two-class cohort  # the data that a test needs
        family: methods             # (optional) claims of one family are corrected together (Holm)
        caution: what a reader must know (optional)
        printed:                    # comparisons of numbers of `published.yaml`, or `unprinted: why there are none`
          - {a: "V | COVID-SDNet | Accuracy", b: "V | FuCiTNet | Accuracy"}
        tests:                      # tests on predictions, or `untested: what a test would need`
          - {a: covid_sdnet, b: fucitnet, metric: accuracy}

Each comparison and each test claims that a value lies on one side of a bound. The value is that of `a`, less that of
`b` if given; the side is `above: BOUND`, `below: BOUND`, `within: MARGIN` (both sides of 0) or `side: above` or `side:
below`, which have the bound 0. Default: above 0.

In `printed`, `a` and `b` are places, `TABLE | ROW | COLUMN`; a list of two is their absolute difference. Ratios and
the counts of a confusion matrix (as shares of their row) are compared in percent, so that the bound of an AUC is 50.
`of: std` compares the printed standard deviations instead of the values.

In `tests`, `a` and `b` are systems of the paper, `paper:system` of another one, or a list, whose scores are averaged.
`metric` is that of both; `less` is the metric subtracted if it is another one. `part` is the part of the split (by
default the test part), `source` the collection and `label` the true class of the images (by default all); `part_b`,
`source_b` and `label_b` are those of `b` (by default those of `a`). The images that both sides have in common are
compared; with `sets: true`, all of each side, paired as far as they share patients. All values are percentages or
points. All tests that are `primary` (the default) must hold for the claim to hold.

The metrics are those of `covid_keras.published.metrics` and `OF_DECISIONS`, `OF_HEAT` and `OF_EXECUTIONS` below.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Gt, Len, MinLen
from pydantic import AfterValidator, BeforeValidator

from covid_keras.common.errors import UserError
from covid_keras.common.settings import build, read_yaml, unknown_key
from covid_keras.published.cells import TEXT, load_published
from covid_keras.published.facts import Place, parse_place, place_text
from covid_keras.published.metrics import metric_name

CLAIMS = "claims.yaml"
SHIPPED = "shipped"  # the suite's own lung segmenter
# Of the decisions: the share of images called positive, |sensitivity - specificity|, the accuracy of always calling
# the most frequent class, and the accuracy at the threshold chosen on validation images.
OF_DECISIONS = ("called_positive", "gap", "larger_class", "accuracy_tuned")
# Of the shares of heat.
OF_HEAT = ("heat_in_lungs", "beyond_chance", "lung_area")
# Prefixes: the std of a metric over executions, and the std that sampling of images alone would give.
OF_EXECUTIONS = ("sampling_sd_", "sd_")
OF_OVERLAP = ("dice", "iou")

Kind = Literal["difference", "order", "trend", "threshold", "share"]
Origin = Literal["abstract", "conclusion", "text"]
# Units that are compared in percent.
_SHARES = ("percent", "points", "ratio")
_REMEDY = "Correct the file"


def _listed(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else (value,)


def _places(value: Any) -> Any:
    return tuple(parse_place(one) for one in _listed(value))


def _metric(text: str) -> str:
    """Return the suite's name of a metric of a test; raise `ValueError` if it is unknown."""
    for prefix in OF_EXECUTIONS:
        if text.startswith(prefix):
            return prefix + _metric(text.removeprefix(prefix))
    return text if text in (*OF_DECISIONS, *OF_HEAT) else metric_name(text)


_Words = Annotated[str, MinLen(1)]
_Cells = Annotated[tuple[Place, ...], Len(1, 2), BeforeValidator(_places)]
_Systems = Annotated[tuple[_Words, ...], MinLen(1), BeforeValidator(_listed)]
_Metric = Annotated[str, AfterValidator(_metric)]


@dataclass(frozen=True, kw_only=True)
class Side:
    """The claimed side of a value: above or below a bound, or within a margin on both sides of 0."""

    above: float | None = None
    below: float | None = None
    within: Annotated[float, Gt(0)] | None = None
    side: Literal["above", "below"] | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("above", "below", "within", "side") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other")

    @property
    def range(self) -> tuple[float, float]:
        """Return the claimed range of values, (low, high), infinite on an open side."""
        if self.within is not None:
            return -self.within, self.within
        if self.below is not None or self.side == "below":
            return float("-inf"), self.below or 0.0
        return self.above or 0.0, float("inf")

    @property
    def words(self) -> str:
        """Return the side as text, such as "> 0"."""
        low, high = self.range
        return f"within {high:g}" if self.within is not None else f"< {high:g}" if high < float("inf") else f"> {low:g}"


@dataclass(frozen=True, kw_only=True)
class Comparison(Side):
    """A comparison of printed numbers: those of two places, or of one with a bound."""

    a: _Cells
    b: _Cells = ()
    of: Literal["value", "std"] = "value"

    @property
    def places(self) -> tuple[Place, ...]:
        """Return the places compared."""
        return (*self.a, *self.b)


@dataclass(frozen=True, kw_only=True)
class ClaimTest(Side):
    """A test on predictions; see the module docstring. `what` describes it in a few words."""

    a: _Systems
    metric: _Metric
    b: _Systems = ()
    less: _Metric = ""
    what: str = ""
    part: _Words = "test"
    part_b: str = ""
    source: str = ""
    source_b: str = ""
    label: str = ""
    label_b: str = ""
    sets: bool = False
    primary: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        of_b = [name for name in ("part_b", "source_b", "label_b") if getattr(self, name)]
        if of_b and not self.two_sided:
            raise ValueError(f"{of_b[0]} needs b or less")
        if self.metric.startswith(OF_OVERLAP) and (self.part == "test" or self.source or self.label):
            raise ValueError(f"{self.metric} needs the part train or validation, and no source or label")

    @property
    def two_sided(self) -> bool:
        """Return whether the value is a difference."""
        return bool(self.b or self.less)

    @property
    def systems(self) -> tuple[str, ...]:
        """Return the systems of both sides, each once."""
        return tuple(dict.fromkeys((*self.a, *self.b)))

    @property
    def title(self) -> str:
        """Return `what`, or else systems and metric."""
        if self.what:
            return self.what
        sides = " less ".join(" with ".join(side) for side in (self.a, self.b) if side)
        return f"{sides}, {self.metric}" + (f" less {self.less}" if self.less else "")


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim of a paper; see the module docstring."""

    id: _Words
    statement: _Words
    where: _Words
    source: Origin
    kind: Kind
    data: _Words
    family: str = ""
    printed: tuple[Comparison, ...] = ()
    unprinted: str = ""
    tests: tuple[ClaimTest, ...] = ()
    untested: str = ""
    caution: str = ""

    def __post_init__(self) -> None:
        for one, other in (("printed", "unprinted"), ("tests", "untested")):
            if bool(getattr(self, one)) == bool(getattr(self, other)):
                raise ValueError(f"needs either {one} or {other}")
        if self.tests and not self.primary:
            raise ValueError("needs a primary test")

    @property
    def primary(self) -> tuple[ClaimTest, ...]:
        """Return the tests that decide on the claim."""
        return tuple(test for test in self.tests if test.primary)

    @property
    def systems(self) -> tuple[str, ...]:
        """Return the systems of all tests, each once, as written in the file."""
        return tuple(dict.fromkeys(name for test in self.tests for name in test.systems))


@dataclass(frozen=True)
class _Document:
    paper: _Words
    claims: Annotated[tuple[Claim, ...], MinLen(1)]


def load_claims(path: str | Path, paper: str = "") -> dict[str, Claim]:
    """Return the claims of a `claims.yaml` by id, in file order.

    Raises
    ------
    UserError
        If the file is invalid or not that of `paper`, an id is repeated, or a place is not that of a number in the
        `published.yaml` beside it.
    """
    claims: dict[str, Claim] = {}
    document = build(_Document, read_yaml(path), path)
    if paper and document.paper != paper:
        raise UserError(path, f"has the claims of {document.paper!r}, not of {paper!r}", _REMEDY)
    for claim in document.claims:
        if claim.id in claims:
            raise UserError(path, f"claim {claim.id!r} is repeated", "Rename one of them")
        claims[claim.id] = claim
    _check_places(claims.values(), Path(path))
    return claims


def _check_places(claims: Collection[Claim], path: Path) -> None:
    if not any(claim.printed for claim in claims):
        return
    cells = {(cell.table, cell.row, cell.column): cell for cell in load_published(path.parent / "published.yaml")}
    for claim in claims:
        for place in (it for one in claim.printed for it in one.places):
            if place not in cells:
                problem = f"claim {claim.id!r} names {place_text(place)}, which is not in published.yaml"
                raise UserError(path, problem, _near(place, cells))
            if cells[place].unit == TEXT and not cells[place].lost:
                raise UserError(path, f"claim {claim.id!r}: {place_text(place)} is a word, not a number", _REMEDY)
        for one in claim.printed:
            units = {"percent" if unit in _SHARES else unit for unit in (cells[it].compared_unit for it in one.places)}
            if len(units) > 1:
                problem = f"claim {claim.id!r} compares {' with '.join(sorted(units))}"
                raise UserError(path, problem, _REMEDY)


def _near(place: Place, cells: Collection[Place]) -> str:
    """Return the remedy for a place that does not exist: what its table or row has."""
    table, row, _ = place
    columns = [cell[2] for cell in cells if cell[:2] == (table, row)]
    rows = dict.fromkeys(cell[1] for cell in cells if cell[0] == table)
    known = columns or list(rows) or list(dict.fromkeys(cell[0] for cell in cells))
    return f"Its {'row' if columns else 'table' if rows else 'file'} has {', '.join(known)}"


def check_systems(
    claims: Mapping[str, Claim], paper: str, systems: Mapping[str, Collection[str]], path: str | Path
) -> None:
    """Check that the systems of the tests exist.

    Parameters
    ----------
    claims : mapping
        From `load_claims`.
    paper : str
        The paper of the claims.
    systems : mapping
        Paper -> names of its systems.
    path : str or Path
        The file, for error messages.

    Raises
    ------
    UserError
        If a system or paper is unknown.
    """
    for claim in claims.values():
        for where, system in (split_system(name, paper) for name in claim.systems):
            for name, known in ((where, systems), (system, (*systems.get(where, ()), SHIPPED))):
                if name not in known:
                    raise unknown_key(path, name, known, f"claim {claim.id!r}")


def split_system(name: str, paper: str) -> tuple[str, str]:
    """Return paper and system of a name in a test, `system` of `paper` itself or `other_paper:system`."""
    where, _, system = name.rpartition(":")
    return where or paper, system
