"""TensorFlow's start-up log: silent in a user's own program, whose settings stay as they were."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from covid_keras.common.quiet import quiet_import

PROGRAM = """
import os
from covid_keras.models import build_base_cnn
model = build_base_cnn((128, 128, 3))
assert "TF_CPP_MIN_LOG_LEVEL" not in os.environ
import sys
assert "tensorflow" in sys.modules
"""


@pytest.mark.slow
def test_library_use_is_silent_and_changes_no_setting():
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_not_tensorflows_is_shown(capfd, monkeypatch):
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    with quiet_import():
        os.write(2, b"a warning of another library\n")
    assert capfd.readouterr().err == "a warning of another library\n"

    def fail() -> None:
        with quiet_import():
            os.write(2, b"what is missing\n")
            raise ImportError

    with pytest.raises(ImportError):
        fail()
    assert capfd.readouterr().err == "what is missing\n"
    assert "TF_CPP_MIN_LOG_LEVEL" not in os.environ
