"""The class-inherent transformation network: one generator per class and a classifier, trained together.

Each generator learns to change images so that they are easier to classify as its class, but stay recognisable (mean
squared error, perceptual distance). The classifier learns from the outputs of all generators. Where the paper is silent
or differs from the authors' code (FuCiTNet), this module follows the code, with two exceptions:

- All gradients of a batch are computed from the same state of the networks. The code updates the classifier before the
  gradients of the generators pass through it.
- Images are not transformed a second time for logging, so moving statistics are updated once per batch instead of
  twice.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from covid_keras.common.errors import UserError
from covid_keras.common.settings import Positive
from covid_keras.models.pieces import add_pieces
from papers.covid_sdnet.cit_losses import as_batch, class_means, cross_entropy, distances, total_variation
from papers.covid_sdnet.settings import CitOptions

# In the alphabetical order of the authors' folders.
CLASSES = ("N", "P")
# Factor of the classifier's learning rate at each step.
_GAMMA = 0.1
# PyTorch's default, as in the authors' code; that of Keras is 1e-7.
_ADAM_EPSILON = 1e-8


@dataclass(frozen=True)
class CiTSettings(CitOptions):
    """Settings of a training: the options, and the classifier's learning rate (see the function `classifier_rate`)."""

    classifier_rate: Positive = 1e-3


