"""`covid-keras claims`: what papers claim, what their own numbers allow, and what our predictions say."""

from __future__ import annotations

import os
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from covid_keras.commands.parsing import Commands, add_command, say, say_where, user_path
from covid_keras.common.errors import UserError
from covid_keras.common.files import require_writable_folder, write_json

if TYPE_CHECKING:
    import pandas as pd

    from covid_keras.evaluation.claims import ClaimOutcome


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "claims",
        "test what the papers claim, on a run or on the committed results",
        run,
        "  covid-keras claims                          all papers, on the committed results\n"
        "  covid-keras claims tabik --csv claims.csv   one paper; every test as CSV\n"
        "  covid-keras claims runs/covid_sdnet-cpu     on the predictions of a run\n\n"
        "Two verdicts per claim. On predictions: holds, does not hold or undecided (by the 95 % interval of\n"
        "its deciding test), or not testable here. By the paper's own numbers: supported, within noise,\n"
        "contradicted by another number, or not enough printed. Claims: papers/<paper>/claims.yaml.\n",
    )
    add = parser.add_argument
    text = "paper, its first author, or a run folder (default: all papers)"
    add("paper", nargs="?", type=os.path.expanduser, metavar="PAPER|RUN", help=text)
    add("--csv", type=user_path, metavar="FILE", help="write every claim, test and printed comparison as CSV")
    add("--json", type=user_path, metavar="FILE", help="write the same as JSON")


def run(options: Namespace) -> None:
    """Print one line per claim, and the counts; write the files that are asked for.

    Raises
    ------
    UserError
        If there is no such paper or run, a file is invalid, or an output cannot be written.
    """
    from covid_keras.common.tables import require_table_target, write_table

    if options.csv is not None:
        require_table_target(options.csv, "--csv")
    if options.json is not None:
        if options.json.is_dir():
            raise UserError(f"--json {options.json}", "is a folder", "Name a file")
        require_writable_folder(options.json.parent)
    outcomes = judged(options.paper)
    for paper, found in outcomes.items():
        say("\n".join([f"{paper}: {len(found)} claims", *(f"  {_line(one)}" for one in found), ""]))
    every = [one for found in outcomes.values() for one in found]
    say(f"On predictions: {_counts([str(one.outcome) for one in every])}")
    say(f"By the papers' own numbers: {_counts([str(one.printed.support) for one in every])}")
    table = _table(outcomes)
    if options.csv is not None:
        write_table(options.csv, table, "%.6g")
        say_where(options.csv)
    if options.json is not None:
        write_json(options.json, table.astype(object).where(table.notna(), None).to_dict("records"))
        say_where(options.json)


def judged(given: str | None) -> dict[str, tuple[ClaimOutcome, ...]]:
    """Return the outcomes by paper: of a run, of one paper, or of all papers that have claims for None.

    Raises
    ------
    UserError
        If `given` is neither a paper nor a run folder.
    """
    from covid_keras.paper.registered import load_paper, load_papers
    from covid_keras.reporting.claims import committed_outcomes, run_outcomes
    from covid_keras.reporting.results import Results
    from covid_keras.training.runfolder import RunFolder

    if given is None:
        found = {name: committed_outcomes(paper) for name, paper in load_papers().items()}
        return {name: outcomes for name, outcomes in found.items() if outcomes}
    if Path(given).is_dir() or os.sep in given:
        results = Results.of(RunFolder.open(given))
        paper, outcomes = results.paper, run_outcomes(results)
    else:
        paper = load_paper(given)
        outcomes = committed_outcomes(paper)
    if not outcomes:
        raise UserError(paper.name, "has no claims", f"Write them in {paper.folder / 'claims.yaml'}")
    return {paper.name: outcomes}


def _line(outcome: ClaimOutcome) -> str:
    """Return the line of a claim: id, our outcome with the deciding test, the paper's own support, what limits it."""
    text = f"{outcome.claim.id}: {outcome.outcome}"
    if (test := outcome.deciding) is not None:
        text += f" {test.value:.1f} [{test.low:.1f}, {test.high:.1f}] claimed {test.test.words} ({test.test.title}"
        if test.executions > 1:
            text += f"; {test.same_side} of {test.executions} executions"
        text += "; one training each)" if test.trainings == 1 else f"; {test.trainings} trainings)"
    if outcome.reason:
        text += f" ({outcome.reason.rstrip('.')})"
    text += f"; printed: {outcome.printed.support}"
    return text + (f"; {outcome.grade}, {outcome.source}" if outcome.grade else "")


def _counts(words: Sequence[str]) -> str:
    return ", ".join(f"{number} {word}" for word, number in Counter(words).most_common())


def _table(outcomes: dict[str, tuple[ClaimOutcome, ...]]) -> pd.DataFrame:
    import pandas as pd

    from covid_keras.reporting.claims import claims_table

    tables = [claims_table(found).assign(paper=paper) for paper, found in outcomes.items()]
    table = pd.concat(tables, ignore_index=True)
    return table[["paper", *(name for name in table.columns if name != "paper")]]
