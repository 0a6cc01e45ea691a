"""Values allowed for `--strategy`, `--precision` and `--shard`, checked without heavy imports."""

from __future__ import annotations

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


def parse_shard(text: str) -> tuple[int, int]:
    """Read "i/n" (1-based); raise `UserError` where it is anything else."""
    try:
        i, n = (int(part) for part in text.split("/"))
    except ValueError:
        i = n = 0
    if not 1 <= i <= n:
        raise UserError(f"--shard {text}", "must be i/n with 1 <= i <= n", "For the second of four machines write 2/4")
    return i, n
