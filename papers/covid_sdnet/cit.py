"""The class-inherent transformation network: one generator per class and a classifier, trained together.

Each generator learns to keep an image recognisable (mean squared error, perceptual distance) while making it easier
to classify as its class; the classifier learns on the outputs of all generators. Where paper and authors' code
(FuCiTNet) differ or the paper is silent, this follows the code, except that

- all gradients of a batch belong to one state of the networks: the code updates the classifier before the generators'
  gradients pass through it;
- the transforms are not computed again for logging: moving statistics are updated once per batch, not twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from covid_keras.common.errors import UserError
from covid_keras.models.backbones import backbone_weights
from covid_keras.models.weights import load_weights
from papers.covid_sdnet.generator import build_generator

# Weights of the cross-entropy that the authors' code searches.
LAMBDA_GRID = (1.0, 0.5, 0.1, 0.075, 0.05, 0.025, 0.01, 0.0075, 0.005, 0.0025, 0.001, 0.00075, 0.0005)
# The paper's two classes, in the alphabetical order of the authors' folders.
CLASSES = ("N", "P")
# PyTorch's default, as in the authors' code; Keras' is 1e-7.
_ADAM_EPSILON = 1e-8


@dataclass(frozen=True)
class CiTSettings:
    """Settings of a class-inherent transformation network.

    Attributes
    ----------
    lambda_ : float
        Weight of a generator's cross-entropy (equation 1); see LAMBDA_GRID.
    perceptual : float
        Weight of the perceptual distance (equation 1).
    total_variation : float
        Weight of the total variation: absent from the paper, 2e-8 in the authors' code.
    generator_rate, generator_decay : float
        Adam's learning rate, and the L2 penalty's factor in the gradient, of all variables of a generator.
    classifier_rate, classifier_step, classifier_gamma : float, int, float
        Adam's learning rate of the classifier, multiplied by gamma each `step` epochs (see `classifier_rate`).
    filters : int
        Channels inside the generators.

    Raises
    ------
    UserError
        If a value is out of range.
    """

    lambda_: float = 0.00075
    perceptual: float = 0.006
    total_variation: float = 0.0
    generator_rate: float = 1e-4
    generator_decay: float = 1e-4
    classifier_rate: float = 1e-3
    classifier_step: int = 5
    classifier_gamma: float = 0.1
    filters: int = 64

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(field.default, int):
                good, wanted = value >= 1 and value == int(value), "a whole number above 0"
            elif field.name in ("generator_rate", "classifier_rate", "classifier_gamma"):
                good, wanted = value > 0, "above 0"
            else:
                good, wanted = value >= 0, "at least 0"
            if not (good and math.isfinite(value)):
                raise UserError(field.name, f"is {value}", f"It must be {wanted}")


def classifier_rate(settings: CiTSettings, epoch: int) -> float:
    """Return the classifier's learning rate in an epoch, counted from 0.

    The authors' schedule steps at the start of an epoch, so the first period is one epoch shorter: with a step of 5,
    four epochs at the first rate, then five at each following.
    """
    return settings.classifier_rate * settings.classifier_gamma ** ((epoch + 1) // settings.classifier_step)


def rate_callback(settings: CiTSettings) -> keras.callbacks.Callback:
    """Return a callback that sets the classifier's rate from the epoch only, so that a resumed training agrees."""
    return keras.callbacks.LearningRateScheduler(lambda epoch, _: classifier_rate(settings, epoch))


