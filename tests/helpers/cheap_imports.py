"""Run commands and import modules in one process, and say which of them import what they may not.

Run as `python -m tests.helpers.cheap_imports JSON`, a list of (forbidden modules, items): a command is a list, a module
a string. It imports nothing heavy itself.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
from pathlib import Path

from covid_keras.commands.main import main


def check(groups: list[tuple[list[str], list[str | list[str]]]]) -> str | None:
    """Return the first item after which a forbidden module is loaded; None where there is none."""
    module = None
    for forbidden, items in groups:
        for item in items:
            with contextlib.suppress(SystemExit):
                module = importlib.import_module(item) if isinstance(item, str) else main(item)
            if hasattr(module, "OVERVIEW"):
                module.ROOT = Path()  # no page of this checkout is written
            if loaded := [name for name in forbidden if name in sys.modules]:
                return f"{item} imports {loaded}"
    return None


if __name__ == "__main__":
    sys.exit(check(json.loads(sys.argv[1])))
