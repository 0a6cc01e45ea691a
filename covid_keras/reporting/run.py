"""The report of a run: tables, figures and page, made from predictions and the paper's published numbers alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covid_keras.errors import UserError
from covid_keras.evaluation import (
    Measured,
    PublishedCell,
    bootstrap_difference,
    compare,
    load_published,
    metrics_json,
    per_execution,
    read_predictions,
    summarise,
)
from covid_keras.files import atomic_path, read_json, write_json, write_text
from covid_keras.reporting.figures import confusion_figure, learning_curves, roc_figure, severity_figure
from covid_keras.reporting.html import FigureEntry, Report, Section, TableEntry, write_report
from covid_keras.reporting.tables import comparison_markdown, measured_table, write_comparison
from covid_keras.training.experiment import Paper, load_paper
from covid_keras.training.provenance import provenance
from covid_keras.training.runfolder import Execution, RunFolder

SYNTHETIC = "PHANTOM DATA: synthetic images made by this suite. No number on this page says anything about a patient."
OTHER_DATA = "OTHER DATA THAN THE PAPER'S: every number of ours is shown, none is comparable. {reason}."


@dataclass(frozen=True)
class Results:
    """A run's predictions and everything that follows from them."""

    run: RunFolder
    paper: Paper
    executions: list[Execution]

    @classmethod
    def of(cls, run: RunFolder) -> Results:
        """Read a run's finished executions; raise `UserError` where there is none."""
        done = [execution for execution in run.executions() if execution.done]
        if not done:
            raise UserError(run.path, "holds no finished execution", "Run `covid-keras reproduce` until one is done")
        return cls(run, load_paper(run.protocol.paper), done)

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """All predictions of the finished executions."""
        return read_predictions([execution.predictions for execution in self.executions])

    @cached_property
    def systems(self) -> dict[str, str]:
        """The systems measured: name to title."""
        return {name: self.paper.system(name).title for name in dict.fromkeys(e.system for e in self.executions)}

    @cached_property
    def measured(self) -> list[Measured]:
        """Mean, std over executions and 95 % interval by patient, of every metric."""
        return summarise(self.predictions, self.paper.positive or None)

    @cached_property
    def published(self) -> list[PublishedCell]:
        """The paper's numbers."""
        return load_published(self.paper.folder / "published.yaml")

    @cached_property
    def comparison(self) -> pd.DataFrame:
        """Paper against ours, cell by cell."""
        protocol = self.run.protocol
        return compare(self.published, self.measured, protocol.tolerance, protocol.comparable)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What was counted while the run was prepared."""
        path = self.run.path / "facts.json"
        return read_json(path) if path.is_file() else {}

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """The provenance of each execution."""
        return [read_json(execution.record) for execution in self.executions]

    @property
    def complete(self) -> bool:
        """Whether every execution of the protocol is done."""
        return len(self.executions) == len(self.run.executions())


def report_run(path: str | Path, heatmaps: bool = True) -> Path:
    """Write `report.html`, `report.md`, `comparison.*` and `metrics.json` into a run folder; return the page.

    Parameters
    ----------
    path : str or Path
        A run folder with at least one finished execution.
    heatmaps : bool
        Draw Grad-CAM for example images, which needs TensorFlow, the weights and the images.

    Raises
    ------
    UserError
        Where the folder is no run, or holds no finished execution.
    """
    results = Results.of(RunFolder.open(path))
    folder = results.run.path
    write_comparison(folder, results.comparison)
    write_json(folder / "metrics.json", results_json(results))
    explained = _explain(results) if heatmaps else []
    write_text(folder / "report.md", _markdown(results))
    return write_report(folder / "report.html", make_report(results, explained))


def results_json(results: Results) -> dict[str, Any]:
    """Return the run's metrics with their provenance, as committed below `papers/<paper>/results/`."""
    run, records = results.run, results.records
    seconds = sum(record["seconds"] for record in records)
    source = provenance(
        paper=run.protocol.paper,
        profile=run.protocol.profile,
        complete=results.complete,
        executions=len(results.executions),
        cohort_fingerprint=run.record["cohort_fingerprint"],
        cohort_counts=run.cohort.counts(),
        comparable=run.protocol.comparable,
        precision=run.settings["precision"],
        trained_with=records[0]["versions"],
        trained_on=records[0]["machine"] | {"device": records[0]["device"]},
        training_revisions=sorted({record["revision"] for record in records}),
        training_hours=round(seconds / 3600, 3),
        protocol=read_protocol_text(run),
        facts=results.facts,
    )
    return metrics_json(results.measured, per_execution(results.predictions, results.paper.positive or None), source)


