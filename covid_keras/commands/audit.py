"""`covid-keras audit`: check whether a paper's printed numbers are possible."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from covid_keras.commands.parsing import Commands, add_command, say, say_where, user_path
from covid_keras.common.errors import UserError
from covid_keras.common.files import json_text

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".yaml", ".yml")
# Values of `covid_keras.evaluation.possibility.AuditVerdict` that make `--fail-on-impossible` fail.
_FAILING = ("impossible", "one of these is wrong")


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "audit",
        "check whether the numbers that a paper prints are possible",
        run,
        "  covid-keras audit                          all papers of the suite\n"
        "  covid-keras audit tabik --all-cells        also the consistent numbers, with the arithmetic\n"
        "  covid-keras audit my_table.yaml --json     tables of your own, as JSON\n"
        "  covid-keras audit my_table.yaml --fail-on-impossible --out cells.csv\n\n"
        "the smallest FILE.yaml:\n"
        "  tables:\n"
        "    - table: '1'\n"
        "      unit: percent\n"
        "      audit: {positives: 80, negatives: 120}\n"
        "      columns: [{name: Accuracy, metric: accuracy}, {name: Recall, metric: recall}]\n"
        "      rows: [{row: network, values: [89.0, 87.5]}]\n"
        "All keys: papers/example_audit.yaml. No data needed.\n",
    )
    parser.add_argument(
        "paper",
        nargs="?",
        type=os.path.expanduser,
        metavar="PAPER|FILE.yaml",
        help="paper, its first author, or a file (default: all papers)",
    )
    add = parser.add_argument
    add("--all-cells", action="store_true", help="also print consistent and unchecked numbers")
    add("--out", type=user_path, metavar="FILE.csv", help="write all numbers, verdicts and proofs as CSV")
    add("--json", action="store_true", help="print all numbers, verdicts and proofs as JSON")
    text = "exit with status 1 if a number is impossible or several contradict each other"
    add("--fail-on-impossible", action="store_true", help=text)


def files_of(given: str | None) -> dict[str, Path]:
    """Return {name: file} of the papers to audit: one file, one paper, or all papers for None.

    Raises
    ------
    UserError
        If `given` is neither a file nor a paper.
    """
    if given and Path(given).suffix.lower() in SUFFIXES:
        return {given: Path(given)}
    from covid_keras.paper.registered import load_paper, load_papers

    try:
        papers = load_papers().values() if given is None else [load_paper(given)]
    except UserError:
        if given and (Path(given).exists() or Path(given).suffix or len(Path(given).parts) > 1):
            problem = f"is neither a paper of this suite nor a {' or '.join(SUFFIXES)} file"
            raise UserError(given, problem, "Name a file such as papers/example_audit.yaml") from None
        raise
    files = {paper.name: paper.published_path for paper in papers if paper.published_path}
    if not files:
        raise UserError(given or "audit", "has no printed numbers to audit", "Name a paper that has a published.yaml")
    return files


def run(options: Namespace) -> int:
    """Print the verdicts; write all numbers to the CSV file that `--out` names.

    Returns
    -------
    int
        1 if `--fail-on-impossible` is given and a number is impossible or several contradict each other; else 0.

    Raises
    ------
    UserError
        If an input cannot be read or the output cannot be written. Nothing is written then.
    """
    files, out = files_of(options.paper), options.out
    if out is not None:
        _check_out(out, files)
    from covid_keras.audit.core import audit

    tables, summaries = {}, {}
    for name, path in files.items():
        found = audit(path)
        tables[name], summaries[name] = found.table(), found.summary()
        if not options.json:
            say("\n".join(_lines(name, summaries[name], tables[name], options.all_cells)))
    if options.json:
        print(json_text(_records(tables, summaries)))
    if out is not None:
        _write(tables, out)
        say_where(out, sys.stderr if options.json else None)
    wrong = [one.get(kind, 0) for one in summaries.values() for kind in _FAILING]
    return int(options.fail_on_impossible and any(wrong))


def _check_out(out: Path, files: Mapping[str, Path]) -> None:
    from covid_keras.common.tables import require_table_target

    if os.path.realpath(out) in {os.path.realpath(path) for path in files.values()}:
        raise UserError(f"--out {out}", "is the file to audit", "Name another file")
    require_table_target(out)


def _write(tables: Mapping[str, pd.DataFrame], out: Path) -> None:
    import pandas as pd

    from covid_keras.common.tables import write_table

    write_table(out, pd.concat(tables, names=["paper"]).reset_index("paper"))


def _records(tables: Mapping[str, pd.DataFrame], summaries: Mapping[str, dict[str, int]]) -> dict[str, object]:
    return {name: {"summary": summaries[name], "cells": table.to_dict("records")} for name, table in tables.items()}


def _lines(name: str, summary: dict[str, int], table: pd.DataFrame, all_cells: bool) -> list[str]:
    from covid_keras.evaluation.possibility import WRONG, verdict_words

    counts = ", ".join(f"{number} {kind}" for kind, number in summary.items() if kind != "cells")
    lines = [f"{name}: {summary['cells']} printed cells: {counts}"]
    for row in table[table["verdict"].isin(WRONG) | all_cells].itertuples():
        words = verdict_words(row.verdict, row.reason)
        lines.append(f"  table {row.table} | {row.row} | {row.column} | {row.printed}: {words}")
        if row.proof:
            lines.append(f"      {row.proof}")
    return [*lines, ""]
