"""COVID-SDNet on COVIDGR-1.0, radiologists and literature (Tables 12 to 14)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.evaluation import PublishedCell, load_published
from covid_keras.evaluation.proportions import standard_error, wilson_interval
from covid_keras.paper.registered import load_paper
from covid_keras.reporting.differences import MeasuredOf, Printed, PrintedOf, printed_words, with_interval
from covid_keras.reporting.wording import NOTHING, number
from papers.hertel_ensemble.comparisons.names import ENSEMBLES, NETWORKS, cell_words
from papers.hertel_ensemble.systems import COVID

COVIDGR_METRICS = ("accuracy", "sensitivity")
COMPARED_PAPER = COMPARED_SYSTEM = "covid_sdnet"


class Claim(NamedTuple):
    """A gain over COVID-SDNet as the paper prints it, with the sampling error of `n` test images, in percent."""

    metric: str
    printed: Printed
    other: float
    n: int

    @property
    def gain(self) -> float:
        """Printed number minus COVID-SDNet's, in points."""
        return self.printed.value - self.other

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the printed number."""
        return wilson_interval(self.printed.value, self.n)

    @property
    def within(self) -> bool:
        """Whether the gain is within the sampling error."""
        return self.interval[0] <= self.other <= self.interval[1]


def compared_cells() -> dict[str, PublishedCell]:
    """Return the results of COVID-SDNet in its own paper by metric; empty if that paper is not installed."""
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
    """Return accuracy and sensitivity, one row per system; the last row is COVID-SDNet's."""
    rows = []
    for name, title in (NETWORKS | ENSEMBLES).items():
        row = {"system": title}
        for task, words in (("gr", "one division"), ("gr5", "folds")):
            for metric in COVIDGR_METRICS:
                if one := ours.get((f"{name}_{task}", metric)):
                    spread = "" if task == "gr" or math.isnan(one.std) else f" ± {number(one.std)}"
                    row[f"{words}, {metric}"] = with_interval(one).replace("\n", f"{spread}\n")
        if len(row) > 1:
            row |= {f"paper, {metric}": printed_words(paper.get((f"{name}_gr", metric))) for metric in COVIDGR_METRICS}
            rows.append(row)
    printed = {
        f"folds, {m}": f"{number(other[m].mean)} ± {number(other[m].std)}" for m in COVIDGR_METRICS if m in other
    }
    if printed:
        rows.append({"system": "COVID-SDNet, as printed"} | printed)
    columns = [f"{words}, {metric}" for words in ("one division", "folds", "paper") for metric in COVIDGR_METRICS]
    return pd.DataFrame(rows, columns=["system", *columns]).fillna(NOTHING)


def counted_images(published: Iterable[PublishedCell]) -> dict[str, int]:
    """Return the denominators of accuracy and sensitivity on COVIDGR-1.0, from the totals of Table 4.

    Empty if the cells lack the totals or the share of the test part.
    """
    cells = [cell for cell in published if cell.table == "4" and not cell.lost]
    totals = {cell.row: cell.mean for cell in cells if cell.unit == "count" and cell.column == "total"}
    shares = [cell.mean / 100 for cell in cells if cell.unit == "percent" and cell.column == "test"]
    if COVID not in totals or not shares:
        return {}
    each = {name: round(shares[0] * total) for name, total in totals.items()}
    return {"accuracy": sum(each.values()), "sensitivity": each[COVID]}


def claims_of(paper: PrintedOf, other: Mapping[str, PublishedCell], images: Mapping[str, int]) -> list[Claim]:
    """Return the printed gains over COVID-SDNet, one per metric; `images` as from `counted_images`."""
    return [
        Claim(metric, printed, other[metric].mean, n)
        for metric, n in images.items()
        if metric in other and (printed := paper.get(("average_gr", metric)))
    ]


def claims_table(claims: Iterable[Claim]) -> pd.DataFrame:
    """Return the claimed gains with their sampling errors, one row each."""
    rows = []
    for one in claims:
        error = standard_error(one.printed.value, one.n)
        row = {"metric": one.metric, "paper": printed_words(one.printed), "n": one.n, "standard error": number(error)}
        row |= {"interval": " to ".join(map(number, one.interval)), "COVID-SDNet": number(one.other)}
        row |= {"gain": number(one.gain, signed=True), "gain / standard error": number(one.gain / error, signed=True)}
        rows.append(row | {"within what n allows": "yes" if one.within else "no"})
    return pd.DataFrame(rows)


def literature_table(cells: Iterable[PublishedCell], ours: MeasuredOf) -> pd.DataFrame:
    """Return the cells of a printed table, one row each, beside our results where there are any."""
    rows = []
    for cell in cells:
        one = ours.get((cell.system, cell.metric)) if cell.system else None
        row = {"who": cell.row, "what": cell.column, "paper": cell_words(cell), "ours": with_interval(one)}
        rows.append(row | {"test images": NOTHING if one is None else f"{one.n_images:,}"})
    return pd.DataFrame(rows)
