"""Kills trainings and damages files of a made paper's run: `python -m tests.helpers.campaign RUN OTHER FOLDER`.

TensorFlow is imported once; each training is a fork of this process, which has computed nothing before.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import re
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from covid_keras.common.quiet import import_tensorflow

import_tensorflow()

from covid_keras.common.errors import UserError  # noqa: E402
from covid_keras.common.files import read_record, write_json  # noqa: E402
from covid_keras.reporting.results import Results, results_json  # noqa: E402
from covid_keras.training import resume  # noqa: E402
from covid_keras.training.runfolder import RunFolder  # noqa: E402
from covid_keras.training.schedulers import ImageBar, Processes, Scheduler, run_executions  # noqa: E402

RUNS, KILLS = 4, 3
REMEDY = re.compile(r"--restart \S+|Restore it|Choose another --out|Give the same|Delete")
FINAL = ("predictions.csv", "history.csv", "best.weights.h5")
KINDS = ("flipped", "flipped again", "cut", "emptied", "deleted", "another's")


class Campaign:
    """Kills and damages copies of a run that is not begun; `other` is a run with other settings."""

    def __init__(self, run: Path, other: Path, folder: Path) -> None:
        self.template, self.other, self.folder = RunFolder.open(run), other, folder
        self.random, self.counts, self.failures = random.Random(7), Counter(), []
        resume.WRITE_SHARE = 0.0  # a state after each epoch
        self.whole, self.interrupted = self.begin("whole"), self.begin("interrupted")
        started = time.monotonic()
        assert self.attempt(self.train(self.whole)) == (0, "")
        self.seconds = time.monotonic() - started
        self.attempt(self.train(self.interrupted, dies=(1, 2)))
        self.earlier = self.begin("earlier")
        self.attempt(self.train(self.earlier, dies=(0, 2)))
        self.expected = self.results(self.whole)

    # ------------------------------------------------------------------------------------------------ trainings

    def begin(self, name: str) -> Path:
        """Return a new run as `reproduce` makes it, with a cache of its own."""
        path = self.folder / name
        self.open(path).write_facts({"duplicate_pairs": 0, "lungs": {}, "whole_image_crops": {}})
        return path

    def open(self, path: Path) -> RunFolder:
        """Make or continue a run as `reproduce` does, from data and protocol."""
        one = self.template
        settings = dict(one.settings) | {"cache": str(path / "cache")}
        no_pairs = one.splits.iloc[:0].rename(columns={"image_id": "image_id_a", "split": "image_id_b"})
        return RunFolder.create(path, one.protocol, one.cohort, lambda: ({"": one.splits}, no_pairs), settings)

    def train(
        self, path: Path, shard: tuple[int, int] = (1, 1), scheduler: Scheduler | None = None, dies: tuple = ()
    ) -> Callable[[], Any]:
        """Return what a child does: continue the run; with `dies`, until the end of an epoch of a fold."""

        def work() -> None:
            if dies:
                ImageBar.tell = functools.partialmethod(_dying, ImageBar.tell, dies)
            run_executions(self.open(path), shard, scheduler)

        return work

    def attempt(self, work: Callable[[], Any], killed: Callable[[], Any] | None = None) -> tuple[int, str]:
        """Do something in a fork, killed after `killed` returns; return its status and error."""
        said = self.folder / "said.txt"
        said.write_text("")
        if not (child := os.fork()):
            status = 0
            try:
                work()
            except UserError as error:
                status = said.write_text(str(error)) and 2
            except BaseException:
                status = said.write_text(traceback.format_exc()) and 1
            os._exit(status)
        if killed:
            killed()
            os.kill(child, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said.read_text()

    def results(self, path: Path) -> dict[str, bytes]:
        """Return the files of all executions that a training leaves."""
        files = [file for name in FINAL for file in sorted(path.glob(f"executions/*/*/{name}"))]
        return {str(file.relative_to(path)): file.read_bytes() for file in files}

    # ------------------------------------------------------------------------------------------------ kills

    def kill(self) -> None:
        """Kill runs at random moments, then let them end."""
        for number in range(RUNS):
            path = self.begin(f"killed-{number}")
            for _ in range(KILLS):
                moment = self.random.uniform(0.02, 0.8) * self.seconds
                status, _ = self.attempt(self.train(path), killed=functools.partial(time.sleep, moment))
                self.counts["killed" if status < 0 else "ended before the kill"] += 1
            self.finish(path, "killed", [(1, 1)])

    def kill_parallel(self) -> None:
        """Kill a run with two jobs, go on with it on a cluster, kill that too, and let two shards end it."""
        path = self.begin("parallel")
        for name, work in (("jobs", self.train(path, scheduler=Processes(2))), ("dask", lambda: self.on_dask(path))):
            status, said = self.attempt(work, killed=functools.partial(self.wait_for_state, path))
            self.counts[f"{name} killed" if status < 0 else f"{name} ended"] += 1
            if status > 0:
                self.failures.append([name, "", said])
            time.sleep(1)  # until the kernel has ended the children
        self.finish(path, "parallel", [(1, 2), (2, 2)])

    def on_dask(self, path: Path) -> None:
        """Continue a run on a cluster in this process."""
        from distributed import LocalCluster

        from covid_keras.training.cluster import Dask

        with LocalCluster(2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
            self.train(path, scheduler=Dask(cluster.scheduler_address))()

    def wait_for_state(self, path: Path) -> None:
        """Wait until a training has written a state since now, and then a random moment."""
        begun, deadline = time.time(), time.monotonic() + 120
        while time.monotonic() < deadline:
            if any(state.stat().st_mtime > begun for state in path.glob("executions/*/*/*.npz")):
                break
            time.sleep(0.01)
        time.sleep(self.random.uniform(0, 0.2) * self.seconds)

    def finish(self, path: Path, what: str, shards: list[tuple[int, int]]) -> None:
        """Let a run end, and compare it with the undisturbed one."""
        said = [self.attempt(self.train(path, shard)) for shard in shards]
        if any(status for status, _ in said) or self.results(path) != self.expected:
            self.failures.append([path.name, what, said])

    # ------------------------------------------------------------------------------------------------ damage

    def damage_interrupted(self) -> None:
        """Damage each file of an interrupted run, go on with it, and read it as the report does that follows."""
        for file in files_of(self.interrupted):
            for kind in KINDS:
                path = self.folder / "damaged"
                shutil.rmtree(path, ignore_errors=True)
                shutil.copytree(self.interrupted, path)
                if self.damage(path / file, self.interrupted / file, kind):
                    status, said = self.attempt(lambda path=path: (self.train(path)(), self.read(path)))
                    same = status == 0 and self.results(path) == self.expected
                    self.note("interrupted", file, kind, said if status == 2 else "", same, (status, said))

    def damage_finished(self) -> None:
        """Damage each file of a finished run, and read it as a report does."""
        before = self.read(self.whole)
        for file in files_of(self.whole):
            path, kept = self.whole / file, (self.whole / file).read_bytes()
            kinds = [*KINDS, *(read_record(path, ()) if path.suffix == ".json" else ())]
            for kind in kinds:
                if self.damage(path, path, kind):
                    with contextlib.suppress(OSError):
                        self.judge_reading(file, kind, before)
                path.write_bytes(kept)

    def judge_reading(self, file: Path, kind: str, before: dict[str, Any]) -> None:
        """Read the damaged run."""
        try:
            found = self.read(self.whole)
        except UserError as error:
            self.note("finished", file, kind, str(error), False, str(error))
        except Exception:
            self.note("finished", file, kind, "", False, traceback.format_exc())
        else:
            said = "INCOMPLETE, Restore it" if not found["complete"] else ""
            self.note("finished", file, kind, said, found == before, "used in silence")

    def read(self, path: Path) -> dict[str, Any]:
        """Return all that reports make of a finished run, except the time."""
        results = Results.of(RunFolder.open(path))
        numbers = results_json(results)
        del numbers["provenance"]["written"]
        executions = results.run.executions()
        histories = [one.history.to_csv() for one in executions if one.done]
        weights = [[value.tolist() for value in one.network.get_weights()] for one in executions if one.done]
        return {"complete": results.complete, "all": json.dumps([numbers, histories, weights])}

    def damage(self, path: Path, intact: Path, kind: str) -> bool:
        """Damage a file; return whether it differs from the intact one."""
        before = data = path.read_bytes()
        if kind == "deleted":
            path.unlink()
            return True
        if kind.startswith("flipped"):
            place = self.random.randrange(len(data)) if data else 0
            data = (
                data[:place] + bytes([data[place] ^ 1 << self.random.randrange(8)]) + data[place + 1 :] if data else b""
            )
        elif kind in ("cut", "emptied"):
            data = data[: self.random.randrange(len(data)) if kind == "cut" and data else 0]
        elif kind == "another's":
            data = self.anothers(intact).read_bytes()
        else:
            write_json(path, json.loads(data) | {kind: "text" if isinstance(json.loads(data)[kind], list) else []})
            return True
        path.write_bytes(data)
        return data != before

    def anothers(self, path: Path) -> Path:
        """Return the same file of another execution, image or run."""
        if path.parent.name.startswith("repeat"):
            fold = "repeat0-fold0" if path.parent.name == "repeat0-fold1" else "repeat0-fold1"
            run = self.earlier if path.name == "state.npz" else self.whole
            return run / "executions" / path.parent.parent.name / fold / path.name
        own = self.other / path.name
        return own if own.is_file() else path

    def note(self, what: str, file: Path, kind: str, said: str, harmless: bool, seen: Any) -> None:
        """Count a damaged file: noticed in one line with a remedy, harmless, or a failure."""
        if harmless or (said and "\n" not in said and REMEDY.search(said)):
            self.counts[f"{what}: {'harmless' if harmless else 'noticed'}"] += 1
        else:
            self.failures.append([f"{what} {file}", kind, seen])


def _dying(self: ImageBar, tell: Any, dies: tuple[int, int], execution: Any, epoch: int, values: Any) -> None:
    """In place of `ImageBar.tell`: killed at the end of an epoch of a fold."""
    if (execution.fold, epoch) == dies:
        os.kill(os.getpid(), signal.SIGKILL)
    tell(self, execution, epoch, values)


def files_of(path: Path) -> Iterator[Path]:
    """Yield the files of a run that something reads, of the prepared images the first."""
    files = sorted(file.relative_to(path) for file in path.rglob("*") if file.is_file())
    cached = [file for file in files if file.suffix == ".raw"][1:]
    unread = {".lock", "log.txt", "CACHEDIR.TAG", *(file.name for file in cached)}
    return (file for file in files if file.name not in unread)


def main(run: str, other: str, folder: str) -> None:
    """Do it all; print counts and failures as JSON."""
    campaign = Campaign(Path(run), Path(other), Path(folder))
    campaign.kill()
    campaign.kill_parallel()
    campaign.damage_interrupted()
    campaign.damage_finished()
    print(json.dumps({"counts": campaign.counts, "failures": campaign.failures}))


if __name__ == "__main__":
    main(*sys.argv[1:])
