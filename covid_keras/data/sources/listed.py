"""What collections with a list of their files share: which file a name means, and how many may be missing."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from pathlib import Path, PurePosixPath

from covid_keras.common.errors import UserError
from covid_keras.common.tables import name_key, whole_number
from covid_keras.data.sniff import IMAGE_SUFFIXES
from covid_keras.data.sources.base import warn_lost

# Copies in use lack a few files; more than this share means that unpacking stopped.
MAX_MISSING = 0.1


def stem_key(name: str) -> str:
    """Return `name_key` of a file's name without an image's suffix: of `im03` and of `IM03.jpg` the same."""
    key = whole_number(name_key(name))
    return key.removesuffix(suffix) if (suffix := PurePosixPath(key).suffix) in IMAGE_SUFFIXES else key


def _bare_key(name: str) -> str:
    return stem_key(name.replace("\\", "/").rpartition("/")[2])


def match_names(names: Iterable[str], there: Iterable[str], listing: Path) -> dict[str, str]:
    """Return which of the names that are there each listed name means; those that mean none are left out.

    The very name counts first, then one that differs in case, blanks or dashes only, then one that differs in the
    suffix too, such as `im03` and `im03.jpg`, then one without the folders that are listed with it. A name that is
    listed as it is belongs to nobody else.

    Raises
    ------
    UserError
        If a listed name may mean several, or two listed names mean the same.
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
    """Return the name that is there for each listed image that is; warn of those that are not.

    Parameters
    ----------
    names : sequence of str
        The images listed.
    there : iterable of str
        The names of the images that are there.
    place : Path
        The folder of the images, for the messages.
    listing : Path
        What lists them, for the messages.

    Raises
    ------
    UserError
        If more than a tenth are missing; as for `match_names`.
    """
    found = match_names(names, there, listing)
    require_most(names, found, place, listing)
    return found


def require_most(names: Sequence[str], found: Container[str], place: Path, listing: Path) -> None:
    """Warn of the listed images that were not found; raise `UserError` if these are more than a tenth."""
    absent = [name for name in names if name not in found]
    if len(absent) > MAX_MISSING * len(names):
        problem = f"is listed in {listing.name} but missing, as are {len(absent) - 1} of the {len(names)} images listed"
        raise UserError(place / absent[0], problem, "Unpack the images again, or remove these rows")
    warn_lost(listing, "listed images that are not there", absent)
