"""Values allowed for `--strategy`, `--precision` and `--shard`, checked without heavy imports."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable

from covid_keras.common.errors import UserError

STRATEGIES = ("auto", "one", "mirrored", "tpu")
# Name on the command line -> Keras dtype policy.
PRECISIONS = {"float32": "float32", "bf16": "mixed_bfloat16", "fp16": "mixed_float16"}


def require_choice(option: str, given: str, allowed: Iterable[str]) -> str:
    """Return `given` where it is allowed.

    Raises
    ------
    UserError
        Naming the option, e.g. "--precision int8", and what may be chosen.
    """
    allowed = tuple(allowed)
    if given not in allowed:
        raise UserError(f"{option} {given}", "is unknown", f"Choose one of {', '.join(allowed)}")
    return given


def require_devices(strategy: str) -> None:
    """Refuse a strategy whose devices this machine lacks, before any work.

    A process of its own looks for them: they are not taken from those that train, nor is TensorFlow imported here.

    Raises
    ------
    UserError
        As `covid_keras.training.devices.resolve_strategy`.
    """
    if strategy in ("auto", "one"):
        return
    command = [sys.executable, "-m", "covid_keras.training.devices", strategy]
    found = subprocess.run(command, capture_output=True, text=True)
    if found.returncode:
        said = found.stdout.splitlines()[-1:]
        error = json.loads(said[0]) if said else ("--strategy", "cannot be looked into", found.stderr[-500:])
        raise UserError(*error)


def parse_shard(text: str) -> tuple[int, int]:
    """Read "i/n" (1-based); raise `UserError` if it is anything else."""
    try:
        i, n = (int(part) for part in text.split("/"))
    except ValueError:
        i = n = 0
    if not 1 <= i <= n:
        raise UserError(f"--shard {text}", "must be i/n with 1 <= i <= n", "For the second of four machines write 2/4")
    return i, n
