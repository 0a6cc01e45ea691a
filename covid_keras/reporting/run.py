"""The report of a run: tables, figures and page, from predictions and the paper's published numbers."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.common.files import staged, write_json, write_text
from covid_keras.common.memory import naming_shortage
from covid_keras.common.tables import write_table
from covid_keras.reporting.comparisons import write_comparison
from covid_keras.reporting.document import FigureEntry
from covid_keras.reporting.page import make_report
from covid_keras.reporting.renderer import render, write_figures
from covid_keras.reporting.results import Results, banner_of, results_json
from covid_keras.training.runfolder import RunFolder


def report_run(path: str | Path, heatmaps: bool = True) -> Path:
    """Write `report.html`, `report.md`, `figures/*`, `comparison.*` and `metrics.json` of a run; return the page.

    Parameters
    ----------
    path : str or Path
        A run folder with at least one finished execution.
    heatmaps : bool
        Draw Grad-CAM for example images, which needs TensorFlow, the weights and the images.

    Raises
    ------
    UserError
        If the folder is not a run, has no finished execution, or lacks a file (a history; weights or images for
        Grad-CAM). Nothing is written then.
    """
    results = Results.of(RunFolder.open(path))
    folder, banner = results.run.path, banner_of(results)
    with naming_shortage("heat maps", f"Make the report without them: covid-keras report {folder} --no-heatmaps"):
        explained, heat = _explain(results) if heatmaps else ({}, None)
    report, numbers = make_report(results, explained), results_json(results)
    page, text = render(report, "html"), render(report, "md")
    with staged(folder) as stage:
        if results.published:
            write_comparison(stage, results.comparison, banner=banner)
        write_json(stage / "metrics.json", numbers)
        if heat is not None:
            write_table(stage / "explanations.csv", heat)
        drawn = {path.name for path in write_figures(stage / "figures", report)}
        write_text(stage / "report.md", text)
        write_text(stage / "report.html", page)
    for path in (folder / "figures").glob("*"):  # those of an earlier report
        if path.suffix in (".png", ".svg") and path.name not in drawn:
            path.unlink()
    return folder / "report.html"


def _explain(results: Results) -> tuple[dict[str, list[FigureEntry]], pd.DataFrame | None]:
    """Return the example pictures of each system's first execution, and the table of their heat in the lungs."""
    from covid_keras.common.quiet import import_tensorflow

    import_tensorflow()
    from covid_keras.reporting.examples import Examples, explain_examples, heat_table
    from covid_keras.reporting.lung_heat import measure_shares
    from covid_keras.reporting.network_costs import measure_costs
    from covid_keras.reporting.pictures import explanation_figure

    entries, tables = {}, []
    for name, title in results.systems.items():
        execution = results.executions_of(name)[0][0]
        mine = results.predictions_of(name)
        mine = mine[(mine["repeat"] == execution.repeat) & (mine["fold"] == execution.fold)]
        try:
            if (network := execution.network) is None:
                continue
            examples = Examples.of(execution, mine, network, results.report.choose)
            cases = explain_examples(examples)
            pictures = results.report.pictures.get(name, lambda _: [])(examples)
        except UserError as error:
            remedy = f"{error.remedy}, or leave out the heat maps with --no-heatmaps"
            raise UserError(error.subject, error.problem, remedy) from error
        tables.append(heat_table(name, cases))
        caption = f"{execution.name}. {results.report.evidence_notes.get(name, '')}".strip()
        further = [FigureEntry(f"{what}: {title}", text, figure) for what, text, figure in pictures]
        entries[name] = [*further, FigureEntry(f"Grad-CAM: {title}", caption, explanation_figure(cases, title))]
    measure_shares(results)
    measure_costs(results)
    return entries, pd.concat(tables) if tables else None
