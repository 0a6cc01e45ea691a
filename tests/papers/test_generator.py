"""The generator and its normalisation by single images."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from papers.covid_sdnet.generator import SingleImageBatchNormalization, build_generator

RNG = np.random.default_rng(0)


def made_layer(channels: int = 3) -> SingleImageBatchNormalization:
    layer = SingleImageBatchNormalization()
    layer.build((None, None, None, channels))
    layer.gamma.assign(RNG.random(channels) + 0.5)
    layer.beta.assign(RNG.normal(size=channels))
    layer.moving_mean.assign(RNG.normal(size=channels))
    layer.moving_variance.assign(RNG.random(channels) + 0.5)
    return layer


def one_at_a_time(layer, images):
    """Batch normalisation in training, fed image by image: outputs and moving statistics, in float64."""
    gamma, beta, mean, variance = (np.asarray(v, np.float64) for v in layer.variables)
    out = []
    for image in images.astype(np.float64):
        pixels = image.reshape(-1, image.shape[-1])
        out.append(gamma * (image - pixels.mean(0)) / np.sqrt(pixels.var(0) + 1e-5) + beta)
        mean = 0.9 * mean + 0.1 * pixels.mean(0)
        variance = 0.9 * variance + 0.1 * pixels.var(0, ddof=1)
    return np.stack(out), mean, variance


@pytest.mark.parametrize("n", [1, 2, 7])
def test_each_image_has_its_own_statistics_and_they_enter_in_order(n):
    layer = made_layer()
    images = RNG.normal(size=(n, 5, 4, 3)) * (RNG.random((n, 1, 1, 3)) + 0.5) + np.arange(n).reshape(-1, 1, 1, 1)
    images = images.astype("f")
    out, mean, variance = one_at_a_time(layer, images)
    np.testing.assert_allclose(layer(images, training=True), out, atol=2e-5)
    np.testing.assert_allclose(layer.moving_mean, mean, rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, variance, rtol=1e-5)


def test_agrees_with_keras_own_fed_one_image_at_a_time():
    layer, own = made_layer(), keras.layers.BatchNormalization(epsilon=1e-5, momentum=0.9)
    own.build((None, None, None, 3))
    for mine, theirs in zip(layer.variables, own.variables, strict=True):
        theirs.assign(mine)
    images = RNG.random((4, 6, 6, 3)).astype("f")
    expected = np.concatenate([own(images[i : i + 1], training=True) for i in range(4)])
    np.testing.assert_allclose(layer(images, training=True), expected, atol=1e-5)
    np.testing.assert_allclose(layer.moving_mean, own.moving_mean, atol=1e-6)


def test_gradient_is_that_of_images_fed_alone():
    layer = made_layer()
    images, weights = tf.constant(RNG.random((3, 4, 4, 3)), tf.float32), RNG.random((3, 4, 4, 3)).astype("f")
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(images)
        together = tf.reduce_sum(layer(images, training=True) * weights)
        apart = [layer(images[i : i + 1], training=True) for i in range(3)]
        alone = tf.reduce_sum(tf.concat(apart, 0) * weights)
    sources = [images, layer.gamma.value, layer.beta.value]
    for a, b in zip(tape.gradient(together, sources), tape.gradient(alone, sources), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_inference_uses_the_moving_statistics_and_leaves_them():
    layer = made_layer()
    gamma, beta, mean, variance = (np.asarray(v) for v in layer.variables)
    images = RNG.random((2, 4, 4, 3)).astype("f")
    expected = gamma * (images - mean) / np.sqrt(variance + 1e-5) + beta
    np.testing.assert_allclose(layer(images), expected, atol=1e-5)
    np.testing.assert_array_equal(layer.moving_mean, mean)
    np.testing.assert_array_equal(layer.moving_variance, variance)


def test_layer_is_made_again_from_its_configuration():
    layer = SingleImageBatchNormalization(momentum=0.5, epsilon=1e-3, name="bn")
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    assert isinstance(again, SingleImageBatchNormalization)
    assert (again.momentum, again.epsilon, again.name) == (0.5, 1e-3, "bn")


def test_generator_has_the_published_number_of_parameters():
    model = build_generator()
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == 387_913
    slopes = [layer.alpha for layer in model.layers if isinstance(layer, keras.layers.PReLU)]
    assert len(slopes) == 6
    assert all(slope.shape == (1, 1, 1) and float(np.squeeze(slope)) == 0.25 for slope in slopes)


def test_generator_keeps_any_size_and_treats_images_apart_in_training():
    model = build_generator(filters=4, residual_blocks=2)
    images = RNG.random((3, 10, 14, 3)).astype("f")
    together = model(images, training=True).numpy()
    assert together.shape == images.shape
    alone = np.concatenate([model(images[i : i + 1], training=True) for i in range(3)])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert build_generator((8, 12), 4, 1).output_shape == (None, 8, 12, 3)
    assert build_generator(8, 4, 1).output_shape == (None, 8, 8, 3)


def test_generator_is_linear_at_the_end_and_residual_inside():
    model = build_generator(filters=4, residual_blocks=1)
    images = RNG.random((2, 8, 8, 3)).astype("f")
    before = model(images).numpy()
    bias = model.get_layer("tail_conv").bias
    bias.assign(bias - 5.0)
    np.testing.assert_allclose(model(images), before - 5.0, atol=1e-5)
    # With its last normalisation at zero a block passes its input on.
    model.get_layer("block1_bn2").gamma.assign(np.zeros(4))
    inner = keras.Model(model.input, [model.get_layer("head_prelu").output, model.get_layer("block1_add").output])
    np.testing.assert_array_equal(*inner(images))
