"""Weight files go where their names say, or not at all."""

from __future__ import annotations

import os
import tracemalloc

import h5py
import keras
import numpy as np
import pytest
import yaml
from keras import layers

from covid_keras.common.errors import UserError
from covid_keras.models import load_weights, save_weights
from covid_keras.models.registry import find_weights, load_registry, store_folder
from covid_keras.models.weights import build_registered
from tests.helpers.networks import assert_refused, read_names, same_weights, write_names


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
    """By name: the two may be built in another order."""
    names = ("entry", "first", "second", "first_bn", "out")
    return all(same_weights(a.get_layer(name), b.get_layer(name)) for name in names)


def _refused(model: keras.Model, path, *words: str) -> None:
    assert_refused(model, lambda: load_weights(model, path), *words)


def _write(model: keras.Model, path):
    """Write a file in the layout that its name asks for."""
    model.save_weights(path) if path.name.endswith(".weights.h5") else save_weights(model, path)
    return path


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


def test_keras3_misfits_change_nothing(tmp_path):
    source = _model(1)
    path = tmp_path / "w.weights.h5"
    source.save_weights(path)
    x = layers.Dense(3, name="more")(source.output)
    _refused(keras.Model(source.input, x), path, "no weights for the layer 'more'")
    part = keras.Model(source.input, source.get_layer("second").output)
    _refused(part, path, "has weights for a layer 'second_bn' that")
    _refused(_model(2, width=5), path, "has shape (3, 3, 1, 4)")
    with h5py.File(path, "a") as file:
        del file["layers/conv2d_1/vars/1"]
    _refused(_model(2), path, "layer 'first' has 1 tensors, in the model 2")


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
    path = _write(_model(1), tmp_path / name)
    group, place = ("entry", "entry/kernel:0") if name == "w.h5" else ("layers/conv2d/vars", "0")
    with h5py.File(path, "a") as file:
        with h5py.File(tmp_path / "elsewhere.h5", "w") as other:
            file.copy(file[group][place], other, "tensor")
        file["tensor"] = file[group][place]
        del file[group][place]
        file[group][place] = kind("/tensor")
    _refused(_model(2), path, "is a link")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("place", ["first/first/bias:0", "first", "model_weights", "layers"])
def test_the_other_file_is_not_even_opened(tmp_path, place):
    """What waits at a link's end may be a device, or another user's file; a pipe that nobody writes to blocks."""
    os.mkfifo(tmp_path / "pipe")
    path = save_weights(_model(1), tmp_path / "w.h5")
    with h5py.File(path, "a") as file:
        if place == "layers":
            del file.attrs["layer_names"]
        if place.startswith("first"):
            del file[place]
        file[place] = h5py.ExternalLink(str(tmp_path / "pipe"), "/")
    _refused(_model(2), path, f"{place.split('/')[-1]}' is a link")


def test_tensors_stored_outside_are_not_read(tmp_path):
    path = save_weights(_model(1), tmp_path / "w.h5")
    (tmp_path / "raw").write_bytes(bytes(4 * 4))
    with h5py.File(path, "a") as file:
        del file["entry/entry/bias:0"]
        file["entry"].create_dataset("entry/bias:0", (4,), "f4", external=str(tmp_path / "raw"))
    _refused(_model(2), path, "is a link")


def _with(**dataset):
    """A change that puts another data set in the place of the bias of "first"."""

    def spoil(file: h5py.File) -> None:
        del file["first/first/bias:0"]
        file["first"].create_dataset("first/bias:0", **dataset)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda file: file["first"].attrs.pop("weight_names"), "layer 'first' lists no weight_names"),
        (lambda file: file.pop("first"), "'first' is listed but absent"),
        (lambda file: file.pop("first/first/bias:0"), "'first/bias:0' is listed but absent"),
        (_with(data=[b"a", b"b", b"c", b"d"]), "first/first/bias:0 must be a tensor"),
    ],
)
def test_incomplete_legacy_files_are_named(tmp_path, spoil, words):
    path = save_weights(_model(1), tmp_path / "w.h5")
    with h5py.File(path, "a") as file:
        spoil(file)
    _refused(_model(2), path, words)


def test_misfits_are_named_and_change_nothing(tmp_path):
    path = save_weights(_model(1), tmp_path / "w.h5")
    _refused(_model(2, width=5), path, "entry", "shape (3, 3, 1, 4)")
    with h5py.File(path, "a") as file:
        names = read_names(file, "layer_names")
        write_names(file, "layer_names", ["other" if name == "second" else name for name in names])
        file.move("second", "other")
        file["other"].attrs["weight_names"] = [b"second/kernel:0", b"second/bias:0"]
    _refused(_model(2), path, "no weights for the layer 'second'")


