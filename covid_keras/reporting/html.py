"""The report: one self-contained HTML page that opens anywhere, offline, and prints.

Everything on the page comes from a `Report`; figures are inlined (SVG where they are drawings, PNG where
they hold pictures), so the page has no external resource.
"""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import pandas as pd
from markupsafe import Markup

from covid_keras.common.files import write_text
from covid_keras.reporting import tables
from covid_keras.reporting.document import FigureEntry, Report, Section, TableEntry  # noqa: F401

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURE_DPI = 144


def render_report(report: Report) -> str:
    """Return the page as text; the same report gives the same bytes.

    Raises
    ------
    ValueError
        Where a citation's address is not http(s), or the comparison is malformed (see `tables.paper_tables`).
    """
    for text, url in report.citations:
        if url and not url.startswith(("https://", "http://")):
            raise ValueError(f"the address of {text!r} is not http(s): {url}")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("covid_keras.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        inline_figure=inline_figure,
        paragraphs=_paragraphs,
        shown=_shown,
        not_comparable_line=tables.not_comparable_line,
        left_out_line=tables.left_out_line,
    )
    template = environment.get_template("report.html.j2")
    page = template.render(report=report, provenance=_flat(report.provenance), **_comparison_context(report))
    return page.strip() + "\n"


def write_report(path: str | Path, report: Report) -> Path:
    """Write the page to `path`, whole or not at all; return the path."""
    return write_text(path, render_report(report))


def inline_figure(figure: Figure, alternative: str) -> Markup:
    """Return a figure as an `<img>` with a data URI: SVG for drawings, PNG where it holds pictures."""
    from covid_keras.reporting.style import report_style

    holds_pictures = any(image.get_array().size > 10_000 for axes in figure.axes for image in axes.images)
    buffer = io.BytesIO()
    with report_style():
        if holds_pictures:
            figure.savefig(buffer, format="png", dpi=PICTURE_DPI, metadata={"Software": None})
        else:
            figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    kind = "png" if holds_pictures else "svg+xml"
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    width, height = (round(96 * side) for side in figure.get_size_inches())
    return Markup(
        f'<img src="data:image/{kind};base64,{data}" alt="{html.escape(alternative)}" '
        f'width="{width}" height="{height}">'
    )


def _comparison_context(report: Report) -> dict[str, Any]:
    """Return what the template needs of the comparison: tables, counts, reasons, judged cells, doubts."""
    frame = report.comparison
    if frame is None:
        return {
            "counts": {},
            "measured_tables": [],
            "other_tables": [],
            "verdicts": tables.VERDICTS,
            "audit_signs": [],
            "doubts": [],
            "cell_rows": [],
            "table_title": tables.table_title,
        }
    laid_out = tables.paper_tables(frame)
    return {
        "counts": tables.verdict_counts(frame),
        "measured_tables": [table for table in laid_out if table.measured],
        "other_tables": [table for table in laid_out if not table.measured],
        "verdicts": tables.VERDICTS,
        "audit_signs": tables.audit_signs(frame),
        "doubts": tables.doubtful_cells(frame),
        "cell_rows": tables.measured_cells(frame),
        "table_title": tables.table_title,
    }


def _paragraphs(text: str) -> list[str]:
    return [part.strip() for part in text.split("\n\n") if part.strip()]


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return tables.number(value)
    return tables.NOTHING if value is None or value is pd.NA else str(value)


def _flat(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return a nested mapping as (dotted name, text) pairs."""
    pairs: list[tuple[str, str]] = []
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            pairs += _flat(item, f"{prefix}{key}.")
        elif isinstance(item, float) and not math.isnan(item):
            pairs.append((f"{prefix}{key}", f"{item:g}"))
        elif isinstance(item, list | tuple):
            pairs.append((f"{prefix}{key}", ", ".join(map(str, item))))
        else:
            pairs.append((f"{prefix}{key}", tables.NOTHING if item is None else str(item)))
    return pairs
