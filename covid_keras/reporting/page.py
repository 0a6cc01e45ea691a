"""The page of a run, part by part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix

from covid_keras.data.cohort import SEVERITIES
from covid_keras.evaluation import bootstrap_difference
from covid_keras.evaluation.truth import known_truth
from covid_keras.reporting.audits import AUDIT_CAPTION, audit_markdown, audit_section
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
from covid_keras.reporting.results import Group, Results, banner_of, is_phantom
from covid_keras.reporting.seeds import leak_table, seed_figure, seed_table
from covid_keras.reporting.tables import comparison_markdown, measured_table, table_title
from covid_keras.reporting.wording import NOTHING, number


def make_report(results: Results, explained: Mapping[str, list[FigureEntry]]) -> Report:
    """Put the page together; `explained` are each system's example pictures, none where they were not asked for."""
    run, paper, protocol = results.run, results.paper, results.run.protocol
    sections = [
        Section("How the networks decide", figures=[*_seed_figures(results), *_decision_figures(results)]),
        _training_section(results),
        _audit_section(results),
    ]
    if explained:
        sections.insert(1, _evidence_section(results, explained))
    sections[1:1] = results.report.sections(results)
    return Report(
        title=f"{paper.citation.split(',')[0]}: paper against ours",
        subtitle=f"{paper.title}. {paper.citation}. Profile {protocol.profile}: {protocol.description}",
        comparison=results.comparison,
        banner=banner_of(results),
        facts=_facts(results),
        table_titles=results.published_titles,
        comparison_figures=_comparison_figures(results),
        tables=[
            *_truth_table(results),
            *_measured_tables(results),
            *_difference_table(results),
            *_spread_tables(results),
        ],
        sections=sections,
        notes=_notes(results),
        citations=[(paper.citation, f"https://doi.org/{paper.doi}")],
        provenance=run.record["provenance"]
        | {"executions": results.records[0] | {"predictions_sha256": "one an execution, see execution.json"}},
    )


# Systems up to which every figure of theirs is open on the page; of more only those of the paper's own systems.
FEW_SYSTEMS = 4
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
    "Grad-CAM at the last stage that still has a spatial extent, of the score before softmax (the logit): the factual "
    "map for the predicted class, the counterfactual map for the class scored next. Below each figure stands what a "
    "class's map is a map of, where a system has more than one view of an image. For each class the test image that "
    "the first execution was surest about, right and wrong; nobody picked them."
)
HEAT_SHARE_TEXT = (
    "The share of heat inside the lungs stands beside the share of the picture that is lung, which is what heat spread "
    "evenly would score. Lungs {source}."
)


def _heat_text(results: Results) -> str:
    """What the maps show, and whose lungs are outlined, where any are."""
    if results.facts.get("lungs"):
        return f"{HEAT_TEXT} {HEAT_SHARE_TEXT.format(source=f'outlined by {_segmenter_words(results)}')}"
    if results.run.cohort.table["mask_path"].ne("").any():
        return f"{HEAT_TEXT} {HEAT_SHARE_TEXT.format(source='outlined as the collection marks them')}"
    return f"{HEAT_TEXT} No system of this run needs lung masks: none are outlined, and no share in the lungs is given."


def _evidence_section(results: Results, explained: Mapping[str, list[FigureEntry]]) -> Section:
    """The example pictures, a figure a system; of many systems only the paper's own stand open."""
    section = Section("Where the evidence lies", _heat_text(results))
    for name, entries in explained.items():
        shown = len(explained) <= FEW_SYSTEMS or name in results.report.proposed
        (section.figures if shown else section.folded).extend(entries)
    return section


def _audit_section(results: Results) -> Section:
    """Whether the paper's numbers are possible, with what that means."""
    section = audit_section(results.audit)
    section.text = f"{section.text} Every cell with its proof: comparison.csv.\n\n{AUDIT_CAPTION}"
    return section


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
        ("Executions", _execution_words(results)),
        ("Input and start", f"{_input_words(results)}, initial weights: {protocol.weights}"),
        ("Cost", f"{seconds / 60:.0f} minutes of training, precision {run.settings['precision']}"),
    ]
    left_out = [f"{results.paper.system(name).title}: {reason}" for name, reason in run.left_out.items()]
    if left_out:
        facts.append(("Left out", "; ".join(left_out)))
    if lungs:
        whole = " (those images are used whole, or black where only the lungs are kept)" if lungs["empty"] else ""
        words = f"by {_segmenter_words(results)}; {lungs['empty']} of {lungs['images']} empty{whole}"
        facts.append(("Lung masks", words))
    return facts


