"""The paper's figures of single radiographs: enhancement, lung box, LIME beside Grad-CAM, concealed text.

The functions `*_pictures` return (title, caption, figure) for examples; `papers.covid_cxnet.report` assigns them to
systems.

References
----------
.. [1] A. Haghanifar et al., "COVID-CXNet", arXiv 2006.13807, 2020, figures 2 to 4, 12, 17 and 18.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from covid_keras.data.images import read_image, write_image
from covid_keras.data.preparation import Preparation, crop_box
from covid_keras.data.prepared_images import prepare_image
from covid_keras.explain import authors_grad_cam, conceal, explain_by_lime, find_text, grad_cam
from covid_keras.explain.lime_map import LimeExplanation
from covid_keras.preprocessing import resize_truncated
from covid_keras.reporting.crops import SIDE, Roi, fit, read_lungs, roi_figure
from covid_keras.reporting.explanations import ConcealedCase, HeatCase, concealment_figure, heat_grid, lime_figure
from covid_keras.reporting.prose import titled
from covid_keras.reporting.results import Pictures
from papers.covid_cxnet.cohorts import COVID
from papers.covid_cxnet.enhancements import beasf_figure, enhancement_figure
from papers.covid_cxnet.settings import options_of

if TYPE_CHECKING:
    import keras

    from covid_keras.reporting.examples import Examples

LIME_EXAMPLES = 2
CONCEALED_EXAMPLES = 4
_said = partial(titled, "papers.covid_cxnet", "report.md.j2")
_CHANNELS = {"beasf": "BEASF", "clahe": "CLAHE", "original": "as cropped"}


@dataclass(frozen=True, eq=False)
class Asked:
    """An example image, and the flat network that explains the predicted class.

    Attributes
    ----------
    name, label, predicted : str
        Image id, true class, predicted class.
    image : ndarray (H, W) uint8
        Cropped as for the network, in its own aspect ratio.
    lungs : ndarray (H, W) bool or None
        Lung mask in the geometry of `image`.
    fed : ndarray (h, w, C) float32
        The network's input, 0..1.
    network : keras.Model
    index : int
        Index of the predicted class among the network's outputs.
    """

    name: str
    label: str
    predicted: str
    image: np.ndarray
    lungs: np.ndarray | None
    fed: np.ndarray
    network: keras.Model
    index: int

    @property
    def probability(self) -> float:
        """The network's probability of the class."""
        from covid_keras.explain.network import class_scores

        outputs = self.network.predict_on_batch(self.fed[None])
        return float(class_scores(np.asarray(outputs), np.array([self.index]))[0])


# --- enhancement (figures 2 and 3)


def enhancement_pictures(examples: Examples) -> Pictures:
    """Return figures 2 and 3 for the first example: HE, AHE and CLAHE, and BEASF for several gammas."""
    options, row = options_of(examples.protocol), examples.cohort.table.iloc[0]
    image = resize_truncated(read_image(row["path"]), options.frame, overflow=options.overflow)
    told = {"image": row["image_id"], "height": options.frame[0], "width": options.frame[1]}
    return [
        (*_said("enhancement", **told), enhancement_figure(image)),
        (*_said("beasf", **told), beasf_figure(image)),
    ]


# --- the box of the lungs (figures 4 and 18)


def roi_pictures(examples: Examples) -> Pictures:
    """Return figure 4 for the examples: radiograph with lungs and box, crop, input channels.

    Empty for networks on whole radiographs.
    """
    preparation = examples.system.preparation(examples.protocol)
    if preparation.crop is None:
        return []
    rows = enumerate(examples.cohort.table.itertuples())
    figure = roi_figure(
        [Roi.of(row, preparation, examples.prepared.load(place)) for place, row in rows],
        [f"channel {number}: {_CHANNELS[name]}" for number, name in enumerate(preparation.stack_order, 1)],
    )
    return [(*_said("box"), figure)]


# --- explanations (figures 12 and 17)


def explanation_pictures(examples: Examples) -> Pictures:
    """Return LIME, the authors' Grad-CAM and concealed text for up to two examples.

    COVID-19 images come first. Text is not concealed for networks whose images are matched to a template's histogram,
    since the template is not known here.
    """
    asked = list(ask(examples))
    first = sorted(asked, key=lambda one: one.label != COVID)[:LIME_EXAMPLES]
    pictures = _beside_grad_cam(first, options_of(examples.protocol).lime_samples)
    if examples.system.template(examples.execution) is None:
        pictures += _without_text(asked, examples)
    return pictures


