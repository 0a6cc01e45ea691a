"""COVID-CAPS against its formulas written as loops, and against the authors' weight file read by hand."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import h5py
import keras
import numpy as np
import pytest

from covid_keras.models import load_weights
from covid_keras.models.capsules import Capsule, Length, build_covid_caps
from papers.covid_sdnet.margin import MarginLoss
from tests.helpers.networks import assert_refused, authors_file, same_weights

FILE = "covid_caps_weights-improvement-binary-86.h5"
EPSILON = 1e-7


@pytest.fixture(scope="module")
def authors() -> Path:
    return authors_file(FILE)


def squashed(s: np.ndarray) -> np.ndarray:
    squared = sum(value * value for value in s) + EPSILON
    return np.sqrt(squared) / (1 + squared) * s


def routed(x: np.ndarray, kernel: np.ndarray, capsules: int, routings: int) -> np.ndarray:
    """Route one image's input capsules (n, dimension in), as the formulas stand, in float64."""
    u = (x @ kernel[0]).reshape(len(x), capsules, -1)  # u[n, j]: what input n predicts for output j
    logits = np.zeros((len(x), capsules))
    for _ in range(routings):
        outputs = []
        c = np.empty_like(logits)
        for n in range(len(x)):
            powers = [np.exp(logits[n, j] - logits[n].max()) for j in range(capsules)]
            c[n] = [power / sum(powers) for power in powers]
        for j in range(capsules):
            outputs.append(squashed(sum(c[n, j] * u[n, j] for n in range(len(x)))))
        for n in range(len(x)):
            for j in range(capsules):
                logits[n, j] = outputs[j] @ u[n, j]
    return np.array(outputs)


