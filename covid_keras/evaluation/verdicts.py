"""Verdicts on measured numbers compared with published ones: grade, outcome and reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from covid_keras.published.cells import LOST_TEXT


class Grade(StrEnum):
    """How closely our experiment matches the paper's (decided by `covid_keras.paper.grading`).

    `REPRODUCTION`: the paper's data and protocol. `REPLICATION`: the same collections and protocol, with images drawn
    or split anew, or in another number that is close to the paper's. `STAND_IN`: other data or settings;
    shown, but not judged.
    """

    REPRODUCTION = "reproduction"
    REPLICATION = "replication"
    STAND_IN = "stand-in"


class Outcome(StrEnum):
    """Result of the comparison: within the tolerance, target within our interval, or neither."""

    REPRODUCED = "reproduced"
    WITHIN_INTERVAL = "within interval"
    NOT_REPRODUCED = "not reproduced"


# Fixed reasons for cells that cannot be judged; other reasons are free text.
NOT_RUN = "not run"
NO_COUNTERPART = "no counterpart"
UNDEFINED = "undefined in what we measured"
LOST = LOST_TEXT


@dataclass(frozen=True)
class Verdict:
    """A verdict.

    Attributes
    ----------
    grade : Grade or None
        None if either number is missing.
    outcome : Outcome or None
        None if not judged.
    reason : str
        Why it is not judged or, of a replication, what differs from the paper; "" if nothing does.
    """

    grade: Grade | None
    outcome: Outcome | None = None
    reason: str = ""

    def __str__(self) -> str:
        """Return the verdict as text.

        >>> str(Verdict(None, None, "not run")), str(Verdict(Grade.REPRODUCTION, Outcome.REPRODUCED))
        ('not comparable (not run)', 'reproduced')
        """
        return str(self.outcome) if self.outcome else f"not comparable ({self.reason})"


# (system, table of the paper) -> the grade, and why it is not a reproduction ("" if it is).
Grading = Callable[[str, str], tuple[Grade, str]]


def as_published(system: str, table: str) -> tuple[Grade, str]:
    """Grade every number as a reproduction."""
    return Grade.REPRODUCTION, ""
