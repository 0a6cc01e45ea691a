"""The base CNN of COVID-CXNet, and the authors' files as Keras itself restores them."""

from __future__ import annotations

from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from covid_keras.models import load_weights
from covid_keras.models.cxnet import build_base_cnn
from tests.helpers.networks import assert_refused, authors_file

FILES = {
    "covid_cxnet_base_v1.0_eps=099_valAcc=0.9672.hdf5": (400, 400, 1),
    "covid_cxnet_base_v_free_eps=103_valLoss=0.0335.hdf5": (300, 300, 3),
}


@pytest.fixture(params=FILES)
def authors(request) -> Path:
    return authors_file(request.param)


@pytest.mark.parametrize(
    ("shape", "parameters"),
    [((400, 400, 1), 76_675), ((400, 400, 3), 78_275), ((320, 320, 3), 60_035), ((300, 300, 3), 60_035)],
)
def test_parameter_counts_are_the_authors(shape, parameters):
    assert build_base_cnn(shape).count_params() == parameters


def test_architecture():
    model = build_base_cnn((320, 320, 3))
    sides = [model.get_layer(f"conv_layer{number}").output.shape[1] for number in range(1, 6)]
    assert sides == [158, 78, 38, 18, 8]
    assert model.output_shape == (None, 1)
    assert build_base_cnn((65, 65, 1)).get_layer("conv_layer5").output.shape == (None, 1, 1, 32)


def test_authors_files_predict_what_keras_restores(authors):
    shape = FILES[authors.name]
    model = build_base_cnn(shape)
    report = load_weights(model, authors)
    assert report.layout == "legacy"
    assert report.parameters == model.count_params()
    restored = keras.models.load_model(authors, compile=False)  # holds no code, only layers of Keras
    images = _smooth_images(4, shape)
    expected, predicted = restored.predict(images, verbose=0), model.predict(images, verbose=0)
    np.testing.assert_allclose(predicted, expected, rtol=0, atol=1e-6)
    # Small probabilities too, by their logits, which tell the images apart.
    logits = np.log(expected / (1 - expected))
    assert np.ptp(logits) > 1
    np.testing.assert_allclose(np.log(predicted / (1 - predicted)), logits, atol=1e-3)


def test_a_file_of_another_size_is_refused(authors):
    model = build_base_cnn((320, 320, 1) if FILES[authors.name][2] == 3 else (320, 320, 3))
    assert_refused(model, lambda: load_weights(model, authors), "conv_layer1/kernel:0 has shape")


@pytest.mark.real
def test_authors_files_on_real_radiographs(authors, real_data):
    shape = FILES[authors.name]
    paths = [
        *sorted((real_data / "nih-chestxray14-subset/No_findings").glob("*.jpg"))[:2],
        *sorted((real_data / "COVID-CXNet/chest_xray_images/covid19").glob("*.jpg"))[:2],
    ]
    grey = [cv2.resize(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), shape[:2]) for path in paths]
    images = np.repeat(np.stack(grey)[..., None], shape[2], axis=3).astype(np.float32) / 255
    model = build_base_cnn(shape)
    load_weights(model, authors)
    expected = keras.models.load_model(authors, compile=False).predict(images, verbose=0)
    np.testing.assert_allclose(model.predict(images, verbose=0), expected, rtol=0, atol=1e-6)


def _smooth_images(count: int, shape: tuple[int, int, int]) -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.random((count, 6, 6, shape[2])).astype(np.float32)
    large = [cv2.resize(image, shape[1::-1], interpolation=cv2.INTER_CUBIC) for image in coarse]
    return np.clip(np.reshape(large, (count, *shape)), 0, 1)