def read_protocol_text(run: RunFolder) -> str:
    """Return the resolved protocol as YAML text."""
    return (run.path / "protocol.yaml").read_text(encoding="utf-8")


def make_report(results: Results, explained: list[FigureEntry]) -> Report:
    """Put the page together."""
    run, paper = results.run, results.paper
    sections = [
        Section("How the networks decide", figures=_decision_figures(results)),
        Section("How the trainings went", figures=_history_figures(results)),
    ]
    if explained:
        sections.insert(1, Section("Where the evidence lies", HEAT_TEXT, figures=explained))
    return Report(
        title=f"{paper.citation.split(',')[0]}: paper against ours",
        subtitle=f"{paper.title}. {paper.citation}.",
        comparison=results.comparison,
        banner=banner_of(results),
        facts=_facts(results),
        tables=[
            TableEntry("Measured", MEASURED_CAPTION, measured_table(results.measured, results.systems)),
            *_difference_table(results),
        ],
        sections=sections,
        notes=_notes(results),
        citations=[(paper.citation, f"https://doi.org/{paper.doi}")],
        provenance=run.record["provenance"]
        | {"executions": results.records[0] | {"predictions_sha256": "one an execution, see execution.json"}},
    )


MEASURED_CAPTION = (
    "Mean and sample standard deviation (ddof 1) over executions, test parts only; 95 % bootstrap interval of the "
    "mean, patients drawn with replacement."
)
HEAT_TEXT = (
    "Grad-CAM at the last convolutional stage, of the logit of the predicted class and of the other class. For each "
    "class the test image that the first execution was surest about, right and wrong; nobody picked them. The share of "
    "heat inside the lungs stands beside the share of the picture that is lung, which is what heat spread evenly would "
    "score."
)


def banner_of(results: Results) -> str:
    """Return the warning across the page; "" where the numbers are comparable."""
    protocol = results.run.protocol
    parts = (
        []
        if results.complete
        else [f"INCOMPLETE: {len(results.executions)} of {len(results.run.executions())} executions."]
    )
    if protocol.cohort.get("kind") == "phantom":
        parts.append(SYNTHETIC)
    elif protocol.comparable is not True:
        parts.append(OTHER_DATA.format(reason=str(protocol.comparable).strip().rstrip(".").capitalize()))
    return " ".join(parts)


def _facts(results: Results) -> list[tuple[str, Any]]:
    run, protocol = results.run, results.run.protocol
    cohort, lungs = run.cohort, results.facts.get("lungs", {})
    seconds = sum(record["seconds"] for record in results.records)
    severities = cohort.table.loc[cohort.table["severity"] != "", "severity"].value_counts()
    facts = [
        ("Profile", f"{protocol.profile}: {protocol.description}"),
        (
            "Cohort",
            f"{len(cohort)} images of {len(cohort.patients())} patients; "
            + ", ".join(f"{name} {count}" for name, count in cohort.counts().items()),
        ),
        ("Severities known", ", ".join(f"{name} {count}" for name, count in severities.items()) or "none"),
        (
            "Executions",
            f"{len(results.executions)} of {len(run.executions())} ({protocol.split.repeats} x {protocol.split.folds} "
            "folds a system), patients disjoint, the epoch chosen on validation",
        ),
        ("Input and start", f"{protocol.size[0]} x {protocol.size[1]} px, initial weights: {protocol.weights}"),
        ("Cost", f"{seconds / 60:.0f} minutes of training, precision {run.settings['precision']}"),
    ]
    if lungs:
        facts.append(
            (
                "Lung masks",
                f"by the shipped U-Net; {lungs['empty']} of {lungs['images']} empty (those images are used whole)",
            )
        )
    return facts


def _difference_table(results: Results) -> list[TableEntry]:
    """Every pair of systems on the same patients, with the interval of the difference."""
    names, rows = list(results.systems), []
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            both = [results.predictions[results.predictions["system"] == name] for name in (b, a)]
            found = bootstrap_difference(*both, "accuracy", results.paper.positive or None)
            rows.append(
                {
                    "systems": f"{results.systems[b]} minus {results.systems[a]}",
                    "metric": "accuracy",
                    "difference (points)": f"{found.difference:+.2f}",
                    "95 % interval": f"{found.low:+.2f} to {found.high:+.2f}",
                    "patients": found.n_patients,
                }
            )
    return (
        [
            TableEntry(
                "Differences",
                "Paired over patients (bootstrap); an interval that holds 0 shows no difference.",
                pd.DataFrame(rows),
            )
        ]
        if rows
        else []
    )


