"""`covid-keras check-split`: find leaks between the parts of a split."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from covid_keras.commands.parsing import Commands, add_command, say, say_where, user_path
from covid_keras.common.errors import UserError, printable
from covid_keras.common.files import json_text

if TYPE_CHECKING:
    from covid_keras.data.leakage import Leakage

LEAKS = 1
_NAMED, _SHOWN = 5, 6


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "check-split",
        "find patients, images and near-duplicates shared by the parts of a split",
        run,
        "  covid-keras check-split split.csv\n"
        "  covid-keras check-split split.csv --images radiographs --out leaks.csv\n"
        "  covid-keras check-split train.csv val.csv test.csv --patient subject\n"
        "  covid-keras check-split split.csv --image file --patient case --part set --json\n\n"
        "exit status: 0 no leak, 1 the split leaks, 2 it could not be checked\n",
    )
    add = parser.add_argument
    add("tables", nargs="+", type=user_path, metavar="CSV", help="one table with a column of parts, or one per part")
    add("--image", metavar="COLUMN", help="column of image ids or files (default: found by name)")
    add("--patient", metavar="COLUMN", help="column of patients (default: found by name)")
    add("--part", metavar="COLUMN", help="column of parts, such as train and test (default: found by name)")
    add("--images", type=user_path, metavar="DIR", help="folder of the images, to search for near-duplicates")
    add("--out", type=user_path, metavar="FILE.csv", help="write the pairs of images that leak")
    add("--json", action="store_true", help="print the result as JSON")


def run(options: Namespace) -> int:
    """Print what the parts share; return 1 if the split leaks.

    Raises
    ------
    UserError
        If a table or folder cannot be used, or there are neither patients nor images to check.
    """
    from covid_keras.common.tables import require_table_target, write_table

    if options.out is not None:
        require_table_target(options.out)
    from covid_keras.data.leakage import check_parts, read_parts

    parts = read_parts(options.tables, {role: getattr(options, role) or "" for role in ("image", "patient", "part")})
    found = check_parts(parts, options.images)
    if not parts.columns["patient"] and not found.searched:
        remedy = "Name it with --patient, or name the image folder with --images"
        raise UserError(", ".join(map(str, options.tables)), "no column of patients was found", remedy)
    if options.json:
        print(json_text(_record(found)))
    else:
        say("\n".join(_lines(found)))
    if options.out is not None:
        write_table(options.out, found.rows)
        if not options.json:
            say_where(options.out)
    return LEAKS if len(found.rows) else 0


def _record(found: Leakage) -> dict[str, Any]:
    patients = found.rows[found.rows["kind"] == "patient"]["patient_a"].unique().tolist()
    return {
        "leaks": bool(len(found.rows)),
        "columns": found.parts.columns,
        "parts": _sizes(found),
        "divisions": int(found.parts.table["division"].nunique()),
        "between": found.between(),
        "patients": patients,
        "rows_without_part": found.parts.without_part,
        "images_without_patient": _nameless(found),
        "images_searched": found.searched,
        "images_absent": list(found.absent),
        "images_unreadable": found.unreadable,
    }


def _sizes(found: Leakage) -> dict[str, dict[str, int]]:
    """Return the number of images and patients per part, in the first division."""
    table = found.parts.table
    first = table[table["division"] == table["division"].iloc[0]]
    return {
        str(part): {"images": rows["image"].nunique(), "patients": rows["patient"].replace("", None).nunique()}
        for part, rows in first.groupby("part", sort=False)
    }


def _nameless(found: Leakage) -> int:
    table = found.parts.table
    return int(table["image"][table["patient"] == ""].nunique()) if found.parts.columns["patient"] else 0


def _lines(found: Leakage) -> list[str]:
    """Return the result as text that fits a screen."""
    parts, sizes = found.parts, _sizes(found)
    divisions = parts.table["division"].nunique()
    columns = ", ".join(f"{role} = {name}" for role, name in parts.columns.items() if name)
    lines = [f"Columns: {columns}" + (f"; {divisions} divisions, the first:" if divisions > 1 else "")]
    for part, size in sizes.items():
        lines.append(f"  {part}: {_count(size['images'], 'image')} of {_count(size['patients'], 'patient')}")
    between = found.between()
    for one in between[:_SHOWN]:
        lines += _pair_lines(found, one, divisions)
    if len(between) > _SHOWN:
        lines.append(f"... and {len(between) - _SHOWN} more pairs of parts (--json has all)")
    clean = len(sizes) * (len(sizes) - 1) // 2 - len(between)
    if clean:
        others = f"other {_count(clean, 'pair')} of " if between else ""
        lines.append(f"Nothing shared between the {others}parts")
    return lines + [f"Note: {note}" for note in _notes(found)]


def _pair_lines(found: Leakage, one: dict[str, Any], divisions: int) -> list[str]:
    a, b = one["parts"]
    rows = found.rows[(found.rows["part_a"] == a) & (found.rows["part_b"] == b)]
    words = {"image": "image", "patient": "patient", "near-duplicate": "pair of near-duplicates"}
    titles = {"image": "images", "near-duplicate": "near-duplicates"}
    counts = ", ".join(_count(one[kind], word) for kind, word in words.items() if one[kind])
    inside = f" (in {one['divisions']} of {divisions} divisions)" if divisions > 1 else ""
    lines = [f"LEAK between {a} and {b}: {counts}{inside}"]
    patients = rows[rows["kind"] == "patient"]["patient_a"].unique().tolist()
    lines += [f"  patients: {_named(patients)}"] if patients else []
    for kind, title in titles.items():
        own = rows[rows["kind"] == kind].drop_duplicates(["image_a", "image_b"])
        both = zip(own["image_a"], own["image_b"], strict=True)
        names = [first if kind == "image" else f"{first} = {second}" for first, second in both]
        lines += [f"  {title}: {_named(names)}"] if names else []
    return lines


def _notes(found: Leakage) -> Iterable[str]:
    if not found.parts.columns["patient"]:
        yield "patients not checked: no column of patients found (name it with --patient)"
    if nameless := _nameless(found):
        yield f"{_count(nameless, 'image')} without a patient not checked for patients"
    if found.parts.without_part:
        yield f"{_count(found.parts.without_part, 'row')} without an image or a part left out"
    if not found.searched:
        yield "near-duplicates not searched for (name the image folder with --images)"
    else:
        yield f"near-duplicates searched for among {_count(found.searched, 'image')}"
    if found.absent:
        yield f"{_count(len(found.absent), 'image')} not found: {_named(found.absent)}"
    if found.unreadable:
        first = [f"{name} ({problem})" for name, problem in found.unreadable.items()]
        yield f"{_count(len(first), 'unreadable image')} left out: {_named(first)}"


def _count(number: int, what: str) -> str:
    one, _, rest = what.partition(" of ")
    return f"{number:,} {one}{'s' * (number != 1)}{f' of {rest}' if rest else ''}"


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(map(printable, names[:_NAMED])) + more
