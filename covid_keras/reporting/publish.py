"""Publish a run's results in the repository: predictions, metrics, and the tables of the READMEs.

`covid-keras publish RUN` writes `papers/<paper>/results/<profile>.json` and `<profile>-predictions.csv`, the outcomes
of all papers' claims (`claims.csv` there), the pages `papers/RESULTS.md` and `papers/<paper>/RESULTS.md`, and the
figure `papers/accuracy.svg`. It fills the READMEs between these marks and `<!-- end -->`:

- `<!-- results NAME PROFILE -->`: one table of paper against ours; further words name its metrics;
- `<!-- claims -->` and `<!-- claims NAME -->`: how many claims of all papers, or of one, hold, and the most prominent;
- `<!-- audit NAME -->`: counts of the audit of the printed numbers;
- `<!-- tally -->`: how many of all papers' numbers are judged;
- `<!-- lungs NAME -->`: Dice and IoU of a shipped lung network.
- `<!-- conventions NAME -->`: what its convention of masks changes.

A test recomputes metrics and tables from the predictions and compares them.
"""

from __future__ import annotations

import re
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
AUDIT = re.compile(r"(?P<head><!-- audit (?P<paper>\S+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)
CLAIMS = re.compile(r"(?P<head><!-- claims( (?P<paper>\w+))? -->\n).*?(?P<end><!-- end -->)", re.DOTALL)
LUNGS = re.compile(r"(<!-- lungs (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
CONVENTIONS = re.compile(r"(<!-- conventions (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
TALLY = re.compile(r"(<!-- tally -->\n).*?(<!-- end -->)", re.DOTALL)
PLACE = re.compile(
    r"(?P<head><!-- results (?P<paper>\S+) (?P<profile>\S+?)(?P<metrics>( \w+)*) -->\n).*?(?P<end><!-- end -->)",
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
    """Return a README's text with results and audits filled in."""
    papers = load_papers()

    def fill(match: re.Match[str]) -> str:
        name, profile = match["paper"], match["profile"]
        if name not in papers or not (papers[name].folder / "results" / f"{profile}.json").is_file():
            return match[0]
        made = results_markdown(papers[name], profile, match["metrics"].split() or METRICS)
        return f"{match['head']}{made}{match['end']}"

    def fill_audit(match: re.Match[str]) -> str:
        if (paper := papers.get(match["paper"])) is None or not paper.published_path:
            return match[0]
        return f"{match['head']}{audit_markdown(paper)}{match['end']}"

    def fill_claims(match: re.Match[str]) -> str:
        name = match["paper"]
        if name and name not in papers:
            return match[0]
        made = claims_markdown([papers[name]] if name else papers.values())
        return f"{match['head']}{made}{match['end']}"

    def fill_conventions(match: re.Match[str]) -> str:
        return f"{match[1]}{conventions_markdown(FOLDER / f'{match[2]}_conventions.json')}{match[3]}"

    text = CLAIMS.sub(fill_claims, AUDIT.sub(fill_audit, PLACE.sub(fill, text)))
    text = TALLY.sub(lambda match: f"{match[1]}{tally_markdown(papers.values())}{match[2]}", text)
    text = LUNGS.sub(lambda match: f"{match[1]}{lungs_markdown(FOLDER / f'{match[2]}_dice.csv')}{match[3]}", text)
    return CONVENTIONS.sub(fill_conventions, text)
