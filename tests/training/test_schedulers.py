"""Schedulers: chains in their order, one failure ends the others, one line says why; workers are stand-ins."""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import time
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import keras
import psutil
import pytest

from covid_keras.common.errors import UserError
from covid_keras.training import cluster, schedulers
from covid_keras.training import execution as executing
from covid_keras.training.choices import parse_shard
from covid_keras.training.cluster import Dask
from covid_keras.training.devices import fresh_state
from covid_keras.training.runfolder import threads_of
from covid_keras.training.schedulers import (
    InProcess,
    Processes,
    last_words,
    run_executions,
    take_shard,
)
from tests.helpers.refusals import refused


@dataclass(frozen=True)
class Made:
    """An execution as far as schedulers look at one."""

    folder: Path
    system: SimpleNamespace
    repeat: int = 0
    fold: int = 0

    @property
    def name(self) -> str:
        return self.system.name

    @property
    def done(self) -> bool:
        return (self.folder / "done").is_file()


class Bar:
    """What the user sees."""

    def __init__(self, total: int, initial: int, **named: object) -> None:
        self.total, self.n, self.shown = total, initial, {}

    def set_description(self, text: str) -> None:
        pass

    def set_postfix(self, values: dict[str, str], refresh: bool) -> None:
        self.shown = values

    def update(self, n: int) -> None:
        self.n += n

    def close(self) -> None:
        pass


@pytest.fixture
def run_of(tmp_path, monkeypatch):
    """Return a function that makes a run of chains of systems, each of three epochs, and the bars that are opened."""
    bars = []
    monkeypatch.setattr(schedulers, "images_of", lambda run: {name: 10 * len(name) for name in run.protocol.systems})
    monkeypatch.setattr(schedulers, "open_bar", lambda **given: bars.append(Bar(**given)) or bars[-1])

    def command(path) -> list[str]:
        return [sys.executable, "-m", "tests.helpers.worker", str(path)]

    monkeypatch.setattr(schedulers, "worker_command", command)

    def make(*chains: str) -> SimpleNamespace:
        systems = {
            name: SimpleNamespace(name=name, epochs=lambda protocol: 3) for text in chains for name in text.split()
        }
        made = [[Made(tmp_path / name, systems[name]) for name in text.split()] for text in chains]
        protocol, paper = SimpleNamespace(systems=list(systems)), SimpleNamespace(system=systems.get)
        return SimpleNamespace(path=tmp_path, chains=lambda: [made], protocol=protocol, paper=paper, bars=bars)

    return make


def execute(execution: Made, tell) -> None:
    """In place of a training in this process."""
    logging.getLogger("tensorflow").warning("retracing of %s", execution.name)
    if execution.name == "fails":
        raise UserError("the weights", "are missing", "Give others")
    if execution.name == "killed":
        raise MemoryError("no memory")
    if execution.name == "sleeps":
        raise KeyboardInterrupt
    tell(1, {"loss": 0.5})
    (execution.folder / "done").touch()


@pytest.fixture(params=[InProcess, Processes])
def scheduler(request, monkeypatch):
    monkeypatch.setattr(executing, "execute", execute)
    return request.param()


def test_executions_are_trained_once_and_in_the_order_of_their_chain(run_of, scheduler):
    run = run_of("good next")
    assert [one.name for one in run_executions(run, scheduler=scheduler)] == ["good", "next"]
    (bar,) = run.bars
    images = 3 * (40 + 40)
    assert (bar.n, bar.total, bar.shown) == (images, images, {"loss": "0.500"}), "early stopping fills the bar up"
    written = (run.path / "good" / "done").stat().st_mtime_ns
    run_executions(run, scheduler=scheduler)
    assert run.bars[1].n == images
    assert (run.path / "good" / "done").stat().st_mtime_ns == written


@pytest.mark.parametrize("system", ["fails", "killed"])
def test_a_failing_training_is_one_line_with_its_log(run_of, scheduler, system):
    with pytest.raises(UserError) as caught:
        run_executions(run_of("good", system), scheduler=scheduler)
    assert str(caught.value).startswith(f"{system}: training failed: ")
    assert ("the weights: are missing" in str(caught.value)) == (system == "fails")
    assert "log.txt" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_last_words_arrive_where_the_log_takes_none(run_of, scheduler):
    run = run_of("fails")
    (run.path / "fails").mkdir()
    (run.path / "fails" / "log.txt").symlink_to("/dev/full")
    with pytest.raises(UserError, match="fails: training failed: the weights: are missing"):
        run_executions(run, scheduler=scheduler)


