"""What a weight file claims is compared with what it holds before it is read, at no cost in memory."""

from __future__ import annotations

import re
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from covid_keras.models import weight_files, weight_kinds
from covid_keras.models.weight_files import is_bfloat16, open_weights, require_values
from tests.helpers.refusals import refused

SHAPE = (300, 200)
PLACE = "dense/dense/kernel:0"


def read(path: Path) -> np.ndarray:
    with open_weights(path, {"dense"}) as (_, (layer,)):
        ((place, dataset),) = layer.tensors
        require_values(path, place, dataset)
        return dataset[()]


def weights(path: Path, *given: object, **options: object) -> Path:
    with h5py.File(path, "w", libver="latest") as file:
        file.attrs["layer_names"] = [b"dense"]
        group = file.create_group("dense")
        group.attrs["weight_names"] = [b"dense/kernel:0"]
        group.create_dataset("dense/kernel:0", *given, **options)
    return path


@pytest.mark.parametrize(
    "options",
    [{}, {"compression": "gzip"}, {"compression": "gzip", "shuffle": True, "fletcher32": True}, {"compression": "lzf"},
     {"chunks": True}],
)  # fmt: skip
def test_sound_tensors(tmp_path, options):
    values = np.random.default_rng(0).normal(size=SHAPE).astype("f4")
    assert np.array_equal(read(weights(tmp_path / "w.h5", data=values, **options)), values)


@pytest.mark.parametrize("options", [{}, {"chunks": (100, 100)}, {"chunks": (100, 100), "compression": "gzip"}])
def test_tensors_without_values(tmp_path, options):
    path = weights(tmp_path / "w.h5", SHAPE, "f4", **options)
    refused("kernel:0 is listed without all its values", read, path)
    if options:
        with h5py.File(path, "a") as file:
            file[PLACE][:100] = 1
        refused("kernel:0 is listed without all its values", read, path)


@pytest.mark.parametrize("mask", [0, 1])
def test_a_chunk_that_unpacks_to_more_than_the_tensor(tmp_path, mask):
    """Also if the chunk is marked as not shuffled."""
    path = weights(tmp_path / "w.h5", SHAPE, "f4", chunks=SHAPE, compression="gzip", shuffle=bool(mask))
    with h5py.File(path, "a") as file:
        file[PLACE].id.write_direct_chunk((0, 0), zlib.compress(bytes(1 << 26)), filter_mask=mask)
    tracemalloc.start()
    try:
        refused("unpack to more than its size", read, path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 21
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("key", ["layer_names", "model_config"])
def test_strings_that_are_all_at_one_place(tmp_path, key):
    """A list of 50,000 references to one string of 90,000 letters, which is read as 4.5 GB."""
    path = weights(tmp_path / "w.h5", data=np.ones(SHAPE, "f4"))
    with h5py.File(path, "a", libver="latest") as file:
        file.attrs["other"] = "z" * 90_000
        names = np.array([f"n{number:09}" for number in range(50_000)], object)
        file.attrs.create(key, names, dtype=h5py.string_dtype())
    content = bytearray(path.read_bytes())
    heaps = {
        at.start(): struct.unpack("<Q", at[1])[0] for at in re.finditer(rb"GCOL\x01\0{3}(.{8})", content, re.DOTALL)
    }
    alias = struct.pack("<IQI", 90_000, max(heaps, key=heaps.get), 1)
    for at in re.finditer(struct.pack("<I", 10), content):
        if int.from_bytes(content[at.end() : at.end() + 8], "little") in heaps:
            content[at.start() : at.start() + 16] = alias
    path.write_bytes(content)
    tracemalloc.start()
    try:
        if key == "layer_names":
            refused("layer_names of / is too long a list", read, path)
        else:
            assert read(path).shape == SHAPE
        assert tracemalloc.get_traced_memory()[1] < 1 << 23
    finally:
        tracemalloc.stop()


# --- filters, and numbers of chunks, members and texts


def deflated_twice() -> h5py.h5p.PropDCID:
    created = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    created.set_chunk(SHAPE)
    created.set_deflate(1)
    created.set_deflate(1)
    return created


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"chunks": SHAPE, "dcpl": deflated_twice}, "unusual way"),
        ({"chunks": SHAPE, "scaleoffset": 3}, "unusual way"),
        ({"chunks": SHAPE, "compression": "lzf"}, "compressed by LZF"),
        ({"chunks": (10, 10)}, "stored in 600 chunks"),
        ({"chunks": (10, 10), "compression": "gzip"}, "stored in 600 chunks"),
    ],
)
def test_filters_and_chunks_of_unknown_cost(tmp_path, monkeypatch, options, words):
    monkeypatch.setattr(weight_files, "_MOST_NAMES", 500)
    monkeypatch.setattr(weight_files, "_LARGEST_CHUNK", 1 << 10)
    given = {key: value() if callable(value) else value for key, value in options.items()}
    refused(words, read, weights(tmp_path / "w.h5", data=np.ones(SHAPE, "f4"), **given))


def many_layers(file: h5py.File) -> None:
    for number in range(101):
        file.create_group(f"layers/dense_{number}/vars")


def many_tensors(file: h5py.File) -> None:
    for number in range(101):
        file[f"layers/dense/vars/{number}"] = 1.0


def one_group_of_many_names(file: h5py.File) -> None:
    tensors = [f"kernel_{number}" for number in range(11)]
    layers = [f"dense_{number}" for number in range(10)]
    group = file.create_group("dense_0")
    for name in tensors:
        group[name] = 1.0
    group.attrs["weight_names"], file.attrs["layer_names"] = tensors, layers
    for name in layers[1:]:
        file[name] = group


@pytest.mark.parametrize("fill", [many_layers, many_tensors, one_group_of_many_names])
def test_too_many_members(tmp_path, monkeypatch, fill):
    monkeypatch.setattr(weight_files, "_MOST_NAMES", 100)
    with h5py.File(tmp_path / "w.h5", "w") as file:
        fill(file)
    refused(r"holds 1\d\d members", read, tmp_path / "w.h5")


def test_an_archive_of_too_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr(weight_kinds, "_LONGEST_INDEX", 1000)
    with zipfile.ZipFile(tmp_path / "w.keras", "w") as archive:
        for name in (weight_kinds.MEMBER, *map(str, range(50))):
            archive.writestr(name, "")
    refused("too many files", read, tmp_path / "w.keras")


def test_an_archive_that_states_more_packed_bytes_than_it_has(tmp_path):
    with zipfile.ZipFile(path := tmp_path / "w.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(weight_kinds.MEMBER, bytes(1 << 27))
    content = bytearray(path.read_bytes())
    place = content.rindex(b"PK\1\2") + 20
    content[place : place + 4] = struct.pack("<I", 1 << 30)
    path.write_bytes(content)
    refused("would unpack to", read, path)


@pytest.mark.parametrize(
    ("value", "expected"), [("bfloat16", True), ("other", False), (["bfloat16"] * 2, False), (1.5, False)]
)
def test_the_type_of_a_tensor_is_one_text(tmp_path, value, expected):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["kernel"] = np.zeros(3, "V2")
        file["kernel"].attrs["dtype"] = value
        assert is_bfloat16(file["kernel"]) is expected
