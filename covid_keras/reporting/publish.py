"""Putting a run's numbers into the repository: predictions, metrics, and the tables of the READMEs made from them.

`covid-keras publish RUN` writes `papers/<paper>/results/<profile>.json` and `<profile>-predictions.csv`, and fills
the places between `<!-- results NAME PROFILE -->` and `<!-- end -->` in the READMEs; `<!-- results NAME PROFILE
excerpt -->`, on one line, gets a short excerpt instead of everything. Nobody types a number by hand:
a test makes metrics from predictions and tables from metrics again and compares.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from covid_keras.errors import UserError
from covid_keras.evaluation import (
    Measured,
    compare,
    load_published,
    measured_from_json,
    read_predictions,
    write_predictions,
)
from covid_keras.files import read_json, write_json, write_text
from covid_keras.models.registry import FOLDER
from covid_keras.reporting.evidence import SHARES, read_shares
from covid_keras.reporting.results import Results, comparable_of, results_json
from covid_keras.reporting.tables import (
    NOTHING,
    VERDICTS,
    Cell,
    comparison_pivot,
    left_out_line,
    markdown_table,
    measured_table,
    not_comparable_line,
    paper_tables,
    table_title,
    verdict_legend,
)
from covid_keras.training.experiment import Paper, load_papers
from covid_keras.training.runfolder import RunFolder

ROOT = Path(__file__).resolve().parents[2]
LUNGS = re.compile(r"(<!-- lungs -->\n).*?(<!-- end -->)", re.DOTALL)
PLACE = re.compile(
    r"(?P<head><!-- results (?P<paper>\S+) (?P<profile>\S+?)(?P<excerpt> excerpt)? -->\n).*?(?P<end><!-- end -->)",
    re.DOTALL,
)
EXCERPT = ("sensitivity", "specificity", "accuracy")


def publish_run(path: str | Path) -> Path:
    """Put a finished run into `papers/<paper>/results/` and bring the READMEs up to date; return that folder.

    Raises
    ------
    UserError
        Where the run is not complete, or this is no checkout.
    """
    require_checkout()
    results = Results.of(RunFolder.open(path))
    if not results.complete:
        raise UserError(path, "is not complete, and half a run is no result", "Let `covid-keras reproduce` finish it")
    folder, profile = results.paper.folder / "results", results.run.protocol.profile
    files = predictions_files(folder, profile, len(results.frames))
    for path, frame in zip(files, results.frames, strict=True):
        write_predictions(path, portable(frame))
    for path in set(folder.glob(f"{profile}-predictions*.csv")) - set(files):
        path.unlink()  # of an older run with more sets of classes
    if len(shares := read_shares(results.run.path / SHARES)):
        write_text(folder / f"{profile}-{SHARES}", shares.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    for name, text in results.paper.publishes(results.run).items():
        path = folder / f"{profile}-{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    write_json(folder / f"{profile}.json", results_json(results))
    refresh_readmes()
    return folder


def refresh_readmes() -> Path:
    """Fill every place of results in the READMEs from what is committed; return the checkout.

    Raises
    ------
    UserError
        Where this is no checkout.
    """
    require_checkout()
    for readme in readmes():
        write_text(readme, filled(readme.read_text(encoding="utf-8")))
    return ROOT


def predictions_files(folder: Path, profile: str, count: int) -> list[Path]:
    """Return the files of a profile's predictions, one for each set of classes that systems are evaluated in."""
    return [folder / f"{profile}-predictions{'' if place == 1 else f'-{place}'}.csv" for place in range(1, count + 1)]


def require_checkout() -> None:
    """Raise `UserError` where the suite does not run from a checkout, whose READMEs and results there are to write."""
    if not (ROOT / "setup.cfg").is_file() or {"site-packages", "dist-packages"} & set(ROOT.parts):
        raise UserError(
            ROOT,
            "is no checkout of covid_keras, so there are no READMEs to fill",
            "Clone the repository, `pip install -e .` there, and publish again",
        )


