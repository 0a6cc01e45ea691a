"""A stand-in for the process that trains executions: `python -m tests.helpers.worker FOLDER`."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from covid_keras.common.errors import UserError
from covid_keras.training.worker import Tell, serve


def train(place: tuple[str, int, int], tell: Tell) -> None:
    """Do what the system's name says."""
    name, folder = place[0], Path(sys.argv[1])
    if name == "fails":
        raise UserError("the weights", "are missing", "Give others")
    if name == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "sleeps":
        (folder / name / "pid").write_text(str(os.getpid()))
        time.sleep(60)
    if name == "next" and not (folder / "good" / "done").is_file():
        raise UserError("good", "is not done", "Train it first")
    if name != "idle":
        tell(1, {"loss": 0.5})
        (folder / name / "done").write_text(str(os.getpid()))


if __name__ == "__main__":
    sys.exit(serve(train))
