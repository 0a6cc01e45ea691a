"""Tables of the networks: the U-Nets, VGG16 beside VGG19, and the two accuracies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from covid_keras.evaluation.counts import accuracy, summarise_counts
from covid_keras.evaluation.overlap import summarise_overlap
from covid_keras.reporting.differences import MeasuredOf, PrintedOf, measured_cells, printed_words, with_interval
from covid_keras.reporting.results import Results
from covid_keras.reporting.wording import NOTHING, number
from papers.arias_vgg19.experiments import EXPERIMENTS, PARTS
from papers.arias_vgg19.measures import faulty_accuracy
from papers.arias_vgg19.overlap import PARTS as MASK_PARTS
from papers.arias_vgg19.systems import DEPTHS

# The means in the conclusion, by their rows in `published.yaml`: title, metric, VGG ("": the one chosen on validation).
MEANS = {
    "all experiments: accuracy": ("test accuracy of VGG19", "accuracy", "19"),
    "all experiments: accuracy of the COVID-19 label at 0.5": (
        "accuracy as the authors compute it, network chosen on validation",
        "accuracy_faulty",
        "",
    ),
}


def unet_title(name: str) -> str:
    """Return the name of a U-Net.

    >>> unet_title("unet1")
    'U-Net 1'
    """
    return name.replace("unet", "U-Net ")


def unet_table(tables: Mapping[str, pd.DataFrame], ours: MeasuredOf, paper: PrintedOf) -> pd.DataFrame:
    """Return Dice and IoU, one row per U-Net, part and measure; `tables` has the overlap of each image, by U-Net."""
    rows = []
    for name, table in tables.items():
        for part in MASK_PARTS:
            mine = table[table["part"] == part]
            if mine.empty:
                continue
            found = summarise_overlap(mine)
            for measure, words in (("dice", "Dice"), ("iou", "IoU")):
                row = {"network": unet_title(name), "part": part, "measure": words, "images": found["images"]}
                keys = {"true mean": "mean", "5th percentile": "p5", "worst": "min", "best": "max"}
                row |= {words: number(found[f"{measure}_{key}"], unit="ratio") for words, key in keys.items()}
                key = name, f"{measure}_published_{part}"
                row["authors' function"] = with_interval(ours.get(key), "ratio")
                rows.append(row | {"paper": printed_words(paper.get(key), "ratio")})
    return pd.DataFrame(rows)


def depth_table(
    picked: Mapping[str, Sequence[str]], titles: Mapping[str, str], ours: MeasuredOf, paper: PrintedOf
) -> pd.DataFrame:
    """Return how often each depth was chosen, and the accuracies of both, one row per choice."""
    rows = []
    for name, chosen in picked.items():
        both = {depth: f"{name}{depth}" for depth in DEPTHS}
        row = {"system": titles[name], "chosen, 16 / 19": " / ".join(str(chosen.count(one)) for one in both.values())}
        for words, metric in (("validation", "accuracy_validation"), ("test", "accuracy")):
            row |= {f"{words}, VGG{depth}": with_interval(ours.get((one, metric))) for depth, one in both.items()}
        row |= {f"paper, VGG{depth}": printed_words(paper.get((one, "accuracy"))) for depth, one in both.items()}
        rows.append(row)
    return pd.DataFrame(rows)


def mean_table(results: Results) -> pd.DataFrame:
    """Return the means in the conclusion, over Experiments 1 to 3, and ours, over those tests that were run."""
    rows = []
    for printed, (words, metric, depth) in MEANS.items():
        names = [f"{one}_{part}{depth}" for one in EXPERIMENTS if one != "comparison" for part in PARTS]
        run = [name for name in names if name in results.systems]
        if not run:
            continue
        # Pooled as executions of one system, so that all tests are resampled together by patient.
        frames = [results.predictions_of(name) for name in run]
        pooled = [one.assign(system="all", repeat=one["repeat"] + 1000 * i) for i, one in enumerate(frames)]
        function = {"accuracy": accuracy, "accuracy_faulty": faulty_accuracy}[metric]
        (found,) = summarise_counts(pd.concat(pooled, ignore_index=True), {metric: function})
        cell = next(one for one in results.published if one.row == printed)
        row = {"mean of": words, "tests of ours": f"{len(run)} of {len(names)}", "ours (%)": with_interval(found)}
        rows.append(row | {"paper (%)": f"{cell.mean:g}{'†' if cell.doubt else ''}"})
    return pd.DataFrame(rows)


def faulty_table(titles: Mapping[str, str], ours: MeasuredOf, paper: PrintedOf) -> pd.DataFrame:
    """Return one row per system: accuracy, the authors' accuracy, the difference, and the printed number."""
    columns, rows = {"accuracy": "accuracy", "accuracy_faulty": "as the authors compute it"}, []
    for name, title in titles.items():
        true, faulty = (ours.get((name, metric)) for metric in columns)
        row = {"system": title} | measured_cells(ours, name, columns)
        row["change (points)"] = number(faulty.mean - true.mean, signed=True) if true and faulty else NOTHING
        rows.append(row | {"paper, as the authors compute it": printed_words(paper.get((name, "accuracy_faulty")))})
    return pd.DataFrame(rows)
