"""The layer of equations 1 and 2: each reading against numpy, its statistics kept with the weights."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from covid_keras.models.standardise import MODES, Standardise, minmax
from covid_keras.models.weights import load_weights, save_weights
from tests.helpers.networks import same_weights


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Nine radiographs of uneven brightness and contrast, 0..255."""
    rng = np.random.default_rng(0)
    low, high = rng.uniform(0, 60, 9), rng.uniform(100, 255, 9)
    shape = rng.random((9, 6, 8, 1)) ** rng.uniform(0.3, 3, (9, 1, 1, 1))
    return (low[:, None, None, None] + shape * (high - low)[:, None, None, None]).astype(np.float32)


def _normalised(images: np.ndarray) -> np.ndarray:
    """Equation 1 by numpy, image by image."""
    return np.stack([(one - one.min()) / (one.max() - one.min()) for one in images.astype(np.float64)])


def _adapted(mode: str, images: np.ndarray) -> Standardise:
    layer = Standardise(mode)
    layer.build((None, *images.shape[1:]))
    layer.adapt([images])
    return layer


def _each(images: np.ndarray) -> np.ndarray:
    """Equation 2 by numpy, each image by its own mean and std."""
    return np.stack([(one - one.mean()) / one.std() for one in _normalised(images)])


def test_the_words_of_the_paper_take_the_pixels_of_all_training_images(images):
    layer = _adapted("global", images[:5])
    train = _normalised(images[:5])
    assert float(layer.mean) == pytest.approx(train.mean(), rel=1e-5)
    assert float(layer.std) == pytest.approx(train.std(), rel=1e-5)
    expected = (_normalised(images) - train.mean()) / train.std()
    for training in (True, False):
        np.testing.assert_allclose(layer(images, training=training), expected, atol=1e-5)
    assert abs(np.asarray(layer(images[:5])).mean()) < 1e-5


def test_the_authors_standardise_training_images_one_by_one_and_others_by_averages(images):
    layer = _adapted("authors", images[:5])
    train = _normalised(images[:5])
    std = np.mean([one.std() for one in train])
    assert float(layer.mean) == pytest.approx(train.mean(), rel=1e-5)
    assert float(layer.std) == pytest.approx(std, rel=1e-5)
    assert float(layer.std) < float(_adapted("global", images[:5]).std), "spread between images is not in it"
    np.testing.assert_allclose(layer(images, training=True), _each(images), atol=1e-5)
    expected = (_normalised(images) - train.mean()) / std
    np.testing.assert_allclose(layer(images), expected, atol=1e-5)
    np.testing.assert_allclose(layer(images, training=False), expected, atol=1e-5)
    assert not np.allclose(expected, _each(images), atol=1e-2)


def test_each_image_by_itself_needs_nothing_learnt(images):
    layer = Standardise("per_image")
    for training in (True, False):
        np.testing.assert_allclose(layer(images, training=training), _each(images), atol=1e-5)
    layer.adapt([images])
    assert layer.weights == []


def test_a_network_that_is_trained_takes_the_readings_of_training(images):
    """`fit` and `predict` say which it is; the statistics are no weights that a step changes."""
    layer = _adapted("authors", images[:5])
    network = keras.Sequential([keras.Input(images.shape[1:]), layer])
    np.testing.assert_allclose(network(images, training=True), _each(images), atol=1e-5)
    np.testing.assert_allclose(network.predict(images, verbose=0), layer(images), atol=1e-5)
    assert layer.trainable_weights == []
    assert {weight.name for weight in layer.non_trainable_weights} == {"mean", "std"}


@pytest.mark.parametrize("mode", ["global", "authors"])
@pytest.mark.parametrize("sizes", [(9,), (4, 4, 1), (1,) * 9])
def test_batches_of_any_size_give_the_statistics_of_the_whole(images, mode, sizes):
    layer, whole = Standardise(mode), _adapted(mode, images)
    layer.build((None, *images.shape[1:]))
    layer.adapt(iter(np.split(images, np.cumsum(sizes)[:-1])))
    assert (float(layer.mean), float(layer.std)) == pytest.approx((float(whole.mean), float(whole.std)), rel=1e-6)
    layer.adapt([images[:3]])
    assert float(layer.mean) == pytest.approx(_normalised(images[:3]).mean(), rel=1e-5), "anew, not added"


@pytest.mark.parametrize("mode", MODES)
def test_brightness_and_contrast_are_of_no_account(images, mode):
    layer = _adapted(mode, images)
    for other in (images / 255, 3 * images + 500, images.astype(np.float64)):
        np.testing.assert_allclose(layer(other.astype(np.float32)), layer(images), atol=2e-4)
    assert 0 == float(np.min(minmax(images))) < float(np.max(minmax(images))) == 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("level", [0.0, 7.0, 255.0])
def test_an_image_of_one_grey_level_is_a_number_everywhere(images, mode, level):
    flat = np.full((1, *images.shape[1:]), level, np.float32)
    layer = _adapted(mode, images)
    expected = 0 if mode == "per_image" else -float(layer.mean) / float(layer.std)
    np.testing.assert_allclose(layer(flat), np.full_like(flat, expected), atol=1e-6)
    if mode != "per_image":
        nothing = _adapted(mode, flat)
        assert (float(nothing.mean), float(nothing.std)) == (0, 1)
        both = _adapted(mode, np.concatenate([images, flat]))
        assert float(both.mean) == pytest.approx(_normalised(images).mean() * 9 / 10, rel=1e-5), "it is not dropped"


def test_before_it_learns_anything_equation_2_does_nothing(images):
    np.testing.assert_allclose(Standardise()(images), _normalised(images), atol=1e-6)


def _network(mode: str, shape) -> keras.Model:
    inputs = keras.Input(shape, name="radiograph")
    x = keras.layers.Conv2D(2, 3, name="conv")(Standardise(mode, name="standardise")(inputs))
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D(name="pool")(x), name="tiny")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("suffix", [".h5", ".weights.h5"])
def test_statistics_travel_with_the_weights(images, tmp_path, mode, suffix):
    network, path = _network(mode, images.shape[1:]), tmp_path / f"net{suffix}"
    network.get_layer("standardise").adapt([images])
    if suffix == ".h5":
        save_weights(network, path)
    else:
        network.save_weights(path)
    for load in (lambda other: load_weights(other, path), *([keras.Model.load_weights] if suffix != ".h5" else [])):
        other = _network(mode, images.shape[1:])
        load(other) if load is not keras.Model.load_weights else other.load_weights(path)
        np.testing.assert_array_equal(other(images), network(images))
        assert same_weights(network, other)


def test_a_saved_model_knows_its_reading(images, tmp_path):
    network = _network("authors", images.shape[1:])
    network.get_layer("standardise").adapt([images])
    network.save(tmp_path / "net.keras")
    other = keras.saving.load_model(tmp_path / "net.keras")
    assert other.get_layer("standardise").mode == "authors"
    for training in (True, False):
        np.testing.assert_array_equal(other(images, training=training), network(images, training=training))


def test_an_unknown_reading_is_refused():
    with pytest.raises(ValueError, match=r"mode must be one of \('global', 'authors', 'per_image'\), not 'paper'"):
        Standardise("paper")
