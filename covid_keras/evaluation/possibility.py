"""Whether a printed number is possible: what `covid_keras.audit` finds, as a comparison takes it."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class AuditVerdict(StrEnum):
    """The verdict on a printed number, the strongest last: of several that are found the last one counts."""

    NOT_CHECKABLE = "cannot be checked"
    CONSISTENT = "consistent"
    ONE_OF_THESE = "one of these is wrong"
    EXPLAINED = "explained"
    IMPOSSIBLE = "impossible"

    @property
    def weight(self) -> int:
        """Return the place among all verdicts, 0 for the weakest."""
        return list(AuditVerdict).index(self)


# What a reader should look at.
WRONG = (AuditVerdict.IMPOSSIBLE, AuditVerdict.EXPLAINED, AuditVerdict.ONE_OF_THESE)
# A number with such a verdict is not a target for a reproduction, unless the file of published numbers names it as one.
NO_TARGETS = (AuditVerdict.IMPOSSIBLE, AuditVerdict.EXPLAINED)


class Audited(NamedTuple):
    """What the audit says of one printed number.

    Attributes
    ----------
    verdict : AuditVerdict or ""
        "" where nobody asked.
    reason : str
        What explains the number, why it cannot be checked, or with which others it cannot stand; else "".
    proof : str
        The arithmetic.
    """

    verdict: AuditVerdict | str = ""
    reason: str = ""
    proof: str = ""

    @property
    def words(self) -> str:
        """The verdict with its reason."""
        return verdict_words(self.verdict, self.reason)


def verdict_words(verdict: str, reason: str) -> str:
    """Return a verdict with its reason, as a reader sees it.

    >>> verdict_words("explained", "a copy of Table 4"), verdict_words("consistent", "")
    ('explained by a copy of Table 4', 'consistent')
    """
    if not reason:
        return str(verdict)
    return f"{verdict} by {reason}" if verdict == AuditVerdict.EXPLAINED else f"{verdict} ({reason})"
