"""Table 12: one division of COVIDGR-1.0 against folds and against COVID-SDNet, and what so few images allow."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.evaluation import PublishedCell, load_published
from covid_keras.evaluation.proportions import standard_error, wilson_interval
from covid_keras.paper.registered import load_paper
from covid_keras.reporting.differences import (
    DAGGER,
    MeasuredOf,
    PrintedOf,
    measured_of,
    printed_of,
    printed_words,
    with_interval,
)
from covid_keras.reporting.html import Section, TableEntry
from covid_keras.reporting.results import Results
from covid_keras.reporting.tables import NOTHING, number
from papers.hertel_ensemble.cohorts import COVIDGR
from papers.hertel_ensemble.systems import COVID
from papers.hertel_ensemble.tasks import ENSEMBLES, NETWORKS, joined, systems_of

METRICS = ("accuracy", "sensitivity")
COMPARED_PAPER = COMPARED_SYSTEM = "covid_sdnet"


def covidgr_section(results: Results) -> Section | None:
    """One division against folds, and how far a gain on so few test images can be told from chance."""
    if not systems_of(results, "gr") and not systems_of(results, "gr5"):
        return None
    ours, paper = measured_of(results.measured), printed_of(results.published)
    other = compared_cells()
    frame = covidgr_table(ours, paper, other)
    tables = [TableEntry("One division, folds, and COVID-SDNet", covidgr_caption(results), frame)]
    claims = claims_table(paper, other, counted_images(results.published))
    said = [COVIDGR_TEXT]
    if len(claims):
        tables.append(TableEntry("What so few test images allow", CLAIMS_CAPTION, claims))
        said.append(claim_words(claims))
    if not set(COVIDGR) & set(results.run.cohort.classes):
        said.append(STOOD_IN)
    return Section("COVIDGR-1.0: one division or folds", "\n\n".join((*said, *luck_words(ours))), tables)


COVIDGR_TEXT = (
    "The paper divides COVIDGR-1.0 once and compares its numbers with those of COVID-SDNet, which are means over 25 "
    "executions of 5 x 5 folds. One division is one draw: its number moves with the images that happen to be tested, "
    "and the mean over folds does not. Here both are done, with the same networks."
)
STOOD_IN = "In this run COVID-19 and normal images of other collections stand in for COVIDGR-1.0."
CLAIMS_CAPTION = (
    "The paper's own numbers, of one network on one test part. n: test images that the metric is a share of, from the "
    "totals and the share that the paper states. Standard error: binomial, points. Interval: Wilson, 95 %, taken at n "
    "independent images. A gain within the interval is one that another draw of so many test images could undo."
)


def covidgr_caption(results: Results) -> str:
    """Return what is in the table of COVIDGR-1.0, with how many folds ours has."""
    folds = [results.split_of(name) for name in systems_of(results, "gr5")[:1]]
    how = f" ({folds[0].repeats} x {folds[0].folds})" if folds else ""
    return (
        f"Percent. Ours: of one division with 95 % interval by patient; over folds{how} the mean ± standard deviation "
        "over executions (ddof 1), with the interval of the mean by patient. COVID-SDNet: as its own paper prints it, "
        "the standard deviation over executions. " + DAGGER
    )


def compared_cells() -> dict[str, PublishedCell]:
    """Return what COVID-SDNet's own paper prints of it, by metric; nothing where that paper is not installed."""
    try:
        cells = load_published(load_paper(COMPARED_PAPER).folder / "published.yaml")
    except UserError:
        return {}
    found: dict[str, PublishedCell] = {}
    for cell in cells:
        if cell.system == COMPARED_SYSTEM and cell.metric and cell.std is not None:
            found.setdefault(cell.metric, cell)
    return found


