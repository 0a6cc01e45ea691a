"""Foreign text, such as names of files and cells of received tables, leaves the suite as text and nothing else."""

from __future__ import annotations

import csv
import itertools
import json
import os
from pathlib import Path

import pandas as pd
import pytest
import yaml

from covid_keras.commands.main import main
from covid_keras.common.errors import UserError, escaped, printable, unescaped
from covid_keras.common.files import json_text, read_json, write_json, write_text
from covid_keras.common.settings import read_yaml
from covid_keras.common.tables import cell_text, read_table, read_written, restored, write_table
from covid_keras.data.cohort import Cohort
from covid_keras.data.images import write_image
from covid_keras.data.splits import read_split, write_split
from covid_keras.evaluation import read_predictions, write_predictions
from covid_keras.inference.inputs import find_items, write_errors
from covid_keras.reporting.figures import confusion_panels
from covid_keras.reporting.renderer import drawn
from tests.helpers.command import fails
from tests.helpers.images import smooth_noise
from tests.helpers.predictions import make_predictions
from tests.helpers.refusals import refused

pytestmark = pytest.mark.timeout(120)

FOREIGN = (
    '=HYPERLINK("x.example","a")', "+1+1", "-2+3", "@SUM(A1)", "\uff1d1+1", "'=1", "'003", "=1;=2",
    "\t=1", "\r=1", "a\x1b[2Jb", "a\nb", "a\u202eb", "a\udcffb", "a\\x{1b}b", " a ", "a\u00a0", "a$b$c", "名前,\"x\"",
    "-0.5", "003",
)  # fmt: skip
# One of each kind, for the commands.
NAMES = ('=HYPERLINK("x.example","a")', "-2+3", "@SUM(A1)", "'003", "\t=1", "a\x1b[2Jb", "a\nb", "a\udcffb", "a$b$c")
TEXTS = tuple(text for text in NAMES if "\udcff" not in text)
SIGNS = ("=", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def cells_of(path: Path) -> list[str]:
    with open(path, encoding="utf-8", newline="") as stream:
        return list(itertools.chain.from_iterable(csv.reader(stream)))


def harmless(cell: str) -> bool:
    """Whether a spreadsheet shows a cell as it is, and a terminal does what is expected."""
    number = cell.lstrip("+-").replace(".", "", 1).isdecimal()
    control = any(ord(one) < 32 or 0xD800 <= ord(one) < 0xE000 for one in cell)
    return not control and not cell.startswith(SIGNS) and (number or not cell.startswith(("+", "-")))


@pytest.mark.parametrize("text", FOREIGN)
def test_a_cell_is_harmless_and_restored(text, tmp_path):
    assert harmless(cell_text(text))
    assert restored(cell_text(text)) == text
    assert unescaped(escaped(text)) == text
    assert printable(printable(text)) == printable(text)
    table = pd.DataFrame({"a": [text, "b"], text: ["1", text]})
    write_table(tmp_path / "t.csv", table)
    assert all(map(harmless, cells_of(tmp_path / "t.csv")))
    assert len((tmp_path / "t.csv").read_text(encoding="utf-8").splitlines()) == 3
    assert read_table(tmp_path / "t.csv").to_numpy().tolist() == table.to_numpy().tolist()
    read = read_written(tmp_path / "t.csv", dtype=str)
    assert list(read.columns) == list(table.columns)
    assert read.to_numpy().tolist() == table.to_numpy().tolist()


@pytest.mark.parametrize("text", FOREIGN)
def test_our_own_files_give_it_back(text, tmp_path):
    write_json(tmp_path / "x.json", {text: [text]})
    assert read_json(tmp_path / "x.json") == {text: [text]}
    assert json_text(text).isprintable()
    write_text(tmp_path / "x.yaml", yaml.safe_dump({"a": text}, allow_unicode=True))
    assert read_yaml(tmp_path / "x.yaml") == {"a": text}
    row = {"image_id": text, "path": f"/data/{text}", "patient_id": f"p{text}", "label": "N", "source": "made"}
    cohort = Cohort(pd.DataFrame([row]), ("N",), "x")
    cohort.to_csv(tmp_path / "cohort.csv")
    pd.testing.assert_frame_equal(Cohort.from_csv(tmp_path / "cohort.csv").table, cohort.table)
    assert cohort.table["path"][0] == f"/data/{text}"
    split = pd.DataFrame({"image_id": [text], "split": "test", "repeat": 0, "fold": 0})
    write_split(tmp_path / "split.csv", split.assign(patient_id="p", label="N"))
    assert list(read_split(tmp_path / "split.csv")["image_id"]) == [text]
    classes = (text.strip(), "other")
    frame = make_predictions(["other", classes[0]], [0.2, 0.3], classes).assign(image_id=["x", text])
    write_predictions(tmp_path / "predictions.csv", frame)
    assert read_predictions(tmp_path / "predictions.csv")["image_id"].tolist() == ["x", text]


@pytest.mark.parametrize("text", FOREIGN)
def test_messages_show_it_on_one_line(text):
    assert str(UserError(text, "is wrong", text)).replace("\u00a0", " ").isprintable()


def test_figures_show_it_as_text():
    text = printable("$a$\x1b\udcff 名前 $\\frac$")
    assert drawn(confusion_panels({text: [[1, 0], [0, 1]]}, (text, "b"), text), "png").startswith(b"\x89PNG")


# --- the commands


def written(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*.csv") if path.is_file()]


@pytest.fixture
def harmless_command(tmp_path, capsys, monkeypatch):
    """Run a command in a folder; return its tables' cells and what it said, both harmless."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[list[str], str]:
        capsys.readouterr()
        status = main([*map(str, arguments)])
        said, errors = capsys.readouterr()
        assert status in (0, 1), errors
        assert said.replace("\n", "").replace("\u00a0", " ").isprintable()
        cells = [cell for path in written(tmp_path / "out") for cell in cells_of(path)]
        assert all(map(harmless, cells))
        return cells, said

    return run


def test_tables_of_a_received_table(tmp_path, harmless_command):
    texts = [restored(text) if text.startswith("'") else text.strip() for text in TEXTS]
    part = pd.DataFrame({"image": [*texts, "b"], "patient": [*texts, "q"]})
    write_table(tmp_path / "split.csv", pd.concat([part.assign(split="train"), part.assign(split="test")]))
    cells, _ = harmless_command("check-split", "split.csv", "--out", "out/leaks.csv")
    assert set(texts) <= set(map(restored, cells))
    harmless_command("check-split", "split.csv", "--json")
    own = pd.DataFrame({"image": [*texts, *"ab"]})
    own = own.assign(label=["N", texts[0]] * 5, predicted=["N", "N", texts[0], "N", texts[0]] * 2)
    write_table(tmp_path / "own.csv", own)
    harmless_command("evaluate", "own.csv", "--positive", texts[0], "--out", "out")


def test_tables_of_an_audit_and_an_ensemble(tmp_path, harmless_command):
    column = {"name": "Accuracy", "metric": "accuracy"}
    rows = [{"row": text, "values": [91.0]} for text in TEXTS]
    table = {"table": TEXTS[0], "unit": "percent", "audit": {"positives": 8, "negatives": 12}, "columns": [column]}
    write_text(tmp_path / "own.yaml", yaml.safe_dump({"tables": [table | {"rows": rows}]}))
    cells, _ = harmless_command("audit", "own.yaml", "--all-cells", "--out", "out/cells.csv")
    assert set(TEXTS) <= set(map(restored, cells))
    images = [f"{text}x" for text in TEXTS]
    frame = make_predictions(list("NP") * 4, [0.1, 0.8] * 4).assign(image_id=images, patient_id=images)
    for name in ("one", "two"):
        write_predictions(tmp_path / f"{name}.csv", frame.assign(system=name))
    cells, _ = harmless_command("ensemble", "one.csv", "two.csv", "--weights", "equal", "--out", "out")
    assert set(images) <= set(map(restored, cells))


def test_tables_of_files(tmp_path, harmless_command):
    (tmp_path / "in").mkdir()
    for text in NAMES:
        write_image(tmp_path / "in" / f"{text}.png", smooth_noise(0, 64, 64))
    cells, _ = harmless_command("data", "overlap", "in", "--out", "out/pairs.csv")
    assert {f"in/{text}.png" for text in NAMES} <= set(map(restored, cells))
    write_errors(tmp_path, [(Path(f"{text}.png"), f"is {text}") for text in NAMES])
    cells = cells_of(tmp_path / "errors.csv")
    assert all(map(harmless, cells))
    assert {f"is {text}" for text in NAMES} <= set(map(restored, cells))


# --- names of outputs


@pytest.mark.parametrize("text", [*NAMES, "n" * 251, "é" * 125, f"a.{'s' * 245}"])
def test_an_output_can_be_written_whatever_the_input_is_called(text, tmp_path):
    (tmp_path / f"{text}.png").write_bytes(b"content")
    (item,) = find_items([tmp_path])
    write_text(tmp_path / "out" / f"{item.place}_overlay.png", "")
    write_text(tmp_path / "out" / f"{item.place}_heatmap.png", "")
    assert printable(item.place) == item.place
    assert item.place == find_items([tmp_path])[0].place


def test_outputs_are_told_apart_or_refused(tmp_path):
    names = ("a\x1bb.png", "a\x1cb.png", os.fsdecode(b"a\xffb.png"), f"{'n' * 248}1.png", f"{'n' * 248}2.png")
    for name in (*names, "errors.csv/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"content")
    items = find_items([tmp_path])
    assert len({item.place for item in items}) == 6
    assert not any(item.place.startswith("errors.csv/") for item in items)
    (tmp_path / "y.png").write_bytes(b"content")
    (tmp_path / "y_mask.png").mkdir()
    (tmp_path / "y_mask.png" / "z.png").write_bytes(b"content")
    refused("named like an output of .*y.png", find_items, [tmp_path])


@pytest.mark.parametrize("suffix", [".csv.gz", ".zip", ".xz", ".bz2", ".zst", ".tar", ".XLSX", ".parquet"])
def test_no_table_is_named_like_an_archive(suffix, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_table(tmp_path / "split.csv", pd.DataFrame({"image": list("ab"), "patient": list("pq"), "split": list("xy")}))
    (tmp_path / "in").mkdir()
    before = sorted(tmp_path.rglob("*"))
    for command in (
        ("audit", "tabik", "--out"), ("check-split", "split.csv", "--out"), ("data", "overlap", "in", "--out"),
        ("claims", "tabik", "--csv"),
    ):  # fmt: skip
        assert "plain CSV" in fails(capsys, *command, f"new/t{suffix}")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_name_that_is_too_long_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    long = "n" * 300
    for command in (
        ("evaluate", f"{long}.csv"), ("check-split", f"{long}.csv"), ("audit", f"{long}.yaml"), ("ensemble", long),
        ("audit", "tabik", "--out", f"{long}/x.csv"), ("data", "overlap", long), ("report", long), ("publish", long),
        ("weights", "add", long), ("segment", f"{long}.png"),
    ):  # fmt: skip
        fails(capsys, *command)


def test_json_of_a_result_is_json(tmp_path):
    assert json.loads(json_text({"a": "b\u202e\U000e0041\x7f"})) == {"a": "b\u202e\U000e0041\x7f"}
