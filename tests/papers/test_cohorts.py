"""What the cohorts of all papers have in common: phantoms, what is at hand, and the tools that they share."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covid_keras.data.cohort import Cohort
from covid_keras.data.images import read_image
from covid_keras.paper.cohorts import drawn
from covid_keras.paper.registered import load_paper
from covid_keras.training.plan import choose_profile
from tests.helpers.refusals import refused

# Small phantoms.
SMALL = {
    "arias": {"covid": 6, "other": 4, "normal": 3, "pneumonia": 2, "size": 32},
    "haghanifar": {"covid": 3, "normal": 4, "cap": 2, "outside": 2, "size": 64},
    "hertel": {"cohen": 5, "cxnet": 6, "normal": 4, "pneumonia": 3, "size": 32},
    "tabik": {"patients": 11, "pneumonia": 4, "size": 64},
}
# What the profiles paper and cpu read, and how what is missing first is called.
SOURCES = {
    "arias": (
        ("bimcv_positive", "bimcv_negative", "padchest", "precovid", "cohen", "kermany"),
        ("cohen", "chestxray14"),
    ),
    "haghanifar": (("covid_cxnet", "chestxray14", "cohen"),) * 2,
    "hertel": (("covidx", "ricord", "bimcv_positive", "covidgr"), ("covid_cxnet", "cohen", "chestxray14")),
    "tabik": (("covidgr",), ("cohen", "chestxray14")),
}
MISSING = {
    "arias": ("BIMCV-COVID19+", "COVID-19 Image Data Collection"),
    "haghanifar": ("COVID-CXNet images",) * 2,
    "hertel": ("COVIDx5", "COVID-CXNet images"),
    "tabik": ("COVIDGR-1.0", "COVID-19 Image Data Collection"),
}


def _pixels(cohort: Cohort) -> str:
    digest = hashlib.sha256()
    for path in cohort.table["path"]:
        digest.update(read_image(path).tobytes())
    return digest.hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_the_phantom_is_the_same_wherever_it_is_made(name: str, tmp_path: Path) -> None:
    paper, settings = load_paper(name), SMALL[name]
    protocol = paper.protocol("smoke", {"cohort": settings})
    first, again = (paper.cohort(protocol, None, tmp_path / folder) for folder in ("one", "two"))
    assert first.fingerprint() == again.fingerprint()
    assert _pixels(first) == _pixels(again)
    assert first.table["image_id"].is_unique
    assert all(Path(path).is_file() for path in first.table["mask_path"])
    # Papers, and a protocol edited between two runs, share a cache: made once, another seed beside the first.
    folders = len(list((tmp_path / "one").iterdir()))
    changed = paper.protocol("smoke", {"cohort": settings | {"seed": 99}})
    other = paper.cohort(changed, None, tmp_path / "one")
    paper.cohort(changed, None, tmp_path / "one")
    assert _pixels(other) != _pixels(first)
    assert len(list((tmp_path / "one").iterdir())) == 2 * folders


@pytest.mark.parametrize("name", SMALL)
def test_what_is_missing_is_named(name: str, tmp_path: Path) -> None:
    paper = load_paper(name)
    for profile, sources, missing in zip(("paper", "cpu"), SOURCES[name], MISSING[name], strict=True):
        protocol = paper.protocol(profile)
        assert paper.sources(protocol) == sources
        left_out = paper.missing(protocol, tmp_path)
        assert any(missing in reason for reason in left_out.values())
        assert set(left_out) == set(paper.missing(protocol, None)) == set(protocol.systems)
        refused("--data", paper.cohort, protocol, None, tmp_path)
    smoke = paper.protocol("smoke")
    assert paper.sources(smoke) == ()
    assert paper.missing_images(smoke, None) == {}
    refused(r"cohort\.kind", paper.cohort, paper.protocol("smoke", {"cohort": {"kind": "other"}}), None, tmp_path)


@pytest.mark.real
@pytest.mark.parametrize("name", SMALL)
def test_what_stands_in_is_at_hand(name: str, real_data: Path) -> None:
    paper = load_paper(name)
    assert paper.missing_images(paper.protocol("cpu"), real_data) == {}
    assert paper.missing_images(paper.protocol("paper"), real_data)
    assert choose_profile(paper, real_data, asked=True) == "cpu"


def test_rows_are_drawn_in_the_tables_order_and_all_for_none() -> None:
    table = pd.DataFrame({"image_id": list("abcdef")})
    found = [drawn(table, 3, np.random.default_rng(seed), "images")["image_id"].tolist() for seed in range(4)]
    assert all(len(ids) == 3 and ids == sorted(ids) for ids in found)
    assert len(set(map(tuple, found))) > 1
    assert drawn(table, 0, np.random.default_rng(0), "images").equals(table)
    for count in (7, -1):
        refused(f"{count} images, but there are 6", drawn, table, count, np.random.default_rng(0), "images")
