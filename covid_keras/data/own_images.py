"""User images: list a folder, and match table cells to files."""

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
    """Return the images in a folder and its subfolders, sorted, without hidden files and folders.

    Files count by an image suffix or by content. Raises `UserError` if the folder is missing or has no images.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(folder, "is not a folder" if folder.exists() else "does not exist", "Check the path")
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not _is_hidden(path.relative_to(folder))]
    found = [path for path in files if is_radiograph(path)]
    if not found:
        raise UserError(folder, "contains no images, also in subfolders", "Name the image folder")
    return found


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def folders_cohort(folders: Sequence[str | Path]) -> Cohort:
    """Return the images in folders as a cohort, with one patient per image.

    `source` is the folder as given, the image id the path inside it. For nested folders, the first one counts. Raises
    `UserError` as `find_images`.
    """
    rows: dict[Path, dict[str, str]] = {}
    for folder in folders:
        for path in find_images(folder):
            name = f"{folder}/{path.relative_to(folder).as_posix()}"
            rows.setdefault(path.resolve(), {"image_id": name, "patient_id": name, "source": str(folder)})
    table = pd.DataFrame([{"path": str(path)} | row for path, row in rows.items()])
    return Cohort(table.assign(label=UNLABELLED), (UNLABELLED,), " and ".join(map(str, folders)))


def locate_images(names: Iterable[str], files: Iterable[Path]) -> dict[str, Path]:
    """Match names to files; names without a match are left out.

    A name may have leading folders, other case or blanks, and another suffix or none. Of several matching files, the
    one that shares most folders with the name is used. Of several names for one file, the most complete one is used.

    Raises `UserError` if a match is ambiguous.
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
    """Return the number of equal parent folders, counted from the file name."""
    number = 0
    for one, other in zip(reversed(parts), reversed(path.parts[:-1]), strict=False):
        if name_key(one) != name_key(other):
            break
        number += 1
    return number
