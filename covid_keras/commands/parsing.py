"""What the parsers of the commands share; nothing heavy is imported."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Run: TypeAlias = Callable[[argparse.Namespace], "int | None"]


def user_path(text: str) -> Path:
    """Return a path as the shell would read it, which leaves "~" alone after "--out=" and in quotes."""
    return Path(os.path.expanduser(text))


def add_command(commands: Commands, name: str, text: str, run: Run | None, examples: str) -> argparse.ArgumentParser:
    """Add a command that calls `run`, which returns the exit status (None is 0); return its parser.

    `text` is its line in the list of commands; capitalised, its description. `run` is None where actions follow.
    """
    parser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog="examples:\n" + examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
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


def say_where(path: str | Path) -> None:
    """Print where a command's output is, the last line of each command."""
    print(f"Output: {path}")
