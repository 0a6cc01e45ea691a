"""Train executions on a Dask cluster, each in a fresh process."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import TYPE_CHECKING

from covid_keras.common.errors import UserError
from covid_keras.training.executions import Execution
from covid_keras.training.runfolder import RunFolder
from covid_keras.training.schedulers import ImageBar, Scheduler, last_words, log_of
from covid_keras.training.worker import task_line, worker_command

if TYPE_CHECKING:
    from distributed import Client, Future

# Seconds without any worker after which a run ends, unless Dask's own setting says otherwise.
WORKERS_GONE = 60.0
WORKERS_GONE_SETTING = "distributed.scheduler.no-workers-timeout"
# Seconds between two looks at the cluster, between two at whether a training was cancelled, and for the scheduler's
# answer.
_LOOK, _LOOK_IN_TASK, _ANSWER = 2.0, 0.5, 20.0
# Kinds of addresses without host and port.
_WITHOUT_PORT = ("inproc://", "ucx://")


class Dask(Scheduler):
    """Train on the workers of a Dask cluster, which must see the run folder under the same path.

    An error, Ctrl-C or the death of this process ends all its trainings on the cluster.

    Parameters
    ----------
    address : str
        The scheduler, e.g. "tcp://10.0.0.1:8786". Start workers with one thread each: a training occupies a machine.
    """

    def __init__(self, address: str) -> None:
        self.address = address

    def train(self, run: RunFolder, chains: list[list[Execution]], bar: ImageBar) -> None:
        """Train all chains.

        Raises
        ------
        UserError
            If a training fails, `distributed` is not installed, no scheduler answers, the scheduler is lost, or there
            is no worker for `WORKERS_GONE` seconds.
        """
        client = self._connect()
        places = [[(one.system.name, one.repeat, one.fold) for one in chain] for chain in chains]
        futures = [client.submit(_train, str(run.path), chain, pure=False) for chain in places]
        chain_of = dict(zip(futures, chains, strict=True))
        try:
            for future in self._finished(client, set(futures)):
                if problem := _outcome(future):
                    raise UserError("--dask", f"an execution failed: {problem}", "See log.txt in its folder")
                for execution in chain_of[future]:
                    bar.end(execution)
        finally:
            with contextlib.suppress(Exception):  # the connection may be gone
                if client.status == "running":
                    client.cancel(futures, force=True)
                client.close(timeout=_LOOK)

    def _finished(self, client: Client, left: set[Future]) -> Iterator[Future]:
        """Yield the futures as they finish; raise `UserError` if the scheduler or all workers are lost."""
        option, patience, seen = f"--dask {self.address}", _patience(), time.monotonic()
        again = "give the same command: finished executions are kept"
        while left:
            try:
                done = _done(left)
                if done or _has_workers(client):
                    seen = time.monotonic()
            except (OSError, CancelledError) as error:
                remedy = f"Start it and its workers again, then {again}"
                raise UserError(option, "the scheduler was lost", remedy) from error
            if time.monotonic() - seen > patience:
                problem = f"has had no worker for {patience:g} seconds"
                raise UserError(option, problem, f"Start `dask worker`, then {again}")
            left = left - done
            yield from done

    def _connect(self) -> Client:
        try:
            from distributed import Client
            from distributed.comm import get_address_host_port
        except ImportError as error:
            raise UserError(
                "--dask", "the package 'distributed' is not installed", "pip install 'covid-keras[cluster]'"
            ) from error
        option = f"--dask {self.address}"
        try:
            if not self.address.startswith(_WITHOUT_PORT):
                get_address_host_port(self.address)  # a client that cannot be made leaves a thread behind
            return Client(self.address, timeout=_ANSWER)
        except OSError as error:
            raise UserError(option, f"no scheduler answers ({error})", "Start one with `dask scheduler`") from error
        except (ValueError, TypeError) as error:
            raise UserError(
                option, f"is not an address ({error})", "Write it as tcp://HOST:8786, as `dask scheduler` prints it"
            ) from error


def _done(futures: set[Future]) -> set[Future]:
    """Wait a moment; return the futures that are finished."""
    from distributed import wait

    try:
        return wait(futures, timeout=_LOOK, return_when="FIRST_COMPLETED").done
    except TimeoutError:
        return set()


def _has_workers(client: Client) -> bool:
    """Return whether the cluster has workers; raise `OSError` if its scheduler does not answer."""
    if client.status != "running":
        raise ConnectionError(client.status)
    return bool(client.sync(client.scheduler.ncores, callback_timeout=_ANSWER))


def _patience() -> float:
    """Return the seconds for which a run waits for workers."""
    import dask.config
    from dask.utils import parse_timedelta

    given = dask.config.get(WORKERS_GONE_SETTING, None)
    return WORKERS_GONE if given is None else parse_timedelta(given)


def _outcome(future: Future) -> str:
    """Return the worker's result, or why there is none (killed, missing package, ...)."""
    try:
        return future.result()
    except UserError as error:
        return str(error).rstrip(".")
    except Exception as error:  # any exception raised on another machine arrives here
        return f"{type(error).__name__}: {error}".rstrip(".")


def _train(path: str, chain: list[tuple[str, int, int]]) -> str:
    """Run on a worker machine, one fresh process per execution; return "" or the first failure."""
    cancelled = _cancellation()
    for place in chain:
        execution = RunFolder.open(path).execution(*place)
        log = log_of(execution)
        start = log.stat().st_size if log.exists() else 0
        if code := _run(path, place, log, cancelled):
            return f"{execution.name}: {last_words(log, start, code)}"
    return ""


def _run(path: str, place: tuple[str, int, int], log: Path, cancelled: Callable[[], bool]) -> int:
    """Train one execution in a process; kill it once the task is cancelled; return the process's status."""
    with subprocess.Popen(worker_command(path), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        with contextlib.suppress(BrokenPipeError):  # it has ended; its status says why
            process.stdin.write(task_line(*place, log))
            process.stdin.close()
        while True:
            try:
                return process.wait(_LOOK_IN_TASK)
            except subprocess.TimeoutExpired:
                if cancelled():
                    process.kill()


def _cancellation() -> Callable[[], bool]:
    """Return a function that says whether the current task was cancelled; Dask leaves a running one alone."""
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()

    def cancelled() -> bool:
        task = worker.state.tasks.get(key)
        return task is None or task.state != "executing"

    return cancelled
