"""LIME: the superpixels that raise or lower the probability of a class.

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
# Affects speed only; lime's default is 10.
BATCH = 32
Predict = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class LimeExplanation:
    """The superpixels of an image and their effect on the probability of one class.

    Attributes
    ----------
    segments : ndarray (H, W) int
        Superpixel of each pixel, 0 to S - 1.
    weights : ndarray (S,) float64
        Coefficient of each superpixel in the local linear model: approximately the drop in probability (0 to 1) when
        the superpixel is blackened. Positive weights support the class.
    class_index : int
        The class explained.
    probability : float
        The network's probability of that class on the whole image.
    fit : float
        Weighted R² of the linear model on the samples; near 0 the weights mean little.
    features : int
        Number of superpixels to draw, by absolute weight.
    """

    segments: np.ndarray
    weights: np.ndarray
    class_index: int
    probability: float
    fit: float
    features: int = FEATURES

    @property
    def heaviest(self) -> np.ndarray:
        """The superpixels to draw, heaviest first, without those of weight 0."""
        order = np.argsort(-np.abs(self.weights), kind="stable")[: self.features]
        return order[self.weights[order] != 0]

    @property
    def signs(self) -> np.ndarray:
        """Map of the heaviest superpixels: int8 (H, W), 1 supports the class, -1 opposes it, 0 neither."""
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

    Superpixels by quickshift (kernel 4, distance 200, ratio 0.2); samples in which each is kept or blackened with
    probability 0.5; cosine distance, kernel width 0.25; ridge regression (alpha 1) on all superpixels. The authors seed
    only the superpixels; here the samples are seeded too, so results are reproducible.

    Parameters
    ----------
    predict : callable
        Takes images (n, H, W, 3), float, in the range of `image`. Returns probabilities (n, classes), or those of
        class 1 only, (n,) or (n, 1).
    image : ndarray (H, W, 3) float, 0..1
        As the network takes it; all three channels are blackened together.
    class_index : int
        The class to explain.
    samples : int
        Number of images to predict, including the whole image.
    seed : int
        Seed of superpixels and samples.
    features : int
        Number of superpixels in `LimeExplanation.signs`; all are weighted.

    Returns
    -------
    LimeExplanation

    Raises
    ------
    ValueError
        If the image is not (H, W, 3) within 0..1, `predict` returns an invalid shape, the class does not exist, or
        `samples` is below 2.
    """
    image = _checked(image, samples)
    segments = _superpixels(image, seed)
    # lime requires RandomState.
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
        raise ValueError(f"image must have the shape (H, W, 3) (got {image.shape})")
    if not (image.min() >= 0 and image.max() <= 1):
        raise ValueError("image must be within 0 to 1")
    if samples < 2:
        raise ValueError(f"samples must be at least 2 (got {samples})")
    return image


def _superpixels(image: np.ndarray, seed: int) -> np.ndarray:
    """Return the superpixels (H, W), numbered 0 to S - 1.

    lime itself passes the seed under a name that scikit-image dropped in 0.21.
    """
    segments = quickshift(image, kernel_size=4, max_dist=200, ratio=0.2, rng=seed)
    return np.unique(segments, return_inverse=True)[1].reshape(image.shape[:2])


def _columns(predict: Predict, class_index: int, images: np.ndarray) -> np.ndarray:
    """Return the output of `predict` with one column per class."""
    found = np.asarray(predict(images), dtype=np.float64)
    if found.ndim not in (1, 2) or len(found) != len(images):
        raise ValueError(f"predict must return (n,) or (n, classes) (got {found.shape} for {len(images)} images)")
    if found.ndim == 1 or found.shape[1] == 1:
        found = np.stack([1 - found.ravel(), found.ravel()], axis=1)
    if not 0 <= class_index < found.shape[1]:
        raise ValueError(f"class_index must be in 0..{found.shape[1] - 1} (got {class_index})")
    return found


class _Explainer(LimeImageExplainer):
    """lime's explainer with vectorised samples and this suite's progress bar (lime's cannot be silenced)."""

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
        """Return the superpixels kept per sample, (samples, S) of 0 and 1, and the predictions."""
        count = int(segments.max()) + 1
        # The same draws as in lime, so that a seed gives the same samples.
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
