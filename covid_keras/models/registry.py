"""The registry of weight files: origin, network, digest."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from covid_keras.common.errors import UserError
from covid_keras.common.files import cache_folder, digest_of, expanded
from covid_keras.common.settings import build, read_yaml

if TYPE_CHECKING:
    from covid_keras.data.preparation import Preparation

FOLDER = Path(__file__).resolve().parents[2] / "weights"
REGISTRY = FOLDER / "registry.yaml"
VARIABLE = "COVID_KERAS_WEIGHTS"
# Divisor of the grey levels 0..255 of a prepared image.
SCALINGS = {"0-1": 255.0, "0-255": 1.0}
# Convention of lung masks -> shipped network: "fields" leaves the heart out, "whole" includes the lung behind it.
LUNG_NETWORKS = {"fields": "lung_fields", "whole": "lungs_unet16"}
DEFAULT_LUNGS = "whole"


def store_folder() -> Path:
    """Return the folder for weight files that do not ship: COVID_KERAS_WEIGHTS, else a folder in the cache.

    It may not exist. Its files have the names of the registry.
    """
    return expanded(os.environ.get(VARIABLE) or cache_folder() / "weights").absolute()


@dataclass(frozen=True)
class WeightEntry:
    """An entry of `weights/registry.yaml`.

    Attributes
    ----------
    name, file : str
        Name of the entry; file name in `weights/` if the file ships, else in the user's store.
    title, origin, licence, card : str
        Description, origin (repository: path), licence, model card.
    sha256, md5 : str
        Digest of the file. Exactly one is given; MD5 for files of keras.applications, which publishes MD5.
    bytes : int
        Size of the file in bytes.
    ships : bool
        Whether the file is part of this repository; otherwise the user downloads it from `origin`.
    url : str
        Download address; "" if there is none.
    builder : str
        Name of the builder in `covid_keras.models`; "" if no network of the suite matches the whole file.
    input_shape : tuple of int
        Height, width, channels.
    arguments : dict
        Further arguments of the builder.
    classes : tuple of str
        Meaning of the outputs, in order. With a single output, two classes: the output is the probability of the
        second.
    input_range : str
        Input of the network, in words.
    threshold : float
        Decision threshold, if any: smallest probability of the second of two classes.
    preparation : dict
        Settings of `covid_keras.data.Preparation` for the input; `size` defaults to that of `input_shape`. Entries with
        this field can be used by `covid-keras predict`.
    scaling : str
        Range of the network's input, "0-1" or "0-255".
    limits : str
        Limitations of the network, in a sentence or two, printed by `covid-keras predict`.
    measured : dict
        Our measurements, with their data.
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
        """Path of the file, in `weights/` or the user's store; it may not exist."""
        shipped, stored = FOLDER / self.file, store_folder() / self.file
        if shipped.is_file() or (self.ships and not stored.is_file()):
            return shipped
        return stored  # an absolute path stays as it is

    @property
    def digest(self) -> tuple[str, str]:
        """Algorithm and hexadecimal digest."""
        return ("sha256", self.sha256) if self.sha256 else ("md5", self.md5)

    def is_of(self, path: str | Path) -> bool:
        """Return whether a file has the registered digest."""
        algorithm, digest = self.digest
        return digest_of(path, algorithm) == digest

    def verified(self) -> WeightEntry:
        """Return self if the file exists and has the registered digest; raise `UserError` otherwise."""
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
        """Return the preparation of radiographs for this network.

        Raises
        ------
        UserError
            If the entry has none, or it contradicts other fields.
        """
        from covid_keras.data.preparation import Preparation

        if not self.preparation:
            raise UserError(self.name, "has no preparation of its input", "Add 'preparation' to the registry")
        settings = {"size": self.input_shape[:2]} | self.preparation
        preparation = build(Preparation, settings, REGISTRY, f"{self.name}.preparation")
        channels = self.input_shape[2]
        for fits, problem in (
            (preparation.size == self.input_shape[:2], "preparation.size and input_shape differ"),
            (
                preparation.channels in (1, channels),
                f"preparation gives {preparation.channels} channels, but the network takes {channels}",
            ),
            (len(self.classes) > 1, "has fewer than two classes"),
            (bool(self.builder), "has no builder"),
        ):
            if not fits:
                raise UserError(REGISTRY, f"{self.name}: {problem}", "Correct the entry")
        return preparation

    @property
    def how_to_get(self) -> str:
        """Instructions for getting the file."""
        if self.ships:
            return f"Download it again from {self.origin}"
        download = f"Run covid-keras weights download {self.name}, or fetch" if self.url else "Fetch"
        return f"{download} it from {self.url or self.origin}, then: covid-keras weights add FILE"


@lru_cache(maxsize=4)
def load_registry(path: Path = REGISTRY) -> dict[str, WeightEntry]:
    """Read the registry.

    Raises
    ------
    UserError
        If the file is missing or invalid, or an entry has a missing or unknown field, a value of the wrong type, or not
        exactly one digest.
    """
    entries = {}
    for name, row in read_yaml(path).items():
        named = row | {"name": str(name)} if isinstance(row, dict) else row
        entries[str(name)] = entry = build(WeightEntry, named, path, str(name))
        if bool(entry.sha256) == bool(entry.md5):
            raise UserError(path, f"{name} must have either sha256 or md5", "Give one of them")
    return entries


def find_weights(name: str) -> WeightEntry:
    """Return the entry of a registered name after verifying its file.

    Raises
    ------
    UserError
        If `name` is not registered, or its file is missing or altered.
    """
    return get_entry(name).verified()


def get_entry(name: str) -> WeightEntry:
    """Return the entry of a registered name without checking its file; raise `UserError` for other names."""
    registry = load_registry()
    if name not in registry:
        raise UserError(name, "is not a registered weight file", f"Registered: {', '.join(registry)}")
    return registry[name]


def predictive_models() -> tuple[str, ...]:
    """Return the names of the entries for `covid-keras predict`, which have a preparation."""
    return tuple(name for name, entry in load_registry().items() if entry.preparation)


def find_model(name: str, weights: str | Path | None = None) -> WeightEntry:
    """Return the entry of a predictive model after verifying its file.

    Parameters
    ----------
    name : str
        One of `predictive_models`.
    weights : str or Path, optional
        Another file for the same network, which replaces the registered one.

    Raises
    ------
    UserError
        If the name is unknown, the file is missing or the registered file altered. Whether a user's file fits is
        checked when it is loaded.
    """
    known = predictive_models()
    if name not in known:
        problem = (
            "is registered, but cannot be used for prediction"
            if name in load_registry()
            else "is not a registered model"
        )
        raise UserError(f"--model {name}", problem, f"Known: {', '.join(known) or 'none yet'}")
    entry = get_entry(name)
    return entry.verified() if weights is None else with_file(entry, weights)


def with_file(entry: WeightEntry, path: str | Path) -> WeightEntry:
    """Return `entry` with a user's file in place of the registered one, without its measurements."""
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
