"""Weight files in HDF5: written layer by layer under explicit names, read with nothing left over.

Keras' own legacy loader maps the k-th layer to the k-th group and checks shapes only, so layers of one shape in
another order load swapped, and `by_name=True` leaves unmatched layers random; its loader of `*.weights.h5` goes by the
class and order of the layers, and leaves what it does not look for unread; all without a word. Here a tensor goes where
its layer's name says, in both layouts; every tensor of the file's layers and of the model must be used, or nothing is
assigned; and no code is ever read from a file, nor any other file that it links to. What a file holds besides its
layers (optimiser, random states, the architecture with its `Lambda` code) is not read. A `*.weights.h5` of an early
Keras 3 that notes no names can only be matched by class and order.

A file is taken for hostile: what it declares is compared with the model before any of its values are read, so that it
costs no more memory than the model and the file itself do.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import keras
import numpy as np

from covid_keras.common.errors import UserError
from covid_keras.common.files import atomic_path
from covid_keras.models.registry import WeightEntry

_FETCH_AGAIN, _ANOTHER, _NO_KERAS = (
    "Fetch the file again and check its sha256",
    "Give the file of this very model",
    "Give a file written by Keras",
)
# What h5py raises where the bytes of a file are not as HDF5 has them.
_DAMAGED = (OSError, KeyError, RuntimeError, TypeError, ValueError)
# Bounds of what is read before it can be compared with the model; Keras' own files stay far below.
_MOST_NAMES, _LONGEST_NAMES, _LARGEST_CHUNK = 100_000, 1 << 24, 1 << 20
_DEEPEST, _LONGEST_NAME = 16, 1000
# HDF5 holds an attribute in an object's header up to this size; Keras splits longer lists of names, as is done here.
_LONGEST_ATTRIBUTE = 64512
# How the names end that Keras 1 gave a layer's tensors, after the layer's own.
_OLD_NAMES = {
    "_W": "kernel",
    "_b": "bias",
    "_gamma": "gamma",
    "_beta": "beta",
    "_running_mean": "moving_mean",
    "_running_std": "moving_variance",
}

# Layer name -> (path in the file, data set) of each of its tensors, in the file's order.
_Tensors = dict[str, list[tuple[str, h5py.Dataset]]]


@dataclass(frozen=True)
class LoadReport:
    """What went where: `assigned` maps each tensor of the model to its place in the file.

    Attributes
    ----------
    path : Path
        The file read.
    layout : str
        "legacy" (one group per layer, as Keras 1 and 2 wrote) or "keras3" (`*.weights.h5`).
    assigned : dict of str to str
        "layer/variable" of the model to the path of its data set, below the group that holds the layers.
    parameters : int
        Number of values loaded.
    """

    path: Path
    layout: str
    assigned: dict[str, str]
    parameters: int


def save_weights(model: keras.Model, path: str | Path) -> Path:
    """Write a model's weights as legacy-layout HDF5, one group per layer, addressed by name.

    Parameters
    ----------
    model : keras.Model
        A built, flat model whose layer names are unique.
    path : str or Path
        The `.h5` file; appears whole or not at all.
    """
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        _write_names(file, "layer_names", [layer.name for layer in model.layers])
        file.attrs["backend"] = keras.backend.backend().encode()
        file.attrs["keras_version"] = keras.__version__.encode()
        for layer in model.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{variable.name}:0" for variable in layer.weights]
            _write_names(group, "weight_names", names)
            for name, variable in zip(names, layer.weights, strict=True):
                # Scalars cannot be compressed.
                options = {"compression": "gzip", "shuffle": True} if len(variable.shape) else {}
                group.create_dataset(name, data=np.asarray(variable), **options)
    return Path(path)


def _write_names(group: h5py.Group, key: str, names: list[str]) -> None:
    stored = np.array([name.encode() for name in names]) if names else np.zeros(0, "S1")
    if stored.nbytes <= _LONGEST_ATTRIBUTE:
        group.attrs[key] = stored
        return
    for number, part in enumerate(np.array_split(stored, -(-stored.nbytes // _LONGEST_ATTRIBUTE))):
        group.attrs[f"{key}{number}"] = part


def build_registered(entry: WeightEntry) -> keras.Model:
    """Build the network, with random weights, that a registered file is for; the entry must name its builder."""
    from covid_keras import models

    return getattr(models, entry.builder)(input_shape=entry.input_shape, **entry.arguments)


def convert_weights(source: str | Path, target: str | Path, entry: WeightEntry, legacy: bool = False) -> LoadReport:
    """Write a weight file of a registered network in the other layout.

    Parameters
    ----------
    source : str or Path
        A file that `load_weights` accepts for that network.
    target : str or Path
        Appears whole or not at all: `.weights.h5`, or with `legacy` `.h5` or `.hdf5`.
    entry : WeightEntry
        Names the builder; its own file is not needed.
    legacy : bool
        Write the layout of Keras 1 and 2 (see `save_weights`), layers and tensors in the model's order, so that
        also a loader that goes by order reads it; else that of Keras 3.

    Returns
    -------
    LoadReport
        Of reading `source`.

    Raises
    ------
    UserError
        Where `source` does not fit, or `target` cannot be written.
    """
    model = build_registered(entry)
    report = load_weights(model, source)
    if legacy:
        save_weights(model, target)
    else:
        with atomic_path(target) as temporary:
            model.save_weights(temporary)
    return report


def load_weights(model: keras.Model, path: str | Path) -> LoadReport:
    """Load a weight file into a model that the suite built; refuse what does not fit.

    Parameters
    ----------
    model : keras.Model
        A built model. Left untouched where the file is refused.
    path : str or Path
        Legacy HDF5 (weights alone or a whole model) or Keras 3 `*.weights.h5`; told apart by their contents,
        whatever the suffix.

    Returns
    -------
    LoadReport

    Raises
    ------
    UserError
        Naming the file and the first tensor that is missing, left over, of another shape, no finite real numbers
        or stored in another file, or where the file is not an HDF5 weight file, or is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(path, "cannot be read as HDF5 (there is no such file)", "Check the path")
    try:
        with h5py.File(path, "r") as file:
            layout, tensors = _tensors(path, file, model)
            assigned, pairs = _fitted(model, path, layout, tensors)
    except _DAMAGED as error:
        raise UserError(path, f"cannot be read as HDF5 ({error})", _FETCH_AGAIN) from error
    # Shapes fit and values are finite real numbers, so that none of these can fail after another was done.
    for variable, value in pairs:
        variable.assign(value)
    return LoadReport(path, layout, assigned, sum(value.size for _, value in pairs))


