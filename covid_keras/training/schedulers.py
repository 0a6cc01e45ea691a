"""Train the executions of a run, or a shard of them, in this process or in separate processes.

A third scheduler, `covid_keras.training.cluster.Dask`, trains on a cluster.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import logging
import signal
import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from covid_keras.common.errors import UserError
from covid_keras.common.memory import TRAIN_LESS, tells_shortage
from covid_keras.common.progress import open_bar
from covid_keras.training.executions import Execution
from covid_keras.training.kept import STATE
from covid_keras.training.runfolder import RunFolder
from covid_keras.training.worker import DONE, ERROR, PROGRESS, last_words_of, task_line, told, worker_command


def take_shard(folds: list[list[list[Execution]]], shard: tuple[int, int]) -> list[list[Execution]]:
    """Return every n-th chain of executions, shifted per fold, so that each machine gets all systems."""
    i, n = shard
    return [
        chain for fold, chains in enumerate(folds) for place, chain in enumerate(chains) if (place + fold) % n == i - 1
    ]


def epochs_of(run: RunFolder) -> dict[str, int]:
    """Return the maximum number of epochs per system; 1 for systems that are not trained."""
    systems = [run.paper.system(name) for name in run.protocol.systems]
    return {one.name: one.epochs(run.protocol) for one in systems}


def images_of(run: RunFolder) -> dict[str, int]:
    """Return the images per epoch of each system, as in the first fold; 1 for systems that are not trained."""
    found = {}
    for system in (run.paper.system(name) for name in run.protocol.systems):
        trained = system.epochs(run.protocol) if system.learns_by(run.protocol) else 0
        learnt = int((run.execution(system.name, 0, 0).division == "train").sum()) if trained else 1
        found[system.name] = max(1, learnt)
    return found


class ImageBar:
    """One progress bar over the images that all executions see in all their epochs.

    An epoch of many images takes longer than one of few, so that epochs alone would give a wrong time left.
    """

    def __init__(self, run: RunFolder, executions: list[Execution]) -> None:
        self._epochs, self._images, self._told, self._lock = epochs_of(run), images_of(run), {}, threading.Lock()
        total = sum(map(self._most, executions))
        done = sum(self._most(one) for one in executions if one.done)
        self._bar = open_bar(total=total, initial=done, unit="image", unit_scale=True)

    def _most(self, execution: Execution) -> int:
        """Return the images that an execution sees in its maximum number of epochs."""
        return self._epochs[execution.system.name] * self._images[execution.system.name]

    def begin(self, execution: Execution) -> None:
        """Show the execution that begins."""
        self._bar.set_description(execution.name)

    def tell(self, execution: Execution, epoch: int, values: dict[str, float]) -> None:
        """Advance to `epoch` of an execution and show losses and metrics."""
        with self._lock:
            if values:
                self._bar.set_postfix({key: f"{value:.3f}" for key, value in values.items()}, refresh=False)
            self._bar.update((epoch - self._told.get(execution.name, 0)) * self._images[execution.system.name])
            self._told[execution.name] = epoch

    def end(self, execution: Execution) -> None:
        """Advance to the last epoch of an execution."""
        self.tell(execution, self._epochs[execution.system.name], {})

    def close(self) -> None:
        """Close the bar."""
        self._bar.close()


class Scheduler(ABC):
    """Decides where executions are trained, and how many at a time."""

    @abstractmethod
    def train(self, run: RunFolder, chains: list[list[Execution]], bar: ImageBar) -> None:
        """Train all chains, each in order; the first failure ends the others.

        Raises
        ------
        UserError
            If a training fails: its name, the last line it wrote, and its log file.
        """


def run_executions(
    run: RunFolder, shard: tuple[int, int] = (1, 1), scheduler: Scheduler | None = None
) -> list[Execution]:
    """Train the unfinished executions of a shard; return all executions of the shard.

    Parameters
    ----------
    run : RunFolder
    shard : (int, int)
        (i, n): the i-th of n shards.
    scheduler : Scheduler, optional
        Default: `InProcess`.

    Raises
    ------
    UserError
        If a training fails.
    """
    chains = take_shard(run.chains(), shard)
    mine = [execution for chain in chains for execution in chain]
    left = [[one for one in chain if not one.done] for chain in chains]
    with contextlib.closing(ImageBar(run, mine)) as bar:
        (scheduler or InProcess()).train(run, [chain for chain in left if chain], bar)
    for execution in mine:
        if not execution.done:
            raise UserError(
                execution.folder,
                "has no predictions although its training succeeded",
                "Check that the workers write to the same run folder",
            )
        (execution.folder / STATE).unlink(missing_ok=True)  # of one killed once it was finished
    return mine


class InProcess(Scheduler):
    """Train one after another in this process; predictions are the same as from separate processes."""

    def train(self, run: RunFolder, chains: list[list[Execution]], bar: ImageBar) -> None:
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
    """Redirect the output of a training, and its failure, to its log."""
    path, root = log_of(execution), logging.getLogger()
    handlers = root.handlers
    # Unbuffered: what a full disk does not take must not fail once more when the log is closed.
    with (
        io.TextIOWrapper(open(path, "ab", buffering=0), encoding="utf-8", write_through=True) as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        root.handlers = [logging.StreamHandler(log)]
        try:
            yield
        except Exception as error:
            with contextlib.suppress(OSError):
                log.write(f"{told(error)}\n")
            raise failure(execution, last_words_of(error).rstrip(".")) from error
        finally:
            root.handlers = handlers


class Processes(Scheduler):
    """Train in separate processes, which end with this one.

    Parameters
    ----------
    jobs : int
        Executions trained in parallel. This helps small networks, which leave processors idle; large ones need the
        memory. The threads of each are those of the run, whatever the number of jobs.
    keep : int
        Executions per process. Reusing a process saves importing TensorFlow, but its memory grows.
    """

    def __init__(self, jobs: int = 1, keep: int = 1) -> None:
        self.jobs, self.keep, self.lock, self.workers, self.ending = jobs, keep, threading.Lock(), set(), False

    def train(self, run: RunFolder, chains: list[list[Execution]], bar: ImageBar) -> None:
        """Train all chains, `jobs` at a time."""
        # The longest chains first, so that no process is left with one at the end.
        self.ending, left = False, iter(sorted(chains, key=len, reverse=True))
        with ThreadPoolExecutor(self.jobs) as pool:
            futures = [pool.submit(self._work, run, left, bar) for _ in range(min(self.jobs, len(chains)))]
            try:
                for future in as_completed(futures):
                    future.result()
            finally:
                self._end()  # for an error or Ctrl-C

    def _end(self) -> None:
        with self.lock:
            self.ending = True
            for worker in self.workers:
                worker.process.kill()

    def _work(self, run: RunFolder, left: Iterator[list[Execution]], bar: ImageBar) -> None:
        """Train the remaining chains one by one."""
        worker = None
        try:
            while chain := self._next(left):
                for execution in chain:
                    if worker is None or worker.trained == self.keep:
                        self._dismiss(worker)
                        worker = self._hire(run, execution)
                    bar.begin(execution)
                    worker.train(execution, bar)
                    bar.end(execution)
        finally:
            self._dismiss(worker)

    def _next(self, left: Iterator[list[Execution]]) -> list[Execution] | None:
        with self.lock:
            return None if self.ending else next(left, None)

    def _hire(self, run: RunFolder, execution: Execution) -> _Worker:
        with self.lock:
            if self.ending:
                raise UserError(execution.name, "was not begun: another training failed", "See that one's message")
            worker = _Worker(run)
            self.workers.add(worker)
            return worker

    def _dismiss(self, worker: _Worker | None) -> None:
        if worker is None:
            return
        worker.close()
        with self.lock:
            self.workers.discard(worker)


class _Worker:
    """A process that trains one execution after another."""

    def __init__(self, run: RunFolder) -> None:
        pipe, command = subprocess.PIPE, worker_command(run.path)
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        self.trained = 0

    def train(self, execution: Execution, bar: ImageBar) -> None:
        """Have an execution trained, following its epochs."""
        path = log_of(execution)
        start = path.stat().st_size if path.exists() else 0
        with contextlib.suppress(BrokenPipeError):  # it has ended; its status is reported below
            self.process.stdin.write(task_line(execution.system.name, execution.repeat, execution.fold, path))
            self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith(PROGRESS):
                state = json.loads(line[len(PROGRESS) :])
                bar.tell(execution, state.pop("epoch"), state)
            elif line.startswith(ERROR):
                raise failure(execution, line.removeprefix(ERROR).strip().rstrip("."))
            elif line.startswith(DONE):
                self.trained += 1
                return
        raise failure(execution, last_words(path, start, self.process.wait()))

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def log_of(execution: Execution) -> Path:
    """Return the log of an execution; create its folder if missing."""
    execution.folder.mkdir(parents=True, exist_ok=True)
    return execution.folder / "log.txt"


def failure(execution: Execution, words: str) -> UserError:
    """Return the error of a failed training."""
    return UserError(execution.name, f"training failed: {words}", f"See the log: {log_of(execution)}")


def last_words(log: Path, start: int, code: int) -> str:
    """Return the error of this attempt, else its last line of output, else how it ended."""
    written = log.read_bytes()[start:] if log.is_file() else b""
    lines = [line for line in written.decode(errors="replace").splitlines() if line.strip()]
    told = [line.removeprefix(ERROR) for line in lines if line.startswith(ERROR)]
    if told:
        return told[-1].strip().rstrip(".")
    # The kernel kills without a word, whatever was logged before, and TensorFlow ends so; C++ says so in a line.
    silent = code in (-signal.SIGKILL, -signal.SIGSEGV, -signal.SIGBUS)
    if silent or (code < 0 and any(tells_shortage(line) for line in lines)):
        return f"killed by {signal.Signals(-code).name}, as when memory runs out. {TRAIN_LESS}"
    if lines:
        return lines[-1].strip().rstrip(".")
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"it ended with status {code} and no message"
