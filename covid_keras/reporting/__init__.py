"""Figures, tables and the self-contained HTML page of a report, from predictions and comparisons.

Names are imported on first use, so matplotlib is loaded only to draw figures. TensorFlow is not imported.
"""

from covid_keras.common.lazy import lazy_exports

_MODULES = {
    "document": ("AgainstEntry", "FigureEntry", "Report", "Section", "TableEntry"),
    "renderer": ("fragment", "render", "write_report"),
    "results": ("PaperReport", "Results"),
    "prose": ("notes", "prose"),
    "comparisons": ("comparison_section", "write_comparison"),
    "tables": ("PaperTable", "measured_table", "paper_tables", "verdict_counts"),
    "figures": (
        "comparison_figure",
        "confusion_panels",
        "learning_panels",
        "roc_figure",
        "severity_figure",
    ),
    "pictures": ("Explanation", "explanation_figure"),
    "explanations": ("ConcealedCase", "HeatCase", "concealment_figure", "heat_grid", "lime_figure"),
    "seeds": ("leak_table", "seed_figure", "seed_table"),
    "range_figure": ("range_figure",),
}
_EXPORTS = {name: f"covid_keras.reporting.{module}" for module, names in _MODULES.items() for name in names}
__getattr__, __dir__, __all__ = lazy_exports(__name__, _EXPORTS)
