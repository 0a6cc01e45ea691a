"""Read CSV files from any spreadsheet, normalise their cells, and write tables that a spreadsheet opens safely.

Spreadsheets write semicolons, tabs, byte-order marks, UTF-16 and decimal commas. People write `Covid-19`, `COVID19` and
`covid-19 ` for one label, and 3 and 3.0 for one patient. Comparing raw text would lose rows and split patients.

Names of files and cells of received tables may begin like a formula, or hold control characters and undecodable bytes.
`write_table` writes them as text that does no harm; `read_table` and `read_written` restore them.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import unicodedata
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from covid_keras.common.errors import UserError, escaped, unescaped
from covid_keras.common.files import MOST_TABLE, REMEDY, read_bytes, require_writable_folder, write_text

SEPARATORS = (",", ";", "\t", "|")

_TAR = slice(257, 262)
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
_NO_TABLES = frozenset(
    (".gz", ".tgz", ".zip", ".bz2", ".xz", ".lzma", ".zst", ".tar", ".7z", ".xls", ".xlsx", ".ods", ".parquet", ".json")
)
_ENCODINGS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
# Of the first row: columns, and characters, which are counted before cells are made of them.
MOST_COLUMNS, _LONGEST_HEADER = 20_000, 1 << 20
_LARGEST_WHOLE = 1 << 53  # of those that float64 tells apart
_INVISIBLE = dict.fromkeys(map(ord, "\ufeff\u200b\u200c\u200d\u2060\u00ad"))
_DASHES = re.compile(r"[\u2010-\u2015\u2212\ufe58\ufe63\uff0d]")
FORMULA_SIGNS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_SIGN = f"[{re.escape(''.join(FORMULA_SIGNS))}]"
# Ways to keep a spreadsheet from reading "003" as a number or "=1+1" as a formula.
_KEPT_AS_TEXT = re.compile(rf"""="(.*)"$|'(?='*(?:{_SIGN}|\d))(.*)$""", re.DOTALL)
_NOT_TEXT = re.compile(rf"'*{_SIGN}|'+\d")
_PLAIN_NUMBER = re.compile(r"[+-]?[\d.,]*(?:[eE][+-]?\d+)?\s?%?")
_FIRST_LINE = re.compile(r"\s*([^\r\n]*)")
_SEPARATOR_HINT = re.compile(r'\s*"?sep=(.)"?\s*$', re.IGNORECASE)
_WHOLE = re.compile(r"(?:^|(?<=/))(\d+)[.,]0+$")
_LEADING_ZEROS = re.compile(r"(?:^|(?<=/))0+(?=\d+$)")
# Dashes, blanks and underscores are ignored between letters and between a letter and a digit. They count between digits
# and at the end: "COVID+" and "COVID-" are opposites.
_JOINTS = re.compile(r"(?<=[^\W\d_])[-_\s]+(?=[^\W_])|(?<=\d)[-_\s]+(?=[^\W\d_])")


# ------------------------------------------------------------------------------------------------- cells


def clean(text: str) -> str:
    """Strip a cell and remove invisible characters, and what keeps a spreadsheet from reading it otherwise.

    >>> [clean(text) for text in (" 3\u00a0", '="003"', "'003", "'s", "'=1+1")]
    ['3', '003', '003', "'s", '=1+1']
    """
    text = text.translate(_INVISIBLE).strip()
    if text[:1] in ("=", "'") and (kept := _KEPT_AS_TEXT.match(text)):
        text = (kept[1] or kept[2] or "").strip()
    return text


def restored(text: str) -> str:
    """Return the text of a cell in a file: as `clean`, and with what `cell_text` escaped."""
    return unescaped(clean(text))


def cell_text(text: str) -> str:
    """Return foreign text as a cell that no spreadsheet takes for a formula or a number; `restored` reverses it.

    >>> [cell_text(text) for text in ("=1+1", "-0.5", "a\x1bb ")]
    ["'=1+1", '-0.5', 'a\\\\x{1b}b\\\\x{20}']
    """
    text = escaped(text)
    if text != (bare := text.strip()):  # blanks at the ends, which reading removes
        before, after = text.split(bare, 1) if bare else (text, "")
        text = _codes(before) + bare + _codes(after)
    return f"'{text}" if _NOT_TEXT.match(text) and not _PLAIN_NUMBER.fullmatch(text) else text


def _codes(text: str) -> str:
    return "".join(f"\\x{{{ord(one):x}}}" for one in text)


def name_key(text: str) -> str:
    """Return a key for comparing file names and ids: ignores case, kinds of blanks and dashes, Unicode normal form.

    >>> name_key(" IM\u201103.JPG") == name_key("im-03.jpg ")
    True
    """
    text = _DASHES.sub("-", unicodedata.normalize("NFKC", text.translate(_INVISIBLE)))
    return " ".join(text.split()).casefold()


def word_key(text: str) -> str:
    """Return a key for comparing labels, views and columns: as `name_key`, also without separators between words.

    >>> {word_key(text) for text in ("Covid-19", "COVID19", "covid 19 ", "Covid\u201319")}
    {'covid19'}
    >>> word_key("COVID+") == word_key("COVID-")
    False
    """
    return re.sub(r"\s*([^\w\s])\s*", r"\1", _JOINTS.sub("", name_key(text)))


def whole_number(text: str) -> str:
    """Remove the ".0" of a whole number that was stored as a float; return other text unchanged.

    >>> [whole_number(text) for text in ("3.0", "cohen/3.0", "3.5", "1.2.840.0")]
    ['3', 'cohen/3', '3.5', '1.2.840.0']
    """
    return _WHOLE.sub(r"\1", text)


def patient_key(text: str) -> str:
    """Return a key for comparing patient ids: as `name_key`, also without ".0" and leading zeros.

    >>> {patient_key(text) for text in ("3", "3.0", "3 ", "003")}
    {'3'}
    """
    return _LEADING_ZEROS.sub("", whole_number(name_key(text)))


def choose(text: str, options: Iterable[str]) -> str:
    """Return the option with the `word_key` of `text`; `text` itself if there is no unique match."""
    options = list(options)
    if text in options:
        return text
    same = [option for option in options if word_key(option) == word_key(text)]
    return same[0] if len(same) == 1 else text


def one_spelling(cells: pd.Series, key: Callable[[str], str]) -> tuple[pd.Series, list[tuple[str, str]]]:
    """Give cells with the same key the first spelling; return the cells and the (spelling, first) pairs changed."""
    first: dict[str, str] = {}
    spelt = {text: first.setdefault(key(text), text) for text in cells.unique()}
    changed = [(text, kept) for text, kept in spelt.items() if text != kept]
    return (cells.map(spelt) if changed else cells), changed


def parse_number(text: str) -> float:
    """Parse a number, with a decimal point or comma; raise `ValueError` for other text, such as Python's 1_000."""
    if "_" in str(text):
        raise ValueError(f"could not convert string to float: {text!r}")
    try:
        return float(text)
    except ValueError:
        if text.count(",") != 1:
            raise
        return float(text.replace(".", "").replace(",", "."))


