"""Tables as people really save them: one reader for every CSV from outside, and what makes two cells the same.

Spreadsheets write semicolons, tabs, byte-order marks, UTF-16 and decimal commas; people write `Covid-19`, `COVID19` and
`covid-19 `, and a patient who is 3 in one row is 3.0 in another. A cell that is taken as raw text loses its row, or
makes three patients of one.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError

SEPARATORS = (",", ";", "\t", "|")

_GZIP = b"\x1f\x8b"
_KINDS = (
    (_GZIP, "a gzip archive", "Unpack it"),
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook", "Unpack it, or save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "Save the sheet as CSV"),
    (b"BZh", "a bzip2 archive", "Unpack it"),
    (b"\xfd7zXZ", "an xz archive", "Unpack it"),
    (b"7z\xbc\xaf", "a 7z archive", "Unpack it"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", "Unpack it"),
    (b"PAR1", "a Parquet file", "Save it as CSV"),
    (b"SQLite", "an SQLite database", "Save the table as CSV"),
    (b"%PDF", "a PDF document", "Save the table as CSV"),
    (b"\x89PNG", "a PNG image", "Name the table"),
    (b"\xff\xd8\xff", "a JPEG image", "Name the table"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "Fetch it with `git lfs pull`"),
    (b"<!doctype", "a web page", "Download the file itself"),
    (b"<html", "a web page", "Download the file itself"),
)
_ENCODINGS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_INVISIBLE = dict.fromkeys(map(ord, "\ufeff\u200b\u200c\u200d\u2060\u00ad"))
_DASHES = re.compile(r"[\u2010-\u2015\u2212\ufe58\ufe63\uff0d]")
# How spreadsheets are kept from taking "003" for a number.
_KEPT_AS_TEXT = re.compile(r'="(.*)"$|\'(?=\d)(.*)$')
_SEPARATOR_HINT = re.compile(r'\s*"?sep=(.)"?\s*$', re.IGNORECASE)
_WHOLE = re.compile(r"(?:^|(?<=/))(\d+)[.,]0+$")
_LEADING_ZEROS = re.compile(r"(?:^|(?<=/))0+(?=\d+$)")
# Between letters, and between a letter and a digit, a dash, a blank or an underscore is a matter of taste. Not between
# digits, and not at the end: "COVID+" and "COVID-" are opposites.
_JOINTS = re.compile(r"(?<=[^\W\d_])[-_\s]+(?=[^\W_])|(?<=\d)[-_\s]+(?=[^\W\d_])")


# ------------------------------------------------------------------------------------------------- cells


def clean(text: str) -> str:
    """Return a cell without blanks at its ends and without characters that nobody sees.

    >>> [clean(text) for text in (" 3\u00a0", '="003"', "'003", "'s")]
    ['3', '003', '003', "'s"]
    """
    text = text.translate(_INVISIBLE).strip()
    kept = _KEPT_AS_TEXT.match(text)
    return (kept[1] or kept[2] or "").strip() if kept else text


def name_key(text: str) -> str:
    """Return what two spellings of one file name or id share: case, kinds of blanks and dashes, accents' coding aside.

    >>> name_key(" IM\u201103.JPG") == name_key("im-03.jpg ")
    True
    """
    text = _DASHES.sub("-", unicodedata.normalize("NFKC", text.translate(_INVISIBLE)))
    return " ".join(text.split()).casefold()


def word_key(text: str) -> str:
    """Return what two spellings of one label, view or column share; blanks, dashes and underscores between words aside.

    >>> {word_key(text) for text in ("Covid-19", "COVID19", "covid 19 ", "Covid\u201319")}
    {'covid19'}
    >>> word_key("COVID+") == word_key("COVID-")
    False
    """
    return re.sub(r"\s*([^\w\s])\s*", r"\1", _JOINTS.sub("", name_key(text)))


def whole_number(text: str) -> str:
    """Return a number's digits without ".0", which a table that passed through floats has; other text as it is.

    >>> [whole_number(text) for text in ("3.0", "cohen/3.0", "3.5", "1.2.840.0")]
    ['3', 'cohen/3', '3.5', '1.2.840.0']
    """
    return _WHOLE.sub(r"\1", text)


def patient_key(text: str) -> str:
    """Return what two spellings of one patient's id share: as `name_key`, ".0" and leading zeros aside.

    >>> {patient_key(text) for text in ("3", "3.0", "3 ", "003")}
    {'3'}
    """
    return _LEADING_ZEROS.sub("", whole_number(name_key(text)))


def choose(text: str, options: Iterable[str]) -> str:
    """Return the one of the options that a cell means, by `word_key`; the cell itself where it is none of them."""
    options = list(options)
    if text in options:
        return text
    same = [option for option in options if word_key(option) == word_key(text)]
    return same[0] if len(same) == 1 else text


def one_spelling(cells: pd.Series, key: Callable[[str], str]) -> tuple[pd.Series, list[tuple[str, str]]]:
    """Return the cells with those of one key spelt as the first of them, and which (spelling, first) were changed."""
    first: dict[str, str] = {}
    spelt = {text: first.setdefault(key(text), text) for text in cells.unique()}
    changed = [(text, kept) for text, kept in spelt.items() if text != kept]
    return (cells.map(spelt) if changed else cells), changed


def parse_number(text: str) -> float:
    """Return a cell's number, whose decimals may follow a comma; raise `ValueError` for anything else."""
    try:
        return float(text)
    except ValueError:
        if text.count(",") != 1:
            raise
        return float(text.replace(".", "").replace(",", "."))


