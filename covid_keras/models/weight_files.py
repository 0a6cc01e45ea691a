"""Weight files as they come: what a file really is, and the layers that it holds, read as data.

No code is ever read from a file, nor any other file that it links to. A file is taken for hostile: what it declares is
compared with the model before any of its values are read, so that it costs no more memory than the model and the file
itself do. What a file holds besides its layers (optimiser, random states) is not read; of a network's description only
the names, classes and order of its layers are.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from covid_keras.common.errors import UserError
from covid_keras.models.weight_kinds import (
    ANOTHER,
    DAMAGED,
    MEMBER,
    NO_KERAS,
    require_weight_file,
    what_damage,
)

# Bounds of what is read before it can be compared with the model; Keras' own files stay far below.
_MOST_NAMES, _LONGEST_NAMES, _LONGEST_CONFIG = 100_000, 1 << 24, 1 << 25
_DEEPEST, _LONGEST_NAME = 16, 1000
# Weights hardly compress: what unpacks to more is a bomb. A small file of zeros may.
_MOST_UNPACKED, _HARMLESS = 20, 1 << 26
# How the names end that Keras 1 gave a layer's tensors, after the layer's own.
_OLD_NAMES = {
    "_W": "kernel",
    "_b": "bias",
    "_gamma": "gamma",
    "_beta": "beta",
    "_running_mean": "moving_mean",
    "_running_std": "moving_variance",
}
# The description of the network in a `.keras` archive.
_CONFIG = "config.json"


_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")

# (path in the file, data set) of each tensor of a layer, in the file's order.
_Tensors = list[tuple[str, h5py.Dataset]]


@dataclass(frozen=True)
class StoredLayer:
    """One layer of a file.

    Attributes
    ----------
    name : str
        As the file calls it, a slash replaced as Keras 3 does; "" where it notes none.
    kind : str
        Its class in snake case, "" where the file does not say.
    tensors : list of (str, h5py.Dataset)
        Path in the file, below the group that holds the layers, and data set. In the file's order.
    address : tuple of str
        What the file calls it, after the models that it is inside of.
    chain : str
        Layers of one chain are listed in the order of the data flow; the order of two chains is not known.
    """

    name: str
    kind: str
    tensors: _Tensors
    address: tuple[str, ...]
    chain: str = ""


@contextlib.contextmanager
def open_weights(path: Path, names: Collection[str]) -> Iterator[tuple[str, list[StoredLayer]]]:
    """Open a weight file, also one that another process holds locked: its layout and its layers that hold tensors.

    Parameters
    ----------
    path : Path
    names : collection of str
        What the model calls its layers: where a name in the file can be cut in several ways, one of these is taken.

    Raises
    ------
    UserError
        If the file is no weight file, is damaged or incomplete, or links to others.
    """
    require_weight_file(path)
    try:
        with _hdf5(path) as (file, config):
            yield _layers(path, file, config, names)
    except DAMAGED as error:
        raise UserError(path, *what_damage(error)) from error


@contextlib.contextmanager
def _hdf5(path: Path) -> Iterator[tuple[h5py.File, str]]:
    """Open the HDF5 of a file or `.keras` archive; give it with the description of the network, "" without one."""
    if h5py.is_hdf5(path):
        with h5py.File(path, "r", locking=False) as file:
            yield file, _described(file)
        return
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryFile() as unpacked:
        info = archive.getinfo(MEMBER)
        if info.file_size > max(_HARMLESS, _MOST_UNPACKED * info.compress_size):
            raise UserError(path, f"{MEMBER} would unpack to {info.file_size:,} bytes", NO_KERAS)
        with archive.open(info) as member:
            shutil.copyfileobj(member, unpacked)
        config = ""
        if _CONFIG in archive.namelist() and archive.getinfo(_CONFIG).file_size <= _LONGEST_CONFIG:
            config = archive.read(_CONFIG).decode()
        with h5py.File(unpacked, "r") as file:
            yield file, config


def _described(file: h5py.File) -> str:
    """Return the description of the network that a whole model of Keras 1 and 2 holds."""
    text = file.attrs.get("model_config", b"")
    text = text.decode() if isinstance(text, bytes) else text
    return text if isinstance(text, str) and len(text) <= _LONGEST_CONFIG else ""


def _layers(path: Path, file: h5py.File, config: str, names: Collection[str]) -> tuple[str, list[StoredLayer]]:
    root = _group(path, file, "model_weights") if _link(file, "model_weights") is not None else file
    if "layer_names" in root.attrs or "layer_names0" in root.attrs:
        return "legacy", _described_layers(_legacy_layers(path, root, names), _leaves(config), by_address=False)
    # Keras 2.13 to 2.15 called the group otherwise.
    for group in _CONTAINERS:
        if _link(root, group) is not None:
            stored = _keras3_layers(path, _group(path, root, group))
            return "keras3", _described_layers(stored, _leaves(config), by_address=True)
    held = ", ".join(ascii(name)[1:-1] for name in list(root)[:5]) or "nothing"
    raise UserError(path, f"is HDF5, but holds no Keras weights (it holds {held})", NO_KERAS)


def _member(path: Path, group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset:
    """Return what lies at `name` below `group`; refuse what is absent or is stored elsewhere."""
    parts = name.split("/")
    is_odd = len(parts) > _DEEPEST or not name.isprintable()
    if is_odd or not {"", ".", ".."}.isdisjoint(parts):
        raise UserError(path, f"{name[:80]!r} is not the name of a layer or tensor", NO_KERAS)
    found: h5py.Group | h5py.Dataset = group
    for part in parts:
        link = _link(found, part) if isinstance(found, h5py.Group) else None
        if link is None:
            raise UserError(path, f"is incomplete: {name!r} is listed but absent", "Download the file again")
        if link != h5py.h5l.TYPE_HARD:
            raise _stored_elsewhere(path, name)
        found = found[part]
    if isinstance(found, h5py.Dataset) and (found.external or found.is_virtual):
        raise _stored_elsewhere(path, name)
    return found


def _link(group: h5py.Group, name: str) -> int | None:
    """Return the kind of link of a member, its end not looked at; None where there is none."""
    links, encoded = group.id.links, name.encode("utf-8", "surrogateescape")
    return links.get_info(encoded).type if links.exists(encoded) else None


def _group(path: Path, parent: h5py.Group, name: str) -> h5py.Group:
    found = _member(path, parent, name)
    if not isinstance(found, h5py.Group):
        raise UserError(path, f"{name!r} is not a group", NO_KERAS)
    return found


def _stored_elsewhere(path: Path, name: str) -> UserError:
    problem = f"{name!r} is a link, which may lead out of the file"
    return UserError(path, problem, "Give a file that holds all of its tensors")


def _legacy_layers(path: Path, root: h5py.Group, names: Collection[str]) -> list[StoredLayer]:
    """Return the layers that Keras 1 and 2 listed; a model inside the model is taken apart."""
    found: list[StoredLayer] = []
    for stored_name in _names(path, root, "layer_names") or []:
        group = _group(path, root, stored_name)
        tensor_names = _names(path, group, "weight_names")
        if tensor_names is None:
            raise UserError(
                path, f"is incomplete: layer {stored_name!r} lists no weight_names", "Download the file again"
            )
        tensors = [
            (f"{stored_name}/{name}", _member(path, group, name)) for name in tensor_names if not _is_random_state(name)
        ]
        if tensors:
            found += _taken_apart(stored_name, tensors, names)
    _require_unique(path, found)
    return found


def _taken_apart(stored_name: str, tensors: _Tensors, names: Collection[str]) -> list[StoredLayer]:
    """Return the layers of a group: itself, or those of the model that it is, told apart by their tensors' names."""
    owned: dict[str, _Tensors] = {}
    for place, dataset in tensors:
        owned.setdefault(split_name(place.removeprefix(f"{stored_name}/"))[0], []).append((place, dataset))
    # Keras 3 allows no slash in a layer's name: what was "conv1/bn" is "conv1_bn" there.
    own = stored_name.replace("/", "_")
    if own in names or len(owned) == 1:
        return [StoredLayer(own, "", tensors, (own,))]
    inner = [(_reading(owner, names) or owner.replace("/", "_"), has) for owner, has in owned.items()]
    # Tensors that are not trained stand last, so that a part that was frozen is out of order: its numbers tell.
    numbers: dict[str, list[list[int]]] = {}
    for name, _ in inner:
        numbers.setdefault(re.sub(r"\d+", "#", name), []).append([int(part) for part in re.findall(r"\d+", name)])
    is_in_order = all(listed == sorted(listed) for listed in numbers.values())
    return [StoredLayer(name, "", has, (own, name), "" if is_in_order else f"{own}/{name}") for name, has in inner]


