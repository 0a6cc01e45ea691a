"""`tf.data` input: batches of prepared images for `model.fit`, identical at any parallelism.

The order of an epoch is keyed by (seed, epoch), and batches never cross epochs. A run resumed at `start_epoch`
therefore gets the same batches as an uninterrupted one.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from covid_keras.common.errors import UserError
from covid_keras.data.augment import Augmentation, augment_batch, check_seed, sample_key
from covid_keras.data.prepared_images import PreparedImages

# Pixels (uint8) of up to this size are kept in memory by default.
MEMORY_LIMIT = 256 * 2**20
_PREFETCH = 2
# Errors of readers run by TensorFlow, which passes on only the text of an error.
_refused: deque[UserError] = deque(maxlen=1)
# Second word of the key of an epoch's order; the first is (seed, epoch), as for augmentation.
_ORDER_KEY = -1
Scaling = str | Callable[[tf.Tensor], tf.Tensor]


def steps_per_epoch(n: int, batch_size: int, drop_remainder: bool = False) -> int:
    """Return the number of batches per epoch of `n` images, including a short last one unless dropped."""
    return n // batch_size if drop_remainder else -(-n // batch_size)


def make_dataset(
    prepared: PreparedImages,
    indices: Sequence[int] | np.ndarray,
    labels: np.ndarray | None = None,
    batch_size: int = 16,
    seed: int = 0,
    training: bool = False,
    augmentation: Augmentation | None = None,
    epochs: int = 1,
    start_epoch: int = 0,
    scaling: Scaling = "0-1",
    one_hot: int | None = None,
    drop_remainder: bool = False,
    *,
    plan: np.ndarray | None = None,
    channels: int | None = None,
    memory: bool | None = None,
    num_parallel_calls: int | None = None,
) -> tf.data.Dataset:
    """Return batches of prepared images.

    Parameters
    ----------
    prepared : PreparedImages
    indices : sequence of int (m,)
        The images to use; also their order, unless `training`.
    labels : ndarray (n, ...), optional
        Labels of ALL prepared images: `labels[i]` belongs to image i. Without labels, batches have images only.
    batch_size : int
    seed : int
        0..2**31-1; for shuffling and augmentation.
    training : bool
        Augment, and shuffle in each epoch.
    augmentation : Augmentation, optional
        For training only.
    epochs, start_epoch : int
        As in `model.fit`: `epochs` is the final epoch, not the number of epochs after `start_epoch`. Pass the same
        values to `fit` as `epochs` and `initial_epoch`, with `steps_per_epoch`.
    scaling : "0-1", "0-255" or callable
        Range of the images, or a function of a float32 batch of grey levels 0..255, such as
        `keras.applications.resnet.preprocess_input`, which runs in the graph.
    one_hot : int, optional
        Number of classes; labels become float32 (B, one_hot) instead of class indices.
    drop_remainder : bool
        Drop the short last batch of each epoch. All shapes are then static, as a TPU needs.
    plan : ndarray of int (epochs, steps, B), optional
        Explicit batches as positions 0..m-1 in `indices`, which may repeat. Replaces `batch_size`, shuffling and
        `drop_remainder`.
    channels : int, optional
        Repeat the grey channel this many times.
    memory : bool, optional
        Keep the pixels in memory as uint8 instead of reading them from the cache in every epoch. Default: up to
        `MEMORY_LIMIT` bytes. Does not change the batches.
    num_parallel_calls : int, optional
        Number of batches processed in parallel. Default: chosen by tf.data. Does not change the batches.

    Returns
    -------
    tf.data.Dataset
        `steps_per_epoch(m, batch_size, drop_remainder) * (epochs - start_epoch)` batches of images, float32
        (B, H, W, C), or of (images, labels). The cardinality is known.

    Raises
    ------
    UserError
        If there are no images, they do not fill one batch, or the seed is out of range.
    ValueError
        If arguments contradict each other or do not match `prepared`.
    """
    indices = _checked_indices(indices, len(prepared), batch_size, drop_remainder)
    if plan is not None:
        plan = _checked_plan(plan, indices.size, epochs, training)
    check_seed(seed)
    _check_training(training, augmentation, start_epoch, epochs)
    places = _Places(indices.size, batch_size, seed, training, drop_remainder, plan)
    read = _reader(prepared, indices, memory)
    targets = None if labels is None else _targets(labels, indices, len(prepared), one_hot)
    ids = tf.constant(prepared.ids[indices])
    finish = _finisher(scaling, channels)

    def batch(epoch: tf.Tensor, at: tf.Tensor) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
        images = tf.cast(read(at), tf.float32)
        if augmentation is not None:
            images = augment_batch(images, tf.gather(ids, at), seed, epoch, augmentation)
        images = finish(images)
        return images if targets is None else (images, tf.gather(targets, at))

    return _mapped(places.dataset(start_epoch, epochs), batch, num_parallel_calls)


def _check_training(training: bool, augmentation: Augmentation | None, start_epoch: int, epochs: int) -> None:
    if augmentation is not None and not training:
        raise ValueError("augmentation requires training=True")
    if not 0 <= start_epoch < epochs:
        raise ValueError(f"start_epoch must lie in 0..{epochs - 1}, got {start_epoch}")


def _mapped(
    places: tf.data.Dataset, batch: Callable[[tf.Tensor, tf.Tensor], Any], num_parallel_calls: int | None
) -> tf.data.Dataset:
    """Return the batches of images made by `batch` of each (epoch, positions), in order."""
    parallel = tf.data.AUTOTUNE if num_parallel_calls is None else num_parallel_calls
    dataset = places.map(batch, num_parallel_calls=parallel, deterministic=True)
    options = tf.data.Options()
    # Each of k workers takes every k-th batch, because there are no input files to distribute.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return dataset.prefetch(_PREFETCH).with_options(options)


@dataclass(frozen=True)
class _Places:
    """The positions of the images in each batch of each epoch: shuffled, in order, or as planned."""

    n: int
    batch_size: int
    seed: int
    shuffle: bool
    drop_remainder: bool
    plan: np.ndarray | None = None

    def epoch(self, epoch: tf.Tensor) -> tf.data.Dataset:
        """Return the batches (epoch, positions) of one epoch; positions are int64 (B,) in 0..n-1."""
        if self.plan is not None:
            return tf.data.Dataset.from_tensor_slices(tf.gather(tf.constant(self.plan), epoch)).map(
                lambda places: (epoch, places)
            )
        order = tf.range(self.n, dtype=tf.int64)
        if self.shuffle:
            key = tf.stack([sample_key(self.seed, epoch), tf.constant(_ORDER_KEY, tf.int64)])
            order = tf.random.experimental.stateless_shuffle(order, key, alg="philox")
        batches = tf.data.Dataset.from_tensor_slices(order).batch(self.batch_size, self.drop_remainder)
        return batches.map(lambda places: (epoch, places))

    def dataset(self, start_epoch: int, epochs: int) -> tf.data.Dataset:
        """Return the batches of the epochs start_epoch..epochs-1, in order."""
        one = steps_per_epoch(self.n, self.batch_size, self.drop_remainder) if self.plan is None else self.plan.shape[1]
        steps = one * (epochs - start_epoch)
        batches = tf.data.Dataset.range(start_epoch, epochs).flat_map(self.epoch)
        return batches.apply(tf.data.experimental.assert_cardinality(steps))


def _checked_indices(indices: Sequence[int] | np.ndarray, n: int, batch_size: int, drop_remainder: bool) -> np.ndarray:
    indices = np.asarray(indices)
    if indices.size == 0:
        raise UserError("data set", "has no images", "Check the split")
    if indices.ndim != 1 or not np.issubdtype(indices.dtype, np.integer):
        raise ValueError(f"indices must be integers (m,), got {indices.dtype} {indices.shape}")
    if indices.min() < 0 or indices.max() >= n:
        raise ValueError(f"indices must lie in 0..{n - 1}, got {indices.min()}..{indices.max()}")
    if batch_size < 1:
        raise UserError("batch size", f"must be at least 1 (got {batch_size})", "Use 16")
    if drop_remainder and indices.size < batch_size:
        problem = f"{indices.size} images do not fill a batch of {batch_size}"
        raise UserError("batch size", problem, "Lower the batch size")
    return indices.astype(np.int64)


def _checked_plan(plan: np.ndarray, n: int, epochs: int, training: bool) -> np.ndarray:
    """Return the plan as int64; raise `ValueError` if it does not match images and epochs."""
    plan = np.asarray(plan)
    if not training:
        raise ValueError("plan requires training=True")
    if plan.ndim != 3 or len(plan) != epochs or not np.issubdtype(plan.dtype, np.integer):
        raise ValueError(f"plan must be integers ({epochs}, steps, batch), got {plan.dtype} {plan.shape}")
    if plan.size == 0 or plan.min() < 0 or plan.max() >= n:
        raise ValueError(f"plan must have positions in 0..{n - 1}")
    return plan.astype(np.int64)


def _reader(prepared: PreparedImages, indices: np.ndarray, memory: bool | None) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return a function from positions (B,) in `indices` to pixels (B, H, W, C) uint8."""
    if memory is None:
        memory = indices.size * int(np.prod(prepared.shape)) <= MEMORY_LIMIT
    if memory:
        pixels = tf.constant(prepared.batch(indices))
        return lambda places: tf.gather(pixels, places)

    def load(places: np.ndarray) -> np.ndarray:
        try:
            return prepared.batch(indices[places])
        except UserError as error:
            _refused.append(error)
            raise

    def read(places: tf.Tensor) -> tf.Tensor:
        images = tf.numpy_function(load, [places], tf.uint8, stateful=False)  # which checks each image
        return tf.ensure_shape(images, [places.shape[0], *prepared.shape])

    return read


