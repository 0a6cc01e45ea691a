"""Make the committed numbers again from the committed predictions, and compare: metrics, intervals, verdict cells.

    python -m tests.compare_results                  # every paper and profile; exit status 1 where something differs
    python -m tests.compare_results --write FILE     # also write every cell of the comparisons, as JSON
    python -m tests.compare_results --against FILE   # also compare the verdict cells with those of such a file

A change to the suite that should not change a result is checked with a FILE written before it.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

from covid_keras.common.files import write_json
from covid_keras.paper.registered import load_papers
from covid_keras.reporting.results import Results
from covid_keras.reporting.sources import committed_profiles

VALUES = ("mean", "std", "low", "high", "executions", "n_patients", "n_images", "ddof", "resamples", "interval")
CELL = ("table", "row", "column", "paper", "target", "ours", "low", "high", "difference", "verdict", "doubt")


def committed_results() -> list[Results]:
    """Return the committed results of every paper and profile."""
    papers = load_papers().values()
    return [Results.committed(paper, profile) for paper in papers for profile in committed_profiles(paper)]


def metric_differences(results: Results) -> Iterator[str]:
    """Yield where the committed JSON is not what its predictions give (within the six decimals it is written with)."""
    committed = {(one.system, one.metric): one for one in results.measured}
    remade = Results.recomputed(results.paper, results.profile).measured
    again = {(one.system, one.metric): one for one in remade}
    for system, metric in sorted(set(committed) ^ set(again)):
        yield f"{metric} of {system} is not in both"
    for key in sorted(set(committed) & set(again)):
        for name in VALUES:
            theirs, ours = getattr(committed[key], name), getattr(again[key], name)
            if not _same(theirs, ours):
                yield f"{name} of {key[1]} of {key[0]}: committed {theirs}, made again {ours}"


def verdict_cells(results: Results) -> list[dict[str, object]]:
    """Return every published cell beside ours, with its verdict, as plain records."""
    frame = results.comparison[list(CELL)]
    return frame.astype(object).where(frame.notna(), None).to_dict("records")


def _same(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=0, abs_tol=1e-6) or (math.isnan(one) and math.isnan(other))
    return one == other


def main(arguments: list[str] | None = None) -> int:
    """Print what differs; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, metavar="FILE")
    parser.add_argument("--against", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    everything = {f"{one.paper.name} {one.profile}": one for one in committed_results()}
    cells = {name: verdict_cells(results) for name, results in everything.items()}
    found = [f"{name}: {text}" for name, results in everything.items() for text in metric_differences(results)]
    if options.against:
        before = json.loads(options.against.read_text(encoding="utf-8"))
        found += [f"{name}: not in both" for name in sorted(set(before) ^ set(cells))]
        for name in set(before) & set(cells):
            found += [
                f"{name}: {old} is now {new}" for old, new in zip(before[name], cells[name], strict=True) if old != new
            ]
    if options.write:
        write_json(options.write, cells)
    print("\n".join(found) or f"{sum(map(len, cells.values()))} cells, {len(cells)} results: nothing differs")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
