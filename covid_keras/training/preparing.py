"""Prepare a run before training: cohort, splits, lung masks, prepared images."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from covid_keras.common.errors import UserError
from covid_keras.common.files import fingerprint, sha256_of
from covid_keras.common.progress import progress
from covid_keras.common.quiet import import_tensorflow
from covid_keras.common.threads import pin_threads
from covid_keras.data.cohort import Cohort
from covid_keras.data.file_hashes import FileHashes
from covid_keras.paper.registered import load_paper
from covid_keras.training.apart import call_apart
from covid_keras.training.division import make_splits
from covid_keras.training.plan import Plan
from covid_keras.training.runfolder import FACTS, RECORD, RunFolder, threads_of

# What a run folder and a cache hold before splits, masks and prepared images.
_MADE_AT_ONCE = {".lock", FACTS, "protocol.yaml", "cohort.csv", "made", "prepared", "CACHEDIR.TAG"}


def prepare_run(plan: Plan) -> RunFolder:
    """Make cohort, splits, masks and prepared images; open the run folder.

    If settings turn out not to fit the images, no new folder is left, except a cache that took time to make.
    """
    new = [folder for folder in (plan.out, plan.cache) if not folder.exists()]
    try:
        return _prepared_run(plan)
    except UserError:
        for folder in new:
            if not (folder / RECORD).is_file() and {path.name for path in folder.glob("*")} <= _MADE_AT_ONCE:
                shutil.rmtree(folder, ignore_errors=True)
        raise


def _prepared_run(plan: Plan) -> RunFolder:
    protocol = plan.protocol
    begun = RunFolder.open(plan.out).threads if (Path(plan.out) / RECORD).is_file() else None
    pin_threads(begun or threads_of(protocol))
    cohort = plan.paper.cohort(protocol, plan.data, plan.cache / "made")
    print(f"Cohort: {len(cohort)} images of {len(cohort.patients())} patients, {cohort.counts()}", flush=True)
    left_out = plan.settings.get("left_out", {})
    images = {name: plan.paper.system(name).images(protocol) for name in protocol.systems if name not in left_out}
    preparations = {name: preparation for name, preparation in images.items() if preparation is not None}
    lungs: dict[str, Any] = {}
    if any(preparation.needs_mask for preparation in preparations.values()):
        cohort, lungs = _mark(plan, cohort)
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
        lambda: make_splits(cohort, protocol, plan.paper.splits_of(protocol, left_out), plan.cache),
        plan.settings,
        decided,
        _contents(cohort, plan),
    )
    whole = _prepare(run, preparations)
    run.write_facts({"duplicate_pairs": run.duplicate_pairs, "lungs": lungs, "whole_image_crops": whole})
    return run


def _contents(cohort: Cohort, plan: Plan) -> str:
    """Return a hash of the contents of the cohort's files; unchanged ones are not read again."""
    with FileHashes(Path(plan.settings["cache"])) as hashes:
        return fingerprint([hashes.of(path) for path in progress(cohort.table["path"], "checking files")])


def _mark(plan: Plan, cohort: Cohort) -> tuple[Cohort, dict[str, Any]]:
    """Segment the lungs, in a process of its own where each training has one."""
    if plan.protocol.executions_per_process > 1:
        return _segment(plan, cohort)
    given = (plan.protocol, plan.data, plan.out, plan.cache, plan.settings)
    return call_apart("lung masks", _segment_apart, given, cohort)


def _segment_apart(given: tuple[Any, ...], cohort: Cohort) -> tuple[Cohort, dict[str, Any]]:
    return _segment(Plan(load_paper(given[0].paper), *given), cohort)


def _segment(plan: Plan, cohort: Cohort) -> tuple[Cohort, dict[str, Any]]:
    import_tensorflow()
    from covid_keras.models.lung_masks import segment_cohort
    from covid_keras.training.devices import set_graph_optimizer

    set_graph_optimizer(plan.protocol.quick_start)
    segmenter = plan.paper.segmenter(plan.protocol, plan.data, plan.cache)
    return segment_cohort(cohort, plan.cache, segmenter, lungs=plan.protocol.lungs)


def _prepare(run: RunFolder, systems: Iterable[str]) -> dict[str, list[str]]:
    """Prepare every image once, before training, so that bad images are found early."""
    whole: dict[str, list[str]] = {}
    done: dict[str, list[str]] = {}
    for name in systems:
        execution = run.execution(name, 0, 0)
        key = execution.preparation.key()
        if key not in done:
            done[key] = list(execution.prepared.whole_image_crops)
        whole[name] = done[key]
    return whole
