"""Which shipped lung network marked the lungs of a run, and how many of the run's images it was trained on."""

from __future__ import annotations

from covid_keras.data.sources import get_source
from covid_keras.data.splits import read_split
from covid_keras.models.registry import LUNG_NETWORKS, load_registry
from covid_keras.reporting.prose import notes
from covid_keras.reporting.results import Results
from covid_keras.training.lung_split import COLLECTIONS, SPLITS

TEXTS = ("covid_keras.reporting", "report.md")


def lungs_of(results: Results) -> str | None:
    """Return the convention of the shipped network that marked the lungs; None if none did."""
    used = results.facts.get("lungs", {}).get("weights_sha256")
    registry = load_registry()
    return next((lungs for lungs, name in LUNG_NETWORKS.items() if used == registry[name].sha256), None)


def lung_notes(results: Results) -> tuple[tuple[str, str], ...]:
    """Return the caveat about the network that marked the lungs: how many of the run's images it was trained on."""
    lungs = lungs_of(results)
    if lungs is None or not results.frames:
        return ()
    split = read_split(SPLITS[lungs])
    learnt = split.loc[split["split"] == "train", "image_id"]
    images = results.predictions.drop_duplicates("image_id")
    every, known = (frame["source"].value_counts() for frame in (images, images[images["image_id"].isin(learnt)]))
    return notes(
        *TEXTS,
        "lung_network",
        network=LUNG_NETWORKS[lungs],
        collections=[get_source(name).title for name in COLLECTIONS[lungs]],
        counts=[(source, int(count), int(every[source])) for source, count in known.items()],
        phantom=results.phantom,
    )
