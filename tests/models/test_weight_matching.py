"""Weight files as they come: other names, other layouts, models inside models, and what is no weight file at all."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from covid_keras.commands.main import main
from covid_keras.common.errors import UserError
from covid_keras.models import build_covid_caps, load_weights
from covid_keras.models.weight_kinds import require_weight_file
from tests.helpers.command import fails
from tests.helpers.networks import assert_refused, authors_file, same_weights, write_legacy

SHAPE = (8, 8, 1)


def chain(*names: str | None, seed: int = 1) -> keras.Model:
    """Three convolutions of which two have one shape, one normalised, and a dense layer; None: Keras names it."""
    keras.utils.set_random_seed(seed)
    first, second, third, norm, last = (names or (None,) * 5)[:5]
    x = inputs = keras.Input(SHAPE)
    for name in (first, second, third):
        x = layers.Conv2D(4, 3, padding="same", name=name)(x)
    x = layers.BatchNormalization(name=norm, beta_initializer="random_normal")(x)
    return keras.Model(inputs, layers.Dense(2, name=last)(layers.Flatten()(x)), name="chain")


GIVEN = ("entry", "body", "end", "norm", "out")


def write(model: keras.Model, path: Path, **changes) -> Path:
    """In the layout that the name asks for."""
    if path.suffix == ".keras":
        model.save(path)
    elif path.name.endswith(".weights.h5"):
        model.save_weights(path)
    else:
        write_legacy(path, model, **changes)
    return path


def test_one_capsule_of_another_number(tmp_path):
    source, target = build_covid_caps((16, 16, 3)), build_covid_caps((16, 16, 3))
    path = write(source, tmp_path / "caps.h5", layer_name=lambda name: name.replace("capsule_2", "capsule_3"))
    report = load_weights(target, path)
    assert same_weights(source, target)
    assert report.renamed == {"capsule_2": "capsule_3"}
    assert report.assigned["capsule_2/capsule_kernel"] == "capsule_3/capsule_3/capsule_kernel:0"


@pytest.mark.parametrize("name", ["w.h5", "w.weights.h5", "w.keras"])
@pytest.mark.parametrize("ours", [GIVEN, (None,) * 5])
@pytest.mark.parametrize("reverse", [False, True])
def test_names_that_keras_gave(tmp_path, name, ours, reverse):
    """Numbers of other layers made before, or of layers made in another order than they stand in."""
    keras.utils.clear_session()  # so that ours are conv2d, conv2d_1, ...
    numbers = [7, 8, 9] if not reverse else [9, 8, 7]
    source = chain(*(f"conv2d_{number}" for number in numbers), "batch_normalization_94", "dense_3")
    target = chain(*ours, seed=2)
    report = load_weights(target, write(source, tmp_path / name))
    assert same_weights(source, target)
    assert len(report.renamed) == 5
    assert report.renamed[target.layers[1].name] == f"conv2d_{numbers[0]}"


@pytest.mark.parametrize("name", ["w.h5", "w.weights.h5", "w.keras"])
def test_numbers_that_overlap_are_no_names(tmp_path, name):
    source = chain("conv2d_1", "conv2d_2", "conv2d_3", "batch_normalization", "dense")
    target = chain("conv2d", "conv2d_1", "conv2d_2", "batch_normalization", "dense", seed=2)
    assert load_weights(target, write(source, tmp_path / name)).renamed == {
        "conv2d": "conv2d_1",
        "conv2d_1": "conv2d_2",
        "conv2d_2": "conv2d_3",
    }
    assert same_weights(source, target)


@pytest.mark.parametrize("name", ["w.h5", "w.weights.h5", "w.keras"])
def test_where_two_ways_are_possible_nothing_is_loaded(tmp_path, name):
    names = ["conv2d", "conv2d_1", "conv2d_2", "batch_normalization", "dense"]
    source = chain(names[0], names[2], names[1], *names[3:])
    target = chain(*names, seed=2)
    assert_refused(target, lambda: load_weights(target, write(source, tmp_path / name)), "in another order")


@pytest.mark.parametrize("name", ["w.h5", "w.weights.h5", "w.keras"])
def test_layers_side_by_side_have_no_order(tmp_path, name):
    def forked(prefix: str) -> keras.Model:
        x = keras.Input(SHAPE)
        both = [layers.Conv2D(4, 3, name=f"{prefix}{number}")(x) for number in (5, 6)]
        return keras.Model(x, layers.Add()(both))

    path = write(forked("conv2d_"), tmp_path / name)
    target = forked("branch")
    assert_refused(target, lambda: load_weights(target, path), "cannot be determined from their order")
    assert load_weights(forked("conv2d_"), path).renamed == {}


@pytest.mark.parametrize("name", ["w.h5", "w.weights.h5", "w.keras"])
def test_a_refusal_shows_both_lists(tmp_path, name, capsys):
    source = chain("conv2d_4", "conv2d_5", "conv2d_6", "batch_normalization_1", "dense_1")
    x = layers.Dense(3, name="dense_2")(source.output)
    path = write(keras.Model(source.input, x), tmp_path / name)
    target = chain(*GIVEN)
    with pytest.raises(UserError, match="has weights for a layer 'dense_2'") as caught:
        load_weights(target, path)
    (note,) = caught.value.__notes__
    rows = [row.split() for row in note.splitlines()]
    assert ["conv2d_4", "3x3x1x4", "4", "=", "entry", "3x3x1x4", "4"] in rows
    assert ["dense_2", "2x3", "3", "!"] in rows
    assert main(["weights", "check", str(path), "--like", "covid_cxnet_base"]) == 2
    assert "dense_2 2x3 3" in capsys.readouterr().err


def test_kinds_are_told_apart_where_shapes_do_not(tmp_path):
    def network(kind: type[keras.Layer], name: str) -> keras.Model:
        x = keras.Input((8, 8, 4))
        return keras.Model(x, kind(4, 3, padding="same", name=name)(x))

    for file in ("w.h5", "w.weights.h5", "w.keras"):
        path = write(network(layers.Conv2DTranspose, "conv2d_transpose_3"), tmp_path / file)
        target = network(layers.Conv2D, "body")
        assert_refused(target, lambda path=path, target=target: load_weights(target, path), "'body'")
        assert load_weights(network(layers.Conv2DTranspose, "up"), path).renamed == {"up": "conv2d_transpose_3"}


# --- models inside models


def nested(*names: str | None, frozen: int = 0, seed: int = 1) -> tuple[keras.Model, keras.Model]:
    """Return a flat network, and a Sequential of its backbone and its last layer, of one set of weights."""
    flat = chain(*(names or GIVEN), seed=seed)
    for layer in flat.layers[1 : 1 + frozen]:
        layer.trainable = False
    backbone = keras.Model(flat.input, flat.layers[-2].output, name="backbone")
    return flat, keras.Sequential([keras.Input(SHAPE), backbone, flat.layers[-1]])


@pytest.mark.parametrize("name", ["w.h5", "w.weights.h5", "w.keras"])
@pytest.mark.parametrize("names", [GIVEN, ("conv2d_5", "conv2d_6", "conv2d_7", "batch_normalization_3", "dense_8")])
def test_a_model_inside_a_model(tmp_path, name, names):
    flat, whole = nested(*names)
    if name == "w.h5":
        whole.save(tmp_path / name)  # Keras' own legacy writer
    else:
        write(whole, tmp_path / name)
    for target in (chain(*GIVEN, seed=2), nested(*GIVEN, seed=3)[1]):
        report = load_weights(target, tmp_path / name)
        assert same_weights(flat, target)
        assert bool(report.renamed) == (names != GIVEN)


def test_a_part_that_was_frozen_is_listed_last_and_not_mistaken(tmp_path):
    """The legacy layout lists what is trained first: then only names or the description tell the order."""
    numbered = ("conv2d_5", "conv2d_6", "conv2d_7", "batch_normalization_3", "dense_8")
    flat, whole = nested(*numbered, frozen=2)
    whole.save(tmp_path / "whole.h5")
    target = chain(*GIVEN, seed=2)
    load_weights(target, tmp_path / "whole.h5")
    assert same_weights(flat, target)
    with h5py.File(tmp_path / "whole.h5", "a") as file:
        del file.attrs["model_config"]
    assert_refused(target, lambda: load_weights(target, tmp_path / "whole.h5"), "cannot be determined from their order")


# --- layouts and types


def test_the_group_of_keras_2_13(tmp_path):
    source, target = chain(*GIVEN), chain(*GIVEN, seed=2)
    path = write(source, tmp_path / "w.weights.h5")
    with h5py.File(path, "a") as file:
        file.move("layers", "_layer_checkpoint_dependencies")
        for group in file["_layer_checkpoint_dependencies"].values():
            group["vars"].attrs.pop("name", None)
    load_weights(target, path)
    assert same_weights(source, target)


@pytest.mark.parametrize("suffix", ["", ":0", "_1:0"])
@pytest.mark.parametrize("below", ["", "model_weights"])
def test_names_of_keras_2(tmp_path, suffix, below):
    source, target = chain(*GIVEN), chain(*GIVEN, seed=2)
    changes = {"tensor_name": lambda layer, variable: f"{layer}/{variable}{suffix}", "below": below}
    path = write(source, tmp_path / "w.h5", **changes)
    with h5py.File(path, "a") as file:  # text instead of bytes, in two parts
        root = file[below] if below else file
        names = [name.decode() for name in root.attrs["layer_names"]]
        del root.attrs["layer_names"]
        root.attrs["layer_names0"], root.attrs["layer_names1"] = names[:3], names[3:]
    load_weights(target, path)
    assert same_weights(source, target)


@pytest.mark.parametrize("kind", ["float16", "float64"])
@pytest.mark.parametrize("name", ["w.h5", "w.weights.h5"])
def test_numbers_of_other_widths(tmp_path, name, kind):
    source, target = chain(*GIVEN), chain(*GIVEN, seed=2)
    path = write(source, tmp_path / name)
    with h5py.File(path, "a") as file:
        places: list[str] = []
        file.visititems(lambda place, found: places.append(place) if isinstance(found, h5py.Dataset) else None)
        for place in places:
            value = file[place][()].astype(kind)
            del file[place]
            file[place] = value
    load_weights(target, path)
    for ours, theirs in zip(target.get_weights(), source.get_weights(), strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_array_equal(ours, theirs.astype(kind).astype(np.float32))


def test_bfloat16_as_keras_stores_it(tmp_path):
    x = keras.Input((4,))
    source = keras.Model(x, layers.Dense(3, name="out", dtype="bfloat16")(x))
    source.save_weights(tmp_path / "w.weights.h5")
    target = keras.Model(x, layers.Dense(3, name="out")(x))
    load_weights(target, tmp_path / "w.weights.h5")
    for ours, theirs in zip(target.get_weights(), source.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs.astype(np.float32))


def test_a_file_that_another_process_holds(tmp_path):
    source, target = chain(*GIVEN), chain(*GIVEN, seed=2)
    path = write(source, tmp_path / "w.h5")
    program = f"import h5py; f = h5py.File({str(path)!r}, 'r+'); print('open', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout.readline() == "open\n"
        load_weights(target, path)
        other.communicate("\n")
    assert same_weights(source, target)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_no_code_of_an_archive_is_run(tmp_path, method):
    marker, source = tmp_path / "ran", chain(*GIVEN)
    source.save(tmp_path / "w.keras")
    with zipfile.ZipFile(tmp_path / "w.keras") as archive, zipfile.ZipFile(tmp_path / "m.keras", "w", method) as other:
        other.writestr("model.weights.h5", archive.read("model.weights.h5"))
        other.writestr("config.json", json.dumps({"class_name": "Lambda", "config": f"open({str(marker)!r}, 'w')"}))
    target = chain(*GIVEN, seed=2)
    load_weights(target, tmp_path / "m.keras")
    assert same_weights(source, target)
    assert not marker.exists()


def test_an_archive_that_unpacks_to_more_than_weights_do_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("covid_keras.models.weight_files._HARMLESS", 1000)
    with zipfile.ZipFile(tmp_path / "w.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(100_000))
    target = chain(*GIVEN)
    assert_refused(target, lambda: load_weights(target, tmp_path / "w.keras"), "would unpack to 100,000 bytes")


# --- what is no weight file


def _zipped(*names: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, "content")

    return make


def _folder(*names: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        for name in names:
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(b"")

    return make


def _bytes(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def _hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["pictures"] = np.zeros(3)


def _cut(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = np.zeros(1000)
    path.write_bytes(path.read_bytes()[:4000])


INDEX = bytes(40) + bytes.fromhex("57fb808b247547db")


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("w.h5", _bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"), "Git LFS pointer"),
        ("w.h5", _bytes(b"\n <!DOCTYPE html><html>sign in</html>"), "web page"),
        ("w.keras", _bytes(b"\xef\xbb\xbf<html lang='en'>"), "web page"),
        ("w.h5", _bytes(b'{"message": "Not Found"}'), "JSON"),
        ("w.h5", _bytes(b"404: Not Found"), "text that begins with '404: Not Found'"),
        ("w.h5", _bytes(b""), "empty"),
        ("w.h5", _bytes(bytes(range(128, 256))), "not an HDF5 weight file"),
        ("w.h5", _zipped("model/weights.h5", "readme"), "zip archive, not a weight file. Unpack it and give model/"),
        ("w.keras", _zipped("archive/data.pkl", "archive/data/0"), "PyTorch"),
        ("w.h5", _zipped("a.npy"), "NumPy archive"),
        ("w.h5", _bytes(b"PK\x03\x04 cut short"), "damaged zip archive"),
        ("w.h5", _bytes(gzip.compress(b"content")), "compressed archive"),
        ("w.pth", _bytes(b"\x80\x02}q\x00."), "pickle"),
        ("saved", _folder("saved_model.pb", "variables/variables.index"), "SavedModel"),
        ("folder", _folder("checkpoint", "model.ckpt.index"), "folder of a TensorFlow checkpoint"),
        ("folder", _folder("a.h5"), "is a folder. Give a file: a.h5"),
        ("saved_model.pb", _bytes(b"\x08\x01\x12\xff\x00"), "SavedModel"),
        ("frozen.pb", _bytes(b"\x0a\xff\x00\x01"), "TensorFlow graph"),
        ("cp.ckpt.index", _bytes(INDEX), "TensorFlow checkpoint"),
        ("w.h5", _bytes(INDEX), "TensorFlow checkpoint"),
        ("cp.ckpt.data-00000-of-00001", _bytes(b"\xff" * 40), "TensorFlow checkpoint"),
        ("checkpoint", _bytes(b'model_checkpoint_path: "cp.ckpt"\n'), "TensorFlow checkpoint"),
        ("w.h5", _hdf5, "without Keras weights (it contains pictures)"),
        ("w.h5", _cut, "truncated: 4,000 of "),
        ("w.h5", _bytes(b"\x89HDF\r\n\x1a\n"), "cannot be read as HDF5"),
    ],
)
def test_what_is_no_weight_file_is_named_with_the_remedy(tmp_path, name, make, words):
    make(path := tmp_path / name)
    target = chain(*GIVEN)
    assert_refused(target, lambda: load_weights(target, path), str(path), words)
    with pytest.raises(UserError) as caught:
        load_weights(target, path)
    assert caught.value.remedy


def test_the_name_of_a_checkpoint_is_no_file(tmp_path):
    (tmp_path / "cp.ckpt.index").write_bytes(INDEX)
    with pytest.raises(UserError, match="TensorFlow checkpoint"):
        require_weight_file(tmp_path / "cp.ckpt")
    with pytest.raises(UserError, match="does not exist"):
        require_weight_file(tmp_path / "other.ckpt")


# --- the command, and the authors' own files


def test_check_and_convert_print_the_mapping(tmp_path, capsys):
    source = build_covid_caps()
    path = write(source, tmp_path / "w.h5", layer_name=lambda name: name.replace("capsule_2", "capsule_3"))
    for arguments in (["check", str(path)], ["convert", str(path), str(tmp_path / "new.weights.h5")]):
        assert main(["weights", *arguments, "--like", "covid_caps_binary_86"]) == 0
        assert "capsule_3 -> capsule_2" in capsys.readouterr().out
    assert "together" in fails(capsys, "weights", "check", path)


@pytest.mark.parametrize(
    ("file", "like"),
    [
        ("covid_caps_weights-improvement-binary-86.h5", "covid_caps_binary_86"),
        ("covid_cxnet_base_v1.0_eps=099_valAcc=0.9672.hdf5", "covid_cxnet_base_v1"),
        ("covid_cxnet_base_v_free_eps=103_valLoss=0.0335.hdf5", "covid_cxnet_base_v_free"),
    ],
)
def test_authors_files_with_numbers_in_place_of_names(tmp_path, capsys, file, like):
    """Each layer of the real file renamed as a later session of Keras would have."""
    path = tmp_path / "renamed.h5"
    path.write_bytes(authors_file(file).read_bytes())
    with h5py.File(path, "a") as opened:
        del opened.attrs["model_config"]
        root = opened["model_weights"]
        names = [name if isinstance(name, str) else name.decode() for name in root.attrs["layer_names"]]
        kinds = {"conv": "conv2d", "fc": "dense", "output": "dense", "caps": "capsule", "batch": "batch_normalization"}
        said = [next((kinds[start] for start in kinds if name.startswith(start)), "layer") for name in names]
        new = [f"{kind}_{number}" for number, kind in enumerate(said, start=17)]
        for old, other in zip(names, new, strict=True):
            root.move(old, other)
        root.attrs["layer_names"] = np.array(new, "S")
    assert main(["weights", "check", str(path), "--like", like]) == 0
    assert "matched by kind and order" in capsys.readouterr().out
