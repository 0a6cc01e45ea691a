"""What `run.json`, `execution.json` and other records of a run hold, and how they are read and compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Le

from covid_keras.common.errors import UserError, printable
from covid_keras.common.files import read_record, require_intact
from covid_keras.common.settings import Count, CountOrZero, NotNegative, build
from covid_keras.evaluation.overlap import RECORD

HISTORY = "history.csv"


@dataclass(frozen=True)
class RunIdentity:
    """What determines the predictions of a run."""

    protocol: dict[str, Any]
    cohort: str
    precision: str
    lungs: dict[str, Any]
    images: str = ""


@dataclass(frozen=True)
class RunSettings:
    """What of a run may change when it is resumed, and its precision."""

    cache: str
    strategy: str
    precision: str
    keep_weights: bool = False
    left_out: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RunRecord:
    """What every `run.json` holds."""

    identity: RunIdentity
    paper: str
    profile: str
    settings: RunSettings
    cohort_fingerprint: str
    classes: tuple[str, ...]
    files: dict[str, str]
    provenance: dict[str, Any]
    stamped: bool = False
    claims_sha256: str = ""
    threads: Annotated[int, Ge(1), Le(1 << 16)] | None = None


@dataclass(frozen=True)
class TrainingRecord:
    """What the record of every training holds."""

    seconds: NotNegative
    best_epoch: int
    versions: dict[str, Any]
    machine: dict[str, Any]
    device: dict[str, Any]
    revision: str


@dataclass(frozen=True)
class ExecutionRecord(TrainingRecord):
    """What every `execution.json` holds."""

    predictions_sha256: str
    epochs: CountOrZero


@dataclass(frozen=True)
class SegmenterRecord(TrainingRecord):
    """What the record of every trained segmenter holds."""

    name: str
    settings: dict[str, Any]
    parameters: Count
    overlap: dict[str, dict[str, Any]]
    weights_sha256: str


@dataclass(frozen=True)
class LungFacts:
    """How the lungs were marked; empty if they were not."""

    images: CountOrZero = 0
    empty: CountOrZero = 0
    empty_ids: tuple[str, ...] = ()
    weights_sha256: str = ""
    mode: str = ""
    lungs: str = ""
    by: str = ""


@dataclass(frozen=True)
class RunFacts:
    """What `facts.json` may hold: counts made while the run was prepared."""

    duplicate_pairs: CountOrZero = 0
    lungs: LungFacts = field(default_factory=LungFacts)
    whole_image_crops: dict[str, tuple[str, ...]] = field(default_factory=dict)
    run: str = ""


def checked_record(path: Path, schema: type, remedy: str) -> dict[str, Any]:
    """Read a JSON mapping that has the fields of a schema, of their types, beside others.

    Raises `UserError` with the remedy if the file is missing or damaged.
    """
    names = [one.name for one in dataclasses.fields(schema)]
    try:
        record = read_record(path)
        # Names of files may hold bytes that pydantic does not take for text.
        build(schema, _printed({name: record[name] for name in names if name in record}), path, others=True)
    except UserError as error:
        raise UserError(error.subject, error.problem, remedy) from error
    return record


def _printed(value: Any) -> Any:
    """Return a value of JSON with its texts as by `printable`."""
    if isinstance(value, dict):
        return {printable(key): _printed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_printed(inner) for inner in value]
    return printable(value) if isinstance(value, str) else value


def read_segmenter(folder: str | Path) -> dict[str, Any]:
    """Return the record of a trained segmenter; raise `UserError` if it is missing or damaged."""
    remedy = f"Delete {folder}, and give the same `covid-keras reproduce` again"
    record = checked_record(Path(folder) / RECORD, SegmenterRecord, remedy)
    require_intact(Path(folder) / HISTORY, record.get("history_sha256", ""), remedy)
    return record


def first_difference(old: Any, new: Any, place: str = "") -> str | None:
    """Return the first difference of two nested mappings as text, or None."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            inside = f"{place}.{key}" if place else str(key)
            if found := first_difference(old.get(key), new.get(key), inside):
                return found
        return None
    return None if old == new else f"{place} is {old!r} there and {new!r} here"
