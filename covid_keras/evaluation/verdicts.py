"""Verdicts on measured numbers compared with published ones: grade, outcome and reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from covid_keras.published.cells import LOST_TEXT


class Grade(StrEnum):
    """How closely our experiment matches the paper's.

    `REPRODUCTION`: the paper's data and protocol. `REPLICATION`: the same collections and protocol, with images drawn
    or split differently. `STAND_IN`: other data or a smaller network; shown, but not judged.
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
OTHER_DATA = "measured on other data"


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
        Why it is not judged; "" if there is an outcome.
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


def grade_of(
    comparable: bool | str, surrogates: Mapping[str, str] | None, system: str, table: str
) -> tuple[Grade, str]:
    """Return the grade of a system's numbers in a table of the paper, and the reason for a lower grade.

    Parameters
    ----------
    comparable : bool or str
        From the protocol: True if data and protocol are the paper's, else the reason.
    surrogates : mapping, optional
        System to the reason why it is a stand-in even on the paper's data.
    system, table : str
        `table` is not used yet: a protocol gives one reason for all tables.
    """
    reason = (surrogates or {}).get(system, "") if comparable is True else comparable or OTHER_DATA
    return (Grade.STAND_IN, str(reason)) if reason else (Grade.REPRODUCTION, "")
