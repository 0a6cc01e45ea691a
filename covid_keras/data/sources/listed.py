"""Match the names in a collection's file list to files, and limit the number of missing files."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from pathlib import Path, PurePosixPath

from covid_keras.common.errors import UserError
from covid_keras.common.tables import name_key, whole_number
from covid_keras.data.sniff import IMAGE_SUFFIXES
from covid_keras.data.sources.base import warn_lost

# Common copies lack a few files; a larger fraction indicates incomplete unpacking.
MAX_MISSING = 0.1


def stem_key(name: str) -> str:
    """Return `name_key` without image suffix: the same for `im03` and `IM03.jpg`."""
    key = whole_number(name_key(name))
    return key.removesuffix(suffix) if (suffix := PurePosixPath(key).suffix) in IMAGE_SUFFIXES else key


def _bare_key(name: str) -> str:
    return stem_key(name.replace("\\", "/").rpartition("/")[2])


def match_names(names: Iterable[str], there: Iterable[str], listing: Path) -> dict[str, str]:
    """Match listed names to existing names; names without a match are left out.

    Exact matches come first, then matches that ignore case, blanks and dashes, then also the suffix (`im03` and
    `im03.jpg`), then also the folders. An exact match is not available to other names.

    Raises
    ------
    UserError
        If a match is ambiguous, or two listed names match the same file.
    """
    names, there = list(dict.fromkeys(names)), set(there)
    found = {name: name for name in names if name in there}
    for key, key_there in ((name_key, name_key), (stem_key, stem_key), (_bare_key, stem_key)):
        free: dict[str, list[str]] = {}
        for one in sorted(there.difference(found.values())):
            free.setdefault(key_there(one), []).append(one)
        taken: dict[str, str] = {}
        for name in names:
            if name in found or key(name) not in free:
                continue
            if len(free[key(name)]) > 1:
                problem = f"'{name}' may be {' or '.join(map(repr, free[key(name)]))}"
                raise UserError(listing, problem, "Write the file's whole name")
            if other := taken.get(key(name)):
                problem = f"'{other}' and '{name}' are the same file, {free[key(name)][0]}"
                raise UserError(listing, problem, "Keep one of the two rows")
            taken[key(name)] = name
        found |= {name: free[shared][0] for shared, name in taken.items()}
    return found


def present(names: Sequence[str], there: Iterable[str], place: Path, listing: Path) -> dict[str, str]:
    """Match listed images to existing names; warn of missing images.

    Parameters
    ----------
    names : sequence of str
        Listed images.
    there : iterable of str
        Names of existing images.
    place : Path
        Image folder, for messages.
    listing : Path
        File list, for messages.

    Raises
    ------
    UserError
        If more than a tenth are missing; also as `match_names`.
    """
    found = match_names(names, there, listing)
    require_most(names, found, place, listing)
    return found


def require_most(names: Sequence[str], found: Container[str], place: Path, listing: Path) -> None:
    """Warn of missing listed images; raise `UserError` if they are more than a tenth."""
    absent = [name for name in names if name not in found]
    if len(absent) > MAX_MISSING * len(names):
        problem = f"is listed in {listing.name} but missing, as are {len(absent) - 1} of the {len(names)} images listed"
        raise UserError(place / absent[0], problem, "Unpack the images again, or remove these rows")
    warn_lost(listing, "missing listed images", absent)
