"""Checked settings: YAML mappings become frozen dataclasses through pydantic; a mistake gets one clear line."""

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

# Ranges of settings, checked by `build`.
Count = Annotated[int, Ge(1)]
CountOrZero = Annotated[int, Ge(0)]
Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Gt(0), Lt(1)]
BelowOne = Annotated[float, Ge(0), Lt(1)]

_UNKNOWN_KEY = "unexpected_keyword_argument"
_NO_MAPPING = ("dataclass_type", "dict_type")
# The key that names an entry of a list, for messages.
_NAMES = ("table", "row", "name", "id")


def read_yaml(path: str | Path, loader: type = yaml.SafeLoader) -> dict[str, Any]:
    """Read a YAML mapping; raise `UserError` where the file is missing, broken, not a mapping, or has a key twice."""
    try:
        value = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_with_keys_once(loader))
    except OSError as error:
        raise UserError(path, f"cannot be read ({error.strerror})", "Check the path") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(path, f"is not valid YAML ({error})", "Correct the file") from error
    if not isinstance(value, dict):
        raise UserError(path, "is not a mapping", "Write 'key: value' lines")
    return value


@functools.cache
def _with_keys_once(loader: Any) -> type:
    """Return a loader that refuses a mapping with one key twice, of which YAML would keep the last in silence."""

    def construct_mapping(self: Any, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if again := [key for key in keys if keys.count(key) > 1]:
            raise yaml.constructor.ConstructorError(None, None, f"the key {again[0]!r} stands twice", node.start_mark)
        return loader.construct_mapping(self, node, deep)

    return type("KeysOnce", (loader,), {"construct_mapping": construct_mapping})


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `over` laid upon it, mappings merged key by key, everything else replaced."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def unknown_key(where: str | Path, key: str, known: Iterable[str], place: str = "") -> UserError:
    """Return the error of an unknown key, with the nearest known one."""
    known = sorted(known)
    near = difflib.get_close_matches(key, known, n=1)
    remedy = f"Did you mean {near[0]!r}" if near else f"Known keys: {', '.join(known)}"
    return UserError(where, f"unknown key {key!r}" + (f" in {place}" if place else ""), remedy)


def build(cls: type[T], mapping: Any, where: str | Path, place: str = "", strict: bool = True) -> T:
    """Make a dataclass of a mapping, checking keys, types and ranges, nested dataclasses included.

    Parameters
    ----------
    cls : type
        A dataclass whose annotations pydantic knows.
    mapping : Mapping
        As read from YAML.
    where : str or Path
        The file, for messages.
    place : str
        The path of keys inside the file, for messages.
    strict : bool
        Whether to refuse "5" as a number; False where the file was read as text throughout.

    Raises
    ------
    UserError
        Naming the unknown or missing key, or the value of the wrong type or out of range.
    """
    from pydantic import ValidationError

    # From JSON pydantic takes lists as tuples and mappings as dataclasses, and is strict in everything else.
    text = json.dumps(as_plain(mapping), default=str)
    try:
        return _adapter(cast(Any, cls)).validate_json(text, strict=strict, extra="forbid")
    except ValidationError as error:
        raise user_error(error, cls, json.loads(text), where, place) from error


@functools.cache
def _adapter(cls: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter  # a tenth of a second, which `--help` need not wait for

    return TypeAdapter(cls)


def user_error(error: ValidationError, cls: type, mapping: Any, where: str | Path, place: str = "") -> UserError:
    """Return what pydantic found in a mapping as one line: an unknown key, else the first of the rest."""
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
    """Return a place as text, an entry of a list by its name where it has one; what pydantic adds is left out."""
    for key in loc:
        if isinstance(value, Mapping) and key in value:
            place, value = f"{place}.{key}" if place else str(key), value[key]
        elif isinstance(value, list) and isinstance(key, int) and key < len(value):
            value = value[key]
            named = [value[name] for name in _NAMES if name in value] if isinstance(value, Mapping) else []
            place += f"[{(named or [key])[0]}]"
    return place


def _keys(cls: type, loc: Iterable[int | str]) -> list[str]:
    """Return the keys of the dataclass at a place below another one."""
    for key in loc:
        cls = next(_dataclasses(typing.get_type_hints(cls).get(str(key))), cls)
    return [field.name for field in dataclasses.fields(cls) if field.init]


def _dataclasses(hint: Any) -> Iterator[type]:
    """Give the dataclasses that an annotation names."""
    if dataclasses.is_dataclass(hint):
        yield cast(type, hint)
    for inner in typing.get_args(hint):
        yield from _dataclasses(inner)


def as_plain(value: Any) -> Any:
    """Return a dataclass (or nest of them) as plain dicts and lists, for YAML and JSON."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: as_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): as_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
