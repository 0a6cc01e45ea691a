"""`covid-keras data list | check | download | overlap`: the image collections."""

from __future__ import annotations

import os
import textwrap
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from covid_keras.commands.parsing import (
    EXIT_USER_ERROR,
    Commands,
    add_command,
    add_data,
    add_out,
    say,
    say_error,
    say_where,
)
from covid_keras.common.errors import UserError
from covid_keras.common.files import expanded, sha256_of
from covid_keras.data.locations import DEFAULT, VARIABLE, find_data, require_data

if TYPE_CHECKING:
    import pandas as pd

    from covid_keras.data.cohort import Cohort


COMPARED = ("cohen", "covid_cxnet", "chestxray14")
_LUNGS = {
    "fields": "lungs without the part behind the heart",
    "whole": "lungs with the part behind the heart",
}


def add_parser(commands: Commands) -> None:
    """Add the command and its actions."""
    parser = add_command(
        commands,
        "data",
        "list, check, compare and download the image collections",
        None,
        "  covid-keras data list\n"
        "  covid-keras data check --data ~/radiographs\n"
        "  covid-keras data overlap train_images test_images --out pairs.csv\n"
        "  covid-keras data download cohen --unverified --data data\n",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for add in (_add_list, _add_check, _add_download, _add_overlap):
        add_data(add(actions))


def _add_list(actions: Commands) -> ArgumentParser:
    return add_command(
        actions,
        "list",
        "describe each collection: licence, size and how to get it",
        lambda options: list_sources(options.data),
        "  covid-keras data list\n",
    )


def _add_check(actions: Commands) -> ArgumentParser:
    check = add_command(
        actions,
        "check",
        "compare the expected and found image counts of each collection",
        lambda options: check_sources(options.data, options.sources),
        "  covid-keras data check\n  covid-keras data check cohen covidgr --data ~/radiographs\n",
    )
    check.add_argument("sources", nargs="*", metavar="SOURCE", help="collections (default: all found)")
    return check


def _add_download(actions: Commands) -> ArgumentParser:
    download = add_command(
        actions,
        "download",
        "download collections that have a direct link",
        lambda options: download_sources(options.data, options.sources, options.unverified),
        "  covid-keras data download cohen --unverified --data data\n",
    )
    download.add_argument("sources", nargs="+", metavar="SOURCE", help="collections")
    text = "also download files without a pinned SHA-256 (GitHub archives); print theirs"
    download.add_argument("--unverified", action="store_true", help=text)
    return download


def _add_overlap(actions: Commands) -> ArgumentParser:
    overlap = add_command(
        actions,
        "overlap",
        "find near-duplicates within and between collections or your own folders",
        lambda options: show_overlap(options.data, options.sources, options.out),
        "  covid-keras data overlap cohen covid_cxnet --data ~/radiographs\n"
        "  covid-keras data overlap train_images test_images --out pairs.csv\n",
    )
    text = f"collections or folders of images (default: those of {', '.join(COMPARED)} found)"
    overlap.add_argument("sources", nargs="*", metavar="SOURCE|FOLDER", help=text)
    add_out(overlap, "runs/overlap.csv", "the pairs, as CSV (default: runs/overlap.csv)", "FILE")
    return overlap


def list_sources(given: Path | None) -> int:
    """Print each collection's card and where it was found."""
    from covid_keras.data.sources import SOURCES

    data = find_data(given)
    for name, source in SOURCES.items():
        folders = source.locate_all(data) if data else []
        say(f"{name}: {source.title}")
        for title, value in (
            ("images", f"{source.images:,}"),
            ("size", source.size),
            ("licence", source.licence),
            *([("masks", _LUNGS[source.lungs])] if source.lungs else []),
            ("where", source.url),
            ("layout", source.layout),
            ("get it", source.access),
            ("cite", source.citation),
            ("here", " and ".join(map(str, folders)) or "not found"),
        ):
            text = f"  {title:>8}: {' '.join(value.split())}"
            say(textwrap.fill(text, 110, subsequent_indent=" " * 12, break_on_hyphens=False))
    say_where(f"collections are searched for in {data or 'no folder (none found)'}")
    return 0


def check_sources(given: Path | None, names: Sequence[str]) -> int:
    """Print "expected n, found n" for each collection, or why it cannot be read.

    Returns 2 if a collection cannot be read, else 1 if a count differs, else 0. Raises `UserError` if there is nothing
    to check.
    """
    from covid_keras.data.sources import SOURCES

    data = require_data(given)
    chosen = list(dict.fromkeys(names)) or [name for name, source in SOURCES.items() if source.locate_all(data)]
    if not chosen:
        raise UserError(data, "holds no known collection", "See `covid-keras data list`")
    results = [_check(name, data) for name in chosen]
    if None in results:
        return EXIT_USER_ERROR
    differ = sum(filter(None, results))
    say_where(f"{data} checked, {differ} counts differ")
    return 1 if differ else 0


def _check(name: str, data: Path) -> int | None:
    """Print a collection's counts, folder by folder; return how many differ.

    Returns None if a folder cannot be read: its error is printed, not raised, so that it hides no other folder.
    """
    from covid_keras.data.sources import check_folder, locate_source

    try:
        folders = locate_source(name, data)
    except UserError as error:
        say_error(error)
        return None
    differ, failed = 0, False
    for folder in folders:
        try:
            differ += _print_counts(name, check_folder(name, folder, len(folders) > 1))
        except UserError as error:
            say_error(error, name)
            failed = True
    return None if failed else differ


def _print_counts(name: str, counts: Sequence[tuple[str, int, int]]) -> int:
    """Print "expected n, found n" for each count of a collection; return the number of differences."""
    for what, expected, found in counts:
        say(f"{name}: {what}: expected {expected:,}, found {found:,}{'' if expected == found else '  DIFFERS'}")
    return sum(expected != found for _, expected, found in counts)


def download_sources(given: Path | None, names: Sequence[str], unverified: bool = False) -> int:
    """Download, unpack and count collections; return 0, or 2 if one cannot be read.

    Different counts are reported but are not an error: a link may serve a later version than the one counted.

    Parameters
    ----------
    given : Path or None
        `--data`. This folder, or COVID_KERAS_DATA, is created if missing.
    names : sequence of str
    unverified : bool
        Also download files without a pinned SHA-256.

    Raises
    ------
    UserError
        If a collection has no direct link or needs `unverified` (before anything is downloaded), or downloading or
        unpacking fails.
    """
    from covid_keras.data.sources import get_source

    data = expanded(given or os.environ.get(VARIABLE) or DEFAULT).absolute()
    missing = [name for name in names if get_source(name).locate(data) is None]
    for name in missing:
        _require_downloadable(name, unverified)
    status = 0
    for name in names:
        if name in missing:
            _fetch(name, data, unverified)
        if (differ := _check(name, data)) is None:
            status = EXIT_USER_ERROR
            continue
        folder = get_source(name).locate(data)
        say_where(f"{folder} {'downloaded' if name in missing else 'was there already'}, {differ} counts differ")
    return status


def _require_downloadable(name: str, unverified: bool) -> None:
    from covid_keras.data.sources import get_source

    card = get_source(name)
    if not card.downloads:
        raise UserError(
            name,
            "cannot be downloaded automatically",
            f"{card.access.rstrip('.')}, then: covid-keras data check {name}",
        )
    if not unverified and any(item.sha256 is None for item in card.downloads):
        raise UserError(
            name,
            "has no pinned SHA-256, so the download cannot be verified",
            "Add --unverified to download it anyway and print its SHA-256",
        )


def _fetch(name: str, data: Path, unverified: bool) -> None:
    from covid_keras.data.download import download
    from covid_keras.data.sources import get_source

    for item in get_source(name).downloads:
        download(item, data, unverified=unverified)
        archive = data / item.file_name
        say(f"{name}: {item.url}\n    {archive}: sha256 {sha256_of(archive)}")


def show_overlap(given: Path | None, names: Sequence[str], out: Path) -> int:
    """Find near-duplicates within and between collections or folders; print counts, write the pairs as CSV.

    Unreadable images are left out and named.
    """
    from covid_keras.common.tables import require_table_target, write_table
    from covid_keras.data.cohort import Cohort
    from covid_keras.data.duplicates import find_duplicates
    from covid_keras.data.own_images import folders_cohort
    from covid_keras.data.sources import SOURCES, load_source

    chosen = list(dict.fromkeys(names)) or _compared_sources(require_data(given))
    folders = [name for name in chosen if name not in SOURCES]
    for name in folders:
        if not Path(name).is_dir():
            problem = "is neither a collection nor a folder"
            raise UserError(name, problem, f"Name a folder of images, or one of {', '.join(SOURCES)}")
    if {"cohen", "darwin_v7"} <= set(chosen):
        raise UserError("darwin_v7", "contains the images of cohen", "Compare only one of the two")
    # Checked first: the search takes minutes.
    require_table_target(out)
    cohorts = [_not_lateral(load_source(name, require_data(given))) for name in chosen if name in SOURCES]
    cohorts += [folders_cohort(folders)] if folders else []
    classes = tuple(dict.fromkeys(label for cohort in cohorts for label in cohort.classes))
    cohort = Cohort.concat(cohorts, classes, " and ".join(chosen))
    skipped: dict[str, str] = {}
    pairs = find_duplicates(cohort, skipped=skipped)
    for line in overlap_lines(cohort, pairs):
        say(line)
    for name, problem in skipped.items():
        say(f"left out: {name}: {problem}")
    write_table(out, pairs)
    say_where(out)
    return 0


def _compared_sources(data: Path) -> list[str]:
    """Return the collections compared by default, those that can be read; print why another cannot."""
    from covid_keras.data.sources import get_source, unavailable

    found = [name for name in COMPARED if get_source(name).locate(data) is not None]
    reasons = {name: unavailable(name, data) for name in found}
    for name, reason in reasons.items():
        if reason:
            say(f"left out: {name}: {reason}")
    readable = [name for name in found if reasons[name] is None]
    if not readable:
        raise UserError(
            data, "holds no collection to compare", "See `covid-keras data list` and `covid-keras data check`"
        )
    return readable


def _not_lateral(cohort: Cohort) -> Cohort:
    """Leave lateral views out; a view that nobody noted down counts as frontal."""
    return cohort.filter(~cohort.table["view"].str.startswith("L"))


def overlap_lines(cohort: Cohort, pairs: pd.DataFrame) -> list[str]:
    """Return one line per pair of collections: number of pairs, and of images involved."""
    from covid_keras.data.own_images import UNLABELLED

    patient = cohort.table.set_index("image_id")["patient_id"]
    sizes, lines = cohort.table["source"].value_counts(), []
    across = patient[pairs["image_id_a"]].to_numpy() != patient[pairs["image_id_b"]].to_numpy()
    for (a, b), part in pairs.assign(across=across).groupby(["source_a", "source_b"], sort=False):
        if a == b:
            touched = len({*part["image_id_a"], *part["image_id_b"]})
            # Patients are unknown in the user's own folders.
            known = (cohort.table["label"][cohort.table["source"] == a] != UNLABELLED).all()
            patients = f"; {part['across'].sum()} pairs across patients" if known else ""
            lines.append(f"within {a}: {len(part)} pairs, {touched} of {sizes[a]} images{patients}")
            continue
        left, right = part["image_id_a"].nunique(), part["image_id_b"].nunique()
        lines.append(f"{a} and {b}: {len(part)} pairs, {left} of {sizes[a]} and {right} of {sizes[b]} images")
    return lines or [f"no near-duplicates among {len(cohort)} images"]
