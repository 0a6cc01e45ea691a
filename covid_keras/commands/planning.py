"""What `covid-keras reproduce` prints before a run, and with `--dry-run` instead of it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from covid_keras.commands.parsing import say
from covid_keras.paper.cohorts import missing_collection
from covid_keras.paper.grading import RunGrading, Used
from covid_keras.paper.initial_weights import weights_found
from covid_keras.published.cells import load_published

if TYPE_CHECKING:
    from covid_keras.data.cohort import Cohort
    from covid_keras.paper.paper import Paper
    from covid_keras.paper.protocol import Protocol
    from covid_keras.training.plan import Plan

# Reasons of a grade that are printed before the run; the report has all.
FEW_REASONS = 3


def print_grades(paper: Paper, protocol: Protocol, used: Used) -> None:
    """Print which grade the numbers beside printed ones can earn, decided from images and settings."""
    path = paper.published_path
    printed = {cell.system for cell in load_published(path)} if path else set()
    grading = RunGrading(paper, protocol, used)
    found: dict[tuple[str, str], list[str]] = {}
    for name in protocol.systems:
        if name in used.sources and name in printed:
            found.setdefault(grading(name), []).append(paper.system(name).title)
    for (grade, reason), titles in found.items():
        reasons = reason.split("; ")
        more = [f"{len(reasons) - FEW_REASONS} more in the report"] if len(reasons) > FEW_REASONS else []
        why = "; ".join([*reasons[:FEW_REASONS], *more]).rstrip(".")
        say(f"{grade.capitalize()}: {'; '.join(titles)}{f' ({why})' if why else ''}", flush=True)


def print_work(plan: Plan, cohort: Cohort) -> None:
    """Print in one line how much a run trains, and where its hours are estimated."""
    from covid_keras.training.workload import Images, count_work

    work = count_work(
        plan.paper, plan.protocol, plan.to_train, plan.out, Images(cohort, plan.data, plan.cache / "made")
    )
    if trainings := sum(one.left for one in work):
        epochs, seen = sum(one.left * one.epochs for one in work), sum(one.image_epochs for one in work)
        say(
            f"To train: {trainings:,} trainings of at most {epochs:,} epochs together, {seen:,} image-epochs "
            "(--dry-run estimates hours, memory and disk)",
            flush=True,
        )


def print_plan(plan: Plan, precision: str) -> None:
    """Print grades, initial weights, work, hours, memory and disk; create nothing but temporary files."""
    from covid_keras.training.estimate import estimate
    from covid_keras.training.workload import Images, count_work

    paper, protocol, left_out = plan.paper, plan.protocol, plan.settings["left_out"]
    running = [name for name in protocol.systems if name not in left_out]
    published = protocol.profile == paper.profiles[0]
    excluded = paper.excluded(protocol)
    names = [name for name in protocol.systems if name not in excluded] if published else running
    with tempfile.TemporaryDirectory(prefix="covid-keras-") as folder:
        made = plan.cache / "made" if plan.cache.is_dir() else Path(folder, "made")
        cohort = None if published else paper.cohort(protocol, plan.data, made)
        work = count_work(paper, protocol, names, plan.out, Images(cohort, plan.data, made))
        images = len(cohort) if cohort else images_of_paper(paper)
    for name in paper.sources(protocol):
        if reason := missing_collection((name,), plan.data):
            say(f"{name}: {reason}")
    if published and left_out:
        others = ", but those that no data makes run" if excluded else ""
        say(f"What follows counts all systems{others}, as if the paper's images and weights were at hand.")
    print_grades(paper, protocol, possible_use(paper, protocol, names, cohort, precision))
    for line in weights_found(paper, protocol, names):
        say(f"Initial weights: {line}")
    say(flush=True)
    say("\n".join(estimate(paper, protocol, work, images, precision).lines()))


def images_of_paper(paper: Paper) -> int:
    """Return how many images the paper's own numbers were measured on, of all collections together."""
    most: dict[str, int] = {}
    for evidence in paper.evidence:
        for name, count in evidence.images.items():
            most[name] = max(count, most.get(name, 0))
    return sum(most.values())


def possible_use(paper: Paper, protocol: Protocol, names: list[str], cohort: Cohort | None, precision: str) -> Used:
    """Return what a run would use: of its cohort, or all that the paper had."""
    sources: dict[str, dict[str, int]] = {}
    classes: dict[str, dict[str, int]] = {}
    for name in names:
        system, evidence = paper.system(name), paper.evidence_of(name)
        if cohort is not None and system.folds(protocol):
            table = system.labelled(cohort).table
            table = table[table["label"].isin(paper.classes_of(system, cohort))]
            sources[name] = table["source"].value_counts().to_dict()
            classes[name] = table["label"].value_counts().to_dict()
        elif cohort is None and evidence:
            counts: dict[str, int] = {}
            for (first, *_), count in zip(evidence.collections, evidence.images.values(), strict=True):
                counts[first] = counts.get(first, 0) + count
            sources[name], classes[name] = counts, dict(evidence.classes)
    return Used(sources, classes, precision)