def build_perceptual(weights: str | Path = "imagenet", size: int | tuple[int, int] | None = None) -> keras.Model:
    """Build the network of the perceptual distance: VGG-16 up to its fifth pooling, frozen.

    Parameters
    ----------
    weights : {"imagenet", "none"} or path
        Those of keras.applications (downloaded once), random, or a file in the layout of its `notop` file.
    size : int or (height, width), optional
        Of the images, at least 32; any if not given.

    Returns
    -------
    keras.Model
        Input float32 (batch, height, width, 3) in 0..1, without VGG's own normalisation, as in the authors' code;
        output (batch, height // 32, width // 32, 512), `block5_pool`.

    Raises
    ------
    UserError
        If ImageNet weights cannot be downloaded or the file does not fit.

    Notes
    -----
    The authors' weights were trained on images scaled to unit deviation, those of keras.applications on 0..255 less
    the mean: fed 0..1, the features of either are not what they were trained for, and a weight of the distance does
    not mean the same strength with both.
    """
    height, width = size if isinstance(size, tuple) else (size, size)
    base = backbone_weights(
        "VGG16",
        lambda given: keras.applications.VGG16(include_top=False, weights=given, input_shape=(height, width, 3)),
        weights,
    )
    if weights not in ("imagenet", "none"):
        load_weights(base, weights)
    base.trainable = False
    return base


def build_cit(
    classifier: keras.Model,
    settings: CiTSettings,
    size: int | tuple[int, int] | None = None,
    perceptual: keras.Model | None = None,
    class_names: Sequence[str] = CLASSES,
) -> CiTNetwork:
    """Build the network with a new generator per class (see CiTNetwork)."""
    generators = [build_generator(size, settings.filters, name=f"generator_{name}") for name in class_names]
    return CiTNetwork(generators, classifier, perceptual, class_names)


@dataclass(frozen=True)
class _Aside:
    """Holds a network outside Keras' tracking, so that it is neither trained nor saved."""

    model: keras.Model


