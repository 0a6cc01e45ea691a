"""All executions of a run, one after another, each in a fresh process; or a machine's share of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from covid_keras.common.errors import UserError
from covid_keras.common.progress import open_bar
from covid_keras.paper.paper import load_paper
from covid_keras.training.runfolder import Execution, RunFolder
from covid_keras.training.worker import ERROR, PROGRESS


def take_shard(folds: list[list[list[Execution]]], shard: tuple[int, int]) -> list[list[Execution]]:
    """Return every n-th chain of executions, in each fold from another on, so that each machine gets all systems."""
    i, n = shard
    return [
        chain for fold, chains in enumerate(folds) for place, chain in enumerate(chains) if (place + fold) % n == i - 1
    ]


def run_executions(run: RunFolder, shard: tuple[int, int] = (1, 1), jobs: int = 1) -> list[Execution]:
    """Train what is not done yet of this shard; return the executions of the shard.

    Parameters
    ----------
    run : RunFolder
    shard : (int, int)
        (i, n): this machine's i-th of n shares.
    jobs : int
        Executions trained at the same time, each in its own process with its share of the processors. Small networks
        leave processors idle; large ones need the memory, and gain nothing.

    Raises
    ------
    UserError
        Where a training fails: its name, the last line it wrote, and its log file.
    """
    chains = take_shard(run.chains(), shard)
    mine = [execution for chain in chains for execution in chain]
    epochs = epochs_of(run)
    total = sum(epochs[execution.system] for execution in mine)
    done = sum(epochs[execution.system] for execution in mine if execution.done)
    with open_bar(total=total, initial=done, unit="epoch") as bar:
        _Trainings(run, epochs, bar, jobs).train(chains)
    return mine


def epochs_of(run: RunFolder) -> dict[str, int]:
    """Return how many epochs each system of the run trains at most; one that is not trained counts as one."""
    paper = load_paper(run.protocol.paper)
    systems = [paper.system(name) for name in run.protocol.systems]
    return {one.name: one.epochs(run.protocol) for one in systems}


class _Trainings:
    """The workers of a run, at most `jobs` at a time; all of them end with this one, however it ends."""

    def __init__(self, run: RunFolder, epochs: dict[str, int], bar: tqdm, jobs: int) -> None:
        self.run, self.epochs, self.bar, self.jobs = run, epochs, bar, jobs
        self.lock, self.workers, self.ending = threading.Lock(), set(), False

    def train(self, chains: list[list[Execution]]) -> None:
        """Train all chains; the first failure ends the others."""
        with ThreadPoolExecutor(self.jobs) as pool:
            futures = [pool.submit(self._chain, chain) for chain in chains]
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

    def _chain(self, chain: list[Execution]) -> None:
        for execution in chain:
            if self.ending:
                return
            if not execution.done:
                self._train(execution)

    def _train(self, execution: Execution) -> None:
        """Run one worker, following its epochs; early stopping fills the bar up."""
        execution.folder.mkdir(parents=True, exist_ok=True)
        log, epochs, told = execution.folder / "log.txt", self.epochs[execution.system], 0
        written = log.stat().st_size if log.is_file() else 0
        self.bar.set_description(execution.name)
        with open(log, "a", encoding="utf-8") as errors, self._worker(execution, errors) as process:
            for line in process.stdout:
                if line.startswith(PROGRESS):
                    state = json.loads(line[len(PROGRESS) :])
                    told = self._tell(state.pop("epoch"), told, state)
                else:
                    errors.write(line)
        if process.returncode or not execution.done:
            raise UserError(
                execution.name,
                f"training failed: {last_words(log, written, process.returncode)}",
                f"The whole log is in {log}",
            )
        self._tell(epochs, told, {})

    def _tell(self, epoch: int, told: int, state: dict[str, float]) -> int:
        """Bring the bar from `told` to `epoch` of one execution; return `epoch`."""
        with self.lock:
            if state:
                shown = {key: f"{value:.3f}" for key, value in state.items()}
                self.bar.set_postfix(shown, refresh=False)
            self.bar.update(epoch - told)
        return epoch

    @contextmanager
    def _worker(self, execution: Execution, errors) -> Iterator[subprocess.Popen]:
        """A fresh process for one execution."""
        command = [
            sys.executable,
            "-m",
            "covid_keras.training.worker",
            str(self.run.path),
            execution.system,
            str(execution.repeat),
            str(execution.fold),
        ]
        with self.lock:
            if self.ending:
                raise UserError(execution.name, "was not begun: another training failed", "See that one's message")
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, env=worker_environment(self.jobs)
            )
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
    return f"it ended with status {code} and without a word"
