"""Checked settings: YAML mappings turned into frozen dataclasses, with a clear word on a misspelt key."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from covid_keras.common.errors import UserError

T = TypeVar("T")


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping; raise `UserError` where the file is missing, broken or no mapping."""
    try:
        value = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(path, f"cannot be read ({error.strerror})", "Check the path") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(path, f"is not valid YAML ({error})", "Correct the file") from error
    if not isinstance(value, dict):
        raise UserError(path, "holds no mapping", "Write 'key: value' lines")
    return value


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `over` laid upon it, mappings merged key by key, everything else replaced."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def unknown_key(where: str | Path, key: str, known: typing.Iterable[str], place: str = "") -> UserError:
    """Return the error of a key that nobody reads, with the nearest known one."""
    known = sorted(known)
    near = difflib.get_close_matches(key, known, n=1)
    remedy = f"Did you mean {near[0]!r}" if near else f"Known keys: {', '.join(known)}"
    return UserError(where, f"unknown key {key!r}" + (f" in {place}" if place else ""), remedy)


def build(cls: type[T], mapping: Mapping[str, Any], where: str | Path, place: str = "") -> T:
    """Make a dataclass of a mapping, checking keys and types, nested dataclasses included.

    Parameters
    ----------
    cls : type
        A dataclass whose annotations are int, float, str, bool, dict, tuples of these, dataclasses, or unions.
    mapping : Mapping
        As read from YAML.
    where : str or Path
        The file, for messages.
    place : str
        The path of keys inside the file, for messages.

    Raises
    ------
    UserError
        Naming the unknown or missing key, or the value of the wrong type.
    """
    if not isinstance(mapping, Mapping):
        raise UserError(where, f"{place or 'the file'} must be a mapping, not {mapping!r}", "Write 'key: value' lines")
    hints, fields = typing.get_type_hints(cls), {f.name: f for f in dataclasses.fields(cls) if f.init}
    for key in mapping:
        if key not in fields:
            raise unknown_key(where, str(key), fields, place)
    values = {}
    for name, field in fields.items():
        inside = f"{place}.{name}" if place else name
        if name in mapping:
            values[name] = _convert(hints[name], mapping[name], where, inside)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise UserError(where, f"lacks the key {inside!r}", "Add it")
    return cls(**values)


def _convert(hint: Any, value: Any, where: str | Path, place: str) -> Any:
    """Return `value` as `hint` asks; raise `UserError` where it is of another type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(arguments, value, where, place)
    if origin is typing.Literal:
        if value in arguments:
            return value
        raise UserError(where, f"{place} is {value!r}", f"It must be one of {', '.join(map(str, arguments))}")
    if dataclasses.is_dataclass(hint):
        return build(hint, value, where, place)
    if origin is tuple and isinstance(value, (list, tuple)):
        inner = [arguments[0]] * len(value) if len(arguments) == 2 and arguments[1] is Ellipsis else list(arguments)
        if len(inner) == len(value):
            return tuple(
                _convert(h, v, where, f"{place}[{i}]") for i, (h, v) in enumerate(zip(inner, value, strict=True))
            )
    elif hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    elif hint is Any or (dict in (hint, origin) and isinstance(value, dict)) or type(value) is hint:
        return value
    raise UserError(where, f"{place} is {value!r}, which is no {getattr(hint, '__name__', hint)}", "Correct the value")


def _convert_union(arguments: tuple[Any, ...], value: Any, where: str | Path, place: str) -> Any:
    if value is None and type(None) in arguments:
        return None
    errors = []
    for hint in arguments:
        if hint is type(None):
            continue
        try:
            return _convert(hint, value, where, place)
        except UserError as error:
            errors.append(error)
    raise errors[-1]


def as_plain(value: Any) -> Any:
    """Return a dataclass (or nest of them) as plain dicts and lists, for YAML and JSON."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: as_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): as_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