class CiTNetwork(keras.Model):
    """Generators G_k and classifier D, trained together by `fit` on (images, one-hot labels).

    Images are float32 (batch, height, width, 3) in 0..1, labels (batch, K). A training step

    1. transforms the batch by every generator, in training mode;
    2. classifies all versions at once, ordered image by image and within an image by generator;
    3. takes loss_D = cross-entropy against the original labels, weighted by class (sum of weighted / sum of weights),
       and CE_k = the same over all versions of those images whose label is k (0 if there are none);
    4. takes all gradients, each generator's of MSE + perceptual * distance + lambda * CE_k + L2 (equation 1), where
       MSE and distance are means over all images, whatever their label;
    5. updates the classifier, then the generators.

    Weights cancel in CE_k, all of whose images have the same label, and loss_D is the mean of the CE_k weighted by
    class weight times count: K backward passes through the classifier serve all K + 1 losses.

    Parameters
    ----------
    generators : sequence of keras.Model
        One per class, in class order; images to images of the same shape, built.
    classifier : keras.Model
        Images to logits (batch, K), built. Only its trainable variables are trained.
    perceptual : keras.Model, optional
        Images to features (see `build_perceptual`); used frozen, in inference mode, and not saved.
    class_names : sequence of str
        For the metrics' names: loss, accuracy, and mse_NAME, ce_NAME for each generator.
    name : str
        Name of the model.

    Raises
    ------
    ValueError
        If the numbers of generators, names and the classifier's outputs differ.

    References
    ----------
    S. Tabik et al., "COVIDGR dataset and COVID-SDNet methodology for predicting COVID-19 based on chest X-ray
    images", IEEE JBHI 24(12), 2020, section IV-2. M. Rey-Area et al., "FuCiTNet: Improving the generalization of
    deep learning networks by the fusion of learned class-inherent transformations", Information Fusion 63, 2020.
    """

    def __init__(
        self,
        generators: Sequence[keras.Model],
        classifier: keras.Model,
        perceptual: keras.Model | None = None,
        class_names: Sequence[str] = CLASSES,
        name: str = "cit",
    ) -> None:
        super().__init__(name=name)
        if not len(generators) == len(class_names) == classifier.output_shape[-1]:
            raise ValueError(
                f"{len(generators)} generators, {len(class_names)} names and a classifier of "
                f"{classifier.output_shape[-1]} outputs do not agree"
            )
        self.generators, self.classifier = list(generators), classifier
        self.perceptual = None if perceptual is None else _Aside(perceptual)
        self.class_names = tuple(class_names)
        self.settings = CiTSettings()
        self.class_weights = (1.0,) * len(class_names)
        # The generators' optimisers, whose state belongs to a training beside that of `optimizer`.
        self.extra_optimizers: list[keras.optimizers.Optimizer] = []
        self.loss_metric, self.accuracy_metric = keras.metrics.Mean("loss"), keras.metrics.Mean("accuracy")
        self.mse_metrics = [keras.metrics.Mean(f"mse_{name}") for name in class_names]
        self.ce_metrics = [keras.metrics.Mean(f"ce_{name}") for name in class_names]
        # All variables exist: the parts are built.
        self.built = True

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The metrics that `fit` reports and resets each epoch."""
        return [self.loss_metric, self.accuracy_metric, *self.mse_metrics, *self.ce_metrics]

    def compile_cit(
        self,
        settings: CiTSettings,
        class_weights: Sequence[float] | None = None,
        jit_compile: bool = False,
        optimizer: keras.optimizers.Optimizer | None = None,
    ) -> None:
        """Make and build the optimisers; set the weights of the losses.

        Parameters
        ----------
        settings : CiTSettings
            All but `filters` are used.
        class_weights : sequence of float, optional
            In class order; all 1 if not given.
        jit_compile : bool
            Whether `fit` compiles the step with XLA.
        optimizer : keras.optimizers.Optimizer, optional
            The classifier's, whose learning rate is set by the settings; Adam if not given.

        Raises
        ------
        UserError
            If there is a perceptual weight but no network for it.
        ValueError
            If the class weights are not K positive numbers.
        """
        if settings.perceptual > 0 and self.perceptual is None:
            raise UserError("perceptual", "needs a network", "Give VGG-16's weights, or the weight 0")
        weights = (1.0,) * len(self.generators) if class_weights is None else tuple(map(float, class_weights))
        if len(weights) != len(self.generators) or not all(0 < weight < math.inf for weight in weights):
            raise ValueError(f"{len(self.generators)} positive class weights are needed, not {weights}")
        self.settings, self.class_weights = settings, weights
        optimizer = optimizer or keras.optimizers.Adam(epsilon=_ADAM_EPSILON, name="adam_classifier")
        optimizer.learning_rate = classifier_rate(settings, 0)
        optimizer.build(self.classifier.trainable_variables)
        # `train_step` takes the gradients itself and scales none.
        self.compile(optimizer=optimizer, jit_compile=jit_compile, auto_scale_loss=False)
        self.extra_optimizers = [
            _adam(settings.generator_rate, generator, f"adam_{generator.name}") for generator in self.generators
        ]

    def call(self, images, training: bool = False):
        """Return the logits of D(G_k(x)) for k in class order, side by side: (batch, K * K)."""
        logits = self._logits(self._versions(images, training), training)
        return tf.reshape(logits, (-1, len(self.generators) ** 2))

    def _versions(self, images, training: bool):
        """G_k(x) for k in class order: (batch, K, height, width, channels)."""
        return tf.stack([generator(images, training=training) for generator in self.generators], axis=1)

    def _logits(self, versions, training: bool):
        """Logits of D for each version: float32 (batch, K, K)."""
        classes = len(self.generators)
        logits = self.classifier(_images(versions), training=training)
        return tf.reshape(tf.cast(logits, tf.float32), (-1, classes, classes))

    def transform(self, images: np.ndarray, k: int, batch_size: int = 16) -> np.ndarray:
        """Return the output of generator `k` in inference mode, clipped to 0..1: float32, same shape."""
        return np.clip(self.generators[k].predict(images, batch_size=batch_size, verbose=0), 0, 1).astype(np.float32)

    def gradients(self, images, labels) -> tuple[list, list[list], Mapping[str, tf.Tensor]]:
        """Run both networks in training mode; return the gradients of all parts.

        Parameters
        ----------
        images : tensor, float32 (batch, height, width, 3)
        labels : tensor, (batch, K), one-hot

        Returns
        -------
        classifier : list of tensors
            Of loss_D, for `classifier.trainable_variables`.
        generators : list of list of tensors
            For each generator, of its loss (L2 included), for its `trainable_variables`.
        losses : dict
            "logits" (batch, K, K), "mse" (K,) and "ce" (K,).
        """
        versions, tapes = [], []
        for generator in self.generators:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(_values(generator))
                versions.append(generator(images, training=True))
            tapes.append(tape)
        stacked = tf.stack(versions, axis=1)
        mse, of_pixels = self._pixel_gradient(images, stacked)
        of_classifier, of_ce, losses = self._classifier_gradients(stacked, labels)
        of_generators = []
        for k, (generator, tape) in enumerate(zip(self.generators, tapes, strict=True)):
            of_version = of_pixels[:, k] + self.settings.lambda_ * of_ce[k]
            values = _values(generator)
            gradients = tape.gradient(versions[k], values, output_gradients=of_version)
            decay = self.settings.generator_decay
            of_generators.append([g + decay * value for g, value in zip(gradients, values, strict=True)])
        return of_classifier, of_generators, {**losses, "mse": mse}

    def _pixel_gradient(self, images, versions):
        """MSE of each generator, and the gradient of all but the cross-entropy for the transformed images.

        A generator's losses depend on its own outputs only, so the gradient of the sum over generators holds each
        one's.
        """
        # Once per batch and outside the tape: the originals' features need no gradient.
        features = self._features(images)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(versions)
            mse = _distances(versions, images)
            total = tf.reduce_sum(mse)
            if features is not None:
                shape = tf.concat([tf.shape(versions)[:2], tf.shape(features)[1:]], 0)
                made = tf.reshape(self._features(_images(versions)), shape)
                total += self.settings.perceptual * tf.reduce_sum(_distances(made, features))
            if self.settings.total_variation > 0:
                total += self.settings.total_variation * tf.reduce_sum(total_variation(versions))
        return mse, tape.gradient(total, versions)

    def _features(self, images):
        if self.settings.perceptual == 0:
            return None
        return tf.cast(self.perceptual.model(images, training=False), tf.float32)

    def _classifier_gradients(self, versions, labels):
        """Gradient of loss_D for the classifier, and of each CE_k for the outputs of generator k."""
        classes = len(self.generators)
        sources = [versions, *_values(self.classifier)]
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(sources)
            logits = self._logits(versions, training=True)
            ce = _class_means(_cross_entropy(logits, labels), labels)
        share = self._shares(labels)
        of_classifier, of_ce = [0.0] * (len(sources) - 1), []
        for k in range(classes):
            of_versions, *of_variables = tape.gradient(ce, sources, output_gradients=tf.one_hot(k, classes))
            of_ce.append(of_versions[:, k])
            of_classifier = [g + share[k] * own for g, own in zip(of_classifier, of_variables, strict=True)]
        return of_classifier, of_ce, {"logits": logits, "ce": ce}

    def _shares(self, labels):
        """Share of each class in loss_D = sum of share_k * CE_k: weight times count, normalised."""
        weighted = tf.constant(self.class_weights) * tf.reduce_sum(tf.cast(labels, tf.float32), axis=0)
        return tf.math.divide_no_nan(weighted, tf.reduce_sum(weighted))

    def train_step(self, data) -> dict[str, tf.Tensor]:
        """Update classifier and generators on one batch; return the metrics so far."""
        images, labels = _unpacked(data)
        of_classifier, of_generators, losses = self.gradients(images, labels)
        self.optimizer.apply(of_classifier, self.classifier.trainable_variables)
        for generator, optimizer, gradients in zip(self.generators, self.extra_optimizers, of_generators, strict=True):
            optimizer.apply(gradients, generator.trainable_variables)
        return self._report(labels, losses)

    def test_step(self, data) -> dict[str, tf.Tensor]:
        """Evaluate one batch, all in inference mode; return the metrics so far."""
        images, labels = _unpacked(data)
        versions = self._versions(images, training=False)
        logits = self._logits(versions, training=False)
        ce = _class_means(_cross_entropy(logits, labels), labels)
        return self._report(labels, {"logits": logits, "mse": _distances(versions, images), "ce": ce})

    def _report(self, labels, losses) -> dict[str, tf.Tensor]:
        """Add a batch to the metrics, weighted so that an epoch's value is that of all its images."""
        counts = tf.reduce_sum(labels, axis=0)
        weight = tf.reduce_sum(tf.constant(self.class_weights) * counts)
        self.loss_metric.update_state(tf.reduce_sum(self._shares(labels) * losses["ce"]), sample_weight=weight)
        classes = len(self.generators)
        found = tf.argmax(tf.reshape(losses["logits"], (-1, classes * classes)), axis=1) % classes
        self.accuracy_metric.update_state(tf.cast(found == tf.argmax(labels, axis=1), tf.float32))
        for k in range(classes):
            self.mse_metrics[k].update_state(losses["mse"][k], sample_weight=tf.reduce_sum(counts))
            self.ce_metrics[k].update_state(losses["ce"][k], sample_weight=counts[k])
        return {metric.name: metric.result() for metric in self.metrics}


