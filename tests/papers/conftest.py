"""What the tests of several papers share: a whole run of the smoke profile."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pandas as pd
import pytest

from covid_keras.evaluation import read_predictions
from covid_keras.published.cells import PublishedCell
from covid_keras.training.runfolder import RunFolder
from tests.helpers.printed import Printed, printed

# The command as it is, without heat maps.
ONE_PROCESS = """
import functools
import sys
from covid_keras.commands.main import main
from covid_keras.reporting import run as report

report.report_run = functools.partial(report.report_run, heatmaps=False)
"""
COMMAND = "\nsys.exit(main(sys.argv[1:]))\n"


class Smoke(NamedTuple):
    """A finished run, its page, and what the command said."""

    run: RunFolder
    page: str
    said: str

    def frame(self, system: str) -> pd.DataFrame:
        """The predictions of a system's first execution."""
        return read_predictions(self.run.execution(system, 0, 0).predictions)


@pytest.fixture(scope="session")
def reproduce(tmp_path_factory) -> Callable[..., Smoke]:
    """Run `covid-keras reproduce PAPER --profile smoke` with `--set` each setting, after the Python of `before`."""

    def run_paper(paper: str, settings: Sequence[str], before: str = "") -> Smoke:
        folder = tmp_path_factory.mktemp(paper)
        arguments = ["reproduce", paper, "--profile", "smoke", "--out", str(folder / "run")]
        arguments += ["--cache", str(folder / "cache"), *(word for text in settings for word in ("--set", text))]
        code = ONE_PROCESS + before + COMMAND
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        run = RunFolder.open(folder / "run")
        return Smoke(run, (run.path / "report.html").read_text(encoding="utf-8"), done.stdout)

    return run_paper


@pytest.fixture(scope="module")
def theirs(request) -> Printed:
    """The published numbers of the paper that a module is about, called by its `NAME`."""
    return printed(request.module.NAME)


@pytest.fixture
def cells(theirs) -> list[PublishedCell]:
    return theirs.cells


@pytest.fixture
def at(theirs) -> Callable[..., PublishedCell]:
    return theirs.at


@pytest.fixture
def value(theirs) -> Callable[..., float]:
    return theirs.value


@pytest.fixture
def doubt(theirs) -> Callable[..., str]:
    return theirs.doubt