def test_in_this_process_a_trainings_words_go_into_its_log(run_of, monkeypatch, capsys):
    monkeypatch.setattr(executing, "execute", execute)
    handlers = logging.getLogger().handlers
    run = run_of("good sleeps next")
    with pytest.raises(KeyboardInterrupt):
        run_executions(run)
    assert logging.getLogger().handlers is handlers
    assert "retracing of good" in (run.path / "good" / "log.txt").read_text()
    assert capsys.readouterr() == ("", "")
    assert [(run.path / name / "done").is_file() for name in ("good", "sleeps", "next")] == [True, False, False]


@pytest.mark.parametrize(("keep", "processes"), [(1, 3), (2, 2), (8, 1)])
def test_a_process_trains_so_many_executions(run_of, keep, processes):
    run = run_of("good next", "other")
    run_executions(run, scheduler=Processes(keep=keep))
    assert len({(run.path / name / "done").read_text() for name in ("good", "next", "other")}) == processes


def test_a_failing_training_ends_the_others(run_of):
    begun = time.monotonic()
    with pytest.raises(UserError, match="fails"):
        run_executions(run_of("sleeps", "fails"), scheduler=Processes(2))
    assert time.monotonic() - begun < 30, "the other one would sleep for a minute"


def test_a_training_without_predictions_is_not_done(run_of):
    with pytest.raises(UserError, match="no predictions"):
        run_executions(run_of("idle"), scheduler=Processes())


