"""Audit verdicts on printed numbers, as used by the comparison."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class AuditVerdict(StrEnum):
    """The verdict on a printed number, from weakest to strongest; the strongest finding counts."""

    NOT_CHECKABLE = "cannot be checked"
    CONSISTENT = "consistent"
    ONE_OF_THESE = "one of these is wrong"
    EXPLAINED = "explained"
    IMPOSSIBLE = "impossible"

    @property
    def weight(self) -> int:
        """Return the rank of the verdict, 0 for the weakest."""
        return list(AuditVerdict).index(self)


# Verdicts that need attention.
WRONG = (AuditVerdict.IMPOSSIBLE, AuditVerdict.EXPLAINED, AuditVerdict.ONE_OF_THESE)
# Numbers with these verdicts are not used as targets, unless the file of published numbers names them as targets.
NO_TARGETS = (AuditVerdict.IMPOSSIBLE, AuditVerdict.EXPLAINED)


class Audited(NamedTuple):
    """The audit finding for a printed number.

    Attributes
    ----------
    verdict : AuditVerdict or ""
        "" if not audited.
    reason : str
        Explanation of the number, why it cannot be checked, or which numbers contradict it; else "".
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
    """Return a verdict with its reason as text.

    >>> verdict_words("explained", "a copy of Table 4"), verdict_words("consistent", "")
    ('explained by a copy of Table 4', 'consistent')
    """
    if not reason:
        return str(verdict)
    return f"{verdict} by {reason}" if verdict == AuditVerdict.EXPLAINED else f"{verdict} ({reason.rstrip('.')})"
