"""`covid-keras audit`: are the printed numbers of a paper, or of all of them, possible?"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from covid_keras.audit.core import audit
from covid_keras.common.errors import UserError
from covid_keras.common.files import atomic_path, require_writable_folder

SUFFIXES = (".yaml", ".yml")


def files_of(given: str | None) -> dict[str, Path]:
    """Return the name and the file of what is to be audited: a file, a paper, or all papers where nothing is given.

    Raises
    ------
    UserError
        For what is neither a file nor a paper.
    """
    if given and Path(given).suffix.lower() in SUFFIXES:
        return {given: Path(given)}
    from covid_keras.paper.paper import load_paper, load_papers

    try:
        papers = load_papers().values() if given is None else [load_paper(given)]
    except UserError:
        if given and (Path(given).exists() or Path(given).suffix or len(Path(given).parts) > 1):
            problem = f"is neither a paper of this suite nor a file that ends in {' or '.join(SUFFIXES)}"
            raise UserError(given, problem, "Name a file such as papers/example_audit.yaml") from None
        raise
    return {paper.name: paper.folder / "published.yaml" for paper in papers}


def run_audit(given: str | None, all_cells: bool = False, out: Path | None = None) -> None:
    """Print the verdicts of one paper, one file or all papers, and write them as CSV where a file is named.

    Parameters
    ----------
    given : str or None
        A paper's name or alias, or a file that ends in `.yaml`; all papers where left out.
    all_cells : bool
        Print consistent cells, and those that cannot be checked, as well.
    out : Path, optional
        CSV file with all cells; with a first column `paper`.

    Raises
    ------
    UserError
        For what cannot be read, or where the file cannot be written; nothing is written then.
    """
    files = files_of(given)
    if out is not None:
        if out.is_dir():
            raise UserError(f"--out {out}", "is a folder", "Name a file")
        if out.resolve() in {path.resolve() for path in files.values()}:
            raise UserError(f"--out {out}", "is the file that is audited", "Name another one")
        require_writable_folder(out.parent)
    tables = {}
    for name, path in files.items():
        found = audit(path)
        tables[name] = found.table()
        print("\n".join(_lines(name, found.summary(), tables[name], all_cells)))
    if out is not None:
        whole = pd.concat([table.assign(paper=name) for name, table in tables.items()])
        with atomic_path(out) as temporary:
            whole[["paper", *next(iter(tables.values())).columns]].to_csv(temporary, index=False)


def _lines(name: str, summary: dict[str, int], table: pd.DataFrame, all_cells: bool) -> list[str]:
    counts = ", ".join(f"{number} {kind}" for kind, number in summary.items() if kind != "cells")
    lines = [f"{name}: {summary['cells']} printed cells: {counts}"]
    unsettled = ~table["verdict"].str.startswith(("consistent", "cannot be checked"))
    for row in table[unsettled | all_cells].itertuples():
        lines.append(f"  table {row.table} | {row.row} | {row.column} | {row.printed}: {row.verdict}")
        if row.proof:
            lines.append(f"      {row.proof}")
    return [*lines, ""]
