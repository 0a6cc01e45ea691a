"""Settings: YAML to dataclasses, and the one line that a mistake gets."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

import pytest
import yaml

from covid_keras.common.errors import UserError
from covid_keras.common.settings import Positive, as_plain, build, merge, parse_yaml, read_yaml
from tests.helpers.refusals import refused


@dataclass(frozen=True)
class Inner:
    rate: Positive = 0.1
    name: Literal["sgd", "adam"] = "sgd"


@dataclass(frozen=True)
class Outer:
    size: tuple[int, int]
    tags: tuple[str, ...] = ()
    inner: Inner = field(default_factory=Inner)
    comparable: bool | str = True
    free: dict[str, Any] = field(default_factory=dict)
    more: tuple[Inner, ...] = ()


def test_round_trip():
    made = build(
        Outer, {"size": [3, 4], "tags": ["a"], "inner": {"rate": 1}, "comparable": "no", "free": {"x": [1]}}, "f"
    )
    assert made == Outer((3, 4), ("a",), Inner(1.0), "no", {"x": [1]})
    assert build(Outer, as_plain(made), "f") == made
    assert isinstance(made.inner.rate, float)


def test_a_file_read_as_text_gives_numbers_where_they_are_asked_for():
    given = {"size": ["3", "4"], "inner": {"rate": "1"}}
    assert build(Outer, given, "f", strict=False) == Outer((3, 4), inner=Inner(1.0))
    with pytest.raises(UserError, match="size"):
        build(Outer, given, "f")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"size": [3, 4], "inner": {"rte": 1}}, ("unknown key 'rte' in inner", "Did you mean 'rate'")),
        ({"size": [3, 4], "colour": 1}, ("unknown key 'colour'", "Known keys: comparable")),
        ({}, ("lacks the key 'size'",)),
        ({"size": [3]}, ("size is [3]",)),
        ({"size": [3, "4"]}, ("size[1] is '4'", "integer")),
        ({"size": [3, 4], "inner": {"name": "rmsprop"}}, ("inner.name is 'rmsprop'", "'sgd' or 'adam'")),
        ({"size": [3, 4], "inner": {"rate": True}}, ("inner.rate is True",)),
        ({"size": [3, 4], "inner": [1]}, ("inner must be a mapping",)),
        ({"size": [3, 4], "inner": {"rate": -1}}, ("inner.rate is -1", "greater than 0")),
        ({"size": [3, 4], "comparable": [1]}, ("comparable is [1]",)),
        ({"size": [3, 4], "more": [{"name": "x"}]}, ("more[x].name is 'x'",)),
        ({"size": [3, 4], "more": [{"rte": 1}]}, ("unknown key 'rte' in more[0]", "'rate'")),
        ({"siz": [3, 4]}, ("unknown key 'siz'", "'size'")),
        ([3], ("the file must be a mapping",)),
        ({"size": [3, 4], date(2020, 1, 1): 1}, ("unknown key '2020-01-01'",)),
    ],
)
def test_mistakes_are_named(given, words):
    with pytest.raises(UserError) as caught:
        build(Outer, given, "protocol.yaml")
    assert str(caught.value).startswith("protocol.yaml: ")
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_merge_goes_into_mappings_only():
    assert merge({"a": {"b": 1, "c": 2}, "d": [1, 2]}, {"a": {"b": 3}, "d": [9]}) == {"a": {"b": 3, "c": 2}, "d": [9]}


@pytest.mark.parametrize("text", ["a: [", "just text", "", "- a"])
def test_bad_yaml(tmp_path, text):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"x\.yaml"):
        read_yaml(path)


@pytest.mark.parametrize(
    "text",
    [
        "0x" + "f" * 5000,
        "1" * 5000,
        "1" * 101 + ".5",
        "59:" * 5000 + "1",
        "!!binary aGVsbG8=",
        "!!set {a, b}",
        "!!omap [a: 1]",
    ],
    ids=lambda text: text[:9],
)
def test_numbers_without_end_and_types_that_json_lacks_are_not_read(text):
    refused("^x: is not valid YAML.*(digits|type)", parse_yaml, f"{{size: [{text}]}}", "x")


@pytest.mark.parametrize("loader", [yaml.SafeLoader, yaml.BaseLoader])
@pytest.mark.parametrize("tag", ["!!python/object:os.system", "!!python/name:os", "!own", "!!set"])
def test_a_type_of_another_language_is_not_read(tag, loader):
    refused("type|tag|constructor", parse_yaml, f"{{name: {tag} x}}", "x", loader)


def test_a_date_stays_text():
    assert parse_yaml("{a: 2020-01-01, b: 2020-13-01}", "x") == {"a": "2020-01-01", "b": "2020-13-01"}


def test_keys_by_the_ten_thousand_are_read():
    assert len(parse_yaml("\n".join(f"k{n}: 1" for n in range(20_000)), "x")) == 20_000
    refused("'k7' is repeated", parse_yaml, "\n".join(f"k{n}: 1" for n in [*range(100), 7]), "x")


@pytest.mark.parametrize("value", [1 << 63, -(1 << 64), 10**30, "\ud800", "a\udcff", {"\udcff": 1}], ids=repr)
def test_what_json_or_pydantic_would_not_take_is_named(value):
    for place in ({"free": {"x": [value]}}, {"free": value if isinstance(value, dict) else {"x": value}}):
        text = refused("^f: .*It must be (between|text in UTF-8)", build, Outer, {"size": [1, 1]} | place, "f")
        assert text.isprintable()


@pytest.mark.parametrize("key", ["size", "tags", "inner", "free", "unknown"])
def test_a_message_is_short_whatever_the_value(key):
    assert len(refused("^f: ", build, Outer, {"size": [1, 1], key: "x" * 1_000_000}, "f")) < 4000
    assert len(refused("^f: ", build, Outer, {"size": [1, 1], key * 100_000: 1}, "f")) < 4000
