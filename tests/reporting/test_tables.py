"""Tables of paper against ours, from a small made-up comparison, as values, Markdown and LaTeX."""

from __future__ import annotations

import io
import math

import pandas as pd
import pytest

from covid_keras.common.errors import UserError
from covid_keras.evaluation import Grade, Measured, PublishedCell, compare
from covid_keras.evaluation.verdicts import as_published
from covid_keras.published.cells import LOST_TEXT
from covid_keras.published.facts import table_title
from covid_keras.reporting.comparisons import comparison_section, legend, write_comparison
from covid_keras.reporting.document import Report
from covid_keras.reporting.renderer import latex_escape, render
from covid_keras.reporting.tables import (
    doubtful_cells,
    measured_cells,
    measured_table,
    paper_tables,
    reason_lines,
    verdict_counts,
)

CROP = "[1] Crop | lungs"


def cell(row: str, column: str, mean: float, **more) -> PublishedCell:
    given = {"table": "V", "std": 2.7, "unit": "percent", "target": mean, "decimals": 2, "std_decimals": 2} | more
    return PublishedCell(row=row, column=column, mean=mean, **given)


def ours(system: str, metric: str, mean: float, low: float, high: float) -> Measured:
    return Measured(system, metric, mean, 1.5, 1, 5, low, high, 90, 100)


def texts(frame: pd.DataFrame) -> dict[tuple[str, str], str]:
    """The cells of the first table as text, by row and column."""
    return {place: str(one) for place, one in paper_tables(frame)[0].cells.items()}


def markdown(frame: pd.DataFrame) -> str:
    return render(Report(sections=[comparison_section(frame)]), "md")


@pytest.fixture
def frame() -> pd.DataFrame:
    published = [
        cell(CROP, "Accuracy", 76.18, system="crop", metric="accuracy"),
        cell(CROP, "P F1", 72.689, system="crop", metric="f1_positive", target=72.69, doubt="A slip."),
        cell("Full", "Accuracy", 70.0, system="full", metric="accuracy"),
        cell("Full", "P F1", 60.0, system="full", metric="f1_positive"),
        cell("Positives", "images", 1426, table="III", std=None, unit="count"),
    ]
    measured = [
        ours("crop", "accuracy", 77.0, 74.0, 80.0),
        ours("crop", "f1_positive", 68.0, 65.0, 74.0),
        ours("full", "accuracy", 60.0, 58.0, 62.0),
    ]
    return compare(published, measured, 2.0)


def test_the_layout_is_the_papers(frame):
    five, three = paper_tables(frame)
    assert (five.name, five.rows, five.columns) == ("V", (CROP, "Full"), ("Accuracy", "P F1"))
    assert (five.measured, three.measured) == (True, False)
    assert {place: one.symbol for place, one in five.cells.items()} == {
        (CROP, "Accuracy"): "✓",
        (CROP, "P F1"): "≈",
        ("Full", "Accuracy"): "✗",
        ("Full", "P F1"): "",
    }
    assert dict(doubtful_cells(frame)) == {f"Table V ({CROP}, P F1)": "A slip. Compared with 72.69."}


def test_cells_read_paper_then_ours_then_verdict(frame):
    assert texts(frame) == {
        (CROP, "Accuracy"): "76.18 ± 2.70 | 77.00 [74.00, 80.00] ✓",
        (CROP, "P F1"): "72.689 ± 2.70† | 68.00 [65.00, 74.00] ≈",
        ("Full", "Accuracy"): "70.00 ± 2.70 | 60.00 [58.00, 62.00] ✗",
        ("Full", "P F1"): "60.00 ± 2.70 | –",
    }
    assert measured_cells(frame)["difference (tolerance)"].tolist() == [
        "+0.82 (±2.00)",
        "−4.69 (±2.00)",
        "−10.00 (±2.00)",
    ]


