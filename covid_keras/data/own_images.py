"""Images of one's own: those below a folder, and which of them a table's cells mean."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.common.tables import name_key
from covid_keras.data.cohort import Cohort
from covid_keras.data.sniff import is_radiograph
from covid_keras.data.sources.listed import stem_key

UNLABELLED = "unlabelled"


def find_images(folder: str | Path) -> list[Path]:
    """Return the images in a folder and its subfolders, sorted; hidden files and folders are left out.

    Files with an image's suffix, and others whose content is a radiograph's. Raises `UserError` if the folder is
    missing or has no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(folder, "is not a folder" if folder.exists() else "there is no such folder", "Check the path")
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not _is_hidden(path.relative_to(folder))]
    found = [path for path in files if is_radiograph(path)]
    if not found:
        raise UserError(folder, "holds no image, nor do its subfolders", "Name the folder of the images")
    return found


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def folders_cohort(folders: Sequence[str | Path]) -> Cohort:
    """Return the images below folders as a cohort, each of a patient of its own, since none is known.

    `source` is the folder as it was given, the image's id its path from there. Of folders that hold one another, an
    image is of the first. Raises `UserError` as for `find_images`.
    """
    rows: dict[Path, dict[str, str]] = {}
    for folder in folders:
        for path in find_images(folder):
            name = f"{folder}/{path.relative_to(folder).as_posix()}"
            rows.setdefault(path.resolve(), {"image_id": name, "patient_id": name, "source": str(folder)})
    table = pd.DataFrame([{"path": str(path)} | row for path, row in rows.items()])
    return Cohort(table.assign(label=UNLABELLED), (UNLABELLED,), " and ".join(map(str, folders)))


def locate_images(names: Iterable[str], files: Iterable[Path]) -> dict[str, Path]:
    """Return the file that each name means; those that mean none are left out.

    A name may be that of a file, with folders before it or without, in other letters or blanks, and with another suffix
    or none. Of several files the one counts that has most of the name's folders; of several names that mean one file
    the one that says it most fully.

    Raises `UserError` if several files fit a name equally well.
    """
    by_name: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        for key in {name_key(path.name), stem_key(path.name)}:
            by_name[key].append(path)
    best: dict[Path, tuple[int, str]] = {}
    for name in dict.fromkeys(names):
        parts = name.replace("\\", "/").split("/")
        candidates = by_name.get(name_key(parts[-1])) or by_name.get(stem_key(parts[-1])) or []
        shared = [_shared_folders(parts[:-1], path) for path in candidates]
        fitting = [path for path, folders in zip(candidates, shared, strict=True) if folders == max(shared)]
        if len(fitting) > 1:
            raise UserError(name, f"may be {fitting[0]} or {fitting[1]}", "Write the folder before the file's name")
        for path in fitting:
            best[path] = max(best.get(path, (-1, "")), (max(shared), name), key=lambda one: one[0])
    return {name: path for path, (_, name) in best.items()}


def _shared_folders(parts: Sequence[str], path: Path) -> int:
    """Return how many folders before a file's name are the same, counted from the file."""
    number = 0
    for one, other in zip(reversed(parts), reversed(path.parts[:-1]), strict=False):
        if name_key(one) != name_key(other):
            break
        number += 1
    return number
