"""BENCHMARKS.md: rows by parameter, later runs first, docstrings as text."""

from __future__ import annotations

import json

from tests.benchmarks.table import main

INFO = {"cpu": {"brand_raw": "A processor", "count": 2}, "system": "Linux", "python_version": "3.11", "load": 1.5}
PLACE = "tests/benchmarks/test_bench_training.py::test_bench_precision"


def run(day: str, **results: dict[str, float]) -> dict:
    benchmarks = [{"fullname": f"{PLACE}[{name}]", "extra_info": numbers} for name, numbers in results.items()]
    return {"machine_info": INFO, "datetime": f"2026-01-{day}T00:00:00", "benchmarks": benchmarks}


def test_the_page_holds_each_number_with_its_machine_and_date(tmp_path):
    runs = [run("01", small={"a_b": 0.5, "old": 1.0}, large={"c": 12345}), run("02", small={"a_b": 0.25})]
    files = [tmp_path / "1.json", tmp_path / "2.json"]
    for path, one in zip(files, runs, strict=True):
        path.write_text(json.dumps(one), encoding="utf-8")
    main([*map(str, files), "--out", str(tmp_path / "page.md"), "--note", "Quiet."])
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "2026-01-01 to 2026-01-02, A processor, 2 cores" in text
    assert "Load average: 1.5 to 1.5. Quiet." in text
    assert "mixed bfloat16" in text, "the docstring of the function"
    assert "|  | a b | c |\n| --- | --- | --- |\n| small | 0.25 | – |\n| large | – | 12,345 |\n" in text
