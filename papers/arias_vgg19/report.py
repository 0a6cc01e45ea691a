"""The report of Arias-Garzón et al.: its sections in the order of the pipeline; their texts are in `templates`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import ClassVar

import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.evaluation import classes_of
from covid_keras.evaluation.decisions import DECISION_THRESHOLD
from covid_keras.paper.cohorts import missing_collection
from covid_keras.reporting.differences import DAGGER, measured_of, printed_of, rows_tested, standing
from covid_keras.reporting.document import FigureEntry, Section, TableEntry
from covid_keras.reporting.prose import notes, titled
from covid_keras.reporting.results import PaperReport, Results
from covid_keras.reporting.wording import NOTHING
from papers.arias_vgg19 import comparisons, stages
from papers.arias_vgg19.experiments import CONTROLS, EXPERIMENTS, PARTS, experiments_of
from papers.arias_vgg19.measures import faulty_accuracy, measure
from papers.arias_vgg19.networks import FRONTAL_CLASS, LATERAL_CLASS
from papers.arias_vgg19.overlap import read_overlap
from papers.arias_vgg19.settings import options_of
from papers.arias_vgg19.systems import DEPTHS

PROSE = ("papers.arias_vgg19", "report.md.j2")
FIGURE_3 = ("unet1", "unet3")
_said: Callable[..., tuple[str, str]] = partial(titled, *PROSE, dagger=DAGGER)


class Report(PaperReport):
    """The report of the paper, with its lung segmenters beside the systems."""

    measure = staticmethod(measure)
    counted: ClassVar = {"accuracy_faulty": faulty_accuracy}
    segmenters = stages.SEGMENTERS

    def sections(self, results: Results) -> list[Section]:
        """Return the sections whose systems or stages were run."""
        made = (
            view_section(results),
            parts_section(results),
            frame_section(results),
            threshold_section(results),
            unet_section(results),
            depth_section(results),
            faulty_section(results),
        )
        return [section for section in made if section is not None]


REPORT = Report(
    notes=notes(*PROSE, "notes"),
    proposed=tuple(f"{name}_{part}" for name in EXPERIMENTS for part in PARTS),
    pairs=(),  # its own section has them, with more than accuracy
    # The two experiments whose maps the paper shows.
    heat_systems=tuple(f"{name}_{part}" for name in ("exp1", "exp3") for part in PARTS),
)


def view_section(results: Results) -> Section | None:
    """Quality of the view filter, and its effect on the classifiers' images."""
    frames = comparisons.view_frames(results)
    if not frames:
        return None
    counts = rows_tested(next(iter(frames.values()))).drop_duplicates("image_id")["label"].value_counts()
    words = _said("filters", frontal=counts.get(FRONTAL_CLASS, 0), lateral=counts.get(LATERAL_CLASS, 0))
    tables = [TableEntry(*words, comparisons.view_table(results, frames))]
    answers = comparisons.filter_answers(results)
    if len(answers):
        frame = comparisons.fate_table(answers, comparisons.labels_of(results))
        tables.append(TableEntry(*_said("fates"), frame))
    return Section(*_said("view"), tables)


def parts_section(results: Results) -> Section | None:
    """Effect of lungs only and lungs removed in each experiment, and whether e beats d as in the paper."""
    paper, striking, tables = printed_of(results.published), [], []
    figures: dict[bool, list[FigureEntry]] = {True: [], False: []}
    for name in experiments_of(results.systems):
        found = comparisons.part_differences(results, name)
        title = comparisons.title_of(name, comparisons.labels_of(results))
        frame = comparisons.difference_table(name, found, paper)
        compared = any(column.startswith("paper") for column in frame)
        tables.append(TableEntry(*_said("differences", title=title, compared=compared), frame))
        if name in EXPERIMENTS and (less := found.get(("e", "d", "accuracy"))):
            printed = comparisons.printed_difference(paper, name, "e", "d", "accuracy")
            one = {"title": title, "less": less, "standing": standing(less)}
            striking.append(one | {"printed": "" if printed == NOTHING else printed})
        figures[name in EXPERIMENTS] += _curves(results, name, title)
    return Section(*_said("parts", striking=striking), tables, figures[True], figures[False]) if tables else None


def _curves(results: Results, name: str, title: str) -> list[FigureEntry]:
    """ROC and precision-recall of the three parts, each in one figure."""
    from covid_keras.reporting.figures import roc_figure
    from papers.arias_vgg19.figures import precision_recall_figure

    curves, positive = {}, ""
    for part in PARTS:
        frame = results.predictions_of(f"{name}_{part}")
        positive = classes_of(frame)[-1]
        if found := comparisons.curves_of(frame, positive):
            curves[comparisons.part_title(part)] = found
    if not curves:
        return []
    told = {"title": title, "executions": max(map(len, curves.values()))}
    recall = precision_recall_figure(curves, f"Precision and recall: {title}", positive)
    return [
        FigureEntry(*_said("roc", **told), roc_figure(curves, f"ROC: {title}", positive)),
        FigureEntry(*_said("precision", **told), recall),
    ]


