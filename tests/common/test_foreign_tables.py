"""Tables from outside: every way in which spreadsheets save one, and cells that mean the same."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covid_keras.common import tables
from covid_keras.common.tables import choose, one_spelling, parse_numbers, patient_key, read_table, word_key
from tests.helpers.refusals import refused

ROWS = [["Patient ID", "Finding, raw", "score"], ["3", 'Größe; 5" | x\ty', "0.5"], ["4", "none", "1"]]


def saved(separator: str = ",", quote: bool = False, end: str = "\n", tail: str = "") -> str:
    """Return ROWS as text; cells in quotes where they must be, or all."""

    def cell(text: str) -> str:
        needed = quote or any(mark in text for mark in '"\t,;|')
        return '"' + text.replace('"', '""') + '"' if needed else text

    return "".join(separator.join(map(cell, row)) + tail + end for row in ROWS)


@pytest.mark.parametrize(
    "content",
    [
        *(saved(separator).encode() for separator in ",;\t|"),
        saved(quote=True).encode("utf-8-sig"),
        saved(end="\r\n").encode(),
        saved(end="\r").encode(),
        saved(";", True, "\r\n").encode("utf-8-sig"),
        saved("\t").encode("utf-16"),
        saved("\t").encode("utf-16-le"),
        saved("\t").encode("utf-16-be"),
        saved(";").encode("cp1252"),
        saved(";").encode("latin-1"),
        ("sep=;\r\n" + saved(";")).encode(),
        saved(tail=",,").encode(),
        (saved() + ",,\n\n").encode(),
        saved().replace("Patient ID", " \ufeffpatient_id ").replace("3,", "\u00a03 ,").encode(),
        "".join('"' + line.replace('"', '""') + '"\n' for line in saved().splitlines()).encode(),
    ],
)
def test_one_table_is_read_however_it_was_saved(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    table = read_table(path, ("Patient ID", "Finding, raw"), ("score",))
    assert [list(table.columns), *table.to_numpy().tolist()] == ROWS


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.zip", "t.bz2", "t.xz", "t.tsv"])
def test_a_suffix_decides_nothing(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("a,b\n1,2\n")
    assert read_table(path).to_numpy().tolist() == [["1", "2"]]


def tar() -> bytes:
    with io.BytesIO() as stream:
        with tarfile.open(fileobj=stream, mode="w") as file:
            file.addfile(tarfile.TarInfo("a.csv"), io.BytesIO())
        return stream.getvalue()


def archive() -> bytes:
    with io.BytesIO() as stream:
        with zipfile.ZipFile(stream, "w") as file:
            file.writestr("a.csv", "a,b\n1,2\n")
        return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (archive(), "ZIP archive or an Excel workbook"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0), "gzip archive"),
        (tar(), "tar archive"),
        (b"\x28\xb5\x2f\xfd\x04\x00", "zstd archive"),
        (bz2.compress(b"a,b\n1,2\n"), "bzip2 archive"),
        (lzma.compress(b"a,b\n1,2\n"), "xz archive"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1" + bytes(100), "Excel workbook"),
        (b"\n<!DOCTYPE html><html>", "web page"),
        (b"<HTML><body>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"%PDF-1.4", "PDF"),
        (bytes(range(256)), "not a text file"),
        (b"  \n\n", "it is empty"),
        (b"a,b\n1,2,3\n", "row 2 has 3 cells"),
        (b'a,b\n"1,2\n3,4\n', "line 3"),
        (b"A,a b\n1,2\n", "column 'b' is missing"),
    ],
)
def test_what_is_no_table_is_named(tmp_path: Path, content: bytes, kind: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    refused(rf"t\.csv: .*{kind}", read_table, path, ("a", "b"))


def test_a_column_that_may_be_two_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("Image ID,image_id\n1,2\n")
    refused("'imageid' more than once: 'Image ID', 'image_id'", read_table, tmp_path / "t.csv", ("imageid",))
    assert read_table(tmp_path / "t.csv", ("image_id",))["image_id"].tolist() == ["2"]


def test_a_repeated_column_counts_once_and_only_if_its_cells_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b,,b,\n1,2,,2,\n3,4,,4,x\n")
    assert read_table(path).to_dict("list") == {"a": ["1", "3"], "b": ["2", "4"], "Unnamed: 4": ["", "x"]}
    path.write_text("a,b,b\n1,2,2\n3,4,5\n")
    refused("column 'b' more than once, with different cells", read_table, path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (",".join(f"c{n}" for n in range(tables.MOST_COLUMNS + 1)), f"has {tables.MOST_COLUMNS + 1:,} columns"),
        ("a," * 1_000_000, "first row has 2,000,000 characters"),
        ("a" * 2_000_000, "first row has 2,000,000 characters"),
        ("a,b\n" + "x" * 200_000 + ",1", "field larger than field limit"),
        ("image_id,label\ni1,a\ni\0002,b\n", "not a text file"),
    ],
    ids=["columns", "a long row of cells", "a long cell in the first row", "a long cell", "a null byte in text"],
)
def test_what_would_take_memory_or_be_misread_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    assert len(refused(problem, read_table, tmp_path / "t.csv")) < 4000


def test_ten_thousand_columns_are_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(",".join(f"column {n}" for n in range(10_000)) + "\n" + ",".join(["1"] * 10_000))
    assert read_table(tmp_path / "t.csv", ("column_77",)).shape == (1, 10_000)


@pytest.mark.parametrize(
    ("cell", "whole"),
    [("1_0", False), ("0.1_5", False), ("1e400", False), ("nan", False), ("1.5", False), ("2,0", True)],
)
def test_a_whole_number_is_one(cell: str, whole: bool) -> None:
    cells = pd.Series(["0", cell])
    if whole:
        assert tables.parse_numbers(cells, np.int64).tolist() == [0, 2]
    else:
        with pytest.raises((ValueError, OverflowError)):
            tables.parse_numbers(cells, np.int64)


def test_gzip_is_unpacked_where_the_name_says_so(tmp_path: Path) -> None:
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a;b\n1;2\n"))
    assert read_table(tmp_path / "t.csv.gz", ("a",))["a"].tolist() == ["1"]
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a;b\n1;2\n" * 99)[:-12])
    refused("truncated", read_table, tmp_path / "t.csv.gz")


def test_tables_that_never_quote_may_hold_a_quote(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text('a\tb\n"x\' and "y"\t1\n"z\t2\n')
    assert read_table(tmp_path / "t.tsv", ("a",))["b"].tolist() == ["1", "2"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Covid-19", "COVID19", True),
        ("covid_19", "Covid\u201319 ", True),
        ("AP Supine", "ap-supine", True),
        ("Normal-PCR+", "NORMAL PCR +", True),
        ("COVID+", "COVID-", False),
        ("1-2", "12", False),
        ("no finding", "No_Finding", True),
    ],
)
def test_words_that_mean_the_same(one: str, other: str, same: bool) -> None:
    assert (word_key(one) == word_key(other)) is same
    assert choose(other, [one]) == (one if same else other)


def test_patients_spelt_otherwise_are_one() -> None:
    cells = pd.Series(["s/3", "s/3.0", "s/3 ", "s/003", "s/30", "s/P1", "s/p1", "s/3.5"])
    spelt, changed = one_spelling(cells, patient_key)
    assert spelt.tolist() == ["s/3"] * 4 + ["s/30", "s/P1", "s/P1", "s/3.5"]
    assert ("s/p1", "s/P1") in changed


def test_numbers_may_have_decimal_commas() -> None:
    assert parse_numbers(pd.Series(["0,5", "1", "1.234,5"])).tolist() == [0.5, 1, 1234.5]
    assert parse_numbers(pd.Series(["1.0", "2"]), np.int64).tolist() == [1, 2]
    for wrong in ("much", "1,2,3", ""):
        with pytest.raises(ValueError, match="convert"):
            parse_numbers(pd.Series([wrong]))
    with pytest.raises(ValueError, match=r"1\.5"):
        parse_numbers(pd.Series(["1.5"]), np.int64)