def _beside_grad_cam(asked: Sequence[Asked], samples: int) -> Pictures:
    heat = heat_of(grad_cam, asked)
    authors = heat_of(authors_grad_cam, asked)
    cases = [
        HeatCase(one.image, map_, f"Grad-CAM, {one.predicted}", one.lungs, one.name, _lime(one, samples))
        for one, map_ in zip(asked, heat, strict=True)
    ]
    variants = [
        dataclasses.replace(case, heat=map_, title=f"{how}, {one.predicted}")
        for case, one, *maps in zip(cases, asked, heat, authors, strict=True)
        for how, map_ in zip(("Grad-CAM", "as the authors"), maps, strict=True)
    ]
    both = heat_grid(variants, "Two ways to draw the same evidence", columns=2)
    return [(*_said("lime", samples=samples), lime_figure(cases)), (*_said("authors"), both)]


def _without_text(asked: Sequence[Asked], examples: Examples) -> Pictures:
    preparation, channels = examples.system.preparation(examples.protocol), examples.system.channels
    pairs = []
    for one, row in zip(asked, examples.cohort.table.itertuples(), strict=True):
        if len(pairs) < CONCEALED_EXAMPLES and (found := _concealed(one, row, preparation, channels)):
            pairs.append((one, *found))
    if not pairs:
        return []
    heat = heat_of(grad_cam, [one for old, new, _ in pairs for one in (old, new)])
    cases = [
        ConcealedCase(old.image, new.image, *maps, text, old.probability, new.probability, old.name)
        for (old, new, text), maps in zip(pairs, zip(heat[::2], heat[1::2], strict=True), strict=True)
    ]
    return [(*_said("concealed"), concealment_figure(cases))]


def _concealed(one: Asked, row, preparation: Preparation, channels: int) -> tuple[Asked, np.ndarray] | None:
    """Return the example without its text and the text's mask, (H, W) bool; None if no text is found."""
    image, lungs = read_lungs(row, preparation)
    text = find_text(image, lungs)
    window = _window(lungs, preparation)
    if not text[window].any():
        return None
    without = conceal(image, text)
    with tempfile.TemporaryDirectory() as folder:
        path = write_image(Path(folder) / "concealed.png", without)
        fed = prepare_image(path, lungs, preparation)
    size = one.image.shape
    new = dataclasses.replace(one, image=fit(without[window], size), fed=_scaled(fed, channels))
    return new, fit(text[window], size)


# --- what they share


def ask(examples: Examples) -> Iterator[Asked]:
    """Yield the examples, each with the network that explains its predicted class."""
    system, model = examples.system, examples.network
    preparation = system.preparation(examples.protocol)
    rows = zip(examples.predictions.itertuples(), examples.cohort.table.itertuples(), strict=True)
    for place, (row, files) in enumerate(rows):
        image, lungs = read_lungs(files, preparation)
        window = _window(lungs, preparation)
        size = _size_of_view(image[window].shape, preparation.size)
        fed = _scaled(examples.prepared.load(place), system.channels)
        network, images, index = system.evidence(model, fed[None, None], row.predicted, examples.execution.classes)
        picture, outline = fit(image[window], size), None if lungs is None else fit(lungs[window], size)
        yield Asked(row.image_id, row.label, row.predicted, picture, outline, images[0], network, index)


def _window(lungs: np.ndarray | None, preparation: Preparation) -> tuple[slice, slice]:
    """Return the part of an image that is the network's input."""
    return crop_box(lungs, preparation).slices if preparation.crop else (slice(None), slice(None))


def _size_of_view(shape: tuple[int, ...], network: tuple[int, int]) -> tuple[int, int]:
    """Return the size for drawing an image: its aspect ratio, no side below the network's, to keep all superpixels."""
    scale = max(SIDE / max(shape), *(side / own for side, own in zip(network, shape, strict=True)))
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def _scaled(images: np.ndarray, channels: int) -> np.ndarray:
    """Return prepared pixels as network input, float32 0..1, with grey repeated over the channels."""
    return np.repeat(images, channels // images.shape[-1], axis=-1).astype(np.float32) / 255


def heat_of(explain: Callable[..., np.ndarray], asked: Sequence[Asked]) -> list[np.ndarray]:
    """Return one map per example in the size of its image; `explain` copies a network, so call it once per network."""
    maps: dict[int, np.ndarray] = {}
    for network in {id(one.network): one.network for one in asked}.values():
        places = [place for place, one in enumerate(asked) if one.network is network]
        found = explain(network, np.stack([asked[at].fed for at in places]), [asked[at].index for at in places])
        maps.update(zip(places, found, strict=True))
    return [
        np.clip(cv2.resize(maps[place], one.image.shape[::-1], interpolation=cv2.INTER_LINEAR), 0, 1)
        for place, one in enumerate(asked)
    ]


def _lime(one: Asked, samples: int) -> LimeExplanation:
    """Return LIME's explanation in the geometry of the image."""
    channels = one.fed.shape[-1]
    found = explain_by_lime(
        lambda images: one.network.predict_on_batch(images[..., :channels].astype(np.float32)),
        np.repeat(one.fed, 3 // channels, axis=-1),
        one.index,
        samples,
    )
    return dataclasses.replace(found, segments=fit(found.segments, one.image.shape))
