"""Find weight files, and validate user-supplied initial weights before any network is built."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from covid_keras.common.errors import UserError
from covid_keras.models.registry import find_weights
from covid_keras.models.weight_kinds import require_weight_file
from covid_keras.paper.protocol import Protocol


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
