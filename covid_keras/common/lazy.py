"""Names that a package exports without importing the module behind them until they are used."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from covid_keras.common.quiet import quiet_import


def lazy_exports(
    package: str, exports: dict[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return the `__getattr__`, `__dir__` and `__all__` (PEP 562) of a package whose names live in modules.

    Parameters
    ----------
    package : str
        The package's `__name__`, for the message of a missing name.
    exports : dict
        Public name to the module that defines it.
    """

    def get(name: str) -> Any:
        if name not in exports:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = exports[name]
        # Some of these modules import TensorFlow.
        with nullcontext() if module in sys.modules else quiet_import():
            return getattr(importlib.import_module(module), name)

    return get, lambda: sorted(exports), sorted(exports)