def covidgr_table(ours: MeasuredOf, paper: PrintedOf, other: Mapping[str, PublishedCell]) -> pd.DataFrame:
    """Return accuracy and sensitivity of every system, a row a system; the last row is COVID-SDNet's."""
    rows = []
    for name, title in (NETWORKS | ENSEMBLES).items():
        one, folds = ([ours.get((f"{name}_{task}", metric)) for metric in METRICS] for task in ("gr", "gr5"))
        if not any((*one, *folds)):
            continue
        row = {"system": title}
        row |= {f"one division, {metric}": with_interval(found) for metric, found in zip(METRICS, one, strict=True)}
        for metric, found in zip(METRICS, folds, strict=True):
            spread = "" if found is None or math.isnan(found.std) else f" ± {number(found.std)}"
            row[f"folds, {metric}"] = with_interval(found).replace("\n", f"{spread}\n")
        row |= {f"paper, {metric}": printed_words(paper.get((f"{name}_gr", metric))) for metric in METRICS}
        rows.append(row)
    if other:
        row = {"system": "COVID-SDNet, as printed"} | {
            f"folds, {metric}": f"{number(other[metric].mean)} ± {number(other[metric].std)}"
            for metric in METRICS
            if metric in other
        }
        rows.append(row)
    return pd.DataFrame(rows).fillna(NOTHING)


def counted_images(published: Iterable[PublishedCell]) -> dict[str, int]:
    """Return how many test images of COVIDGR-1.0 accuracy and sensitivity are shares of, by the totals of Table 4.

    Nothing where the paper's totals, or the share that it tests on, are not among its cells.
    """
    cells = [cell for cell in published if cell.table == "4" and not cell.lost]
    totals = {cell.row: cell.mean for cell in cells if cell.unit == "count" and cell.column == "total"}
    shares = [cell.mean / 100 for cell in cells if cell.unit == "percent" and cell.column == "test"]
    if COVID not in totals or not shares:
        return {}
    each = {name: round(shares[0] * total) for name, total in totals.items()}
    return {"accuracy": sum(each.values()), "sensitivity": each[COVID]}


def claims_table(paper: PrintedOf, other: Mapping[str, PublishedCell], images: Mapping[str, int]) -> pd.DataFrame:
    """Return what sampling allows the paper's gains over COVID-SDNet, a row a metric."""
    rows = []
    for metric, n in images.items():
        printed = paper.get(("average_gr", metric))
        if printed is None or metric not in other:
            continue
        low, high = wilson_interval(printed.value, n)
        error, gain = standard_error(printed.value, n), printed.value - other[metric].mean
        rows.append(
            {
                "metric": metric,
                "paper": printed_words(printed),
                "n": n,
                "standard error": number(error),
                "interval": f"{number(low)} to {number(high)}",
                "COVID-SDNet": number(other[metric].mean),
                "gain": number(gain, signed=True),
                "gain / standard error": number(gain / error, signed=True),
                "within what n allows": "yes" if low <= other[metric].mean <= high else "no",
            }
        )
    return pd.DataFrame(rows)


def claim_words(claims: pd.DataFrame) -> str:
    """Return whether the paper's gains are more than sampling allows."""
    within = claims[claims["within what n allows"] == "yes"]
    told = [f"{row['gain']} points in {row['metric']} ({row['n']} images)" for row in claims.to_dict("records")]
    if len(within) == len(claims):
        end = "None of this is more than so few test images allow: no gain is shown."
    elif within.empty:
        end = "Each of this is more than the draw of the test images alone would give."
    else:
        end = f"Of this, the gain in {joined(within['metric'])} is within what so few test images allow."
    return f"The paper's weighted average less COVID-SDNet, each as its own paper prints it: {joined(told)}. {end}"


def luck_words(ours: MeasuredOf) -> list[str]:
    """Return how far single executions of the weighted average lie apart, where it was run over folds."""
    folds = ours.get(("average_gr5", "accuracy"))
    if folds is None or math.isnan(folds.std):
        return []
    said = (
        f"Over {folds.executions} executions of ours the accuracy of the weighted average has a standard deviation of "
        f"{number(folds.std)} points"
    )
    one = ours.get(("average_gr", "accuracy"))
    if one is None or folds.std == 0:
        return [f"{said}."]
    away = (one.mean - folds.mean) / folds.std
    return [f"{said}; the one division lies {number(away, signed=True)} of these from their mean."]
