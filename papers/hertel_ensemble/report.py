"""The report of Hertel & Benlamri: its sections in the order of the paper; their texts are in `templates`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from covid_keras.evaluation.overlap import read_overlap
from covid_keras.published.facts import table_title
from covid_keras.reporting.differences import CHANCE, DAGGER, measured_of, printed_of, standing
from covid_keras.reporting.document import FigureEntry, Section, TableEntry
from covid_keras.reporting.prose import notes, titled
from covid_keras.reporting.results import PaperReport, Pictures, Results
from papers.hertel_ensemble import comparisons, images, stages
from papers.hertel_ensemble.cohorts import COVIDGR
from papers.hertel_ensemble.comparisons import TASKS, systems_of
from papers.hertel_ensemble.measures import measure
from papers.hertel_ensemble.networks import NETWORKS
from papers.hertel_ensemble.systems import COVID, KINDS

if TYPE_CHECKING:
    from covid_keras.reporting.examples import Examples

PROSE = ("papers.hertel_ensemble", "report.md.j2")
COUNTED = {"2": "multi", "3": "binary", "4": "gr"}  # the paper's table of images, and whose they are
_said: Callable[..., tuple[str, str]] = partial(titled, *PROSE, dagger=DAGGER)


def pictures_of_masking(examples: Examples) -> Pictures:
    """Figure 11 of the paper, of the examples."""
    from papers.hertel_ensemble.figures import segmentation_pictures

    return segmentation_pictures(examples)


class Report(PaperReport):
    """The report of the paper, with its lung segmenter beside the systems."""

    measure = staticmethod(measure)
    segmenters = stages.SEGMENTERS

    def sections(self, results: Results) -> list[Section]:
        """Return the sections whose systems or stages were run."""
        made = (
            counts_section(results),
            segmentation_section(results),
            masks_section(results),
            ensembles_section(results),
            agreement_section(results),
            head_section(results),
            drop_section(results),
            classes_section(results),
            children_section(results),
            sources_section(results),
            covidgr_section(results),
            literature_section(results),
        )
        return [section for section in made if section is not None]


REPORT = Report(
    notes=notes(*PROSE, "notes"),
    proposed=tuple(f"{kind}_{task}" for task in TASKS for kind in KINDS),
    heat_pairs=(("densenet201_multi", "densenet201_whole"),),
    pictures={"densenet201_whole": pictures_of_masking},
)


def counts_section(results: Results) -> Section | None:
    """Images and patients per class, collection and part, ours and the paper's (Tables 1 to 4)."""
    tables = []
    masks = images.mask_counts(measured_of(results.measured))
    if len(masks):
        tables.append(TableEntry(*_said("masked"), masks))
    for name, task in COUNTED.items():
        for system in systems_of(results, task)[:1]:
            words = _said(
                "divided", table=table_title(name), task=TASKS[task], repeats=results.split_of(system).repeats
            )
            cells = [cell for cell in results.published if cell.table == name]
            tables.append(TableEntry(*words, images.count_table(results, system, cells)))
    if not tables:
        return None
    tables.append(TableEntry(*_said("stated"), images.stated_table(results.published, ("1", *COUNTED))))
    return Section(*_said("counts"), tables)


def segmentation_section(results: Results) -> Section:
    """Dice of the ResUNet, of the U-Net trained alike, and of the shipped U-Net on the same images."""
    from papers.hertel_ensemble.figures import dice_figure

    table = comparisons.segmenter_table(measured_of(results.measured), printed_of(results.published))
    if table.empty or not stages.SEGMENTERS.done(results.run):
        return Section(*_said("segmentation", trained=False))
    tables, figures, less = [TableEntry(*_said("overlap"), table)], [], None
    frame = stages.compared_masks(results.run)
    if len(frame):
        paired, less = comparisons.segmenter_difference(frame)
        tables.append(TableEntry(*_said("segmenters"), paired))
        figures.append(FigureEntry(*_said("dice"), dice_figure(frame)))
    where = standing(less) if less else ""
    return Section(*_said("segmentation", trained=True, less=less, standing=where), tables, figures)


def masks_section(results: Results) -> Section | None:
    """For the split with three classes: training images of the ResUNet, and the masks' share of the picture."""
    systems = systems_of(results, "multi")
    if not systems:
        return None
    divided, classes = images.divided_images(results, systems[0]), results.classes_of(systems[0])
    tables: list[TableEntry] = []
    told: dict[str, Any] = {"groups": None, "tested": 0, "gone": 0, "auc": None, "standing": ""}
    if folder := (stages.SEGMENTERS.done(results.run) or {}).get(stages.NAME):
        overlap = read_overlap(folder)
        divided["taught"] = divided["image_id"].isin(overlap.loc[overlap["part"] == "train", "image_id"])
        tables.append(TableEntry(*_said("taught"), images.taught_table(divided, classes)))
        told["groups"] = images.taught_groups(divided, classes)
    tested = divided[divided["part"] == "test"]
    if tested["mask_path"].ne("").any():
        shares = tested.assign(share=[images.mask_share(path) for path in tested["mask_path"]])
        there = shares[shares["share"].notna()]  # what of a picture is left cannot be told where the mask file is gone
        told |= {"tested": len(tested), "gone": len(tested) - len(there)}
        if len(there):
            tables.append(TableEntry(*_said("shares"), images.share_table(there, classes)))
            told["auc"] = auc = images.share_auc(there)
            told["standing"] = standing(auc, CHANCE) if auc else ""
    return Section(*_said("masks", **told), tables) if told["groups"] is not None or told["tested"] else None