def test_the_error_is_told_even_where_other_lines_follow(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text("error: of an earlier attempt.\n")
    start = log.stat().st_size
    assert "SIGKILL" in last_words(log, start, -signal.SIGKILL)
    assert "status 3" in last_words(log, start, 3)
    for text, words in (
        ("some warning\n", "some warning"),
        ("error: the weights are missing. Give others.\nDownloading data\n\n", "the weights are missing. Give others"),
    ):
        with open(log, "a") as stream:
            stream.write(text)
        assert last_words(log, start, 1) == words


@pytest.mark.parametrize(
    ("line", "code", "short"),
    [
        ("some warning", -signal.SIGKILL, True),
        ("some warning", -signal.SIGSEGV, True),
        ("terminate called after throwing an instance of 'std::bad_alloc'", -signal.SIGABRT, True),
        ("some warning", -signal.SIGABRT, False),
        ("ValueError: out of memory", 1, False),
    ],
)
def test_a_worker_killed_for_memory_names_the_remedy(tmp_path, line, code, short):
    log = tmp_path / "log.txt"
    log.write_text(f"{line}\n")
    words = last_words(log, 0, code)
    assert ("--micro-batch" in words) == short
    assert (line in words) != short


@pytest.mark.parametrize(
    ("jobs", "given", "threads"), [(1, "", 8), (2, "", 4), (3, "", 2), (20, "", 1), (2, "7", 7), (2, "0", 4)]
)
def test_the_threads_of_a_training_are_the_profiles(monkeypatch, jobs, given, threads):
    monkeypatch.setattr("covid_keras.common.threads.os.cpu_count", lambda: 8)
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", given)
    assert threads_of(SimpleNamespace(jobs=jobs)) == threads


@pytest.mark.parametrize("n", [2, 5])
def test_shards_cover_everything_once(n):
    folds = [[[f"{system}{fold}"] for system in "ab"] for fold in range(6)]
    shards = [[name for (name,) in take_shard(folds, (i, n))] for i in range(1, n + 1)]
    assert sorted(name for shard in shards for name in shard) == sorted(name for chains in folds for (name,) in chains)
    assert {name[0] for name in shards[0]} == {"a", "b"}, "no machine gets one system alone"
    assert parse_shard(f"2/{n}") == (2, n)


@pytest.mark.parametrize("text", ["0/4", "5/4", "2", "a/b", "1/2/3"])
def test_what_is_no_shard(text):
    with pytest.raises(UserError, match="--shard"):
        parse_shard(text)


def test_each_execution_begins_with_the_state_of_a_fresh_process_and_leaves_none():
    keras.layers.Dense(1)
    with fresh_state():
        assert keras.layers.Dense(1).name == "dense"
        keras.config.set_dtype_policy("mixed_bfloat16")
    assert keras.layers.Dense(1).name == "dense"
    assert keras.config.dtype_policy().name == "float32"


# --- a Dask cluster


class Lost:
    """A future whose worker was killed, had no such package, or raised."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def result(self):
        raise self.error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ImportError("No module named 'covid_keras'"), "ImportError: No module named 'covid_keras'"),
        (RuntimeError("worker died 3 times"), "RuntimeError: worker died 3 times"),
        (UserError("/run", "is not a run folder", "Share the folder"), "/run: is not a run folder. Share the folder"),
    ],
)
def test_a_lost_worker_is_told(error, words):
    assert cluster._outcome(Lost(error)) == words


@pytest.mark.parametrize(
    ("address", "words"),
    [("tcp://nowhere:1", "no scheduler"), ("foo", "address"), ("tcp://foo", "address"), ("nonsense://x:1", "address")],
)
def test_no_scheduler_is_one_line(run_of, monkeypatch, address, words):
    distributed = pytest.importorskip("distributed", reason="needs covid-keras[cluster]")

    def refuse(*args, **kwargs):
        raise OSError("Timed out trying to connect")

    if "nowhere" in address:
        monkeypatch.setattr(distributed, "Client", refuse)
    with pytest.raises(UserError, match=f"--dask {address}: .*{words}") as caught:
        run_executions(run_of("good"), scheduler=Dask(address))
    assert "\n" not in str(caught.value)


@pytest.fixture
def clustered(run_of, monkeypatch):
    """Return a function that makes a run whose executions a cluster in this process trains in stand-in workers."""
    pytest.importorskip("distributed", reason="needs covid-keras[cluster]")
    monkeypatch.setattr(cluster, "worker_command", schedulers.worker_command)
    monkeypatch.setattr(cluster, "WORKERS_GONE", 0.5)
    monkeypatch.setattr(cluster, "_LOOK", 0.2)

    def make(*chains: str) -> SimpleNamespace:
        run = run_of(*chains)
        executions = {one.name: one for chain in run.chains()[0] for one in chain}
        opened = SimpleNamespace(execution=lambda system, repeat, fold: executions[system])
        monkeypatch.setattr(cluster, "RunFolder", SimpleNamespace(open=lambda path: opened))
        return run

    return make


@contextlib.contextmanager
def dask_cluster(workers: int):
    """A cluster of threads of this process."""
    import distributed

    one = {"cls": distributed.Worker, "options": {"nthreads": 1, "dashboard": False}}
    scheduler = {"cls": distributed.Scheduler, "options": {"dashboard": False, "port": 0}}
    with distributed.SpecCluster(workers=dict.fromkeys(range(workers), one), scheduler=scheduler) as made:
        yield made


def ended(pid: Path) -> bool:
    """Whether the process that wrote its number there has ended, within ten seconds."""
    number = int(pid.read_text())
    for _ in range(100):
        if not psutil.pid_exists(number) or psutil.Process(number).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
def test_executions_on_a_cluster(clustered):
    run = clustered("good next", "fails")
    with dask_cluster(1) as made:
        with pytest.raises(UserError, match="fails: the weights: are missing"):
            run_executions(run, scheduler=Dask(made.scheduler_address))
        run = clustered("good next")
        assert all(one.done for one in run_executions(run, scheduler=Dask(made.scheduler_address)))


@pytest.mark.slow
@pytest.mark.parametrize("stopped_by", ["fails", "Ctrl-C"])
def test_the_other_trainings_of_a_cluster_are_cancelled(clustered, monkeypatch, stopped_by):
    run = clustered("sleeps", "good" if stopped_by == "Ctrl-C" else stopped_by)
    pid = run.path / "sleeps" / "pid"

    def interrupt(bar: Bar, n: int) -> None:
        raise KeyboardInterrupt

    def outcome(future) -> str:
        while not pid.is_file():
            time.sleep(0.05)
        return future.result()

    monkeypatch.setattr(cluster, "_outcome", outcome)
    if stopped_by == "Ctrl-C":
        monkeypatch.setattr(Bar, "update", interrupt)
    with dask_cluster(2) as made:
        with pytest.raises(KeyboardInterrupt if stopped_by == "Ctrl-C" else UserError):
            run_executions(run, scheduler=Dask(made.scheduler_address))
        assert ended(pid), "the cluster goes on training"


@pytest.mark.slow
def test_without_workers_a_run_ends_in_one_line(clustered):
    with dask_cluster(0) as made:
        refused("no worker for .*finished executions are kept", run_executions, clustered("good"),
                scheduler=Dask(made.scheduler_address))  # fmt: skip


@pytest.mark.parametrize("error", [CancelledError("scheduler-connection-lost"), ConnectionError(), None])
def test_a_lost_scheduler_is_one_line(monkeypatch, error):
    """The futures are cancelled, the scheduler does not answer, or the client reconnects."""
    pytest.importorskip("distributed", reason="needs covid-keras[cluster]")

    def done(futures) -> set:
        if error:
            raise error
        return set()

    monkeypatch.setattr(cluster, "_done", done)
    client = SimpleNamespace(status="connecting")
    refused("--dask tcp://x:1: the scheduler was lost", list, Dask("tcp://x:1")._finished(client, {"future"}))
