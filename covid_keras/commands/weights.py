"""`covid-keras weights list | check | add | download | convert | export`: weight files."""

from __future__ import annotations

import shutil
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from covid_keras.commands.parsing import Commands, add_command, say, say_where, user_path
from covid_keras.common.errors import UserError
from covid_keras.common.files import atomic_path
from covid_keras.models.fetching import fetch_weights, is_here, writable_store
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
        "list, check, download, convert and export weight files",
        None,
        "  covid-keras weights list\n"
        "  covid-keras weights download resnet50_notop\n"
        "  covid-keras weights add ~/Downloads/weights-improvement-binary-86.h5\n"
        "  covid-keras weights check mine.keras --like covid_caps_binary_86\n"
        "  covid-keras weights convert lungs.weights.h5 lungs.h5 --like lungs_unet16 --legacy\n\n"
        "environment:\n"
        "  COVID_KERAS_WEIGHTS   folder of downloaded weights (default: in XDG_CACHE_HOME, else ~/.cache)\n",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    text = "describe each registered file: origin, licence, location"
    add_command(actions, "list", text, lambda options: list_weights(), "  covid-keras weights list\n")
    text = "check that registered files are intact, or that FILE fits a network"
    check = add_command(
        actions,
        "check",
        text,
        lambda options: _check(options.file, options.like),
        "  covid-keras weights check\n  covid-keras weights check mine.keras --like covid_caps_binary_86\n",
    )
    check.add_argument("file", nargs="?", type=user_path, metavar="FILE", help="your own file; needs --like")
    check.add_argument("--like", metavar="NAME", help="registered name of the network")
    text = "store a file that you downloaded by hand; it is recognised by its digest"
    add = add_command(
        actions,
        "add",
        text,
        lambda options: add_weights(options.file, options.name),
        "  covid-keras weights add ~/Downloads/weights-improvement-binary-86.h5\n",
    )
    add.add_argument("file", type=user_path, metavar="FILE", help="the file, under any name")
    add.add_argument("--as", dest="name", metavar="NAME", help="registered name to check the file against")
    _add_writers(actions)


def _add_writers(actions: Commands) -> None:
    """Add the actions that write weight files."""
    text = "download registered files that have a direct link"
    fetch = add_command(
        actions,
        "download",
        text,
        lambda options: download_weights(options.names),
        "  covid-keras weights download resnet50_notop\n",
    )
    fetch.add_argument("names", nargs="+", metavar="NAME", help="registered names")
    text = "convert a weight file to the other HDF5 layout"
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
    text = "write the layout of Keras 1 and 2: one group per layer"
    convert.add_argument("--legacy", action="store_true", help=text)
    text = "write the best weights of a finished training to one .h5 file"
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
    """Print title, origin and location of each registered file, without checking its digest."""
    for entry in load_registry().values():
        kind = "ships" if entry.ships else "does not ship"
        get = f"covid-keras weights download {entry.name}" if entry.url else "covid-keras weights add FILE"
        here = f"here: {entry.path}" if entry.path.is_file() else f"not here: {get}"
        say(
            f"{entry.name}  ({kind}, {entry.bytes / 2**20:.1f} MiB, {entry.licence})\n"
            f"    {entry.title}\n    {entry.origin}\n    {here}"
        )
    say(f"Files that do not ship are searched for in {store_folder()} ({VARIABLE})")
    say_where(REGISTRY)


def _check(path: Path | None, like: str | None) -> None:
    if path is None and like is None:
        return check_weights()
    if path is None or like is None:
        raise UserError("weights check", "needs FILE and --like NAME together", "Give both or neither")
    entry = _entry_of_network(like)
    from covid_keras.common.quiet import import_tensorflow

    import_tensorflow()
    from covid_keras.models.weights import build_registered, load_weights

    say("\n".join(load_weights(build_registered(entry), path).lines()))
    return say_where(path)


def _entry_of_network(name: str) -> WeightEntry:
    """Return the registry's entry; raise `UserError` if the suite builds no network for it."""
    entry = get_entry(name)
    if not entry.builder:
        known = [e.name for e in load_registry().values() if e.builder]
        raise UserError(
            f"--like {name}", "names weights of a network that this suite does not build", f"Known: {', '.join(known)}"
        )
    return entry


def check_weights() -> None:
    """Print whether each registered file is present and intact, or how to get it.

    Raises
    ------
    UserError
        If a file was altered, or one that ships is missing. All files are checked first.
    """
    faults = []
    for entry in load_registry().values():
        if not entry.ships and not entry.path.is_file():
            say(f"{entry.name}: not here. {entry.how_to_get}")
            continue
        try:
            entry.verified()
        except UserError as error:
            faults.append(error)
            say(f"{entry.name}: {'ALTERED' if entry.path.is_file() else 'MISSING'} {entry.path}")
        else:
            proof = f"{entry.digest[0]} as registered" if entry.ships else f"as registered, by {entry.digest[0]}"
            say(f"{entry.name}: ok, {proof}: {entry.path}")
    if faults:
        raise faults[0]
    say_where(store_folder())


def add_weights(path: Path, name: str | None = None) -> None:
    """Copy a downloaded file into the store under its registered name.

    Parameters
    ----------
    path : Path
        The file, under any name; recognised by its digest.
    name : str, optional
        The expected entry. Default: any.

    Raises
    ------
    UserError
        If it is not a registered file, or the store cannot be written.
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
            f"Download it from {entries[0].url or entries[0].origin}"
            if name
            else f"Registered: {', '.join(e.name for e in entries)}",
        )
    if is_here(entry):
        say(f"{entry.name} was there already")
        return say_where(entry.path)
    target = writable_store() / entry.file
    with atomic_path(target) as temporary:
        shutil.copyfile(path, temporary)
        if not entry.is_of(temporary):
            raise UserError(path, "changed while it was copied", "Run the same command again")
    say(f"{entry.name}: {entry.title}")
    say_where(target)


def download_weights(names: Sequence[str]) -> None:
    """Download registered files into the store and verify them; leave no partial file.

    Raises
    ------
    UserError
        If a name is not registered or has no direct link (before anything is downloaded), a download fails, or its
        digest is wrong.
    """
    entries = [get_entry(name) for name in dict.fromkeys(names)]
    for entry in entries:
        if not entry.url and not is_here(entry):
            raise UserError(entry.name, "has no direct link", entry.how_to_get)
    for entry in entries:
        if is_here(entry):
            say(f"{entry.name} was there already")
        else:
            fetch_weights(entry, writable_store())
            say(f"{entry.name} downloaded")
        say_where(entry.path)


def check_conversion(source: Path, target: Path, like: str, legacy: bool) -> WeightEntry:
    """Return the registry's entry for `like`, whose network makes the conversion.

    Raises
    ------
    UserError
        If `source` is not a file or is `target`, Keras would read the suffix of `target` as the other layout, or the
        suite builds no network for `like`.
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
    say("\n".join(report.lines()))
    say_where(options.target)


def _export(options: Namespace) -> None:
    from covid_keras.training.export import export_weights

    say(export_weights(options.path, options.system, options.file, options.repeat, options.fold))
    say_where(options.file)
