"""Weight files in HDF5: written layer by layer under explicit names, read with nothing left over.

Keras' own legacy loader maps the k-th layer to the k-th group and checks shapes only, so layers of one shape in
another order load swapped, and `by_name=True` leaves unmatched layers random; both without a word. Here a tensor goes
where its layer's name says, every tensor of file and model must be used, and no code is ever read from a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import keras
import numpy as np

from covid_keras.errors import UserError
from covid_keras.files import atomic_path


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
        "layer/variable" of the model to the data set's path in the file.
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
        is no HDF5 weight file.
    """
    path = Path(path)
    try:
        with h5py.File(path, "r") as file:
            root = file.get("model_weights", file)
            if "layer_names" in root.attrs:
                layout, tensors = "legacy", _legacy_tensors(root)
            elif "layers" in root:
                layout, tensors = "keras3", None
            else:
                raise UserError(path, "holds no Keras weights", "Give a file written by Keras")
            if tensors is not None:
                return _assign(model, path, tensors)
    except OSError as error:
        raise UserError(
            path, f"cannot be read as HDF5 ({error})", "Fetch the file again and check its sha256"
        ) from error
    return _load_keras3(model, path, layout)


def _legacy_tensors(root: h5py.Group) -> dict[str, list[tuple[str, np.ndarray]]]:
    """Return, for each layer name with weights, its (path in the file, values) in the file's order."""
    tensors: dict[str, list[tuple[str, np.ndarray]]] = {}
    for layer_name in (_text(name) for name in root.attrs["layer_names"]):
        group = root[layer_name]
        names = [_text(name) for name in group.attrs["weight_names"]]
        if names:
            tensors[layer_name] = [(f"{layer_name}/{name}", group[name][()]) for name in names]
    return tensors


def _assign(model: keras.Model, path: Path, tensors: dict[str, list[tuple[str, np.ndarray]]]) -> LoadReport:
    """Check every tensor of file and model against each other, then assign all of them."""
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
        for variable, (place, value) in _paired(variables, stored):
            if tuple(variable.shape) != value.shape:
                raise UserError(
                    path,
                    f"{place} has shape {value.shape}, the model wants {tuple(variable.shape)}",
                    "Give the file of this very model and input size",
                )
            assigned[f"{name}/{variable.name}"] = place
            pairs.append((variable, value))
    for variable, value in pairs:
        variable.assign(value)
    return LoadReport(path, "legacy", assigned, sum(value.size for _, value in pairs))


def _paired(variables, stored):
    """Pair variables with tensors by the last part of their names; by order where the names say nothing."""
    by_name = {place.rsplit("/", 1)[-1].split(":")[0]: (place, value) for place, value in stored}
    if len(by_name) == len(stored) and all(variable.name in by_name for variable in variables):
        return [(variable, by_name[variable.name]) for variable in variables]
    return list(zip(variables, stored, strict=True))


def _load_keras3(model: keras.Model, path: Path, layout: str) -> LoadReport:
    """Load a Keras 3 file by Keras itself, which refuses what does not fit; the suffix need not be right."""
    source = path
    try:
        if not path.name.endswith(".weights.h5"):
            # Keras chooses the format by the suffix alone; a link beside would need a writable folder.
            import tempfile

            with tempfile.TemporaryDirectory() as folder:
                source = Path(folder) / "linked.weights.h5"
                source.symlink_to(path.resolve())
                model.load_weights(source)
        else:
            model.load_weights(source)
    except (ValueError, KeyError, OSError) as error:
        raise UserError(
            path, f"does not fit {model.name!r} ({str(error).splitlines()[0]})", "Give the file of this very model"
        ) from error
    assigned = {f"{layer.name}/{weight.name}": weight.path for layer in model.layers for weight in layer.weights}
    return LoadReport(path, layout, assigned, int(model.count_params()))


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