def frame_section(results: Results) -> Section | None:
    """The controls, without COVID-19 as a class, beside the experiments."""
    from covid_keras.reporting.forest import forest_figure

    ours, present = measured_of(results.measured), comparisons.labels_of(results)
    names = [*EXPERIMENTS, *CONTROLS]
    tasks = [name for name in names if any(f"{name}_{part}" in results.systems for part in PARTS)]
    if not set(tasks) & set(CONTROLS):
        return None
    tables = [TableEntry(*_said("controls"), comparisons.control_table(ours, tasks, present))]
    found = comparisons.set_beside(results, ours, tasks)
    if found:
        tables.append(TableEntry(*_said("less"), comparisons.less_table(found)))
    figures = []
    frame = comparisons.auc_by_part(ours, tasks, present)
    if len(frame):
        axis = "AUC (%), mean over executions with 95 % interval"
        title, caption = _said("auc")
        figures.append(FigureEntry(title, caption, forest_figure(frame, title, axis, 50.0, "chance (50 %)")))
    follow_up = comparisons.follow_ups(results.run.cohort.table, tasks)
    words = _said("frame", controls=comparisons.told_controls(ours, found), follow_up=follow_up)
    return Section(*words, tables, figures)


def threshold_section(results: Results) -> Section | None:
    """Effect on test accuracy of a threshold chosen on validation."""
    from papers.arias_vgg19.figures import threshold_figure

    rows, curves = [], {}
    for name in comparisons.chosen_systems(results.systems):
        frame, title = results.predictions_of(name), results.systems[name]
        if thresholds := comparisons.best_thresholds(frame):
            rows += [{"system": title} | row for row in comparisons.threshold_rows(frame, thresholds)]
            curves[title] = comparisons.threshold_curves(frame, thresholds)
    if not rows:
        return None
    claims = [cell for cell in results.published if "threshold" in cell.row and cell.unit == "percent"]
    figure = FigureEntry(*_said("curves"), threshold_figure(curves, DECISION_THRESHOLD))
    return Section(*_said("threshold", claims=claims), [TableEntry(*_said("thresholds"), pd.DataFrame(rows))], [figure])


def unet_section(results: Results) -> Section | None:
    """True Dice and IoU of the U-Nets, with those of the authors' functions and the paper's."""
    folders = stages.SEGMENTERS.done(results.run) if stages.SEGMENTERS.settings(results.run.protocol) else {}
    if not folders:
        return None
    tables = {name: read_overlap(folder) for name, folder in folders.items()}
    frame = comparisons.unet_table(tables, measured_of(results.measured), printed_of(results.published))
    figures = _mask_figures(results, folders)
    return Section(*_said("unets", drawn=bool(figures)), [TableEntry(*_said("overlap"), frame)], figures)


def _mask_figures(results: Results, folders: dict[str, Path]) -> list[FigureEntry]:
    """The masks in the paper's figure 3, if the images are available."""
    from papers.arias_vgg19.figures import mask_figure

    shown = {comparisons.unet_title(name): folders[name] for name in FIGURE_3 if name in folders}
    try:
        cohort = stages.SEGMENTERS.mask_cohort(results.run.protocol, _data_of(results), results.run.cache.parent)
        if not shown or not all(Path(path).is_file() for path in cohort.table["path"]):
            return []
    except UserError:  # a report is made of predictions alone too, on a machine without the collections
        return []
    figure, threshold = mask_figure(shown, cohort)
    return [FigureEntry(*_said("masks", names=list(shown), threshold=threshold), figure)]


def _data_of(results: Results) -> Path | None:
    """Return the data folder of the run's images, the narrowest that contains all collections, or None."""
    first = Path(results.run.cohort.table["path"].iloc[0])
    needs, segmenters = set(results.run.cohort.table["source"]) - {"phantom"}, stages.SEGMENTERS

    def has_all(folder: Path) -> bool:
        return not (missing_collection(needs, folder) or segmenters.missing(results.run.protocol, folder))

    return next(filter(has_all, first.parents), None)


def depth_section(results: Results) -> Section | None:
    """Choices between the two networks on validation, and the results of both."""
    names = comparisons.chosen_systems(results.systems)
    if "view" in results.systems and options_of(results.run.protocol).view == "best":
        names = ["view", *names]
    if not names:
        return None
    picked = {name: [record.get("chosen", "") for _, record in results.executions_of(name)] for name in names}
    counts = Counter(depth for chosen in picked.values() for one in chosen for depth in DEPTHS if one.endswith(depth))
    ours, paper = measured_of(results.measured), printed_of(results.published)
    frame = comparisons.depth_table(picked, results.systems, ours, paper)
    tables = [TableEntry(*_said("depths"), frame)]
    if len(means := comparisons.mean_table(results)):
        tables.append(TableEntry(*_said("means"), means))
    return Section(*_said("depth", counts=counts), tables)


def faulty_section(results: Results) -> Section | None:
    """The true accuracy beside the authors'."""
    titles = {name: results.systems[name] for name in comparisons.chosen_systems(results.systems)}
    if not titles:
        return None
    frame = comparisons.faulty_table(titles, measured_of(results.measured), printed_of(results.published))
    return Section(*_said("faulty"), [TableEntry(*_said("accuracies"), frame)])
