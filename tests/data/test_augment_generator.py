"""The augmentation as Keras' legacy ImageDataGenerator has it: the same pictures, the same spread of parameters."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats

from covid_keras.common.settings import as_plain, build
from covid_keras.paper.protocol import AugmentationSettings
from tests.helpers.refusals import refused

tf = pytest.importorskip("tensorflow")

from covid_keras.data.augment import (  # noqa: E402
    Augmentation,
    apply_matrices,
    augment_batch,
    draw_parameters,
    transform_matrices,
)

SIDE = 40
# Hertel and Benlamri 2022, classifiers and segmenter, the percentages typed as Keras' numbers (degrees for angles).
PAPER = dict(rotation_range=15, width_shift_range=0.15, height_shift_range=0.15, shear_range=0.15, zoom_range=0.15)
SEGMENTER = dict(rotation_range=180, width_shift_range=0.3, height_shift_range=0.3, shear_range=20, zoom_range=0.2)
for _settings in (PAPER, SEGMENTER):
    _settings["horizontal_flip"] = True
UNEQUAL = {"width_shift_range": 0.3, "height_shift_range": 0.05, "zoom_range": [0.7, 1.1], "vertical_flip": True}
DRAWS = 3000


@pytest.fixture
def generator():
    """The legacy class; the newest scipy may lack what it calls."""
    legacy = pytest.importorskip("keras.src.legacy.preprocessing.image")
    if not hasattr(scipy.ndimage, "interpolation"):
        pytest.skip("Keras' ImageDataGenerator needs scipy.ndimage.interpolation, which this scipy lacks")
    return legacy.ImageDataGenerator


def pictures(n: int) -> np.ndarray:
    noise = np.random.default_rng(0).uniform(0, 255, (n, SIDE, SIDE, 1))
    return scipy.ndimage.gaussian_filter(noise, (0, 2, 2, 0)).astype(np.float32)


def drawn(settings: dict, n: int = DRAWS, seed: int = 1) -> dict[str, np.ndarray]:
    draw = tf.function(draw_parameters)  # one by one takes long in eager mode
    found = draw(tf.range(n, dtype=tf.int64), seed, 0, Augmentation.like_generator(**settings))
    return {name: value.numpy() for name, value in found.items()}


def as_generator(ours: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return our parameters under the names, in the units and with the signs of `get_random_transform`."""
    return {
        "theta": ours["rotation"],
        "shear": ours["shear"],
        "zx": 1 / ours["zoom_x"],
        "zy": 1 / ours["zoom_y"],
        "tx": -ours["shift_x"] * SIDE,
        "ty": -ours["shift_y"] * SIDE,
        "flip_horizontal": ours["flip"] < 0,
        "flip_vertical": ours["vertical_flip"] < 0,
    }


def one_of(parameters: dict[str, np.ndarray], index: int) -> dict[str, object]:
    return {name: values[index].item() for name, values in parameters.items()}


def off_the_edge(matrix: np.ndarray) -> np.ndarray:
    """Return where a pixel comes from well inside or well outside the picture: (H, W) bool."""
    y, x = np.mgrid[:SIDE, :SIDE]
    a0, a1, a2, b0, b1, b2 = matrix[:6]
    clear = [np.abs(p - edge) > 1.01 for p in (a0 * x + a1 * y + a2, b0 * x + b1 * y + b2) for edge in (0, SIDE - 1)]
    return np.logical_and.reduce(clear)


@pytest.mark.parametrize("settings", [PAPER, SEGMENTER, UNEQUAL], ids=["paper", "segmenter", "unequal"])
@pytest.mark.parametrize("fill", ["nearest", "constant"])
def test_the_same_parameters_give_the_generators_picture(generator, settings, fill):
    images, ids = pictures(10), np.arange(10)
    augmentation = Augmentation.like_generator(**settings, fill_mode=fill, cval=60.0)
    ours = draw_parameters(ids, 7, 2, augmentation)
    matrices = transform_matrices(ours, SIDE, SIDE).numpy()
    parameters = as_generator({name: value.numpy() for name, value in ours.items()})
    legacy = generator(fill_mode=fill, cval=60.0)
    results = augment_batch(images, ids, 7, 2, augmentation).numpy()
    compared = 0
    for index, (image, matrix, result) in enumerate(zip(images, matrices, results, strict=True)):
        expected = legacy.apply_transform(image, one_of(parameters, index))
        # Only against a constant the two treat the last pixel differently.
        where = off_the_edge(matrix) if fill == "constant" else np.ones((SIDE, SIDE), bool)
        np.testing.assert_allclose(result[where], expected[where], atol=0.05)
        compared += where.mean() / len(images)
    assert compared > 0.8


