"""The claims of a paper: the file `claims.yaml`, checked.

Layout: `paper`, its name, and `claims`, a list of `Claim`. The statements are this suite's wording of what the authors
say; nothing is quoted.
"""

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
    """One test of a claim on predictions of ours.

    Attributes
    ----------
    what : str
        The test in words.
    how : str
        "paired": a against b on the same images; "sets": on different images; "within": one system alone.
    expected : str
        The claimed side: "+", "-", or a bound such as "> 50" or "within 5".
    value, interval : float, tuple of float
        Measured, in points, with its 95 % interval.
    verdict : str
        Whether the whole interval lies on the claimed side, on the other one, or neither.
    primary : bool
        Whether the verdict on the claim depends on it.
    a, b, metric : str
        Systems and metric, where the test is of such.
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
    """One claim of a paper.

    Attributes
    ----------
    id, statement, where : str
        Its name, what is claimed, the sections and tables that say so.
    kind : str
        What sort of statement it is.
    systems : Systems, optional
        None where it is about no system of ours.
    metric, direction, data : str
        Of what, which side, on which images.
    evidence_in_paper : Evidence
    testable_now : str
        Whether predictions of ours can test it, and which.
    verdict : str
        It holds where all primary tests hold, and does not where one does not.
    measured, tests, caution, needs
        What we found; the tests; why to distrust them; what a test would need that is not here.
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
