"""Executions spread over a Dask cluster; each still runs in a fresh process of its own."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from covid_keras.common.errors import UserError
from covid_keras.common.progress import progress
from covid_keras.training.crossval import take_shard
from covid_keras.training.runfolder import Execution, RunFolder

if TYPE_CHECKING:
    from distributed import Client, Future


def run_on_dask(run: RunFolder, address: str, shard: tuple[int, int] = (1, 1)) -> None:
    """Train what is not done yet on the workers of a Dask cluster that see the run folder under the same path.

    Parameters
    ----------
    run : RunFolder
    address : str
        The scheduler, e.g. "tcp://10.0.0.1:8786". Start workers with one thread each: a training takes a machine.

    Raises
    ------
    UserError
        Where `distributed` is not installed, the address is none, the scheduler does not answer, or a training fails
        (its worker killed or without this package included).
    """
    try:
        from distributed import as_completed
    except ImportError as error:
        raise UserError(
            "--dask", "the package 'distributed' is not installed", "pip install 'covid-keras[cluster]'"
        ) from error
    client = _connect(address)
    chains = [[one for one in chain if not one.done] for chain in take_shard(run.chains(), shard)]
    places = [[(one.system, one.repeat, one.fold) for one in chain] for chain in chains if chain]
    with client:
        futures = [client.submit(_train, str(run.path), chain, pure=False) for chain in places]
        for future in progress(as_completed(futures), "executions on the cluster", len(futures), "chain"):
            if problem := _outcome(future):
                raise UserError("--dask", f"an execution failed: {problem}", "See log.txt in its folder")
    _require_done([one for chain in chains for one in chain])


def _connect(address: str) -> Client:
    from distributed import Client

    try:
        return Client(address, timeout=20)
    except OSError as error:
        raise UserError(
            f"--dask {address}", f"no scheduler answers ({error})", "Start one with `dask scheduler`"
        ) from error
    except (ValueError, TypeError) as error:
        raise UserError(
            f"--dask {address}", f"is no address ({error})", "Write it as tcp://HOST:8786, as `dask scheduler` says it"
        ) from error


def _outcome(future: Future) -> str:
    """Return what the worker returned; where none came back (killed, no such package, ...), say why."""
    try:
        return future.result()
    except UserError as error:
        return str(error).rstrip(".")
    except Exception as error:  # whatever was raised on another machine arrives here, classes of any package
        return f"{type(error).__name__}: {error}".rstrip(".")


def _train(path: str, chain: list[tuple[str, int, int]]) -> str:
    """Run on a worker machine: one fresh process an execution; return "" or what the first that failed ended with."""
    for system, repeat, fold in chain:
        execution = RunFolder.open(path).execution(system, repeat, fold)
        execution.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "covid_keras.training.worker", path, system, str(repeat), str(fold)]
        with open(execution.folder / "log.txt", "a", encoding="utf-8") as log:
            code = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=log, check=False).returncode
        if code:
            return f"{execution.name} ended with status {code}"
    return ""


def _require_done(executions: list[Execution]) -> None:
    for execution in executions:
        if not execution.done:
            raise UserError(
                execution.folder,
                "has no predictions although its training ended well",
                "Do the workers write to the same run folder",
            )
