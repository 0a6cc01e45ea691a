"""Runs that are killed or damaged: the same bytes in the end, or one line that says how to go on."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.timeout(1800)  # a minute or two on an idle machine
def test_killed_runs_end_in_the_same_bytes_and_no_damaged_byte_is_used(make_run, tmp_path):
    """Counts kinds of damage by files: each was noticed, or harmless."""
    pytest.importorskip("distributed", reason="needs covid-keras[cluster]")
    small = {"training": {"epochs": 3}}
    run, other = make_run("run", **small), make_run("other", split={"folds": 3}, **small)
    command = [sys.executable, "-m", "tests.helpers.campaign", str(run.path), str(other.path), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    print(found["counts"])
    assert not found["failures"], json.dumps(found["failures"], indent=1)
    for what in ("killed", "jobs killed", "dask killed"):
        assert found["counts"].get(what), what
    for what in ("interrupted", "finished"):
        assert found["counts"][f"{what}: noticed"] > 10, what