def _segmenter_words(results: Results) -> str:
    """Who marked the lungs."""
    return results.facts["lungs"].get("by", "the shipped U-Net")


def _execution_words(results: Results) -> str:
    """How many executions there are and of what."""
    done, planned = len(results.executions), len(results.run.executions())
    words = [f"{done} of {planned} ({_repeat_words(results)})"]
    leaky = results.leaky
    if len(leaky) < len(results.systems):
        words[0] += ", patients disjoint, the epoch chosen on validation"
    if leaky:
        chosen = "test" if results.split_of(leaky[0]).chosen_on_test else "validation"
        who = "" if len(leaky) == len(results.systems) else f": {_titles(results, leaky)}"
        words.append(f"divided by image as published (patients cross), the epoch chosen on {chosen}{who}")
    released = [name for name in results.systems if results.paper.system(name).origin]
    if released:
        words.append(f"{RELEASED}: {_titles(results, released)}")
    return "; ".join(words)


def _repeat_words(results: Results) -> str:
    """How often each system was trained."""
    protocol = results.run.protocol
    systems = [results.paper.system(name) for name in results.systems]
    trained = [system for system in systems if not system.origin] or systems
    if any(not results.has_seeds(system.name) for system in trained):
        split = protocol.split_of(trained[0].split)
        return f"{split.repeats} x {split.folds} folds a system"
    seeds = {system.repeats(protocol) for system in trained}
    return f"{_span(sorted(seeds))} seed{'s' * (max(seeds) > 1)} a system"


def _titles(results: Results, names: Sequence[str]) -> str:
    return ", ".join(results.systems[name] for name in names)


def _input_words(results: Results) -> str:
    """The size of the networks' inputs, where they differ the smallest and the largest."""
    protocol = results.run.protocol
    sizes = sorted({results.paper.system(name).preparation(protocol).size for name in results.systems})
    if len(sizes) == 1:
        return f"{_pixels(sizes[0])} px"
    return f"{_pixels(sizes[0])} to {_pixels(sizes[-1])} px (see What was trained)"


