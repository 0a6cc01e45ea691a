"""The whole way of `covid-keras reproduce`: cohort, splits, masks, executions, report."""

from __future__ import annotations

from argparse import Namespace

from covid_keras import DISCLAIMER
from covid_keras.common.errors import UserError
from covid_keras.training.choices import parse_shard
from covid_keras.training.crossval import run_executions
from covid_keras.training.plan import Plan, make_plan
from covid_keras.training.preparing import prepare_run


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
