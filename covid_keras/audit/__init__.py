"""Are the printed numbers of a paper possible? Pure functions of `published.yaml`; no data, no TensorFlow."""

from covid_keras.audit.core import RULES, audit
from covid_keras.audit.findings import AUDIT_COLUMNS, Audit, Finding
from covid_keras.evaluation.possibility import AuditVerdict

__all__ = ["AUDIT_COLUMNS", "RULES", "Audit", "AuditVerdict", "Finding", "audit"]
