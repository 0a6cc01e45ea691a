"""Read and validate `claims.yaml`, the claims of a paper in this suite's wording (no quotes)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from covid_keras.common.errors import UserError
from covid_keras.common.settings import build, read_yaml

ClaimVerdict = Literal["holds", "does not hold", "undecided", "not tested"]


@dataclass(frozen=True)
class Systems:
    """The systems of a claim, and those that they are compared with."""

    a: str | tuple[str, ...]
    b: str | tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """Whether the paper's printed numbers support a claim, and why."""

    numbers: str
    supports: Literal["yes", "partly", "undecided", "no", "contradicts", "cannot say"]
    why: str


@dataclass(frozen=True)
class ClaimTest:
    """A test of a claim on our predictions; the primary tests determine the verdict of the claim.

    `how`: a against b on the same images ("paired") or on different ones ("sets"), or one system alone ("within").
    `expected`: the claimed side, "+" or "-", or a bound such as "> 50". `value` and its 95 % `interval` are in points.
    """

    what: str
    how: Literal["paired", "sets", "within"]
    expected: str
    value: float
    interval: tuple[float, float]
    verdict: ClaimVerdict
    primary: bool
    a: str = ""
    b: str = ""
    metric: str = ""


@dataclass(frozen=True)
class Claim:
    """A claim: statement, location in the paper, evidence in the paper, our tests.

    `systems` is None if none of our systems is concerned; `needs` lists what a test would need but is not available.
    """

    id: str
    statement: str
    where: str
    kind: Literal["difference", "order", "threshold", "trend", "share", "qualitative"]
    systems: Systems | None
    metric: str
    direction: str
    data: str
    evidence_in_paper: Evidence
    testable_now: str
    verdict: ClaimVerdict
    measured: str = ""
    tests: tuple[ClaimTest, ...] = ()
    caution: str = ""
    needs: str = ""


@dataclass(frozen=True)
class _Document:
    paper: str
    claims: tuple[Claim, ...]


def load_claims(path: str | Path) -> dict[str, Claim]:
    """Return the claims of a `claims.yaml` by id, in file order.

    Raises
    ------
    UserError
        If the file is invalid or an id is repeated.
    """
    claims: dict[str, Claim] = {}
    for claim in build(_Document, read_yaml(path), path).claims:
        if claim.id in claims:
            raise UserError(path, f"claim {claim.id!r} is repeated", "Rename one of them")
        claims[claim.id] = claim
    return claims
