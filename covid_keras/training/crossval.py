"""All executions of a run, one after another, each in a fresh process; or a machine's share of them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from covid_keras.errors import UserError
from covid_keras.progress import open_bar
from covid_keras.training.experiment import load_paper
from covid_keras.training.runfolder import Execution, RunFolder
from covid_keras.training.worker import ERROR

PROGRESS = "@progress "  # as covid_keras.training.execution writes; not imported, since that imports TensorFlow


def take_shard(chains: list[list[Execution]], shard: tuple[int, int]) -> list[list[Execution]]:
    """Return every n-th chain of executions from the i-th on, so that each machine gets all systems."""
    i, n = shard
    return chains[i - 1 :: n]


def run_executions(run: RunFolder, shard: tuple[int, int] = (1, 1)) -> list[Execution]:
    """Train what is not done yet of this shard; return the executions of the shard.

    Raises
    ------
    UserError
        Where a training fails: its name, the last line it wrote, and its log file.
    """
    mine = [execution for chain in take_shard(run.chains(), shard) for execution in chain]
    epochs = epochs_of(run)
    todo = [execution for execution in mine if not execution.done]
    total = sum(epochs[execution.system] for execution in mine)
    done = total - sum(epochs[execution.system] for execution in todo)
    with open_bar(total=total, initial=done, unit="epoch") as bar:
        for execution in todo:
            bar.set_description(execution.name)
            _train(run, execution, epochs[execution.system], bar)
    return mine


def epochs_of(run: RunFolder) -> dict[str, int]:
    """Return how many epochs each system of the run trains at most; one run as released counts as one."""
    paper = load_paper(run.protocol.paper)
    systems = [paper.system(name) for name in run.protocol.systems]
    return {one.name: 1 if one.released else one.training(run.protocol).epochs for one in systems}


def _train(run: RunFolder, execution: Execution, epochs: int, bar: tqdm) -> None:
    """Run one worker, following its epochs; early stopping fills the bar up."""
    execution.folder.mkdir(parents=True, exist_ok=True)
    log = execution.folder / "log.txt"
    at_start = bar.n
    written = log.stat().st_size if log.is_file() else 0
    with open(log, "a", encoding="utf-8") as errors, _worker(run, execution, errors) as process:
        for line in process.stdout:
            if line.startswith(PROGRESS):
                state = json.loads(line[len(PROGRESS) :])
                epoch = state.pop("epoch")
                bar.set_postfix({key: f"{value:.3f}" for key, value in state.items()}, refresh=False)
                bar.update(at_start + epoch - bar.n)
            else:
                errors.write(line)
    if process.returncode or not execution.done:
        raise UserError(
            execution.name,
            f"training failed: {last_words(log, written, process.returncode)}",
            f"The whole log is in {log}",
        )
    bar.update(at_start + epochs - bar.n)


@contextmanager
def _worker(run: RunFolder, execution: Execution, errors) -> Iterator[subprocess.Popen]:
    """A fresh process for one execution, ended with this one."""
    command = [
        sys.executable,
        "-m",
        "covid_keras.training.worker",
        str(run.path),
        execution.system,
        str(execution.repeat),
        str(execution.fold),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        yield process
        process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


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
