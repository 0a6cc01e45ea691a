"""Publish a run's results in the repository: predictions, metrics, and the tables of the READMEs.

`covid-keras publish RUN` writes `papers/<paper>/results/<profile>.json` and `<profile>-predictions.csv`, the outcomes
of all papers' claims (`claims.csv` there), the pages `papers/RESULTS.md` and `papers/<paper>/RESULTS.md`, and the
figure `papers/accuracy.svg`. It fills the READMEs between these marks and `<!-- end -->`:

- `<!-- results NAME PROFILE -->`: one table of paper against ours; further words name its metrics;
- `<!-- claims -->` and `<!-- claims NAME -->`: how many claims of all papers, or of one, hold, and the most prominent;
- `<!-- audit NAME -->`: counts of the audit of the printed numbers;
- `<!-- tally -->`: how many of all papers' numbers are judged;
- `<!-- lungs NAME -->`: Dice and IoU of a shipped lung network;
- `<!-- conventions NAME -->`: what its convention of masks changes.

A test recomputes metrics and tables from the predictions and compares them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.common.files import staged, write_json, write_text
from covid_keras.evaluation import write_predictions
from covid_keras.models.registry import FOLDER
from covid_keras.paper.paper import Paper
from covid_keras.paper.registered import load_papers
from covid_keras.reporting.claims import OUTCOMES, claims_table, committed_outcomes
from covid_keras.reporting.entries import entries_of
from covid_keras.reporting.heat_shares import COSTS, SHARES, write_measured
from covid_keras.reporting.overview import headline, overview_report
from covid_keras.reporting.paper_page import comparison_report, paper_report
from covid_keras.reporting.readme import (
    METRICS,
    audit_markdown,
    claims_markdown,
    conventions_markdown,
    lungs_markdown,
    results_markdown,
    tally_markdown,
)
from covid_keras.reporting.renderer import render, write_figure, write_page, write_report
from covid_keras.reporting.results import Results, results_json
from covid_keras.reporting.sources import committed_profiles, predictions_files
from covid_keras.training.runfolder import RunFolder

ROOT = Path(__file__).resolve().parents[2]
PAGE = "RESULTS.md"
OVERVIEW = Path("papers", PAGE)
PICTURE = Path("papers", "accuracy.svg")
# A place in a README that is filled; its words are the names after its kind.
PLACE = re.compile(
    r"(?P<head><!-- (?P<kind>results|claims|audit|tally|lungs|conventions)(?P<words>(?: [\w.-]+)*) -->\n)"
    r".*?(?P<end><!-- end -->)",
    re.DOTALL,
)


def publish_run(path: str | Path) -> Path:
    """Copy a complete run's results to `papers/<paper>/results/` and update the READMEs; return that folder.

    Raises
    ------
    UserError
        If the run is not complete, or the suite is not run from a checkout.
    """
    require_checkout()
    results = Results.of(RunFolder.open(path))
    if not results.complete:
        raise UserError(path, "is not complete", "Finish it with `covid-keras reproduce`")
    folder, profile = results.paper.folder / "results", results.run.protocol.profile
    files = predictions_files(folder, profile, len(results.frames))
    with staged(folder) as stage:
        for path, frame in zip(files, results.frames, strict=True):
            write_predictions(stage / path.name, portable(frame))
        for name, table in ((SHARES, results.source.shares), (COSTS, results.source.costs)):
            if len(table):
                write_measured(stage / f"{profile}-{name}", table)
        for name, text in results.report.published_files(results.run).items():
            write_text(stage / f"{profile}-{name}", text)
        write_json(stage / f"{profile}.json", results_json(results))
    for path in set(folder.glob(f"{profile}-predictions*.csv")) - set(files):
        path.unlink()  # from an older run with more sets of classes
    refresh_readmes()
    return folder


def refresh_results() -> Path:
    """Recompute the committed metrics from the committed predictions, then every page; return the checkout.

    Raises
    ------
    UserError
        If the suite is not run from a checkout, or a committed file cannot be read.
    """
    require_checkout()
    for paper in _own_papers():
        for profile in committed_profiles(paper):
            again = results_json(Results.recomputed(paper, profile))
            write_json(paper.folder / "results" / f"{profile}.json", again)
    return refresh_readmes()


def refresh_readmes() -> Path:
    """Update outcomes of claims, READMEs and pages of results from the committed results; return the checkout.

    Raises
    ------
    UserError
        If the suite is not run from a checkout.
    """
    require_checkout()
    for paper in _own_papers():
        if outcomes := committed_outcomes(paper):
            write_measured(paper.folder / "results" / OUTCOMES, claims_table(outcomes))
    for readme in readmes():
        write_text(readme, filled(readme.read_text(encoding="utf-8")))
    refresh_overview()
    return ROOT


def refresh_overview() -> list[Path]:
    """Write the page of all papers, that of each, and the README's figure; return [the first], or [] without a paper.

    Papers installed from elsewhere are left out; `write_results` shows them.
    """
    own = [paper for paper in _own_papers() if paper.published_path or committed_profiles(paper)]
    if not own:
        return []
    entries = entries_of(own)
    for entry in headline(entries):
        write_figure(ROOT / PICTURE, entry.figure)
    for entry in entries:
        write_text(entry.paper.folder / PAGE, render(paper_report(entry), "md"))
    for paper in (one for one in own if not one.published_path):
        results = [Results.committed(paper, profile) for profile in committed_profiles(paper)]
        write_page(paper.folder / PAGE, comparison_report(paper, results))
    return [write_page(ROOT / OVERVIEW, overview_report(own, whole=False))]


def write_results(out: str | Path) -> list[Path]:
    """Write the overview of all papers to `out` and, in a checkout, `papers/RESULTS.md`; return the paths.

    Raises
    ------
    UserError
        If a committed file cannot be read, or `out` cannot be written.
    """
    page = write_report(out, overview_report(load_papers().values()))
    return [page, *(refresh_overview() if is_checkout() else [])]


def _own_papers() -> list[Paper]:
    """Return the papers that are in this checkout."""
    return [paper for paper in load_papers().values() if paper.folder.is_relative_to(ROOT)]


def require_checkout() -> None:
    """Raise `UserError` if the suite is not run from a checkout."""
    if not is_checkout():
        raise UserError(
            ROOT,
            "is not a checkout of covid_keras",
            "Clone the repository, run `pip install -e .` in it, and publish again",
        )


def is_checkout() -> bool:
    """Return whether the suite is run from a checkout, not from site-packages."""
    return (ROOT / "setup.cfg").is_file() and not {"site-packages", "dist-packages"} & set(ROOT.parts)


def portable(predictions: pd.DataFrame) -> pd.DataFrame:
    """Replace local paths by file names."""
    return predictions.assign(path=[Path(path).name for path in predictions["path"]])


def readmes() -> list[Path]:
    """Return the READMEs that may contain results."""
    return [ROOT / "README.md", *sorted((ROOT / "papers").glob("*/README.md")), FOLDER / "README.md"]


def filled(text: str) -> str:
    """Return a README's text with its places filled; those that name nothing known stay as they are."""
    papers = load_papers()

    def fill(match: re.Match[str]) -> str:
        shown = _shown(match["kind"], match["words"].split(), papers)
        return match[0] if shown is None else f"{match['head']}{shown}{match['end']}"

    return PLACE.sub(fill, text)


def _shown(kind: str, words: Sequence[str], papers: Mapping[str, Paper]) -> str | None:
    """Return what a place shows; None if it names a paper, or a profile, without results."""
    paper = papers.get(words[0]) if words else None
    match kind, words:
        case "results", [_, profile, *metrics] if paper and (paper.folder / "results" / f"{profile}.json").is_file():
            return results_markdown(paper, profile, metrics or METRICS)
        case "audit", [_] if paper and paper.published_path:
            return audit_markdown(paper)
        case "claims", [_] if paper:
            return claims_markdown([paper])
        case "claims", []:
            return claims_markdown(papers.values())
        case "tally", []:
            return tally_markdown(papers.values())
        case "lungs", [name]:
            return lungs_markdown(FOLDER / f"{name}_dice.csv")
        case "conventions", [name]:
            return conventions_markdown(FOLDER / f"{name}_conventions.json")
    return None
