"""Match the layers of a weight file to those of a model: by name, else by kind and order.

Automatic names of Keras (`conv2d_17`, `capsule_3`) tell only the kind of a layer and its order of creation. If names
differ, layers of the same kind and shapes are matched in the order of the data flow. The match must be unique: nothing
is matched if such layers are in parallel branches, names contradict the order, or counts differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache, cached_property
from itertools import groupby, pairwise, zip_longest
from pathlib import Path

import h5py
import keras

from covid_keras.common.errors import UserError
from covid_keras.models.weight_files import StoredLayer, is_bfloat16, snake_case, split_name
from covid_keras.models.weight_kinds import ANOTHER

# Limits for the lists in error notes: all layers, and a run of matching ones.
_MOST_LISTED, _LONGEST_RUN = 1000, 4

Pairs = list[tuple[keras.Layer, StoredLayer]]
Placed = tuple[str, h5py.Dataset]


class WeightMisfit(UserError):
    """A weight file does not fit the model; `unmatched` counts the layers without a match of the same shapes."""

    unmatched = 0


def leaves(model: keras.Model) -> Iterator[keras.Layer]:
    """Yield the layers with weights in order, including those of nested models."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from leaves(layer)
        elif layer.weights:
            yield layer


def match_layers(model: keras.Model, path: Path, layout: str, stored: list[StoredLayer]) -> Pairs:
    """Match the layers of model and file one to one.

    Raises
    ------
    WeightMisfit
        If the match is not unique; a note shows both lists side by side.
    """
    return _Matching(model, path, layout, stored).pairs()


def pair_tensors(
    path: Path, layout: str, layer: keras.Layer, stored: StoredLayer
) -> list[tuple[keras.Variable, Placed]]:
    """Match the tensors of two layers.

    In the legacy layout, match by the last part of their names, including names of Keras 1; without usable names, by
    order if all shapes differ. In the layout of Keras 3, match by order.
    """
    variables, tensors = layer.weights, stored.tensors
    if layout == "keras3":
        return list(zip(variables, tensors, strict=True))
    found = {split_name(place)[1]: (place, dataset) for place, dataset in tensors}
    if len(found) == len(tensors) and all(variable.name in found for variable in variables):
        return [(variable, found[variable.name]) for variable in variables]
    if len({tuple(variable.shape) for variable in variables}) < len(variables):
        known = {variable.name for variable in variables}
        unknown = next((place for place, _ in tensors if split_name(place)[1] not in known), tensors[0][0])
        names = ", ".join(variable.name for variable in variables)
        raise UserError(path, f"{unknown} matches more than one or none of {names} by shape", ANOTHER)
    return list(zip(variables, tensors, strict=True))


def require_tensor(path: Path, place: str, dataset: h5py.Dataset | h5py.Group, variable: keras.Variable) -> None:
    """Raise `UserError` unless a data set has the shape and kind of numbers of the variable."""
    is_tensor = isinstance(dataset, h5py.Dataset)
    kinds = "f" if keras.backend.is_float_dtype(variable.dtype) else "iub"
    if not is_tensor or not (is_bfloat16(dataset) or (dataset.dtype.kind in kinds and dataset.dtype.itemsize <= 8)):
        problem = f"{place} must be a tensor convertible to {variable.dtype}"
        raise UserError(path, problem, "Download the file again")
    if dataset.shape != (shape := tuple(variable.shape)):
        problem = f"{place} has shape {dataset.shape}, the model expects {shape}"
        raise WeightMisfit(path, problem, "Give the file of this model and input size")


