"""The example paper of CONTRIBUTING.md: small, a package of its own, and it runs."""

from __future__ import annotations

import importlib.metadata
import tomllib
from pathlib import Path

import pytest

from covid_keras.commands.main import main
from covid_keras.evaluation import read_predictions
from covid_keras.training.runfolder import RunFolder

FOLDER = Path(__file__).resolve().parents[1] / "example_paper"


@pytest.fixture
def example(tmp_path, monkeypatch) -> None:
    """The package, installed as its `pyproject.toml` says."""
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = tmp_path / "site" / "example_paper-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [line for group, entries in project["entry-points"].items()
             for line in (f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()))]  # fmt: skip
    (info / "entry_points.txt").write_text("\n".join(lines))
    for path in (info.parent, FOLDER):
        monkeypatch.syspath_prepend(str(path))
    assert importlib.metadata.version("example-paper") == "0.1"


def test_it_is_small():
    files = [path for path in FOLDER.rglob("*") if path.suffix in (".py", ".yaml", ".toml")]
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files) <= 120


@pytest.mark.slow
def test_it_trains_predicts_and_reports(example, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["reproduce", "example", "--out", str(run)]) == 0
    assert str(run / "report.html") in capsys.readouterr().out
    opened = RunFolder.open(run)
    frames = [read_predictions(one.predictions) for one in opened.executions()]
    tested = [image for frame in frames for image in frame.loc[frame["split"] == "test", "image_id"]]
    assert sorted(tested) == sorted(opened.cohort.table["image_id"])
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Two convolutions" in page
    assert "70.0 ± 2.0" in page
