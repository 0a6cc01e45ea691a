"""The page of a run, section by section; its prose is in `templates/report.md`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix

from covid_keras.data.cohort import SEVERITIES, severity_level
from covid_keras.evaluation import bootstrap_difference
from covid_keras.evaluation.truth import SHOWN, known_truth
from covid_keras.models.registry import LUNG_NETWORKS
from covid_keras.published.facts import table_title
from covid_keras.reporting.audits import audit_caption, audit_section
from covid_keras.reporting.claim_sections import claims_section
from covid_keras.reporting.claims import run_outcomes
from covid_keras.reporting.comparisons import Tally, comparison_section, judged_section
from covid_keras.reporting.document import FigureEntry, Report, Section, TableEntry
from covid_keras.reporting.figures import (
    FEW_SERIES,
    THIN_CURVES,
    comparison_figure,
    confusion_panels,
    learning_panels,
    roc_figure,
    severity_figure,
)
from covid_keras.reporting.groups import Group
from covid_keras.reporting.lung_network import lung_notes, lungs_of
from covid_keras.reporting.prose import notes, prose
from covid_keras.reporting.results import Results, banner_of
from covid_keras.reporting.seeds import leak_table, seed_figure, seed_table
from covid_keras.reporting.tables import measured_table, verdict_counts
from covid_keras.reporting.wording import NOTHING, grouped, interval, number, span, with_bounds

# With more systems, only the figures of the paper's own systems are not folded.
FEW_SYSTEMS = 4
# The class that the phantom's opacities of known extent belong to, where a paper has several classes.
COVID = "COVID-19"
TEXTS = ("covid_keras.reporting", "report.md")


def make_report(results: Results, explained: Mapping[str, list[FigureEntry]]) -> Report:
    """Build the page; `explained` maps systems to their example pictures and may be empty."""
    paper, protocol = results.paper, results.run.protocol
    tables = [
        *_measured_tables(results),
        *_difference_table(results),
        seed_table(results.seeds, results.published, results.systems),
        leak_table(results.leaks, results.published, results.systems),
        shares_table(results),
    ]
    # Without printed numbers there is nothing to judge, to set beside ours, or to audit; the own sections lead.
    printed, own = bool(results.published), results.report.sections(results)
    compared = comparison_section(results.comparison, results.published_titles, _comparison_figures(results), fold=True)
    return Report(
        title=f"{paper.citation.split(',')[0]}: paper against ours" if printed else paper.title,
        subtitle=f"{paper.title}. {paper.citation}. Profile {protocol.profile}: {protocol.description}",
        banner=banner_of(results),
        facts=_facts(results),
        verdicts=verdict_counts(results.comparison),
        sections=[
            claims_section("What the paper claims", run_outcomes(results), "on this run"),
            _unlearned_section(results),
            _truth_section(results),
            *([_judged_section(results)] if printed else own),
            Section("What was trained, and what it cost", tables=[_trained_table(results)], link="Cost"),
            *([compared] if printed else []),
            Section("Results", tables=[entry for entry in tables if len(entry.frame)]),
            Section("How the networks decide", figures=[*_seed_figures(results), *_decision_figures(results)]),
            *(own if printed else []),
            _evidence_section(results, explained),
            _training_section(results),
            *([_audit_section(results)] if printed else []),
            Section("Notes", notes=_notes(results)),
            Section("Provenance", facts=_provenance(results)),
        ],
        citations=[(paper.citation, f"https://doi.org/{paper.doi}")] if paper.doi else [],
    )


def _judged_section(results: Results) -> Section:
    """The judged numbers of the run."""
    frame = results.comparison
    tally = Tally(len(frame), int(frame["ours"].notna().sum()), int((frame["outcome"] != "").sum()))
    return judged_section(tally, {("", results.profile): frame})


def _provenance(results: Results) -> list[tuple[str, Any]]:
    """Provenance of the run and its first execution, nested names joined by dots."""
    record = next(iter([*results.records, *results.segmented.values()]))
    if results.records:
        record = record | {"predictions_sha256": "one per execution, see execution.json"}
    return _flat(results.run.record["provenance"] | {"executions": record})


def _flat(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            pairs += _flat(item, f"{prefix}{key}.")
        elif isinstance(item, list | tuple):
            pairs.append((f"{prefix}{key}", ", ".join(map(str, item))))
        else:
            pairs.append((f"{prefix}{key}", f"{item:g}" if isinstance(item, float) and item == item else item))
    return pairs


def _evidence_section(results: Results, explained: Mapping[str, list[FigureEntry]]) -> Section:
    """Example pictures of each system; folded for all but the paper's own if there are many systems."""
    section = Section("Where the evidence lies")
    if not explained:
        return section
    masked = results.run.cohort.table["mask_path"].ne("").any()
    by = f"by {_segmenter(results)}" if results.facts.get("lungs") else "as the collection marks them" if masked else ""
    section.text = prose(*TEXTS, "heat", outlined=by, groups=results.report.example_groups)
    for name, entries in explained.items():
        shown = len(explained) <= FEW_SYSTEMS or name in results.report.proposed
        (section.figures if shown else section.folded).extend(entries)
    return section


