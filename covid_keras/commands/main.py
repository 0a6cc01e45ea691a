"""The `covid-keras` command: parse the arguments, run the command, report bad input in one line."""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
from collections.abc import Iterable
from types import ModuleType

from covid_keras import DISCLAIMER, __version__
from covid_keras.commands import (
    audit,
    check_split,
    claims,
    data,
    ensemble,
    evaluate,
    lr_range,
    papers,
    predict,
    publish,
    report,
    reproduce,
    results,
    segment,
    train_lungs,
    weights,
)
from covid_keras.commands.parsing import EXIT_USER_ERROR, Commands, say_error
from covid_keras.common.errors import UserError, printable
from covid_keras.common.memory import RUN_LESS, naming_shortage
from covid_keras.common.quiet import silence_readers

EXIT_INTERRUPTED = 130

# In the order of the help.
COMMANDS = {
    "reproduce papers": (reproduce, report, ensemble, lr_range, claims, audit, results, publish, papers),
    "own radiographs and predictions": (predict, segment, evaluate, check_split),
    "data and weights": (data, weights, train_lungs),
}
EXAMPLES = """\
examples:
  covid-keras reproduce tabik --profile smoke          a few minutes, on synthetic radiographs
  covid-keras reproduce tabik --data ~/radiographs     on real ones
  covid-keras predict chest.png --heatmap              a score, and a map of the evidence
"""
ENVIRONMENT = """\
environment:
  COVID_KERAS_DATA     folder of the collections, if --data is not given
  COVID_KERAS_WEIGHTS  folder of downloaded weights (default: in XDG_CACHE_HOME, else ~/.cache)
  COVID_KERAS_LOG      debug, info, warning (default) or error; COVID_KERAS_QUIET=1 hides progress
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return the exit status.

    0 success, 1 a check failed, 2 bad input, 3 some files were left out, 130 interrupted.
    """
    options = make_parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() != "utf-8":
            stream.reconfigure(errors="backslashreplace")  # a terminal that has no "±" gets its number
    try:
        _log_to_terminal()
        with naming_shortage("memory", RUN_LESS):
            status = options.run(options) or 0
        sys.stdout.flush()
        return status
    except UserError as error:
        for one in error.errors:
            say_error(one)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        resumable = "; run the same command again to continue" if options.run is reproduce.run else ""
        sys.stderr.write(f"covid-keras: interrupted{resumable}\n")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) closed the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        # What no reader or writer foresaw: a name that is too long, a disk that is full.
        if error.errno is None:
            raise
        logging.getLogger(__name__).debug("raised here:", exc_info=True)
        where = error.filename or "covid-keras"
        _end_output_that_fails()
        say_error(UserError(where, str(error.strerror or error), "Check the path, the disk and the permissions"))
        return EXIT_USER_ERROR


def _end_output_that_fails() -> None:
    """Discard standard output if it is what cannot be written, so that Python does not fail on it again at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(printable, super().format(record).split("\n")))


def _log_to_terminal() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("%(name)s: %(message)s"))
    logging.basicConfig(level=(level := _log_level()), handlers=[handler])
    if level > logging.DEBUG:
        silence_readers()


def _log_level() -> int:
    given = os.environ.get("COVID_KERAS_LOG") or "warning"
    levels = logging.getLevelNamesMapping()
    if given.upper() not in levels:
        raise UserError(f"COVID_KERAS_LOG={given}", "is not a log level", "Set it to debug, info, warning or error")
    return levels[given.upper()]


def make_parser() -> argparse.ArgumentParser:
    """Build the parser without importing anything heavy."""
    parser = argparse.ArgumentParser(
        prog="covid-keras",
        usage="%(prog)s [-h] [--version] COMMAND ...",
        epilog=ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"covid-keras {__version__}")
    commands = parser.add_subparsers(prog="covid-keras", metavar="COMMAND", required=True, help=argparse.SUPPRESS)
    listed = [f"{title}:\n{_add_group(commands, group)}" for title, group in COMMANDS.items()]
    about = f"Reproduce four papers on COVID-19 in chest radiographs.\n{DISCLAIMER}"
    parser.description = "\n".join([about, "", EXAMPLES, *listed])
    return parser


def _add_group(commands: Commands, group: Iterable[ModuleType]) -> str:
    """Add the commands of a group; return one line per command."""
    lines = ""
    for command in group:
        command.add_parser(commands)
        name, parser = list(commands.choices.items())[-1]
        summary = str(parser.description).partition(".\n")[0]
        lines += f"  {name:<13}{summary}\n"
    return lines


if __name__ == "__main__":
    sys.exit(main())