@pytest.mark.parametrize("name", ["w.h5", "w.weights.h5"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated_files_are_refused(tmp_path, name, share):
    path = _write(_model(1), tmp_path / name)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    _refused(_model(2), path, "cannot be read as HDF5")


def test_any_spoilt_byte_gives_a_clear_word_or_no_harm(tmp_path):
    """Whatever h5py raises on the way, it is one line to the user, and the model is as before."""
    path, rng = save_weights(_model(1), tmp_path / "w.h5"), np.random.default_rng(0)
    content, model, refusals = path.read_bytes(), _model(2), 0
    for _ in range(60):
        spoilt = bytearray(content)
        for place in rng.integers(0, len(content), 20):
            spoilt[place] = rng.integers(256)
        path.write_bytes(spoilt)
        before = model.get_weights()
        try:
            load_weights(model, path)
        except UserError:
            refusals += 1
            assert all(np.array_equal(p, q) for p, q in zip(before, model.get_weights(), strict=True))
    assert refusals > 20


def test_a_lists_order_does_not_matter(tmp_path):
    source, target = _model(1), _model(2)
    path = save_weights(source, tmp_path / "w.h5")
    with h5py.File(path, "a") as file:
        file.attrs["layer_names"] = file.attrs["layer_names"][::-1]
        for group in file.values():
            group.attrs["weight_names"] = group.attrs["weight_names"][::-1]
    load_weights(target, path)
    assert _same(source, target)


@pytest.mark.slow
def test_code_in_a_file_is_not_run(tmp_path):
    """A whole model of Keras 2, `Lambda` included: its tensors are read, its architecture is not."""
    marker = tmp_path / "ran"
    written = str(marker)
    inputs = keras.Input((8, 8, 1))
    x = layers.Lambda(lambda image: [image, open(written, "w").close()][0], name="code")(inputs)
    source = keras.Model(inputs, _model(1)(x))
    source.save(tmp_path / "whole.h5")
    with h5py.File(tmp_path / "whole.h5", "a") as file:
        assert "Lambda" in file.attrs["model_config"]
        for key in list(file["model_weights"]):
            del file["model_weights"][key]
        save_weights(_model(1), tmp_path / "w.h5")
        with h5py.File(tmp_path / "w.h5") as other:
            for key in other:
                other.copy(key, file["model_weights"])
            file["model_weights"].attrs["layer_names"] = other.attrs["layer_names"]
    marker.unlink()
    target = _model(2)
    load_weights(target, tmp_path / "whole.h5")
    assert _same(_model(1), target)
    assert not marker.exists()


def _rename(path, old: str, new: str) -> None:
    """Call a layer's tensors as Keras 1 did, or otherwise."""
    with h5py.File(path, "a") as file:
        group = file["first_bn"]
        names = read_names(group, "weight_names")
        changed = [name.replace(old, new) for name in names]
        for name, other in zip(names, changed, strict=True):
            if name != other:
                group.move(name, other)
        write_names(group, "weight_names", changed)


@pytest.mark.parametrize("changes", [{"/moving_": "_1_running_", "variance": "std"}, {"gamma": "gamma_1"}])
def test_older_names_of_tensors(tmp_path, changes):
    path = save_weights(_model(1), tmp_path / "w.h5")
    with h5py.File(path, "a") as file:
        # In another order, so that going by order would be seen.
        write_names(file["first_bn"], "weight_names", read_names(file["first_bn"], "weight_names")[::-1])
    for old, new in changes.items():
        _rename(path, old, new)
    target = _model(2)
    load_weights(target, path)
    assert _same(_model(1), target)


def test_names_that_say_nothing_go_by_order_only_where_shapes_leave_no_doubt(tmp_path):
    path = save_weights(_model(1), tmp_path / "w.h5")
    with h5py.File(path, "a") as file:
        for number, name in enumerate(("kernel", "bias")):
            file["first"].move(f"first/{name}:0", f"first/p{number}x")
        file["first"].attrs["weight_names"] = [b"first/p0x", b"first/p1x"]
    target = _model(2)
    load_weights(target, path)
    assert _same(_model(1), target)
    _rename(path, "gamma", "scale")
    _refused(_model(2), path, "scale:0 matches more than one or none of gamma, beta, moving_mean")


def test_slashes_in_names_of_layers(tmp_path):
    """Keras 2 allowed them (DenseNet's "conv1/bn"), Keras 3 does not."""
    path = save_weights(_model(1), tmp_path / "w.h5")
    with h5py.File(path, "a") as file:
        file.move("first_bn", "first/bn")
        names = read_names(file, "layer_names")
        write_names(file, "layer_names", [name.replace("first_bn", "first/bn") for name in names])
    target = _model(2)
    load_weights(target, path)
    assert _same(_model(1), target)
    with h5py.File(path, "a") as file:
        file.copy("first/bn", "first_bn")
        write_names(file, "layer_names", [*read_names(file, "layer_names"), "first_bn"])
    _refused(_model(2), path, "holds two layers called 'first_bn'")


def test_long_lists_of_names_are_split_as_keras_does(tmp_path, monkeypatch):
    monkeypatch.setattr("covid_keras.models.weights._LONGEST_ATTRIBUTE", 40)
    source, target = _model(1), _model(2)
    path = save_weights(source, tmp_path / "w.h5")
    with h5py.File(path) as file:
        assert "layer_names" not in file.attrs
        assert "layer_names1" in file.attrs
        assert "weight_names1" in file["first_bn"].attrs
    load_weights(target, path)
    assert _same(source, target)
    target = _model(2)
    target.load_weights(path)
    assert _same(source, target)


def _named(*names: bytes, more: bool = False):
    """A change of the list of layers."""
    listed = (lambda file: [*file.attrs["layer_names"], *names]) if more else (lambda file: names)
    return lambda file: file.attrs.__setitem__("layer_names", np.array(listed(file)))


def _instead(what):
    """A change that puts another kind of object, or none, in the place of the bias of "first"."""

    def spoil(file: h5py.File) -> None:
        del file["first/first/bias:0"]
        what(file, "first/first/bias:0")

    return spoil


def _upwards(file: h5py.File) -> None:
    file["first"].attrs["weight_names"] = [b"first/kernel:0", b"../first/first/bias:0"]


def _referring(file: h5py.File) -> None:
    _with(data=np.array([file.ref] * 4, h5py.ref_dtype), dtype=h5py.ref_dtype)(file)


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("elsewhere.h5", "x", (4,))
    del file["first/first/bias:0"]
    file["first"].create_virtual_dataset("first/bias:0", layout)


NO_TENSOR = "first/bias:0 must be a tensor"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_with(shape=(1 << 40,), dtype="f4", chunks=(1 << 16,)), "first/bias:0 has shape (1099511627776,)"),
        (
            _with(data=np.ones(4, "f4"), maxshape=(None,), chunks=(1 << 26,), compression="gzip"),
            "first/bias:0 has chunks",
        ),
        (_with(data=np.ones(4, complex)), NO_TENSOR),
        (_with(data=np.ones(4, int)), NO_TENSOR),
        (_with(data=np.ones(4, np.longdouble)), NO_TENSOR),
        (_with(data=np.ones(4, [("a", "f4"), ("b", "f4")])), NO_TENSOR),
        (_referring, NO_TENSOR),
        (_with(shape=(4,), dtype=h5py.vlen_dtype(np.float32)), NO_TENSOR),
        (_with(data=h5py.Empty("f4")), "first/bias:0 has shape None"),
        (_instead(lambda file, place: file.__setitem__(place, np.dtype("f4"))), NO_TENSOR),
        (_instead(h5py.File.create_group), NO_TENSOR),
        (_with(data=np.array([0, 1, np.nan, 2], "f4")), "first/bias:0 has NaN"),
        (_with(data=np.array([0, 1, 1e300, 2])), "first/bias:0 has NaN"),
        (_virtual, "first/bias:0' is a link"),
        (_upwards, "'../first/first/bias:0' is not the name of a layer or tensor"),
        (_named(b".", more=True), "'.' is not the name of a layer or tensor"),
        (_named(b"first", more=True), "/ lists a name twice in its layer_names"),
        (_named(b"\x1b[2Jfirst"), r"x1b[2Jfirst' is not the name"),
        (lambda file: file.attrs.__setitem__("layer_names", np.arange(3)), "layer_names of / is not text"),
        (_named(b"\xff\xfe"), "cannot be read as HDF5"),
        (_named(b"n" * 5000), "layer_names of / has a name of 5000 letters"),
    ],
)
def test_hostile_legacy_files_cost_nothing(tmp_path, spoil, words):
    path = save_weights(_model(1), tmp_path / "w.h5")
    with h5py.File(path, "a") as file:
        spoil(file)
    model = _model(2)
    tracemalloc.start()
    try:
        _refused(model, path, words)
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("length", [150_000, 20])
def test_attribute_bombs(tmp_path, length):
    """Many names, or few that are long: an attribute is looked at before it is read."""
    path = tmp_path / "w.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file.attrs["layer_names"] = np.zeros(length, "S10" if length > 20 else "S1000000")
    _refused(_model(1), path, "layer_names of / is too long a list")


