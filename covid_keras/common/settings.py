"""Validated settings: read YAML mappings into frozen dataclasses with pydantic, with one-line errors."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import math
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

import yaml
from annotated_types import Ge, Gt, Le, Lt

from covid_keras.common.errors import UserError, is_unicode
from covid_keras.common.files import MOST_DEPTH, MOST_YAML, read_bytes

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")

# Annotated types with ranges, validated by `build`.
_MANY, _LARGE = 10_000_000, 1e9
Count = Annotated[int, Ge(1), Le(_MANY)]
CountOrZero = Annotated[int, Ge(0), Le(_MANY)]
Positive = Annotated[float, Gt(0), Le(_LARGE)]
NotNegative = Annotated[float, Ge(0), Le(_LARGE)]
Share = Annotated[float, Gt(0), Lt(1)]
BelowOne = Annotated[float, Ge(0), Lt(1)]
Width = Annotated[float, Gt(0), Le(1)]  # share of a network's filters
Seed = Annotated[int, Ge(0), Lt(1 << 32)]
Side = Annotated[int, Ge(1), Le(4096)]  # pixels
Repeats = Annotated[int, Ge(1), Le(1000)]

# Values of a YAML file, each alias counted as all that it stands for.
MOST_VALUES = 200_000
# Characters of a number in YAML, and the largest whole number: what 64 bits hold.
MOST_DIGITS = 100
_LARGEST = (1 << 63) - 1
_YAML_TAG, _YAML_TYPES = "tag:yaml.org,2002:", ("str", "int", "float", "bool", "null", "seq", "map", "merge")
_UNKNOWN_KEY = "unexpected_keyword_argument"
_NO_MAPPING = ("dataclass_type", "dict_type")
# The key that identifies a list entry in messages.
_NAMES = ("table", "row", "name", "id")


def read_yaml(path: str | Path, loader: type = yaml.SafeLoader) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises
    ------
    UserError
        If the file is missing, too large, invalid or not a mapping, or as `parse_yaml`.
    """
    try:
        text = read_bytes(path, MOST_YAML).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(path, f"is not valid YAML ({error})", "Correct the file") from error
    value = parse_yaml(text, path, loader)
    if not isinstance(value, dict):
        raise UserError(path, "must contain a mapping", "Write 'key: value' lines")
    return value


def parse_yaml(text: str, where: str | Path, loader: type = yaml.SafeLoader) -> Any:
    """Return the value of a YAML text.

    Raises
    ------
    UserError
        If the text is invalid, repeats a key, is nested too deep, or grows beyond bounds through its aliases; or if it
        holds a number of too many digits, or a type that JSON lacks. Dates stay text.
    """
    try:
        return yaml.load(text, Loader=_bounded(loader))
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2020-13-01
        raise UserError(where, f"is not valid YAML ({error})", "Correct it") from error


class _Bounds:
    """What a YAML loader rejects beyond YAML itself: nothing of ours needs it, and some of it exhausts the memory.

    These are repeated keys (YAML keeps the last one silently), deep nesting, aliases that contain themselves or that
    together stand for too many values, numbers of thousands of digits, and types that JSON lacks. To be mixed into a
    loader of PyYAML.
    """

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)  # type: ignore[call-arg]
        self.depth = self.values = 0
        self.sizes: dict[int, int] = {}  # values that a node stands for, by identity

    def construct_mapping(self: Any, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is repeated", node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)  # type: ignore[misc]

    def construct_object(self: Any, node: yaml.Node, deep: bool = False) -> Any:
        kind = node.tag.removeprefix(_YAML_TAG)
        if kind == "timestamp":
            return node.value  # as written: JSON, and so our records, have no dates
        if kind not in _YAML_TYPES:  # PyYAML's BaseLoader takes them for text
            raise yaml.constructor.ConstructorError(None, None, f"the type !!{kind} is not read", node.start_mark)
        if kind in ("int", "float") and len(node.value) > MOST_DIGITS:
            problem = f"a number has more than {MOST_DIGITS} digits"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_object(node, deep)  # type: ignore[misc]

    def compose_node(self: Any, parent: yaml.Node | None, index: Any) -> yaml.Node:
        is_alias, mark, before = self.check_event(yaml.AliasEvent), self.peek_event().start_mark, self.values
        self.depth += 1
        if self.depth > MOST_DEPTH:
            raise yaml.composer.ComposerError(None, None, f"it is nested more than {MOST_DEPTH} levels deep", mark)
        node = super().compose_node(parent, index)  # type: ignore[misc]
        if is_alias and id(node) not in self.sizes:
            raise yaml.composer.ComposerError(None, None, "an alias contains itself", mark)
        self.values += self.sizes[id(node)] if is_alias else 1
        if self.values > MOST_VALUES:
            problem = f"it stands for more than {MOST_VALUES:,} values, aliases resolved"
            raise yaml.composer.ComposerError(None, None, problem, mark)
        self.sizes.setdefault(id(node), self.values - before)
        self.depth -= 1
        return node


@functools.cache
def _bounded(loader: Any) -> type:
    return type("Bounded", (_Bounds, loader), {})


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


def build(
    cls: type[T], mapping: Any, where: str | Path, place: str = "", strict: bool = True, others: bool = False
) -> T:
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
    others : bool
        Accept unknown keys and ignore them, as in records that later versions extend.

    Raises
    ------
    UserError
        If a key is unknown or missing, or a value has the wrong type or is out of range.
    """
    from pydantic import ValidationError

    # In JSON mode pydantic accepts lists as tuples and mappings as dataclasses, and stays strict otherwise.
    plain = as_plain(mapping)
    for loc, value in _scalars(plain):
        if rule := _unreadable(value):
            raise UserError(where, f"{_place(place, plain, loc) or 'a key'} is {value!r:.100}", rule)
    text = json.dumps(plain, default=str)
    try:
        return _adapter(cast(Any, cls)).validate_json(text, strict=strict, extra="ignore" if others else "forbid")
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


def _scalars(value: Any, loc: tuple[int | str, ...] = ()) -> Iterator[tuple[tuple[int | str, ...], Any]]:
    """Yield the location and value of each number and text in nested mappings and lists; keys at their mapping's."""
    if isinstance(value, Mapping):
        yield from ((loc, key) for key in value)
    if isinstance(value, Mapping | list):
        for key, inner in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _scalars(inner, (*loc, key))
    else:
        yield loc, value


def _unreadable(value: Any) -> str:
    """Return the rule that a number or text breaks which JSON cannot hold or pydantic cannot read; "" for others."""
    if isinstance(value, float):
        return "" if math.isfinite(value) else "It must be a finite number"
    if isinstance(value, int):
        return "" if abs(value) <= _LARGEST else f"It must be between -{_LARGEST} and {_LARGEST}"
    # An undecodable byte of a file's name, or half of a pair of UTF-16.
    return "It must be text in UTF-8" if isinstance(value, str) and not is_unicode(value) else ""


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
