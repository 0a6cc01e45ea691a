"""The whole way of `covid-keras reproduce`: cohort, splits, masks, executions, report."""

from __future__ import annotations

import dataclasses
import os
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import pandas as pd
import yaml

from covid_keras import DISCLAIMER
from covid_keras.data.cohort import Cohort
from covid_keras.data.duplicates import PAIR_COLUMNS, duplicate_groups, find_duplicates
from covid_keras.data.locations import VARIABLE, find_data
from covid_keras.data.sources import check_source
from covid_keras.data.splits import check_disjoint, hold_out, patient_folds, published_split, repeated
from covid_keras.errors import UserError
from covid_keras.files import require_writable_folder, sha256_of, write_json
from covid_keras.models.registry import load_registry
from covid_keras.settings import merge
from covid_keras.training.choices import parse_shard
from covid_keras.training.crossval import run_executions
from covid_keras.training.experiment import Paper, load_paper
from covid_keras.training.inputs import part_of, preparation_of
from covid_keras.training.protocol import Protocol, SplitSettings
from covid_keras.training.published_weights import is_imagenet
from covid_keras.training.runfolder import EXECUTION_RECORD, EXECUTIONS, RunFolder


@dataclass(frozen=True)
class Plan:
    """What was asked for, resolved: paper, protocol, folders, and what every worker must know."""

    paper: Paper
    protocol: Protocol
    data: Path | None
    out: Path
    cache: Path
    settings: dict[str, Any]


def reproduce(options: Namespace) -> int:
    """Run a paper's profile and end by saying where the report is; return the exit status."""
    plan = make_plan(options)
    print(_banner(plan), flush=True)
    run = prepare_run(plan)
    shard = parse_shard(options.shard)
    if options.dask:
        from covid_keras.training.cluster import run_on_dask

        run_on_dask(run, options.dask, shard)
    else:
        run_executions(run, shard, options.jobs or plan.protocol.jobs)
    missing = [execution for execution in run.executions() if not execution.done]
    if missing:
        print(f"{len(missing)} executions are left to other shards; then: covid-keras report {run.path}")
        print(f"Output: {run.path}")
        return 0
    from covid_keras.reporting.run import report_run

    try:
        plan.paper.finish(run, plan.data)
    except UserError:
        report_run(run.path)  # what is trained is shown all the same
        raise
    print(f"Output: {report_run(run.path)}")
    return 0


def make_plan(options: Namespace) -> Plan:
    """Check everything that can be checked before any work is done."""
    paper = load_paper(options.paper)
    data = find_data(options.data)
    changes: dict[str, Any] = {} if options.weights is None else {"weights": _weights(options.weights)}
    changes |= {"files": _checkpoints(options.checkpoint, paper)} if options.checkpoint else {}
    changes = merge(settings_of(options.set), changes)
    profile = options.profile or choose_profile(paper, data, asked=bool(options.data or os.environ.get(VARIABLE)))
    protocol = judged(
        paper.protocol(profile, changes), paper.protocol(profile), options.precision, options.set, paper.registered
    )
    if reason := paper.available(protocol, data):
        raise UserError(
            f"profile {profile!r}",
            f"its data are missing: {reason}",
            "`covid-keras data list` says how to get them; --profile smoke needs none",
        )
    protocol = counted(paper, protocol, data)
    paper.check(protocol)
    out = Path(options.out or Path("runs") / f"{paper.name}-{profile}")
    left_out = missing_systems(paper, protocol, data, out)
    cache = Path(options.cache or out.parent / "cache").absolute()
    require_writable_folder(out)
    require_writable_folder(cache)
    settings = {
        "cache": str(cache / "prepared"),
        "strategy": options.strategy,
        "precision": options.precision,
        "left_out": left_out,
    }
    return Plan(paper, protocol, data, out, cache, settings)


def _weights(given: str) -> str:
    """Keep "imagenet" and "none"; make a path absolute, since workers start elsewhere."""
    if given in ("imagenet", "none"):
        return given
    if not Path(given).is_file():
        raise UserError(f"--weights {given}", "is no file", "Give a path, imagenet or none")
    if not h5py.is_hdf5(given):
        raise UserError(f"--weights {given}", "is no HDF5 weight file", "Give an .h5 file written by Keras")
    return str(Path(given).resolve())


def _checkpoints(given: list[str], paper: Paper) -> dict[str, str]:
    """Return name -> absolute path of the weight files given as NAME=FILE."""
    files = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals:
            raise UserError(f"--checkpoint {text}", "is not NAME=FILE", f"Names: {', '.join(paper.files) or 'none'}")
        if name not in paper.files:
            known = ", ".join(f"{key} ({what})" for key, what in paper.files.items()) or "none"
            raise UserError(f"--checkpoint {name}", f"is no weight file of {paper.name}", f"Known: {known}")
        if not Path(path).expanduser().is_file():
            raise UserError(f"--checkpoint {name}={path}", "is no file", "Check the path")
        files[name] = str(Path(path).expanduser().resolve())
    return files


