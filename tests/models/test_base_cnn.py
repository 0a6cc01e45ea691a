"""The base CNN of COVID-CXNet, and the authors' files as Keras itself restores them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import cv2
import h5py
import keras
import numpy as np
import pytest

from covid_keras.common.errors import UserError
from covid_keras.models import load_weights
from covid_keras.models.cxnet import build_base_cnn

FILES = {
    "covid_cxnet_base_v1.0_eps=099_valAcc=0.9672.hdf5": (400, 400, 1),
    "covid_cxnet_base_v_free_eps=103_valLoss=0.0335.hdf5": (300, 300, 3),
}
SMALLER = "covid_cxnet_base_v_free_eps=103_valLoss=0.0335.hdf5"


def found(name: str) -> Path:
    path = Path(os.environ.get("COVID_KERAS_WEIGHTS", "")) / name
    if not path.is_file():
        pytest.skip(f"no {name} (set COVID_KERAS_WEIGHTS to a folder that holds it)")
    return path


@pytest.fixture(params=FILES)
def authors_file(request) -> Path:
    return found(request.param)


@pytest.fixture
def copy(tmp_path) -> Path:
    """A copy of the smaller file that may be spoilt."""
    path = Path(shutil.copy(found(SMALLER), tmp_path / "copy.hdf5"))
    path.chmod(0o600)
    return path


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
    with pytest.raises(ValueError, match="at least 65"):
        build_base_cnn((64, 300, 1))


def test_probability_is_float32_under_mixed_precision():
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = build_base_cnn((65, 65, 1))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert model.get_layer("fc_layer1").compute_dtype == "bfloat16"
    assert model(np.zeros((1, 65, 65, 1), np.float32)).dtype == "float32"


def test_authors_files_predict_what_keras_restores(authors_file):
    shape = FILES[authors_file.name]
    model = build_base_cnn(shape)
    report = load_weights(model, authors_file)
    assert report.layout == "legacy"
    assert report.parameters == model.count_params()
    restored = keras.models.load_model(authors_file, compile=False)  # holds no code, only layers of Keras
    images = _smooth_images(4, shape)
    expected, predicted = restored.predict(images, verbose=0), model.predict(images, verbose=0)
    np.testing.assert_allclose(predicted, expected, rtol=0, atol=1e-6)
    # Small probabilities too, by their logits, which tell the images apart.
    logits = np.log(expected / (1 - expected))
    assert np.ptp(logits) > 1
    np.testing.assert_allclose(np.log(predicted / (1 - predicted)), logits, atol=1e-3)


@pytest.mark.real
def test_authors_files_on_real_radiographs(authors_file, real_data):
    shape = FILES[authors_file.name]
    paths = [
        *sorted((real_data / "nih-chestxray14-subset/No_findings").glob("*.jpg"))[:2],
        *sorted((real_data / "COVID-CXNet/chest_xray_images/covid19").glob("*.jpg"))[:2],
    ]
    grey = [cv2.resize(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), shape[:2]) for path in paths]
    images = np.repeat(np.stack(grey)[..., None], shape[2], axis=3).astype(np.float32) / 255
    model = build_base_cnn(shape)
    load_weights(model, authors_file)
    expected = keras.models.load_model(authors_file, compile=False).predict(images, verbose=0)
    np.testing.assert_allclose(model.predict(images, verbose=0), expected, rtol=0, atol=1e-6)


def test_layers_of_one_shape_listed_in_another_order_do_not_swap(copy):
    """conv_layer2 to conv_layer5 have one shape; Keras, which goes by order, would swap them without a word."""
    with h5py.File(copy, "a") as file:
        names = list(file["model_weights"].attrs["layer_names"])
        places = [index for index, name in enumerate(names) if b"conv_layer" in name and name != b"conv_layer1"]
        for index, name in zip(places, [names[index] for index in reversed(places)], strict=True):
            names[index] = name
        assert names[2] == b"conv_layer5"
        file["model_weights"].attrs["layer_names"] = names
    loaded, original = build_base_cnn((300, 300, 3)), build_base_cnn((300, 300, 3))
    load_weights(loaded, copy)
    load_weights(original, found(SMALLER))
    for one, other in zip(loaded.get_weights(), original.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def _rename(path: Path) -> None:
    with h5py.File(path, "a") as file:
        root = file["model_weights"]
        root.move("conv_layer3", "conv2d_3")
        names = [b"conv2d_3" if name == b"conv_layer3" else name for name in root.attrs["layer_names"]]
        root.attrs["layer_names"] = names
        root["conv2d_3"].attrs["weight_names"] = [b"conv_layer3/kernel:0", b"conv_layer3/bias:0"]


def _drop(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["model_weights/conv_layer4/conv_layer4/bias:0"]


def _reshape(path: Path) -> None:
    with h5py.File(path, "a") as file:
        group = file["model_weights/fc_layer2/fc_layer2"]
        kernel = group["kernel:0"][()]
        del group["kernel:0"]
        group["kernel:0"] = kernel[:9]


def _cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_rename, "no weights for the layer 'conv_layer3'"),
        (_drop, "conv_layer4/bias:0' is listed but absent"),
        (_reshape, r"fc_layer2/kernel:0 has shape \(9, 10\)"),
        (_cut, "cannot be read as HDF5"),
    ],
)
def test_spoilt_copies_are_refused_and_change_nothing(copy, spoil, words):
    spoil(copy)
    model = build_base_cnn((300, 300, 3))
    before = model.get_weights()
    with pytest.raises(UserError, match=words):
        load_weights(model, copy)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_file_of_another_size_is_refused(copy):
    with pytest.raises(UserError, match=r"conv_layer1/kernel:0 has shape \(5, 5, 3, 32\)"):
        load_weights(build_base_cnn((300, 300, 1)), copy)
    with pytest.raises(UserError, match=r"fc_layer1/kernel:0 has shape \(2048, 10\)"):
        load_weights(build_base_cnn((400, 400, 3)), copy)


def _smooth_images(count: int, shape: tuple[int, int, int]) -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.random((count, 6, 6, shape[2])).astype(np.float32)
    large = [cv2.resize(image, shape[1::-1], interpolation=cv2.INTER_CUBIC) for image in coarse]
    return np.clip(np.reshape(large, (count, *shape)), 0, 1)
