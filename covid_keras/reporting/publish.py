"""Putting a run's numbers into the repository: predictions, metrics, and the tables of the READMEs made from them.

`covid-keras publish RUN` writes `papers/<paper>/results/<profile>.json` and `<profile>-predictions.csv`, and fills
the places between `<!-- results NAME PROFILE -->` and `<!-- end -->` in the READMEs. Nobody types a number by hand:
a test makes metrics from predictions and tables from metrics again and compares.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from covid_keras.errors import UserError
from covid_keras.evaluation import compare, load_published, measured_from_json, read_predictions, write_predictions
from covid_keras.files import read_json, write_json, write_text
from covid_keras.models.registry import FOLDER
from covid_keras.reporting.run import Results, results_json
from covid_keras.reporting.tables import comparison_pivot, markdown_table, measured_table, table_title, verdict_legend
from covid_keras.training.experiment import Paper, load_papers
from covid_keras.training.runfolder import RunFolder

ROOT = Path(__file__).resolve().parents[2]
LUNGS = re.compile(r"(<!-- lungs -->\n).*?(<!-- end -->)", re.DOTALL)
PLACE = re.compile(r"(<!-- results (\S+) (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def publish_run(path: str | Path) -> Path:
    """Put a finished run into `papers/<paper>/results/` and bring the READMEs up to date; return that folder.

    Raises
    ------
    UserError
        Where the run is not complete, or this is no checkout.
    """
    results = Results.of(RunFolder.open(path))
    if not results.complete:
        raise UserError(path, "is not complete, and half a run is no result", "Let `covid-keras reproduce` finish it")
    folder, profile = results.paper.folder / "results", results.run.protocol.profile
    write_predictions(folder / f"{profile}-predictions.csv", portable(results.predictions))
    write_json(folder / f"{profile}.json", results_json(results))
    refresh_readmes()
    return folder


def refresh_readmes() -> Path:
    """Fill every place of results in the READMEs from what is committed; return the checkout."""
    for readme in readmes():
        write_text(readme, filled(readme.read_text(encoding="utf-8")))
    return ROOT


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
        name, profile = match[2], match[3]
        if name not in papers or not (papers[name].folder / "results" / f"{profile}.json").is_file():
            return match[0]
        return f"{match[1]}{results_markdown(papers[name], profile)}{match[4]}"

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
    value = read_json(paper.folder / "results" / f"{profile}.json")
    source, measured = value["provenance"], measured_from_json(value)
    protocol = paper.protocol(profile)
    frame = compare(load_published(paper.folder / "published.yaml"), measured, protocol.tolerance, source["comparable"])
    names = {system.name: system.title for system in paper.systems}
    rows = frame[frame["system"].isin({one.system for one in measured})]
    tables = [
        f"**{table_title(name)}**: paper \\| ours\n\n{markdown_table(table.reset_index())}"
        for name, table in comparison_pivot(rows).items()
        if rows.loc[rows["table"] == name, "ours"].notna().any()
    ]
    reason = "" if source["comparable"] is True else f" Not comparable with the paper: {source['comparable']}."
    counts = ", ".join(f"{name} {count}" for name, count in source["cohort_counts"].items())
    head = (
        f"Profile `{profile}`, {source['executions']} executions, {counts} images, "
        f"{source['training_hours']:.2f} hours of training on {source['trained_on']['cores']} cores.{reason}\n"
    )
    everything = f"**All that was measured**\n\n{markdown_table(measured_table(measured, names))}"
    return "\n".join([head, *tables, verdict_legend(), "", everything])


def regenerated(paper: Paper, profile: str) -> pd.DataFrame:
    """Return the committed predictions of a profile, checked."""
    return read_predictions(paper.folder / "results" / f"{profile}-predictions.csv")
