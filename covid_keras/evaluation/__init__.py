"""Metrics, uncertainty, thresholds and comparison, as pure functions of predictions.

No module here imports TensorFlow.
"""

from covid_keras.evaluation.comparison import COMPARISON_COLUMNS, compare, verdict_of
from covid_keras.evaluation.metrics import compute_metrics, per_execution
from covid_keras.evaluation.predictions import (
    PREDICTION_COLUMNS,
    check_predictions,
    classes_of,
    read_predictions,
    score_columns,
    write_predictions,
)
from covid_keras.evaluation.seeds import seed_summary
from covid_keras.evaluation.summary import Measured, measured_from_json, metrics_json, summarise
from covid_keras.evaluation.thresholds import apply_thresholds, choose_threshold, choose_thresholds
from covid_keras.evaluation.uncertainty import (
    Difference,
    bootstrap_difference,
    bootstrap_interval,
    bootstrap_intervals,
    bootstrap_mean,
    difference_of_sets,
)
from covid_keras.evaluation.verdicts import Grade, Outcome, Verdict
from covid_keras.published.cells import PublishedCell, load_citation, load_published

__all__ = [
    "COMPARISON_COLUMNS",
    "PREDICTION_COLUMNS",
    "Difference",
    "Grade",
    "Measured",
    "Outcome",
    "PublishedCell",
    "Verdict",
    "apply_thresholds",
    "bootstrap_difference",
    "bootstrap_interval",
    "bootstrap_intervals",
    "bootstrap_mean",
    "check_predictions",
    "choose_threshold",
    "choose_thresholds",
    "classes_of",
    "compare",
    "compute_metrics",
    "difference_of_sets",
    "load_citation",
    "load_published",
    "measured_from_json",
    "metrics_json",
    "per_execution",
    "read_predictions",
    "score_columns",
    "seed_summary",
    "summarise",
    "verdict_of",
    "write_predictions",
]