def ensembles_section(results: Results) -> Section | None:
    """The chosen weights, and the gain of each ensemble over each network."""
    from covid_keras.reporting.forest import forest_figure

    found = comparisons.gains(results)
    if not found:
        return None
    weights = comparisons.weight_table(results)
    tables = [TableEntry(*_said("weights"), weights)] if len(weights) else []
    tables.append(TableEntry(*_said("gains"), comparisons.gain_table(found, printed_of(results.published))))
    frame, axis = comparisons.gain_frame(found), "accuracy, points, 95 % interval"
    figure = forest_figure(frame, tables[-1].title, axis, 0, "no gain")
    best = [{"gain": one, "standing": standing(one.less)} for one in found if "test" in one.best_on]
    return Section(*_said("ensembles", gains=best), tables, [FigureEntry(*_said("gain_figure"), figure)])


def agreement_section(results: Results) -> Section | None:
    """How often the three networks agree, and the ensembles' accuracy then."""
    found = {task: comparisons.agreement(results, task) for task in TASKS}
    rows = [row for task, frame in found.items() for row in comparisons.agreement_rows(frame, task)]
    return Section(*_said("agreement"), [TableEntry(*_said("votes"), pd.DataFrame(rows))]) if rows else None


def head_section(results: Results) -> Section | None:
    """Validation accuracy after the epochs with the backbone frozen."""
    table = comparisons.head_table(results)
    if table.empty:
        return None
    scratch = any(one.unfreeze.scratch for one in map(results.run.protocol.training_of, NETWORKS))
    return Section(*_said("head", scratch=scratch), [TableEntry(*_said("heads"), table)])


def drop_section(results: Results) -> Section | None:
    """Test minus validation accuracy of every system, ours and the paper's."""
    paper, found = printed_of(results.published), comparisons.drops(results)
    if not found:
        return None
    claim = comparisons.claimed_drop(results.published, paper)
    words = _said("drop", claim=claim, standings=[standing(one) for one in found.values()])
    return Section(*words, [TableEntry(*_said("drops"), comparisons.drop_table(found, paper))])


def classes_section(results: Results) -> Section | None:
    """The metrics of Tables 8 and 9: each of three classes against the rest."""
    systems = [name for name in (*systems_of(results, "multi"), "densenet201_whole") if name in results.systems]
    if not systems:
        return None
    paper = printed_of(results.published)
    frames = {name: comparisons.class_table(results, systems, name, paper) for name in results.classes_of(systems[0])}
    return Section(*_said("classes"), [TableEntry(*_said("class", name=name), frame) for name, frame in frames.items()])


def children_section(results: Results) -> Section | None:
    """DenseNet-201 with children as normal and pneumonia images, beside the same with adults."""
    if "densenet201_children" not in results.systems:
        return None
    return Section(*_said("children"), [TableEntry(*_said("negatives"), comparisons.children_table(results))])


def sources_section(results: Results) -> Section | None:
    """How often images of each collection are called COVID-19, and the training classes of each collection."""
    from covid_keras.reporting.forest import forest_figure

    tables, figures, told = [], [], []
    for task in COUNTED.values():
        systems = systems_of(results, task)
        if not systems:
            continue
        tested, classes = images.tested_images(results, systems[0]), results.classes_of(systems[0])
        groups = images.source_groups(tested)
        frame = images.source_frame(results, systems, groups)
        title = TASKS[task]
        tables.append(TableEntry(*_said("called", task=title), images.source_table(frame, groups)))
        words = _said("called_figure", task=title)
        figures.append(
            FigureEntry(*words, forest_figure(frame, words[0], f"called {COVID} (%), 95 % interval by patient"))
        )
        collections = images.collections_of(tested, classes)
        tables.append(TableEntry(*_said("trained", task=title), images.trained_table(collections, classes)))
        less = {name: images.seen_less_unseen(results, name, groups) for name in systems}
        known = {name: one for name, one in less.items() if one is not None}
        if known:
            tables.append(TableEntry(*_said("seen", task=title), images.seen_table(known)))
        covid = [one for one in collections if one.tested]
        told.append({"title": title, "collections": covid, "tested": sum(one.tested for one in covid)})
        told[-1]["standings"] = [standing(one) for one in known.values()]
    return Section(*_said("sources", tasks=told), tables, figures) if tables else None


def covidgr_section(results: Results) -> Section | None:
    """One split against folds, and the sampling error of a gain on few test images."""
    folded = systems_of(results, "gr5")
    if not systems_of(results, "gr") and not folded:
        return None
    ours, paper, other = measured_of(results.measured), printed_of(results.published), comparisons.compared_cells()
    words = _said("divisions", split=results.split_of(folded[0]) if folded else None)
    tables = [TableEntry(*words, comparisons.covidgr_table(ours, paper, other))]
    claims = comparisons.claims_of(paper, other, comparisons.counted_images(results.published))
    if claims:
        tables.append(TableEntry(*_said("claims"), comparisons.claims_table(claims)))
    one, folds = (ours.get((f"average_{task}", "accuracy")) for task in ("gr", "gr5"))
    told = {"claims": claims, "stand_in": not set(COVIDGR) & set(results.run.cohort.classes)}
    told |= {"one": one, "folds": None if folds is None or pd.isna(folds.std) else folds}
    return Section(*_said("covidgr", **told), tables)


def literature_section(results: Results) -> Section | None:
    """The paper's numbers for others and itself, beside ours (Tables 13 and 14)."""
    ours, tables = measured_of(results.measured), []
    for name, title in (("13", "Radiologists"), ("14", "Literature")):
        frame = comparisons.literature_table([cell for cell in results.published if cell.table == name], ours)
        if len(frame):
            tables.append(TableEntry(*_said("printed", title=title, table=table_title(name)), frame))
    return Section(*_said("literature"), tables) if tables else None
