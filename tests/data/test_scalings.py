"""Standardised images: Keras' legacy class as the oracle, flat images, batches, the pipeline."""

from __future__ import annotations

import numpy as np
import pytest

from covid_keras.data import samplewise_standardize
from tests.helpers.images import prepared_images

tf = pytest.importorskip("tensorflow")


def radiographs(n: int = 5, channels: int = 1) -> np.ndarray:
    """Return images of very different level and contrast, float32 0..255."""
    rng = np.random.default_rng(0)
    level, contrast = rng.uniform(20, 235, (2, n, 1, 1, 1))
    return np.clip(rng.normal(level, contrast / 8, (n, 24, 20, channels)), 0, 255).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 3])
def test_standardize_agrees_with_image_data_generator(channels):
    legacy = pytest.importorskip("keras.src.legacy.preprocessing.image")
    generator = legacy.ImageDataGenerator(samplewise_center=True, samplewise_std_normalization=True)
    images = radiographs(channels=channels)
    expected = [generator.standardize(image.copy()) for image in images]
    found = samplewise_standardize(images).numpy()
    np.testing.assert_allclose(found, expected, atol=2e-5)
    np.testing.assert_allclose(found.mean(axis=(1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(found.std(axis=(1, 2, 3)), 1, atol=1e-5)


@pytest.mark.parametrize("level", [0.0, 1 / 3, 200.0, 255.0])
def test_standardize_flat_images_are_zeros(level):
    images = np.full((2, 64, 64, 3), level, np.float32)
    images[1] += np.random.default_rng(0).uniform(-3e-5, 3e-5, images[1].shape)  # what interpolation leaves of it
    np.testing.assert_array_equal(samplewise_standardize(images), np.zeros_like(images))
    # One pixel one grey level brighter is no flat image any more.
    spotted = np.full((1, 256, 256, 1), 100, np.uint8)
    spotted[0, 3, 5] += 1
    assert samplewise_standardize(spotted).numpy().max() > 200


def test_standardize_each_image_by_itself():
    images = radiographs()
    together = samplewise_standardize(images).numpy()
    np.testing.assert_array_equal(samplewise_standardize(images[3:4])[0], together[3])
    np.testing.assert_array_equal(samplewise_standardize(tf.constant(images)), together)
    in_graph = tf.function(samplewise_standardize, input_signature=[tf.TensorSpec([None, None, None, 1])])
    np.testing.assert_allclose(in_graph(images), together, atol=1e-6)
    whole = np.rint(images).astype(np.uint8)
    from_bytes = samplewise_standardize(whole)
    assert from_bytes.dtype == tf.float32
    np.testing.assert_array_equal(from_bytes, samplewise_standardize(whole.astype(np.float32)))


def test_standardize_in_the_pipeline_after_augmentation(tmp_path):
    from covid_keras.data.augment import Augmentation, augment_batch
    from covid_keras.data.pipeline import make_dataset

    pixels = np.rint(radiographs(6)).astype(np.uint8)
    pixels[2] = 0  # no lung was found
    prepared = prepared_images(tmp_path, pixels)
    how = {"batch_size": 6, "scaling": samplewise_standardize, "channels": 3}
    augmentation = Augmentation.like_generator(rotation_range=15, zoom_range=0.15, fill_mode="constant")
    plan = np.arange(6).reshape(1, 1, 6)
    (fed,) = make_dataset(
        prepared, range(6), seed=3, training=True, augmentation=augmentation, plan=plan, **how
    ).as_numpy_iterator()
    moved = augment_batch(pixels.astype(np.float32), prepared.ids, 3, 0, augmentation)
    np.testing.assert_allclose(fed, samplewise_standardize(tf.repeat(moved, 3, axis=-1)), atol=1e-5)
    assert np.isfinite(fed).all()
    assert not fed[2].any()
    (tested,) = make_dataset(prepared, range(6), **how).as_numpy_iterator()
    np.testing.assert_allclose(tested[..., 1:2], samplewise_standardize(pixels), atol=1e-5)