def _linked(place: str, target: str):
    return lambda file: file.__setitem__(place, file[target])


def _noted(name: object):
    return lambda file: file["layers/conv2d/vars"].attrs.__setitem__("name", name)


def _deep(file: h5py.File) -> None:
    file.create_group("layers/conv2d/" + "deeper/" * 3000)["0"] = 1.0


def _linked_layer(file: h5py.File) -> None:
    file.move("layers/conv2d", "away")
    file["layers/conv2d"] = h5py.SoftLink("/away")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_linked("layers/conv2d/vars/more", "layers/conv2d"), "has two names in the file"),
        (_linked("layers/conv2d/seed_generator", "layers"), "has two names in the file"),
        (_deep, "is not the name of a layer or tensor"),
        (_noted("first"), "holds two layers called 'first'"),
        (_noted(7), "name of /layers/conv2d/vars is not text"),
        (_linked_layer, "'conv2d' is a link"),
    ],
)
def test_hostile_keras3_files(tmp_path, spoil, words):
    path = tmp_path / "w.weights.h5"
    _model(1).save_weights(path)
    with h5py.File(path, "a") as file:
        spoil(file)
    _refused(_model(2), path, words)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, entry in load_registry().items() if entry.builder])
def test_every_registered_network_takes_its_file(name):
    entry = load_registry()[name]
    if not entry.path.is_file():
        pytest.skip(f"{entry.path} is not here (set COVID_KERAS_WEIGHTS to a folder that holds it)")
    model = build_registered(find_weights(name))
    assert load_weights(model, entry.path).parameters == model.count_params()
    assert tuple(model.input_shape[1:]) == entry.input_shape


