"""Executions on a Dask cluster: here one of threads in this process, each training still in a process of its own."""

from __future__ import annotations

import pytest

from covid_keras.common.errors import UserError
from covid_keras.training.cluster import Dask
from covid_keras.training.schedulers import run_executions


@pytest.mark.slow
def test_executions_on_a_cluster(make_run):
    distributed = pytest.importorskip("distributed", reason="needs covid-keras[cluster]")
    run = make_run("run", training={"epochs": 1})
    with distributed.LocalCluster(1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
        run_executions(run, scheduler=Dask(cluster.scheduler_address))
    assert all(execution.done for execution in run.executions())


def test_no_scheduler_is_one_line(make_run, monkeypatch):
    distributed = pytest.importorskip("distributed", reason="needs covid-keras[cluster]")

    def refuse(*args, **kwargs):
        raise OSError("Timed out trying to connect")

    monkeypatch.setattr(distributed, "Client", refuse)
    with pytest.raises(UserError, match=r"--dask tcp://nowhere:1: no scheduler answers"):
        run_executions(make_run("run"), scheduler=Dask("tcp://nowhere:1"))


@pytest.mark.parametrize("address", ["foo", "tcp://foo", "nonsense://x:1"])
def test_what_is_no_address_is_one_line(make_run, address):
    pytest.importorskip("distributed", reason="needs covid-keras[cluster]")
    with pytest.raises(UserError, match=f"--dask {address}: ") as caught:
        run_executions(make_run("run"), scheduler=Dask(address))
    assert "\n" not in str(caught.value)


class _Lost:
    """A future whose worker was killed, or had no such package."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def result(self):
        raise self.error


class _Client:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        return False

    def submit(self, *arguments, **options):
        return _Lost(self.error)


@pytest.mark.parametrize(
    "error", [ImportError("No module named 'covid_keras'"), RuntimeError("worker died 3 times"), OSError("comm closed")]
)
def test_a_lost_worker_is_one_line(make_run, monkeypatch, error):
    distributed = pytest.importorskip("distributed", reason="needs covid-keras[cluster]")
    monkeypatch.setattr(distributed, "Client", lambda *arguments, **options: _Client(error))
    monkeypatch.setattr(distributed, "as_completed", iter)
    with pytest.raises(UserError, match=rf"--dask: an execution failed: {type(error).__name__}: {error}"):
        run_executions(make_run("run"), scheduler=Dask("tcp://somewhere:1"))


def test_what_the_user_must_mend_on_a_worker_is_told_as_it_is(make_run, monkeypatch):
    distributed = pytest.importorskip("distributed", reason="needs covid-keras[cluster]")
    error = UserError("/run", "is no run folder", "Share the folder")
    monkeypatch.setattr(distributed, "Client", lambda *arguments, **options: _Client(error))
    monkeypatch.setattr(distributed, "as_completed", iter)
    with pytest.raises(UserError, match=r"an execution failed: /run: is no run folder\. Share the folder\. See log"):
        run_executions(make_run("run"), scheduler=Dask("tcp://somewhere:1"))
