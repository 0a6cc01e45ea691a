"""Executions on a Dask cluster: here one of threads in this process, each training still in a process of its own."""

from __future__ import annotations

import pytest

from covid_keras.errors import UserError
from covid_keras.training.cluster import run_on_dask


@pytest.mark.slow
def test_executions_on_a_cluster(make_run):
    distributed = pytest.importorskip("distributed", reason="needs covid-keras[cluster]")
    run = make_run("run", training={"epochs": 1})
    with distributed.LocalCluster(1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
        run_on_dask(run, cluster.scheduler_address)
    assert all(execution.done for execution in run.executions())


def test_no_scheduler_is_one_line(make_run, monkeypatch):
    distributed = pytest.importorskip("distributed", reason="needs covid-keras[cluster]")

    def refuse(*args, **kwargs):
        raise OSError("Timed out trying to connect")

    monkeypatch.setattr(distributed, "Client", refuse)
    with pytest.raises(UserError, match=r"--dask tcp://nowhere:1: no scheduler answers"):
        run_on_dask(make_run("run"), "tcp://nowhere:1")
