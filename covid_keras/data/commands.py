"""What `covid-keras data list | check | download` print."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from covid_keras.data.download import download
from covid_keras.data.locations import find_data, require_data
from covid_keras.data.sources import SOURCES, check_source, get_source
from covid_keras.errors import UserError


def list_sources(given: Path | None) -> int:
    """Print each collection's card and whether it is at hand."""
    data = find_data(given)
    for name, source in SOURCES.items():
        card, folder = source.CARD, source.locate(data) if data else None
        print(f"{name}: {card.title}")
        for title, value in (
            ("images", f"{card.images:,}"),
            ("size", card.size),
            ("licence", card.licence),
            ("where", card.url),
            ("layout", card.layout),
            ("get it", card.access),
            ("cite", card.citation),
            ("here", str(folder) if folder else "not found"),
        ):
            print(
                textwrap.fill(
                    f"{title:>8}: {' '.join(value.split())}", 110, initial_indent="  ", subsequent_indent=" " * 12
                )
            )
    print(f"Output: collections are looked for below {data or 'no folder (none found)'}")
    return 0


def check_sources(given: Path | None, names: Sequence[str]) -> int:
    """Print "expected n, found n" for each collection; return 1 where a count differs."""
    data = require_data(given)
    chosen = list(names) or [name for name, source in SOURCES.items() if source.locate(data) is not None]
    if not chosen:
        raise UserError(
            data, "holds no collection that this suite knows", "`covid-keras data list` says what is looked for"
        )
    wrong = 0
    for name in chosen:
        for what, expected, found in check_source(name, data):
            wrong += expected != found
            print(f"{name}: {what}: expected {expected:,}, found {found:,}{'' if expected == found else '  DIFFERS'}")
    print(f"Output: {data} checked, {wrong} counts differ")
    return 1 if wrong else 0


def download_sources(given: Path | None, names: Sequence[str]) -> int:
    """Fetch the collections that have plain addresses; say what a person must do for the others."""
    data = find_data(given) or Path(given or "data")
    for name in names:
        card = get_source(name).CARD
        if not card.downloads:
            raise UserError(
                name,
                "cannot be downloaded by a program",
                f"{card.access.rstrip('.')}, then: covid-keras data check {name}",
            )
        for item in card.downloads:
            print(f"Output: {download(item, data / name)}")
    return 0
