"""`covid-keras weights`: the user's store, downloads against a local server, the conversion between layouts."""

from __future__ import annotations

import hashlib
import http.server
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

import covid_keras.models
from covid_keras.commands import weights as weight_files
from covid_keras.commands.main import main
from covid_keras.models import load_weights, registry, save_weights
from covid_keras.models.registry import VARIABLE, WeightEntry, find_weights, load_registry
from tests.helpers.command import fails
from tests.helpers.disk import full_disk

CONTENT = bytes(range(256)) * 40
KERAS_CONTENT = CONTENT[::-1]
REGISTERED = load_registry()


def _entry(name: str, content: bytes = b"", **given) -> WeightEntry:
    """The entry of a file of such content, which does not ship."""
    given = {"ships": False, "bytes": len(content), "origin": "github.com/someone/something: x.h5"} | given
    if "md5" not in given:
        given["sha256"] = hashlib.sha256(content).hexdigest()
    return WeightEntry(
        name=name,
        file=f"{name}_v1.0.h5",
        title=f"title of {name}",
        licence="MIT",
        input_shape=(8, 8, 1),
        input_range="0..1",
        classes=("a",),
        **given,
    )


@pytest.fixture
def store(tmp_path, monkeypatch) -> Path:
    """An empty store, which is not made yet, and a registry of three files that do not ship and one that does."""
    shipped, folder = tmp_path / "shipped", tmp_path / "store" / "below"
    shipped.mkdir()
    (shipped / "ours_v1.0.h5").write_bytes(b"ours")
    _register(
        monkeypatch,
        _entry("ours", b"ours", ships=True, builder="build_tiny"),
        _entry("theirs", CONTENT),
        _entry("kerass", KERAS_CONTENT, md5=hashlib.md5(KERAS_CONTENT).hexdigest()),
    )
    monkeypatch.setattr(registry, "FOLDER", shipped)
    monkeypatch.setenv(VARIABLE, str(folder))
    return folder


def _register(monkeypatch, *entries: WeightEntry) -> None:
    known = {entry.name: entry for entry in entries}
    for module in (registry, weight_files):
        monkeypatch.setattr(module, "load_registry", lambda: known)


def _with_url(monkeypatch, name: str, url: str) -> None:
    """Give an entry an address, and leave the other ones as they are."""
    known = registry.load_registry() | {name: replace(registry.load_registry()[name], url=url)}
    _register(monkeypatch, *known.values())


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*")) if folder.exists() else []


# --- add


@pytest.mark.parametrize(("content", "name"), [(CONTENT, "theirs"), (KERAS_CONTENT, "kerass")])
def test_add_knows_a_file_by_its_digest(capsys, store, tmp_path, content, name):
    given = tmp_path / "download (1).bin"
    given.write_bytes(content)
    assert main(["weights", "add", str(given)]) == 0
    kept = store / f"{name}_v1.0.h5"
    assert capsys.readouterr().out == f"{name}: title of {name}\nOutput: {kept}\n"
    assert kept.read_bytes() == content
    assert _names(store) == [kept.name]
    assert find_weights(name).path == kept
    os.utime(kept, (1, 1))
    assert main(["weights", "add", str(given), "--as", name]) == 0
    assert capsys.readouterr().out == f"{name} was there already\nOutput: {kept}\n"
    assert kept.stat().st_mtime == 1


def test_add_of_what_is_not_registered_names_its_digest(capsys, store, tmp_path):
    given = tmp_path / "other.h5"
    given.write_bytes(b"other")
    error = fails(capsys, "weights", "add", given)
    assert f"(sha256 {hashlib.sha256(b'other').hexdigest()}, md5 " in error
    assert "Registered: ours, theirs, kerass." in error
    given.write_bytes(KERAS_CONTENT)
    error = fails(capsys, "weights", "add", given, "--as", "theirs")
    assert f"theirs as registered (sha256 {hashlib.sha256(KERAS_CONTENT).hexdigest()})" in error
    assert "github.com/someone" in error
    assert "thiers" in fails(capsys, "weights", "add", given, "--as", "thiers")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "none.h5", tmp_path, tmp_path / "pipe"):
        assert f"{path}: is not a file" in fails(capsys, "weights", "add", path)
    assert _names(store) == []