def test_words_intervals_ratios_and_shares_of_the_row():
    bare = {"std": None}
    word = {"std": None, "unit": "text"}
    published = [
        cell("Net", "Acc", 98.68, low=94.0, high=99.3, system="net", metric="accuracy", **bare),
        cell("Net", "AUC", 0.9984, unit="ratio", system="net", metric="auc", **bare),
        cell("Net", "Bias", math.nan, text="Yes", system="net", **word),
        cell(
            "Net",
            "said N",
            598,
            unit="count",
            target=59800 / 603,
            row_total=603,
            system="net",
            metric="specificity",
            **bare,
        ),
        cell("Else", "Bias", math.nan, text="No", system="other", **word),
        cell("Else", "Acc", 90, system="other", metric="accuracy", **bare),
    ]
    measured = [ours("net", "accuracy", 97, 96, 98), ours("net", "auc", 99.5, 99, 99.9)]
    frame = compare(published, [*measured, ours("net", "specificity", 99, 98, 99.5)], 2, not_run={"other": "no file"})
    assert [texts(frame)["Net", name] for name in ("Acc", "AUC", "Bias", "said N")] == [
        "98.68 [94.00, 99.30] | 97.00 [96.00, 98.00] ✓",
        "0.9984 | 0.9950 [0.9900, 0.9990] ✓",
        "Yes | –",
        "598 of 603 = 99.17 % | 99.00 [98.00, 99.50] ✓",
    ]
    assert reason_lines(paper_tables(frame)[0]) == "Left out: Else: no file."


def test_what_the_text_has_lost_stands_beside_ours():
    lost = {"std": None, "text": LOST_TEXT, "lost": True}
    published = [
        cell("Net", "Acc", math.nan, system="net", metric="accuracy", **lost),
        cell("Net", "AUC", math.nan, unit="ratio", doubt="Drawn.", system="net", metric="auc", **lost),
        cell("Set", "images", math.nan, unit="count", **lost),
        cell("Else", "Acc", math.nan, system="other", metric="accuracy", **lost),
        cell("Else", "F1", 80, std=None, system="other", metric="f1"),
    ]
    measured = [ours("net", "accuracy", 97, 96, 98), ours("net", "auc", 99.5, 99, 99.9)]
    frame = compare(published, measured, 2, not_run={"other": "no file"})
    assert texts(frame)["Net", "Acc"] == f"{LOST_TEXT} | 97.00 [96.00, 98.00] ○"
    assert texts(frame)["Net", "AUC"] == f"{LOST_TEXT}† | 0.9950 [0.9900, 0.9990] ○"
    assert texts(frame)["Set", "images"] == f"{LOST_TEXT} | –"
    alone = f"○ not comparable: {LOST_TEXT}.\n\nLeft out: Else: no file."
    assert reason_lines(paper_tables(frame)[0]) == alone
    assert measured_cells(frame)["difference (tolerance)"].tolist() == ["–", "–"]
    assert verdict_counts(frame)["not comparable"] == 2
    published.append(cell("Net", "F1", 80, system="net", metric="f1"))
    measured.append(ours("net", "f1", 79, 78, 80))
    both = compare(published, measured, 2, stand_in_of("net", "other images"))
    assert reason_lines(paper_tables(both)[0]) == "○ not comparable: other images.", "the cells say what is lost"
    published += [cell(name, "Acc", 80, system=name, metric="accuracy") for name in ("fine", "like")]
    measured += [ours(name, "accuracy", 79, 78, 80) for name in ("fine", "like")]
    named = compare(published, measured, 2, stand_in_of("like", "surrogate"))
    assert reason_lines(paper_tables(named)[0]) == "○ not comparable: like: surrogate.", "not of all rows"
    assert markdown(read_back(frame)) == markdown(frame)


def stand_in_of(system: str, reason: str):
    """Grade one system's numbers as those of a stand-in, all others as reproductions."""
    return lambda name, table: (Grade.STAND_IN, reason) if name == system else as_published(name, table)


def test_grade_and_reasons_stand_in_one_column_and_below():
    published = [cell(name, "Acc", 80, system=name, metric="accuracy") for name in ("same", "redrawn", "other")]
    measured = [ours(name, "accuracy", 79, 78, 80) for name in ("same", "redrawn", "other")]
    grades = {"redrawn": (Grade.REPLICATION, "9 images missing"), "other": (Grade.STAND_IN, "64 px")}
    frame = compare(published, measured, 2, lambda name, table: grades.get(name) or as_published(name, table))
    (table,) = paper_tables(frame)
    head, rows = table.grid
    assert head[:2] == ["system", "grade"]
    assert [row[1] for row in rows] == ["reproduction", "replication", "stand-in"]
    assert "not comparable: other: 64 px" in reason_lines(table)
    assert "redrawn: 9 images missing" in reason_lines(table)
    assert list(frame["outcome"] != "") == [True, True, False]


