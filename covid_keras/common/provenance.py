"""Provenance of results: package versions, Git revision, machine, time."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

PACKAGES = (
    "covid-keras",
    "tensorflow",
    "keras",
    "numpy",
    "scikit-learn",
    "scikit-image",
    "opencv-python-headless",
    "tf-keras-vis",
)


def git_revision(folder: Path | None = None) -> str:
    """Return the Git revision of this checkout, with "+changes" if it has uncommitted changes.

    Returns "unknown" outside a checkout, also for a copy installed inside the repository of another project.
    """
    folder = folder or Path(__file__).resolve().parents[2]
    try:
        if _git(folder, "rev-parse", "--show-prefix"):
            return "unknown"  # below another repository's root
        _git(folder, "ls-files", "--error-unmatch", "setup.cfg", "covid_keras/__init__.py")
        revision = _git(folder, "rev-parse", "--short=12", "HEAD")
        return revision + ("+changes" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return "unknown"


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=20
    )
    return done.stdout.strip()


def now() -> str:
    """Return the current UTC time in ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def machine() -> dict[str, Any]:
    """Describe this machine: platform, processor, cores, memory in GiB."""
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def versions() -> dict[str, str]:
    """Return the versions of the packages that influence results."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def provenance(**more: Any) -> dict[str, Any]:
    """Return versions, revision, machine and time, extended by `more`."""
    return {"written": now(), "revision": git_revision(), "versions": versions(), "machine": machine()} | more