def _audit_section(results: Results) -> Section:
    """The audit of the paper's numbers."""
    section = audit_section(results.audit)
    section.text = f"{section.text} {prose(*TEXTS, 'audit')}\n\n{audit_caption()}"
    return section


def _facts(results: Results) -> list[tuple[str, Any]]:
    run, protocol, leaky = results.run, results.run.protocol, results.leaky
    systems = {name: results.paper.system(name) for name in results.systems}
    trained = [system for system in systems.values() if not system.origin] or list(systems.values())
    folded = any(not results.has_seeds(system.name) for system in trained)
    severities = run.cohort.table.loc[run.cohort.table["severity"] != "", "severity"].value_counts()
    values = {
        "protocol": protocol,
        "cohort": run.cohort,
        "counts": results.cohort_counts,
        "severities": severities.to_dict(),
        "executions": results.provenance["executions"],
        "planned": results.planned,
        "folds": protocol.split_of(trained[0].split) if folded else None,
        "seeds": [system.repeats(protocol) for system in trained],
        "systems": systems,
        "leaky": [results.systems[name] for name in leaky],
        "leaky_chosen_on": "test" if leaky and results.split_of(leaky[0]).chosen_on_test else "validation",
        "origins": grouped((one.origin, one.title) for one in systems.values() if one.origin),
        "sizes": sorted({system.preparation(protocol).size for system in systems.values()}),
        "hours": results.provenance["training_hours"],
        "precision": run.settings["precision"],
        "left_out": [(results.paper.system(name).title, reason) for name, reason in run.left_out.items()],
        "lungs": results.facts.get("lungs", {}),
        "segmenter": _segmenter(results),
    }
    return list(notes(*TEXTS, "facts", **values))


def _segmenter(results: Results) -> str:
    """Return what marked the lungs."""
    lungs = lungs_of(results)
    shipped = f"the shipped U-Net {LUNG_NETWORKS[lungs]}" if lungs else "the shipped U-Net"
    return results.facts.get("lungs", {}).get("by", shipped)


def _measured_tables(results: Results) -> list[TableEntry]:
    """Every metric of every system, one table per group of systems tested on the same images."""
    entries = []
    for group in results.groups:
        frame = measured_table([one for one in results.measured if one.system in group.titles], group.titles)
        # With the interval on a line of its own, tables of many systems fit the page.
        frame = frame.map(lambda text: text.replace(" [", "\n["))
        # Leave out metrics that are undefined for the whole group, such as a missing severity.
        frame = frame[(frame.drop(columns="metric") != NOTHING).any(axis=1)]
        entries.append(TableEntry(group.titled("Measured"), _tested_words(results, group), frame))
    if entries:  # a run of segmenters alone has none
        entries[0] = entries[0]._replace(caption=f"{entries[0].caption} {prose(*TEXTS, 'measured')}")
    return entries


