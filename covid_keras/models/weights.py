"""Weight files in HDF5: written layer by layer under explicit names, read with nothing left over.

Keras' own legacy loader maps the k-th layer to the k-th group and checks shapes only, so layers of one shape in
another order load swapped, and `by_name=True` leaves unmatched layers random; its loader of `*.weights.h5` goes by the
class and order of the layers, and leaves what it does not look for unread; all without a word. Here a tensor goes where
its layer's name says, and where Keras gave the names, where kind and order leave one way only (see
`covid_keras.models.weight_matching`); every tensor of the file's layers and of the model must be used, or nothing is
assigned.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import keras
import ml_dtypes
import numpy as np

from covid_keras.common.errors import UserError
from covid_keras.common.files import atomic_path
from covid_keras.models.registry import WeightEntry
from covid_keras.models.weight_files import open_weights
from covid_keras.models.weight_kinds import NO_KERAS
from covid_keras.models.weight_matching import (
    WeightMisfit,
    is_bfloat16,
    leaves,
    match_layers,
    pair_tensors,
    require_tensor,
)

_LOG = logging.getLogger(__name__)
_LARGEST_CHUNK = 1 << 20
# HDF5 holds an attribute in an object's header up to this size; Keras splits longer lists of names, as is done here.
_LONGEST_ATTRIBUTE = 64512


@dataclass(frozen=True)
class LoadReport:
    """What went where.

    Attributes
    ----------
    path : Path
        The file read.
    layout : str
        "legacy" (one group per layer, as Keras 1 and 2 wrote) or "keras3" (`*.weights.h5` and `.keras`).
    assigned : dict of str to str
        "layer/variable" of the model to the path of its data set, below the group that holds the layers.
    parameters : int
        Number of values loaded.
    renamed : dict of str to str
        Where names do not fit, layers of the model to those of the file that were matched by kind and order.
    """

    path: Path
    layout: str
    assigned: dict[str, str]
    parameters: int
    renamed: dict[str, str] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """Yield in words what was read, and each layer that is called otherwise in the file."""
        yield f"{len(self.assigned)} tensors, {self.parameters:,} values, read in the {self.layout} layout"
        if self.renamed:
            yield f"{len(self.renamed)} layers matched by kind and order, not by name (file -> model):"
            yield from (f"  {theirs} -> {ours}" for ours, theirs in self.renamed.items())


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
        If `source` does not fit, or `target` cannot be written.
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
        Legacy HDF5 (weights alone or a whole model), Keras 3 `*.weights.h5` or a `.keras` archive; told apart by their
        contents, whatever the suffix. Floating-point numbers of any width are converted to the model's.

    Returns
    -------
    LoadReport

    Raises
    ------
    UserError
        Naming the file and the first tensor that is missing, left over, of another shape, no finite real numbers
        or stored in another file, or what the file is, where it is not a weight file, or is damaged. Of a file that
        does not fit (`WeightMisfit`), a note shows the layers of both side by side.
    """
    path = Path(path)
    with open_weights(path, {layer.name for layer in leaves(model)}) as (layout, stored):
        pairs = match_layers(model, path, layout, stored)
        assigned, values, renamed = {}, [], {}
        for layer, held in pairs:
            if (name := held.name or "/".join(held.address)) != layer.name:
                renamed[layer.name] = name
            for variable, (place, dataset) in pair_tensors(path, layout, layer, held):
                assigned[f"{layer.name}/{variable.name}"] = place
                values.append((variable, _values(path, place, dataset, variable)))
    # Shapes fit and values are finite real numbers, so that none of these can fail after another was done.
    for variable, value in values:
        variable.assign(value)
    if renamed:
        said = ", ".join(f"{theirs} -> {ours}" for ours, theirs in list(renamed.items())[:5])
        _LOG.warning("%s: %d layers matched by kind and order: %s", path, len(renamed), said)
    return LoadReport(path, layout, assigned, sum(value.size for _, value in values), renamed)


def load_first(models: Sequence[keras.Model], path: str | Path) -> keras.Model:
    """Load a file into the first of `models` that it fits, and return that one.

    Raises
    ------
    UserError
        As `load_weights`; of several models that it does not fit, what is said of the one that it fits best.
    """
    errors: list[WeightMisfit] = []
    for model in models:
        try:
            load_weights(model, path)
        except WeightMisfit as error:
            errors.append(error)
        else:
            return model
    raise min(errors, key=lambda error: error.unmatched)


def _values(path: Path, place: str, dataset: h5py.Dataset, variable: keras.Variable) -> np.ndarray:
    """Read one tensor; what it declares is compared with the variable before."""
    require_tensor(path, place, dataset, variable)
    # A chunk is unpacked whole, even where the tensor is a corner of it.
    chunk = np.prod(dataset.chunks or 0, dtype=float) * dataset.dtype.itemsize
    if chunk > max(_LARGEST_CHUNK, dataset.nbytes):
        raise UserError(path, f"{place} is stored in pieces larger than itself, {dataset.chunks}", NO_KERAS)
    value = dataset[()]
    if is_bfloat16(dataset):
        value = np.asarray(value).view(ml_dtypes.bfloat16).astype(np.float32)
    with np.errstate(over="ignore"):
        is_finite = np.isfinite(value.astype(np.float32)).all()
    if not is_finite:
        raise UserError(path, f"{place} holds values that are not finite", "Download the file again")
    return value
