"""Printed numbers as a paper rounds them: shares, rows of metrics of one matrix, printed matrices and counts."""

from __future__ import annotations

from covid_keras.audit.confusion import METRICS
from covid_keras.published.cells import PublishedCell
from covid_keras.published.facts import Facts

SEVEN = (
    "sensitivity", "specificity", "accuracy", "precision_positive", "precision_negative", "f1_positive", "f1_negative",
)  # fmt: skip


def printed(value, metric, decimals=2, unit="percent", std=None, table="1", row="net", column="", system="", **facts):
    """Return a cell that prints a share, 0..1, rounded as a paper does."""
    scale = 100 if unit == "percent" else 1
    mean = float(f"{scale * value:.{decimals}f}")
    return PublishedCell(
        table=table, row=row, column=column or metric, mean=mean, unit=unit, target=mean, metric=metric,
        system=system, decimals=decimals, std=None if std is None else float(f"{scale * std:.{decimals}f}"),
        std_decimals=0 if std is None else decimals, facts=Facts(**facts),
    )  # fmt: skip


def printed_count(row, count, **facts):
    """Return a cell of table 1, column n, that prints a number of images."""
    return PublishedCell("1", row, "n", float(count), None, "count", float(count), facts=Facts(**facts))


def metrics_of(tp, fn, fp, tn):
    """Return the metrics of one matrix that are defined."""
    ratios = {name: METRICS[name](tp, fn, fp, tn) for name in SEVEN}
    return {name: top / bottom for name, (top, bottom) in ratios.items() if bottom}


def printed_row(matrix, decimals=3, unit="ratio", **where):
    """Return the cells of a row that prints the metrics of a matrix, its classes stated."""
    tp, fn, fp, tn = matrix
    facts = {"positives": (tp + fn,), "negatives": (fp + tn,)}
    return [printed(value, name, decimals, unit, **facts, **where) for name, value in metrics_of(*matrix).items()]


def printed_matrix(matrix, system, table):
    """Return the cells of a printed matrix, the positive class first, as papers print it."""
    tp, fn, fp, tn = matrix
    rows = {"covid": {"covid": tp, "normal": fn}, "normal": {"covid": fp, "normal": tn}}
    return [
        PublishedCell(table, actual, said, float(n), None, "count", float(n), system=system, actual=actual,
                      predicted=said, row_total=sum(row.values()))
        for actual, row in rows.items() for said, n in row.items()
    ]  # fmt: skip