def test_what_the_generator_draws_gives_its_picture_here(generator):
    legacy, images = generator(**SEGMENTER), pictures(8)
    transforms = [legacy.get_random_transform(images.shape[1:], seed=seed) for seed in range(8)]
    names = [name for name in transforms[0] if name[0] in "tszf"]
    of = {name: np.array([float(one[name]) for one in transforms], np.float32) for name in names}
    ours = {
        "rotation": of["theta"],
        "shear": of["shear"],
        "zoom_x": 1 / of["zx"],
        "zoom_y": 1 / of["zy"],
        "shift_x": -of["tx"] / SIDE,
        "shift_y": -of["ty"] / SIDE,
        "flip": 1 - 2 * of["flip_horizontal"],
        "vertical_flip": 1 - 2 * of["flip_vertical"],
    }
    results = apply_matrices(images, transform_matrices({k: tf.constant(v) for k, v in ours.items()}, SIDE, SIDE))
    expected = [legacy.apply_transform(image, one) for image, one in zip(images, transforms, strict=True)]
    np.testing.assert_allclose(results, expected, atol=0.05)


@pytest.mark.parametrize("settings", [SEGMENTER, UNEQUAL], ids=["segmenter", "unequal"])
def test_parameters_are_spread_as_the_generators(generator, settings):
    ours = as_generator(drawn(settings))
    legacy = generator(**settings)
    np.random.seed(0)  # noqa: NPY002 - the class draws from it
    theirs = [legacy.get_random_transform((SIDE, SIDE, 1)) for _ in range(DRAWS)]
    for name, values in ours.items():
        reference = np.array([float(one[name]) for one in theirs])
        if np.ptp(reference) == 0:
            np.testing.assert_array_equal(values, reference, name)
        elif name.startswith("flip"):
            assert abs(values.mean() - 0.5) < 0.03, name
        else:
            assert scipy.stats.ks_2samp(values, reference).pvalue > 0.01, name


def test_parameters_are_uniform_and_fill_their_ranges():
    ours = as_generator(drawn(SEGMENTER))
    limits = {"theta": (-180, 180), "shear": (-20, 20), "zx": (0.8, 1.2), "zy": (0.8, 1.2), "tx": (-12, 12)}
    for name, (low, high) in limits.items():
        values, span = ours[name], high - low
        assert low - 1e-6 <= values.min() < low + 0.01 * span, name
        assert high - 0.01 * span < values.max() <= high + 1e-5, name
        assert scipy.stats.kstest(values, "uniform", (low, span)).pvalue > 0.01, name
        # The test would notice: the zoom factor, which is the reciprocal, is not uniform.
    assert scipy.stats.kstest(1 / ours["zx"], "uniform", (1 / 1.2, 1 / 0.8 - 1 / 1.2)).pvalue < 1e-6
    assert abs(np.corrcoef(ours["zx"], ours["zy"])[0, 1]) < 0.06


def centres(images: np.ndarray) -> np.ndarray:
    """Return the centre of mass of each image, (n, 2): row, column."""
    return np.array([scipy.ndimage.center_of_mass(image[..., 0]) for image in images])


@pytest.mark.parametrize(("name", "axis"), [("width_shift_range", 0), ("height_shift_range", 1)])
def test_shifts_go_where_the_generator_moves_them(generator, name, axis):
    blob = np.zeros((12, SIDE, SIDE, 1), np.float32)
    blob[:, 17:23, 17:23] = 200
    legacy = generator(**{name: 0.3})
    theirs = centres([legacy.random_transform(image, seed=seed) for seed, image in enumerate(blob)])
    ours = centres(augment_batch(blob, np.arange(12), 0, 0, Augmentation.like_generator(**{name: 0.3})).numpy())
    for found in (theirs, ours):
        assert np.ptp(found[:, axis]) > 10
        np.testing.assert_allclose(found[:, 1 - axis], 19.5, atol=1e-3)


