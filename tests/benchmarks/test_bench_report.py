"""The page of a run of 14 systems with heat maps, against figures saved as PNG by Matplotlib."""

from __future__ import annotations

import io
import time

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from covid_keras.data.phantom import phantom_image
from covid_keras.reporting import FigureEntry, Report, Section, render
from covid_keras.reporting.pictures import Explanation, explanation_figure

pytestmark = pytest.mark.slow

SYSTEMS, EXAMPLES, SIDE = 14, 4, 320


def heat_figure(title: str) -> Figure:
    """Return a figure of the examples of one system, as in a run's report."""
    rng = np.random.default_rng(0)

    def heat() -> np.ndarray:
        return np.clip(cv2.resize(rng.random((4, 4)), (SIDE, SIDE)), 0, 1)

    phantoms = [phantom_image(number, SIDE) for number in range(EXAMPLES)]
    cases = [Explanation(one.image, heat(), heat(), "P", "P", "N", 0.7, one.lungs) for one in phantoms]
    return explanation_figure(cases, title)


def test_bench_report(benchmark):
    """Drawing and encoding the page, without the networks; aims: below 10 MB and 20 s."""
    systems = range(1 if benchmark.disabled else SYSTEMS)
    start = time.process_time()
    figures = [FigureEntry(f"Grad-CAM {number}", "", heat_figure(str(number))) for number in systems]
    page = render(Report("Run", sections=[Section("Heat maps", figures=figures)]))
    drawn = time.process_time() - start
    start, saved = time.process_time(), io.BytesIO()
    figures = [FigureEntry("", "", heat_figure(str(number))) for number in systems]
    for entry in figures:
        entry.figure.savefig(saved, format="png", dpi=144)
    plain = time.process_time() - start
    benchmark.extra_info |= {
        "MB": round(len(page) / 1e6, 2),
        "seconds": round(drawn, 2),
        "bytes, page / PNG": round(len(page) / (saved.tell() * 4 / 3), 3),
        "seconds, page / PNG": round(drawn / plain, 3),
    }
    benchmark.pedantic(lambda: None, rounds=1)
    assert page.count("data:image/webp") == len(figures)
