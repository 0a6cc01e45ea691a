"""A report as one Markdown file: the same content as its page, figures named and left to the page."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from covid_keras.reporting.document import AgainstEntry, Report, Section
from covid_keras.reporting.tables import left_out_line, markdown_table, not_comparable_line, table_title

NOTED = "tested on"


def markdown_of(report: Report) -> str:
    """Return a report's title, warnings, facts, sections and citations; the same report gives the same text.

    What stands folded on the page is folded here by `<details>`. Of the report's own comparison nothing is said: pages
    that have one are written by `covid_keras.reporting.tables.write_comparison`.
    """
    blocks = [f"# {report.title}"]
    blocks += [f"**{report.banner}**"] if report.banner else []
    blocks += [report.subtitle] if report.subtitle else []
    blocks += [f"> {report.disclaimer}", _listed(report.facts)]
    blocks += [block for section in report.sections for block in _section(section, 2)]
    blocks += [_listed(report.notes)]
    blocks += ["\n".join(f"- [{text}]({url})" if url else f"- {text}" for text, url in report.citations)]
    return "\n\n".join(block.strip("\n") for block in blocks if block.strip()) + "\n"


def _section(section: Section, level: int) -> list[str]:
    return [f"{'#' * level} {section.title}", *_body(section, level)]


def _body(section: Section, level: int) -> list[str]:
    blocks = [section.text, _listed(section.facts)]
    blocks += [block for entry in section.against for block in _against(entry)]
    for title, caption, frame in section.tables:
        blocks += [f"**{title}**", markdown_table(frame), caption]
    blocks += [f"({entry.title}: drawn on the HTML page.)" for entry in (*section.figures, *section.folded)]
    blocks.append(_listed(section.notes))
    blocks += [block for part in section.parts for block in _section(part, level + 1)]
    for part in section.details:
        blocks += [f"<details><summary>{part.title}</summary>", *_body(part, level + 1), "</details>"]
    return blocks


def _against(entry: AgainstEntry) -> list[str]:
    table, what, caption, brief = entry
    rows = [
        {"system": row}
        | ({NOTED: table.notes.get(row, "")} if table.notes else {})
        | {column: str(table.cells.get((row, column), "")) for column in table.columns}
        for row in table.rows
    ]
    lines = [caption] if brief else [not_comparable_line(table), left_out_line(table), caption]
    title = " ".join(part for part in (f"**{table_title(table.name)}**", what) if part)
    return [title, markdown_table(pd.DataFrame(rows, dtype=str)), *lines]


def _listed(pairs: Iterable[tuple[str, object]]) -> str:
    return "\n".join(f"- **{name}**: {' '.join(str(value).split())}" for name, value in pairs)