@contextlib.contextmanager
def naming_damage() -> Iterator[None]:
    """Convert TensorFlow's error for a damaged image back to the original `UserError`."""
    _refused.clear()
    try:
        yield
    except tf.errors.OpError as error:
        if not _refused:
            raise
        raise _refused.pop() from error


def _targets(labels: np.ndarray, indices: np.ndarray, n: int, one_hot: int | None) -> tf.Tensor:
    labels = np.asarray(labels)
    if len(labels) != n:
        raise ValueError(f"labels must have one entry per prepared image ({n}), got {len(labels)}")
    labels = labels[indices]
    if one_hot is not None:
        if labels.min() < 0 or labels.max() >= one_hot:
            raise ValueError(f"labels must lie in 0..{one_hot - 1}, got {labels.min()}..{labels.max()}")
        return tf.one_hot(labels, one_hot, dtype=tf.float32)
    return tf.constant(labels, tf.float32 if np.issubdtype(labels.dtype, np.floating) else None)


def _finisher(scaling: Scaling, channels: int | None) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return the final function of a float32 batch of grey levels 0..255: repeat channels, then scale."""
    if not callable(scaling) and scaling not in ("0-1", "0-255"):
        raise UserError("scaling", f"{scaling!r} is unknown", "Use 0-1, 0-255 or a function of a batch")

    def finish(images: tf.Tensor) -> tf.Tensor:
        if channels is not None and images.shape[-1] != channels:
            if images.shape[-1] != 1:
                raise ValueError(f"cannot repeat {images.shape[-1]} channels to {channels}")
            images = tf.repeat(images, channels, axis=-1)
        if callable(scaling):
            return scaling(images)
        return images / 255.0 if scaling == "0-1" else images

    return finish
