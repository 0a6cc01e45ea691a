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
    """Return `given`; raise `UserError` naming the option and the allowed values if it is not allowed."""
    allowed = tuple(allowed)
    if given not in allowed:
        raise UserError(f"{option} {given}", "is not allowed", f"Choose from {', '.join(allowed)}")
    return given


def require_devices(strategy: str) -> None:
    """Raise `UserError` if this machine lacks the strategy's devices.

    They are looked up in a separate process, which does not occupy them or import TensorFlow here.
    """
    if strategy in ("auto", "one"):
        return
    command = [sys.executable, "-m", "covid_keras.training.devices", strategy]
    found = subprocess.run(command, capture_output=True, text=True)
    if found.returncode:
        said = found.stdout.splitlines()[-1:]
        error = json.loads(said[0]) if said else ("--strategy", "cannot be checked", found.stderr[-500:])
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
