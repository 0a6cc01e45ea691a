"""`covid-keras reproduce`: train and evaluate a paper's systems."""

from __future__ import annotations

import os
import shutil
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from covid_keras import DISCLAIMER
from covid_keras.commands.parsing import Commands, add_command, add_data, say, say_where, user_path
from covid_keras.common.errors import UserError
from covid_keras.common.files import locked
from covid_keras.training.choices import PRECISIONS, STRATEGIES, parse_shard, require_choice, require_devices

if TYPE_CHECKING:
    from covid_keras.paper.protocol import Protocol
    from covid_keras.training.plan import Plan
    from covid_keras.training.runfolder import RunFolder
    from covid_keras.training.schedulers import Scheduler


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "reproduce",
        "train and evaluate a paper's systems and compare them with its tables",
        run,
        "  covid-keras reproduce tabik --profile smoke\n"
        "  covid-keras reproduce tabik --profile paper --dry-run\n"
        "  covid-keras reproduce tabik --data ~/radiographs --profile cpu --out runs/tabik\n"
        "  covid-keras reproduce tabik --data ~/covidgr --checkpoint resnet18=resnet18.npz --shard 1/4\n"
        "  covid-keras reproduce tabik --set 'systems=[fucitnet]' --set options.cit.lambda_=0.05 --out runs/lambda\n"
        "  covid-keras reproduce head_to_head --data ~/radiographs --external covidgr --out runs/head-to-head\n",
    )
    _add_what(parser)
    _add_how(parser)


def _add_what(parser: ArgumentParser) -> None:
    """Add the options that decide what is trained, on which images."""
    add = parser.add_argument
    add("paper", metavar="PAPER", help="paper or its first author (see `covid-keras papers`)")
    add_data(parser)
    add("--profile", metavar="P", help="paper, cpu or smoke (default: by the images found)")
    text = "run folder; an unfinished run is continued (default: runs/PAPER-PROFILE)"
    add("--out", type=user_path, metavar="DIR", help=text)
    add("--cache", type=user_path, metavar="DIR", help="prepared images and masks (default: OUT/../cache)")
    text = "initial weights: imagenet, none or a file"
    add("--weights", type=os.path.expanduser, metavar="W", help=text)
    text = "further weight file, such as resnet18=FILE; repeatable"
    add("--checkpoint", action="append", default=[], metavar="NAME=FILE", help=text)
    text = "change a setting, such as split.repeats=1; repeatable"
    add("--set", action="append", default=[], metavar="KEY=VALUE", help=text)
    text = "further collection to test on (head_to_head)"
    add("--external", metavar="NAME", help=text)


def _add_how(parser: ArgumentParser) -> None:
    """Add the options that decide how the executions are trained."""
    add = parser.add_argument
    add("--strategy", default="auto", metavar="S", help="device: auto, one, mirrored or tpu (default: auto)")
    text = "float32 (default; for reported results), bf16 or fp16"
    add("--precision", default="float32", metavar="F", help=text)
    text = "process batches N images at a time: the same steps in less memory, but batch statistics of N images"
    add("--micro-batch", type=int, metavar="N", help=text)
    text = "train every N-th execution, starting with the I-th"
    add("--shard", default="1/1", metavar="I/N", help=text)
    text = "train N executions at a time (default: the profile's)"
    add("--jobs", type=int, metavar="N", help=text)
    text = "train SYSTEM/repeatR-foldF and its successors again"
    add("--restart", action="append", default=[], metavar="EXECUTION", help=text)
    text = "keep all best weights, not the first repeat's only"
    add("--keep-weights", action="store_true", help=text)
    text = "print the plan (data, systems, grades, hours, memory, disk) and stop; no run folder is made"
    add("--dry-run", action="store_true", help=text)
    add("--dask", metavar="ADDRESS", help="train on a Dask cluster that shares the run folder")


def run(options: Namespace) -> int:
    """Check the options before pandas and scikit-learn are imported, then reproduce."""
    require_choice("--strategy", options.strategy, STRATEGIES)
    require_choice("--precision", options.precision, PRECISIONS)
    parse_shard(options.shard)
    if options.jobs is not None and options.jobs < 1:
        raise UserError("--jobs", f"must be at least 1 (got {options.jobs})", "Omit it for the profile's number")
    if options.micro_batch is not None and options.micro_batch < 1:
        raise UserError("--micro-batch", f"must be at least 1 (got {options.micro_batch})", "Omit it for whole batches")
    if options.dask and options.jobs is not None:
        raise UserError("--jobs", "cannot be combined with --dask", "Start more Dask workers instead")
    if not options.dask:
        require_devices(options.strategy)
    return reproduce(options)