@dataclass(frozen=True)
class _Matching:
    """An attempt to match the layers of a model and a file."""

    model: keras.Model
    path: Path
    layout: str
    stored: list[StoredLayer]

    @cached_property
    def layers(self) -> list[keras.Layer]:
        return list(leaves(self.model))

    def pairs(self) -> Pairs:
        by_name = _by_name(self.layers, self.stored)
        fits = by_name is not None and all(_shapes(layer) == _shapes(held) for layer, held in by_name)
        if by_name and fits and all(self._is_given(layer.name) for layer in self.layers):
            return by_name
        by_order = self._by_order()
        if by_name and fits:
            if isinstance(by_order, str) or by_order == by_name:
                return by_name
            problem = "lists layers with automatic names in another order than the model, so the match is ambiguous"
            raise self._misfit(problem, "Name the layers explicitly, and save the file again")
        if isinstance(by_order, str):
            raise self._misfit(by_order, ANOTHER)
        return by_order

    def _by_order(self) -> Pairs | str:
        """Match layers of the same kind and shapes in order; return the reason as text if that is not possible."""
        ours, theirs = self._grouped()
        if why := self._why():
            return why
        found: dict[int, tuple[keras.Layer, StoredLayer]] = {}
        for key, group in ours.items():
            if (pairs := self._in_order(group, theirs[key])) is None:
                return self._in_doubt(group, theirs[key])
            found |= {id(layer): (layer, held) for layer, held in pairs}
        return [found[id(layer)] for layer in self.layers]

    def _grouped(self) -> tuple[dict[tuple, list[keras.Layer]], dict[tuple, list[StoredLayer]]]:
        """Group the layers of model and file by kind (if the file stores all kinds) and shapes."""
        kinds = {each.kind for each in self.stored}
        known = self._own_kinds | _kinds_of_keras()
        ours: dict[tuple, list[keras.Layer]] = {}
        theirs: dict[tuple, list[StoredLayer]] = {}
        for layer in self.layers:
            # The nearest base class that also occurs in the file.
            kind = next((name for name in _lineage(layer) if name in kinds), "layer")
            ours.setdefault(("" if "" in kinds else kind, _shapes(layer)), []).append(layer)
        for each in self.stored:
            kind = each.kind if each.kind in known else "layer"
            theirs.setdefault(("" if "" in kinds else kind, _shapes(each)), []).append(each)
        return ours, theirs

    def _in_order(self, group: list[keras.Layer], held: list[StoredLayer]) -> Pairs | None:
        """Match layers of the same kind and shape; None if ambiguous."""
        named = _by_name(group, held)
        if named and all(self._is_given(layer.name) for layer in group):
            return named
        pairs = list(zip(group, held, strict=True))
        renamed = [(layer, each) for layer, each in pairs if layer.name != each.name]
        if any(self._contradicts(layer, each) for layer, each in renamed):
            return None
        if renamed and len(group) > 1:
            given = [(a.name, b.name) for a, b in pairs if self._is_given(a.name) and self._is_given(b.name)]
            # If some explicit names agree, a differing one is intentional.
            if len({ours == theirs for ours, theirs in given}) > 1:
                return None
            before = _ancestors(self.model)
            is_chain = all(id(first) in before.get(id(second), ()) for first, second in pairwise(group))
            if not is_chain or len({each.chain for each in held}) > 1:
                return None
        return pairs

    def _contradicts(self, layer: keras.Layer, each: StoredLayer) -> bool:
        """Whether the names exclude a match: an explicit name on both sides, or an automatic one of another kind."""
        on_both = {layer.name} & {other.name for other in self.stored} | {each.name} & {own.name for own in self.layers}
        kind = self._kind_of_name(each.name) if not each.kind else ""
        is_other_kind = kind in _kinds_of_keras() and kind not in _lineage(layer)
        return is_other_kind or any(map(self._is_given, on_both))

    @cached_property
    def _own_kinds(self) -> frozenset[str]:
        return frozenset(name for layer in self.layers for name in _lineage(layer))

    def _kind_of_name(self, name: str) -> str:
        """Return the kind in an automatic name; "" for explicit names."""
        plain = re.sub(r"_\d+$", "", re.sub(r"_v[12](?=_\d+$|$)", "", name))
        # Keras 1 wrote them without underscores.
        return next(
            (kind for kind in self._own_kinds | _kinds_of_keras() if plain in (kind, kind.replace("_", ""))), ""
        )

    def _in_doubt(self, group: list[keras.Layer], held: list[StoredLayer]) -> str:
        """Describe why the order of layers is ambiguous."""
        names, stored = {layer.name for layer in group}, {each.name for each in held}
        missing = next((layer.name for layer in group if layer.name not in stored), group[0].name)
        left = ", ".join(repr(each.name) for each in held if each.name not in names) or "none is left"
        shapes = _as_text(_shapes(group[0]))
        return (
            f"has no weights for the layer {missing!r} of {self.model.name!r} by name (but {left}), and which of the"
            f" {len(group)} layers with {shapes} it is cannot be determined from their order"
        )

    def _is_given(self, name: str) -> bool:
        return bool(name) and not self._kind_of_name(name)

    def _why(self) -> str:
        """Describe the first layer without a match of its shapes; "" if there is none."""
        ours, theirs = self._left_over()
        held = {each.name: each for each in self.stored}
        for layer in ours:
            each = theirs[0] if len(ours) == len(theirs) == 1 else held.get(layer.name)
            if each is None:
                return f"has no weights for the layer {layer.name!r} of {self.model.name!r}"
            if len(each.tensors) != len(layer.weights):
                return f"layer {each.name!r} has {len(each.tensors)} tensors, in the model {len(layer.weights)}"
            for variable, (place, dataset) in pair_tensors(self.path, self.layout, layer, each):
                try:
                    require_tensor(self.path, place, dataset, variable)
                except WeightMisfit as error:
                    return error.problem
        kind = ours[0].name if ours else theirs[0].name if theirs else ""
        if ours and kind:
            return f"has {kind!r} as a layer of another kind than {self.model.name!r}"
        return f"has weights for a layer {kind!r} that is not in {self.model.name!r}" if kind else ""

    def _left_over(self) -> tuple[list[keras.Layer], list[StoredLayer]]:
        """Return the surplus layers of model and file per kind and shapes."""
        ours, theirs = self._grouped()
        both = {**ours, **theirs}
        named = {key: {layer.name for layer in ours.get(key, [])} for key in both}
        held = {key: {each.name for each in theirs.get(key, [])} for key in both}
        more: list[keras.Layer] = []
        others: list[StoredLayer] = []
        for key in both:
            excess = len(ours.get(key, [])) - len(theirs.get(key, []))
            # Prefer layers whose names do not occur on the other side.
            if excess > 0:
                more += sorted(ours[key], key=lambda layer: layer.name in held[key])[:excess]
            elif excess < 0:
                others += sorted(theirs[key], key=lambda each: each.name in named[key])[:-excess]
        return more, others

    def _misfit(self, problem: str, remedy: str) -> WeightMisfit:
        error = WeightMisfit(self.path, problem, remedy)
        error.unmatched = max(map(len, self._left_over()))
        error.add_note(side_by_side(self.layers, self.stored))
        return error


