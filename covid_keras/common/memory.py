"""Running out of memory, of the machine or of a GPU, as one line with a remedy."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from covid_keras.common.errors import UserError

# What TensorFlow, CUDA and C++ say; a full disk is TensorFlow's "resource exhausted" too.
_SAID = re.compile(r"OOM when|out.of.memory|bad_alloc|ALLOC_FAILED|failed to allocate", re.IGNORECASE)
_TENSOR = re.compile(r"OOM when allocating tensor with shape\[([\d,]*)\].*?device:(\w+:\d+)", re.DOTALL)
TRAIN_LESS = "Lower --jobs, or begin in another --out with --micro-batch N (images at a time) or --precision bf16"
RUN_LESS = "Close other programs, or use the processor instead of a full GPU: CUDA_VISIBLE_DEVICES=-1"


def tells_shortage(text: str) -> bool:
    """Return whether a line of a library's output says that memory ran out."""
    return bool(_SAID.search(text))


def shortage_of(error: BaseException) -> str:
    """Return how memory ran out, in words; "" for an error of another kind.

    >>> shortage_of(MemoryError())
    'ran out of memory'
    """
    if isinstance(error, MemoryError):
        return "ran out of memory"
    # By name: TensorFlow may not be imported. Cuts the operations and the traceback that its message lists.
    kinds = [kind for kind in type(error).__mro__ if kind.__module__.startswith(("tensorflow", "keras"))]
    if not kinds or not tells_shortage(str(error)):
        return ""
    tensor = _TENSOR.search(str(error))
    return "ran out of memory" + (f" for a tensor of {tensor[1]} on {tensor[2]}" if tensor else "")


@contextlib.contextmanager
def naming_shortage(subject: object, remedy: str) -> Iterator[None]:
    """Raise `UserError` with this subject and remedy if memory runs out in the block."""
    try:
        yield
    except Exception as error:
        if not (problem := shortage_of(error)):
            raise
        raise UserError(str(subject), problem, remedy) from error
