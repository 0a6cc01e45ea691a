"""Profile `paper` of each paper, on collections made in their official layouts: graded, and judged either way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from covid_keras.data.duplicates import PAIR_COLUMNS
from covid_keras.evaluation import Grade
from covid_keras.evaluation.overlap import NETWORK_SIZE, OVERLAP, OWN_SIZE
from covid_keras.paper.registered import load_paper
from covid_keras.published.cells import load_published
from covid_keras.reporting.results import Results
from covid_keras.training.division import divide
from covid_keras.training.runfolder import RunFolder
from tests.helpers.collections import (
    make_cohen,
    make_covid_cxnet,
    make_covidgr,
    make_kermany,
    make_montgomery,
    make_nih_subset,
    picture,
)
from tests.helpers.made_runs import finish

NO_PAIRS = pd.DataFrame(columns=list(PAIR_COLUMNS))
EACH = 40  # images of a class
TWO = ("no COVID-19", "COVID-19")


def covidgr(root: Path) -> dict[str, int]:
    make_covidgr(root, [f"{label}/{label}{number}" for label in "NP" for number in range(EACH)], "P0,MILD")
    return {"covidgr": 2 * EACH}


def cxnet(root: Path) -> dict[str, int]:
    make_covid_cxnet(root, [f"{number:03d}" for number in range(EACH)], "000.png,0,PA")
    make_nih_subset(root, ["9999_0"], [f"{number}_0" for number in range(EACH)])
    make_cohen(root, [(0, "COVID-19", "PA")])
    make_kermany(root)
    make_montgomery(root)
    return {"covid_cxnet": EACH, "chestxray14": EACH}


def comparison(root: Path) -> dict[str, int]:
    make_cohen(root, [(number, "COVID-19", "PA") for number in range(EACH)])
    make_kermany(root)
    for number in range(100, 100 + EACH // 2):
        picture(root / "chest_xray" / "train" / "NORMAL" / f"IM-{number:04d}-0001.jpeg")
        picture(root / "chest_xray" / "train" / "PNEUMONIA" / f"person{number}_bacteria_{number}.jpeg")
    return {"cohen": EACH, "kermany": EACH}


def finished_run(
    paper, data: Path, folder: Path, changes: dict[str, Any], right: dict[str, float], marked: bool
) -> RunFolder:
    """Return a run of profile `paper`, finished without training."""
    protocol = paper.protocol("paper", changes)
    cohort = paper.cohort(protocol, data, data / "made")
    splits = {name: divide(cohort, protocol.split_of(name), NO_PAIRS) for name in paper.splits_of(protocol)}
    settings = {"cache": str(folder / "cache" / "prepared"), "strategy": "one", "precision": "float32"}
    run = RunFolder.create(folder, protocol, cohort, lambda: (splits, NO_PAIRS), settings)
    for execution in run.executions():
        finish(execution, right=right)
    if marked:  # as the paper's own segmenter leaves its table
        place = paper.segmenters.folder_of(protocol, folder / "cache", paper.segmenters.masks(protocol))
        place.mkdir(parents=True)
        ids = [f"darwin_v7_whole/{number}" for number in range(6377)]
        table = pd.DataFrame({"image_id": ids, "patient_id": ids, "part": "train"})
        table.assign(**dict.fromkeys((*OWN_SIZE, *NETWORK_SIZE), 1.0)).to_csv(place / OVERLAP, index=False)
    return run


def printed_shares(paper, system: str) -> tuple[float, float]:
    """Return specificity and sensitivity as printed, 0..1; without the former, from the accuracy of equal classes."""
    cells = [cell for cell in load_published(paper.folder / "published.yaml") if cell.system == system]
    found = {cell.metric: cell.target / (1 if cell.compared_unit == "ratio" else 100) for cell in reversed(cells)}
    return found.get("specificity") or 2 * found["accuracy"] - found["sensitivity"], found["sensitivity"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "make", "system", "grade", "classes"),
    [
        ("covid_sdnet", covidgr, "resnet50_full", Grade.REPRODUCTION, ("N", "P")),
        ("hertel_ensemble", covidgr, "average_gr", Grade.REPLICATION, TWO),
        ("covid_cxnet", cxnet, "base_v2", Grade.REPLICATION, ("normal", "COVID-19")),
        ("arias_vgg19", comparison, "comparison_c", Grade.REPLICATION, TWO),
    ],
)
def test_each_paper_can_be_judged_either_way(tmp_path, monkeypatch, name, make, system, grade, classes):
    paper, data = load_paper(name), tmp_path / "data"
    images = make(data)
    little = tuple(
        replace(one, images=images, classes=dict.fromkeys(one.classes, EACH)) if one.is_about(system) else one
        for one in paper.evidence
    )
    monkeypatch.setitem(vars(paper), "evidence", little)
    # So few images give rates in steps of ten points.
    changes = {"systems": [system], "tolerance": 15.0}
    if make is cxnet:
        changes |= {"splits": {"base": {"images": {"COVID-19": EACH, "normal": EACH}}}}
        changes |= {"cohort": {"outside": 0, "pediatric": 1, "normal": EACH, "further": False}}
    for shares, outcome in ((printed_shares(paper, system), "reproduced"), ((0.2, 0.2), "not reproduced")):
        right = dict(zip(classes, shares, strict=True))
        run = finished_run(paper, data, tmp_path / outcome, changes, right, name == "hertel_ensemble")
        found = Results.of(run).comparison
        found = found[(found["system"] == system) & found["metric"].isin(("sensitivity", "specificity"))]
        assert set(found["grade"]) == {grade}, set(found["reason"])
        judged = found[~found["reason"].str.contains("as printed")]  # the audit refuses some targets
        assert set(judged["outcome"]) == {outcome}
        assert judged["reason"].ne("").all() == (grade == Grade.REPLICATION)
