"""Are the printed numbers of a paper possible? Pure functions of `published.yaml`; no data, no TensorFlow."""

from covid_keras.audit.core import RULES, audit
from covid_keras.audit.findings import AUDIT_COLUMNS, CONSISTENT, EXPLAINED, IMPOSSIBLE, NOT_CHECKED, Audit, Finding

__all__ = [
    "AUDIT_COLUMNS",
    "CONSISTENT",
    "EXPLAINED",
    "IMPOSSIBLE",
    "NOT_CHECKED",
    "RULES",
    "Audit",
    "Finding",
    "audit",
]
