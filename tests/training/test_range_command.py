"""`covid-keras lr-range` on the phantom: a table, a plot, one line; nothing is trained."""

from __future__ import annotations

import pandas as pd
import pytest

from covid_keras.commands.main import main

TINY = ["--set", "cohort.covid=12", "--set", "cohort.normal=12", "--set", "cohort.cap=6", "--set", "cohort.outside=2"]


@pytest.mark.slow
def test_a_range_test_writes_its_table_and_plot(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("COVID_KERAS_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    given = ["lr-range", "haghanifar", "base_v2", "--profile", "smoke", "--steps", "20", "--out", str(tmp_path / "out")]
    assert main([*given, *TINY]) == 0
    table = pd.read_csv(tmp_path / "out" / "base_v2.csv")
    assert table["learning_rate"].iloc[0] == pytest.approx(1e-7)
    assert table["learning_rate"].is_monotonic_increasing
    assert len(table) == 20
    assert (tmp_path / "out" / "base_v2.png").read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert "the protocol trains at 0.001" in said
    assert said.rstrip().endswith(f"Output: {tmp_path / 'out'}")
    assert not list((tmp_path / "out").rglob("execution.json"))


def test_what_is_not_trained_has_no_rate(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("COVID_KERAS_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    assert main(["lr-range", "haghanifar", "hierarchical", "--profile", "smoke", "--out", str(tmp_path / "out")]) == 2
    assert "hierarchical: is not trained" in capsys.readouterr().err
