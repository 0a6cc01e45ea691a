"""Networks and their weight files: what the tests of several networks need."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from covid_keras.common.errors import UserError
from covid_keras.common.files import sha256_of
from covid_keras.models.registry import WeightEntry


@contextlib.contextmanager
def mixed_precision() -> Iterator[None]:
    """Compute in bfloat16 within the block."""
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        yield
    finally:
        keras.mixed_precision.set_dtype_policy("float32")


def unallocated(build: Callable[[], keras.Model]) -> keras.Model:
    """Build with shapes only: no variable gets a value, so that the largest network costs no memory."""
    with keras.StatelessScope(initialize_variables=False):
        return build()


def authors_file(name: str) -> Path:
    """Return an authors' weight file in COVID_KERAS_WEIGHTS; skip where it is not there."""
    path = Path(os.environ.get("COVID_KERAS_WEIGHTS", "")) / name
    if not path.is_file():
        pytest.skip(f"no {name} (set COVID_KERAS_WEIGHTS to a folder that holds it)")
    return path


def same_weights(one: keras.Model | keras.Layer, other: keras.Model | keras.Layer) -> bool:
    """Return whether two networks or layers hold the same values in the same order."""
    return all(np.array_equal(a, b) for a, b in zip(one.get_weights(), other.get_weights(), strict=True))


def assert_refused(model: keras.Model, load: Callable[[], object], *words: str) -> None:
    """Assert that loading fails with one line that holds `words`, and leaves the model's weights as they were."""
    before = model.get_weights()
    with pytest.raises(UserError) as caught:
        load()
    line = str(caught.value)
    assert "\n" not in line
    for word in words:
        assert word in line
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def momenta(model: keras.Model) -> set[float]:
    """Return the momenta of all batch normalisation."""
    return {layer.momentum for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)}


def read_names(group: h5py.Group, key: str) -> list[str]:
    """Return a legacy file's list of names."""
    return [name if isinstance(name, str) else name.decode() for name in group.attrs[key]]


def write_names(group: h5py.Group, key: str, names: list[str]) -> None:
    """Set a legacy file's list of names."""
    group.attrs[key] = np.array([name.encode() for name in names]) if names else np.zeros(0, "S1")


def write_legacy(
    path: Path,
    model: keras.Model,
    layer_name: Callable[[str], str] = str,
    tensor_name: Callable[[str, str], str] = "{}/{}:0".format,
    below: str = "",
) -> Path:
    """Write a model as Keras 2 did: a group per layer, all of them listed, tensors uncompressed.

    `layer_name` renames the layers, `tensor_name` makes a tensor's name of layer and variable, `below` names the group
    that holds all.
    """
    with h5py.File(path, "w") as file:
        root = file.create_group(below) if below else file
        write_names(root, "layer_names", [layer_name(layer.name) for layer in model.layers])
        for layer in model.layers:
            group = root.create_group(layer_name(layer.name))
            names = [tensor_name(layer_name(layer.name), weight.name) for weight in layer.weights]
            write_names(group, "weight_names", names)
            for name, weight in zip(names, layer.weights, strict=True):
                group[name] = np.asarray(weight)
        root.attrs["backend"], root.attrs["keras_version"] = b"tensorflow", b"2.1.3"
    return path


def registered(name: str, file: Path, input_shape: tuple[int, int, int], /, **fields: object) -> WeightEntry:
    """Return the registry's entry of a made weight file that ships."""
    usual: dict[str, object] = {
        "name": name,
        "file": str(file),
        "input_shape": input_shape,
        "title": f"made {name}",
        "origin": "this test",
        "licence": "none",
        "sha256": sha256_of(file),
        "bytes": file.stat().st_size,
        "ships": True,
        "input_range": "0..1",
    }
    return WeightEntry(**(usual | fields))
