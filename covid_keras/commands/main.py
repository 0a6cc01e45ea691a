"""The `covid-keras` command: arguments in, the work done elsewhere, one line where a user's input cannot be used."""

from __future__ import annotations

import argparse
import logging
import os
import sys

from covid_keras import DISCLAIMER, __version__
from covid_keras.commands import (
    audit,
    check_split,
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
from covid_keras.common.errors import UserError

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130

# In the order of the help.
COMMANDS = (
    *(reproduce, report, publish, results, segment, predict, evaluate, ensemble, audit, check_split),
    *(lr_range, data, weights, papers, train_lungs),
)

EXAMPLES = """\
examples:
  covid-keras reproduce tabik                          phantom where no data is found, minutes
  covid-keras reproduce tabik --data ~/radiographs     real radiographs
  covid-keras report runs/covid_sdnet-smoke            the report again, without training
  covid-keras results                                  all papers on one page
  covid-keras segment chest.png --out lungs            mask, crop and overlay of a radiograph
  covid-keras predict chest.png --heatmap              a trained network's answer, and where it looked
  covid-keras evaluate mine.csv --against theirs.csv   metrics of your own predictions, with intervals
  covid-keras ensemble runs/hertel --systems A B C     average or vote of trained systems
  covid-keras audit tabik                              are the paper's printed numbers possible?
  covid-keras check-split split.csv --images DIR       patients or near-duplicates in two parts?
  covid-keras data list                                the collections, and how to get them
"""
ENVIRONMENT = """\
environment:
  COVID_KERAS_DATA   folder of the collections, where --data is not given
  COVID_KERAS_WEIGHTS  folder of weight files that do not ship (default: ~/.cache/covid_keras/weights)
  XDG_CACHE_HOME     used in place of ~/.cache
  COVID_KERAS_LOG    debug, info, warning or error: what is logged (default: warning)
  COVID_KERAS_QUIET  1: no progress bars
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return the exit status.

    0 done, 2 the user's input cannot be used, 3 some files were left out, 130 interrupted.
    """
    options = make_parser().parse_args(arguments)
    try:
        logging.basicConfig(level=_log_level(), format="%(name)s: %(message)s")
        return options.run(options) or 0
    except UserError as error:
        for one in error.errors:
            sys.stderr.write(f"covid-keras: error: {one}\n")
            for note in getattr(one, "__notes__", ()):
                sys.stderr.write(f"{note}\n")
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        resumable = "; the same command goes on from here" if options.run is reproduce.run else ""
        sys.stderr.write(f"covid-keras: interrupted{resumable}\n")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has gone; closing quietly is what it wants.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _log_level() -> int:
    given = os.environ.get("COVID_KERAS_LOG") or "warning"
    levels = logging.getLevelNamesMapping()
    if given.upper() not in levels:
        raise UserError(f"COVID_KERAS_LOG={given}", "is not a log level", "Set it to debug, info, warning or error")
    return levels[given.upper()]


def make_parser() -> argparse.ArgumentParser:
    """Build the parser; nothing heavy is imported for `--help` or a bad argument."""
    parser = argparse.ArgumentParser(
        prog="covid-keras",
        description=f"Four papers on COVID-19 in chest radiographs, reproduced.\n{DISCLAIMER}\n\n{EXAMPLES}",
        epilog=ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"covid-keras {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