def _tested_words(results: Results, group: Group) -> str:
    """Return the number of test images per class and of executions."""
    name = next(iter(group.titles))
    test = results.predictions
    test = test[(test["system"] == name) & (test["split"] == "test")]
    labels = test.drop_duplicates("image_id")["label"].value_counts()
    counts = {label: int(labels.get(label, 0)) for label in results.classes_of(name)}
    executions = len(test[["repeat", "fold"]].drop_duplicates())
    return prose(*TEXTS, "tested", counts=counts, executions=executions)


def _truth_section(results: Results) -> Section:
    """Return the comparison of each system with the known truth of the phantom; empty for other data."""
    title, frame, positive = "What the phantom shows", results.predictions, results.paper.positive or COVID
    if not results.phantom or positive not in set(frame["label"]):
        return Section(title)
    # Taken from the cohort, because most papers' predictions have no severity.
    extent = frame["image_id"].map(results.run.cohort.table.set_index("image_id")["extent"])
    severity = extent.map(severity_level).where(frame["label"] == positive, "")
    if not (severity != "").any():
        return Section(title)
    found = known_truth(frame.assign(severity=severity), positive).to_dict("records")
    rows = [
        {"system": results.systems.get(row["system"], row["system"]), "verdict": row["verdict"]}
        | {"AUC, extent 3 to 8 (%)": _bounded(row, "auc"), "false alarms": number(row["false_alarms"])}
        | {level: number(row[level]) for level in SEVERITIES}
        | {f"{name} (points)": _bounded(row, name, signed=True) for name in ("rise", "excess")}
        for row in found
    ]
    shown = [row["verdict"] for row in found].count(SHOWN)
    text = prose(*TEXTS, "truth", shown=shown, systems=len(found))
    table = TableEntry("Known truth, system by system", prose(*TEXTS, "truth_table"), pd.DataFrame(rows))
    return Section(title, text, [table])


def _bounded(row: Mapping[str, Any], name: str, signed: bool = False) -> str:
    return with_bounds(row[name], row[f"{name}_low"], row[f"{name}_high"], signed)


def _unlearned_section(results: Results) -> Section:
    """Return the systems at or below chance, and those that call all test images of an execution alike."""
    frame = results.predictions
    test = frame[frame["split"] == "test"].groupby(["system", "repeat", "fold"])
    constant = (test["predicted"].nunique() == 1) & (test["label"].nunique() > 1)
    said = constant[constant].groupby("system").size()
    areas = [one for one in results.measured if one.metric == "auc"]
    chance = {one.system for one in areas if one.low <= 50 <= one.high}
    worse = {one.system for one in areas if one.high < 50}
    facts = notes(
        *TEXTS,
        "unlearned",
        chance=[title for name, title in results.systems.items() if name in chance],
        worse=[title for name, title in results.systems.items() if name in worse],
        constant=[(title, int(said[name])) for name, title in results.systems.items() if name in said],
    )
    return Section("Read first: what these networks cannot tell", notes=list(facts))


def _difference_table(results: Results) -> list[TableEntry]:
    """Paired accuracy differences of the paper's own systems from the others, or of all pairs if it has none."""
    rows = []
    for a, b in _pairs(results):
        both = results.predictions_of(a), results.predictions_of(b)
        found = bootstrap_difference(*both, "accuracy", results.paper.positive or None)
        rows.append(
            {
                "systems": f"{results.systems[a]} minus {results.systems[b]}",
                "metric": "accuracy",
                "difference (points)": number(found.difference, signed=True),
                "95 % interval": interval(found.low, found.high, signed=True, kind=found.interval),
                "patients": found.n_patients,
            }
        )
    return [TableEntry("Differences", prose(*TEXTS, "differences"), pd.DataFrame(rows))]


