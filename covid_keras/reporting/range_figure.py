"""The figure of a learning-rate range test."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure

from covid_keras.reporting.style import MUTED, NARROW, OKABE_ITO, OURS_COLOUR, report_style
from covid_keras.training.range_finder import SKIP_FIRST, SKIP_LAST, RangeTest, smoothed_losses


@report_style()
def range_figure(result: RangeTest, title: str = "Learning-rate range test", chosen: float | None = None) -> Figure:
    """Draw the loss of each batch over its learning rate, the smoothed loss and the suggested rate.

    Parameters
    ----------
    result : RangeTest
        The first and last batches, not used for the suggestion, are drawn pale.
    chosen : float, optional
        The protocol's rate, also marked.

    Raises
    ------
    ValueError
        If there are too few batches to draw.
    """
    if len(result.rates) <= SKIP_FIRST + SKIP_LAST:
        raise ValueError(f"too few batches to draw (got {len(result.rates)})")
    figure = Figure(figsize=(NARROW + 1.8, NARROW - 0.6), layout="constrained")
    axes = figure.subplots()
    counted = slice(SKIP_FIRST, -SKIP_LAST)
    axes.plot(result.rates, result.losses, ".", color=MUTED, markersize=4, alpha=0.35)
    axes.plot(result.rates[counted], result.losses[counted], ".", color=MUTED, markersize=4, label="a batch")
    smooth = smoothed_losses(result.losses[:-SKIP_LAST])[SKIP_FIRST:]
    axes.plot(result.rates[counted], smooth, color=OURS_COLOUR, label="smoothed")
    for rate, colour, line, words in (
        (result.suggested, OKABE_ITO["vermilion"], "--", "steepest descent"),
        (chosen if chosen is not None else math.nan, OKABE_ITO["green"], ":", "used here"),
    ):
        if math.isfinite(rate):
            axes.axvline(rate, color=colour, linestyle=line, linewidth=1.4, label=f"{words}: {rate:.1e}")
    # Limited to the smoothed range: one exploding batch would flatten the rest.
    low, high = np.min(smooth), np.max(smooth)
    room = max(high - low, 1e-6)
    axes.set(
        xscale="log",
        xlabel="learning rate",
        ylabel="loss of the batch",
        title=title,
        ylim=(low - room / 2, high + room),
    )
    axes.xaxis.set_major_formatter("{x:g}")
    axes.legend(loc="best")
    return figure
