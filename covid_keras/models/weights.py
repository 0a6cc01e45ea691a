"""Weight files in HDF5: written layer by layer under explicit names, read with nothing left over.

Keras' own legacy loader maps the k-th layer to the k-th group and checks shapes only, so layers of one shape in
another order load swapped, and `by_name=True` leaves unmatched layers random; its loader of `*.weights.h5` goes by the
class and order of the layers, and leaves what it does not look for unread; all without a word. Here a tensor goes where
its layer's name says, in both layouts; every tensor of the file's layers and of the model must be used, or nothing is
assigned; and no code is ever read from a file, nor any other file that it links to. What a file holds besides its
layers (optimiser, random states) is not read. A `*.weights.h5` of an early Keras 3 that notes no names can only be
matched by class and order.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import keras
import numpy as np

from covid_keras.errors import UserError
from covid_keras.files import atomic_path

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
        "legacy" (a group a layer, as Keras 1 and 2 wrote) or "keras3" (`*.weights.h5`).
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
    """Write a model's weights as legacy-layout HDF5, a group a layer, addressed by name.

    Parameters
    ----------
    model : keras.Model
        A built, flat model whose layer names are unique.
    path : str or Path
        The `.h5` file; appears whole or not at all.
    """
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        file.attrs["backend"] = keras.backend.backend().encode()
        file.attrs["keras_version"] = keras.__version__.encode()
        for layer in model.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{variable.name}:0" for variable in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, variable in zip(names, layer.weights, strict=True):
                group.create_dataset(name, data=np.asarray(variable), compression="gzip", shuffle=True)
    return Path(path)


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
        Naming the file and the first tensor that is missing, left over or of another shape, or where the file
        is no HDF5 weight file, or links to another one.
    """
    path = Path(path)
    try:
        with h5py.File(path, "r") as file:
            root = _group(path, file, "model_weights") if "model_weights" in file else file
            if "layer_names" in root.attrs:
                return _assign(model, path, "legacy", _legacy_tensors(path, root))
            if "layers" in root:
                return _assign(model, path, "keras3", _keras3_tensors(path, _group(path, root, "layers"), model))
    except OSError as error:
        raise UserError(
            path, f"cannot be read as HDF5 ({error})", "Fetch the file again and check its sha256"
        ) from error
    raise UserError(path, "holds no Keras weights", "Give a file written by Keras")


def _member(path: Path, group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset:
    """Return what lies at `name` below `group`; refuse what is absent or is stored elsewhere."""
    found: h5py.Group | h5py.Dataset = group
    for part in filter(None, name.split("/")):
        link = found.get(part, getlink=True) if isinstance(found, h5py.Group) else None
        if link is None:
            raise UserError(path, f"is incomplete: {name!r} is listed but absent", "Fetch the file again")
        if not isinstance(link, h5py.HardLink):
            raise _stored_elsewhere(path, name)
        found = found[part]
    if isinstance(found, h5py.Dataset) and (found.external or found.is_virtual):
        raise _stored_elsewhere(path, name)
    return found


def _group(path: Path, parent: h5py.Group, name: str) -> h5py.Group:
    found = _member(path, parent, name)
    if not isinstance(found, h5py.Group):
        raise UserError(path, f"{name!r} is no group", "Give a file written by Keras")
    return found


def _stored_elsewhere(path: Path, name: str) -> UserError:
    return UserError(
        path, f"{name!r} is a link, which may lead out of the file", "Give a file that holds all of its tensors"
    )


def _legacy_tensors(path: Path, root: h5py.Group) -> _Tensors:
    """Return, for each layer name with weights, its (path in the file, data set) in the file's order."""
    tensors: _Tensors = {}
    for layer_name in (_text(name) for name in root.attrs["layer_names"]):
        group = _group(path, root, layer_name)
        if "weight_names" not in group.attrs:
            raise UserError(path, f"is incomplete: layer {layer_name!r} lists no weight_names", "Fetch the file again")
        names = [_text(name) for name in group.attrs["weight_names"]]
        if names:
            tensors[layer_name] = [(f"{layer_name}/{name}", _member(path, group, name)) for name in names]
    return tensors


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
            noted = _member(path, layers, f"{address}/vars").attrs.get("name", places.get(address, address))
            # The data sets are called 0, 1, ..., 10: by number, not by letter.
            in_order = sorted(found, key=lambda item: (len(item[0]), item[0]))
            if tensors.setdefault(_text(noted), in_order) is not in_order:
                raise UserError(path, f"holds two layers called {_text(noted)!r}", "Give the file of this very model")
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
    """Yield (path, data set) of all data sets at and below `name`."""
    found = _member(path, group, name)
    if isinstance(found, h5py.Dataset):
        yield name, found
        return
    for part in found:
        yield from _datasets(path, group, f"{name}/{part}")


def _is_random_state(place: str) -> bool:
    return "seed_generator" in place.split("/")


def _assign(model: keras.Model, path: Path, layout: str, tensors: _Tensors) -> LoadReport:
    """Check every tensor of file and model against each other and read them, then assign all of them."""
    wanted = {layer.name: layer.weights for layer in model.layers if layer.weights}
    for name in wanted:
        if name not in tensors:
            raise UserError(
                path, f"has no weights for the layer {name!r} of {model.name!r}", "Give the file of this very model"
            )
    for name in tensors:
        if name not in wanted:
            raise UserError(
                path, f"holds weights of a layer {name!r} that {model.name!r} lacks", "Give the file of this very model"
            )
    assigned, pairs = {}, []
    for name, variables in wanted.items():
        stored = tensors[name]
        if len(stored) != len(variables):
            raise UserError(
                path,
                f"layer {name!r} holds {len(stored)} tensors, the model {len(variables)}",
                "Give the file of this very model",
            )
        for variable, (place, dataset) in _paired(variables, stored):
            assigned[f"{name}/{variable.name}"] = place
            pairs.append((variable, _values(path, place, dataset, tuple(variable.shape))))
    # Shapes fit and values are real numbers, so that none of these can fail after another was done.
    for variable, value in pairs:
        variable.assign(value)
    return LoadReport(path, layout, assigned, sum(value.size for _, value in pairs))


def _values(path: Path, place: str, dataset: h5py.Dataset | h5py.Group, shape: tuple[int, ...]) -> np.ndarray:
    """Read one tensor; its shape is compared before, so that no file makes more memory be taken than the model has."""
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "fiub":
        raise UserError(path, f"{place} is no tensor of numbers", "Fetch the file again")
    if dataset.shape != shape:
        raise UserError(
            path,
            f"{place} has shape {dataset.shape}, the model wants {shape}",
            "Give the file of this very model and input size",
        )
    return dataset[()]


def _paired(variables, stored):
    """Pair variables with tensors by the last part of their names; by order where the names say nothing."""
    by_name = {place.rsplit("/", 1)[-1].split(":")[0]: (place, value) for place, value in stored}
    if len(by_name) == len(stored) and all(variable.name in by_name for variable in variables):
        return [(variable, by_name[variable.name]) for variable in variables]
    return list(zip(variables, stored, strict=True))


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