def fuse_logits(logits: np.ndarray, classes: int) -> np.ndarray:
    """Return FuCiTNet's own prediction: the index of the largest logit, modulo the number of classes.

    Parameters
    ----------
    logits : ndarray (n, classes * classes)
        As returned by CiTNetwork.
    classes : int

    Returns
    -------
    ndarray (n,) of int
        The first of equal logits counts.

    Raises
    ------
    ValueError
        If the shape differs.
    """
    logits = np.asarray(logits)
    if logits.ndim != 2 or logits.shape[1] != classes * classes:
        raise ValueError(f"logits of shape (n, {classes * classes}) are needed, not {logits.shape}")
    return logits.argmax(axis=1) % classes


def total_variation(versions: tf.Tensor) -> tf.Tensor:
    """Return 2 * (mean squared step down the rows + the same along them), with the mean as in the authors' code.

    Parameters
    ----------
    versions : tensor, float32 (batch, K, height, width, channels)

    Returns
    -------
    tensor, float32 (K,)
        Sums are divided by batch, channels and number of steps.
    """
    steps = (versions[:, :, 1:], versions[:, :, :-1]), (versions[:, :, :, 1:], versions[:, :, :, :-1])
    down, along = (tf.reduce_mean(tf.math.squared_difference(*pair), axis=(0, 2, 3, 4)) for pair in steps)
    return 2 * (down + along)


