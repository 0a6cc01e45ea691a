"""What `covid-keras data list | check | download` print."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from covid_keras.data.cohort import Cohort
from covid_keras.data.download import download
from covid_keras.data.duplicates import find_duplicates
from covid_keras.data.locations import find_data, require_data
from covid_keras.data.sources import SOURCES, check_source, get_source, load_source
from covid_keras.errors import UserError
from covid_keras.files import atomic_path


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


def show_overlap(given: Path | None, names: Sequence[str], out: Path) -> int:
    """Find near-duplicates within and between collections, print their counts and write the pairs as CSV."""
    data = require_data(given)
    chosen = list(names) or [
        n for n in ("cohen", "covid_cxnet", "chestxray14") if get_source(n).locate(data) is not None
    ]
    if not chosen:
        raise UserError(data, "holds no collection to compare", "`covid-keras data list` says what is looked for")
    cohorts = [_not_lateral(load_source(name, data)) for name in chosen]
    classes = tuple(dict.fromkeys(label for cohort in cohorts for label in cohort.classes))
    cohort = Cohort.concat(cohorts, classes, " and ".join(chosen))
    pairs = find_duplicates(cohort)
    for line in overlap_lines(cohort, pairs):
        print(line)
    with atomic_path(out) as temporary:
        pairs.to_csv(temporary, index=False)
    print(f"Output: {out}")
    return 0


def _not_lateral(cohort: Cohort) -> Cohort:
    """Leave lateral views out; a view that nobody noted down counts as frontal."""
    return cohort.filter(~cohort.table["view"].str.startswith("L"))


def overlap_lines(cohort: Cohort, pairs: pd.DataFrame) -> list[str]:
    """Return, for each two collections, how many pairs there are and how many images of each they touch."""
    patient = cohort.table.set_index("image_id")["patient_id"]
    sizes, lines = cohort.table["source"].value_counts(), []
    across = patient[pairs["image_id_a"]].to_numpy() != patient[pairs["image_id_b"]].to_numpy()
    for (a, b), part in pairs.assign(across=across).groupby(["source_a", "source_b"], sort=False):
        if a == b:
            touched = len({*part["image_id_a"], *part["image_id_b"]})
            patients = f"{part['across'].sum()} pairs across patients"
            lines.append(f"within {a}: {len(part)} pairs, {touched} of {sizes[a]} images; {patients}")
            continue
        left, right = part["image_id_a"].nunique(), part["image_id_b"].nunique()
        lines.append(f"{a} and {b}: {len(part)} pairs, {left} of {sizes[a]} and {right} of {sizes[b]} images")
    return lines or [f"no near-duplicates among {len(cohort)} images"]
