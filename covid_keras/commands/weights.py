"""`covid-keras weights list | check | add | download | convert | export`: weight files and the user's store of them."""

from __future__ import annotations

import os
import shutil
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from covid_keras.commands.parsing import Commands, add_command, say_where, user_path
from covid_keras.common.errors import UserError
from covid_keras.common.files import atomic_path, require_writable_folder
from covid_keras.models.registry import (
    REGISTRY,
    VARIABLE,
    WeightEntry,
    digest_of,
    get_entry,
    load_registry,
    store_folder,
)


def add_parser(commands: Commands) -> None:
    """Add the command and its actions."""
    parser = add_command(
        commands,
        "weights",
        "list, check, add, download and convert weight files",
        None,
        "  covid-keras weights list\n"
        "  covid-keras weights download resnet50_notop\n"
        "  covid-keras weights add ~/Downloads/weights-improvement-binary-86.h5\n"
        "  covid-keras weights check mine.keras --like covid_caps_binary_86\n"
        "  covid-keras weights convert lungs.weights.h5 lungs.h5 --like lungs_unet16 --legacy\n\n"
        "environment:\n"
        "  COVID_KERAS_WEIGHTS   folder of the files that do not ship (default: ~/.cache/covid_keras/weights)\n"
        "  XDG_CACHE_HOME        used in place of ~/.cache\n",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    text = "what each registered file is, its origin and licence, where it is"
    add_command(actions, "list", text, lambda options: list_weights(), "  covid-keras weights list\n")
    text = "whether registered files are here and whole, or FILE fits a network"
    check = add_command(
        actions,
        "check",
        text,
        lambda options: _check(options.file, options.like),
        "  covid-keras weights check\n  covid-keras weights check mine.keras --like covid_caps_binary_86\n",
    )
    check.add_argument("file", nargs="?", type=user_path, metavar="FILE", help="a file of your own, with --like")
    check.add_argument("--like", metavar="NAME", help="registered name of the network that FILE is for")
    text = "keep a file fetched by hand, known by its digest, whatever it is called"
    add = add_command(
        actions,
        "add",
        text,
        lambda options: add_weights(options.file, options.name),
        "  covid-keras weights add ~/Downloads/weights-improvement-binary-86.h5\n",
    )
    add.add_argument("file", type=user_path, metavar="FILE")
    add.add_argument("--as", dest="name", metavar="NAME", help="the registered name that it should be")
    text = "fetch registered files that have plain addresses"
    fetch = add_command(
        actions,
        "download",
        text,
        lambda options: download_weights(options.names),
        "  covid-keras weights download resnet50_notop\n",
    )
    fetch.add_argument("names", nargs="+", metavar="NAME")
    text = "write a weight file in the other HDF5 layout"
    convert = add_command(
        actions,
        "convert",
        text,
        _convert,
        "  covid-keras weights convert lungs.weights.h5 lungs.h5 --like lungs_unet16 --legacy\n",
    )
    convert.add_argument("source", type=user_path, metavar="IN", help=".h5, .weights.h5 or .keras")
    convert.add_argument("target", type=user_path, metavar="OUT", help=".weights.h5; with --legacy .h5 or .hdf5")
    convert.add_argument("--like", required=True, metavar="NAME", help="registered name of the same network")
    convert.add_argument("--legacy", action="store_true", help="write the layout of Keras 1 and 2, a group a layer")
    text = "write the best weights of a finished training as one .h5 file"
    export = add_command(
        actions,
        "export",
        text,
        _export,
        "  covid-keras weights export runs/covid_sdnet-cpu fucitnet fucitnet.h5 --fold 2\n",
    )
    export.add_argument("path", type=user_path, metavar="RUN", help="a run folder")
    export.add_argument("system", metavar="SYSTEM", help="one of its systems")
    export.add_argument("file", type=user_path, metavar="FILE", help="the .h5 file to write")
    export.add_argument("--repeat", type=int, default=0, metavar="N", help="from 0 (default: 0)")
    export.add_argument("--fold", type=int, default=0, metavar="N", help="from 0 (default: 0)")


def list_weights() -> None:
    """Print what each registered file is, where it comes from and whether it is here; its bytes are not checked."""
    for entry in load_registry().values():
        kind = "ships" if entry.ships else "does not ship"
        get = f"covid-keras weights download {entry.name}" if entry.url else "covid-keras weights add FILE"
        here = f"here: {entry.path}" if entry.path.is_file() else f"not here: {get}"
        print(
            f"{entry.name}  ({kind}, {entry.bytes / 2**20:.1f} MiB, {entry.licence})\n"
            f"    {entry.title}\n    {entry.origin}\n    {here}"
        )
    print(f"Files that do not ship are looked for below {store_folder()} ({VARIABLE})")
    say_where(REGISTRY)


def _check(path: Path | None, like: str | None) -> None:
    if path is None and like is None:
        return check_weights()
    if path is None or like is None:
        raise UserError("weights check", "needs FILE and --like NAME together", "Give both, or neither")
    entry = _entry_of_network(like)
    from covid_keras.common.quiet import import_tensorflow

    import_tensorflow()
    from covid_keras.models.weights import build_registered, load_weights

    print("\n".join(load_weights(build_registered(entry), path).lines()))
    return say_where(path)


def _entry_of_network(name: str) -> WeightEntry:
    """Return the entry of a name; raise `UserError` where the suite builds no network for it."""
    entry = get_entry(name)
    if not entry.builder:
        known = [e.name for e in load_registry().values() if e.builder]
        raise UserError(f"--like {name}", "is of no network that this suite builds", f"Known: {', '.join(known)}")
    return entry


def check_weights() -> None:
    """Print of each registered file whether it is here and whole, and how to get those that are not here.

    Raises
    ------
    UserError
        After all were checked, where one was altered, or one that ships is missing.
    """
    faults = []
    for entry in load_registry().values():
        if not entry.ships and not entry.path.is_file():
            print(f"{entry.name}: not here. {entry.how_to_get}")
            continue
        try:
            entry.verified()
        except UserError as error:
            faults.append(error)
            print(f"{entry.name}: {'ALTERED' if entry.path.is_file() else 'MISSING'} {entry.path}")
        else:
            proof = f"{entry.digest[0]} as registered" if entry.ships else f"as registered, by {entry.digest[0]}"
            print(f"{entry.name}: ok, {proof}: {entry.path}")
    if faults:
        raise faults[0]
    say_where(store_folder())


def add_weights(path: Path, name: str | None = None) -> None:
    """Copy a file that the user fetched into the store, under its registered name.

    Parameters
    ----------
    path : Path
        The file, whatever it is called; known by its digest.
    name : str, optional
        The entry that it should be; where not given, any.

    Raises
    ------
    UserError
        Where it is not a file or not a registered one, or the store cannot be written.
    """
    entries = [get_entry(name)] if name else list(load_registry().values())
    if not path.is_file():
        raise UserError(path, "is not a file", "Check the path")
    digests = {algorithm: digest_of(path, algorithm) for algorithm in dict.fromkeys(e.digest[0] for e in entries)}
    entry = next((e for e in entries if digests[e.digest[0]] == e.digest[1]), None)
    if entry is None:
        found = ", ".join(f"{algorithm} {digest}" for algorithm, digest in digests.items())
        raise UserError(
            path,
            f"is not {name} as registered ({found})" if name else f"is not a registered file ({found})",
            f"Fetch it from {entries[0].url or entries[0].origin}"
            if name
            else f"Registered: {', '.join(e.name for e in entries)}",
        )
    if _is_here(entry):
        print(f"{entry.name} was here already")
        return say_where(entry.path)
    target = _writable_store() / entry.file
    with atomic_path(target) as temporary:
        shutil.copyfile(path, temporary)
        if not entry.is_of(temporary):
            raise UserError(path, "changed while it was copied", "Run the same command again")
    print(f"{entry.name}: {entry.title}")
    say_where(target)


def download_weights(names: Sequence[str]) -> None:
    """Fetch registered files that have plain addresses into the store, verified, whole or not at all.

    Raises
    ------
    UserError
        Before anything is fetched, where a name is not registered or its file has no plain address; where fetching
        fails or another file came.
    """
    entries = [get_entry(name) for name in dict.fromkeys(names)]
    for entry in entries:
        if not entry.url and not _is_here(entry):
            raise UserError(entry.name, "has no plain address", entry.how_to_get)
    for entry in entries:
        if _is_here(entry):
            print(f"{entry.name} was here already")
        else:
            _fetch(entry)
            print(f"{entry.name} fetched")
        say_where(entry.path)


def _fetch(entry: WeightEntry) -> None:
    """Fetch a file into a temporary folder of the store, verify it, and only then move it into place."""
    store = _writable_store()
    from covid_keras.data.download import download
    from covid_keras.data.sources.base import Download

    by_hand = f"Run the same command again, or fetch {entry.url} by hand, then: covid-keras weights add FILE"
    with tempfile.TemporaryDirectory(dir=store, prefix=".fetching-") as folder:
        item = Download(entry.url, entry.sha256 or None, entry.file, unpack=False)
        try:
            path = download(item, folder, unverified=True)
        except UserError as error:
            subject = error.subject if error.subject == entry.url else store / entry.file
            raise UserError(subject, error.problem, by_hand) from error
        if not entry.is_of(path):
            algorithm, digest = entry.digest
            problem = f"what arrived does not have the {algorithm.upper()} {digest} and was removed"
            raise UserError(entry.url, problem, by_hand)
        os.replace(path, store / entry.file)


def _is_here(entry: WeightEntry) -> bool:
    return entry.path.is_file() and entry.is_of(entry.path)


def _writable_store() -> Path:
    try:
        return require_writable_folder(store_folder())
    except UserError as error:
        raise UserError(store_folder(), error.problem, f"Set {VARIABLE} to a folder that can be written") from error


def check_conversion(source: Path, target: Path, like: str, legacy: bool) -> WeightEntry:
    """Return the entry whose network a conversion is made with.

    Raises
    ------
    UserError
        Where `source` is not a file, or is `target`; `target` has a suffix that Keras would read as the other layout;
        the suite builds no network for `like`.
    """
    entry = _entry_of_network(like)
    if not source.is_file():
        raise UserError(source, "is not a file", "Check the path")
    if target.exists() and target.samefile(source):
        raise UserError(target, "is the file to convert", "Name another file to write")
    is_keras3 = target.name.endswith(".weights.h5")
    if legacy and (is_keras3 or target.suffix not in (".h5", ".hdf5")):
        raise UserError(target, "would not be read as the legacy layout", "Name it NAME.h5 or NAME.hdf5")
    if not legacy and not is_keras3:
        raise UserError(target, "would not be read as Keras 3's layout", "Name it NAME.weights.h5, or add --legacy")
    return entry


def _convert(options: Namespace) -> None:
    entry = check_conversion(options.source, options.target, options.like, options.legacy)
    from covid_keras.common.quiet import import_tensorflow

    import_tensorflow()
    from covid_keras.models.weights import convert_weights

    report = convert_weights(options.source, options.target, entry, options.legacy)
    print("\n".join(report.lines()))
    say_where(options.target)


def _export(options: Namespace) -> None:
    from covid_keras.training.export import export_weights

    print(export_weights(options.path, options.system, options.file, options.repeat, options.fold))
    say_where(options.file)
