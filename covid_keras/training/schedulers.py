"""Train the executions of a run, or a machine's share of them: in this process or in processes of their own.

A third scheduler, `covid_keras.training.cluster.Dask`, spreads them over machines.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import signal
import subprocess
import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from covid_keras.common.errors import UserError
from covid_keras.common.progress import open_bar
from covid_keras.training.runfolder import Execution, RunFolder
from covid_keras.training.worker import ERROR, PROGRESS, worker_command


def take_shard(folds: list[list[list[Execution]]], shard: tuple[int, int]) -> list[list[Execution]]:
    """Return every n-th chain of executions, in each fold from another on, so that each machine gets all systems."""
    i, n = shard
    return [
        chain for fold, chains in enumerate(folds) for place, chain in enumerate(chains) if (place + fold) % n == i - 1
    ]


def epochs_of(run: RunFolder) -> dict[str, int]:
    """Return how many epochs each system of the run trains at most; one that is not trained counts as one."""
    systems = [run.paper.system(name) for name in run.protocol.systems]
    return {one.name: one.epochs(run.protocol) for one in systems}


class EpochBar:
    """One bar over the epochs of all executions; one that stops early fills its share up."""

    def __init__(self, run: RunFolder, executions: list[Execution]) -> None:
        self._epochs, self._told, self._lock = epochs_of(run), {}, threading.Lock()
        total = sum(self._epochs[one.system.name] for one in executions)
        done = sum(self._epochs[one.system.name] for one in executions if one.done)
        self._bar = open_bar(total=total, initial=done, unit="epoch")

    def begin(self, execution: Execution) -> None:
        """Name the execution that is begun."""
        self._bar.set_description(execution.name)

    def tell(self, execution: Execution, epoch: int, values: dict[str, float]) -> None:
        """Bring the bar to `epoch` of an execution and show losses and metrics."""
        with self._lock:
            if values:
                self._bar.set_postfix({key: f"{value:.3f}" for key, value in values.items()}, refresh=False)
            self._bar.update(epoch - self._told.get(execution.name, 0))
            self._told[execution.name] = epoch

    def end(self, execution: Execution) -> None:
        """Bring the bar to the last epoch of an execution."""
        self.tell(execution, self._epochs[execution.system.name], {})

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()


class Scheduler(ABC):
    """Where and how many at a time executions are trained."""

    @abstractmethod
    def train(self, run: RunFolder, chains: list[list[Execution]], bar: EpochBar) -> None:
        """Train all chains, each in its order; the first failure ends the others.

        Raises
        ------
        UserError
            If a training fails: its name, the last line it wrote, and its log file.
        """


def run_executions(
    run: RunFolder, shard: tuple[int, int] = (1, 1), scheduler: Scheduler | None = None
) -> list[Execution]:
    """Train what is not done yet of this shard; return the executions of the shard.

    Parameters
    ----------
    run : RunFolder
    shard : (int, int)
        (i, n): this machine's i-th of n shares.
    scheduler : Scheduler, optional
        `InProcess` if not given.

    Raises
    ------
    UserError
        If a training fails.
    """
    chains = take_shard(run.chains(), shard)
    mine = [execution for chain in chains for execution in chain]
    left = [[one for one in chain if not one.done] for chain in chains]
    with contextlib.closing(EpochBar(run, mine)) as bar:
        (scheduler or InProcess()).train(run, [chain for chain in left if chain], bar)
    for execution in mine:
        if not execution.done:
            raise UserError(
                execution.folder,
                "has no predictions although its training ended well",
                "Do the workers write to the same run folder",
            )
    return mine


class InProcess(Scheduler):
    """One after another in this process, which starts TensorFlow once; the predictions are those of fresh processes."""

    def train(self, run: RunFolder, chains: list[list[Execution]], bar: EpochBar) -> None:
        """Train all chains; each execution begins with the global state of a fresh process."""
        if not chains:
            return
        from covid_keras.training.devices import fresh_state
        from covid_keras.training.execution import execute

        for execution in (one for chain in chains for one in chain):
            bar.begin(execution)
            with _logged(execution), fresh_state():
                execute(execution, functools.partial(bar.tell, execution))
            bar.end(execution)


@contextlib.contextmanager
def _logged(execution: Execution) -> Iterator[None]:
    """Write what a training says into its log, and why it failed."""
    path, root = log_of(execution), logging.getLogger()
    handlers = root.handlers
    with open(path, "a", encoding="utf-8") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        start = log.tell()
        root.handlers = [logging.StreamHandler(log)]
        try:
            yield
        except Exception as error:
            told = f"{ERROR}{error}\n" if isinstance(error, UserError) else traceback.format_exc()
            log.write(told)
            log.flush()
            raise failure(execution, last_words(path, start, 1)) from error
        finally:
            root.handlers = handlers


class Processes(Scheduler):
    """Each in a fresh process; all of them end with this one, however it ends.

    Parameters
    ----------
    jobs : int
        Executions trained at the same time, each with its share of the processors. Small networks leave processors
        idle; large ones need the memory, and gain nothing.
    """

    def __init__(self, jobs: int = 1) -> None:
        self.jobs, self.lock, self.workers, self.ending = jobs, threading.Lock(), set(), False

    def train(self, run: RunFolder, chains: list[list[Execution]], bar: EpochBar) -> None:
        """Train all chains, `jobs` at a time."""
        self.ending = False
        with ThreadPoolExecutor(self.jobs) as pool:
            futures = [pool.submit(self._chain, run, chain, bar) for chain in chains]
            try:
                for future in as_completed(futures):
                    future.result()
            finally:
                # An error or the user's Ctrl-C; where all is done there is nothing to end.
                for future in futures:
                    future.cancel()
                self._end()

    def _end(self) -> None:
        with self.lock:
            self.ending = True
            for process in self.workers:
                process.kill()

    def _chain(self, run: RunFolder, chain: list[Execution], bar: EpochBar) -> None:
        for execution in chain:
            if self.ending:
                return
            bar.begin(execution)
            self._train(run, execution, bar)
            bar.end(execution)

    def _train(self, run: RunFolder, execution: Execution, bar: EpochBar) -> None:
        """Run one worker, following its epochs."""
        path = log_of(execution)
        with open(path, "a", encoding="utf-8") as log:
            start = log.tell()
            with self._worker(run, execution, log) as process:
                for line in process.stdout:
                    if line.startswith(PROGRESS):
                        state = json.loads(line[len(PROGRESS) :])
                        bar.tell(execution, state.pop("epoch"), state)
                    else:
                        log.write(line)
        if process.returncode:
            raise failure(execution, last_words(path, start, process.returncode))

    @contextlib.contextmanager
    def _worker(self, run: RunFolder, execution: Execution, log) -> Iterator[subprocess.Popen]:
        """A fresh process for one execution."""
        command = worker_command(run.path, execution.system.name, execution.repeat, execution.fold)
        environment = worker_environment(self.jobs)
        with self.lock:
            if self.ending:
                raise UserError(execution.name, "was not begun: another training failed", "See that one's message")
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
            self.workers.add(process)
        try:
            yield process
            process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            with self.lock:
                self.workers.discard(process)


def worker_environment(jobs: int) -> dict[str, str]:
    """Return the environment of a worker: of several at a time each gets its share of the processors."""
    if jobs == 1:
        return dict(os.environ)
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    return {"OMP_NUM_THREADS": threads, "TF_NUM_INTRAOP_THREADS": threads} | dict(os.environ)


def log_of(execution: Execution) -> Path:
    """Return the log of an execution, its folder made if it is missing."""
    execution.folder.mkdir(parents=True, exist_ok=True)
    return execution.folder / "log.txt"


def failure(execution: Execution, words: str) -> UserError:
    """Return what the user is told of a training that failed."""
    return UserError(execution.name, f"training failed: {words}", f"The whole log is in {log_of(execution)}")


def last_words(log: Path, start: int, code: int) -> str:
    """Return what this attempt gave as its error, else its last line; where it wrote none, how it ended."""
    with open(log, "rb") as stream:
        stream.seek(start)
        lines = [line for line in stream.read().decode(errors="replace").splitlines() if line.strip()]
    told = [line.removeprefix(ERROR) for line in lines if line.startswith(ERROR)]
    if told or lines:
        return (told or lines)[-1].strip().rstrip(".")
    if code < 0:
        return f"killed by {signal.Signals(-code).name} (out of memory?)"
    return f"it ended with status {code} and no message"
