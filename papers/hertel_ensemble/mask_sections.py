"""What lung masks alone may tell: which images taught the ResUNet, and how much of each picture the masks leave."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from covid_keras.data.images import read_mask
from covid_keras.data.preparation import Preparation
from covid_keras.evaluation import Measured, bootstrap_mean, summarise
from covid_keras.evaluation.overlap import read_overlap
from covid_keras.reporting.differences import measured_of
from covid_keras.reporting.html import Section, TableEntry
from covid_keras.reporting.results import Results
from covid_keras.reporting.tables import NOTHING, number
from covid_keras.reporting.wording import with_bounds
from papers.hertel_ensemble import stages
from papers.hertel_ensemble.source_sections import SPLITS, collection_words, divided_images
from papers.hertel_ensemble.systems import COVID, NEGATIVE
from papers.hertel_ensemble.tasks import joined, systems_of

CHANCE = 50.0
_RANKED = "share of the mask"


def masks_section(results: Results) -> Section | None:
    """Of the division in three classes: images that taught the ResUNet, and the masks' share of the picture."""
    systems = systems_of(results, "multi")
    if not systems:
        return None
    images, classes = divided_images(results, systems[0]), results.classes_of(systems[0])
    section = Section("What the masks alone may tell")
    said = []
    if folder := (stages.done(results.run) or {}).get(stages.NAME):
        overlap = read_overlap(folder)
        images["taught"] = images["image_id"].isin(overlap.loc[overlap["part"] == "train", "image_id"])
        section.tables.append(
            TableEntry("Images that taught the ResUNet", TAUGHT_CAPTION, taught_table(images, classes))
        )
        said.append(taught_words(images, classes))
    tested = images[images["part"] == "test"]
    if tested["mask_path"].ne("").any():
        tested = tested.assign(share=[mask_share(path) for path in tested["mask_path"]])
        said += _share_words(section, tested, classes)
    section.text = "\n\n".join(said)
    return section if said else None


TAUGHT_CAPTION = (
    "Of the images of each part of the division in three classes, those whose human masks the ResUNet was trained on, "
    "found by their ids: an image that another collection holds under another name is not found."
)
WHY_TAUGHT = (
    "A segmenter marks best what it was taught. Where that is images of one class or collection and not of another, "
    "how well the masks fit goes with the class, and a classifier that is fed the insides of the masks may use it; its "
    "results on such images are those of better masks than new patients get."
)
SHARE_CAPTION = (
    "Mean share of the picture inside the lung mask that the classifiers are fed, percent, with 95 % interval by "
    "patient; test images of the division in three classes."
)
WHY_SHARE = (
    "How much of the picture the lungs fill depends on the crop and the posture, which differ from collection to "
    "collection, and on the disease and the segmenter; masking leaves it as it was."
)


def _share_words(section: Section, tested: pd.DataFrame, classes: Iterable[str]) -> list[str]:
    """Append the table of shares to a section and return its paragraphs; images without a mask file are left out."""
    there = tested[tested["share"].notna()]
    gone = len(tested) - len(there)
    lost = (
        f"The mask files of {gone:,} of the {len(tested):,} test images are gone, and these left out." if gone else ""
    )
    if there.empty:
        return ["How much of the picture the masks leave is not told: " + lost[:1].lower() + lost[1:]]
    frame = share_table(there, classes)
    section.tables.append(TableEntry("How much of the picture the masks leave", SHARE_CAPTION, frame))
    return [" ".join(filter(None, (WHY_SHARE, share_words(share_auc(there)), lost)))]


def groups_of(images: pd.DataFrame, classes: Iterable[str]) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Yield the class, the collection and the rows of each group of `divided_images` that has a part."""
    images = images[images["part"] != ""]
    for name in classes:
        for (label, source), rows in images[images["called"] == name].groupby(["label", "source"], sort=False):
            yield name, collection_words(label, source, name), rows


def taught_table(images: pd.DataFrame, classes: Iterable[str]) -> pd.DataFrame:
    """Return how many images of each part are `taught` (bool), a row a class and collection."""
    rows = []
    for name, collection, group in groups_of(images, classes):
        parts = {part: group.loc[group["part"] == part, "taught"] for part in SPLITS}
        counts = {part: f"{mine.sum():,} of {len(mine):,}" if len(mine) else NOTHING for part, mine in parts.items()}
        rows.append({"class": name, "collection": collection} | counts)
    return pd.DataFrame(rows)


def taught_words(images: pd.DataFrame, classes: Iterable[str]) -> str:
    """Return how many test images of which class and collection taught the ResUNet, and why that matters."""
    some, none = [], []
    for name, collection, group in groups_of(images[images["part"] == "test"], classes):
        title = collection if collection.startswith(name) else f"{name} ({collection})"
        if count := int(group["taught"].sum()):
            some.append(f"{count:,} of {len(group):,} of {title}")
        else:
            none.append(title)
    if not some:
        return "None of the test images, by their ids, taught the ResUNet."
    others = f", and none of {joined(none)}" if none else ""
    return f"Of the test images the ResUNet was itself taught {joined(some)}{others}. {WHY_TAUGHT}"


def mask_share(path: str) -> float:
    """Return the share of the picture inside a mask, 0..1, as the classifiers' masking takes it; NaN for no file."""
    if not Path(path).is_file():
        return float("nan")
    return float((read_mask(path) > Preparation.mask_threshold).mean())


def share_table(images: pd.DataFrame, classes: Iterable[str]) -> pd.DataFrame:
    """Return the mean `share` (0..1) in percent with its interval, a row a class and collection."""
    rows = []
    for name, collection, group in groups_of(images, classes):
        found = bootstrap_mean(100 * group["share"].to_numpy(), group["patient_id"].to_numpy())
        row = {"class": name, "collection": collection, "share of the picture (%)": with_bounds(*found)}
        rows.append(row | {"images": len(group), "patients": group["patient_id"].nunique()})
    return pd.DataFrame(rows)


def share_auc(images: pd.DataFrame) -> Measured | None:
    """Return the AUC of the `share` alone for COVID-19 against all else, percent; None where one of them is missing.

    Parameters
    ----------
    images : DataFrame
        `image_id`, `patient_id`, `called` and `share`, 0..1: the larger, the likelier COVID-19.

    Returns
    -------
    Measured or None
        With its 95 % interval by bootstrap over patients; equal shares count half.
    """
    covid = images["called"].eq(COVID)
    if covid.all() or not covid.any():
        return None
    frame = images[["image_id", "patient_id"]].assign(system=_RANKED, repeat=0, fold=0, split="test", severity="")
    frame["label"] = np.where(covid, COVID, NEGATIVE)
    frame["predicted"] = NEGATIVE  # nothing is decided; the AUC asks for no threshold
    frame[f"score_{NEGATIVE}"], frame[f"score_{COVID}"] = 1 - images["share"], images["share"]
    return measured_of(summarise(frame, positive=COVID))[_RANKED, "auc"]


def share_words(one: Measured | None) -> str:
    """Return what the masks' share alone tells of the class; "" where there is nothing to tell apart."""
    if one is None:
        return ""
    told = f"an AUC of {number(one.mean)} % ({number(one.low)} to {number(one.high)}, by patient; 50 is chance)"
    if one.low <= CHANCE <= one.high:
        verdict = "it is not shown to tell anything"
    else:
        size = "larger" if one.low > CHANCE else "smaller"
        verdict = f"{COVID} goes with the {size} share, and a network can use it without a look at what is inside"
    return f"That share alone has for {COVID} against the rest {told}: {verdict}."
