"""The page of a run, part by part."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix

from covid_keras.data.cohort import SEVERITIES
from covid_keras.errors import UserError
from covid_keras.evaluation import bootstrap_difference
from covid_keras.reporting.figures import (
    THIN_CURVES,
    comparison_figure,
    confusion_figure,
    learning_curves,
    roc_figure,
    severity_figure,
)
from covid_keras.reporting.html import FigureEntry, Report, Section, TableEntry
from covid_keras.reporting.results import Results, banner_of
from covid_keras.reporting.tables import comparison_markdown, measured_table, number, table_title
from covid_keras.training.protocol import SplitSettings
from covid_keras.training.runfolder import Execution


def make_report(results: Results, explained: list[FigureEntry]) -> Report:
    """Put the page together; `explained` are the figures of Grad-CAM, none where they were not asked for."""
    run, paper, protocol = results.run, results.paper, results.run.protocol
    sections = [
        Section("How the networks decide", figures=_decision_figures(results)),
        Section("How the trainings went", figures=_history_figures(results)),
    ]
    if explained:
        sections.insert(1, Section("Where the evidence lies", _heat_text(results), figures=explained))
    return Report(
        title=f"{paper.citation.split(',')[0]}: paper against ours",
        subtitle=f"{paper.title}. {paper.citation}. Profile {protocol.profile}: {protocol.description}",
        comparison=results.comparison,
        banner=banner_of(results),
        facts=_facts(results),
        table_titles=results.published_titles,
        comparison_figures=_comparison_figures(results),
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
    "mean, patients drawn with replacement. An interval of no width (all right, or all wrong, on a few images) is a "
    "limit of the bootstrap, not certainty."
)
COMPARISON_CAPTION = (
    "The rows measured in this run: the paper's mean ± std over its executions, and ours with the 95 % interval by "
    "patient. The two bars say different things: the paper's is the spread of single executions."
)
HEAT_TEXT = (
    "Grad-CAM at the last convolutional stage, of the logit of the predicted class and of the other class. For each "
    "class the test image that the first execution was surest about, right and wrong; nobody picked them."
)
HEAT_SHARE_TEXT = (
    "The share of heat inside the lungs stands beside the share of the picture that is lung, which is what heat spread "
    "evenly would score. Lungs {source}."
)


def _heat_text(results: Results) -> str:
    """What the maps show, and whose lungs are outlined, where any are."""
    if results.facts.get("lungs"):
        return f"{HEAT_TEXT} {HEAT_SHARE_TEXT.format(source='outlined by the shipped U-Net')}"
    if results.run.cohort.table["mask_path"].ne("").any():
        return f"{HEAT_TEXT} {HEAT_SHARE_TEXT.format(source='outlined as the collection marks them')}"
    return f"{HEAT_TEXT} No system of this run needs lung masks: none are outlined, and no share in the lungs is given."


def _facts(results: Results) -> list[tuple[str, Any]]:
    run, protocol = results.run, results.run.protocol
    cohort, lungs = run.cohort, results.facts.get("lungs", {})
    seconds = sum(record["seconds"] for record in results.records)
    severities = cohort.table.loc[cohort.table["severity"] != "", "severity"].value_counts()
    facts = [
        ("Profile", protocol.profile),
        (
            "Cohort",
            f"{len(cohort)} images of {len(cohort.patients())} patients; "
            + ", ".join(f"{name} {count}" for name, count in cohort.counts().items()),
        ),
        ("Severities known", ", ".join(f"{name} {count}" for name, count in severities.items()) or "none"),
        (
            "Executions",
            f"{len(results.executions)} of {len(run.executions())} ({protocol.split.repeats} x {protocol.split.folds} "
            f"folds a system), {_split_words(protocol.split)}, the epoch chosen on validation",
        ),
        ("Input and start", f"{protocol.size[0]} x {protocol.size[1]} px, initial weights: {protocol.weights}"),
        ("Cost", f"{seconds / 60:.0f} minutes of training, precision {run.settings['precision']}"),
    ]
    if lungs:
        whole = " (those images are used whole)" if lungs["empty"] else ""
        facts.append(("Lung masks", f"by the shipped U-Net; {lungs['empty']} of {lungs['images']} empty{whole}"))
    return facts


def _difference_table(results: Results) -> list[TableEntry]:
    """The paper's own systems against the others (all pairs where it has none) on the same patients, paired."""
    frames = dict(list(results.predictions.groupby("system", sort=False)))
    rows = []
    for a, b in _pairs(results):
        found = bootstrap_difference(frames[a], frames[b], "accuracy", results.paper.positive or None)
        rows.append(
            {
                "systems": f"{results.systems[a]} minus {results.systems[b]}",
                "metric": "accuracy",
                "difference (points)": number(found.difference, signed=True),
                "95 % interval": f"{number(found.low, signed=True)} to {number(found.high, signed=True)}",
                "patients": found.n_patients,
            }
        )
    caption = "Paired over patients (bootstrap); an interval that holds 0 does not show a difference."
    return [TableEntry("Differences", caption, pd.DataFrame(rows))] if rows else []


def _pairs(results: Results) -> list[tuple[str, str]]:
    """Return the pairs of systems that were tested on the same images; the paper's own, or the later one, first."""
    own = results.paper.proposed
    pairs = [(b, a) for names in results.experiments for i, a in enumerate(names) for b in names[i + 1 :]]
    if not own:
        return pairs
    return [pair if pair[0] in own else pair[::-1] for pair in pairs if set(pair) & set(own)]


