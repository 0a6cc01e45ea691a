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


def test_keras3_files_tell_layers_by_name_too(tmp_path):
    """Keras itself goes by class and order, and would load these two swapped."""
    source, target = _model(1), _model(2, swapped=True)
    source.save_weights(tmp_path / "w.weights.h5")
    report = load_weights(target, tmp_path / "w.weights.h5")
    assert _same(source, target)
    assert report.parameters == source.count_params()
    assert report.assigned["second/kernel"] == "conv2d_2/vars/0"
    with h5py.File(tmp_path / "w.weights.h5") as file:
        assert all(f"layers/{place}" in file for place in report.assigned.values())


def test_keras3_files_without_names_go_by_class_and_order(tmp_path):
    source, target = _model(1), _model(2)
    source.save_weights(tmp_path / "w.weights.h5")
    with h5py.File(tmp_path / "w.weights.h5", "a") as file:
        for group in file["layers"].values():
            group["vars"].attrs.pop("name", None)
    load_weights(target, tmp_path / "w.weights.h5")
    assert _same(source, target)


def _refused(model: keras.Model, path, words: str) -> None:
    before = model.get_weights()
    with pytest.raises(UserError, match=words):
        load_weights(model, path)
    assert all(np.array_equal(p, q) for p, q in zip(before, model.get_weights(), strict=True))


def test_keras3_misfits_change_nothing(tmp_path):
    source = _model(1)
    path = tmp_path / "w.weights.h5"
    source.save_weights(path)
    x = layers.Dense(3, name="more")(source.output)
    _refused(keras.Model(source.input, x), path, "no weights for the layer 'more'")
    part = keras.Model(source.input, source.get_layer("second").output)
    _refused(part, path, "holds weights of a layer 'second_bn' that")
    _refused(_model(2, width=5), path, r"has shape \(3, 3, 1, 4\)")
    with h5py.File(path, "a") as file:
        del file["layers/conv2d_1/vars/1"]
    _refused(_model(2), path, "layer 'first' holds 1 tensors, the model 2")


def test_random_states_are_no_weights(tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(2, name="out")(layers.Dropout(0.5, name="drop")(inputs)))
    model.compile("adam", "mse")
    model.fit(np.zeros((2, 4)), np.zeros((2, 2)), verbose=0)  # an optimiser state as well
    model.save_weights(tmp_path / "w.weights.h5")
    assert load_weights(model, tmp_path / "w.weights.h5").parameters == 10


@pytest.mark.parametrize("kind", [h5py.SoftLink, lambda place: h5py.ExternalLink("elsewhere.h5", place)])
@pytest.mark.parametrize("name", ["w.h5", "w.weights.h5"])
def test_links_are_not_followed(tmp_path, name, kind):
    source, path = _model(1), tmp_path / name
    save_weights(source, path) if name == "w.h5" else source.save_weights(path)
    group, place = ("entry", "entry/kernel:0") if name == "w.h5" else ("layers/conv2d/vars", "0")
    with h5py.File(path, "a") as file:
        with h5py.File(tmp_path / "elsewhere.h5", "w") as other:
            file.copy(file[group][place], other, "tensor")
        file["tensor"] = file[group][place]
        del file[group][place]
        file[group][place] = kind("/tensor")
    _refused(_model(2), path, "is a link, which may lead out of the file")


def test_tensors_stored_outside_are_not_read(tmp_path):
    path = save_weights(_model(1), tmp_path / "w.h5")
    (tmp_path / "raw").write_bytes(bytes(4 * 4))
    with h5py.File(path, "a") as file:
        del file["entry/entry/bias:0"]
        file["entry"].create_dataset("entry/bias:0", (4,), "f4", external=str(tmp_path / "raw"))
    _refused(_model(2), path, "is a link")


def _without_names(file: h5py.File) -> None:
    del file["first"].attrs["weight_names"]


def _without_group(file: h5py.File) -> None:
    del file["first"]


def _without_tensor(file: h5py.File) -> None:
    del file["first/first/bias:0"]


def _with_text(file: h5py.File) -> None:
    _without_tensor(file)
    file["first"].create_dataset("first/bias:0", data=[b"a", b"b", b"c", b"d"])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_without_names, "layer 'first' lists no weight_names"),
        (_without_group, "'first' is listed but absent"),
        (_without_tensor, "'first/bias:0' is listed but absent"),
        (_with_text, "first/first/bias:0 is no tensor of numbers"),
    ],
)
def test_incomplete_legacy_files_are_named(tmp_path, spoil, words):
    path = save_weights(_model(1), tmp_path / "w.h5")
    with h5py.File(path, "a") as file:
        spoil(file)
    _refused(_model(2), path, words)


def test_misfits_are_named_and_change_nothing(tmp_path):
    path = save_weights(_model(1), tmp_path / "w.h5")
    target = _model(2, width=5)
    before = target.get_weights()
    with pytest.raises(UserError, match=r"entry.*shape \(3, 3, 1, 4\)"):
        load_weights(target, path)
    assert all(np.array_equal(p, q) for p, q in zip(before, target.get_weights(), strict=True))
    with h5py.File(path, "a") as file:
        names = [name.decode() for name in file.attrs["layer_names"]]
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
    for name, change, word in (
        ("a", {"colour": 1}, "unknown key 'colour' in x"),
        ("b", {"licence": None}, r"lacks the key 'x\.licence'"),
        ("c", {"input_shape": [1, 1]}, r"x\.input_shape is \[1, 1\]"),
        ("d", {"bytes": "many"}, r"x\.bytes is 'many'"),
    ):
        path = tmp_path / f"{name}.yaml"
        changed = {key: value for key, value in (row | change).items() if value is not None}
        path.write_text(yaml.safe_dump({"x": changed}))
        with pytest.raises(UserError, match=word):
            load_registry(path)
    for name, text, word in (("e", "x: [1", "is not valid YAML"), ("f", "x: 3", "x must be a mapping")):
        path = tmp_path / f"{name}.yaml"
        path.write_text(text)
        with pytest.raises(UserError, match=word):
            load_registry(path)
    with pytest.raises(UserError, match=r"none\.yaml: cannot be read"):
        load_registry(tmp_path / "none.yaml")
