"""What the tests of several papers share: a whole run of the smoke profile."""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pandas as pd
import pytest

from covid_keras.commands.main import main
from covid_keras.evaluation import read_predictions
from covid_keras.published.cells import PublishedCell
from covid_keras.reporting import run as report
from covid_keras.training.runfolder import RunFolder
from tests.helpers.printed import Printed, printed


class Smoke(NamedTuple):
    """A finished run, its page, and what the command said."""

    run: RunFolder
    page: str
    said: str

    def frame(self, system: str) -> pd.DataFrame:
        """The predictions of a system's first execution."""
        return read_predictions(self.run.execution(system, 0, 0).predictions)

    def comparison(self) -> pd.DataFrame:
        """Ours beside the paper's; of the phantom nothing is judged."""
        rows = pd.read_csv(self.run.path / "comparison.csv")
        ours = rows[rows["ours"].notna()]
        assert len(ours) > 0
        assert set(ours["grade"].dropna()) == {"stand-in"}
        assert rows["outcome"].isna().all()
        assert ours["ours"].between(0, 100).all()
        return rows


@pytest.fixture(scope="session")
def reproduce(tmp_path_factory) -> Callable[..., Smoke]:
    """Run `covid-keras reproduce PAPER --profile smoke` with `--set` each setting, in this process."""

    def run_paper(paper: str, settings: Sequence[str], heatmaps: bool = False) -> Smoke:
        folder = tmp_path_factory.mktemp(paper)
        arguments = ["reproduce", paper, "--profile", "smoke", "--jobs", "1", "--out", str(folder / "run")]
        arguments += ["--cache", str(folder / "cache"), *(word for text in settings for word in ("--set", text))]
        with contextlib.redirect_stdout(io.StringIO()) as said, pytest.MonkeyPatch.context() as patch:
            patch.setattr(report, "report_run", functools.partial(report.report_run, heatmaps=heatmaps))
            assert main(arguments) == 0
        run = RunFolder.open(folder / "run")
        return Smoke(run, (run.path / "report.html").read_text(encoding="utf-8"), said.getvalue())

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