def parse_numbers(cells: pd.Series, dtype: type = np.float64) -> np.ndarray:
    """Return the numbers of a column, (n,) of `dtype`; raise `ValueError` naming the first cell that is none."""
    try:
        return cells.to_numpy(dtype=object).astype(dtype)
    except ValueError:
        numbers = np.array([parse_number(text) for text in cells], np.float64)
        if np.issubdtype(dtype, np.integer) and (numbers % 1).any():
            raise
        return numbers.astype(dtype)


# ------------------------------------------------------------------------------------------------- files


def read_text(path: str | Path) -> str:
    """Read text of any common encoding: UTF-8 or UTF-16 with or without a byte-order mark, else Windows' Latin.

    A gzip archive is unpacked where its name ends in `.gz`.

    Raises
    ------
    UserError
        Where the file cannot be read or is not text; what it is instead is named where it is known.
    """
    try:
        content = Path(path).read_bytes()
        if content.startswith(_GZIP) and Path(path).suffix.lower() == ".gz":
            content = gzip.decompress(content)
    except EOFError as error:
        raise UserError(path, "the archive is truncated", "Fetch it again") from error
    except OSError as error:
        problem = f"cannot be read ({error.strerror or error})"
        raise UserError(path, problem, "Check that the file is there") from error
    start = content.lstrip()[:32]
    for magic, kind, remedy in _KINDS:
        if start.lower().startswith(magic) or start.startswith(magic):
            raise UserError(path, f"is {kind}", remedy)
    text = _decode(content)
    if text is None or "\0" in text:
        raise UserError(path, "is not a text file (it holds binary data)", "Save it as CSV, in UTF-8")
    return text


def _decode(content: bytes) -> str | None:
    sample = content[:1000]
    known = [encoding for mark, encoding in _ENCODINGS if content.startswith(mark)]
    if not known and b"\0" in sample:  # every second byte of Latin text in UTF-16 is 0
        known = ["utf-16-le" if sample[1::2].count(0) > sample[::2].count(0) else "utf-16-be"]
    for encoding in known[:1] or ["utf-8", "cp1252", "latin-1"]:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    return None