def convolved(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Valid convolution of one image (height, width, channels), then ReLU."""
    height, width = (side - 2 for side in x.shape[:2])
    shifted = (x[i : i + height, j : j + width] @ kernel[i, j] for i in range(3) for j in range(3))
    return np.maximum(sum(shifted) + bias, 0)


def covid_caps_by_hand(path: Path, image: np.ndarray) -> np.ndarray:
    """Pass one image (height, width, 3) through the network in float64, the tensors read by their places."""
    with h5py.File(path) as file:

        def tensor(layer: str, name: str) -> np.ndarray:
            return file[f"model_weights/{layer}/{layer}/{name}:0"][()].astype(np.float64)

        x = convolved(image.astype(np.float64), tensor("conv2d", "kernel"), tensor("conv2d", "bias"))
        norm = {name: tensor("batch_normalization", name) for name in ("gamma", "beta")}
        mean, variance = (tensor("batch_normalization", f"moving_{name}") for name in ("mean", "variance"))
        x = (x - mean) / np.sqrt(variance + 1e-3) * norm["gamma"] + norm["beta"]
        x = convolved(x, tensor("conv2d_1", "kernel"), tensor("conv2d_1", "bias"))
        height, width = (side // 2 * 2 for side in x.shape[:2])
        x = sum(x[i:height:2, j:width:2] for i in range(2) for j in range(2)) / 4
        for layer in ("conv2d_2", "conv2d_3"):
            x = convolved(x, tensor(layer, "kernel"), tensor(layer, "bias"))
        x = x.reshape(-1, 128)
        for layer, capsules in (("capsule", 32), ("capsule_1", 32), ("capsule_2", 2)):
            x = routed(x, tensor(layer, "capsule_kernel"), capsules, 3)
    return np.sqrt((x * x).sum(axis=1))


def random_images(count: int, height: int, width: int) -> np.ndarray:
    """Smooth structure with some noise, 0 to 1, so that the capsules do not all say the same."""
    rng = np.random.default_rng(0)
    coarse = rng.random((count, 5, 5, 3)).astype(np.float32)
    smooth = np.stack([cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR) for image in coarse])
    return np.clip(smooth + rng.normal(0, 0.05, smooth.shape), 0, 1).astype(np.float32)


@pytest.mark.parametrize("routings", [1, 2, 3, 5])
@pytest.mark.parametrize(
    ("inputs", "dimension_in", "capsules", "dimension"), [(9, 6, 4, 5), (30, 3, 2, 7), (1, 4, 3, 1)]
)
def test_routing_is_the_formulas(routings, inputs, dimension_in, capsules, dimension):
    rng = np.random.default_rng(routings)
    x = rng.normal(size=(3, inputs, dimension_in)).astype(np.float32)
    kernel = rng.normal(size=(1, dimension_in, capsules * dimension)).astype(np.float32)
    layer = Capsule(capsules, dimension, routings)
    layer.build(x.shape)
    layer.set_weights([kernel])
    expected = [routed(image.astype(np.float64), kernel.astype(np.float64), capsules, routings) for image in x]
    np.testing.assert_allclose(np.asarray(layer(x)), expected, atol=2e-6)


def test_capsules_of_a_number_below_one_are_refused():
    for numbers in ((0, 8, 3), (2, 0, 3), (2, 8, 0)):
        with pytest.raises(ValueError, match="at least 1"):
            Capsule(*numbers)


def test_architecture():
    model = build_covid_caps()
    assert model.count_params() == 295_488
    assert model.output_shape == (None, 2)
    assert model.get_layer("reshape").output.shape == (None, 11_236, 128)
    assert model.get_layer("conv2d_3").output.shape == (None, 106, 106, 128)
    assert build_covid_caps((32, 32, 3), classes=5).count_params() == 295_488 + 3 * 8 * 16
    assert build_covid_caps((14, 14, 3)).get_layer("reshape").output.shape == (None, 1, 128)


def test_any_size_where_height_and_width_are_left_open():
    fixed, open_size = build_covid_caps((20, 26, 3)), build_covid_caps((None, None, 3))
    open_size.set_weights(fixed.get_weights())
    images = random_images(2, 20, 26)
    np.testing.assert_allclose(np.asarray(fixed(images)), np.asarray(open_size(images)), atol=1e-6)
    assert open_size(random_images(1, 31, 17)).shape == (1, 2)


def test_saved_and_loaded_whole(tmp_path):
    model = build_covid_caps((16, 16, 3))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    images = random_images(2, 16, 16)
    np.testing.assert_array_equal(np.asarray(model(images)), np.asarray(loaded(images)))
    assert loaded.get_layer("capsule_2").get_config()["routings"] == 3


@pytest.mark.slow
def test_training_lowers_the_loss():
    """From lengths of 1e-8 at first: nothing on the way may cut off so small a gradient."""
    keras.utils.set_random_seed(0)
    model = build_covid_caps((32, 32, 3))
    model.compile(keras.optimizers.Adam(1e-3), MarginLoss())
    images = random_images(8, 32, 32)
    images[:4] *= 0.2
    labels = np.repeat(np.eye(2, dtype=np.float32), 4, axis=0)
    assert model.predict_on_batch(images).max() < 1e-7
    losses = [float(model.train_on_batch(images, labels)) for _ in range(40)]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.slow
def test_black_images_leave_the_weights_finite():
    model = build_covid_caps((16, 16, 3))
    model.compile("adam", MarginLoss())
    model.train_on_batch(np.zeros((2, 16, 16, 3), np.float32), np.eye(2, dtype=np.float32))
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_length_of_a_null_vector_has_a_finite_slope():
    tf = pytest.importorskip("tensorflow")
    vectors = tf.Variable([[[0.0, 0.0], [3.0, 4.0]]])
    with tf.GradientTape() as tape:
        lengths = Length()(vectors)
    np.testing.assert_allclose(lengths, [[0, 5]], atol=1e-6)
    np.testing.assert_allclose(tape.gradient(lengths, vectors), [[[0, 0], [0.6, 0.8]]], atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (35, 24)])
def test_authors_file_predicts_what_its_tensors_say(authors, height, width):
    model = build_covid_caps((height, width, 3))
    report = load_weights(model, authors)
    assert report.layout == "legacy"
    assert report.parameters == 295_488
    images = random_images(3, height, width)
    expected = np.array([covid_caps_by_hand(authors, image) for image in images])
    assert np.ptp(expected, axis=0).min() > 0.01  # the images are told apart
    np.testing.assert_allclose(model.predict(images, verbose=0), expected, atol=1e-5)


def test_authors_file_is_read_without_its_program(authors, tmp_path):
    """The stored architecture, whose Lambda is marshalled code, is never looked at: it can be anything."""
    copy = Path(shutil.copy(authors, tmp_path / "copy.h5"))
    copy.chmod(0o600)
    with h5py.File(copy, "a") as file:
        assert '"Lambda"' in _as_text(file.attrs["model_config"])
        for name in ("model_config", "training_config"):
            file.attrs[name] = b"\xff not to be read"
        del file["optimizer_weights"]
    original, loaded = build_covid_caps((16, 16, 3)), build_covid_caps((16, 16, 3))
    load_weights(original, authors)
    load_weights(loaded, copy)
    assert same_weights(original, loaded)
    assert not any(isinstance(layer, keras.layers.Lambda) for layer in loaded.layers)


def test_authors_file_for_another_number_of_classes_is_refused(authors):
    model = build_covid_caps((16, 16, 3), classes=3)
    assert_refused(model, lambda: load_weights(model, authors), "capsule_2/capsule_kernel:0 has shape (1, 8, 32)")


@pytest.mark.real
def test_authors_network_on_real_radiographs(authors, real_data):
    """Index 1 is COVID-19: its capsule is longer on radiographs of patients than on those without findings.

    On average only: at argmax the network calls most radiographs of a hospital it was not trained on COVID-19.
    """
    model = build_covid_caps()
    load_weights(model, authors)
    means = []
    for folder in ("nih-chestxray14-subset/No_findings", "COVID-CXNet/chest_xray_images/covid19"):
        paths = sorted((real_data / folder).glob("*.jpg"))
        grey = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths[:: len(paths) // 16]]
        images = np.stack([cv2.cvtColor(cv2.resize(image, (224, 224)), cv2.COLOR_GRAY2BGR) for image in grey])
        lengths = model.predict(images.astype(np.float32) / 255, batch_size=4, verbose=0)
        assert ((lengths > 0) & (lengths < 1)).all()
        means.append(lengths.mean(axis=0))
    (negative_0, negative_1), (positive_0, positive_1) = means
    assert positive_1 > negative_1
    assert positive_0 < negative_0


def _as_text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
