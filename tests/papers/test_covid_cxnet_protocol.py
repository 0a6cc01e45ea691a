"""COVID-CXNet's profiles: `paper` is the paper's, its split gives the printed row sums, typing errors are named."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from covid_keras.data.cohort import Cohort
from papers.covid_cxnet.cohorts import CAP, CLASSES, COVID, LABELS, NORMAL, NORMAL_CHILD
from papers.covid_cxnet.paper import PAPER
from papers.covid_cxnet.report import REPORT
from papers.covid_cxnet.rows import DISJOINT
from papers.covid_cxnet.systems import LEAKY
from tests.helpers.divisions import divided, shares_of
from tests.helpers.printed import printed as load_printed

PROFILES = ("paper", "cpu", "smoke")


# --- profiles


def test_the_paper_profile_has_the_papers_counts():
    protocol = PAPER.protocol("paper")
    images = {name: protocol.split_of(name).images for name in ("", "small", "base", "binary")}
    assert images == {
        "": {COVID: 700, CAP: 0, NORMAL: 3500},
        "small": {COVID: 300, NORMAL: 60, NORMAL_CHILD: 240},
        "base": {COVID: 400, NORMAL: 3000},
        "binary": {COVID: 428, NORMAL: 3200},
    }
    assert protocol.cohort["whole"]


def test_every_leaky_row_has_a_disjoint_twin_trained_alike():
    for profile in PROFILES:
        protocol = PAPER.protocol(profile)
        for system in DISJOINT:
            leaky = PAPER.system(system.name + LEAKY)
            assert leaky.training(protocol) == system.training(protocol)
            leaks, disjoint = protocol.split_of(leaky.split), protocol.split_of(system.split)
            assert leaks.chosen_on_test
            assert not disjoint.leaky_as_published
            assert (disjoint.scheme, leaks.test, leaks.seed) == ("hold_out", disjoint.test, 18)
            assert leaks.images == disjoint.images or leaky.name not in protocol.systems
    assert REPORT.leaks == tuple((system.name + LEAKY, system.name) for system in DISJOINT)


# --- splits on a cohort of the paper's size


def _cohort(covid: int, cap: int, normal: int, child: int = 0) -> Cohort:
    """Return so many images of each label in the authors' order, a patient each; no files."""
    labels = [COVID] * covid + [CAP] * cap + [NORMAL] * normal + [NORMAL_CHILD] * child
    ids = [f"i{number:04d}" for number in range(len(labels))]
    return Cohort(
        pd.DataFrame({"image_id": ids, "path": ids, "patient_id": ids, "label": labels}), LABELS if child else CLASSES
    )


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    """As many as the paper has."""
    return _cohort(700, 3500, 3500, 600)


def _tested(cohort, name: str) -> dict[str, int]:
    table = divided(PAPER.protocol("paper"), name, cohort)
    assert table["repeat"].nunique() == 10
    return table[(table["repeat"] == 0) & (table["split"] == "test")]["label"].value_counts().to_dict()


def test_the_binary_split_is_that_of_table_3(cohort):
    printed = Counter()
    for cell in load_printed(PAPER.name).of("3"):
        printed[cell.actual] += cell.mean
    assert _tested(cohort, "binary_leaky") == printed == {NORMAL: 645, COVID: 81}


def test_the_splits_of_other_tables_cannot_be_had_again(cohort):
    """Table 4 prints 724, 672 and 144; seed 18 gives other row sums on the counts of the text, of the same total."""
    found = _tested(cohort, "three_leaky")
    assert found == {NORMAL: 691, CAP: 710, COVID: 139}
    assert sum(found.values()) == 724 + 672 + 144
    assert sum(_tested(cohort, "base_leaky").values()) == 680


def test_every_split_that_the_smoke_profile_trains_on_can_be_made_of_its_phantom():
    protocol = PAPER.protocol("smoke")
    phantom = _cohort(*(protocol.cohort[name] for name in ("covid", "cap", "normal")))
    for name in {PAPER.system(system).split for system in protocol.systems}:
        assert len(divided(protocol, name, phantom)) > 0, name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["", "binary"])
def test_disjoint_splits_hold_out_a_fifth_of_each_class(cohort, name):
    table = divided(PAPER.protocol("paper"), name, cohort)
    one = table[table["repeat"] == 3]
    assert set(one["split"]) == {"train", "validation", "test"}
    for label, shares in shares_of(one).items():
        assert shares == pytest.approx({"train": 0.7, "validation": 0.1, "test": 0.2}, abs=0.01), label


def test_repeats_share_one_division(cohort):
    for name in ("small", "small_leaky"):
        table = divided(PAPER.protocol("paper"), name, cohort)
        parts = table.pivot(index="image_id", columns="repeat", values="split").to_numpy()
        assert np.all(parts == parts[:, :1])