def test_add_replaces_an_altered_file(capsys, store, tmp_path):
    store.mkdir(parents=True)
    (store / "theirs_v1.0.h5").write_bytes(b"spoilt")
    (tmp_path / "given").write_bytes(CONTENT)
    assert main(["weights", "add", str(tmp_path / "given")]) == 0
    assert (store / "theirs_v1.0.h5").read_bytes() == CONTENT


def test_add_of_a_file_that_changes_meanwhile_keeps_nothing(capsys, store, tmp_path, monkeypatch):
    (tmp_path / "given").write_bytes(CONTENT)
    monkeypatch.setattr(weight_files.shutil, "copyfile", lambda source, target: target.write_bytes(b"half"))
    assert "changed while it was copied" in fails(capsys, "weights", "add", tmp_path / "given")
    assert _names(store) == []


def test_a_store_that_cannot_be_written(capsys, store, tmp_path, monkeypatch):
    (tmp_path / "given").write_bytes(CONTENT)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "given" / "below"))
    assert f"Set {VARIABLE} to a folder that can be written" in fails(capsys, "weights", "add", tmp_path / "given")


# --- list and check


def test_list_and_check_say_what_is_here(capsys, store, tmp_path, monkeypatch):
    _with_url(monkeypatch, "kerass", "http://somewhere/k.h5")
    assert main(["weights", "list"]) == 0
    listed = capsys.readouterr().out
    assert f"here: {tmp_path / 'shipped' / 'ours_v1.0.h5'}" in listed
    assert "not here: covid-keras weights download kerass" in listed
    assert "not here: covid-keras weights add FILE" in listed
    assert f"searched for in {store} ({VARIABLE})" in listed
    assert main(["weights", "check"]) == 0
    checked = capsys.readouterr().out.splitlines()
    assert [line.partition(" ")[0] for line in checked] == ["ours:", "theirs:", "kerass:", "Output:"]
    assert checked[0].endswith(f"sha256 as registered: {tmp_path / 'shipped' / 'ours_v1.0.h5'}")
    for line, how in ((checked[1], "github.com/someone/something"), (checked[2], "weights download kerass")):
        assert "not here" in line
        assert how in line
    assert checked[3] == f"Output: {store}"
    (tmp_path / "given").write_bytes(KERAS_CONTENT)
    assert main(["weights", "add", str(tmp_path / "given")]) == 0
    assert main(["weights", "check"]) == 0
    assert f"kerass: ok, as registered, by md5: {store / 'kerass_v1.0.h5'}" in capsys.readouterr().out


def test_check_goes_through_all_and_fails_where_one_is_altered(capsys, store):
    store.mkdir(parents=True)
    (store / "theirs_v1.0.h5").write_bytes(CONTENT[:-1])
    (store / "kerass_v1.0.h5").write_bytes(KERAS_CONTENT)
    assert main(["weights", "check"]) == 2
    out, error = capsys.readouterr()
    assert f"theirs: ALTERED {store / 'theirs_v1.0.h5'}" in out
    assert "kerass: ok" in out
    assert "theirs_v1.0.h5: is not the registered file" in error
    (store / "theirs_v1.0.h5").unlink()
    (registry.FOLDER / "ours_v1.0.h5").unlink()
    assert main(["weights", "check"]) == 2
    out, error = capsys.readouterr()
    assert "ours: MISSING" in out
    assert "the weight file is missing" in error


def test_a_shipped_file_comes_before_the_stores(store):
    store.mkdir(parents=True)
    (store / "ours_v1.0.h5").write_bytes(b"another")
    assert find_weights("ours").path.read_bytes() == b"ours"


# --- download


