"""Lazy exports: names of a package whose modules are imported on first use."""

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
    """Return `__getattr__`, `__dir__` and `__all__` (PEP 562) of a package with lazy exports.

    Parameters
    ----------
    package : str
        The package's `__name__`, for error messages.
    exports : dict
        Maps each public name to the module that defines it.
    """

    def get(name: str) -> Any:
        if name not in exports:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = exports[name]
        # Some of these modules import TensorFlow.
        with nullcontext() if module in sys.modules else quiet_import():
            return getattr(importlib.import_module(module), name)

    return get, lambda: sorted(exports), sorted(exports)