def portable(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return predictions with file names instead of paths of this machine."""
    return predictions.assign(path=[Path(path).name for path in predictions["path"]])


def readmes() -> list[Path]:
    """Return the READMEs that may hold results."""
    return [ROOT / "README.md", *sorted((ROOT / "papers").glob("*/README.md")), FOLDER / "README.md"]


def filled(text: str) -> str:
    """Return a README's text with every place of results filled from the committed JSON."""
    papers = load_papers()

    def fill(match: re.Match[str]) -> str:
        name, profile = match["paper"], match["profile"]
        if name not in papers or not (papers[name].folder / "results" / f"{profile}.json").is_file():
            return match[0]
        make = excerpt_markdown if match["excerpt"] else results_markdown
        return f"{match['head']}{make(papers[name], profile)}{match['end']}"

    return LUNGS.sub(lambda match: f"{match[1]}{lungs_markdown()}{match[2]}", PLACE.sub(fill, text))


def lungs_markdown() -> str:
    """Return the shipped U-Net's Dice and IoU as Markdown: mean, percentiles, and the ten worst images."""
    from covid_keras.evaluation.overlap import summarise_overlap

    table = pd.read_csv(FOLDER / "lungs_unet16_dice.csv")
    found = summarise_overlap(table)
    names = ("mean", "std", "min", "p5", "p25", "p50", "p75", "p95", "max")
    rows = [[measure, *(f"{found[f'{measure}_{name}']:.4f}" for name in names)] for measure in ("dice", "iou")]
    worst = table.head(10)[["image_id", "view", "dice", "iou"]].round(4).astype(str)
    return (
        f"{found['images']} images of {found['patients']} patients (percentiles over images, std with ddof 1).\n\n"
        f"{markdown_table(pd.DataFrame(rows, columns=['', *names]))}\nThe ten worst:\n\n{markdown_table(worst)}"
    )


def results_markdown(paper: Paper, profile: str) -> str:
    """Return a profile's committed results as Markdown: the paper's tables with ours beside, then all metrics."""
    source, measured, rows = committed(paper, profile)
    names = {system.name: system.title for system in paper.systems}
    pivots = comparison_pivot(rows)
    tables = [
        f"**{table_title(table.name)}**: paper \\| ours\n\n{markdown_table(pivots[table.name].reset_index())}"
        + "".join(f"\n{line}\n" for line in (not_comparable_line(table), left_out_line(table)) if line)
        for table in paper_tables(rows)
        if table.measured
    ]
    counts = ", ".join(f"{name} {count}" for name, count in source["cohort_counts"].items())
    head = (
        f"Profile `{profile}`, {source['executions']} executions, {counts} images, "
        f"{source['training_hours']:.2f} hours of training on {source['trained_on']['cores']} cores "
        f'(code at {", ".join(source["training_revisions"])}; "+changes": uncommitted edits beside).{_reason(source)}\n'
    )
    everything = f"**All that was measured**\n\n{markdown_table(measured_table(measured, names))}"
    return "\n".join([head, *tables, verdict_legend(), "", everything])


def excerpt_markdown(paper: Paper, profile: str) -> str:
    """Return a few committed numbers as Markdown: one table, sensitivity, specificity and accuracy, one line of legend.

    The table is the paper's first that holds the most of these of ours; of its rows those that were measured.
    """
    source, _, rows = committed(paper, profile)
    # A confusion matrix is read as a whole or not at all.
    rows = rows[rows["ours"].notna() & rows["metric"].isin(EXCERPT) & (rows["paper_text"] == "")]
    if rows.empty:
        raise UserError(paper.name, f"has no {', '.join(EXCERPT)} in its results of {profile}", "Take the full place")
    rows = rows[rows["table"] == rows.groupby("table", sort=False)["metric"].nunique().idxmax()]
    columns = rows.sort_values("metric", key=lambda names: names.map(EXCERPT.index))["column"].unique()
    (table,) = paper_tables(rows)
    lines = [
        {"system": f"{row}, {whose}"} | {column: text(table.cells.get((row, column))) for column in columns}
        for row in table.rows
        for whose, text in (("paper", _paper_text), ("ours", _our_text))
    ]
    signs = {cell.verdict: cell.symbol for cell in table.cells.values()}
    legend = "; ".join(f"{sign} {VERDICTS[verdict][1]}" for verdict, sign in signs.items())
    unit = "shares of 1" if set(rows["unit"]) == {"ratio"} else "percent"
    return (
        f"{table_title(table.name)}, {unit}:\n\n{markdown_table(pd.DataFrame(lines))}\n"
        f"Paper: mean ± std. Ours: profile `{profile}`, {source['executions']} executions in all, mean and "
        f"[95 % interval by patient]. {legend}.{_reason(source)}\n"
    )


def _paper_text(cell: Cell | None) -> str:
    return cell.paper if cell else NOTHING


def _our_text(cell: Cell | None) -> str:
    if cell is None:
        return NOTHING
    return " ".join(part for part in (f"**{cell.ours}**", cell.interval, cell.symbol) if part)


def committed(paper: Paper, profile: str) -> tuple[dict[str, Any], list[Measured], pd.DataFrame]:
    """Return a profile's committed results: provenance, what was measured, and the paper's rows beside it.

    The tolerance is the one of the run's own protocol, which was set before it; today's may be another.
    """
    path = paper.folder / "results" / f"{profile}.json"
    value = read_json(path)
    source, measured = value["provenance"], measured_from_json(value, str(path))
    tolerance = yaml.safe_load(source["protocol"])["tolerance"]
    comparable, left_out = comparable_of(source["comparable"], source.get("surrogates", {})), source.get("left_out", {})
    frame = compare(load_published(paper.folder / "published.yaml"), measured, tolerance, comparable, left_out)
    return source, measured, frame[frame["system"].isin({*left_out, *(one.system for one in measured)})]


def _reason(source: dict[str, Any]) -> str:
    if source["comparable"] is True:
        return ""
    return f" Not comparable with the paper: {str(source['comparable']).rstrip('.')}."


def regenerated(paper: Paper, profile: str) -> list[pd.DataFrame]:
    """Return the committed predictions of a profile, checked, a table for each set of classes."""
    folder = paper.folder / "results"
    count = len(list(folder.glob(f"{profile}-predictions*.csv")))
    return [read_predictions(path) for path in predictions_files(folder, profile, count)]