def parse_numbers(cells: pd.Series, dtype: type = np.float64) -> np.ndarray:
    """Parse a column of numbers, (n,) of `dtype`; raise `ValueError` naming the first cell that is not a number."""
    try:
        if any("_" in cell for cell in cells if isinstance(cell, str)):
            raise ValueError("no number has an underscore")  # which NumPy reads over; the cell is named below
        with np.errstate(over="ignore"):  # becomes infinite
            return cells.to_numpy(dtype=object).astype(dtype)
    except ValueError:
        numbers = np.array([parse_number(text) for text in cells], np.float64)
        whole = np.isfinite(numbers) & (np.abs(numbers) <= _LARGEST_WHOLE) & (numbers == np.trunc(numbers))
        if np.issubdtype(dtype, np.integer) and not whole.all():
            raise
        return numbers.astype(dtype)


# ------------------------------------------------------------------------------------------------- files


def read_text(path: str | Path) -> str:
    """Read a text file in UTF-8 or UTF-16 (with or without a byte-order mark) or Windows-1252.

    A file named `.gz` is decompressed.

    Raises
    ------
    UserError
        If the file cannot be read or is not text. The message names the actual kind if it is known.
    """
    content = read_bytes(path, MOST_TABLE)
    if content.startswith(_GZIP) and Path(path).suffix.lower() == ".gz":
        content = _unpacked(path, content)
    if content[_TAR.start : _TAR.stop] == b"ustar":
        raise UserError(path, "is a tar archive", "Unpack it")
    start = content.lstrip()[:32]
    for magic, kind, remedy in _KINDS:
        if start.lower().startswith(magic) or start.startswith(magic):
            raise UserError(path, f"is {kind}", remedy)
    text = _decode(content)
    if text is None or "\0" in text:
        raise UserError(path, "is not a text file (it holds binary data)", "Save it as CSV, in UTF-8")
    return text