def _pixels(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _measured_tables(results: Results) -> list[TableEntry]:
    """Every metric of every system, a table a group of systems tested on the same images."""
    entries = []
    for group in results.groups:
        frame = measured_table([one for one in results.measured if one.system in group.titles], group.titles)
        # The interval gets a line of its own: a table of many systems would not fit the page.
        frame = frame.map(lambda text: text.replace(" [", "\n["))
        # What cannot be measured in this group, such as a severity that it lacks, is no row of it.
        frame = frame[(frame.drop(columns="metric") != NOTHING).any(axis=1)]
        entries.append(TableEntry(group.titled("Measured"), _tested_words(results, group), frame))
    first = entries[0]
    return [first._replace(caption=f"{first.caption} {MEASURED_CAPTION}"), *entries[1:]]


def _tested_words(results: Results, group: Group) -> str:
    """Which images the systems of a group were tested on."""
    test = results.predictions
    test = test[(test["system"] == next(iter(group.titles))) & (test["split"] == "test")]
    labels = test.drop_duplicates("image_id")["label"].value_counts()
    counts = ", ".join(f"{name} {labels.get(name, 0)}" for name in results.classes_of(next(iter(group.titles))))
    executions = len(test[["repeat", "fold"]].drop_duplicates())
    return f"Tested on {labels.sum()} images ({counts}) in {executions} execution{'s' * (executions != 1)}."


TRUTH_CAPTION = (
    "Percent of test images called positive. In the phantom, positives of extent 0 (Normal-PCR+) are drawn exactly as "
    "negatives are: they can be called positive no more often than false alarms are raised, and the more opacity there "
    "is, the more often it must be found. Excess: Normal-PCR+ minus false alarms; rise: slope from Normal-PCR+ to "
    "Severe, points a level; 95 % intervals by patient. Contradicted: the excess lies above 0, or the rise below, with "
    "the whole interval. Shown: the rise lies above 0 with its whole interval. Systems that are tested on Normal-PCR+."
)


def _truth_table(results: Results) -> list[TableEntry]:
    """On the phantom, whose truth is known: whether the run shows it."""
    if not is_phantom(results):
        return []
    frame = results.predictions
    systems = frame.loc[(frame["severity"] == SEVERITIES[0]) & (frame["split"] == "test"), "system"].unique()
    if not len(systems):
        return []
    found = known_truth(frame[frame["system"].isin(systems)], results.paper.positive)
    rows = [
        {"system": results.systems.get(row["system"], row["system"]), "false alarms": number(row["false_alarms"])}
        | {level: number(row[level]) for level in SEVERITIES}
        | {
            f"{name} (points)": f"{number(row[name], signed=True)} [{number(row[f'{name}_low'], signed=True)}, "
            f"{number(row[f'{name}_high'], signed=True)}]"
            for name in ("excess", "rise")
        }
        | {"verdict": row["verdict"]}
        for row in found.to_dict("records")
    ]
    return [TableEntry("Known truth of the phantom", TRUTH_CAPTION, pd.DataFrame(rows))]


def _difference_table(results: Results) -> list[TableEntry]:
    """The paper's own systems against the others (all pairs where it has none) on the same patients, paired."""
    rows = []
    for a, b in _pairs(results):
        both = results.predictions_of(a), results.predictions_of(b)
        found = bootstrap_difference(*both, "accuracy", results.paper.positive or None)
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


def _spread_tables(results: Results) -> list[TableEntry]:
    """The spread over seeds, what a leaking division adds, and where the heat of the paper's own systems lies."""
    entries = [
        seed_table(results.seeds, results.published, results.systems),
        leak_table(results.leaks, results.published, results.systems),
        shares_table(results),
    ]
    return [entry for entry in entries if len(entry.frame)]


SHARES_CAPTION = (
    "Grad-CAM of the class decided for, over all test images of the first execution. A crop to the lungs raises the "
    "share of heat in them by construction, since they then fill more of the picture: so the lungs' share of the "
    "picture stands beside it, and two measures relative to it (enrichment, share / area: 1 is chance; beyond chance, "
    "(share - area) / (1 - area): 0 is chance, 1 all heat in the lungs). Differences are "
    "paired by image, 95 % interval by patient."
)


def shares_table(results: Results) -> TableEntry:
    """Return the shares of heat in the lungs of the pairs that the paper compares."""
    rows = [
        {
            "systems": f"{results.systems[one['a_system']]} minus {results.systems[one['b_system']]}",
            "measure": one["measure"].replace("_", " "),
            "first": number(one["a"], unit="ratio"),
            "second": number(one["b"], unit="ratio"),
            "difference": "{}\n[{}, {}]".format(
                *(number(one[name], signed=True, unit="ratio") for name in ("difference", "low", "high"))
            ),
            "images": one["n_images"],
            "patients": one["n_patients"],
        }
        for one in results.heat_shares
    ]
    return TableEntry("Heat in the lungs, whole test set", SHARES_CAPTION, pd.DataFrame(rows))


def _seed_figures(results: Results) -> list[FigureEntry]:
    """The spread over seeds of the systems that were trained more than once, drawn; folds are no seeds."""
    table = seed_table(results.seeds, results.published, results.systems)
    if table.frame.empty:
        return []
    figure = seed_figure(results.seeds, results.published, results.systems)
    return [FigureEntry("Spread over seeds, drawn", "", figure)]


def _pairs(results: Results) -> list[tuple[str, str]]:
    """Return the pairs of systems that were tested on the same images; the paper's own, or the later one, first."""
    if results.report.pairs is not None:
        return [pair for pair in results.report.pairs if set(pair) <= set(results.systems)]
    own = results.report.proposed
    pairs = [(b, a) for names in results.experiments for i, a in enumerate(names) for b in names[i + 1 :]]
    if not own:
        return pairs
    return [pair if pair[0] in own else pair[::-1] for pair in pairs if set(pair) & set(own)]


def _decision_figures(results: Results) -> list[FigureEntry]:
    """Confusion matrices, ROC curves, accuracy per severity."""
    test = results.predictions[results.predictions["split"] == "test"]
    entries = []
    for group in results.groups:
        classes = results.classes_of(next(iter(group.titles)))
        # Of two classes the last is the positive one where the paper names none.
        positive = results.paper.positive or (classes[-1] if len(classes) == 2 else "")
        mine = {title: _executions_of(test, name) for name, title in group.titles.items()}
        matrices = {
            title: np.stack([confusion_matrix(part["label"], part["predicted"], labels=classes) for part in parts])
            for title, parts in mine.items()
        }
        count = max(map(len, matrices.values()))
        summed = "1 execution" if count == 1 else f"{count} executions, added up"
        title = group.titled("Confusion")
        figure = confusion_panels(matrices, classes, title)
        entries.append(FigureEntry(title, f"Test images of {summed}.", figure))
        if positive:
            curves = {
                title: [
                    (np.asarray(part["label"] == positive, int), part[f"score_{positive}"].to_numpy()) for part in parts
                ]
                for title, parts in mine.items()
            }
            title = group.titled("ROC")
            entries.append(FigureEntry(title, _roc_caption(curves), roc_figure(curves, title, positive)))
        entries += _severity_figure(results, group)
    return entries


def _executions_of(test: pd.DataFrame, system: str) -> list[pd.DataFrame]:
    return [part for _, part in test[test["system"] == system].groupby(["repeat", "fold"])]


def _roc_caption(curves: Mapping[str, Sequence[object]]) -> str:
    """What `roc_figure` draws of so many systems and executions."""
    executions = max(map(len, curves.values()))
    if executions == 1:
        return "One execution."
    if len(curves) > FEW_SERIES:
        return f"Each line is the mean of {executions} executions; ±: their standard deviation (ddof 1)."
    if executions <= THIN_CURVES:
        return "Thin: each execution; thick: their mean."
    return f"Thick: the mean of the executions; band: one standard deviation (ddof 1) of {executions} executions."


def _severity_figure(results: Results, group: Group) -> list[FigureEntry]:
    """Accuracy per severity of these systems: ours, and the paper's where it prints the same system's."""
    levels = {f"accuracy_{level}" for level in SEVERITIES}
    measured = [one for one in results.measured if one.system in group.titles and one.metric in levels]
    measured = [one for one in measured if not np.isnan(one.mean)]
    if not measured:
        return []
    cells = [cell for cell in results.published if cell.system in group.titles and cell.metric in levels]
    title = group.titled("Accuracy per severity")
    caption = "Share of the positives of a severity that were found."
    return [FigureEntry(title, caption, severity_figure(measured, cells, group.titles, title=title))]


def _comparison_figures(results: Results) -> list[FigureEntry]:
    """A figure a published table that has a number of ours: the rows that this run measured.

    What the paper's text has lost has no place in it: there is nothing to set ours against.
    """
    frame = results.comparison
    frame = frame[(frame["unit"] == "percent") & frame["paper"].notna()]
    measured = frame.loc[frame["ours"].notna(), ["table", "row"]].drop_duplicates()
    rows = frame.merge(measured, on=["table", "row"])
    return [
        FigureEntry(
            f"{table_title(str(name))}, drawn", COMPARISON_CAPTION, comparison_figure(part, table_title(str(name)))
        )
        for name, part in rows.groupby("table", sort=False)
    ]


def _training_section(results: Results) -> Section:
    """What was trained, and the learning curves of each group of systems; of many systems on demand."""
    section = Section("How the trainings went", tables=[_trained_table(results)])
    curves = [entry for group in results.groups for entry in _history_figures(results, group)]
    (section.figures if len(results.systems) <= FEW_SYSTEMS else section.folded).extend(curves)
    return section


def _history_figures(results: Results, group: Group) -> list[FigureEntry]:
    """Learning curves of a group's systems, all executions; none of what nobody trained here."""
    drawn = {}
    for name, title in group.titles.items():
        mine = results.executions_of(name)
        histories = [execution.history for execution, _ in mine]
        if curves := [one.to_dict("list") for one in histories if one is not None]:
            drawn[title] = (curves, [record["best_epoch"] + 1 for _, record in mine])
    if not drawn:
        return []
    title = group.titled("Learning curves")
    caption = "One line an execution; the dot is the epoch that validation chose."
    return [FigureEntry(title, caption, learning_panels(drawn, title))]


RELEASED = "run as released, one execution on all images"


def _trained_table(results: Results) -> TableEntry:
    """What each system is and what its training took."""
    protocol, rows = results.run.protocol, []
    for name, title in results.systems.items():
        system, records = results.paper.system(name), [record for _, record in results.executions_of(name)]
        images = records[0].get("images", {})
        row = {
            "system": title,
            "input (px)": _pixels(system.preparation(protocol).size),
            "parameters": f"{records[0]['parameters']:,}",
            "training": system.summary(protocol),
            "images": " / ".join(map(str, images.values())) if records[0]["epochs"] and images else NOTHING,
            "executions": len(records),
            "best epoch": _span([one["best_epoch"] + 1 for one in records]) if records[0]["epochs"] else NOTHING,
            "minutes": f"{sum(record['seconds'] for record in records) / 60:.1f}",
        }
        rows.append(row)
    caption = (
        "Parameters: of the whole network, frozen ones among them. Images: training / validation / test part of the "
        "first execution. Best epoch: the one that validation chose (test, where divided "
        "as published), the smallest and the largest of the executions. "
        "Minutes: all executions of the system together; what it builds on is counted there."
    )
    return TableEntry("What was trained", caption, pd.DataFrame(rows))


def _span(values: Sequence[int]) -> str:
    return str(values[0]) if len(set(values)) == 1 else f"{min(values)} to {max(values)}"


def _notes(results: Results) -> list[tuple[str, str]]:
    """What the reader must know before believing a number."""
    facts = results.facts
    notes = [*results.report.notes, ("Near-duplicates", _duplicate_words(results))]
    for reason in dict.fromkeys(results.surrogates.values()):
        titles = [results.systems[name] for name, found in results.surrogates.items() if found == reason]
        notes.append((f"Not the paper's network: {'; '.join(titles)}", reason[:1].upper() + reason[1:]))
    whole: dict[tuple[str, ...], list[str]] = {}
    for system, ids in facts.get("whole_image_crops", {}).items():
        whole.setdefault(tuple(ids), []).append(system)
    for ids, systems in whole.items():
        if ids:
            notes.append(("Empty lung masks", f"{', '.join(systems)}: images used whole: {len(ids)}, e.g. {ids[0]}."))
    if results.leaky:
        titles = _titles(results, results.leaky)
        notes.append(("Leak", f"Images are divided one by one as published, so patients cross the split: {titles}."))
    return notes


def _duplicate_words(results: Results) -> str:
    """What was done about near-duplicate images; nothing is claimed that was not done."""
    if not any(results.split_of(name).duplicates for name in results.systems):
        return "Not searched for in this profile: near-duplicate images may lie on both sides of a split."
    count = results.facts.get("duplicate_pairs")
    if count is None:
        return "Searched for; how many were found is not recorded in this run."
    pairs = f"{count} pair{'s' * (count != 1)} of near-duplicate images"
    if len(results.leaky) == len(results.systems):
        return f"{pairs} found; the published split does not keep them together."
    if not count:
        return "Searched for, none found."
    but = " but the published one" if results.leaky else ""
    return f"{pairs} found and kept on one side of every split{but}."


def report_markdown(results: Results) -> str:
    """Return the run's facts, comparison and audit as Markdown, its banner first."""
    lines = [f"**{banner}**", ""] if (banner := banner_of(results)) else []
    lines += [f"# {results.paper.title}", "", results.paper.citation, ""]
    lines += [f"- {name}: {value}" for name, value in _facts(results)]
    audit = f"## {audit_section(results.audit).title}\n\n{audit_markdown(results.audit)}"
    return "\n".join([*lines, "", comparison_markdown(results.comparison), "", audit]) + "\n"
