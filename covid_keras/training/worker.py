"""The fresh process that trains one execution: `python -m covid_keras.training.worker RUN SYSTEM REPEAT FOLD`."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
# Beginnings of the lines that the parent reads: how far the training is, and the error that it shows.
PROGRESS, ERROR = "@progress ", "error: "


def worker_command(path: str | Path, system: str, repeat: int, fold: int) -> list[str]:
    """Return the command that trains one execution of the run folder `path`."""
    return [sys.executable, "-m", "covid_keras.training.worker", str(path), system, str(repeat), str(fold)]


def die_with_parent() -> None:
    """Ask the kernel to end this process when the one that started it dies (Linux; elsewhere it goes on alone)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _tell(epoch: int, values: dict[str, float]) -> None:
    rounded = {key: round(value, 4) for key, value in values.items()}
    print(PROGRESS + json.dumps({"epoch": epoch} | rounded), flush=True)


def main(arguments: list[str]) -> int:
    """Train the execution that the arguments name; errors of the user's go to standard error as one line."""
    die_with_parent()
    os.environ["COVID_KERAS_QUIET"] = "1"  # the parent shows the progress
    from covid_keras.common.errors import UserError
    from covid_keras.common.quiet import import_tensorflow

    import_tensorflow()
    from covid_keras.training.execution import execute
    from covid_keras.training.runfolder import RunFolder

    path, system, repeat, fold = arguments
    try:
        run = RunFolder.open(path)
        execute(run.execution(system, int(repeat), int(fold)), _tell)
    except UserError as error:
        sys.stderr.write(f"{ERROR}{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