def _pairs(results: Results) -> list[tuple[str, str]]:
    """Return the pairs of systems tested on the same images; the paper's own, or the later one, comes first."""
    if results.report.pairs is not None:
        return [pair for pair in results.report.pairs if set(pair) <= set(results.systems)]
    own = results.report.proposed
    pairs = [(b, a) for names in results.experiments for i, a in enumerate(names) for b in names[i + 1 :]]
    if not own:
        return pairs
    return [pair if pair[0] in own else pair[::-1] for pair in pairs if set(pair) & set(own)]


def shares_table(results: Results) -> TableEntry:
    """Return the shares of heat in the lungs, for the pairs that the paper compares."""
    rows = [
        {
            "systems": f"{results.systems[one['a_system']]} minus {results.systems[one['b_system']]}",
            "measure": one["measure"].replace("_", " "),
            "first": number(one["a"], unit="ratio"),
            "second": number(one["b"], unit="ratio"),
            "difference": with_bounds(one["difference"], one["low"], one["high"], signed=True, unit="ratio"),
            "images": one["n_images"],
            "patients": one["n_patients"],
        }
        for one in results.heat_shares
    ]
    return TableEntry("Heat in the lungs, whole test set", prose(*TEXTS, "shares"), pd.DataFrame(rows))


def _seed_figures(results: Results) -> list[FigureEntry]:
    """Spread over seeds of the systems trained with several; folds do not count."""
    if results.seeds["system"].duplicated().any():
        figure = seed_figure(results.seeds, results.published, results.systems)
        return [FigureEntry("Spread over seeds, drawn", "", figure)]
    return []


def _decision_figures(results: Results) -> list[FigureEntry]:
    """Confusion matrices, ROC curves, accuracy per severity."""
    test = results.predictions[results.predictions["split"] == "test"]
    entries = []
    for group in results.groups:
        classes = results.classes_of(next(iter(group.titles)))
        # By default, the second of two classes is the positive one.
        positive = results.paper.positive or (classes[-1] if len(classes) == 2 else "")
        parts = {
            title: [part for _, part in test[test["system"] == name].groupby(["repeat", "fold"])]
            for name, title in group.titles.items()
        }
        executions = max(map(len, parts.values()))
        matrices = {
            title: np.stack([confusion_matrix(part["label"], part["predicted"], labels=classes) for part in frames])
            for title, frames in parts.items()
        }
        title = group.titled("Confusion")
        caption = prose(*TEXTS, "confusion", executions=executions)
        entries.append(FigureEntry(title, caption, confusion_panels(matrices, classes, title)))
        caption = prose(
            *TEXTS, "roc", executions=executions, several=len(parts) > FEW_SERIES, thin=executions <= THIN_CURVES
        )
        for one in (positive,) if positive else classes:
            curves = {
                title: [(part["label"].eq(one).to_numpy(int), part[f"score_{one}"].to_numpy()) for part in frames]
                for title, frames in parts.items()
            }
            title = group.titled("ROC" if positive else f"ROC of {one} against the rest")
            entries.append(FigureEntry(title, caption, roc_figure(curves, title, one)))
        entries += _severity_figure(results, group)
    return entries


def _severity_figure(results: Results, group: Group) -> list[FigureEntry]:
    """Accuracy per severity of a group's systems, ours and the paper's."""
    levels = {f"accuracy_{level}" for level in SEVERITIES}
    measured = [one for one in results.measured if one.system in group.titles and one.metric in levels]
    measured = [one for one in measured if not np.isnan(one.mean)]
    if not measured:
        return []
    cells = [cell for cell in results.published if cell.system in group.titles and cell.metric in levels]
    title = group.titled("Accuracy per severity")
    figure = severity_figure(measured, cells, group.titles, title=title)
    return [FigureEntry(title, prose(*TEXTS, "severities"), figure)]


