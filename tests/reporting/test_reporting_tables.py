"""Tables of paper against ours, from a small made-up comparison."""

from __future__ import annotations

import io
import math

import pandas as pd
import pytest

from covid_keras.common.errors import UserError
from covid_keras.evaluation import PublishedCell, compare
from covid_keras.evaluation.summary import Measured
from covid_keras.published.cells import LOST_TEXT
from covid_keras.reporting import (
    comparison_latex,
    comparison_markdown,
    comparison_pivot,
    markdown_table,
    measured_table,
    paper_tables,
    table_title,
    verdict_counts,
    verdict_legend,
    write_comparison,
)
from covid_keras.reporting.tables import latex_escape, left_out_line, measured_cells, not_comparable_line
from covid_keras.reporting.wording import number, published_number


def cell(row: str, column: str, mean: float, **more) -> PublishedCell:
    more = {
        "table": "V",
        "std": 2.7,
        "unit": "percent",
        "target": mean,
        "doubt": "",
        "decimals": 2,
        "std_decimals": 2,
        "source": "",
        **more,
    }
    return PublishedCell(row=row, column=column, mean=mean, **more)


def ours(system: str, metric: str, mean: float, low: float, high: float) -> Measured:
    return Measured(system, metric, mean, 1.5, 1, 5, low, high, 90, 100)


@pytest.fixture
def frame() -> pd.DataFrame:
    published = [
        cell("[1] Crop | lungs", "Accuracy", 76.18, system="crop", metric="accuracy"),
        cell("[1] Crop | lungs", "P F1", 72.689, system="crop", metric="f1_positive", target=72.69, doubt="A slip."),
        cell("Full", "Accuracy", 70.0, system="full", metric="accuracy"),
        cell("Full", "P F1", 60.0, system="full", metric="f1_positive"),
        cell("Positives", "images", 1426, table="III", std=None, unit="count", system="", metric=""),
    ]
    measured = [
        ours("crop", "accuracy", 77.0, 74.0, 80.0),
        ours("crop", "f1_positive", 68.0, 65.0, 74.0),
        ours("full", "accuracy", 60.0, 58.0, 62.0),
    ]
    return compare(published, measured, 2.0)


def test_the_layout_is_the_papers(frame):
    five, three = paper_tables(frame)
    assert (five.name, five.rows, five.columns) == ("V", ("[1] Crop | lungs", "Full"), ("Accuracy", "P F1"))
    assert five.measured
    assert not three.measured
    assert [five.cells["[1] Crop | lungs", name].symbol for name in five.columns] == ["✓", "≈"]
    assert five.cells["Full", "Accuracy"].symbol == "✗"
    assert five.cells["Full", "P F1"].symbol == ""
    assert "Compared with 72.69" in five.cells["[1] Crop | lungs", "P F1"].doubt


def test_cells_read_paper_then_ours_then_verdict(frame):
    table = comparison_pivot(frame)["V"]
    assert table.loc["[1] Crop | lungs", "Accuracy"] == "76.18 ± 2.70 | 77.00 [74.00, 80.00] ✓"
    assert table.loc["[1] Crop | lungs", "P F1"] == "72.689 ± 2.70† | 68.00 [65.00, 74.00] ≈"
    assert table.loc["Full", "P F1"] == "60.00 ± 2.70 | –"
    assert comparison_pivot(frame)["III"].iloc[0, 0] == "1,426 | –"


def test_words_intervals_ratios_and_shares_of_the_row():
    published = [
        cell("Net", "Acc", 98.68, std=None, low=94.0, high=99.3, system="net", metric="accuracy"),
        cell("Net", "AUC", 0.9984, std=None, unit="ratio", system="net", metric="auc"),
        cell("Net", "Bias", math.nan, std=None, unit="text", text="Yes", system="net", metric=""),
        cell("Net", "said N", 598, std=None, unit="count", target=59800 / 603, row_total=603, system="net",
             metric="specificity"),
        cell("Else", "Bias", math.nan, std=None, unit="text", text="No", system="other", metric=""),
        cell("Else", "Acc", 90, std=None, system="other", metric="accuracy"),
    ]  # fmt: skip
    measured = [ours("net", "accuracy", 97, 96, 98), ours("net", "auc", 99.5, 99, 99.9)]
    frame = compare(published, [*measured, ours("net", "specificity", 99, 98, 99.5)], 2, not_run={"other": "no file"})
    table = comparison_pivot(frame)["V"].loc["Net"]
    assert table["Acc"] == "98.68 [94.00, 99.30] | 97.00 [96.00, 98.00] ✓"
    assert table["AUC"] == "0.9984 | 0.9950 [0.9900, 0.9990] ✓"
    assert table["Bias"] == "Yes | –"
    assert table["said N"] == "598 of 603 = 99.17 % | 99.00 [98.00, 99.50] ✓"
    assert left_out_line(paper_tables(frame)[0]) == "Left out: Else: no file."
    back = pd.read_csv(io.StringIO(frame.to_csv(index=False)))
    assert comparison_markdown(back) == comparison_markdown(frame)


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
    table = comparison_pivot(frame)["V"]
    assert table.loc["Net", "Acc"] == "not published in the text | 97.00 [96.00, 98.00] ○"
    assert table.loc["Net", "AUC"] == "not published in the text† | 0.9950 [0.9900, 0.9990] ○"
    assert table.loc["Set", "images"] == "not published in the text | –"
    (shown,) = paper_tables(frame)
    assert not_comparable_line(shown) == "○ not comparable: not published in the text."
    assert left_out_line(shown) == "Left out: Else: no file."
    both = compare([*published, cell("Net", "F1", 80, system="net", metric="f1")],
                   [*measured, ours("net", "f1", 79, 78, 80)], 2, "other images")  # fmt: skip
    assert not_comparable_line(paper_tables(both)[0]) == "○ not comparable: other images.", "said in the cells"
    fine = cell("Fine", "Acc", 80, system="fine", metric="accuracy")
    other = cell("Like", "Acc", 80, system="like", metric="accuracy")
    measured += [ours(name, "accuracy", 79, 78, 80) for name in ("fine", "like")]
    named = compare([*published, fine, other], measured, 2, {"like": "surrogate"})
    assert not_comparable_line(paper_tables(named)[0]) == "○ not comparable: Like: surrogate.", "not of all rows"
    assert [one["difference"] for one in measured_cells(frame)] == ["–", "–"]
    assert verdict_counts(frame)["not comparable"] == 2
    back = pd.read_csv(io.StringIO(frame.to_csv(index=False)))
    assert comparison_markdown(back) == comparison_markdown(frame)