def _unpacked(path: str | Path, content: bytes) -> bytes:
    """Decompress gzip; raise `UserError` if the archive is damaged, or its content is larger than a table may be."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            content = stream.read(MOST_TABLE + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise UserError(path, "the archive is truncated or damaged", "Download it again") from error
    if len(content) > MOST_TABLE:
        raise UserError(path, f"would unpack to more than {MOST_TABLE:,} bytes", "Check that it is the right file")
    return content


def _decode(content: bytes) -> str | None:
    sample = content[:1000]
    known = [encoding for mark, encoding in _ENCODINGS if content.startswith(mark)]
    zeros = sample[1::2].count(0), sample[::2].count(0)
    if not known and max(zeros) > len(sample) // 8:  # every second byte of Latin text in UTF-16 is 0
        known = ["utf-16-le" if zeros[0] > zeros[1] else "utf-16-be"]
    for encoding in known[:1] or ["utf-8", "cp1252", "latin-1"]:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    return None


def read_table(path: str | Path, columns: Iterable[str] = (), optional: Iterable[str] = ()) -> pd.DataFrame:
    """Read a CSV file with every cell as stripped text ("" if empty).

    Parameters
    ----------
    path : str or Path
        A table with a header. The separator may be a comma, semicolon, tab or bar; for encodings see `read_text`.
        Empty rows and unnamed empty columns are dropped.
    columns : iterable of str
        Required columns. They are matched by `word_key` and renamed to the name given here.
    optional : iterable of str
        Columns that are matched and renamed likewise if present.

    Raises
    ------
    UserError
        If the file is missing, empty or not text; a row has more cells than the header; a quote is not closed; a
        required column is missing; two columns match the same name, or have it and differ; there are too many.
    """
    columns, optional = tuple(columns), tuple(optional)
    rows = _rows(path, read_text(path), columns)
    if not rows:
        raise UserError(path, "is not a readable CSV table (it is empty)", "Download the file again")
    header, body = rows[0], rows[1:]
    width = len(header)
    if width > MOST_COLUMNS:
        problem = f"has {width:,} columns; a table has at most {MOST_COLUMNS:,}"
        raise UserError(path, problem, "Leave out those that are not needed")
    for line, row in enumerate(body, 2):
        while len(row) > width and not row[-1]:
            row.pop()
        if len(row) > width:
            problem = f"is not a readable CSV table (row {line} has {len(row)} cells, the header {width})"
            raise UserError(path, problem, "Correct the row, or download the file again")
        row += [""] * (width - len(row))
    names = _names(path, header, columns + optional)
    kept = _once(path, [place for place, name in enumerate(header) if name or any(row[place] for row in body)], rows)
    cells = {names[place]: pd.Series([row[place] for row in body], dtype=str) for place in kept}
    table = pd.DataFrame(cells)
    there = ", ".join(map(repr, table.columns))
    require_columns(table, columns, path, f"It has {there}. Download the original file again")
    return table


def read_written(
    path: str | Path,
    remedy: str = REMEDY,
    columns: Iterable[str] = (),
    numbers: Iterable[str] = (),
    **options: Any,
) -> pd.DataFrame:
    """Read a CSV table that this suite wrote, with the types that `pandas.read_csv` finds; `options` are passed to it.

    Raises
    ------
    UserError
        With the remedy, if the file is missing, too large, not a CSV table, or lacks one of `columns` or `numbers`, the
        latter of numbers.
    """
    try:
        table = pd.read_csv(io.BytesIO(read_bytes(path, MOST_TABLE)), **options)
    except ValueError as error:  # covers ParserError, EmptyDataError and UnicodeDecodeError
        raise UserError(path, f"is not a readable CSV table ({error})", remedy) from error
    table.columns = [restored(name) for name in table.columns.map(str)]
    for place in range(table.shape[1]):
        cells = table.iloc[:, place]
        if not is_numeric_dtype(cells):
            table.isetitem(place, cells.map(lambda cell: restored(cell) if isinstance(cell, str) else cell))
    require_columns(table, (*columns, *numbers), path, remedy)
    for name in numbers:
        if not is_numeric_dtype(table[name]):
            raise UserError(path, f"column {name!r} must contain numbers", remedy)
    return table


def table_text(table: pd.DataFrame, float_format: str | None = None) -> str:
    """Return a table as CSV, with names and other foreign text as by `cell_text`; `read_written` restores it."""
    shown = table.set_axis([cell_text(str(name)) for name in table.columns], axis=1)
    for place in range(shown.shape[1]):
        cells = shown.iloc[:, place]
        if not (is_numeric_dtype(cells) or isinstance(cells.dtype, pd.CategoricalDtype)):
            shown.isetitem(place, cells.map(lambda cell: cell_text(cell) if isinstance(cell, str) else cell))
    return shown.to_csv(index=False, float_format=float_format, lineterminator="\n")


def write_table(path: str | Path, table: pd.DataFrame, float_format: str | None = None) -> Path:
    """Write `table_text` atomically; return the path. The table is plain CSV, whatever the suffix."""
    return write_text(path, table_text(table, float_format))


def require_table_target(path: Path, option: str = "--out") -> None:
    """Check where a user wants a table, before work begins.

    Raises
    ------
    UserError
        If `path` is a folder, cannot be written, or has the suffix of an archive or a workbook.
    """
    if path.is_dir():
        raise UserError(f"{option} {path}", "is a folder", "Name the CSV file to write")
    if path.suffix.lower() in _NO_TABLES:
        problem = f"would be no {path.suffix.lower()} file: tables are written as plain CSV"
        raise UserError(f"{option} {path}", problem, "Name it NAME.csv")
    require_writable_folder(path.parent)


def require_columns(table: pd.DataFrame, columns: Iterable[str], subject: str | Path, remedy: str) -> None:
    """Raise `UserError` if one of `columns` is missing."""
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise UserError(subject, f"column {', '.join(map(repr, missing))} is missing", remedy)


def _rows(path: str | Path, text: str, columns: tuple[str, ...]) -> list[list[str]]:
    """Return the non-empty rows with cleaned cells; the separator is detected from the header."""
    first, _, rest = text.partition("\n")
    if hint := _SEPARATOR_HINT.match(first):  # Excel's declaration of the separator
        separator, text = hint[1], rest
    else:
        separator = _separator(path, text, columns)
    rows = [[restored(cell) for cell in row] for row in _parse(path, text, separator)]
    rows = [row for row in rows if any(row)]
    if rows and all(len(row) == 1 for row in rows) and any(mark in rows[0][0] for mark in SEPARATORS):
        # Some spreadsheets write each row as one quoted cell.
        return _rows(path, "\n".join(row[0] for row in rows), columns)
    return rows


def _separator(path: str | Path, text: str, columns: tuple[str, ...]) -> str:
    """Return the separator that finds the most requested columns in the header; ties go to the most columns."""
    header = _FIRST_LINE.match(text)[1]  # type: ignore[index]  # it matches every text
    if len(header) > _LONGEST_HEADER:
        problem = f"is not a readable CSV table (its first row has {len(header):,} characters)"
        raise UserError(path, problem, "Check that it is the right file, and that its rows are lines")

    def found(separator: str) -> tuple[int, int]:
        try:
            cells = next(csv.reader([header], delimiter=separator), [])
        except csv.Error:  # one cell that is too long: the separator is another
            return 0, 0
        keys = {word_key(cell) for cell in cells}
        return sum(word_key(column) in keys for column in columns), len(cells)

    return max(SEPARATORS, key=found)


def _parse(path: str | Path, text: str, separator: str) -> list[list[str]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        return list(reader)
    except csv.Error as error:
        # A tab-separated table without quoting may contain a quote character; then all rows have the same width.
        plain = [line.split(separator) for line in text.splitlines() if line.strip()]
        if separator == "\t" and len({len(row) for row in plain}) == 1:
            return plain
        problem = f"is not a readable CSV table (line {reader.line_num}: {error})"
        raise UserError(path, problem, "Close the quote, or download the file again") from error


def _once(path: str | Path, places: list[int], rows: list[list[str]]) -> list[int]:
    """Return the columns without exact repetitions; raise `UserError` if one name stands above different cells."""
    header, first = rows[0], dict[str, int]()
    kept = [place for place in places if not header[place] or first.setdefault(header[place], place) == place]
    for place in set(places).difference(kept):
        name = header[place]
        if any(row[place] != row[first[name]] for row in rows):
            raise UserError(path, f"has the column {name!r} more than once, with different cells", "Keep one of them")
    return kept


def _names(path: str | Path, header: list[str], wanted: tuple[str, ...]) -> list[str]:
    """Return the column names: the requested name where a column matches one, else its own."""
    places: dict[int, str] = {}
    keys = [word_key(cell) for cell in header]
    for name in dict.fromkeys(wanted):
        exact = [place for place, cell in enumerate(header) if cell == name]
        same = exact or [place for place, key in enumerate(keys) if key == word_key(name)]
        if len(same) > 1:
            problem = f"has the column {name!r} more than once: {', '.join(repr(header[place]) for place in same)}"
            raise UserError(path, problem, "Keep one of them")
        places.update(dict.fromkeys(same, name))
    return [places.get(place, cell or f"Unnamed: {place}") for place, cell in enumerate(header)]
