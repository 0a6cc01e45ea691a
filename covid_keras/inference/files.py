"""What is asked of the files that a user gives, before any is worked on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from covid_keras.common.errors import UserError
from covid_keras.data.sniff import DICOM, sniff


def require_different_stems(images: Sequence[Path], outputs: str, verb: str) -> None:
    """Raise `UserError` where two images have one stem, so that their `outputs` would overwrite each other."""
    stems = [path.stem for path in images]
    if repeated := next((stem for stem in stems if stems.count(stem) > 1), None):
        problem = f"is the name of two images, whose {outputs} would overwrite each other"
        raise UserError(repeated, problem, f"{verb} them into two folders")


def has_dicom_header(path: Path) -> bool:
    """Return whether a file is DICOM, by its content."""
    return sniff(path) == DICOM
