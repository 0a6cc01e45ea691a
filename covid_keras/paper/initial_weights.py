"""Validate user-supplied initial weights before any network is built."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from covid_keras.common.errors import UserError
from covid_keras.models.weight_kinds import require_weight_file
from covid_keras.paper.protocol import Protocol


def check_initial_weights(protocol: Protocol, names: Iterable[str], networks: str, width: float) -> None:
    """Refuse initial weights that fit none of a paper's ImageNet networks.

    Parameters
    ----------
    protocol : Protocol
    names : iterable of str
        The weight files that a user may give, one per network.
    networks : str
        The networks in words.
    width : float
        Share of their filters.

    Raises
    ------
    UserError
        For one file for all networks, weights for networks of another width, or a file that is not HDF5.
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
    """Refuse initial weights, downloaded or in a file of one of these names, for networks of a share of the filters."""
    given = [name for name in names if name in protocol.files]
    if width != 1 and (protocol.weights != "none" or given):
        raise UserError(
            f"options.width {width:g}",
            "does not fit initial weights, which are of the whole network",
            "Set options.width to 1, or --weights none",
        )
