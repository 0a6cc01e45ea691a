"""Display names of experiments, controls and parts, and the systems chosen on validation."""

from __future__ import annotations

from collections.abc import Collection

from covid_keras.reporting.results import Results
from papers.arias_vgg19.experiments import CONTROLS, EXPERIMENTS, PARTS


def chosen_systems(systems: Collection[str]) -> list[str]:
    """Return the COVID-19 systems that choose between VGG16 and VGG19 on validation, in the paper's order."""
    return [name for one in EXPERIMENTS for part in PARTS if (name := f"{one}_{part}") in systems]


def title_of(name: str, present: Collection[str] = ()) -> str:
    """Return the name of a control, or that of an experiment with those of its negatives that are among `present`.

    >>> title_of("exp3", ["normal, elsewhere", "COVID-19, PA"])
    'Experiment 3 (against normal, elsewhere)'
    """
    if name in CONTROLS:
        return CONTROLS[name][0]
    title, _, negatives = EXPERIMENTS[name]
    against = "; ".join(label for label in negatives if label in present)
    return f"{title} (against {against})" if against else title


def labels_of(results: Results) -> list[str]:
    """Return the labels in a run's cohort."""
    return list(results.run.cohort.table["label"].unique())


def part_title(part: str) -> str:
    """Return the name of a part in legends and tables.

    >>> part_title("e")
    'e, lungs removed'
    """
    return f"{part}, {PARTS[part]}"
