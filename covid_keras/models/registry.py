"""The registry of weight files: where each comes from, what it fits, and the hash that proves it."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from covid_keras.common.errors import UserError
from covid_keras.common.files import cache_folder
from covid_keras.common.settings import build, read_yaml

if TYPE_CHECKING:
    from covid_keras.data.preparation import Preparation

FOLDER = Path(__file__).resolve().parents[2] / "weights"
REGISTRY = FOLDER / "registry.yaml"
VARIABLE = "COVID_KERAS_WEIGHTS"
# What the grey levels of a prepared image, 0..255, are divided by.
SCALINGS = {"0-1": 255.0, "0-255": 1.0}


def store_folder() -> Path:
    """Return the user's folder of weight files that do not ship: COVID_KERAS_WEIGHTS, else one in the cache.

    It may be missing still. Its files are called as in the registry.
    """
    return Path(os.environ.get(VARIABLE) or cache_folder() / "weights").expanduser().absolute()


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
        Meaning of the outputs, in order. A file for `covid-keras predict` with one output names two classes: it is the
        probability of the second.
    input_range : str
        What the network takes, in words.
    threshold : float
        Decision threshold, where there is one: of two classes, the probability from which on it is the second.
    preparation : dict
        Settings of `covid_keras.data.Preparation` by which a radiograph becomes the network's input; `size` is that of
        `input_shape` where not given. Entries that have it can be used by `covid-keras predict`.
    scaling : str
        Range of the network's input, "0-1" or "0-255".
    limits : str
        What the network cannot tell, in a sentence or two; `covid-keras predict` says it each time.
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
    preparation: dict[str, Any] = field(default_factory=dict)
    scaling: Literal["0-1", "0-255"] = "0-1"
    limits: str = ""
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
        """Return self where the file is there and whole; raise `UserError` if not."""
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

    def input_preparation(self) -> Preparation:
        """Return what is done to a radiograph before this network sees it.

        Raises
        ------
        UserError
            If the entry has none, or one that does not fit its other fields.
        """
        from covid_keras.data.preparation import Preparation

        if not self.preparation:
            raise UserError(self.name, "does not say how its input is prepared", "Add 'preparation' to the registry")
        settings = {"size": self.input_shape[:2]} | self.preparation
        preparation = build(Preparation, settings, REGISTRY, f"{self.name}.preparation")
        channels = self.input_shape[2]
        for fits, problem in (
            (preparation.size == self.input_shape[:2], "preparation.size and input_shape differ"),
            (preparation.channels in (1, channels), f"prepares {preparation.channels} channels for {channels}"),
            (len(self.classes) > 1, "names fewer than two classes"),
            (bool(self.builder), "names no builder"),
        ):
            if not fits:
                raise UserError(REGISTRY, f"{self.name}: {problem}", "Correct the entry")
        return preparation

    @property
    def how_to_get(self) -> str:
        """What a user without the file is to do."""
        if self.ships:
            return f"Download it again from {self.origin}"
        download = f"Run covid-keras weights download {self.name}, or fetch" if self.url else "Fetch"
        return f"{download} it from {self.url or self.origin}, then: covid-keras weights add FILE"


def digest_of(path: str | Path, algorithm: str) -> str:
    """Return the hexadecimal digest of a file's bytes; raise `UserError` if it cannot be read."""
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
        If the file is missing or broken, or an entry lacks or misspells a field, has a value of another type, or
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
        If `name` is not registered, or its file is missing or altered.
    """
    return get_entry(name).verified()


def get_entry(name: str) -> WeightEntry:
    """Return the entry of a registered name, whether its file is here or not; raise `UserError` for other names."""
    registry = load_registry()
    if name not in registry:
        raise UserError(name, "is not a registered weight file", f"Registered: {', '.join(registry)}")
    return registry[name]


def predictive_models() -> tuple[str, ...]:
    """Return the names of the entries for `covid-keras predict`: those that say how their input is prepared."""
    return tuple(name for name, entry in load_registry().items() if entry.preparation)


def find_model(name: str, weights: str | Path | None = None) -> WeightEntry:
    """Return the entry of a model that predicts, its file verified.

    Parameters
    ----------
    name : str
        One of `predictive_models`.
    weights : str or Path, optional
        A user's own file of the same network, in place of the registered one, which then is not needed.

    Raises
    ------
    UserError
        For another name, and where the file is missing or, of the registered one, altered. Whether a user's file
        fits is seen when it is loaded.
    """
    known = predictive_models()
    if name not in known:
        problem = "is registered, but does not predict" if name in load_registry() else "is not a registered model"
        raise UserError(f"--model {name}", problem, f"Known: {', '.join(known) or 'none yet'}")
    entry = get_entry(name)
    return entry.verified() if weights is None else with_file(entry, weights)


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