def _decision_figures(results: Results) -> list[FigureEntry]:
    """Confusion matrices, ROC curves, accuracy per severity."""
    test = results.predictions[results.predictions["split"] == "test"]
    classes, positive, entries = results.run.cohort.classes, results.paper.positive, []
    for name, title in results.systems.items():
        rows = test[test["system"] == name]
        matrix = pd.crosstab(
            pd.Categorical(rows["label"], classes), pd.Categorical(rows["predicted"], classes), dropna=False
        ).to_numpy()
        count = rows.groupby(["repeat", "fold"]).ngroups
        entries.append(
            FigureEntry(
                f"Confusion: {title}",
                f"Test images of {count} executions, added up.",
                confusion_figure(matrix, classes, title),
            )
        )
    if positive:
        curves = {
            title: [
                (np.asarray(part["label"] == positive, int), part[f"score_{positive}"].to_numpy())
                for _, part in test[test["system"] == name].groupby(["repeat", "fold"])
            ]
            for name, title in results.systems.items()
        }
        entries.append(
            FigureEntry(
                "ROC", "Thin: each execution; thick: their mean.", roc_figure(curves, "ROC on test images", positive)
            )
        )
    if any(one.metric.startswith("accuracy_") for one in results.measured):
        names = {cell.system: cell.row for cell in results.published if cell.system} | results.systems
        names |= {"covid_sdnet": "COVID-SDNet"} if "covid_sdnet" in names else {}
        paper = [cell for cell in results.published if (cell.metric or "").startswith("accuracy_")]
        entries.append(
            FigureEntry(
                "Accuracy per severity",
                "Share of the positives of a severity that were found.",
                severity_figure(results.measured, paper, names),
            )
        )
    return entries


def _history_figures(results: Results) -> list[FigureEntry]:
    """Learning curves a system, all executions."""
    entries = []
    for name, title in results.systems.items():
        mine = [
            (execution, record)
            for execution, record in zip(results.executions, results.records, strict=True)
            if execution.system == name
        ]
        histories = [pd.read_csv(execution.folder / "history.csv").to_dict("list") for execution, _ in mine]
        best = [record["best_epoch"] + 1 for _, record in mine]
        entries.append(
            FigureEntry(
                f"Learning curves: {title}",
                "One line an execution; the dot is the epoch that validation chose.",
                learning_curves(histories, title, best),
            )
        )
    return entries


def _explain(results: Results) -> list[FigureEntry]:
    """Grad-CAM of the examples of each system's first execution; writes `explanations.csv` as well."""
    from covid_keras._quiet import import_tensorflow

    import_tensorflow()
    from covid_keras.reporting.examples import explain_execution, heat_table
    from covid_keras.reporting.pictures import explanation_figure

    entries, tables = [], []
    for name, title in results.systems.items():
        execution = next(e for e in results.executions if e.system == name)
        mine = results.predictions[
            (results.predictions["system"] == name)
            & (results.predictions["repeat"] == execution.repeat)
            & (results.predictions["fold"] == execution.fold)
        ]
        cases = explain_execution(results.paper, results.run, execution, mine)
        if cases:
            tables.append(heat_table(name, cases))
            entries.append(FigureEntry(f"Grad-CAM: {title}", f"{execution.name}.", explanation_figure(cases, title)))
    if tables:
        with atomic_path(results.run.path / "explanations.csv") as temporary:
            pd.concat(tables).to_csv(temporary, index=False)
    return entries


def _notes(results: Results) -> list[tuple[str, str]]:
    """What the reader must know before believing a number."""
    protocol, facts = results.run.protocol, results.facts
    notes = [(f"Note {i}", text) for i, text in enumerate(results.paper.notes, 1)]
    notes.append(
        (
            "Near-duplicates",
            f"{facts.get('duplicate_pairs', 0)} pairs of near-duplicate images were kept on one side of every split.",
        )
    )
    for system, ids in facts.get("whole_image_crops", {}).items():
        if ids:
            notes.append(("Empty lung masks", f"{system}: {len(ids)} images were used whole, e.g. {ids[0]}."))
    if protocol.split.leaky_as_published:
        notes.append(("Leak", "The split is by image as published: patients cross it."))
    return notes


def _markdown(results: Results) -> str:
    """The comparison as Markdown, for a README."""
    lines = [f"# {results.paper.title}", "", results.paper.citation, ""]
    if banner := banner_of(results):
        lines += [f"**{banner}**", ""]
    lines += [f"- {name}: {value}" for name, value in _facts(results)]
    return "\n".join([*lines, "", comparison_markdown(results.comparison)]) + "\n"
