from __future__ import annotations

import pytest

from covid_keras.errors import UserError
from covid_keras.evaluation import PublishedCell, load_paper, load_published

PAPER = """
paper: {title: T, authors: [A, B], journal: J, year: 2020, doi: 10.1/x, citation: C}
tables:
"""
TABLE = """
  - table: "1"
    title: things
    unit: percent
    doubt: The table is odd.
    columns:
      - {name: Acc, metric: accuracy}
      - {name: "n", unit: count}
    rows:
      - row: best
        system: net
        values: [72.00 ± 0.5, "-"]
        doubt: So is the row.
        cells:
          Acc: {target: 73.1, doubt: And the cell., source: abstract}
      - row: severe
        system: net
        metric: accuracy_Severe
        values: {Acc: 0.90, other: 5}
        cells: {other: {unit: ratio, metric: auc}}
"""


def write(folder, tables=TABLE, head=PAPER):
    path = folder / "published.yaml"
    path.write_text(head + tables, encoding="utf-8")
    return path


def test_cells_in_order_with_decimals_as_printed(tmp_path):
    cells = load_published(write(tmp_path))
    assert cells[0] == PublishedCell(
        table="1", row="best", column="Acc", mean=72.0, std=0.5, unit="percent", target=73.1,
        doubt="The table is odd. So is the row. And the cell.", system="net", metric="accuracy",
        decimals=2, std_decimals=1, source="abstract",
    )  # fmt: skip
    assert [(cell.row, cell.column) for cell in cells] == [
        ("best", "Acc"),
        ("severe", "Acc"),
        ("severe", "other"),
    ]
    severe, other = cells[1:]
    assert (severe.metric, severe.std, severe.target, severe.decimals) == ("accuracy_Severe", None, 0.9, 2)
    assert (other.unit, other.metric, other.decimals, other.doubt) == ("ratio", "auc", 0, "The table is odd.")


def test_the_paper_itself(tmp_path):
    assert load_paper(write(tmp_path))["authors"] == ["A", "B"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("72.00 ± 0.5", "'72,00'", "table 1, row 'best', column 'Acc': '72,00' is not a number"),
        ("72.00 ± 0.5", "about 72", "'about 72' is not a number"),
        ("72.00 ± 0.5", "[72]", "is not a number"),
        ('[72.00 ± 0.5, "-"]', "[72.00]", "table 1, row 'best': 1 values for 2 columns"),
        ("target: 73.1", "target: x", "table 1, row 'best', column 'Acc': 'x' is not a number"),
        ("target:", "targett:", "table 1, row 'best', column 'Acc': a cell has the unknown key 'targett'"),
        ("Acc: {target", "Accuracy: {target", "cells name the column 'Accuracy', which has no value"),
        ("unit: percent", "unit: per cent", "unknown unit 'per cent'. Choose one of percent"),
        ("    unit: percent\n", "", "table 1: a table lacks unit"),
        ("        values: [72", "        valeus: [72", "table 1, row 'best': a row lacks values"),
        ("row: severe", "row: best", "table 1, row 'best', column 'Acc' stands there twice"),
        ("columns:\n", "columns: many\n    rest:\n", "unknown key 'rest'"),
        ("{name: Acc, metric: accuracy}", "Acc", "table 1: a column is a mapping, here is 'Acc'"),
        ("system: net", "system: [net]", "system of a row cannot be"),
        ("{Acc: 0.90, other: 5}", "0.90", "values of a row cannot be '0.90'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, old, new, message):
    assert old in TABLE
    path = write(tmp_path, TABLE.replace(old, new, 1))
    with pytest.raises(UserError) as caught:
        load_published(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_files_that_are_no_such_file(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.yaml: cannot be read"):
        load_published(tmp_path / "nothing.yaml")
    with pytest.raises(UserError, match="is not valid YAML"):
        load_published(write(tmp_path, "  - [unclosed"))
    with pytest.raises(UserError, match="a file is a mapping, here is None"):
        load_published(write(tmp_path, "", head=""))
    with pytest.raises(UserError, match="paper lacks doi"):
        load_published(write(tmp_path, head=PAPER.replace("doi: 10.1/x, ", "")))
