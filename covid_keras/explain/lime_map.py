"""LIME: which superpixels raise and which lower the probability of a class.

References
----------
.. [1] M. T. Ribeiro et al., "Why Should I Trust You? Explaining the Predictions of Any Classifier", KDD 2016.
.. [2] A. Haghanifar et al., "COVID-CXNet", arXiv 2006.13807, 2020, figure 12 (b): supporting superpixels green,
   opposing ones red. The settings are those of the authors' code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from lime.lime_image import LimeImageExplainer
from skimage.segmentation import quickshift

from covid_keras.common.progress import open_bar

SAMPLES = 1000
SEED = 18
FEATURES = 10
# The package's own default is 10; only the speed depends on it.
BATCH = 32
Predict = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class LimeExplanation:
    """The superpixels of an image and how each moves the probability of one class.

    Attributes
    ----------
    segments : ndarray (H, W) int
        Number of the superpixel of each pixel, 0 to S - 1.
    weights : ndarray (S,) float64
        Coefficient of each superpixel in the local linear model: about how much the probability (0 to 1) falls
        when that superpixel is painted black. Above 0 it supports the class.
    class_index : int
        The class explained.
    probability : float
        What the network gives that class on the whole image.
    fit : float
        Weighted R² of the linear model on the samples; near 0 the weights mean little.
    features : int
        How many superpixels, the heaviest by absolute weight, are drawn.
    """

    segments: np.ndarray
    weights: np.ndarray
    class_index: int
    probability: float
    fit: float
    features: int = FEATURES

    @property
    def heaviest(self) -> np.ndarray:
        """The superpixels that are drawn, heaviest first; those without any weight are left out."""
        order = np.argsort(-np.abs(self.weights), kind="stable")[: self.features]
        return order[self.weights[order] != 0]

    @property
    def signs(self) -> np.ndarray:
        """Where the heaviest superpixels lie: int8 (H, W), 1 supports the class, -1 opposes it, 0 neither."""
        signs = np.zeros(len(self.weights), np.int8)
        signs[self.heaviest] = np.sign(self.weights[self.heaviest])
        return signs[self.segments]


def explain_by_lime(
    predict: Predict,
    image: np.ndarray,
    class_index: int,
    samples: int = SAMPLES,
    seed: int = SEED,
    features: int = FEATURES,
) -> LimeExplanation:
    """Explain one image by LIME [1]_ with the settings of COVID-CXNet [2]_.

    Superpixels by quickshift (kernel 4, distance 200, ratio 0.2); samples in which each is kept or painted black
    at even odds; cosine distance, kernel width 0.25; ridge regression (alpha 1) on all superpixels. The authors
    seed the superpixels alone; here the samples are seeded too: the same call gives the same weights.

    Parameters
    ----------
    predict : callable
        Takes images (n, H, W, 3), float, of the range of `image`, and returns probabilities: (n, classes), or of
        class 1 alone (n,) or (n, 1); class 0 then has the rest to 1.
    image : ndarray (H, W, 3) float, 0..1
        As the network takes it; all three channels are blackened together.
    class_index : int
        The class to explain.
    samples : int
        Number of images that are predicted, the whole image among them.
    seed : int
        Of superpixels and samples.
    features : int
        How many superpixels `LimeExplanation.signs` shows; all are weighted.

    Returns
    -------
    LimeExplanation

    Raises
    ------
    ValueError
        If the image is not (H, W, 3) within 0..1, `predict` returns another shape, there is no such class, or
        fewer than two samples are asked for.
    """
    image = _checked(image, samples)
    segments = _superpixels(image, seed)
    # lime knows no newer generator than RandomState.
    explainer = _Explainer(feature_selection="none", random_state=np.random.RandomState(seed))
    found = explainer.explain_instance(
        image,
        partial(_columns, predict, class_index),
        labels=(class_index,),
        top_labels=None,
        hide_color=0,
        num_samples=samples,
        batch_size=BATCH,
        segmentation_fn=lambda _: segments,
        distance_metric="cosine",
    )
    weights = np.zeros(segments.max() + 1)
    for segment, weight in found.local_exp[class_index]:
        weights[segment] = weight
    return LimeExplanation(segments, weights, class_index, explainer.whole[class_index], float(found.score), features)


def _checked(image: np.ndarray, samples: int) -> np.ndarray:
    image = np.asarray(image, dtype=np.float32)
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"LIME explains one image of the shape (H, W, 3), not {image.shape}")
    if not (image.min() >= 0 and image.max() <= 1):
        raise ValueError("LIME explains images within 0 to 1: superpixels and black depend on that range")
    if samples < 2:
        raise ValueError(f"{samples} samples tell nothing; ask for at least 2")
    return image


def _superpixels(image: np.ndarray, seed: int) -> np.ndarray:
    """Return the superpixels (H, W), numbered 0 to S - 1.

    Not left to lime: the seed that it hands on has another name in scikit-image since 0.21, and is dropped.
    """
    segments = quickshift(image, kernel_size=4, max_dist=200, ratio=0.2, rng=seed)
    return np.unique(segments, return_inverse=True)[1].reshape(image.shape[:2])


def _columns(predict: Predict, class_index: int, images: np.ndarray) -> np.ndarray:
    """Return what `predict` answers with one column per class, whichever of its forms it answers in."""
    found = np.asarray(predict(images), dtype=np.float64)
    if found.ndim not in (1, 2) or len(found) != len(images):
        raise ValueError(f"predict gave the shape {found.shape} for {len(images)} images, not (n,) or (n, classes)")
    if found.ndim == 1 or found.shape[1] == 1:
        found = np.stack([1 - found.ravel(), found.ravel()], axis=1)
    if not 0 <= class_index < found.shape[1]:
        raise ValueError(f"there is no class {class_index} among {found.shape[1]}")
    return found


class _Explainer(LimeImageExplainer):
    """lime's explainer with samples painted at once, under this suite's progress bar: lime's cannot be silenced."""

    whole: np.ndarray

    def data_labels(
        self,
        image: np.ndarray,
        fudged_image: np.ndarray,
        segments: np.ndarray,
        classifier_fn: Predict,
        num_samples: int,
        batch_size: int = BATCH,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return which superpixels each sample keeps, (samples, S) of 0 and 1, and what is predicted of it."""
        count = int(segments.max()) + 1
        # The draws of lime itself, so that a seed gives the samples that it gives there.
        kept = self.random_state.randint(0, 2, num_samples * count).reshape(num_samples, count)
        kept[0] = 1
        predicted = []
        with open_bar(total=num_samples, desc="LIME", unit="sample") as bar:
            for start in range(0, num_samples, batch_size):
                rows = kept[start : start + batch_size]
                shown = rows.astype(bool)[:, segments, None]
                predicted.append(classifier_fn(np.where(shown, image, fudged_image)))
                bar.update(len(rows))
        labels = np.concatenate(predicted)
        self.whole = labels[0]
        return kept, labels