def classifier_rate(settings: CiTSettings, epoch: int) -> float:
    """Return the learning rate of the classifier in an epoch, counted from 0.

    The authors' schedule steps at the start of an epoch, so the first rate lasts one epoch less than the others: four
    epochs with a step of 5.
    """
    return settings.classifier_rate * _GAMMA ** ((epoch + 1) // settings.classifier_step)


def rate_callback(settings: CiTSettings) -> keras.callbacks.Callback:
    """Return a callback that sets the classifier's learning rate from the epoch alone, so that training can resume."""
    return keras.callbacks.LearningRateScheduler(lambda epoch, _: classifier_rate(settings, epoch))


@dataclass(frozen=True)
class _Aside:
    """Holds a network outside Keras' tracking, so that it is neither trained nor saved."""

    model: keras.Model


class CiTNetwork(keras.Model):
    """Generators G_k and classifier D, trained together by `fit` on (images, one-hot labels).

    Images are float32 (batch, height, width, 3) in 0..1, labels (batch, K). A training step

    1. transforms the batch by every generator, in training mode;
    2. classifies all versions at once, ordered by image, then by generator;
    3. computes CE_k, the mean cross-entropy over all versions of the images of class k (0 if there are none), and
       loss_D, the mean cross-entropy over all versions, weighted by class;
    4. computes the gradient of loss_D for the classifier, and for each generator that of MSE + perceptual * distance +
       lambda * CE_k + L2 (equation 1), where MSE and distance are means over the images of all classes;
    5. updates the classifier, then the generators.

    loss_D is the mean of the CE_k, each weighted by class weight times number of images. So K backward passes through
    the classifier yield the gradients of all K + 1 losses.

    Parameters
    ----------
    generators : sequence of keras.Model
        One per class, in class order; built, from images to images of the same shape.
    classifier : keras.Model
        Built, from images to logits (batch, K). Only its trainable variables are trained.
    perceptual : keras.Model, optional
        From images to features (see `cit_losses.build_perceptual`); frozen, in inference mode and not saved.
    class_names : sequence of str
        Used in the names of metrics: loss, accuracy, and mse_NAME and ce_NAME of each generator.
    name : str
        Name of the model.

    Raises
    ------
    ValueError
        If the numbers of generators, names and outputs of the classifier differ.

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
        self.piece_size = 0  # see `covid_keras.models.pieces`
        # The optimisers of the generators: part of the state of a training, like `optimizer`.
        self.extra_optimizers: list[keras.optimizers.Optimizer] = []
        self.loss_metric, self.accuracy_metric = keras.metrics.Mean("loss"), keras.metrics.Mean("accuracy")
        self.mse_metrics = [keras.metrics.Mean(f"mse_{name}") for name in class_names]
        self.ce_metrics = [keras.metrics.Mean(f"ce_{name}") for name in class_names]
        # The parts are built, so all variables exist.
        self.built = True

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Return the metrics that `fit` reports and resets in each epoch."""
        return [self.loss_metric, self.accuracy_metric, *self.mse_metrics, *self.ce_metrics]

    def compile_cit(
        self,
        settings: CiTSettings,
        class_weights: Sequence[float] | None = None,
        jit_compile: bool = False,
        optimizer: keras.optimizers.Optimizer | None = None,
    ) -> None:
        """Build the optimisers and set the weights of the losses.

        Parameters
        ----------
        settings : CiTSettings
            All are used except those of the parts: `size`, `filters` and `frozen`.
        class_weights : sequence of float, optional
            In class order. Default: all 1.
        jit_compile : bool
            Whether `fit` compiles the step with XLA.
        optimizer : keras.optimizers.Optimizer, optional
            Of the classifier; its learning rate is set from the settings. Default: Adam.

        Raises
        ------
        UserError
            If the perceptual distance has a weight but no network.
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
        # `train_step` computes the gradients itself and does not scale losses.
        self.compile(optimizer=optimizer, jit_compile=jit_compile, auto_scale_loss=False)
        self.extra_optimizers = [
            _adam(settings.generator_rate, generator, f"adam_{generator.name}") for generator in self.generators
        ]

    def call(self, images, training: bool = False):
        """Return the logits of D(G_k(x)), one generator after the other, (batch, K * K)."""
        logits = self._logits(self._versions(images, training), training)
        return tf.reshape(logits, (-1, len(self.generators) ** 2))

    def _versions(self, images, training: bool):
        """Return G_k(x) for each k, (batch, K, height, width, channels)."""
        return tf.stack([generator(images, training=training) for generator in self.generators], axis=1)

    def _logits(self, versions, training: bool):
        """Return the logits of D for each version, float32 (batch, K, K)."""
        classes = len(self.generators)
        logits = self.classifier(as_batch(versions), training=training)
        return tf.reshape(tf.cast(logits, tf.float32), (-1, classes, classes))

    def transform(self, images: np.ndarray, k: int, batch_size: int = 16) -> np.ndarray:
        """Return the output of generator `k` in inference mode, clipped to 0..1; float32, the shape of `images`."""
        return np.clip(self.generators[k].predict(images, batch_size=batch_size, verbose=0), 0, 1).astype(np.float32)

    def gradients(self, images, labels, whole=None) -> tuple[list, list[list], Mapping[str, tf.Tensor]]:
        """Run all parts in training mode and return their gradients.

        Parameters
        ----------
        images : tensor, float32 (batch, height, width, 3)
        labels : tensor, (batch, K), one-hot
        whole : tensor, (K,), optional
            Images of each class in the batch of which these are a piece; the gradients of all pieces add up to the
            batch's. Default: they are the whole batch.

        Returns
        -------
        classifier : list of tensors
            Gradients of loss_D with respect to `classifier.trainable_variables`.
        generators : list of list of tensors
            Per generator, gradients of its loss (L2 included) with respect to its `trainable_variables`.
        losses : dict
            "logits" (batch, K, K), "mse" (K,) and "ce" (K,).
        """
        versions, tapes = [], []
        for generator in self.generators:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(_values(generator))
                versions.append(generator(images, training=True))
            tapes.append(tape)
        counts = tf.reduce_sum(labels, axis=0)
        whole = counts if whole is None else whole
        share = tf.reduce_sum(counts) / tf.reduce_sum(whole)
        stacked = tf.stack(versions, axis=1)
        mse, of_pixels = self._pixel_gradient(images, stacked)
        of_classifier, of_ce, losses = self._classifier_gradients(stacked, labels, whole)
        of_generators = []
        for k, (generator, tape) in enumerate(zip(self.generators, tapes, strict=True)):
            of_version = share * of_pixels[:, k] + self.settings.lambda_ * of_ce[k]
            values = _values(generator)
            gradients = tape.gradient(versions[k], values, output_gradients=of_version)
            decay = share * self.settings.generator_decay
            of_generators.append([g + decay * value for g, value in zip(gradients, values, strict=True)])
        return of_classifier, of_generators, {**losses, "mse": mse}

    def _pixel_gradient(self, images, versions):
        """Return the MSE of each generator, and the gradient of its losses except CE_k with respect to its outputs.

        Each of these losses depends on the outputs of one generator only, so the gradients of all can be taken from
        their sum.
        """
        # Outside the tape, because the features of the original images need no gradient.
        features = self._features(images)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(versions)
            mse = distances(versions, images)
            total = tf.reduce_sum(mse)
            if features is not None:
                shape = tf.concat([tf.shape(versions)[:2], tf.shape(features)[1:]], 0)
                made = tf.reshape(self._features(as_batch(versions)), shape)
                total += self.settings.perceptual * tf.reduce_sum(distances(made, features))
            if self.settings.total_variation > 0:
                total += self.settings.total_variation * tf.reduce_sum(total_variation(versions))
        return mse, tape.gradient(total, versions)

    def _features(self, images):
        if self.settings.perceptual == 0:
            return None
        return tf.cast(self.perceptual.model(images, training=False), tf.float32)

    def _classifier_gradients(self, versions, labels, whole):
        """Return the gradients of loss_D for the classifier and of each CE_k for generator k, and the losses.

        The gradients are shares of those of a batch with `whole` images of each class; the losses are those of the
        images given.
        """
        classes = len(self.generators)
        sources = [versions, *_values(self.classifier)]
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(sources)
            logits = self._logits(versions, training=True)
            ce = class_means(cross_entropy(logits, labels), labels)
        share, part = self._shares(whole), tf.math.divide_no_nan(tf.reduce_sum(labels, axis=0), whole)
        of_classifier, of_ce = [0.0] * (len(sources) - 1), []
        for k in range(classes):
            of_versions, *of_variables = tape.gradient(ce, sources, output_gradients=part * tf.one_hot(k, classes))
            of_ce.append(of_versions[:, k])
            of_classifier = [g + share[k] * own for g, own in zip(of_classifier, of_variables, strict=True)]
        return of_classifier, of_ce, {"logits": logits, "ce": ce}

    def _shares(self, counts):
        """Return the share of each CE_k in loss_D, (K,): class weight times number of images, normalised."""
        weighted = tf.constant(self.class_weights) * counts
        return tf.math.divide_no_nan(weighted, tf.reduce_sum(weighted))

    def train_step(self, data) -> dict[str, tf.Tensor]:
        """Update classifier and generators on one batch; return the running metrics."""
        images, labels = _unpacked(data)
        # Of all devices; the optimisers add the gradients of their parts of the batch.
        whole = tf.distribute.get_replica_context().all_reduce("sum", tf.reduce_sum(labels, axis=0))

        def of_piece(images, labels) -> list[tf.Tensor]:
            of_classifier, of_generators, losses = self.gradients(images, labels, whole)
            self._report(labels, losses)
            return [gradient for part in (of_classifier, *of_generators) for gradient in part]

        parts = [self.classifier, *self.generators]
        values = [value for part in parts for value in _values(part)]
        size = self.piece_size
        gradients = iter(add_pieces(of_piece, (images, labels), size, values) if size else of_piece(images, labels))
        for part, optimizer in zip(parts, [self.optimizer, *self.extra_optimizers], strict=True):
            variables = part.trainable_variables
            optimizer.apply(list(itertools.islice(gradients, len(variables))), variables)
        return self.get_metrics_result()

    def test_step(self, data) -> dict[str, tf.Tensor]:
        """Evaluate one batch in inference mode; return the running metrics."""
        images, labels = _unpacked(data)
        versions = self._versions(images, training=False)
        logits = self._logits(versions, training=False)
        ce = class_means(cross_entropy(logits, labels), labels)
        self._report(labels, {"logits": logits, "mse": distances(versions, images), "ce": ce})
        return self.get_metrics_result()

    def _report(self, labels, losses) -> None:
        """Add a batch to the metrics, weighted so that the value of an epoch is that of all its images together."""
        counts = tf.reduce_sum(labels, axis=0)
        weight = tf.reduce_sum(tf.constant(self.class_weights) * counts)
        self.loss_metric.update_state(tf.reduce_sum(self._shares(counts) * losses["ce"]), sample_weight=weight)
        classes = len(self.generators)
        found = tf.argmax(tf.reshape(losses["logits"], (-1, classes * classes)), axis=1) % classes
        self.accuracy_metric.update_state(tf.cast(found == tf.argmax(labels, axis=1), tf.float32))
        images = tf.reduce_sum(counts)  # none on a device beyond the images of a last batch, whose mean is not a number
        for k in range(classes):
            mse = tf.math.multiply_no_nan(losses["mse"][k], tf.minimum(images, 1.0))
            self.mse_metrics[k].update_state(mse, sample_weight=images)
            self.ce_metrics[k].update_state(losses["ce"][k], sample_weight=counts[k])


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
    """Return the TensorFlow variables behind the trainable Keras variables, which is what tapes watch."""
    return [variable.value for variable in model.trainable_variables]