def _reading(owner: str, names: Collection[str]) -> str | None:
    """Return which of the model's layers a tensor's owner is, with or without the scopes before its name."""
    parts = owner.split("/")
    return next((name for start in range(len(parts)) if (name := "_".join(parts[start:])) in names), None)


def split_name(name: str) -> tuple[str, str]:
    """Split a tensor's name in the file: "conv" and "kernel" of "conv/kernel:0", "conv_W:0" or "conv/kernel_1:0"."""
    owner, _, last = name.rpartition("/")
    last = re.sub(r"_\d+$", "", last.split(":")[0])  # a number that TensorFlow made it unique by
    for old, new in _OLD_NAMES.items():
        if last.endswith(old):
            return owner or last.removesuffix(old), new
    return owner, last


def _require_unique(path: Path, layers: Iterable[StoredLayer]) -> None:
    """Refuse two layers of one name in one model: which of them is meant cannot be told."""
    seen = Counter((layer.name, layer.address[:-1]) for layer in layers if layer.name)
    if twice := next((name for (name, _), count in seen.items() if count > 1), None):
        raise UserError(path, f"holds two layers called {twice!r}", ANOTHER)


def _names(path: Path, group: h5py.Group, key: str) -> list[str] | None:
    """Return a list of names kept as an attribute, or as several numbered ones; None where there is none."""
    keys, place = [key] if key in group.attrs else [], group.name
    while not keys or keys[0] != key:
        if (part := f"{key}{len(keys)}") not in group.attrs:
            break
        keys.append(part)
    found = [name for each in keys for name in _attribute(path, group, each)]
    if len(set(found)) < len(found):
        raise UserError(path, f"{place} lists a name twice in its {key}", NO_KERAS)
    return found if keys else None


