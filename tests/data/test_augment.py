"""Augmentation: known answers, against scipy, and reproducibility (`test_augment_generator` has Keras' own)."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage

from tests.helpers.refusals import refused

tf = pytest.importorskip("tensorflow")

from covid_keras.data.augment import (  # noqa: E402
    Augmentation,
    apply_matrices,
    augment_batch,
    draw_parameters,
    transform_matrices,
)

EVERYTHING = Augmentation(
    20, (0.1, 0.05), (0.8, 1.3), 10, True, vertical_flip=True, keep_aspect=False, brightness=(0.9, 1.1),
    contrast=(0.9, 1.1),
)  # fmt: skip
NOTHING = dict.fromkeys(("rotation", "shift_y", "shift_x", "shear"), 0.0)
NOTHING |= dict.fromkeys(("zoom_y", "zoom_x", "flip", "vertical_flip"), 1.0)


def picture(height: int = 40, width: int = 40, channels: int = 1, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).uniform(0, 255, (height, width, channels))
    return scipy.ndimage.gaussian_filter(noise, (2, 2, 0)).astype(np.float32)


def matrix(height: int, width: int, **changed: float) -> np.ndarray:
    parameters = {name: tf.constant([value], tf.float32) for name, value in {**NOTHING, **changed}.items()}
    return transform_matrices(parameters, height, width).numpy()


def moved(image: np.ndarray, fill: str = "nearest", **changed: float) -> np.ndarray:
    return apply_matrices(image[None], matrix(*image.shape[:2], **changed), fill).numpy()[0]


def test_augment_defaults_change_nothing():
    images = np.stack([picture(seed=seed) for seed in range(3)])
    np.testing.assert_array_equal(augment_batch(images, [1, 2, 3], 0, 0, Augmentation()), images)
    assert not Augmentation().moves


def test_augment_known_answers():
    image = picture(30, 40)
    np.testing.assert_array_equal(moved(image, flip=-1.0), image[:, ::-1])
    np.testing.assert_array_equal(moved(image, vertical_flip=-1.0), image[::-1])
    right = moved(image, "constant", shift_x=0.25)
    np.testing.assert_allclose(right[:, 10:], image[:, :-10], atol=1e-3)
    assert not right[:, :10].any()
    down = moved(image, "constant", shift_y=0.1)
    np.testing.assert_allclose(down[3:], image[:-3], atol=1e-3)
    np.testing.assert_allclose(moved(picture(), rotation=90.0), np.rot90(picture()), atol=2e-2)


def test_augment_zoom_above_one_enlarges():
    image = np.zeros((41, 41, 1), np.float32)
    image[16:25, 16:25] = 255
    assert moved(image, zoom_x=2.0, zoom_y=2.0).sum() == pytest.approx(4 * image.sum(), rel=0.05)
    assert moved(image, zoom_x=0.5, zoom_y=1.0).sum() == pytest.approx(image.sum() / 2, rel=0.15)


@pytest.mark.parametrize("fill", ["nearest", "constant", "reflect"])
def test_augment_agrees_with_scipy(fill):
    image = picture(33, 50)
    changed = {
        "rotation": 17.0,
        "shift_x": 0.1,
        "shift_y": -0.05,
        "zoom_x": 0.8,
        "zoom_y": 1.2,
        "shear": 9.0,
        "flip": -1.0,
    }
    a0, a1, a2, b0, b1, b2 = matrix(33, 50, **changed)[0, :6].astype(float)
    mode = {"constant": "grid-constant"}.get(fill, fill)
    expected = scipy.ndimage.affine_transform(image[..., 0], [[b1, b0], [a1, a0]], [b2, a2], order=1, mode=mode)
    np.testing.assert_allclose(moved(image, fill, **changed)[..., 0], expected, atol=0.05)


def test_augment_depends_on_seed_epoch_and_image_only():
    images = np.stack([picture(24, 24, seed=seed) for seed in range(6)])
    ids = np.array([5, -7, 2**62, 11, 0, 3])
    together = augment_batch(images, ids, 4, 2, EVERYTHING).numpy()
    order = [3, 0, 5]
    np.testing.assert_array_equal(augment_batch(images[order], ids[order], 4, 2, EVERYTHING), together[order])
    compiled = tf.function(augment_batch)(images, ids, 4, tf.constant(2, tf.int64), EVERYTHING)
    np.testing.assert_array_equal(compiled, together)
    for other in (augment_batch(images, ids, 5, 2, EVERYTHING), augment_batch(images, ids, 4, 3, EVERYTHING)):
        assert not np.isclose(other.numpy(), together).all(axis=(1, 2, 3)).any()


def test_augment_parameters_fill_their_ranges():
    draw = tf.function(draw_parameters)  # 4,000 draws one by one take long in eager mode
    drawn = {name: value.numpy() for name, value in draw(tf.range(4000, dtype=tf.int64), 1, 0, EVERYTHING).items()}
    for name, low, high in [
        ("rotation", -20, 20),
        ("shift_y", -0.1, 0.1),
        ("shift_x", -0.05, 0.05),
        ("zoom_x", 0.8, 1.3),
        ("zoom_y", 0.8, 1.3),
        ("shear", -10, 10),
        ("brightness", 0.9, 1.1),
    ]:
        assert low <= drawn[name].min() < low + 0.01 * (high - low), name
        assert high - 0.01 * (high - low) < drawn[name].max() <= high, name
    assert abs(drawn["flip"].mean()) < 0.1
    assert abs(np.corrcoef(drawn["zoom_x"], drawn["zoom_y"])[0, 1]) < 0.1
    same = draw_parameters(tf.range(9, dtype=tf.int64), 1, 0, Augmentation(zoom=(0.5, 2)))
    np.testing.assert_array_equal(same["zoom_x"], same["zoom_y"])


def test_augment_brightness_and_contrast_stay_in_range():
    images = np.stack([picture(seed=1), np.full((40, 40, 1), 250, np.float32)])
    result = augment_batch(images, [1, 2], 0, 0, Augmentation(brightness=(1.2, 1.2))).numpy()
    np.testing.assert_allclose(result, np.minimum(images * 1.2, 255), rtol=1e-5)
    flat = augment_batch(images, [1, 2], 0, 0, Augmentation(contrast=(0.5, 0.5))).numpy()
    np.testing.assert_allclose(flat.mean(axis=(1, 2, 3)), images.mean(axis=(1, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose(flat[0].std(), images[0].std() / 2, rtol=1e-3)


def test_augment_masks_keep_their_values_and_follow_the_image():
    mask = np.where(picture() > 127, 255, 0).astype(np.float32)
    turned = apply_matrices(mask[None], matrix(40, 40, rotation=30.0), interpolation="nearest").numpy()
    assert set(np.unique(turned)) <= {0.0, 255.0}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"zoom": (1.2, 0.8)}, "augmentation zoom"),
        ({"rotation": -5}, "augmentation rotation"),
        ({"fill": "wrap"}, "Use one of nearest"),
        ({"shift": 0.1}, "pair"),
        ({"brightness": (0, 1)}, "brightness"),
    ],
)
def test_augment_bad_settings_are_named(settings, message):
    refused(message, Augmentation, **settings)