def missing_systems(paper: Paper, protocol: Protocol, data: Path | None, out: Path | None = None) -> dict[str, str]:
    """Return the systems that cannot be run here and why; what builds on one of them is missing too.

    A system that the run folder `out` holds finished executions of is not left out, whatever has gone since.

    Raises
    ------
    UserError
        Where nothing is left to run.
    """
    left_out: dict[str, str] = {}
    for name in protocol.systems:
        system = paper.system(name)
        below = [left_out[one] for one in system.below if one in left_out]
        reason = next(iter(below), None) or system.missing(protocol, data)
        finished = out is not None and any((out / EXECUTIONS / name).glob(f"*/{EXECUTION_RECORD}"))
        if reason and not finished:
            left_out[name] = reason
    if len(left_out) == len(protocol.systems):
        raise UserError(f"profile {protocol.profile!r}", f"has no system to run: {reason}", "Give what is missing")
    return left_out


def settings_of(given: Sequence[str]) -> dict[str, Any]:
    """Return the changes to a protocol that were given as KEY=VALUE, nested.

    >>> settings_of(["options.cit.lambda_=0.05", "split.repeats=1", "systems=[fucitnet]"])
    {'options': {'cit': {'lambda_': 0.05}}, 'split': {'repeats': 1}, 'systems': ['fucitnet']}
    """
    changes: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not (equals and all(key.split("."))):
            raise UserError(f"--set {text}", "is not KEY=VALUE", "Write, for one, --set options.cit.lambda_=0.05")
        try:
            nested = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UserError(f"--set {text}", "has a value that is no YAML", "Quote it") from error
        for name in reversed(key.split(".")):
            nested = {name: nested}
        changes = merge(changes, nested)
    return changes


def judged(
    protocol: Protocol,
    written: Protocol,
    precision: str,
    changed: Sequence[str] = (),
    registered: Mapping[str, str] = MappingProxyType({}),
) -> Protocol:
    """Return the protocol, not comparable where the command departs from what was written down before the run.

    `registered` names the registry's entry that a given weight file should be, where there is one.
    """
    reasons = [f"{text} set on the command line" for text in changed if not text.startswith("systems=")]
    given, wanted = protocol.weights, written.weights
    as_written = given == wanted or (wanted == "imagenet" and Path(given).is_file() and is_imagenet(given))
    if not as_written:
        reasons.append(f"initial weights {Path(protocol.weights).name} in place of {written.weights}")
    for name, path in protocol.files.items():
        if written.weights == "none" and name not in registered:
            reasons.append(f"{name} from {Path(path).name}")
        if (entry := registered.get(name)) and not load_registry()[entry].is_of(path):
            reasons.append(f"{name} from another file than {entry}")
    if precision != "float32":
        reasons.append(f"computed in {precision}")
    if not reasons:
        return protocol
    before = [] if written.comparable is True else [str(written.comparable)]
    return dataclasses.replace(protocol, comparable="; ".join([*before, *reasons]))


def counted(paper: Paper, protocol: Protocol, data: Path | None) -> Protocol:
    """Print what each collection should hold and holds; a part of the paper's data is not the paper's data."""
    short = []
    for name in paper.sources(protocol):
        for what, expected, found in check_source(name, data):
            print(f"{name}: {what}: expected {expected:,}, found {found:,}")
            if expected != found:
                short.append(f"{found:,} of {expected:,} {what} of {name}")
    if not short or protocol.comparable is not True:
        return protocol
    return dataclasses.replace(protocol, comparable=f"not the whole collection: {', '.join(short)}")


def choose_profile(paper: Paper, data: Path | None, asked: bool = False) -> str:
    """Return the most demanding profile whose images are at hand; the last one needs none.

    Raises
    ------
    UserError
        Where a data folder was asked for and holds the images of no profile: that must not end in the phantom.
    """
    passed_over = []
    for name in paper.profiles:
        protocol = paper.protocol(name)
        reason = paper.available(protocol, data)
        if reason is None and not (asked and passed_over and name == paper.profiles[-1]):
            return name
        passed_over.append(f"{name}: {reason or 'needs no data'}")
    raise UserError(
        data or paper.name,
        f"holds the images of no profile of {paper.name} ({'; '.join(passed_over)})",
        "`covid-keras data list` says how to get them; --profile smoke needs none",
    )


def _banner(plan: Plan) -> str:
    protocol = plan.protocol
    comparable = (
        "the paper's own data"
        if protocol.comparable is True
        else f"NOT COMPARABLE with the paper: {protocol.comparable}"
    )
    lines = [f"{plan.paper.name}, profile {protocol.profile}: {protocol.description}", comparable, DISCLAIMER]
    for name, reason in plan.settings["left_out"].items():
        lines.append(f"Left out: {plan.paper.system(name).title}: {reason}")
    return "\n".join(lines)