def _attribute(path: Path, group: h5py.Group, key: str) -> list[str]:
    """Read an attribute of text, its declared size looked at before."""
    stored = group.attrs.get_id(key)
    count, width = stored.get_space().get_simple_extent_npoints(), stored.get_type().get_size()
    # A list without names is stored as one of numbers.
    if count and not isinstance(stored.get_type(), h5py.h5t.TypeStringID):
        raise UserError(path, f"{key} of {group.name} is not text", NO_KERAS)
    if count > _MOST_NAMES or count * width > _LONGEST_NAMES:
        raise UserError(path, f"{key} of {group.name} is too long a list ({count} names)", NO_KERAS)
    values: Iterable[bytes | str] = np.atleast_1d(group.attrs[key]) if count else ()
    found = [value.decode() if isinstance(value, bytes) else str(value) for value in values]
    if (longest := max(map(len, found), default=0)) > _LONGEST_NAME:
        raise UserError(path, f"{key} of {group.name} holds a name of {longest} letters", NO_KERAS)
    return found


def _keras3_layers(path: Path, layers: h5py.Group) -> list[StoredLayer]:
    """Return the layers of a Keras 3 file, whose groups are called by class and order, also below models inside."""
    tensors: dict[str, _Tensors] = {}
    for place, dataset in (found for name in layers for found in _datasets(path, layers, name)):
        if not _is_random_state(place):
            tensors.setdefault(place.rpartition("/")[0], []).append((place, dataset))
    found = []
    for place in sorted(tensors, key=_by_number):
        group = _group(path, layers, place) if place else layers
        noted = "".join(_attribute(path, group, "name")) if "name" in group.attrs else ""
        address = tuple(part for part in place.removesuffix("/vars").split("/") if part not in _CONTAINERS)
        # The data sets are called 0, 1, ..., 10: by number, not by letter.
        in_order = sorted(tensors[place], key=lambda item: _by_number(item[0]))
        kind = re.sub(r"_\d+$", "", "".join(address[-1:]))
        found.append(StoredLayer(noted.replace("/", "_"), kind, in_order, address, "/".join(address[:-1])))
    _require_unique(path, found)
    return found


