"""The claims of a paper: the file `claims.yaml`, checked. Statements are this suite's wording; nothing is quoted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from covid_keras.common.errors import UserError
from covid_keras.common.settings import build, read_yaml

ClaimVerdict = Literal["holds", "does not hold", "undecided", "not tested"]


@dataclass(frozen=True)
class Systems:
    """The systems that a claim is about: one, or several, and those that they are compared with."""

    a: str | tuple[str, ...]
    b: str | tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """Whether the paper's own printed numbers carry a claim, and why."""

    numbers: str
    supports: Literal["yes", "partly", "undecided", "no", "contradicts", "cannot say"]
    why: str


@dataclass(frozen=True)
class ClaimTest:
    """One test of a claim on predictions of ours; the claim's verdict depends on the primary ones.

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
    """One claim: its statement and where the paper makes it, the evidence in the paper, what we found.

    `systems` is None where it is about no system of ours; `needs` says what a test would need that is not here.
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
    """Return the claims of a `claims.yaml` by their ids, in the file's order.

    Raises
    ------
    UserError
        Naming the file and the key at fault, or an id that stands there twice.
    """
    claims: dict[str, Claim] = {}
    for claim in build(_Document, read_yaml(path), path).claims:
        if claim.id in claims:
            raise UserError(path, f"claim {claim.id!r} stands there twice", "Rename one of them")
        claims[claim.id] = claim
    return claims
