"""Dice and IoU of the segmenters, and the ResUNet compared with the shipped U-Net."""

from __future__ import annotations

from itertools import product

import pandas as pd

from covid_keras.evaluation import Difference
from covid_keras.reporting.differences import MeasuredOf, PrintedOf, difference_words, printed_words, with_interval
from covid_keras.reporting.wording import number
from papers.hertel_ensemble import stages

SEGMENTER_TITLES = {stages.NAME: "ResUNet", stages.UNET: "U-Net"}


def segmenter_table(ours: MeasuredOf, paper: PrintedOf) -> pd.DataFrame:
    """Return Dice and IoU of ResUNet and U-Net, ours and the paper's, one row per network, part and measure."""
    measures = (("dice", "Dice"), ("iou", "IoU"))
    rows = []
    for name, part, (measure, words) in product(stages.SEGMENTERS.names, ("train", "validation"), measures):
        key = name, f"{measure}_{part}"
        if one := ours.get(key):
            row = {"network": SEGMENTER_TITLES[name], "part": part, "measure": words, "ours": with_interval(one)}
            row |= {"images": one.n_images, "patients": one.n_patients}
            rows.append(row | {"paper": printed_words(paper.get(key))})
    return pd.DataFrame(rows)


def segmenter_difference(frame: pd.DataFrame) -> tuple[pd.DataFrame, Difference]:
    """Return the ResUNet minus the shipped U-Net, as a one-row table and as a difference in points of Dice.

    `frame` is as `papers.hertel_ensemble.stages.compared_masks` returns it, not empty.
    """
    found = stages.paired_difference(frame)
    means = [100 * frame[name].mean() for name in ("dice", "dice_shipped")]
    less = Difference("dice", *means, *(100 * found[name] for name in ("mean", "low", "high")), found["patients"])
    row = {
        "ResUNet": number(less.a),
        "shipped U-Net": number(less.b),
        "difference (points)": difference_words(less),
        "wins / losses / ties": " / ".join(str(found[name]) for name in ("wins", "losses", "ties")),
        "images": found["images"],
        "patients": less.n_patients,
    }
    return pd.DataFrame([row]), less
