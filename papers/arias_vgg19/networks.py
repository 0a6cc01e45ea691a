"""The networks of the systems, VGG16 and VGG19 with standardised input, and the answers of the view filter."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.common.tables import read_written, write_table
from covid_keras.evaluation.decisions import is_positive
from covid_keras.paper.execution import Execution
from covid_keras.paper.initial_weights import check_initial_weights
from covid_keras.paper.inputs import Inputs
from covid_keras.paper.protocol import Protocol
from papers.arias_vgg19.settings import options_of, segmenter_settings

if TYPE_CHECKING:
    import keras


FRONTAL_CLASS, LATERAL_CLASS = VIEWS = ("frontal", "lateral")
VERDICTS = "verdicts.csv"
HEAT_LAYER = "block5_conv"  # the last of them, as in the authors' code
_BATCH = 64


def vgg(depth: int) -> Callable[[Protocol, tuple[str, ...]], keras.Model]:
    """Return the builder of VGG16 or VGG19 for `covid_keras.paper.paper.System`."""

    def build(protocol: Protocol, classes: tuple[str, ...]) -> keras.Model:
        from covid_keras.models import build_vgg

        options = options_of(protocol)
        return build_vgg(
            depth,
            (*protocol.size, 1),
            len(classes),
            weights=protocol.files.get(f"vgg{depth}", protocol.weights),
            width=options.width,
            pool5=options.pool5,
            kernel_bug=options.kernel_bug and depth == 16,
            channels=options.channels,
            standardise=options.standardise,
        )

    return build


def adapt(model: keras.Model, inputs: Inputs, rows: np.ndarray) -> None:
    """Fit mean and std of equation 2 to the training part."""
    chunks = (rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH))
    from covid_keras.models.vgg import STANDARDISE

    model.get_layer(STANDARDISE).adapt(inputs.prepared.batch(chunk).astype(np.float32) for chunk in chunks)


def channels_unread(protocol: Protocol) -> tuple[str, str] | None:
    """Return reason and remedy if no kernel for colours is converted to grey, else None."""
    if protocol.weights != "none" or protocol.files:
        return None
    return "random initial weights are not converted to grey", "Give --weights imagenet"


def kernel_bug_unread(protocol: Protocol) -> tuple[str, str] | None:
    """Return reason and remedy if no kernel of VGG16 is converted to grey, else None."""
    if all(name.endswith("19") for name in protocol.systems):
        return "every network of this run is VGG19", "Name a VGG16 in systems"
    return channels_unread(protocol)


def threshold_unread(protocol: Protocol) -> tuple[str, str] | None:
    """Return reason and remedy if none of the paper's U-Nets is trained, else None."""
    return None if options_of(protocol).segmenters else ("no U-Net is trained", "Name one in options.segmenters")


def view_unread(protocol: Protocol) -> tuple[str, str] | None:
    """Return reason and remedy if no system of the run is the view filter or builds on it, else None."""
    return None if "view" in protocol.systems else ("no system of this run uses the view filter", "Omit it")


def check(protocol: Protocol) -> None:
    """Raise `UserError` for settings that exclude each other."""
    options = options_of(protocol)
    segmenter_settings(protocol)
    check_initial_weights(protocol, ("vgg16", "vgg19"), "VGG16 and of VGG19", options.width)
    if min(protocol.size) < (128 if options.pool5 == 8 else 32):
        raise UserError(
            f"size {protocol.size}", f"is too small for five poolings, the last of {options.pool5}", "Enlarge it"
        )


def frontal(view: Execution) -> np.ndarray:
    """Return which images of the cohort the view filter of a fold calls frontal, bool (n,).

    The filter predicts each image once; its answers are cached beside its predictions.
    """
    path, ids = view.folder / VERDICTS, view.cohort.table["image_id"]
    network = view.details["predictions_sha256"][:12]  # invalidates the cache if the filter is trained again
    if path.is_file():
        with contextlib.suppress(UserError):  # a damaged file is written again
            said = read_written(path, "", ["image_id", "filter"], ["frontal"], dtype={"image_id": str, "filter": str})
            if list(said["image_id"]) == list(ids) and set(said["filter"]) == {network}:
                return is_positive(said["frontal"].to_numpy(np.float64))
    scores = _frontal_scores(view)
    write_table(path, pd.DataFrame({"image_id": ids, "frontal": scores, "filter": network}), "%.9g")
    return is_positive(scores)


def _frontal_scores(view: Execution) -> np.ndarray:
    """Return the filter's probability of "frontal" for every image of the cohort, float64 (n,)."""
    from covid_keras.data.pipeline import make_dataset

    prepared = view.prepared
    batches = make_dataset(prepared, np.arange(len(prepared)), batch_size=_BATCH, channels=prepared.shape[-1])
    scores = view.network.predict(batches, verbose=0)
    return scores[:, VIEWS.index(FRONTAL_CLASS)].astype(np.float64)
