"""Check whether the printed numbers of a paper are possible, as pure functions of `published.yaml`."""

from covid_keras.audit.core import RULES, audit
from covid_keras.audit.findings import AUDIT_COLUMNS, Audit, Finding
from covid_keras.evaluation.possibility import AuditVerdict

__all__ = ["AUDIT_COLUMNS", "RULES", "Audit", "AuditVerdict", "Finding", "audit"]