def reproduce(options: Namespace) -> int:
    """Run a paper's profile and write its report; return the exit status."""
    from covid_keras.commands.planning import print_grades, print_plan, print_work
    from covid_keras.paper.initial_weights import provide_weights
    from covid_keras.training.plan import make_plan
    from covid_keras.training.preparing import prepare_run
    from covid_keras.training.schedulers import run_executions

    plan = make_plan(options)
    say(_banner(plan), flush=True)
    if options.dry_run:
        print_plan(plan, options.precision)
        return 0
    provide_weights(plan.paper, plan.protocol, plan.to_train)
    run = prepare_run(plan)
    restart(run, options.restart)
    print_grades(run.paper, run.protocol, run.used)
    print_work(plan, run.cohort)
    try:
        run_executions(run, parse_shard(options.shard), scheduler_of(options, plan.protocol))
    except UserError as error:
        raise naming_done(error, run) from error
    missing = [execution for execution in run.executions() if not execution.done]
    if missing:
        say(f"{len(missing)} executions are left to other shards. Afterwards: covid-keras report {run.path}")
        say_where(run.path)
        return 0
    from covid_keras.reporting.run import report_run

    try:
        plan.paper.finish(plan.protocol, plan.data, plan.cache)
    except UserError:
        report_run(run.path)  # still shows what was trained
        raise
    say_where(report_run(run.path))
    return 0


def naming_done(error: UserError, run: RunFolder) -> UserError:
    """Return the error of a training with the command that reports the executions finished before, if any."""
    done = sum(execution.record.is_file() for execution in run.executions())
    remedy = f"{error.remedy}. The report of the {done} finished executions: covid-keras report {run.path}"
    return UserError(error.subject, error.problem, remedy) if done else error


def restart(run: RunFolder, places: Sequence[str]) -> None:
    """Delete the named executions, and those that build on them, so that they are trained again.

    Raises `UserError` for a place that the run does not have, for one that builds on weights that were not kept, or if
    another process is training an execution.
    """
    if not places:
        return
    from covid_keras.training.kept import lost_weights

    known = {execution.address: execution for execution in run.executions()}
    for place in places:
        if place not in known:
            raise UserError(f"--restart {place}", "is no execution of this run", f"Known: {', '.join(known)}")
    again = [execution for execution in known.values() if execution.addresses & set(places)]
    below = set().union(*(execution.addresses for execution in again))
    for execution in known.values():
        if execution.address in below and execution not in again and lost_weights(execution):
            problem = f"builds on {execution.address}, whose weights were not kept"
            raise UserError(f"--restart {places[0]}", problem, f"Also give --restart {execution.address}")
    for execution in again:
        if execution.folder.is_dir():
            with locked(execution.folder, wait=False):
                shutil.rmtree(execution.folder)


def scheduler_of(options: Namespace, protocol: Protocol) -> Scheduler:
    """Return the scheduler that the options, else the protocol, ask for."""
    from covid_keras.training.cluster import Dask
    from covid_keras.training.schedulers import InProcess, Processes

    if options.dask:
        return Dask(options.dask)
    jobs = options.jobs or min(protocol.jobs, os.cpu_count() or 1)
    kept = protocol.executions_per_process
    return InProcess() if jobs == 1 < kept else Processes(jobs, kept)


def _banner(plan: Plan) -> str:
    """Return what will run and what not."""
    protocol, left_out = plan.protocol, plan.settings["left_out"]
    lines = [f"{plan.paper.name}, profile {protocol.profile}: {protocol.description}", DISCLAIMER]
    running = [_title(plan, name) for name in protocol.systems if name not in left_out]
    lines.append(f"Runs: {'; '.join(running) or 'nothing, for lack of images or weights'}")
    reasons = dict.fromkeys(left_out.values())
    for reason in reasons:
        names = [_title(plan, name) for name, why in left_out.items() if why == reason]
        lines.append(f"Left out: {'; '.join(names)}: {reason}")
    return "\n".join(lines)


def _title(plan: Plan, name: str) -> str:
    return plan.paper.system(name).title
