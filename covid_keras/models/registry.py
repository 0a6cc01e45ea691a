"""The registry of weight files: where each comes from, what it fits, and the hash that proves it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from covid_keras.errors import UserError
from covid_keras.files import sha256_of
from covid_keras.settings import build, read_yaml

FOLDER = Path(__file__).resolve().parents[2] / "weights"
REGISTRY = FOLDER / "registry.yaml"


@dataclass(frozen=True)
class WeightEntry:
    """One row of `weights/registry.yaml`.

    Attributes
    ----------
    name, file : str
        Name of the entry; file name (below `weights/` where the file ships).
    title, origin, licence, card : str
        What it is, where it comes from (repository: path), its licence, the card that describes it.
    sha256 : str
        Of the file's bytes.
    bytes : int
        Size of the file.
    ships : bool
        Whether the file is part of this repository; where not, the user fetches it from `origin`.
    builder : str
        Name of the builder in `covid_keras.models`; "" where the suite builds it later.
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
    sha256: str
    bytes: int
    ships: bool
    input_shape: tuple[int, int, int]
    input_range: str
    classes: tuple[str, ...]
    builder: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    threshold: float = 0.5
    card: str = ""
    measured: dict[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """Where the file lies, or would lie."""
        return Path(self.file) if Path(self.file).is_absolute() else FOLDER / self.file

    def verified(self) -> WeightEntry:
        """Return self where the file is there and whole; raise `UserError` where not."""
        if not self.path.is_file():
            raise UserError(self.path, "the weight file is missing", f"Fetch it from {self.origin}")
        found = sha256_of(self.path)
        if found != self.sha256:
            raise UserError(
                self.path,
                f"is not the registered file (sha256 {found[:12]}..., not {self.sha256[:12]}...)",
                f"Fetch it again from {self.origin}",
            )
        return self


@lru_cache(maxsize=4)
def load_registry(path: Path = REGISTRY) -> dict[str, WeightEntry]:
    """Read the registry.

    Raises
    ------
    UserError
        Where the file is missing or broken, or an entry lacks or misspells a field, or has a value of another type.
    """
    entries = {}
    for name, row in read_yaml(path).items():
        named = row | {"name": str(name)} if isinstance(row, dict) else row
        entries[str(name)] = build(WeightEntry, named, path, str(name))
    return entries


def find_weights(name: str) -> WeightEntry:
    """Return the entry of a registered name, its file verified by sha256.

    Raises
    ------
    UserError
        Where `name` is not registered, or its file is missing or altered.
    """
    registry = load_registry()
    if name not in registry:
        raise UserError(name, "is no registered weight file", f"Registered: {', '.join(registry)}")
    return registry[name].verified()


def with_file(entry: WeightEntry, path: str | Path) -> WeightEntry:
    """Return `entry` with a user's own file in place of the registered one; its measurements are dropped."""
    path = Path(path).resolve()
    return dataclasses.replace(
        entry,
        name=path.stem,
        file=str(path),
        sha256=sha256_of(path),
        origin=str(path),
        bytes=path.stat().st_size,
        ships=False,
        measured={},
    )
