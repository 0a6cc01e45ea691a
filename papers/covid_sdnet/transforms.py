"""The transformed pairs x+ and x- of every image, cached per execution: the inputs of the twins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import cv2
import numpy as np

from covid_keras.common.files import fingerprint, sha256_of
from covid_keras.common.progress import progress
from covid_keras.data.cohort import Cohort
from covid_keras.data.prepared_images import PreparedImages
from covid_keras.data.store import Store
from covid_keras.paper.execution import Execution
from covid_keras.paper.inputs import Inputs
from covid_keras.paper.protocol import Protocol
from papers.covid_sdnet.fusion import BINARY, FOUR, relabel

if TYPE_CHECKING:
    import keras

# Increase it whenever the same network gives other pixels than before.
ALGORITHM = 1
BATCH = 16
# The generators of the two views of an image, in the order that the fusion takes them: x+, x-.
VIEWS = ("P", "N")
_loaded: dict[str, keras.Model] = {}


def load_cit(protocol: Protocol, before: Execution) -> keras.Model:
    """Return the transformation network of a FuCiTNet execution, for inference; the last one is cached."""
    import keras

    from papers.covid_sdnet.networks import build_cit

    key = fingerprint([sha256_of(before.weights), keras.config.dtype_policy().name])
    if key not in _loaded:
        network = build_cit(protocol.without_weights(), before.classes)
        network.load_weights(before.weights)
        _loaded.clear()
        _loaded[key] = network
    return _loaded[key]


def feed_pairs(
    protocol: Protocol, cohort: Cohort, before: Execution, part: np.ndarray, prepared: PreparedImages
) -> Inputs:
    """Return the four-class task: each image of the experiment as x+ and x-, relabelled by true class and generator.

    The pairs are kept among the prepared images under a key of the network's weights and of the image: neither a
    resumed training nor a report transforms anything twice. Values are clipped to 0..1 before they become grey levels.

    Parameters
    ----------
    protocol : Protocol
    cohort : Cohort
        Of the images in any part, those of FuCiTNet's first class are labelled "N", those of its second one "P".
    before : Execution
        Of FuCiTNet on the same fold; its generators were fitted to this fold's training part only.
    part : ndarray (n,) of str
    prepared : PreparedImages
        The images, prepared for FuCiTNet.
    """
    height, width = protocol.size
    settings = {"algorithm": ALGORITHM, "weights": sha256_of(before.weights), "size": [height, width]}
    rows, shape = np.flatnonzero(part != ""), (height, width, 3)
    keys = [[fingerprint([prepared.keys[row], view, settings]) for view in VIEWS] for row in rows]
    store = Store(prepared.folder)
    todo = [i for i, pair in enumerate(keys) if any(store.find(key) is None for key in pair)]
    if todo:
        network = load_cit(protocol, before)
        pairs = _transform(network, prepared, rows[todo], (height, width))
        for i, pair in zip(todo, progress(pairs, "transforming images", len(todo)), strict=True):
            for key, pixels in zip(keys[i], pair, strict=True):
                store.put(key, pixels)
    labels = cohort.table["label"].to_numpy()[rows]
    four = np.stack([relabel(labels, np.full(len(rows), view)) for view in VIEWS], axis=1).ravel()
    index = {name: number for number, name in enumerate(FOUR)}
    names = tuple(f"{prepared.image_ids[row]}#{view}" for row in rows for view in VIEWS)
    pairs = PreparedImages(prepared.folder, tuple(key for pair in keys for key in pair), names, shape)
    return Inputs(pairs, np.array([index[name] for name in four]), np.repeat(rows, len(VIEWS)), len(FOUR), own=True)


def _transform(
    network: keras.Model, prepared: PreparedImages, rows: np.ndarray, size: tuple[int, int]
) -> Iterator[list[np.ndarray]]:
    """Yield each image's two views as uint8 (H, W, 3)."""
    for start in range(0, len(rows), BATCH):
        images = np.repeat(prepared.batch(rows[start : start + BATCH]), 3, axis=-1).astype(np.float32) / 255
        views = [np.asarray(network.transform(images, BINARY.index(view))) for view in VIEWS]
        for pair in zip(*views, strict=True):
            yield [as_pixels(one, size) for one in pair]


def as_pixels(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a transformed image (H, W, 3) float32 in 0..1 as uint8 of `size` (height, width)."""
    if image.shape[:2] != tuple(size):
        image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    return np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)


def evidence_pairs(model: keras.Model, inputs: np.ndarray, name: str) -> tuple[keras.Model, np.ndarray, int]:
    """Return the twins' evidence for "P" or "N": the output P+ on x+, or N- on x-."""
    return model, inputs[:, VIEWS.index(name)], FOUR.index(str(relabel(name, name)))
