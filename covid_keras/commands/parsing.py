"""Options and output shared by the commands. Imports nothing heavy."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO, TypeAlias

from covid_keras.common.errors import UserError, printable

# Exit status for bad input.
EXIT_USER_ERROR = 2
# Exit status if some files were left out.
EXIT_SOME_FAILED = 3

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Run: TypeAlias = Callable[[argparse.Namespace], "int | None"]


def user_path(text: str) -> Path:
    """Expand "~", which the shell leaves alone after "--out=" and in quotes; refuse "", which means the current folder.

    An unset shell variable would otherwise have a command work on whatever lies there.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty (an unset variable?)")
    return Path(os.path.expanduser(text))


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Formatter with a short usage line, so that the examples come first."""

    def add_usage(self, usage: str | None, actions: Iterable[argparse.Action], *others: Any, **named: Any) -> None:
        """Write "[options]" in place of the optional arguments."""
        self._prog += " [options]" * any(one.option_strings for one in actions)
        super().add_usage(usage, [one for one in actions if one.required or not one.option_strings], *others, **named)


def add_command(commands: Commands, name: str, text: str, run: Run | None, examples: str) -> argparse.ArgumentParser:
    """Add a command that calls `run` and return its parser.

    `run` returns the exit status (None means 0); it is None for a command with actions. `text` is the one-line
    summary. The first paragraph of `examples` follows it; the rest stands at the end of the help.
    """
    examples, _, notes = examples.rstrip().partition("\n\n")
    parser = commands.add_parser(
        name,
        help=text.replace("%", "%%"),
        description=f"{text[0].upper()}{text[1:]}.\n\nexamples:\n{examples}",
        epilog=notes,
        formatter_class=HelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add `--data`, the folder of the collections."""
    text = "folder of the collections (default: COVID_KERAS_DATA, then data/)"
    parser.add_argument("--data", type=user_path, metavar="DIR", help=text)


def add_out(parser: argparse.ArgumentParser, default: str, text: str, metavar: str = "DIR") -> None:
    """Add `--out`; `text` describes the output."""
    parser.add_argument("--out", type=user_path, default=Path(default), metavar=metavar, help=text)


def add_batch(parser: argparse.ArgumentParser) -> None:
    """Add the options shared by `predict` and `segment`."""
    text = "skip files that cannot be used, list them in errors.csv and exit with status 3"
    parser.add_argument("--skip-unreadable", action="store_true", help=text)
    text = "print the result as JSON; messages and progress go to standard error"
    parser.add_argument("--json", action="store_true", help=text)
    parser.add_argument("--threads", type=int, metavar="N", help="processor threads (default: one per processor)")


def require_threads(threads: int | None) -> None:
    """Raise `UserError` if `--threads` is below 1."""
    if threads is not None and threads < 1:
        raise UserError("--threads", f"must be at least 1 (got {threads})", "Omit it for one per processor")


def say(text: str = "", file: TextIO | None = None, flush: bool = False) -> None:
    """Print lines of text, to standard output unless another file is given, with foreign text made `printable`."""
    print("\n".join(map(printable, text.split("\n"))), file=file, flush=flush)


def say_error(error: UserError, name: str = "") -> None:
    """Print an error and its notes to standard error, after the name of what it concerns."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    sys.stderr.write(f"covid-keras: error: {name}{': ' if name else ''}{error}\n")
    for note in getattr(error, "__notes__", ()):
        say(note, sys.stderr)


def say_failed(failed: Sequence[tuple[Path, str]], verb: str) -> int:
    """Print to standard error how many files were left out; return the exit status."""
    if not failed:
        return 0
    sys.stderr.write(f"covid-keras: {len(failed)} not {verb}, see errors.csv\n")
    return EXIT_SOME_FAILED


def in_red(text: str) -> str:
    """Return text in bold red if standard output is a colour terminal (see no-color.org)."""
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return f"\033[1;31m{text}\033[0m" if coloured else text


def say_where(path: str | Path, stream: TextIO | None = None) -> None:
    """Print the location of the output: the last line of every command."""
    say(f"Output: {printable(path)}", stream)
