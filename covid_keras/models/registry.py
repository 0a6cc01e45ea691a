"""The registry of weight files: where each comes from, what it fits, and the hash that proves it."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from covid_keras.errors import UserError
from covid_keras.settings import build, read_yaml

FOLDER = Path(__file__).resolve().parents[2] / "weights"
REGISTRY = FOLDER / "registry.yaml"
VARIABLE = "COVID_KERAS_WEIGHTS"
DEFAULT_STORE = Path("~/.cache/covid_keras/weights")


def store_folder() -> Path:
    """Return the user's folder of weight files that do not ship: COVID_KERAS_WEIGHTS, else one in ~/.cache.

    It may be missing still. Its files are called as in the registry.
    """
    return Path(os.environ.get(VARIABLE) or DEFAULT_STORE).expanduser().absolute()


@dataclass(frozen=True)
class WeightEntry:
    """One row of `weights/registry.yaml`.

    Attributes
    ----------
    name, file : str
        Name of the entry; file name, below `weights/` where the file ships, else in the user's store.
    title, origin, licence, card : str
        What it is, where it comes from (repository: path), its licence, the card that describes it.
    sha256, md5 : str
        Of the file's bytes. One of the two is given; the MD5 for the files of keras.applications, which lists that.
    bytes : int
        Size of the file.
    ships : bool
        Whether the file is part of this repository; where not, the user fetches it from `origin`.
    url : str
        Plain address of the file; "" where there is none.
    builder : str
        Name of the builder in `covid_keras.models`; "" where no network of the suite is that of the whole file.
    input_shape : tuple of int
        Height, width, channels.
    arguments : dict
        Further arguments of the builder.
    classes : tuple of str
        Meaning of the outputs, in order.
    input_range : str
        What the network takes.
    threshold : float
        Decision threshold, where there is one.
    measured : dict
        Numbers measured by us, with their data.
    """

    name: str
    file: str
    title: str
    origin: str
    licence: str
    bytes: int
    ships: bool
    input_shape: tuple[int, int, int]
    input_range: str
    classes: tuple[str, ...]
    sha256: str = ""
    md5: str = ""
    url: str = ""
    builder: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    threshold: float = 0.5
    card: str = ""
    measured: dict[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """Where the file lies: below `weights/`, else in the user's store; where it would lie if it is missing."""
        shipped, stored = FOLDER / self.file, store_folder() / self.file
        if shipped.is_file() or (self.ships and not stored.is_file()):
            return shipped
        return stored  # the file itself, where it is absolute

    @property
    def digest(self) -> tuple[str, str]:
        """Algorithm and hexadecimal digest that prove the file."""
        return ("sha256", self.sha256) if self.sha256 else ("md5", self.md5)

    def is_of(self, path: str | Path) -> bool:
        """Return whether a file, whatever its name, is the registered one."""
        algorithm, digest = self.digest
        return digest_of(path, algorithm) == digest

    def verified(self) -> WeightEntry:
        """Return self where the file is there and whole; raise `UserError` where not."""
        path, (algorithm, digest) = self.path, self.digest
        if not path.is_file():
            raise UserError(path, "the weight file is missing", self.how_to_get)
        found = digest_of(path, algorithm)
        if found != digest:
            raise UserError(
                path,
                f"is not the registered file ({algorithm} {found[:12]}..., not {digest[:12]}...)",
                f"Remove it. {self.how_to_get}",
            )
        return self

    @property
    def how_to_get(self) -> str:
        """What a user without the file is to do."""
        if self.ships:
            return f"Fetch it again from {self.origin}"
        download = f"Run covid-keras weights download {self.name}, or fetch" if self.url else "Fetch"
        return f"{download} it from {self.url or self.origin}, then: covid-keras weights add FILE"


def digest_of(path: str | Path, algorithm: str) -> str:
    """Return the hexadecimal digest of a file's bytes; raise `UserError` where it cannot be read."""
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, algorithm).hexdigest()
    except OSError as error:
        raise UserError(path, f"cannot be read ({error.strerror})", "Check the path") from error


@lru_cache(maxsize=4)
def load_registry(path: Path = REGISTRY) -> dict[str, WeightEntry]:
    """Read the registry.

    Raises
    ------
    UserError
        Where the file is missing or broken, or an entry lacks or misspells a field, has a value of another type, or
        has neither or both of the digests.
    """
    entries = {}
    for name, row in read_yaml(path).items():
        named = row | {"name": str(name)} if isinstance(row, dict) else row
        entries[str(name)] = entry = build(WeightEntry, named, path, str(name))
        if bool(entry.sha256) == bool(entry.md5):
            raise UserError(path, f"{name} must have either sha256 or md5", "Give one of them")
    return entries


def find_weights(name: str) -> WeightEntry:
    """Return the entry of a registered name, its file found (`weights/`, then the user's store) and verified.

    Raises
    ------
    UserError
        Where `name` is not registered, or its file is missing or altered.
    """
    return get_entry(name).verified()


def get_entry(name: str) -> WeightEntry:
    """Return the entry of a registered name, whether its file is here or not; raise `UserError` for other names."""
    registry = load_registry()
    if name not in registry:
        raise UserError(name, "is no registered weight file", f"Registered: {', '.join(registry)}")
    return registry[name]


def with_file(entry: WeightEntry, path: str | Path) -> WeightEntry:
    """Return `entry` with a user's own file in place of the registered one; its measurements are dropped."""
    path = Path(path).resolve()
    return dataclasses.replace(
        entry,
        name=path.stem,
        file=str(path),
        sha256=digest_of(path, "sha256"),
        md5="",
        url="",
        origin=str(path),
        bytes=path.stat().st_size,
        ships=False,
        measured={},
    )