def read_back(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(frame.to_csv(index=False)))


def test_a_comparison_read_back_from_csv_gives_the_same_tables(frame):
    assert markdown(read_back(frame)) == markdown(frame)
    assert verdict_counts(read_back(frame)) == verdict_counts(frame)


def test_counts_of_verdicts(frame):
    counts = {"reproduced": 1, "within interval": 1, "not reproduced": 1, "not comparable": 0, "not measured": 2}
    assert verdict_counts(frame) == counts
    assert verdict_counts(frame.assign(outcome=""))["not comparable"] == 3


def test_a_paper_without_published_numbers_has_no_counts(frame):
    assert verdict_counts(frame[:0]) == {}


def test_markdown_escapes_pipes_and_keeps_the_width(frame):
    text = markdown(frame)
    against = text.split("**Table V**")[1].split("<details>")[0]
    rows = [line.replace("\\|", "") for line in against.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {5}
    assert "[1] Crop \\| lungs" in against
    folded = [line for line in text.splitlines() if line.startswith("<details>")]
    assert [" ".join(line.split()[:3]) for line in folded] == [
        "<details><summary>What the signs",
        "<details><summary>Cell by cell:",
        "<details><summary>Published tables not",
        "<details><summary>† Doubtful numbers",
    ]
    assert text.index("not measured in this run (1)") < text.index("**Table III**")


def test_latex_has_what_was_measured_and_no_raw_special_character(tmp_path, frame):
    text = write_comparison(tmp_path, frame)[2].read_text(encoding="utf-8")
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 1
    assert r"{[}1{]} Crop \textbar{} lungs & reproduction & 76.18 $\pm$ 2.70 \textbar{} 77.00" in text
    assert latex_escape(legend(frame)) in text
    assert not set(text) & set("✓≈✗○±–†|%") - {"%"}
    assert latex_escape("50 % & a_b [x]") == r"50 \% \& a\_b {[}x{]}"


def test_measured_table_puts_metrics_in_rows():
    measured = [ours("crop", "accuracy", 77.0, 74.0, 80.0), ours("full", "auc", math.nan, math.nan, math.nan)]
    table = measured_table(measured, {"crop": "With crop"}, metrics=["accuracy", "auc"])
    assert table.to_dict("list") == {
        "metric": ["accuracy", "auc"],
        "With crop": ["77.00 ± 1.50 [74.00, 80.00]", "–"],
        "full": ["–", "–"],
    }


def test_titles_of_tables():
    names = {"VI (as printed)": "Table VI (as printed)", "2": "Table 2", "text": "Running text", "Other": "Other"}
    assert {name: table_title(name) for name in names} == names


def test_malformed_comparisons_are_refused(frame):
    with pytest.raises(ValueError, match="low"):
        paper_tables(frame.drop(columns="low"))
    with pytest.raises(ValueError, match=r"twice: V, \[1\] Crop"):
        paper_tables(pd.concat([frame, frame[:1]]))
    with pytest.raises(ValueError, match="great"):
        paper_tables(frame.assign(outcome="great"))


def test_files_are_written_whole_and_the_banner_comes_first(tmp_path, frame):
    other = frame.assign(outcome="", reason=frame["reason"].where(frame["ours"].isna(), "other_data; 96 px."))
    paths = write_comparison(tmp_path, other, banner="PHANTOM: 100 % made.")
    assert [path.name for path in paths] == ["comparison.csv", "comparison.md", "comparison.tex"]
    pd.testing.assert_frame_equal(pd.read_csv(paths[0], keep_default_na=False, usecols=["row"]), frame[["row"]])
    csv, text, latex = (path.read_text(encoding="utf-8") for path in paths)
    assert "PHANTOM" not in csv
    assert text.startswith("**PHANTOM: 100 % made.**\n\n## Paper against ours\n")
    assert "○ not comparable: other_data; 96 px." in text
    assert latex.startswith("\\noindent\\textbf{PHANTOM: 100 \\% made.}\n")
    caption = next(line for line in latex.splitlines() if line.startswith(r"\caption"))
    assert r"$\circ$ not comparable: other\_data; 96 px." in caption
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_comparison(tmp_path / "file" / "below", frame)
