"""Train executions on a Dask cluster, each in a fresh process."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from covid_keras.common.errors import UserError
from covid_keras.training.runfolder import Execution, RunFolder
from covid_keras.training.schedulers import ImageBar, Scheduler, last_words, log_of
from covid_keras.training.worker import task_line, worker_command

if TYPE_CHECKING:
    from distributed import Client, Future


class Dask(Scheduler):
    """Train on the workers of a Dask cluster, which must see the run folder under the same path.

    Parameters
    ----------
    address : str
        The scheduler, e.g. "tcp://10.0.0.1:8786". Start workers with one thread each: a training occupies a machine.
    """

    def __init__(self, address: str) -> None:
        self.address = address

    def train(self, run: RunFolder, chains: list[list[Execution]], bar: ImageBar) -> None:
        """Train all chains; also raise `UserError` if `distributed` is not installed or no scheduler answers."""
        try:
            from distributed import as_completed
        except ImportError as error:
            raise UserError(
                "--dask", "the package 'distributed' is not installed", "pip install 'covid-keras[cluster]'"
            ) from error
        with self._connect() as client:
            places = [[(one.system.name, one.repeat, one.fold) for one in chain] for chain in chains]
            futures = [client.submit(_train, str(run.path), chain, pure=False) for chain in places]
            chain_of = dict(zip(futures, chains, strict=True))
            for future in as_completed(futures):
                if problem := _outcome(future):
                    raise UserError("--dask", f"an execution failed: {problem}", "See log.txt in its folder")
                for execution in chain_of[future]:
                    bar.end(execution)

    def _connect(self) -> Client:
        from distributed import Client

        option = f"--dask {self.address}"
        try:
            return Client(self.address, timeout=20)
        except OSError as error:
            raise UserError(option, f"no scheduler answers ({error})", "Start one with `dask scheduler`") from error
        except (ValueError, TypeError) as error:
            raise UserError(
                option, f"is not an address ({error})", "Write it as tcp://HOST:8786, as `dask scheduler` prints it"
            ) from error


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
    for place in chain:
        execution = RunFolder.open(path).execution(*place)
        log = log_of(execution)
        start = log.stat().st_size if log.exists() else 0
        command, task = worker_command(path), task_line(*place, log)
        code = subprocess.run(command, input=task, text=True, stdout=subprocess.DEVNULL, check=False).returncode
        if code:
            return f"{execution.name}: {last_words(log, start, code)}"
    return ""
