"""Trains runs of the made papers in one process: `python -m tests.helpers.train WHAT RUN...`."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from covid_keras.common.quiet import import_tensorflow

import_tensorflow()

import tensorflow as tf  # noqa: E402

from covid_keras.training import resume  # noqa: E402
from covid_keras.training.execution import execute  # noqa: E402
from covid_keras.training.runfolder import RunFolder  # noqa: E402


def train_all(*runs: RunFolder) -> None:
    """Train every execution."""
    for run in runs:
        for execution in run.executions():
            execute(execution)


@contextlib.contextmanager
def stopped_before(epoch: str) -> Iterator[None]:
    """Have trainings interrupted before an epoch."""
    os.environ["TINY_STOP"] = epoch
    try:
        yield
    finally:
        del os.environ["TINY_STOP"]


def stop_and_resume(whole: RunFolder, stopped: RunFolder) -> None:
    """Train the first; of the second one training, interrupted and resumed."""
    train_all(whole)
    execution = stopped.execution("sigmoid", 0, 0)
    with stopped_before("2"), contextlib.suppress(KeyboardInterrupt):
        execute(execution)
    if (execution.folder / "state.npz").is_file() and not execution.done:
        print("stopped")
    execute(execution)


def two_devices() -> None:
    """Split the processor into two logical devices."""
    (device,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(device, [tf.config.LogicalDeviceConfiguration()] * 2)


def mirror(*runs: RunFolder) -> None:
    """Train every execution on two devices."""
    for run in runs:
        run.record["settings"]["strategy"] = "mirrored"
    train_all(*runs)


def unfreeze_and_resume(whole: RunFolder, mirrored: RunFolder, *others: RunFolder) -> None:
    """Train the first, the second on two devices; of the others one training each, interrupted and resumed."""
    train_all(whole)
    mirror(mirrored)
    del os.environ["TINY_SAW"]
    for run, epoch, share in zip(others, ("4", "7", "99"), (0.0, 1e9, 0.0), strict=True):
        resume.WRITE_SHARE = share
        execution = run.execution("staged", 0, 0)
        with stopped_before(epoch), torn_states(epoch == "99"), contextlib.suppress(KeyboardInterrupt):
            execute(execution)
        tracker = resume.ResumableTraining(execution.folder, "val_loss", 1)
        print(run.path.name, "stopped in", tracker.stage_reached() if not execution.done else "the end")
        execute(execution)


@contextlib.contextmanager
def torn_states(torn: bool) -> Iterator[None]:
    """Have a training killed once the weights of a stage's first epoch are written and its state is not."""
    write = resume.ResumableTraining._write_state

    def tear(self: resume.ResumableTraining) -> None:
        if self.stage and self.best_epoch == self.stage_start == len(self.history) - 1:
            raise KeyboardInterrupt
        write(self)

    resume.ResumableTraining._write_state = tear if torn else write
    try:
        yield
    finally:
        resume.ResumableTraining._write_state = write


def main(what: str, *paths: str) -> None:
    """Do one of the above with the run folders."""
    if what in ("mirror", "unfreeze_and_resume"):
        two_devices()
    runs: list[RunFolder] = [RunFolder.open(path) for path in paths]
    {"train_all": train_all, "stop_and_resume": stop_and_resume, "mirror": mirror,
     "unfreeze_and_resume": unfreeze_and_resume}[what](*runs)  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