def read_table(path: str | Path, columns: Iterable[str] = (), optional: Iterable[str] = ()) -> pd.DataFrame:
    """Read a CSV file with every cell as text, without blanks at its ends ("" where empty).

    Parameters
    ----------
    path : str or Path
        A table with a header, as any spreadsheet saves it: cells separated by a comma, semicolon, tab or bar, quoted
        or not, in UTF-8, UTF-16 or Windows' Latin, with or without a byte-order mark. Rows and columns at the end
        without any content are left out.
    columns : iterable of str
        Columns that must be there; whatever their case, blanks, dashes and underscores, they get this name.
    optional : iterable of str
        Columns that get this name where they are there.

    Raises
    ------
    UserError
        Where the file is missing, empty, not text, has a row with more cells than the header, a quote that is not
        closed, or lacks a column; where two columns have the name of one that is asked for.
    """
    columns, optional = tuple(columns), tuple(optional)
    rows = _rows(path, read_text(path), columns)
    if not rows:
        raise UserError(path, "is not a readable CSV table (it is empty)", "Fetch the file again")
    header, body = rows[0], rows[1:]
    width = len(header)
    for line, row in enumerate(body, 2):
        while len(row) > width and not row[-1]:
            row.pop()
        if len(row) > width:
            problem = f"is not a readable CSV table (row {line} has {len(row)} cells, its header {width})"
            raise UserError(path, problem, "Correct the row, or fetch the file again")
        row += [""] * (width - len(row))
    names = _names(path, header, columns + optional)
    kept = [place for place, name in enumerate(header) if name or any(row[place] for row in body)]
    cells = {names[place]: pd.Series([row[place] for row in body], dtype=str) for place in kept}
    table = pd.DataFrame(cells)
    there = ", ".join(map(repr, table.columns))
    require_columns(table, columns, path, f"It has {there}. Fetch the original file again")
    return table


def require_columns(table: pd.DataFrame, columns: Iterable[str], subject: str | Path, remedy: str) -> None:
    """Refuse a table that lacks one of the columns."""
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise UserError(subject, f"column {', '.join(map(repr, missing))} is missing", remedy)


def _rows(path: str | Path, text: str, columns: tuple[str, ...]) -> list[list[str]]:
    """Return the rows that hold anything, cells cleaned, parsed with the separator that the header tells."""
    first, _, rest = text.partition("\n")
    if hint := _SEPARATOR_HINT.match(first):  # Excel's own way of telling the separator
        separator, text = hint[1], rest
    else:
        separator = _separator(text, columns)
    rows = [[clean(cell) for cell in row] for row in _parse(path, text, separator)]
    rows = [row for row in rows if any(row)]
    if rows and all(len(row) == 1 for row in rows) and any(mark in rows[0][0] for mark in SEPARATORS):
        # Whole rows in quotes, as spreadsheets leave them behind that took a row for one cell.
        return _rows(path, "\n".join(row[0] for row in rows), columns)
    return rows


def _separator(text: str, columns: tuple[str, ...]) -> str:
    """Return the separator that finds most of the columns asked for in the header, and then most columns."""
    header = next((line for line in text.splitlines() if line.strip()), "")

    def found(separator: str) -> tuple[int, int]:
        cells = next(csv.reader([header], delimiter=separator), [])
        keys = {word_key(cell) for cell in cells}
        return sum(word_key(column) in keys for column in columns), len(cells)

    return max(SEPARATORS, key=found)


def _parse(path: str | Path, text: str, separator: str) -> list[list[str]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        return list(reader)
    except csv.Error as error:
        # Tab-separated tables that never quote may hold a quote in a cell; each row has as many as the header then.
        plain = [line.split(separator) for line in text.splitlines() if line.strip()]
        if separator == "\t" and len({len(row) for row in plain}) == 1:
            return plain
        problem = f"is not a readable CSV table (line {reader.line_num}: {error})"
        raise UserError(path, problem, "Close the quote, or fetch the file again") from error


def _names(path: str | Path, header: list[str], wanted: tuple[str, ...]) -> list[str]:
    """Return the name of each column: as asked for where it is one of those, else its own, no two the same."""
    places: dict[int, str] = {}
    for name in dict.fromkeys(wanted):
        exact = [place for place, cell in enumerate(header) if cell == name]
        same = exact or [place for place, cell in enumerate(header) if word_key(cell) == word_key(name)]
        if len(same) > 1:
            problem = f"has the column {name!r} more than once: {', '.join(repr(header[place]) for place in same)}"
            raise UserError(path, problem, "Keep one of them")
        places.update(dict.fromkeys(same, name))
    names: list[str] = []
    for place, cell in enumerate(header):
        name = places.get(place, cell or f"Unnamed: {place}")
        again = names.count(name)
        names.append(f"{name}.{again}" if again else name)
    return names
