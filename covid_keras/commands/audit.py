"""`covid-keras audit`: are the printed numbers of a paper, or of all of them, possible?"""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from covid_keras.commands.parsing import Commands, add_command, say_where, user_path
from covid_keras.common.errors import UserError
from covid_keras.common.files import atomic_path, require_writable_folder

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".yaml", ".yml")


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "audit",
        "say of every printed number of a paper whether it is possible, and why not; no data needed",
        run,
        "  covid-keras audit                          all papers\n"
        "  covid-keras audit tabik --all-cells        consistent numbers as well, with the arithmetic\n"
        "  covid-keras audit my_paper.yaml --out my_paper.csv\n\n"
        "A FILE.yaml holds the tables of any paper; papers/example_audit.yaml is one to start from, its keys are\n"
        "described in covid_keras/published/cells.py and facts.py.\n",
    )
    parser.add_argument(
        "paper",
        nargs="?",
        type=os.path.expanduser,
        metavar="PAPER|FILE.yaml",
        help="name or alias of a paper, or a file (default: all papers)",
    )
    parser.add_argument("--all-cells", action="store_true", help="print consistent and unchecked numbers as well")
    parser.add_argument("--out", type=user_path, metavar="FILE.csv", help="write all cells, verdicts and proofs as CSV")


def files_of(given: str | None) -> dict[str, Path]:
    """Return the name and the file of what is to be audited: a file, a paper, or all papers where nothing is given.

    Raises
    ------
    UserError
        For what is neither a file nor a paper.
    """
    if given and Path(given).suffix.lower() in SUFFIXES:
        return {given: Path(given)}
    from covid_keras.paper.registered import load_paper, load_papers

    try:
        papers = load_papers().values() if given is None else [load_paper(given)]
    except UserError:
        if given and (Path(given).exists() or Path(given).suffix or len(Path(given).parts) > 1):
            problem = f"is neither a paper of this suite nor a file that ends in {' or '.join(SUFFIXES)}"
            raise UserError(given, problem, "Name a file such as papers/example_audit.yaml") from None
        raise
    return {paper.name: paper.folder / "published.yaml" for paper in papers}


def run(options: Namespace) -> None:
    """Print the verdicts of one paper, one file or all papers; write all cells as CSV where `--out` names a file.

    Raises
    ------
    UserError
        For what cannot be read, or where the file cannot be written; nothing is written then.
    """
    files, out = files_of(options.paper), options.out
    if out is not None:
        if out.is_dir():
            raise UserError(f"--out {out}", "is a folder", "Name a file")
        if out.resolve() in {path.resolve() for path in files.values()}:
            raise UserError(f"--out {out}", "is the file that is audited", "Name another one")
        require_writable_folder(out.parent)
    import pandas as pd

    from covid_keras.audit.core import audit

    tables = []
    for name, path in files.items():
        found = audit(path)
        table = found.table()
        print("\n".join(_lines(name, found.summary(), table, options.all_cells)))
        table.insert(0, "paper", name)
        tables.append(table)
    if out is not None:
        with atomic_path(out) as temporary:
            pd.concat(tables).to_csv(temporary, index=False)
        say_where(out)


def _lines(name: str, summary: dict[str, int], table: pd.DataFrame, all_cells: bool) -> list[str]:
    from covid_keras.evaluation.possibility import NO_TARGETS, verdict_words

    counts = ", ".join(f"{number} {kind}" for kind, number in summary.items() if kind != "cells")
    lines = [f"{name}: {summary['cells']} printed cells: {counts}"]
    for row in table[table["verdict"].isin(NO_TARGETS) | all_cells].itertuples():
        words = verdict_words(row.verdict, row.reason)
        lines.append(f"  table {row.table} | {row.row} | {row.column} | {row.printed}: {words}")
        if row.proof:
            lines.append(f"      {row.proof}")
    return [*lines, ""]
