"""Figures, tables and the one self-contained HTML page of a report; from predictions and comparisons alone.

Nothing here imports TensorFlow. Names are imported on first use, so matplotlib loads only where a figure is
drawn.
"""

from covid_keras.common.lazy import lazy_exports

_FIGURES = "covid_keras.reporting.figures"
_PICTURES = "covid_keras.reporting.pictures"
_EXPLANATIONS = "covid_keras.reporting.explanations"
_TABLES = "covid_keras.reporting.tables"
_HTML = "covid_keras.reporting.html"
_DOCUMENT = "covid_keras.reporting.document"
_EXPORTS = {
    "confusion_figure": _FIGURES,
    "confusion_panels": _FIGURES,
    "roc_figure": _FIGURES,
    "learning_curves": _FIGURES,
    "learning_panels": _FIGURES,
    "severity_figure": _FIGURES,
    "comparison_figure": _FIGURES,
    "enhancement_figure": "papers.covid_cxnet.enhancements",
    "beasf_figure": "papers.covid_cxnet.enhancements",
    "Explanation": _PICTURES,
    "explanation_figure": _PICTURES,
    "lung_overlay": _PICTURES,
    "HeatCase": _EXPLANATIONS,
    "ConcealedCase": _EXPLANATIONS,
    "heat_grid": _EXPLANATIONS,
    "lime_figure": _EXPLANATIONS,
    "concealment_figure": _EXPLANATIONS,
    "shares_figure": _EXPLANATIONS,
    "seed_table": "covid_keras.reporting.seeds",
    "seed_figure": "covid_keras.reporting.seeds",
    "leak_table": "covid_keras.reporting.seeds",
    "range_figure": "covid_keras.reporting.range_figure",
    "PaperTable": _TABLES,
    "paper_tables": _TABLES,
    "comparison_pivot": _TABLES,
    "comparison_markdown": _TABLES,
    "comparison_latex": _TABLES,
    "markdown_table": _TABLES,
    "measured_table": _TABLES,
    "table_title": _TABLES,
    "verdict_counts": _TABLES,
    "verdict_legend": _TABLES,
    "write_comparison": _TABLES,
    "Report": _DOCUMENT,
    "Section": _DOCUMENT,
    "FigureEntry": _DOCUMENT,
    "TableEntry": _DOCUMENT,
    "render_report": _HTML,
    "write_report": _HTML,
}
__getattr__, __dir__, __all__ = lazy_exports(__name__, _EXPORTS)