@pytest.mark.parametrize(
    "name",
    [
        "vgg16_notop",
        "vgg19_notop",
        "resnet50_notop",
        "resnet50v2_notop",
        "resnet152_notop",
        "resnet50_top",
        "densenet121_notop",
        "densenet201_notop",
    ],
)
def test_files_of_keras_applications_are_registered_as_the_installed_keras_lists_them(name):
    from importlib import import_module
    from inspect import getsource

    entry = load_registry()[name]
    network, _, top = name.partition("_")
    family = next(part for part in ("resnet", "densenet", network) if network.startswith(part))
    module = import_module(f"keras.src.applications.{family}")
    source = getsource(module)
    assert f'"{entry.md5}"' in source
    assert entry.url.endswith(f"/{entry.file}")
    if "resnet" in network:
        assert module.WEIGHTS_HASHES[network][top == "notop"] == entry.md5
        ending = "_notop" if top == "notop" else ""
        assert entry.url == f"{module.BASE_WEIGHTS_PATH}{network}_weights_tf_dim_ordering_tf_kernels{ending}.h5"
    else:
        assert entry.url in vars(module).values()


def test_the_store_is_where_the_variable_says(tmp_path, monkeypatch):
    monkeypatch.delenv("COVID_KERAS_WEIGHTS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for given in ("", "relative/path"):
        monkeypatch.setenv("XDG_CACHE_HOME", given)
        assert store_folder() == tmp_path / ".cache" / "covid_keras" / "weights"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert store_folder() == tmp_path / "xdg" / "covid_keras" / "weights"
    monkeypatch.setenv("COVID_KERAS_WEIGHTS", str(tmp_path / "store"))
    assert store_folder() == tmp_path / "store"
    entry = load_registry()["covid_cxnet_base_v1"]
    assert entry.path == tmp_path / "store" / entry.file
    with pytest.raises(UserError, match=r"download covid_cxnet_base_v1, or .*: covid-keras weights add FILE"):
        find_weights("covid_cxnet_base_v1")
    (tmp_path / "store").mkdir()
    entry.path.write_bytes(b"something else")
    with pytest.raises(UserError, match="is not the registered file"):
        find_weights("covid_cxnet_base_v1")
    assert load_registry()["lungs_unet16"].path.parent.name == "weights"


def test_registry_faults(tmp_path):
    with pytest.raises(UserError, match="registered weight file"):
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
        ("e", {"scaling": "0-2"}, r"x\.scaling is '0-2'"),
        ("g", {"md5": "0" * 32}, "x must have either sha256 or md5"),
        ("h", {"sha256": None}, "x must have either sha256 or md5"),
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
