"""The verdict on one of our numbers beside the paper's: a value of grade, outcome and reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from covid_keras.published.cells import LOST_TEXT


class Grade(StrEnum):
    """How close our measurement comes to the paper's.

    `REPRODUCTION`: the paper's own data and protocol; `REPLICATION`: the same collections and protocol, the images
    drawn or divided anew; `STAND_IN`: other data or a smaller network, shown and not judged.
    """

    REPRODUCTION = "reproduction"
    REPLICATION = "replication"
    STAND_IN = "stand-in"


class Outcome(StrEnum):
    """What came of the comparison: within the tolerance, the target within our interval, or neither."""

    REPRODUCED = "reproduced"
    WITHIN_INTERVAL = "within interval"
    NOT_REPRODUCED = "not reproduced"


# Reasons of cells that have no counterpart to judge; other reasons are free text.
NOT_RUN = "not run"
NO_COUNTERPART = "no counterpart"
UNDEFINED = "undefined in what we measured"
LOST = LOST_TEXT
OTHER_DATA = "measured on other data"


@dataclass(frozen=True)
class Verdict:
    """A verdict.

    Attributes
    ----------
    grade : Grade or None
        None where there is nothing of ours, or of the paper's, to grade.
    outcome : Outcome or None
        None where nothing is judged.
    reason : str
        Why nothing is judged; "" where there is an outcome.
    """

    grade: Grade | None
    outcome: Outcome | None = None
    reason: str = ""

    def __str__(self) -> str:
        """Return the verdict as a reader sees it.

        >>> str(Verdict(None, None, "not run")), str(Verdict(Grade.REPRODUCTION, Outcome.REPRODUCED))
        ('not comparable (not run)', 'reproduced')
        """
        return str(self.outcome) if self.outcome else f"not comparable ({self.reason})"


def grade_of(
    comparable: bool | str, surrogates: Mapping[str, str] | None, system: str, table: str
) -> tuple[Grade, str]:
    """Return the grade of a system's numbers in a table of the paper, and why it is no better.

    Parameters
    ----------
    comparable : bool or str
        Of the protocol: True where data and protocol are the paper's, else why they are not.
    surrogates : mapping, optional
        System to why it is no match for the paper's even on the paper's data.
    system, table : str
        The published table does not decide yet: a protocol gives one reason for all of them.
    """
    reason = (surrogates or {}).get(system, "") if comparable is True else comparable or OTHER_DATA
    return (Grade.STAND_IN, str(reason)) if reason else (Grade.REPRODUCTION, "")
