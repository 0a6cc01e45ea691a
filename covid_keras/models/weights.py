"""Save and load HDF5 weight files by layer name.

Keras' loaders accept wrong files silently: the legacy loader goes by order and checks only shapes, `by_name=True`
leaves unmatched layers random, and the loader of `*.weights.h5` goes by class and order and ignores the rest of the
file. Here layers are matched by name, or by kind and order if names are automatic and the match is unique (see
`covid_keras.models.weight_matching`). Every tensor of file and model must be used; otherwise nothing is assigned.
"""

from __future__ import annotations

import io
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
from covid_keras.models.weight_files import is_bfloat16, open_weights, require_values
from covid_keras.models.weight_matching import (
    WeightMisfit,
    leaves,
    match_layers,
    pair_tensors,
    require_tensor,
)

_LOG = logging.getLogger(__name__)
# HDF5's limit for attributes in an object header; longer lists of names are split, as in Keras.
_LONGEST_ATTRIBUTE = 64512


@dataclass(frozen=True)
class LoadReport:
    """The result of loading a weight file.

    Attributes
    ----------
    path : Path
        The file read.
    layout : str
        "legacy" (one group per layer, as in Keras 1 and 2) or "keras3" (`*.weights.h5` and `.keras`).
    assigned : dict of str to str
        Maps "layer/variable" of the model to the path of the data set below the group of layers.
    parameters : int
        Number of values loaded.
    renamed : dict of str to str
        Maps layers of the model to those of the file that were matched by kind and order.
    """

    path: Path
    layout: str
    assigned: dict[str, str]
    parameters: int
    renamed: dict[str, str] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """Yield a summary as text, and each layer with another name in the file."""
        yield f"{len(self.assigned)} tensors with {self.parameters:,} values in the {self.layout} layout"
        if self.renamed:
            yield f"{len(self.renamed)} layers matched by kind and order instead of name (file -> model):"
            yield from (f"  {theirs} -> {ours}" for ours, theirs in self.renamed.items())


def save_weights(model: keras.Model, path: str | Path) -> Path:
    """Save the weights of a model as HDF5 in the legacy layout, one group per layer.

    Parameters
    ----------
    model : keras.Model
        A built, flat model with unique layer names.
    path : str or Path
        The `.h5` file, written atomically.
    """
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
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
    return _write_content(path, content)


class _Memory(io.BytesIO):
    """A file in memory with a name that Keras accepts."""

    def __str__(self) -> str:
        return "memory.weights.h5"


def save_keras_weights(model: keras.Model, path: str | Path) -> Path:
    """Save the weights of a model in the layout of Keras 3 as `.weights.h5`, atomically; return the path."""
    content = _Memory()
    model.save_weights(content)
    return _write_content(path, content)


def _write_content(path: str | Path, content: io.BytesIO) -> Path:
    """Write a file that was made in memory, since HDF5 does not survive a full disk."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getbuffer())
    return Path(path)


def _write_names(group: h5py.Group, key: str, names: list[str]) -> None:
    stored = np.array([name.encode() for name in names]) if names else np.zeros(0, "S1")
    if stored.nbytes <= _LONGEST_ATTRIBUTE:
        group.attrs[key] = stored
        return
    for number, part in enumerate(np.array_split(stored, -(-stored.nbytes // _LONGEST_ATTRIBUTE))):
        group.attrs[f"{key}{number}"] = part


def build_registered(entry: WeightEntry) -> keras.Model:
    """Build the network of a registered file, with random weights; the entry must have a builder."""
    from covid_keras import models

    return getattr(models, entry.builder)(input_shape=entry.input_shape, **entry.arguments)


def convert_weights(source: str | Path, target: str | Path, entry: WeightEntry, legacy: bool = False) -> LoadReport:
    """Convert a weight file of a registered network to the other layout.

    Parameters
    ----------
    source : str or Path
        A file that `load_weights` accepts for the network.
    target : str or Path
        `.weights.h5`, or with `legacy` `.h5` or `.hdf5`; written atomically.
    entry : WeightEntry
        The registered network; its file is not needed.
    legacy : bool
        Write the layout of Keras 1 and 2 (see `save_weights`) in the order of the model, so that loaders by order can
        read it; otherwise the layout of Keras 3.

    Returns
    -------
    LoadReport
        For reading `source`.

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
        save_keras_weights(model, target)
    return report


def load_weights(model: keras.Model, path: str | Path) -> LoadReport:
    """Load a weight file into a model; every tensor of file and model must match.

    Parameters
    ----------
    model : keras.Model
        A built model. Not changed if an error is raised.
    path : str or Path
        Legacy HDF5 (weights or a whole model), Keras 3 `*.weights.h5` or a `.keras` archive, detected from the content.
        Floating-point numbers of any width are converted.

    Returns
    -------
    LoadReport

    Raises
    ------
    UserError
        If the file is damaged or not a weight file, or a tensor is missing, left over, not finite, of another shape or
        stored in another file. If the layers do not match (`WeightMisfit`), a note shows them side by side.
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
    # All shapes and values were checked, so no assignment can fail halfway.
    for variable, value in values:
        variable.assign(value)
    if renamed:
        said = ", ".join(f"{theirs} -> {ours}" for ours, theirs in list(renamed.items())[:5])
        _LOG.warning("%s: %d layers matched by kind and order: %s", path, len(renamed), said)
    return LoadReport(path, layout, assigned, sum(value.size for _, value in values), renamed)


def load_first(models: Sequence[keras.Model], path: str | Path) -> keras.Model:
    """Load a file into the first of `models` that it fits; return that model.

    Raises
    ------
    UserError
        As `load_weights`; if no model fits, the error for the closest one.
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
    """Read a tensor after comparing its shape with the variable."""
    require_tensor(path, place, dataset, variable)
    require_values(path, place, dataset)
    value = dataset[()]
    if is_bfloat16(dataset):
        value = np.asarray(value).view(ml_dtypes.bfloat16).astype(np.float32)
    with np.errstate(over="ignore"):
        is_finite = np.isfinite(value.astype(np.float32)).all()
    if not is_finite:
        raise UserError(path, f"{place} has NaN or infinite values", "Download the file again")
    return value
