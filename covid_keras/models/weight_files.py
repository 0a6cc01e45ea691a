"""Read the layers of weight files of any Keras version as data.

Files are not trusted: no code is loaded, no link to another file is followed, and declared shapes are compared with the
model before values are read, which limits the memory. Optimiser and random states are skipped. Only the names, classes
and order of layers are read from the description of a network.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from covid_keras.common.errors import UserError
from covid_keras.models.weight_kinds import (
    ANOTHER,
    DAMAGED,
    DOWNLOAD_AGAIN,
    MEMBER,
    NO_KERAS,
    require_weight_file,
    what_damage,
)

# Limits for data read before comparison with the model; files written by Keras stay far below.
_MOST_NAMES, _LONGEST_NAMES, _LONGEST_CONFIG = 100_000, 1 << 24, 1 << 25
# Of strings of variable length only an upper bound is known: as if all were as long as the longest in the file.
_LONGEST_SHARED = 1 << 29
_DEEPEST, _LONGEST_NAME = 16, 1000
_LARGEST_CHUNK = 1 << 20
_HEAP, _PART = re.compile(rb"GCOL\x01\0\0\0(.{8})", re.DOTALL), 1 << 20
# Bytes of the checksum that HDF5 may append to a chunk.
_CHECKSUM = 4
# Of others, or one used twice, it is not known how far they unpack.
_FILTERS = frozenset(
    {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_LZF}
)
# Weights hardly compress, so larger ratios indicate a zip bomb; small files of zeros are exempt.
_MOST_UNPACKED, _HARMLESS = 20, 1 << 26
# Suffixes of tensor names in Keras 1.
_OLD_NAMES = {
    "_W": "kernel",
    "_b": "bias",
    "_gamma": "gamma",
    "_beta": "beta",
    "_running_mean": "moving_mean",
    "_running_std": "moving_variance",
}
# Member of a `.keras` archive that describes the network.
_CONFIG = "config.json"


_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")

# (path in the file, data set) for each tensor of a layer, in file order.
_Tensors = list[tuple[str, h5py.Dataset]]


@dataclass(frozen=True)
class StoredLayer:
    """A layer in a weight file.

    Attributes
    ----------
    name : str
        Name in the file, with slashes replaced as in Keras 3; "" if not stored.
    kind : str
        Class in snake case; "" if not stored.
    tensors : list of (str, h5py.Dataset)
        Path below the group of layers, and data set, in file order.
    address : tuple of str
        Names of the enclosing models and of the layer.
    chain : str
        Layers with the same chain are in the order of the data flow; the order between chains is unknown.
    """

    name: str
    kind: str
    tensors: _Tensors
    address: tuple[str, ...]
    chain: str = ""


@contextlib.contextmanager
def open_weights(path: Path, names: Collection[str]) -> Iterator[tuple[str, list[StoredLayer]]]:
    """Open a weight file, even if locked by another process; yield its layout and its layers with tensors.

    Parameters
    ----------
    path : Path
    names : collection of str
        Layer names of the model, used to resolve ambiguous names in the file.

    Raises
    ------
    UserError
        If the file is not a weight file, is damaged or incomplete, or links to other files.
    """
    require_weight_file(path)
    try:
        with _hdf5(path) as (file, config):
            yield _layers(path, file, config, names)
    except DAMAGED as error:
        raise UserError(path, *what_damage(error)) from error


@contextlib.contextmanager
def _hdf5(path: Path) -> Iterator[tuple[h5py.File, str]]:
    """Open the HDF5 data of a file or `.keras` archive; yield it with the description of the network, or ""."""
    if h5py.is_hdf5(path):
        with h5py.File(path, "r", locking=False) as file:
            yield file, _described(file)
        return
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryFile() as unpacked:
        info = archive.getinfo(MEMBER)
        # The index may state more packed bytes than the file has.
        if info.file_size > max(_HARMLESS, _MOST_UNPACKED * min(info.compress_size, path.stat().st_size)):
            raise UserError(path, f"{MEMBER} would unpack to {info.file_size:,} bytes", NO_KERAS)
        with archive.open(info) as member:
            shutil.copyfileobj(member, unpacked)
        config = ""
        if _CONFIG in archive.namelist() and archive.getinfo(_CONFIG).file_size <= _LONGEST_CONFIG:
            config = archive.read(_CONFIG).decode()
        with h5py.File(unpacked, "r") as file:
            yield file, config


def _described(file: h5py.File) -> str:
    """Return the description of the network stored in a whole model of Keras 1 and 2."""
    if "model_config" not in file.attrs or _text_size(file, "model_config") > _LONGEST_CONFIG:
        return ""
    text = file.attrs["model_config"]
    text = text.decode() if isinstance(text, bytes) else text
    return text if isinstance(text, str) else ""


def _text_size(group: h5py.Group, key: str) -> int:
    """Return the largest possible number of bytes of an attribute, without reading it."""
    stored = group.attrs.get_id(key)
    count, kind = stored.get_space().get_simple_extent_npoints(), stored.get_type()
    if not _is_variable(kind):
        return count * kind.get_size()
    # Strings of variable length are stored elsewhere in the file, possibly all at the same place.
    file = group.file
    if file.driver == "fileobj":
        return count * file.id.get_filesize()
    status = os.stat(file.filename)
    return count * _longest_text(file.filename, status.st_size, status.st_mtime_ns)


def _is_variable(kind: h5py.h5t.TypeID) -> bool:
    return isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str()


@lru_cache(maxsize=8)
def _longest_text(name: str, size: int, changed: int) -> int:
    """Return the size of the largest global heap of a file, which no string of variable length exceeds.

    A heap begins with its signature, version and size (HDF5 File Format Specification, III.E).
    """
    longest, rest = 0, b""
    with open(name, "rb") as stream:
        while part := stream.read(_PART):
            found = (struct.unpack("<Q", heap[1])[0] for heap in _HEAP.finditer(rest + part))
            longest = max(longest, *(length for length in found if length <= size), 0)
            rest = part[-15:]
    return longest


def require_values(path: Path, place: str, dataset: h5py.Dataset) -> None:
    """Raise `UserError` unless a tensor's values are in the file, and unpack to no more than its size."""
    # A chunk is always decompressed completely, even for a small tensor.
    chunk = int(np.prod(dataset.chunks or 0, dtype=float)) * dataset.dtype.itemsize
    if chunk > max(_LARGEST_CHUNK, dataset.nbytes):
        raise UserError(path, f"{place} has chunks larger than the tensor, {dataset.chunks}", NO_KERAS)
    if dataset.chunks is None:
        stored, expected = dataset.id.get_storage_size(), dataset.nbytes
    else:
        expected = math.prod(-(-side // part) for side, part in zip(dataset.shape, dataset.chunks, strict=True))
        stored = dataset.id.get_num_chunks()
    if stored < expected:
        raise UserError(path, f"is incomplete: {place} is listed without all its values", DOWNLOAD_AGAIN)
    if dataset.chunks is not None:
        _require_small_chunks(path, place, dataset, chunk)


def _require_small_chunks(path: Path, place: str, dataset: h5py.Dataset, size: int) -> None:
    """Raise `UserError` unless a tensor has few chunks, known filters, and chunks that unpack to `size` bytes."""
    created = dataset.id.get_create_plist()
    filters = [created.get_filter(number)[0] for number in range(created.get_nfilters())]
    if len(set(filters)) < len(filters) or not _FILTERS.issuperset(filters):
        raise UserError(path, f"{place} is compressed in an unusual way (filters {filters})", NO_KERAS)
    # How far LZF unpacks is not stated.
    if h5py.h5z.FILTER_LZF in filters and size > _LARGEST_CHUNK:
        raise UserError(path, f"{place} has chunks of {size:,} bytes, compressed by LZF", NO_KERAS)
    if (count := dataset.id.get_num_chunks()) > _MOST_NAMES:
        raise UserError(path, f"{place} is stored in {count:,} chunks", NO_KERAS)
    places: list[tuple[int, ...]] = []
    if h5py.h5z.FILTER_DEFLATE in filters:
        dataset.id.chunk_iter(lambda chunk: places.append(chunk.chunk_offset))
    for offset in places:
        mask, packed = dataset.id.read_direct_chunk(offset)
        # A bit of the mask is set for each filter that was not applied to this chunk.
        is_deflated = not mask >> filters.index(h5py.h5z.FILTER_DEFLATE) & 1
        if is_deflated and len(zlib.decompressobj().decompress(packed, size + _CHECKSUM + 1)) > size + _CHECKSUM:
            raise UserError(path, f"{place} would unpack to more than its size", NO_KERAS)


def _layers(path: Path, file: h5py.File, config: str, names: Collection[str]) -> tuple[str, list[StoredLayer]]:
    root = _group(path, file, "model_weights") if _link(file, "model_weights") is not None else file
    _require_few(path, root.name, len(root))
    if "layer_names" in root.attrs or "layer_names0" in root.attrs:
        return "legacy", _described_layers(_legacy_layers(path, root, names), _leaves(config), by_address=False)
    # Keras 2.13 to 2.15 used another group name.
    for group in _CONTAINERS:
        if _link(root, group) is not None:
            stored = _keras3_layers(path, _group(path, root, group))
            return "keras3", _described_layers(stored, _leaves(config), by_address=True)
    held = ", ".join(ascii(name)[1:-1] for name in list(root)[:5]) or "nothing"
    raise UserError(path, f"is an HDF5 file without Keras weights (it contains {held})", NO_KERAS)


def _member(path: Path, group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset:
    """Return the member `name` of `group`; raise `UserError` if it is missing or a link to another file."""
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
    """Return the link type of a member without following it; None if there is no such member."""
    links, encoded = group.id.links, name.encode("utf-8", "surrogateescape")
    return links.get_info(encoded).type if links.exists(encoded) else None


def _group(path: Path, parent: h5py.Group, name: str) -> h5py.Group:
    found = _member(path, parent, name)
    if not isinstance(found, h5py.Group):
        raise UserError(path, f"{name!r} is not a group", NO_KERAS)
    return found


def _require_few(path: Path, place: str, count: int) -> None:
    if count > _MOST_NAMES:
        raise UserError(path, f"{place} holds {count:,} members or more", NO_KERAS)


def _stored_elsewhere(path: Path, name: str) -> UserError:
    problem = f"{name!r} is a link, which may point to another file"
    return UserError(path, problem, "Give a file that contains all its tensors")


def _legacy_layers(path: Path, root: h5py.Group, names: Collection[str]) -> list[StoredLayer]:
    """Return the layers of a Keras 1 or 2 file; nested models are expanded."""
    found: list[StoredLayer] = []
    count = 0
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
        count += len(tensors)
        _require_few(path, stored_name, count)
        if tensors:
            found += _taken_apart(stored_name, tensors, names)
    _require_unique(path, found)
    return found


def _taken_apart(stored_name: str, tensors: _Tensors, names: Collection[str]) -> list[StoredLayer]:
    """Return the layers of a group: a single layer, or those of a nested model, separated by tensor names."""
    owned: dict[str, _Tensors] = {}
    for place, dataset in tensors:
        owned.setdefault(split_name(place.removeprefix(f"{stored_name}/"))[0], []).append((place, dataset))
    # Keras 3 does not allow slashes in layer names: "conv1/bn" became "conv1_bn".
    own = stored_name.replace("/", "_")
    if own in names or len(owned) == 1:
        return [StoredLayer(own, "", tensors, (own,))]
    inner = [(_reading(owner, names) or owner.replace("/", "_"), has) for owner, has in owned.items()]
    # Non-trainable tensors are listed last, so frozen layers are out of order; their numbers restore it.
    numbers: dict[str, list[list[int]]] = {}
    for name, _ in inner:
        numbers.setdefault(re.sub(r"\d+", "#", name), []).append([int(part) for part in re.findall(r"\d+", name)])
    is_in_order = all(listed == sorted(listed) for listed in numbers.values())
    return [StoredLayer(name, "", has, (own, name), "" if is_in_order else f"{own}/{name}") for name, has in inner]


def _reading(owner: str, names: Collection[str]) -> str | None:
    """Return the model's layer that owns a tensor, with or without name scopes."""
    parts = owner.split("/")
    return next((name for start in range(len(parts)) if (name := "_".join(parts[start:])) in names), None)


def split_name(name: str) -> tuple[str, str]:
    """Split a tensor name, such as "conv/kernel:0", "conv_W:0" or "conv/kernel_1:0", into "conv" and "kernel"."""
    owner, _, last = name.rpartition("/")
    last = re.sub(r"_\d+$", "", last.split(":")[0])  # TensorFlow's suffix for unique names
    for old, new in _OLD_NAMES.items():
        if last.endswith(old):
            return owner or last.removesuffix(old), new
    return owner, last


def _require_unique(path: Path, layers: Iterable[StoredLayer]) -> None:
    """Raise `UserError` if two layers of a model have the same name."""
    seen = Counter((layer.name, layer.address[:-1]) for layer in layers if layer.name)
    if twice := next((name for (name, _), count in seen.items() if count > 1), None):
        raise UserError(path, f"holds two layers called {twice!r}", ANOTHER)


def _names(path: Path, group: h5py.Group, key: str) -> list[str] | None:
    """Return a list of names stored as an attribute or several numbered ones; None if missing."""
    keys, place = [key] if key in group.attrs else [], group.name
    while not keys or keys[0] != key:
        if (part := f"{key}{len(keys)}") not in group.attrs:
            break
        keys.append(part)
    found = [name for each in keys for name in _attribute(path, group, each)]
    if len(set(found)) < len(found):
        raise UserError(path, f"{place} lists a name twice in its {key}", NO_KERAS)
    return found if keys else None


def is_bfloat16(dataset: h5py.Dataset) -> bool:
    """Whether a data set holds bfloat16 as stored by Keras 3 (two bytes)."""
    if dataset.dtype.itemsize != 2 or dataset.dtype.kind != "V" or "dtype" not in dataset.attrs:
        return False
    stored = dataset.attrs.get_id("dtype")  # read only if it is one text
    is_single = stored.get_space().get_simple_extent_npoints() == 1
    return bool(
        is_single and isinstance(stored.get_type(), h5py.h5t.TypeStringID) and dataset.attrs["dtype"] == "bfloat16"
    )


def _attribute(path: Path, group: h5py.Group, key: str) -> list[str]:
    """Read a text attribute after checking its declared size."""
    stored = group.attrs.get_id(key)
    count = stored.get_space().get_simple_extent_npoints()
    # An empty list is stored with a numeric type.
    if count and not isinstance(stored.get_type(), h5py.h5t.TypeStringID):
        raise UserError(path, f"{key} of {group.name} is not text", NO_KERAS)
    most = _LONGEST_SHARED if _is_variable(stored.get_type()) else _LONGEST_NAMES
    if count > _MOST_NAMES or (count > 1 and _text_size(group, key) > most):
        raise UserError(path, f"{key} of {group.name} is too long a list ({count} names)", NO_KERAS)
    values: Iterable[bytes | str] = np.atleast_1d(group.attrs[key]) if count else ()
    found = [value.decode() if isinstance(value, bytes) else str(value) for value in values]
    if (longest := max(map(len, found), default=0)) > _LONGEST_NAME:
        raise UserError(path, f"{key} of {group.name} has a name of {longest} letters", NO_KERAS)
    return found


def _keras3_layers(path: Path, layers: h5py.Group) -> list[StoredLayer]:
    """Return the layers of a Keras 3 file, where groups are named by class and order, including nested models."""
    _require_few(path, layers.name, len(layers))
    tensors: dict[str, _Tensors] = {}
    for place, dataset in (found for name in layers for found in _datasets(path, layers, name)):
        if not _is_random_state(place):
            tensors.setdefault(place.rpartition("/")[0], []).append((place, dataset))
    found = []
    for place in sorted(tensors, key=_by_number):
        group = _group(path, layers, place) if place else layers
        noted = "".join(_attribute(path, group, "name")) if "name" in group.attrs else ""
        address = tuple(part for part in place.removesuffix("/vars").split("/") if part not in _CONTAINERS)
        # The data sets are named 0, 1, ..., 10: sort numerically.
        in_order = sorted(tensors[place], key=lambda item: _by_number(item[0]))
        kind = re.sub(r"_\d+$", "", "".join(address[-1:]))
        found.append(StoredLayer(noted.replace("/", "_"), kind, in_order, address, "/".join(address[:-1])))
    _require_unique(path, found)
    return found


def _by_number(place: str) -> list[str | int]:
    """Sort key with numeric order: "conv2d_2" before "conv2d_10"."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"([0-9]+)", place)]


def _datasets(path: Path, group: h5py.Group, name: str) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield (path, data set) for all data sets at and below `name`; reject hard links to the same data."""
    seen, waiting = set(), [name]
    while waiting:
        place = waiting.pop()
        found = _member(path, group, place)
        if (address := h5py.h5o.get_info(found.id).addr) in seen:
            raise UserError(path, f"{place!r} has two names in the file", NO_KERAS)
        seen.add(address)
        if isinstance(found, h5py.Group):
            _require_few(path, place, len(seen) + len(waiting) + len(found))
            waiting += [f"{place}/{part}" for part in found]
        else:
            yield place, found


def _is_random_state(place: str) -> bool:
    """Whether a tensor is the state of a random layer (Keras 3, preprocessing layers of Keras 2)."""
    return "seed_generator" in place.split("/") or split_name(place)[1] == "StateVar"


@dataclass(frozen=True)
class _Leaf:
    """A layer in the description: its names, and its addresses in a Keras 3 file, from the outermost model inwards."""

    names: tuple[str, ...]
    addresses: tuple[str, ...]
    kind: str


def _leaves(config: str) -> list[_Leaf]:
    """Return the layers of a description in order; an empty list if it cannot be parsed."""
    try:
        return list(_walk(json.loads(config))) if config else []
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return []


def _walk(model: dict[str, Any]) -> Iterator[_Leaf]:
    # In early Keras 2 a Sequential is just a list.
    described = model["config"] if isinstance(model["config"], list) else model["config"]["layers"]
    for each, address in zip(described, addresses(each["class_name"] for each in described), strict=True):
        name = str(each["config"]["name"] if "name" in each["config"] else each["name"]).replace("/", "_")
        if isinstance(each["config"], list) or "layers" in each["config"]:
            for leaf in _walk(each):
                yield replace(leaf, names=(name, *leaf.names), addresses=(address, *leaf.addresses))
        else:
            yield _Leaf((name,), (address,), snake_case(each["class_name"]))


def _described_layers(stored: list[StoredLayer], leaves: list[_Leaf], by_address: bool) -> list[StoredLayer]:
    """Sort the layers by the description of the network and add their classes, if there is a description."""
    known = {}
    for number, leaf in enumerate(leaves):
        # In the legacy layout a nested model is one group with a flat list of tensors.
        flat = (leaf.names[0], leaf.names[-1]) if len(leaf.names) > 1 else leaf.names
        known[leaf.addresses if by_address else flat] = (number, leaf.kind)
        # A nested model with a single layer with weights is not expanded.
        known.setdefault(flat[:1], (number, ""))
    if not all(layer.address in known for layer in stored):
        return stored
    placed = [(known[layer.address][0], replace(layer, kind=known[layer.address][1], chain="")) for layer in stored]
    return [layer for _, layer in sorted(placed, key=lambda item: item[0])]


def addresses(classes: Iterable[str]) -> list[str]:
    """Return the group names of layers of these classes in a Keras 3 file: snake case, numbered from the second."""
    seen: Counter[str] = Counter()
    found = []
    for name in map(snake_case, classes):
        found.append(f"{name}_{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


def snake_case(name: str) -> str:
    """Convert a class name to the prefix of Keras' layer names, without the "V1" and "V2" of TensorFlow 1."""
    name = re.sub(r"\W+", "", re.sub(r"(?<=Normalization)V[12]$", "", name.rpartition(">")[2]))
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
