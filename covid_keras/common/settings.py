"""Validated settings: read YAML mappings into frozen dataclasses with pydantic, with one-line errors."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

import yaml
from annotated_types import Ge, Gt, Lt

from covid_keras.common.errors import UserError

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")

# Annotated types with ranges, validated by `build`.
Count = Annotated[int, Ge(1)]
CountOrZero = Annotated[int, Ge(0)]
Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Gt(0), Lt(1)]
BelowOne = Annotated[float, Ge(0), Lt(1)]

_UNKNOWN_KEY = "unexpected_keyword_argument"
_NO_MAPPING = ("dataclass_type", "dict_type")
# The key that identifies a list entry in messages.
_NAMES = ("table", "row", "name", "id")


def read_yaml(path: str | Path, loader: type = yaml.SafeLoader) -> dict[str, Any]:
    """Read a YAML mapping; raise `UserError` if the file is missing, invalid, not a mapping, or repeats a key."""
    try:
        value = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_with_keys_once(loader))
    except OSError as error:
        raise UserError(path, f"cannot be read ({error.strerror})", "Check the path") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(path, f"is not valid YAML ({error})", "Correct the file") from error
    if not isinstance(value, dict):
        raise UserError(path, "must contain a mapping", "Write 'key: value' lines")
    return value


@functools.cache
def _with_keys_once(loader: Any) -> type:
    """Return a loader that rejects repeated keys; YAML itself would silently keep the last one."""

    def construct_mapping(self: Any, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if again := [key for key in keys if keys.count(key) > 1]:
            raise yaml.constructor.ConstructorError(None, None, f"key {again[0]!r} is repeated", node.start_mark)
        return loader.construct_mapping(self, node, deep)

    return type("KeysOnce", (loader,), {"construct_mapping": construct_mapping})


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` updated with `over`: nested mappings are merged, other values replaced."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


# Settings that change no number but by chance, or how it is computed.
WITHOUT_INFLUENCE = ("seed", "accumulate")


def flattened(settings: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return nested settings by dotted path, without those that have no influence on a result.

    >>> flattened({"training": {"epochs": 3, "seed": 1}, "size": [8, 8]})
    {'training.epochs': 3, 'size': [8, 8]}
    """
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if key not in WITHOUT_INFLUENCE:
            path = f"{above}{key}"
            flat |= flattened(value, f"{path}.") if isinstance(value, Mapping) else {path: value}
    return flat


def unknown_key(where: str | Path, key: str, known: Iterable[str], place: str = "") -> UserError:
    """Return the error for an unknown key; it suggests the closest known key."""
    known = sorted(known)
    near = difflib.get_close_matches(key, known, n=1)
    remedy = f"Did you mean {near[0]!r}" if near else f"Known keys: {', '.join(known)}"
    return UserError(where, f"unknown key {key!r}" + (f" in {place}" if place else ""), remedy)


def build(cls: type[T], mapping: Any, where: str | Path, place: str = "", strict: bool = True) -> T:
    """Build a dataclass from a mapping; validate keys, types and ranges, also of nested dataclasses.

    Parameters
    ----------
    cls : type
        A dataclass with annotations that pydantic supports.
    mapping : Mapping
        As read from YAML.
    where : str or Path
        The file, for error messages.
    place : str
        The position inside the file (keys joined by dots), for error messages.
    strict : bool
        Reject "5" as a number. Use False if all values were read as text.

    Raises
    ------
    UserError
        If a key is unknown or missing, or a value has the wrong type or is out of range.
    """
    from pydantic import ValidationError

    # In JSON mode pydantic accepts lists as tuples and mappings as dataclasses, and stays strict otherwise.
    text = json.dumps(as_plain(mapping), default=str)
    try:
        return _adapter(cast(Any, cls)).validate_json(text, strict=strict, extra="forbid")
    except ValidationError as error:
        raise user_error(error, cls, json.loads(text), where, place) from error


@functools.cache
def _adapter(cls: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter  # takes 0.1 s, which `--help` does not need

    return TypeAdapter(cls)


def user_error(error: ValidationError, cls: type, mapping: Any, where: str | Path, place: str = "") -> UserError:
    """Convert a pydantic error to a one-line error: an unknown key if any, else the first problem."""
    first = min(error.errors(include_url=False), key=lambda found: found["type"] != _UNKNOWN_KEY)
    kind, loc, value, message = first["type"], first["loc"], first["input"], first["msg"]
    inside = _place(place, mapping, loc)
    if kind == _UNKNOWN_KEY:
        return unknown_key(where, str(loc[-1]), _keys(cls, loc[:-1]), _place(place, mapping, loc[:-1]))
    if kind == "missing" and isinstance(loc[-1], str):
        return UserError(where, f"lacks the key {'.'.join(filter(None, (inside, loc[-1])))!r}", "Add it")
    if kind == "missing":
        return UserError(where, f"{inside} is {value!r}", "It must have more values")
    if kind in _NO_MAPPING:
        return UserError(where, f"{inside or 'the file'} must be a mapping, not {value!r}", "Write 'key: value' lines")
    if kind == "value_error":
        return UserError(where, f"{inside}: {first['ctx']['error']}", "Correct the value")
    remedy = message.replace("Input should", "It must").replace("a valid array", "a list")
    return UserError(where, f"{inside} is {value!r}", remedy)


def _place(place: str, value: Any, loc: Iterable[int | str]) -> str:
    """Return a location as text; list entries are given by name if they have one."""
    for key in loc:
        if isinstance(value, Mapping) and key in value:
            place, value = f"{place}.{key}" if place else str(key), value[key]
        elif isinstance(value, list) and isinstance(key, int) and key < len(value):
            value = value[key]
            named = [value[name] for name in _NAMES if name in value] if isinstance(value, Mapping) else []
            place += f"[{(named or [key])[0]}]"
    return place


def _keys(cls: type, loc: Iterable[int | str]) -> list[str]:
    """Return the keys of the dataclass at location `loc` inside `cls`."""
    for key in loc:
        cls = next(_dataclasses(typing.get_type_hints(cls).get(str(key))), cls)
    return [field.name for field in dataclasses.fields(cls) if field.init]


def _dataclasses(hint: Any) -> Iterator[type]:
    """Yield the dataclasses named in an annotation."""
    if dataclasses.is_dataclass(hint):
        yield cast(type, hint)
    for inner in typing.get_args(hint):
        yield from _dataclasses(inner)


def as_plain(value: Any) -> Any:
    """Convert nested dataclasses to plain dicts and lists, for YAML and JSON."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: as_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): as_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
