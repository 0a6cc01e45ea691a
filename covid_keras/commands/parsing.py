"""What the parsers of the commands share; nothing heavy is imported."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TextIO, TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Run: TypeAlias = Callable[[argparse.Namespace], "int | None"]


def user_path(text: str) -> Path:
    """Return a path as the shell would read it, which leaves "~" alone after "--out=" and in quotes."""
    return Path(os.path.expanduser(text))


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Help that starts with the description and its examples: the usage line names what is required alone."""

    def add_usage(self, usage: str | None, actions: Iterable[argparse.Action], *others: Any, **named: Any) -> None:
        """Write "[options]" for all options that may be left out."""
        self._prog += " [options]"
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


def say_where(path: str | Path, stream: TextIO | None = None) -> None:
    """Print where a command's output is, the last line of each command; to standard output, or to another stream."""
    print(f"Output: {path}", file=stream)