def _comparison_figures(results: Results) -> list[FigureEntry]:
    """One figure per published table with a number of ours: the rows measured in this run, without lost numbers."""
    frame = results.comparison
    frame = frame[(frame["unit"] == "percent") & frame["paper"].notna()]
    measured = frame.loc[frame["ours"].notna(), ["table", "row"]].drop_duplicates()
    caption, entries = prose("covid_keras.reporting", "comparison.md", "drawn"), []
    for name, part in frame.merge(measured, on=["table", "row"]).groupby("table", sort=False):
        title = table_title(str(name))
        entries.append(FigureEntry(f"{title}, drawn", caption, comparison_figure(part, title)))
    return entries


def _training_section(results: Results) -> Section:
    """The learning curves per group; folded if there are many systems."""
    section = Section("How the trainings went")
    curves = [entry for group in results.groups for entry in _history_figures(results, group)]
    (section.figures if len(results.systems) <= FEW_SYSTEMS else section.folded).extend(curves)
    return section


def _history_figures(results: Results, group: Group) -> list[FigureEntry]:
    """Learning curves of the trained systems of a group, all executions."""
    drawn = {}
    for name, title in group.titles.items():
        mine = results.executions_of(name)
        histories = [execution.history for execution, _ in mine]
        if curves := [one.to_dict("list") for one in histories if one is not None]:
            drawn[title] = (curves, [record["best_epoch"] + 1 for _, record in mine])
    if not drawn:
        return []
    title = group.titled("Learning curves")
    return [FigureEntry(title, prose(*TEXTS, "curves"), learning_panels(drawn, title))]


def _trained_table(results: Results) -> TableEntry:
    """Size, settings and cost of each system's training."""
    rows = []
    for name in results.systems:
        records = [record for _, record in results.executions_of(name)]
        size = results.paper.system(name).preparation(results.run.protocol).size
        images = records[0].get("images", {}).values() if records[0]["epochs"] else ()
        rows.append(_trained_row(results, name, size, records, images, trained=bool(records[0]["epochs"])))
    for name, record in results.segmented.items():
        side, images = record["settings"]["size"], [part["images"] for part in record["overlap"].values()]
        rows.append(_trained_row(results, name, (side, side), [record], images))
    return TableEntry("What was trained", prose(*TEXTS, "trained"), pd.DataFrame(rows))


def _trained_row(
    results: Results,
    name: str,
    size: tuple[int, int],
    records: list[dict[str, Any]],
    images: Iterable[int],
    trained: bool = True,
) -> dict[str, Any]:
    """Return the row of a system or segmenter; `images` are the numbers per part."""
    system = results.paper.system(name)
    return {
        "system": system.title,
        "input (px)": " x ".join(map(str, size)),
        "parameters": f"{records[0]['parameters']:,}",
        "training": system.summary(results.run.protocol),
        "images": " / ".join(map(str, images)) or NOTHING,
        "executions": len(records),
        "best epoch": span(one["best_epoch"] + 1 for one in records) if trained else NOTHING,
        "minutes": f"{sum(one['seconds'] for one in records) / 60:.1f}",
    }


def _notes(results: Results) -> list[tuple[str, str]]:
    """Caveats that the reader must know."""
    whole = results.facts.get("whole_image_crops", {})
    own = notes(
        *TEXTS,
        "notes",
        searched=any(results.split_of(name).duplicates for name in results.systems),
        pairs=results.facts.get("duplicate_pairs"),
        leaky=[results.systems[name] for name in results.leaky],
        all_leaky=len(results.leaky) == len(results.systems),
        surrogates=grouped((reason, results.systems[name]) for name, reason in results.surrogates.items()),
        whole=grouped((tuple(ids), system) for system, ids in whole.items() if ids),
    )
    return [*results.report.notes, *lung_notes(results), *own]