def _adam(rate: float, model: keras.Model, name: str) -> keras.optimizers.Adam:
    optimizer = keras.optimizers.Adam(rate, epsilon=_ADAM_EPSILON, name=name)
    optimizer.build(model.trainable_variables)
    return optimizer


def _unpacked(data) -> tuple[tf.Tensor, tf.Tensor]:
    images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
    if labels is None or weights is not None:
        raise ValueError("batches must be (images, one-hot labels), without sample weights")
    return tf.cast(images, tf.float32), tf.cast(labels, tf.float32)


def _values(model: keras.Model) -> list[tf.Variable]:
    """TensorFlow's variables behind Keras' trainable ones, as tapes take them."""
    return [variable.value for variable in model.trainable_variables]


def _images(versions):
    """Flatten (batch, K, height, width, channels) to one batch, ordered by image, then by generator."""
    return tf.reshape(versions, tf.concat([[-1], tf.shape(versions)[2:]], 0))


def _distances(versions, originals):
    """Return the mean squared difference of each generator's outputs from the originals: (K,)."""
    return tf.reduce_mean(tf.math.squared_difference(versions, originals[:, None]), axis=(0, 2, 3, 4))


def _cross_entropy(logits, labels):
    """Cross-entropy of each version against its original's label: (batch, K)."""
    return tf.nn.softmax_cross_entropy_with_logits(tf.repeat(labels[:, None], tf.shape(logits)[1], axis=1), logits)


def _class_means(values, labels):
    """Mean of `values` (batch, K) over all versions of the images of each label; 0 if there are none: (classes,)."""
    sums = tf.linalg.matvec(labels, tf.reduce_sum(values, axis=1), transpose_a=True)
    counts = tf.reduce_sum(labels, axis=0) * tf.cast(tf.shape(values)[1], tf.float32)
    return tf.math.divide_no_nan(sums, counts)