class Handler(http.server.BaseHTTPRequestHandler):
    asked: list[str] = []  # noqa: RUF012

    def do_GET(self):
        self.asked.append(self.path)
        content = {"/theirs": CONTENT, "/kerass": KERAS_CONTENT, "/cut": CONTENT[:1000]}.get(self.path)
        if content is None:
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    Handler.asked = []
    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{listener.server_port}"
    listener.shutdown()
    thread.join()
    listener.server_close()


def test_download_into_the_store_once(capsys, store, server, monkeypatch):
    for name in ("theirs", "kerass"):
        _with_url(monkeypatch, name, f"{server}/{name}")
    assert main(["weights", "download", "theirs", "kerass", "theirs"]) == 0
    out = capsys.readouterr().out
    assert out == "".join(f"{n} downloaded\nOutput: {store / f'{n}_v1.0.h5'}\n" for n in ("theirs", "kerass"))
    assert _names(store) == ["kerass_v1.0.h5", "theirs_v1.0.h5"]
    assert find_weights("theirs").path.read_bytes() == CONTENT
    assert find_weights("kerass").path.read_bytes() == KERAS_CONTENT
    assert main(["weights", "download", "theirs"]) == 0
    assert capsys.readouterr().out.startswith("theirs was there already")
    assert Handler.asked == ["/theirs", "/kerass"]


@pytest.mark.parametrize(
    ("name", "served", "words"),
    [
        ("theirs", "kerass", "does not have the SHA-256"),
        ("kerass", "theirs", "does not have the MD5"),
        ("theirs", "cut", "connection was"),
        ("kerass", "cut", "connection was"),
        ("kerass", "nowhere", "answered 404"),
    ],
)
def test_download_of_another_file_or_none_keeps_nothing(capsys, store, server, monkeypatch, name, served, words):
    store.mkdir(parents=True)
    (store / f"{name}_v1.0.h5").write_bytes(b"altered")
    _with_url(monkeypatch, name, f"{server}/{served}")
    error = fails(capsys, "weights", "download", name)
    assert f"{server}/{served}" in error
    assert words in error
    assert "by hand, then: covid-keras weights add FILE" in error
    assert (store / f"{name}_v1.0.h5").read_bytes() == b"altered"
    assert _names(store) == [f"{name}_v1.0.h5"]


def test_nothing_is_fetched_where_one_name_cannot_be(capsys, store, server, monkeypatch):
    _with_url(monkeypatch, "kerass", f"{server}/kerass")
    assert "theirs: has no direct link" in fails(capsys, "weights", "download", "kerass", "theirs")
    assert "registered weight file" in fails(capsys, "weights", "download", "kerass", "none")
    assert Handler.asked == []


# --- convert


def build_tiny(input_shape, width: int = 3) -> keras.Model:
    inputs = keras.Input(input_shape)
    x = layers.Conv2D(width, 3, padding="same", name="z_first")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Conv2D(width, 3, padding="same", name="a_second")(x)
    x = layers.Conv2D(width, 3, padding="same", name="m_third")(x)
    return keras.Model(inputs, layers.Dense(2, name="out")(layers.Flatten(name="flat")(x)), name="tiny")


@pytest.fixture
def source(store, monkeypatch) -> keras.Model:
    """The network of the entry "ours", its tensors all different."""
    monkeypatch.setattr(covid_keras.models, "build_tiny", build_tiny, raising=False)
    model = build_tiny((8, 8, 1))
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.1, 1, value.shape) for value in model.get_weights()])
    return model


IMAGES = np.random.default_rng(1).uniform(0, 1, (4, 8, 8, 1)).astype(np.float32)


def test_convert_to_legacy_and_back_predicts_the_same(capsys, source, tmp_path):
    first, legacy, last = tmp_path / "w.weights.h5", tmp_path / "v1.0_w.h5", tmp_path / "again.weights.h5"
    source.save_weights(first)
    assert main(["weights", "convert", str(first), str(legacy), "--like", "ours", "--legacy"]) == 0
    out = capsys.readouterr().out
    assert out == f"12 tensors with {source.count_params()} values in the keras3 layout\nOutput: {legacy}\n"
    assert main(["weights", "convert", str(legacy), str(last), "--like", "ours"]) == 0
    expected = source.predict(IMAGES, verbose=0)
    for path in (legacy, last):
        # Keras' own loaders: by order of the layers, and of the tensors in each.
        model = build_tiny((8, 8, 1))
        model.load_weights(path)
        np.testing.assert_array_equal(model.predict(IMAGES, verbose=0), expected)
    by_name = build_tiny((8, 8, 1))
    by_name.load_weights(legacy, by_name=True)
    np.testing.assert_array_equal(by_name.predict(IMAGES, verbose=0), expected)


