"""A worker process that trains executions named by JSON lines: `python -m covid_keras.training.worker RUN`."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
# Prefixes of the lines that the parent reads: progress, done, error.
PROGRESS, DONE, ERROR = "@progress ", "@done", "error: "

Tell = Callable[[int, dict[str, float]], None]


def worker_command(path: str | Path) -> list[str]:
    """Return the command that trains executions of the run folder `path`."""
    return [sys.executable, "-m", "covid_keras.training.worker", str(path)]


def task_line(system: str, repeat: int, fold: int, log: Path) -> str:
    """Return the line on a worker's standard input that names an execution and its log."""
    return json.dumps({"place": [system, repeat, fold], "log": str(log)}) + "\n"


def die_with_parent() -> None:
    """Ask the kernel to end this process when its parent dies (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def serve(train: Callable[[tuple[str, int, int], Tell], None]) -> int:
    """Train the executions named on standard input, each with its output in its log; return the exit status.

    `train` takes (system, repeat, fold) and the function to call after each epoch. The first error ends it.
    """
    die_with_parent()
    parent = os.fdopen(os.dup(1), "w", encoding="utf-8")

    def say(line: str) -> None:
        print(line, file=parent, flush=True)

    def tell(epoch: int, values: dict[str, float]) -> None:
        say(PROGRESS + json.dumps({"epoch": epoch} | {key: round(value, 4) for key, value in values.items()}))

    for line in sys.stdin:
        task: dict[str, Any] = json.loads(line)
        try:
            log = os.open(task["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            for stream in (1, 2):  # includes output of C libraries
                os.dup2(log, stream)
            os.close(log)
            train(tuple(task["place"]), tell)
            sys.stdout.flush()
        except Exception as error:
            with contextlib.suppress(OSError):  # a full disk takes no log
                print(told(error), file=sys.stderr, flush=True)
            say(f"{ERROR}{last_words_of(error)}")
            return 2
        say(DONE)
    return 0


def last_words_of(error: Exception) -> str:
    """Return an error as one line."""
    from covid_keras.common.errors import UserError

    return " ".join((str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}").split())


def told(error: Exception) -> str:
    """Return an error as in a log: one line for a `UserError`, else the traceback and that line."""
    from covid_keras.common.errors import UserError

    before = "" if isinstance(error, UserError) else "".join(traceback.format_exception(error))
    return f"{before}{ERROR}{last_words_of(error)}"


def main(path: str) -> int:
    """Train executions of a run folder."""
    os.environ["COVID_KERAS_QUIET"] = "1"  # the parent shows the progress

    def train(place: tuple[str, int, int], tell: Tell) -> None:
        from covid_keras.common.quiet import import_tensorflow
        from covid_keras.common.threads import pin_threads
        from covid_keras.training.runfolder import RunFolder

        run = RunFolder.open(path)
        pin_threads(run.threads)
        import_tensorflow()
        from covid_keras.training.devices import fresh_state
        from covid_keras.training.execution import execute

        with fresh_state():
            execute(run.execution(*place), tell)

    return serve(train)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
