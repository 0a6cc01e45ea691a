"""What the parsers of the commands share; nothing heavy is imported."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO, TypeAlias

from covid_keras.common.errors import UserError

# Exit status where some files were left out.
EXIT_SOME_FAILED = 3

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Run: TypeAlias = Callable[[argparse.Namespace], "int | None"]


def user_path(text: str) -> Path:
    """Return a path as the shell would read it, which leaves "~" alone after "--out=" and in quotes."""
    return Path(os.path.expanduser(text))


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Help that starts with the description and its examples: the usage line names what is required alone."""

    def add_usage(self, usage: str | None, actions: Iterable[argparse.Action], *others: Any, **named: Any) -> None:
        """Write "[options]" for all options that may be left out; a prefix for the usage of actions has none."""
        self._prog += " [options]" * any(one.option_strings for one in actions)
        super().add_usage(usage, [one for one in actions if one.required or not one.option_strings], *others, **named)


def add_command(commands: Commands, name: str, text: str, run: Run | None, examples: str) -> argparse.ArgumentParser:
    """Add a command that calls `run`, which returns the exit status (None is 0); return its parser.

    `text` is its line in the list of commands; capitalised, its description. `examples` stand below it, and what
    follows on them after an empty line stands at the end. `run` is None where actions follow.
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
    """Add `--out`, where the output goes; `text` says what that is."""
    parser.add_argument("--out", type=user_path, default=Path(default), metavar=metavar, help=text)


def add_batch(parser: argparse.ArgumentParser) -> None:
    """Add the options of commands that work on the user's radiographs."""
    text = "go on after a file that cannot be used, list it in errors.csv, and exit with status 3"
    parser.add_argument("--skip-unreadable", action="store_true", help=text)
    text = "print the result as JSON; messages and progress go to standard error"
    parser.add_argument("--json", action="store_true", help=text)
    parser.add_argument("--threads", type=int, metavar="N", help="processor threads (default: one per processor)")


def require_threads(threads: int | None) -> None:
    """Raise `UserError` where `--threads` is not a number of threads."""
    if threads is not None and threads < 1:
        raise UserError(f"--threads {threads}", "must be at least 1", "Leave it out for one per processor")


def say_failed(failed: Sequence[tuple[Path, str]], verb: str) -> int:
    """Say on standard error how many files were left out; return the exit status, 0 where none was."""
    if not failed:
        return 0
    sys.stderr.write(f"covid-keras: {len(failed)} not {verb}, see errors.csv\n")
    return EXIT_SOME_FAILED


def in_red(text: str) -> str:
    """Return text for standard output in bold red where that is a terminal in colour (see no-color.org)."""
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return f"\033[1;31m{text}\033[0m" if coloured else text


def say_where(path: str | Path, stream: TextIO | None = None) -> None:
    """Print where a command's output is, the last line of each command; to standard output, or to another stream."""
    print(f"Output: {path}", file=stream)