def prepare_run(plan: Plan) -> RunFolder:
    """Make cohort, splits, masks and prepared images; open the run folder."""
    protocol = plan.protocol
    cohort = plan.paper.cohort(protocol, plan.data, plan.cache / "made")
    print(f"Cohort: {len(cohort)} images of {len(cohort.patients())} patients, {cohort.counts()}", flush=True)
    left_out = plan.settings.get("left_out", {})
    systems = [name for name in protocol.systems if name not in left_out and not plan.paper.system(name).members]
    preparations = {name: plan.paper.system(name).preparation(protocol) for name in systems}
    lungs: dict[str, Any] = {}
    if any(preparation.needs_mask for preparation in preparations.values()):
        cohort, lungs = _segment(plan, cohort)
    else:
        cohort = Cohort(cohort.table.assign(mask_path=""), cohort.classes, cohort.name)
    decided = {key: lungs[key] for key in ("weights_sha256", "threshold", "mode") if key in lungs}
    given = dict(protocol.files)
    if protocol.weights not in ("imagenet", "none"):
        given["initial_weights"] = protocol.weights
    decided |= {f"{name}_sha256": sha256_of(path) for name, path in given.items()}
    run = RunFolder.create(
        plan.out,
        protocol,
        cohort,
        lambda: make_splits(cohort, protocol, plan.paper.splits_of(protocol), plan.cache),
        plan.settings,
        decided,
    )
    whole = _prepare(plan.paper, run, systems)
    facts = {"duplicate_pairs": run.duplicate_pairs, "lungs": lungs, "whole_image_crops": whole}
    write_json(run.path / "facts.json", facts)
    return run


def make_splits(
    cohort: Cohort, protocol: Protocol, names: Sequence[str] | None = None, cache: Path | None = None
) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """Return the split tables by name ("" is the main one) and the near-duplicate pairs that they keep together.

    Those named, all of the protocol's by default. What the search for pairs finds is kept below `cache`.
    """
    names = ("", *protocol.splits) if names is None else names
    settings = {name: protocol.split_of(name) for name in names}
    searched = any(one.duplicates for one in settings.values())
    duplicates = find_duplicates(cohort, cache=cache) if searched else pd.DataFrame(columns=list(PAIR_COLUMNS))
    return {name: divide(cohort, one, duplicates) for name, one in settings.items()}, duplicates


def chosen_images(cohort: Cohort, images: Mapping[str, int]) -> Cohort:
    """Return the first so many images of each label named (0: all), in the cohort's order; all where none is named."""
    if not images:
        return cohort
    table = cohort.table
    number = table.groupby("label").cumcount()
    for label, count in images.items():
        if (found := int((table["label"] == label).sum())) < max(count, 1):
            raise UserError(
                "split", f"asks for {count or 'some'} images {label!r}, there are {found}", "Change split.images"
            )
    wanted = table["label"].map(lambda label: images.get(label, -1) or len(table)).to_numpy()
    return Cohort(table[number.to_numpy() < wanted], tuple(images), cohort.name)


def divide(cohort: Cohort, settings: SplitSettings, duplicates: pd.DataFrame) -> pd.DataFrame:
    """Return one division of the cohort, checked where patients must not cross."""
    cohort = chosen_images(cohort, settings.images)
    if not settings.duplicates:
        duplicates = duplicates.iloc[:0]
    if settings.scheme == "published":
        return repeated(published_split(cohort, settings.test, settings.seed), settings.repeats)
    groups = duplicate_groups(cohort, duplicates)
    if settings.scheme == "hold_out":
        parts = {"train": 1 - settings.validation - settings.test}
        parts |= {"validation": settings.validation, "test": settings.test}
        table = repeated(hold_out(cohort, parts, settings.seed, groups, settings.shares), settings.repeats)
    else:
        table = patient_folds(
            cohort,
            settings.folds,
            settings.repeats,
            settings.seed,
            settings.validation,
            groups=groups,
            leaky_as_published=settings.leaky_as_published,
        )
    if not settings.leaky_as_published:
        check_disjoint(table, cohort, duplicates)
    return table


def _segment(plan: Plan, cohort: Cohort) -> tuple[Cohort, dict[str, Any]]:
    from covid_keras._quiet import import_tensorflow

    import_tensorflow()
    from covid_keras.segmentation import segment_cohort

    segmenter = plan.paper.segmenter(plan.protocol, plan.data, plan.cache)
    return segment_cohort(cohort, plan.cache, segmenter, mode=plan.paper.lung_mode(plan.protocol))


def _prepare(paper: Paper, run: RunFolder, systems: Sequence[str]) -> dict[str, list[str]]:
    """Prepare every image once, before any training, so that a bad image is known at once."""
    from covid_keras.data.preparation import prepare_cohort

    whole: dict[str, list[str]] = {}
    done: dict[str, list[str]] = {}
    for name in systems:
        preparation = preparation_of(paper.system(name), run, part_of(paper, run, run.execution(name, 0, 0)))
        key = preparation.key()
        if key not in done:
            done[key] = list(prepare_cohort(run.cohort, preparation, run.settings["cache"]).whole_image_crops)
        whole[name] = done[key]
    return whole
