"""Training steps that process a batch in pieces, to save memory: one step of the optimiser per batch, as without them.

The gradient is that of the whole batch: the gradients of the pieces are added, each weighted by its share of the
images, so that a smaller last piece, sample weights and penalties on weights count as they do in the whole batch. Only
batch normalisation differs, since its statistics are those of a piece.

The optimisers' own `gradient_accumulation_steps` average batches of the data instead, which changes the batches that an
epoch is divided into: the last, smaller one counts as much as the others, and what an epoch leaves over is applied
in the next one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf


def train_in_pieces(model: keras.Model, size: int) -> None:
    """Have the training step of a compiled network process `size` images at a time; 0: the whole batch.

    The loss must be a mean over images. A network with a training step of its own has the attribute `piece_size`, and
    divides its batches itself.
    """
    if hasattr(model, "piece_size"):
        model.piece_size = size
    elif size:
        model.train_step = functools.partial(_step, model, size)


def add_pieces(
    of_piece: Callable[..., Sequence[tf.Tensor]], batch: Sequence[tf.Tensor], size: int, like: Sequence[Any]
) -> list[tf.Tensor]:
    """Return the sums, over the pieces of a batch, of the tensors that a function returns.

    Parameters
    ----------
    of_piece : callable
        Tensors of the piece, those of `batch` in order -> tensors of the shapes of `like`.
    batch : sequence of tensors (n, ...)
    size : int
        Number of images per piece; the last one may have fewer.
    like : sequence of tensors or variables
    """
    images = tf.shape(batch[0])[0]

    def add(start: tf.Tensor, sums: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        found = of_piece(*(tensor[start : start + size] for tensor in batch))
        return start + size, [total + one for total, one in zip(sums, found, strict=True)]

    # One after another: pieces that are processed at the same time would need the memory of the whole batch.
    zeros = [tf.zeros_like(one) for one in like]
    return tf.while_loop(lambda start, _: start < images, add, (0, zeros), parallel_iterations=1)[1]


def _step(model: keras.Model, size: int, data: Any) -> dict[str, tf.Tensor]:
    """Update a network by one batch, as `keras.Model.train_step` does; return the running metrics."""
    batch = [one for one in keras.utils.unpack_x_y_sample_weight(data) if one is not None]
    variables, images = model.trainable_variables, tf.shape(batch[0])[0]
    of_losses = next(metric for metric in model.metrics if metric.name == "loss")

    def of_piece(x: tf.Tensor, y: tf.Tensor, weights: tf.Tensor | None = None) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            found = model(x, training=True)
            loss = model.compute_loss(x, y, found, weights, training=True)
            share = tf.cast(tf.shape(x)[0] / images, loss.dtype)
            scaled = model.optimizer.scale_loss(share * loss)
        of_losses.update_state(loss, sample_weight=tf.shape(x)[0])
        model.compute_metrics(x, y, found, weights)
        return tape.gradient(scaled, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    gradients = add_pieces(of_piece, batch, size, variables)
    model.optimizer.apply_gradients(zip(gradients, variables, strict=True))
    return model.get_metrics_result()