def test_the_two_readings_of_fifteen_percent_shear():
    """0.15 as typed moves no pixel of 256 x 256 by half a pixel, 15 degrees some by 33."""
    for typed, least, most in ((0.15, 0.3, 0.5), (15, 32, 34)):
        assert Augmentation.like_generator(shear_range=typed).shear == typed
        fields = {name: tf.zeros(1) for name in ("rotation", "shift_x", "shift_y")}
        fields |= {name: tf.ones(1) for name in ("zoom_x", "zoom_y", "flip", "vertical_flip")}
        matrix = transform_matrices(fields | {"shear": tf.constant([float(typed)])}, 256, 256).numpy()[0, :6]
        y, x = np.mgrid[:256, :256].astype(float)
        a0, a1, a2, b0, b1, b2 = matrix.astype(float)
        moved = np.hypot(a0 * x + a1 * y + a2 - x, b0 * x + b1 * y + b2 - y).max()
        assert least < moved < most, typed


def test_no_argument_changes_nothing():
    augmentation = Augmentation.like_generator()
    assert not augmentation.moves
    assert not Augmentation.like_generator(zoom_range=[1, 1]).moves
    assert not Augmentation(zoom_range=(1, 1)).moves
    for one in (PAPER, {"zoom_range": 0.1}, {"vertical_flip": True}):
        assert Augmentation.like_generator(**one).moves


def test_earlier_seeds_draw_what_they_drew():
    """Numbers drawn before there was `zoom_range`; runs that go on depend on them."""
    augmentation = Augmentation(20, (0.1, 0.05), (0.8, 1.3), 10, True, vertical_flip=True, keep_aspect=False)
    found = draw_parameters([1, -7], 3, 4, augmentation)
    for name, values in {
        "rotation": [0.3809166, -15.49942],
        "shift_y": [0.09987662, -0.08626654],
        "shift_x": [0.008545946, 0.007949434],
        "zoom_y": [1.016011, 0.9717977],
        "zoom_x": [1.064941, 0.8518671],
        "shear": [-9.841507, -0.3582306],
        "vertical_flip": [1.0, -1.0],
    }.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-6, err_msg=name)
    # The same numbers decide the reciprocal: what is in the middle of one range is in the middle of the other.
    reciprocal = draw_parameters([1, -7], 3, 4, Augmentation(zoom_range=(0.8, 1.3), keep_aspect=False))
    np.testing.assert_allclose(1 / reciprocal["zoom_y"], found["zoom_y"], rtol=1e-6)
    one = draw_parameters([1, -7], 3, 4, Augmentation(zoom_range=(0.8, 1.3)))
    np.testing.assert_array_equal(one["zoom_x"], one["zoom_y"])


def test_a_protocol_can_say_it():
    said = {"rotation": 15, "shift": [0.15, 0.15], "shear": 0.15, "zoom_range": [0.85, 1.15], "keep_aspect": False}
    settings = build(AugmentationSettings, said | {"flip": True}, "protocol.yaml")
    assert Augmentation(**as_plain(settings)) == Augmentation.like_generator(**PAPER)
    # A run begun before has no such key; None is what is read of a missing one.
    assert as_plain(AugmentationSettings())["zoom_range"] is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width_shift_range": 5}, "width_shift_range.*fraction"),
        ({"height_shift_range": [-3, 3]}, "height_shift_range.*fraction"),
        ({"zoom_range": 1.0}, "zoom_range"),
        ({"zoom_range": [0.8, 1.0, 1.2]}, "pair"),
        ({"rotation_range": -5}, "rotation"),
        ({"fill_mode": "wrap"}, "Use one of nearest"),
    ],
)
def test_arguments_that_make_no_sense_are_named(settings, message):
    refused(message, Augmentation.like_generator, **settings)


def test_one_zoom_at_a_time():
    refused(r"zoom_range.*Give one of the two", Augmentation, zoom=(0.9, 1.1), zoom_range=(0.9, 1.1))
