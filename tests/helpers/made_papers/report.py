"""The report of the made paper `choosing`."""

from __future__ import annotations

from covid_keras.evaluation import Measured
from covid_keras.evaluation.counts import balanced_accuracy, summarise_counts
from covid_keras.reporting.document import Section
from covid_keras.reporting.results import PaperReport


class Report(PaperReport):
    """A metric, a number from beside the systems, a file and a section of its own."""

    def measure(self, predictions):
        return summarise_counts(predictions, {"balanced_accuracy": balanced_accuracy}, n=50)

    def measured_beside(self, run):
        return [Measured("stage", "dice", 90.0, 1.0, 1, 1, 89.0, 91.0, 5, 6)]

    def published_files(self, run):
        return {"extra.csv": f"executions\n{len(run.executions())}\n"}

    def sections(self, results):
        return [Section("Only here", f"Of {len(results.systems)} systems.")]


REPORT = Report(pairs=(("best", "apart"), ("best", "gone")))
