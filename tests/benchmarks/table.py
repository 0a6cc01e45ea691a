"""Write BENCHMARKS.md from pytest-benchmark's JSON: `python -m tests.benchmarks.table JSON... --out BENCHMARKS.md`."""

from __future__ import annotations

import argparse
import ast
import json
from pathlib import Path
from typing import Any

HEAD = """# Benchmarks

Written by `make bench`; not edited by hand. Ratios compare the suite with the obvious alternative in the same run, in
turns; `a / b` below 1 means that a needs less. Training steps are timed by processor time, which other work on the
machine disturbs least. Sizes and aims are in the docstrings of `tests/benchmarks`. Nothing was measured on a GPU unless
the machine below has one; steps in PyTorch are compared where it is installed (extra `torch`).
"""


def main(arguments: list[str] | None = None) -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="JSON", help="later files replace results of earlier ones"
    )
    parser.add_argument("--out", type=Path, default=Path("BENCHMARKS.md"))
    parser.add_argument("--note", default="", help="a sentence on the circumstances")
    options = parser.parse_args(arguments)
    options.out.write_text(page([json.loads(path.read_text("utf-8")) for path in options.files], options.note), "utf-8")


def page(runs: list[dict[str, Any]], note: str = "") -> str:
    """Return the page of pytest-benchmark's results."""
    found = {one["fullname"]: one for run in runs for one in run["benchmarks"] if one["extra_info"]}
    parts = [HEAD, machine(runs) + (f" {note}" if note else "") + "\n"]
    groups: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for name in found:
        path, _, test = name.partition("::")
        function, _, parameter = test.partition("[")
        groups.setdefault((path, function), {})[parameter.rstrip("]")] = found[name]["extra_info"]
    for path in dict.fromkeys(path for path, _ in groups):
        parts.append(f"## {first_line(path).rstrip('.')}\n")
        for function in (function for one, function in groups if one == path):
            parts += [first_line(path, function) + "\n", table(groups[path, function])]
    return "\n".join(parts)


def machine(runs: list[dict[str, Any]]) -> str:
    """Return the machine, versions and dates of the runs as one paragraph."""
    info = runs[-1]["machine_info"]
    days = sorted({run["datetime"][:10] for run in runs})
    loads = [run["machine_info"]["load"] for run in runs if "load" in run["machine_info"]]
    versions = ", ".join(f"{name} {version}" for name, version in info.get("versions", {}).items())
    cpu, between = info["cpu"], days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    busy = f" Load average: {min(loads):.1f} to {max(loads):.1f}." if loads else ""
    python = f"Python {info['python_version']}"
    return f"{between}, {cpu['brand_raw']}, {cpu['count']} cores, {info['system']}; {python}, {versions}.{busy}"


def first_line(path: str, function: str = "") -> str:
    """Return the first paragraph of a docstring, of a module or of a function in it."""
    node: ast.AST = ast.parse(Path(path).read_text("utf-8"))
    if function:
        node = next(one for one in ast.walk(node) if isinstance(one, ast.FunctionDef) and one.name == function)
    text = ast.get_docstring(node) or function.removeprefix("test_bench_").replace("_", " ")
    return " ".join(text.split("\n\n")[0].split())


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Return results as a Markdown table: one row per parameter, or one row per number where there is none."""
    if list(rows) == [""]:
        lines = [["number", "value"], *([name, shown(value)] for name, value in rows[""].items())]
    else:
        names = list(dict.fromkeys(name for row in rows.values() for name in row))
        lines = [["", *names]] + [[key, *(shown(row.get(name)) for name in names)] for key, row in rows.items()]
    lines = [[cell.replace("_", " ") for cell in line] for line in lines]
    lines.insert(1, ["---"] * len(lines[0]))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def shown(value: Any) -> str:
    """Return a number with three digits."""
    if value is None:
        return "–"
    return f"{value:.3g}" if isinstance(value, float) and abs(value) < 1000 else f"{value:,.0f}"


if __name__ == "__main__":
    main()