def _tensors(path: Path, file: h5py.File, model: keras.Model) -> tuple[str, _Tensors]:
    root = _group(path, file, "model_weights") if _link(file, "model_weights") is not None else file
    if "layer_names" in root.attrs or "layer_names0" in root.attrs:
        return "legacy", _legacy_tensors(path, root)
    if _link(root, "layers") is not None:
        return "keras3", _keras3_tensors(path, _group(path, root, "layers"), model)
    raise UserError(path, "holds no Keras weights", _NO_KERAS)


def _member(path: Path, group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset:
    """Return what lies at `name` below `group`; refuse what is absent or is stored elsewhere."""
    parts = name.split("/")
    is_odd = len(parts) > _DEEPEST or not name.isprintable()
    if is_odd or not {"", ".", ".."}.isdisjoint(parts):
        raise UserError(path, f"{name[:80]!r} is not the name of a layer or tensor", _NO_KERAS)
    found: h5py.Group | h5py.Dataset = group
    for part in parts:
        link = _link(found, part) if isinstance(found, h5py.Group) else None
        if link is None:
            raise UserError(path, f"is incomplete: {name!r} is listed but absent", "Fetch the file again")
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
        raise UserError(path, f"{name!r} is not a group", _NO_KERAS)
    return found


def _stored_elsewhere(path: Path, name: str) -> UserError:
    problem = f"{name!r} is a link, which may lead out of the file"
    return UserError(path, problem, "Give a file that holds all of its tensors")


def _legacy_tensors(path: Path, root: h5py.Group) -> _Tensors:
    """Return, for each layer name with weights, its (path in the file, data set) in the file's order."""
    tensors: _Tensors = {}
    for stored_name in _names(path, root, "layer_names") or []:
        group = _group(path, root, stored_name)
        names = _names(path, group, "weight_names")
        if names is None:
            raise UserError(path, f"is incomplete: layer {stored_name!r} lists no weight_names", "Fetch the file again")
        # Keras 3 allows no slash in a layer's name: what was "conv1/bn" is "conv1_bn" there.
        layer_name = stored_name.replace("/", "_")
        if layer_name in tensors:
            raise UserError(path, f"holds two layers called {layer_name!r}", _ANOTHER)
        if names:
            tensors[layer_name] = [(f"{stored_name}/{name}", _member(path, group, name)) for name in names]
    return tensors


def _names(path: Path, group: h5py.Group, key: str) -> list[str] | None:
    """Return a list of names kept as an attribute, or as several numbered ones; None where there is none."""
    keys, place = [key] if key in group.attrs else [], group.name
    while not keys or keys[0] != key:
        if (part := f"{key}{len(keys)}") not in group.attrs:
            break
        keys.append(part)
    found = [name for each in keys for name in _attribute(path, group, each)]
    if len(set(found)) < len(found):
        raise UserError(path, f"{place} lists a name twice in its {key}", _NO_KERAS)
    return found if keys else None


def _attribute(path: Path, group: h5py.Group, key: str) -> list[str]:
    """Read an attribute of text, its declared size looked at before."""
    stored = group.attrs.get_id(key)
    count, width = stored.get_space().get_simple_extent_npoints(), stored.get_type().get_size()
    # A list without names is stored as one of numbers.
    if count and not isinstance(stored.get_type(), h5py.h5t.TypeStringID):
        raise UserError(path, f"{key} of {group.name} is not text", _NO_KERAS)
    if count > _MOST_NAMES or count * width > _LONGEST_NAMES:
        raise UserError(path, f"{key} of {group.name} is too long a list ({count} names)", _NO_KERAS)
    values: Iterable[bytes | str] = np.atleast_1d(group.attrs[key]) if count else ()
    found = [value.decode() if isinstance(value, bytes) else str(value) for value in values]
    if (longest := max(map(len, found), default=0)) > _LONGEST_NAME:
        raise UserError(path, f"{key} of {group.name} holds a name of {longest} letters", _NO_KERAS)
    return found


def _keras3_tensors(path: Path, layers: h5py.Group, model: keras.Model) -> _Tensors:
    """Return the same of a Keras 3 file, whose groups are called by the class and order of the layers.

    Keras 3 notes each layer's name beside its tensors; where it did not yet, the model's layer of that class and place
    gives it.
    """
    places = {address: layer.name for address, layer in zip(_addresses(model), model.layers, strict=True)}
    tensors: _Tensors = {}
    for address in layers:
        found = [(place, dataset) for place, dataset in _datasets(path, layers, address) if not _is_random_state(place)]
        if nested := next((place for place, _ in found if place.rsplit("/", 1)[0] != f"{address}/vars"), None):
            raise UserError(path, f"{nested!r} belongs to a layer inside another", "Give the file of a flat model")
        if found:
            group = _group(path, layers, f"{address}/vars")
            noted = _attribute(path, group, "name") if "name" in group.attrs else [places.get(address, address)]
            # The data sets are called 0, 1, ..., 10: by number, not by letter.
            in_order = sorted(found, key=lambda item: (len(item[0]), item[0]))
            if tensors.setdefault("".join(noted), in_order) is not in_order:
                raise UserError(path, f"holds two layers called {''.join(noted)!r}", _ANOTHER)
    return tensors


def _addresses(model: keras.Model) -> list[str]:
    """Return what a Keras 3 file calls each layer: its class in snake case, numbered from the second one on."""
    seen: Counter[str] = Counter()
    addresses = []
    for layer in model.layers:
        name = re.sub(r"\W+", "", type(layer).__name__)
        name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
        name = re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
        addresses.append(f"{name}_{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return addresses


def _datasets(path: Path, group: h5py.Group, name: str) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield (path, data set) of all data sets at and below `name`; refuse what can be reached in two ways."""
    seen, waiting = set(), [name]
    while waiting:
        place = waiting.pop()
        found = _member(path, group, place)
        if (address := h5py.h5o.get_info(found.id).addr) in seen:
            raise UserError(path, f"{place!r} has two names in the file", _NO_KERAS)
        seen.add(address)
        if isinstance(found, h5py.Group):
            waiting += [f"{place}/{part}" for part in found]
        else:
            yield place, found


def _is_random_state(place: str) -> bool:
    return "seed_generator" in place.split("/")


def _fitted(
    model: keras.Model, path: Path, layout: str, tensors: _Tensors
) -> tuple[dict[str, str], list[tuple[keras.Variable, np.ndarray]]]:
    """Check every tensor of file and model against each other; read them."""
    wanted = {layer.name: layer.weights for layer in model.layers if layer.weights}
    for name in wanted:
        if name not in tensors:
            raise UserError(path, f"has no weights for the layer {name!r} of {model.name!r}", _ANOTHER)
    for name in tensors:
        if name not in wanted:
            raise UserError(path, f"holds weights of a layer {name!r} that {model.name!r} lacks", _ANOTHER)
    assigned, pairs = {}, []
    for name, variables in wanted.items():
        stored = tensors[name]
        if len(stored) != len(variables):
            raise UserError(path, f"layer {name!r} holds {len(stored)} tensors, the model {len(variables)}", _ANOTHER)
        by_order = list(zip(variables, stored, strict=True))
        for variable, (place, dataset) in by_order if layout == "keras3" else _by_name(path, variables, stored):
            assigned[f"{name}/{variable.name}"] = place
            pairs.append((variable, _values(path, place, dataset, variable)))
    return assigned, pairs


def _values(path: Path, place: str, dataset: h5py.Dataset | h5py.Group, variable: keras.Variable) -> np.ndarray:
    """Read one tensor as the variable's type; what it declares is compared before."""
    is_float = keras.backend.is_float_dtype(variable.dtype)
    is_tensor = isinstance(dataset, h5py.Dataset)
    if not is_tensor or dataset.dtype.kind not in ("f" if is_float else "iub") or dataset.dtype.itemsize > 8:
        problem = f"{place} is not a tensor of numbers of the kind {variable.dtype}"
        raise UserError(path, problem, "Fetch the file again")
    if dataset.shape != (shape := tuple(variable.shape)):
        problem = f"{place} has shape {dataset.shape}, the model wants {shape}"
        raise UserError(path, problem, "Give the file of this very model and input size")
    # A chunk is unpacked whole, even where the tensor is a corner of it.
    chunk = np.prod(dataset.chunks or 0, dtype=float) * dataset.dtype.itemsize
    if chunk > max(_LARGEST_CHUNK, dataset.nbytes):
        raise UserError(path, f"{place} is stored in pieces larger than itself, {dataset.chunks}", _NO_KERAS)
    value = dataset[()]
    with np.errstate(over="ignore"):
        is_finite = np.isfinite(value.astype(np.float32)).all()
    if not is_finite:
        raise UserError(path, f"{place} holds values that are not finite", "Fetch the file again")
    return value


def _by_name(path: Path, variables, stored):
    """Pair variables with a legacy file's tensors by the last part of their names; as Keras 1 called them, too.

    Where the names say nothing, by order, if the shapes then leave no doubt.
    """
    found = {_variable_name(place): (place, dataset) for place, dataset in stored}
    if len(found) == len(stored) and all(variable.name in found for variable in variables):
        return [(variable, found[variable.name]) for variable in variables]
    if len({tuple(variable.shape) for variable in variables}) < len(variables):
        unknown = next((place for place, _ in stored if _variable_name(place) not in {v.name for v in variables}), None)
        names = ", ".join(variable.name for variable in variables)
        raise UserError(path, f"{unknown or stored[0][0]} cannot be told from its shape to be one of {names}", _ANOTHER)
    return list(zip(variables, stored, strict=True))


def _variable_name(place: str) -> str:
    """Return "kernel" of "conv/kernel:0", "conv_W:0" or "conv/kernel_1:0" (a name that TensorFlow made unique)."""
    name = re.sub(r"_\d+$", "", place.rsplit("/", 1)[-1].split(":")[0])
    return next((new for old, new in _OLD_NAMES.items() if name.endswith(old)), name)
