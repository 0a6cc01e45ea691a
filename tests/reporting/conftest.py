"""Finished runs of a paper of a few lines."""

from __future__ import annotations

import pytest

from covid_keras.training.runfolder import RunFolder
from tests.helpers.made_runs import MadePaper


@pytest.fixture
def made(tmp_path, monkeypatch) -> MadePaper:
    """The paper, registered."""
    return MadePaper(tmp_path, monkeypatch)


@pytest.fixture
def finished(made) -> RunFolder:
    """A run of the systems A and B on two folds, all done."""
    return made.finished(systems=["a", "b"])