def _by_number(place: str) -> list[str | int]:
    """Sort "conv2d_2" before "conv2d_10"."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"([0-9]+)", place)]


def _datasets(path: Path, group: h5py.Group, name: str) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield (path, data set) of all data sets at and below `name`; refuse what can be reached in two ways."""
    seen, waiting = set(), [name]
    while waiting:
        place = waiting.pop()
        found = _member(path, group, place)
        if (address := h5py.h5o.get_info(found.id).addr) in seen:
            raise UserError(path, f"{place!r} has two names in the file", NO_KERAS)
        seen.add(address)
        if isinstance(found, h5py.Group):
            waiting += [f"{place}/{part}" for part in found]
        else:
            yield place, found


def _is_random_state(place: str) -> bool:
    """Return whether a tensor is the state of a random layer (Keras 3, and the preprocessing layers of Keras 2)."""
    return "seed_generator" in place.split("/") or split_name(place)[1] == "StateVar"


@dataclass(frozen=True)
class _Leaf:
    """A layer of the description: the names, and the addresses in a Keras 3 file, from the outermost model inwards."""

    names: tuple[str, ...]
    addresses: tuple[str, ...]
    kind: str


def _leaves(config: str) -> list[_Leaf]:
    """Return the layers of a description in order; none where it cannot be understood, for the tensors say most."""
    try:
        return list(_walk(json.loads(config))) if config else []
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return []


def _walk(model: dict[str, Any]) -> Iterator[_Leaf]:
    # A Sequential of early Keras 2 is the bare list.
    described = model["config"] if isinstance(model["config"], list) else model["config"]["layers"]
    for each, address in zip(described, addresses(each["class_name"] for each in described), strict=True):
        name = str(each["config"]["name"] if "name" in each["config"] else each["name"]).replace("/", "_")
        if isinstance(each["config"], list) or "layers" in each["config"]:
            for leaf in _walk(each):
                yield replace(leaf, names=(name, *leaf.names), addresses=(address, *leaf.addresses))
        else:
            yield _Leaf((name,), (address,), snake_case(each["class_name"]))


def _described_layers(stored: list[StoredLayer], leaves: list[_Leaf], by_address: bool) -> list[StoredLayer]:
    """Put the layers into the order of the network's description, with their classes; as they are without one."""
    known = {}
    for number, leaf in enumerate(leaves):
        # In the legacy layout a model inside a model has one group, and what is inside that is listed flat.
        flat = (leaf.names[0], leaf.names[-1]) if len(leaf.names) > 1 else leaf.names
        known[leaf.addresses if by_address else flat] = (number, leaf.kind)
        # The group of a model with a single layer that has weights is not taken apart.
        known.setdefault(flat[:1], (number, ""))
    if not all(layer.address in known for layer in stored):
        return stored
    placed = [(known[layer.address][0], replace(layer, kind=known[layer.address][1], chain="")) for layer in stored]
    return [layer for _, layer in sorted(placed, key=lambda item: item[0])]


def addresses(classes: Iterable[str]) -> list[str]:
    """Return what a Keras 3 file calls layers of these classes: in snake case, numbered from the second one on."""
    seen: Counter[str] = Counter()
    found = []
    for name in map(snake_case, classes):
        found.append(f"{name}_{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


def snake_case(name: str) -> str:
    """Return a class's name as Keras makes names of layers from it, without TensorFlow 1's "V1" and "V2"."""
    name = re.sub(r"\W+", "", re.sub(r"(?<=Normalization)V[12]$", "", name.rpartition(">")[2]))
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
