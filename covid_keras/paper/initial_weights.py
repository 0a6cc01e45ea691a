"""Find weight files, and validate user-supplied initial weights before any network is built."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from covid_keras.common.errors import UserError
from covid_keras.models.fetching import find_cached, provide_imagenet
from covid_keras.models.registry import find_weights, get_entry
from covid_keras.models.weight_kinds import require_weight_file
from covid_keras.paper.protocol import Protocol

if TYPE_CHECKING:
    from covid_keras.paper.paper import Paper


def weight_file(protocol: Protocol, name: str, registered: str) -> Path:
    """Return the path of a released weight file: the user's if given, else the registered one.

    Parameters
    ----------
    protocol : Protocol
    name : str
        Its name in `--checkpoint NAME=FILE`.
    registered : str
        Its name in `weights/registry.yaml`.

    Raises
    ------
    UserError
        If no file is given, and the registered one is missing or altered.
    """
    given = protocol.files.get(name)
    return Path(given) if given else find_weights(registered).path


def weight_file_missing(protocol: Protocol, name: str, registered: str) -> str | None:
    """Return None if `weight_file` finds the file, else the reason and the command that downloads it."""
    try:
        weight_file(protocol, name, registered)
    except UserError as error:
        return f"{error.subject} {error.problem}; `covid-keras weights download {registered}`"
    return None


def check_initial_weights(protocol: Protocol, names: Iterable[str], networks: str, width: float) -> None:
    """Raise `UserError` for initial weights that fit none of a paper's ImageNet networks.

    Parameters
    ----------
    protocol : Protocol
    names : iterable of str
        Names of the weight files that a user may give, one per network.
    networks : str
        Display name of the networks.
    width : float
        Share of their filters.

    Raises
    ------
    UserError
        If one file is given for all networks, the networks have another width, or a file is not a weight file.
    """
    if protocol.weights not in ("imagenet", "none"):
        raise UserError(
            f"--weights {Path(protocol.weights).name}",
            f"cannot be the initial weights of {networks}",
            "Give " + " and ".join(f"--checkpoint {name}=FILE" for name in names),
        )
    require_full_width(protocol, width, protocol.files)
    for path in protocol.files.values():
        require_weight_file(path)


def require_full_width(protocol: Protocol, width: float, names: Iterable[str]) -> None:
    """Raise `UserError` for initial weights, downloaded or given by one of `names`, if the width is not 1."""
    given = [name for name in names if name in protocol.files]
    if width != 1 and (protocol.weights != "none" or given):
        raise UserError(
            f"options.width {width:g}",
            "does not fit initial weights, which need the full width",
            "Set options.width to 1, or give --weights none",
        )


def needed_imagenet(paper: Paper, protocol: Protocol, names: Iterable[str]) -> dict[str, str]:
    """Return the ImageNet weights that the named systems start from: registered name -> option for another file."""
    found: dict[str, str] = {}
    for name in names:
        found |= paper.system(name).imagenet(protocol)
    return found


def provide_weights(paper: Paper, protocol: Protocol, names: Iterable[str]) -> None:
    """Put the ImageNet weights of the named systems into Keras' cache, before the first of them is trained.

    Raises
    ------
    UserError
        If some cannot be had; it names all of them, and for each its file, its address and the option for another file.
    """
    missing = []
    for name, option in needed_imagenet(paper, protocol, names).items():
        entry = get_entry(name)
        try:
            provide_imagenet(entry)
        except UserError as error:
            missing.append(f"{name} (file {entry.file} from {entry.url}, or {option}): {error.problem}")
    if missing:
        raise UserError(
            "initial weights",
            f"cannot be had: {'; '.join(missing)}",
            "Download each by hand, then: covid-keras weights add FILE; or start from random ones: --weights none",
        )


def weights_found(paper: Paper, protocol: Protocol, names: Iterable[str]) -> Iterator[str]:
    """Yield for each ImageNet weight file of the named systems where it is, or from where it will be fetched."""
    for name, option in needed_imagenet(paper, protocol, names).items():
        entry, place = get_entry(name), find_cached(get_entry(name))
        size = f"{entry.bytes / 2**20:.0f} MiB"
        yield f"{name} at hand: {place}" if place else f"{name} to be fetched, {size}: {entry.url} (or {option})"
