"""Records of runs and results: every field is of its type when it is read, or the command that writes it is named."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from typing import Any

import pytest

from covid_keras.common.tables import read_written
from covid_keras.reporting.heat_shares import COSTS, SHARES, read_measured
from covid_keras.reporting.sources import CommittedProvenance, CommittedRecord, CommittedSystem
from covid_keras.training.records import ExecutionRecord, RunFacts, RunRecord, SegmenterRecord, checked_record
from tests.helpers.refusals import refused

REMEDY = "Give the command again"
SCHEMAS = (RunRecord, ExecutionRecord, SegmenterRecord, RunFacts, CommittedRecord)


def valid(hint: Any) -> Any:
    """Return a value that fits an annotation."""
    if dataclasses.is_dataclass(hint):
        return {name: valid(inner) for name, inner in typing.get_type_hints(hint).items()}
    kind = typing.get_origin(hint) or hint
    if kind in (types.UnionType, typing.Union):
        return valid(typing.get_args(hint)[0])
    return {str: "x", int: 1, float: 1.0, bool: True, dict: {}, list: [], tuple: []}[kind]


def content(schema: type) -> dict[str, Any]:
    """Return a record that fits, with a further key, as a later version may write it."""
    return valid(schema) | {"more": 1}


FIELDS = [(schema, field.name) for schema in SCHEMAS for field in dataclasses.fields(schema)]


@pytest.mark.parametrize(("schema", "name"), FIELDS, ids=lambda one: getattr(one, "__name__", one))
def test_every_field_has_its_type(schema, name, tmp_path):
    path = tmp_path / "record.json"
    path.write_text(json.dumps(content(schema)))
    assert checked_record(path, schema, REMEDY) == content(schema)
    for wrong in ([["x"]], {"a": [[1]]}, "1e999", -1.5):
        if type(wrong) is not type(content(schema)[name]):
            path.write_text(json.dumps(content(schema) | {name: wrong}))
            refused(rf"record\.json: .*{name}.*{REMEDY}", checked_record, path, schema, REMEDY)


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("text", ["[]", '"x"', "3", "null", "", "{", "\x1b"])
def test_a_record_is_a_mapping(schema, text, tmp_path):
    (tmp_path / "record.json").write_text(text)
    refused(rf"record\.json: .*{REMEDY}", checked_record, tmp_path / "record.json", schema, REMEDY)


@pytest.mark.parametrize("inside", ["provenance", "systems"])
def test_committed_results_are_checked_inside_too(inside, tmp_path):
    path = tmp_path / "cpu.json"
    record = {"provenance": valid(CommittedProvenance), "systems": {"a": valid(CommittedSystem)}}
    path.write_text(json.dumps(record))
    checked_record(path, CommittedRecord, "")
    target = record["systems"]["a"] if inside == "systems" else record["provenance"]
    for name in list(target):
        kept, target[name] = target[name], [["x"]] if isinstance(target[name], dict) else {"a": 1}
        path.write_text(json.dumps(record))
        refused(rf"cpu\.json: {inside}.*{name}", checked_record, path, CommittedRecord, "Publish again")
        target[name] = kept


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "system,parameters\na,b\n", '"\n', "\x00\x00"])
@pytest.mark.parametrize("name", [SHARES, COSTS])
def test_a_measured_table_is_read_or_to_be_measured_again(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    assert "Measure it again" in refused(name, read_measured, tmp_path / name, "Measure it again")
    assert read_measured(tmp_path / f"no-{name}").empty


def test_a_table_of_ours_has_its_columns(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\nx,1\n")
    assert read_written(tmp_path / "t.csv", columns=["a"], numbers=["b"])["b"].tolist() == [1]
    refused("'c' is missing. Do it again", read_written, tmp_path / "t.csv", "Do it again", ["c"])
    refused("'a' must contain numbers. Do it again", read_written, tmp_path / "t.csv", "Do it again", (), ["a"])