def test_convert_of_a_part_that_is_frozen(source, tmp_path):
    """Keras lists a frozen layer's tensors among those not trained; their order in the file is the same."""
    source.get_layer("norm").trainable = False
    save_weights(source, tmp_path / "w.h5")
    model = build_tiny((8, 8, 1))
    model.load_weights(tmp_path / "w.h5")
    np.testing.assert_array_equal(model.predict(IMAGES, verbose=0), source.predict(IMAGES, verbose=0))


def test_convert_of_what_cannot_be(capsys, source, tmp_path):
    path = tmp_path / "w.weights.h5"
    source.save_weights(path)

    convert = ("weights", "convert")
    for source_file, target, more, words in (
        (path, "o.h5", ("--legacy", "--like", "none"), "registered weight file"),
        (path, "o.h5", ("--legacy", "--like", "theirs"), "Known: ours"),
        (tmp_path / "none.h5", "o.h5", ("--legacy", "--like", "ours"), "is not a file"),
        (path, path.name, ("--like", "ours"), "is the file to convert"),
        (path, "o.h5", ("--like", "ours"), "Name it NAME.weights.h5"),
        *((path, name, ("--legacy", "--like", "ours"), "NAME.hdf5") for name in ("o.weights.h5", "o.keras", "o")),
    ):
        assert words in fails(capsys, *convert, source_file, tmp_path / target, *more)
        assert target == path.name or not (tmp_path / target).exists()
    build_tiny((8, 8, 1), width=4).save_weights(path)
    assert "(3, 3, 1, 3)" in fails(capsys, *convert, path, tmp_path / "o.h5", "--legacy", "--like", "ours")
    assert not (tmp_path / "o.h5").exists()


@pytest.mark.parametrize(("name", "more"), [("o.h5", ["--legacy"]), ("o.weights.h5", [])])
def test_convert_on_a_full_disk(capsys, source, tmp_path, name, more):
    source.save_weights(tmp_path / "w.weights.h5")
    with full_disk(1000):
        fails(capsys, "weights", "convert", tmp_path / "w.weights.h5", tmp_path / name, "--like", "ours", *more)
    assert [path.name for path in tmp_path.iterdir() if "h5" in path.name] == ["w.weights.h5"]


# --- the authors' own files


@pytest.mark.parametrize("name", ["covid_caps_binary_86", "covid_cxnet_base_v1", "covid_cxnet_base_v_free"])
def test_authors_files_are_added_found_and_converted(name, tmp_path, monkeypatch, capsys):
    entry = REGISTERED[name]
    if not entry.path.is_file():
        pytest.skip(f"{entry.path} is not here (set {VARIABLE} to a folder that holds it)")
    given = Path(shutil.copy(entry.path, tmp_path / "given"))
    assert given.stat().st_size == entry.bytes
    monkeypatch.setenv(VARIABLE, str(tmp_path / "store"))
    assert main(["weights", "add", str(given)]) == 0
    assert find_weights(name).path == tmp_path / "store" / entry.file
    new, old = tmp_path / "new.weights.h5", tmp_path / "old.h5"
    assert main(["weights", "convert", str(given), str(new), "--like", name]) == 0
    assert main(["weights", "convert", str(new), str(old), "--like", name, "--legacy"]) == 0
    build = getattr(covid_keras.models, entry.builder)
    first, last = build(entry.input_shape), build(entry.input_shape)
    load_weights(first, given)
    last.load_weights(old)
    for one, other in zip(first.get_weights(), last.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