def _decision_figures(results: Results) -> list[FigureEntry]:
    """Confusion matrices, ROC curves, accuracy per severity."""
    test = results.predictions[results.predictions["split"] == "test"]
    classes, positive, entries = results.classes, results.paper.positive, []
    for name, title in results.systems.items():
        matrices = np.stack(
            [
                confusion_matrix(part["label"], part["predicted"], labels=classes)
                for _, part in test[test["system"] == name].groupby(["repeat", "fold"])
            ]
        )
        summed = "1 execution" if len(matrices) == 1 else f"{len(matrices)} executions, added up"
        entries.append(
            FigureEntry(f"Confusion: {title}", f"Test images of {summed}.", confusion_figure(matrices, classes, title))
        )
    for place, names in enumerate(results.experiments, 1):
        which = f" ({place} of {len(results.experiments)})" if len(results.experiments) > 1 else ""
        if positive:
            curves = {
                results.systems[name]: [
                    (np.asarray(part["label"] == positive, int), part[f"score_{positive}"].to_numpy())
                    for _, part in test[test["system"] == name].groupby(["repeat", "fold"])
                ]
                for name in names
            }
            caption = _roc_caption(max(map(len, curves.values())))
            entries.append(FigureEntry(f"ROC{which}", caption, roc_figure(curves, "ROC on test images", positive)))
        entries += _severity_figure(results, names, which)
    return entries


def _roc_caption(executions: int) -> str:
    """What `roc_figure` draws for so many executions a system."""
    if executions == 1:
        return "One execution."
    if executions <= THIN_CURVES:
        return "Thin: each execution; thick: their mean."
    return f"Thick: the mean of the executions; band: one standard deviation (ddof 1) of {executions} executions."


def _severity_figure(results: Results, names: list[str], which: str) -> list[FigureEntry]:
    """Accuracy per severity of these systems: ours, and the paper's where it prints the same system's."""
    levels = {f"accuracy_{level}" for level in SEVERITIES}
    measured = [one for one in results.measured if one.system in names and one.metric in levels]
    if not measured:
        return []
    cells = [cell for cell in results.published if cell.system in names and cell.metric in levels]
    figure = severity_figure(measured, cells, results.systems)
    caption = "Share of the positives of a severity that were found."
    return [FigureEntry(f"Accuracy per severity{which}", caption, figure)]


def _comparison_figures(results: Results) -> list[FigureEntry]:
    """A figure a published table that has a number of ours: the rows that this run measured."""
    frame = results.comparison
    frame = frame[frame["unit"] == "percent"]
    measured = frame.loc[frame["ours"].notna(), ["table", "row"]].drop_duplicates()
    rows = frame.merge(measured, on=["table", "row"])
    return [
        FigureEntry(
            f"{table_title(str(name))}, drawn", COMPARISON_CAPTION, comparison_figure(part, table_title(str(name)))
        )
        for name, part in rows.groupby("table", sort=False)
    ]


def _history_figures(results: Results) -> list[FigureEntry]:
    """Learning curves a system, all executions."""
    entries = []
    for name, title in results.systems.items():
        mine = [
            (execution, record)
            for execution, record in zip(results.executions, results.records, strict=True)
            if execution.system == name
        ]
        if results.paper.system(name).released:
            continue  # nobody trained it here
        histories = [_history(execution) for execution, _ in mine]
        best = [record["best_epoch"] + 1 for _, record in mine]
        entries.append(
            FigureEntry(
                f"Learning curves: {title}",
                "One line an execution; the dot is the epoch that validation chose.",
                learning_curves(histories, title, best),
            )
        )
    return entries


def _history(execution: Execution) -> dict[str, list[float]]:
    """Read an execution's losses and accuracies by epoch."""
    path = execution.folder / "history.csv"
    remedy = f"Restore it, or remove {execution.folder} and run `covid-keras reproduce` again"
    try:
        return pd.read_csv(path).to_dict("list")
    except OSError as error:
        raise UserError(path, f"cannot be read ({error.strerror})", remedy) from error
    except ValueError as error:  # covers ParserError, EmptyDataError and UnicodeDecodeError
        raise UserError(path, f"is not a readable CSV table ({error})", remedy) from error


def _notes(results: Results) -> list[tuple[str, str]]:
    """What the reader must know before believing a number."""
    protocol, facts = results.run.protocol, results.facts
    notes = [*results.paper.notes, ("Near-duplicates", _duplicate_words(protocol.split, facts))]
    for system, ids in facts.get("whole_image_crops", {}).items():
        if ids:
            notes.append(("Empty lung masks", f"{system}: images used whole: {len(ids)}, e.g. {ids[0]}."))
    if protocol.split.leaky_as_published:
        notes.append(("Leak", "The split is by image as published: patients cross it."))
    return notes


def _split_words(split: SplitSettings) -> str:
    return "divided by image as published (patients cross)" if split.leaky_as_published else "patients disjoint"


def _duplicate_words(split: SplitSettings, facts: dict[str, Any]) -> str:
    """What was done about near-duplicate images; nothing is claimed that was not done."""
    if not split.duplicates:
        return "Not searched for in this profile: near-duplicate images may lie on both sides of a split."
    count = facts.get("duplicate_pairs")
    if count is None:
        return "Searched for; how many were found is not recorded in this run."
    pairs = f"{count} pair{'s' * (count != 1)} of near-duplicate images"
    if split.leaky_as_published:
        return f"{pairs} found; the published split does not keep them together."
    return f"{pairs} found and kept on one side of every split." if count else "Searched for, none found."


def report_markdown(results: Results) -> str:
    """Return the run's facts and comparison as Markdown, its banner first."""
    lines = [f"**{banner}**", ""] if (banner := banner_of(results)) else []
    lines += [f"# {results.paper.title}", "", results.paper.citation, ""]
    lines += [f"- {name}: {value}" for name, value in _facts(results)]
    return "\n".join([*lines, "", comparison_markdown(results.comparison)]) + "\n"
