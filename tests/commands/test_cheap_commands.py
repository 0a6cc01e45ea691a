"""What must answer at once imports no TensorFlow, and `--help` and bad arguments not even pandas."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import papers

COMMANDS = (
    *(
        "reproduce",
        "report",
        "publish",
        "results",
        "segment",
        "predict",
        "evaluate",
        "ensemble",
        "audit",
        "claims",
        "check-split",
    ),
    *("lr-range", "data", "weights", "papers", "train-lungs"),
)
ROOT = Path(papers.__file__).parents[1]
EXAMPLE = str(ROOT / "papers" / "example_audit.yaml")
HEAVY = ("tensorflow", "keras", "torch", "matplotlib.pyplot")
# In this order, in one process: each with what may not be imported by then. A command is a list, a module a string.
CHEAP = (
    (
        ("pandas", "sklearn", "cv2", "matplotlib", *HEAVY),
        [
            "covid_keras",
            *([*name, "--help"] for name in ([], *([name] for name in COMMANDS), ["data", "list"], ["weights", "add"])),
            *([], ["repoduce"], ["reproduce"], ["predict"], ["audit", "--fast"]),
            *(["reproduce", "tabik", *bad] for bad in (["--shard", "9/4"], ["--strategy", "x"], ["--precision", "x"])),
            ["weights", "list"],
        ],
    ),
    (("skimage", "matplotlib", *HEAVY), ["covid_keras.preprocessing"]),
    (("matplotlib", *HEAVY), [["papers"]]),  # loads every paper
    (
        HEAVY,
        [
            *(f"covid_keras.data.{name}" for name in ("sources", "prepared_images")),
            *(f"covid_keras.explain.{name}" for name in ("shares", "text", "where")),
            *("covid_keras.evaluation", "covid_keras.reporting.figures"),
            *(["data", "list"], ["data", "check"], ["audit", EXAMPLE], ["audit", "none.yaml"]),
            *("covid_keras.reporting.publish", ["results"]),
            *(["predict", "none.png"], ["predict", "none.png", "--model", "tyni"], ["reproduce", "tabic"]),
            *(["evaluate", "none.csv"], ["ensemble", "nowhere"], ["weights", "check"], ["weights", "add", "w.h5"]),
            ["weights", "convert", "w.h5", "o.h5", "--like", "lungs_unet16"],
        ],
    ),
)


@pytest.mark.slow
def test_what_is_cheap_imports_nothing_heavy(tmp_path):
    command = [sys.executable, "-m", "tests.helpers.cheap_imports", json.dumps(CHEAP)]
    found = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=found, check=False)
    assert done.returncode == 0, done.stderr.splitlines()[-1]
