"""Figures of the lung crop (figure 3 of the paper) and of the class-inherent transformations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from covid_keras.reporting.crops import Roi, roi_figure
from covid_keras.reporting.pictures import aspect, colour_bar, picture_grid, short_name, show_radiograph
from covid_keras.reporting.prose import titled
from covid_keras.reporting.results import Pictures
from covid_keras.reporting.style import DIFFERENCE_MAP, report_style
from papers.covid_sdnet.transforms import VIEWS, feed_pairs

if TYPE_CHECKING:
    from covid_keras.reporting.examples import Examples
    from covid_keras.training.executions import Execution


def crop_pictures(examples: Examples) -> Pictures:
    """Return figure 3 for the examples (radiograph with lungs and box, crop, network input), with title and caption."""
    preparation = examples.system.preparation(examples.protocol)
    height, width = preparation.size
    rows = enumerate(examples.cohort.table.itertuples())
    cases = [Roi.of(row, preparation, examples.prepared.load(place)) for place, row in rows]
    words = titled("papers.covid_sdnet", "report.md.j2", "crop", margin=100 * preparation.margin)
    return [(*words, roi_figure(cases, [f"input, {height} × {width}"], "Before and after the crop"))]


@dataclass(frozen=True, eq=False)
class Pair:
    """A prepared image, (H, W) uint8, and the outputs of the generators of N and P, (h, w, 3) uint8."""

    original: np.ndarray
    negative: np.ndarray
    positive: np.ndarray
    name: str
    label: str
    predicted: str

    @property
    def difference(self) -> np.ndarray:
        """Return the positive minus the negative version, averaged over channels; float64 (h, w), -255 to 255."""
        return (self.positive.astype(np.int64) - self.negative).mean(axis=-1)


def transformed_pairs(examples: Examples) -> Pictures:
    """Return the figure for examples of FuCiTNet or a system that builds on it, with title and caption."""
    words = titled("papers.covid_sdnet", "report.md.j2", "pairs", execution=_trained(examples).name)
    return [(*words, pair_figure(pairs_of(examples)))]


def pairs_of(examples: Examples) -> list[Pair]:
    """Return each image with its two versions, in the order of the examples.

    Read from the cache of `feed_pairs`; images are transformed only if missing there.
    """
    part = np.full(len(examples.cohort), "test", object)
    views = feed_pairs(examples.protocol, examples.cohort, _trained(examples), part, examples.prepared).prepared
    found = []
    for place, row in enumerate(examples.predictions.itertuples()):
        view = {name: views.load(len(VIEWS) * place + at) for at, name in enumerate(VIEWS)}
        original = examples.prepared.load(place)[..., 0]
        found.append(Pair(original, view["N"], view["P"], row.image_id, row.label, row.predicted))
    return found


def _trained(examples: Examples) -> Execution:
    """Return the execution that trained the generators."""
    return examples.before or examples.execution


@report_style()
def pair_figure(pairs: Sequence[Pair], title: str = "Class-inherent transformations") -> Figure:
    """Draw one row per image: crop, negative version, positive version, positive minus negative."""
    figure, grid = picture_grid(title, [aspect(pair.original) for pair in pairs], 4, words=0.9)
    limit = max(1.0, *(float(np.abs(pair.difference).max()) for pair in pairs))
    scale = Normalize(-limit, limit)
    for (plain, negative, positive, difference), pair in zip(grid, pairs, strict=True):
        right = "correct" if pair.label == pair.predicted else "wrong"
        answer = f"true: {pair.label}, predicted: {pair.predicted}\n({right})"
        show_radiograph(plain, pair.original, None, short_name(pair.name, 20), answer)
        show_radiograph(negative, pair.negative, title="negative, x−")
        show_radiograph(positive, pair.positive, title="positive, x+")
        found = pair.difference
        words = f"{found.min():+.0f} to {found.max():+.0f},\nmean absolute {np.abs(found).mean():.1f}".replace("-", "−")
        show_radiograph(difference, found, None, "x+ minus x−", words, norm=scale, cmap=DIFFERENCE_MAP)
    colour_bar(figure, grid, "x+ minus x− (grey levels)", scale, DIFFERENCE_MAP)
    return figure