def test_a_comparison_read_back_from_csv_gives_the_same_tables(frame):
    back = pd.read_csv(io.StringIO(frame.to_csv(index=False)))
    assert comparison_markdown(back) == comparison_markdown(frame)


def test_counts_of_verdicts(frame):
    assert verdict_counts(frame) == {
        "reproduced": 1,
        "within interval": 1,
        "not reproduced": 1,
        "not comparable": 0,
        "not measured": 2,
    }
    assert verdict_counts(frame.assign(outcome=""))["not comparable"] == 3


def test_markdown_escapes_pipes_and_keeps_the_width(frame):
    text = comparison_markdown(frame)
    rows = [line.replace("\\|", "") for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {3, 4}
    assert "| \\[" not in text
    assert "[1] Crop \\| lungs" in text
    assert text.index("### Table V") < text.index(verdict_legend()) < text.index("### Table III")
    assert "A slip." in text


def test_markdown_table_of_any_frame():
    frame = pd.DataFrame({"a|b": ["one\ntwo"], "c": [1]})
    assert markdown_table(frame) == "| a\\|b | c |\n| --- | --- |\n| one two | 1 |\n"


def test_latex_has_what_was_measured_and_no_raw_special_character(frame):
    text = comparison_latex(frame)
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 1
    assert r"{[}1{]} Crop \textbar{} lungs" in text
    assert not set(text) & set("✓≈✗○±–†|%") - {"%"}
    assert latex_escape("50 % & a_b [x]") == r"50 \% \& a\_b {[}x{]}"


def test_measured_table_puts_metrics_in_rows():
    measured = [ours("crop", "accuracy", 77.0, 74.0, 80.0), ours("full", "auc", math.nan, math.nan, math.nan)]
    table = measured_table(measured, {"crop": "With crop"}, metrics=["accuracy", "auc"])
    assert list(table.columns) == ["metric", "With crop", "full"]
    assert table.iloc[0].tolist() == ["accuracy", "77.00 ± 1.50 [74.00, 80.00]", "–"]
    assert table.iloc[1].tolist() == ["auc", "–", "–"]


def test_numbers():
    assert [published_number(value) for value in (3.0, 72.689, math.nan)] == ["3.00", "72.689", "–"]
    assert number(-1.234) == "−1.23"
    assert number(1.2, signed=True) == "+1.20"
    assert [table_title(name) for name in ("VI (as printed)", "2", "text", "Additional")] == [
        "Table VI (as printed)",
        "Table 2",
        "Running text",
        "Additional",
    ]


def test_malformed_comparisons_are_refused(frame):
    with pytest.raises(ValueError, match="lacks the columns low"):
        paper_tables(frame.drop(columns="low"))
    with pytest.raises(ValueError, match=r"a cell twice: V, \[1\] Crop"):
        paper_tables(pd.concat([frame, frame[:1]]))
    with pytest.raises(ValueError, match="unknown verdict 'great'"):
        paper_tables(frame.assign(verdict="great"))


def test_files_are_written_whole(tmp_path, frame):
    paths = write_comparison(tmp_path, frame)
    assert [path.name for path in paths] == ["comparison.csv", "comparison.md", "comparison.tex"]
    pd.testing.assert_frame_equal(pd.read_csv(paths[0], keep_default_na=False, usecols=["row"]), frame[["row"]])
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_comparison(tmp_path / "file" / "below", frame)


def test_every_table_says_why_it_is_not_comparable_and_the_banner_comes_first(tmp_path, frame):
    other = frame.assign(outcome="", reason=frame["reason"].where(frame["ours"].isna(), "other_data; 96 px."))
    five, three = paper_tables(other)
    assert not_comparable_line(five) == "○ not comparable: other_data; 96 px."
    assert not_comparable_line(three) == not_comparable_line(paper_tables(frame)[0]) == ""
    paths = write_comparison(tmp_path, other, banner="PHANTOM: 100 % made.")
    csv, markdown, latex = (path.read_text(encoding="utf-8") for path in paths)
    assert "PHANTOM" not in csv
    assert markdown.startswith("**PHANTOM: 100 % made.**\n\n### Table V\n")
    below = markdown.split("### Table V\n")[1].split("Cell: paper")[0]
    assert "○ not comparable: other_data; 96 px." in below
    assert latex.startswith("\\noindent\\textbf{PHANTOM: 100 \\% made.}\n")
    caption = next(line for line in latex.splitlines() if line.startswith(r"\caption"))
    assert r"$\circ$ not comparable: other\_data; 96 px." in caption
    assert not comparison_markdown(frame).startswith("**")
    assert comparison_latex(frame).startswith(r"\begin{table}")