def _by_name(layers: list[keras.Layer], stored: list[StoredLayer]) -> Pairs | None:
    """Match by name; None unless each name occurs exactly once on both sides."""
    held = {each.name: each for each in stored}
    names = {layer.name for layer in layers}
    is_unique = len(held) == len(stored) == len(layers) == len(names)
    return [(layer, held[layer.name]) for layer in layers] if is_unique and names == set(held) else None


def _ancestors(model: keras.Model) -> dict[int, set[int]]:
    """Return the ids of all layers upstream of each layer, including nested models."""
    found: dict[int, set[int]] = {}
    for layer in model.layers:
        sources = [parent.operation for node in layer._inbound_nodes for parent in node.parent_nodes]
        known = [source for source in sources if id(source) in found]
        before = set().union(*(found[id(source)] | _with_inner(source) for source in known))
        found[id(layer)] = before
        if isinstance(layer, keras.Model):
            found |= {inner: before | own for inner, own in _ancestors(layer).items()}
    return found


def _with_inner(layer: keras.Layer) -> set[int]:
    inner = layer.layers if isinstance(layer, keras.Model) else ()
    return {id(layer)}.union(*(_with_inner(each) for each in inner))


def _shapes(layer: keras.Layer | StoredLayer) -> tuple:
    """Return the sorted shapes of a layer's tensors; None for an entry that is not a tensor."""
    found: Iterable = (d for _, d in layer.tensors) if isinstance(layer, StoredLayer) else layer.weights
    shapes = [getattr(each, "shape", None) for each in found]
    return tuple(sorted((None if shape is None else tuple(shape) for shape in shapes), key=_by_rank))


def _by_rank(shape: tuple | None) -> tuple[int, str]:
    return -len(shape or ()), str(shape)


def _lineage(layer: keras.Layer) -> list[str]:
    """Return the class of a layer and its base classes."""
    return [snake_case(kind.__name__) for kind in type(layer).__mro__ if issubclass(kind, keras.Layer)]


@cache
def _kinds_of_keras() -> frozenset[str]:
    return frozenset(snake_case(name) for name in vars(keras.layers) if name[0].isupper())


def side_by_side(layers: list[keras.Layer], stored: list[StoredLayer]) -> str:
    """Format the layers of file and model as two columns; long runs of matching layers are shortened."""
    theirs = [(_shapes(each), each.name or "/".join(each.address)) for each in stored[:_MOST_LISTED]]
    ours = [(_shapes(layer), layer.name) for layer in layers[:_MOST_LISTED]]
    rows = [("in the file", "", "in the model")]
    matcher = SequenceMatcher(None, [shapes for shapes, _ in theirs], [shapes for shapes, _ in ours], autojunk=False)
    for kind, start, end, our_start, our_end in matcher.get_opcodes():
        left, right = theirs[start:end], ours[our_start:our_end]
        sign = "=" if kind == "equal" else "!"
        block = [
            (_row(*a) if a else "", sign, _row(*b) if b else "") for a, b in zip_longest(left, right, fillvalue=None)
        ]
        rows += block if kind != "equal" else _shortened(block)
    width = max(len(row[0]) for row in rows)
    return "\n".join(f"  {left:<{width}} {sign or ' '} {right}".rstrip() for left, sign, right in rows)


def _shortened(rows: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Leave out the middle of long runs of layers with equal names."""
    found: list[tuple[str, str, str]] = []
    for is_alike, group in groupby(rows, key=lambda row: row[0] == row[2]):
        run = list(group)
        if is_alike and len(run) > _LONGEST_RUN:
            run[1:-1] = [(f"({len(run) - 2} matching layers)", "=", "")]
        found += run
    return found


def _row(shapes: tuple, name: str) -> str:
    return f"{ascii(name)[1:-1]} {_as_text(shapes)}"


def _as_text(shapes: tuple) -> str:
    return " ".join("x".join(map(str, shape)) or "scalar" if shape is not None else "?" for shape in shapes)
