"""Weight files go where their names say, or not at all."""

from __future__ import annotations

import h5py
import keras
import numpy as np
import pytest
import yaml
from keras import layers

from covid_keras.errors import UserError
from covid_keras.models import load_weights, save_weights
from covid_keras.models.registry import find_weights, load_registry


def _model(seed: int, swapped: bool = False, width: int = 4) -> keras.Model:
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((8, 8, 1))
    names = ("first", "second") if not swapped else ("second", "first")
    x = layers.Conv2D(width, 3, padding="same", name="entry")(inputs)
    for name in names:
        x = layers.Conv2D(width, 3, padding="same", name=name)(x)
        x = layers.BatchNormalization(name=f"{name}_bn")(x)
    return keras.Model(inputs, layers.Dense(1, name="out")(layers.Flatten()(x)))


def _same(a: keras.Model, b: keras.Model) -> bool:
    return all(
        np.array_equal(p, q)
        for name in ("entry", "first", "second", "first_bn", "out")
        for p, q in zip(a.get_layer(name).get_weights(), b.get_layer(name).get_weights(), strict=True)
    )


def test_round_trip_and_report(tmp_path):
    source, target = _model(1), _model(2)
    report = load_weights(target, save_weights(source, tmp_path / "w.h5"))
    assert _same(source, target)
    assert report.layout == "legacy"
    assert report.parameters == source.count_params()
    assert len(report.assigned) == len(source.weights)


def test_layers_of_one_shape_in_another_order_do_not_swap(tmp_path):
    source, target = _model(1), _model(2, swapped=True)
    load_weights(target, save_weights(source, tmp_path / "w.h5"))
    assert _same(source, target)


@pytest.mark.parametrize("name", ["w.weights.h5", "wrong_suffix.h5"])
def test_keras3_files_whatever_their_suffix(tmp_path, name):
    source, target = _model(1), _model(2)
    source.save_weights(tmp_path / "w.weights.h5")
    (tmp_path / "w.weights.h5").rename(tmp_path / name)
    assert load_weights(target, tmp_path / name).layout == "keras3"
    assert _same(source, target)


def test_misfits_are_named_and_change_nothing(tmp_path):
    path = save_weights(_model(1), tmp_path / "w.h5")
    target = _model(2, width=5)
    before = target.get_weights()
    with pytest.raises(UserError, match=r"entry.*shape \(3, 3, 1, 4\)"):
        load_weights(target, path)
    assert all(np.array_equal(p, q) for p, q in zip(before, target.get_weights(), strict=True))
    with h5py.File(path, "a") as file:
        names = [str(name) for name in file.attrs["layer_names"]]
        file.attrs["layer_names"] = [("other" if name == "second" else name).encode() for name in names]
        file.move("second", "other")
        file["other"].attrs["weight_names"] = [b"second/kernel:0", b"second/bias:0"]
    with pytest.raises(UserError, match="no weights for the layer 'second'"):
        load_weights(_model(2), path)


@pytest.mark.parametrize("content", [b"", b"no HDF5 at all" * 50])
def test_files_that_are_no_weights(tmp_path, content):
    path = tmp_path / "w.h5"
    path.write_bytes(content)
    with pytest.raises(UserError, match="cannot be read as HDF5"):
        load_weights(_model(1), path)
    with h5py.File(tmp_path / "empty.h5", "w"):
        pass
    with pytest.raises(UserError, match="holds no Keras weights"):
        load_weights(_model(1), tmp_path / "empty.h5")


def test_registered_files_that_ship_are_whole():
    for entry in load_registry().values():
        if entry.ships:
            assert entry.verified().path.stat().st_size == entry.bytes


def test_registry_faults(tmp_path):
    with pytest.raises(UserError, match="is no registered weight file"):
        find_weights("no_such_file")
    row = {
        "file": "x.h5",
        "title": "t",
        "origin": "o",
        "licence": "l",
        "sha256": "0" * 64,
        "bytes": 1,
        "ships": False,
        "input_shape": [1, 1, 1],
        "input_range": "0..1",
        "classes": ["a"],
    }
    for name, change, word in (("a", {"colour": 1}, "unknown field 'colour'"), ("b", {"licence": None}, "lacks")):
        path = tmp_path / f"{name}.yaml"
        changed = {key: value for key, value in (row | change).items() if value is not None}
        path.write_text(yaml.safe_dump({"x": changed}))
        with pytest.raises(UserError, match=word):
            load_registry(path)
