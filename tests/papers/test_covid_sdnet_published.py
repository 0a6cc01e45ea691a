"""The published numbers of COVID-SDNet against what the paper's own arithmetic demands of them."""

from __future__ import annotations

from collections import Counter

import pytest

NAME = "covid_sdnet"
IMAGES = {"Normal-PCR+": 76, "Mild": 100, "Moderate": 171, "Severe": 79}


@pytest.fixture
def value(cells):
    """Return a lookup of the target by table, system and metric, or by table, row and column."""
    found = {(cell.table, cell.system, cell.metric): cell.target for cell in cells if cell.system}
    found |= {(cell.table, cell.row, cell.column): cell.target for cell in cells}
    return lambda *key: found[key]


def test_stds_stand_where_the_paper_trained(cells):
    without = Counter(cell.table for cell in cells if cell.std is None)
    assert without == {"I": 6, "II": 25, "III": 10, "IV": 10, "VI (as printed)": 10, "text": 23, "text settings": 9}


def test_sensitivity_is_the_weighted_mean_of_severities(value):
    found = {level: value("VI", "covid_sdnet", f"accuracy_{level}") for level in IMAGES}
    mean = sum(found[level] * IMAGES[level] for level in IMAGES) / 426
    assert mean == pytest.approx(value("V", "covid_sdnet", "sensitivity"), abs=0.015)
    system = "covid_sdnet_no_normal_pcr"
    without = {level: value("VIII", system, f"accuracy_{level}") for level in list(IMAGES)[1:]}
    mean = sum(without[level] * IMAGES[level] for level in without) / 350
    assert mean == pytest.approx(value("VII", system, "sensitivity"), abs=0.005)
    for level in ("Mild", "Moderate"):
        drop = value("text", "COVID-SDNet, Normal-PCR+ removed", f"drop of {level} accuracy")
        assert found[level] - without[level] == pytest.approx(drop)


def test_tables_iv_and_v_agree_and_vi_repeats_iv(cells, value):
    for system in ("covidnet_retrained", "covid_caps_retrained"):
        for metric in ("specificity", "precision_negative", "sensitivity", "precision_positive", "accuracy"):
            assert value("IV", system, metric) == value("V", system, metric)
    printed = [[(c.row, c.column, c.mean, c.std) for c in cells if c.table == t] for t in ("IV", "VI (as printed)")]
    assert printed[0] == printed[1]
    assert not any(cell.system for cell in cells if cell.table == "VI (as printed)")


def test_slips_have_a_target_and_a_doubt(theirs):
    assert theirs.moved() == {
        ("IV", "Retrained COVIDNet-CXR A", "Negative Precision"): (3.36, 63.36),
        ("VI (as printed)", "Retrained COVIDNet-CXR A", "Negative Precision"): (3.36, 63.36),
        ("V", "COVIDNet-CXR (retrained A)", "N Precision"): (3.36, 63.36),
        ("V", "Without seg. (ResNet-50)", "P F1"): (72.689, 72.69),
        **{
            (table, "COVID-CAPS [19] (pretrained)", column): values
            for table in ("IV", "VI (as printed)")
            for column, values in {
                "Negative Specificity": (26.30, 26.29),
                "Negative Precision": (45.81, 45.90),
                "Accuracy": (47.66, 47.65),
            }.items()
        },
    }
    (tiny,) = [cell for cell in theirs.cells if cell.std == 0.04]
    assert (tiny.table, tiny.system, tiny.metric) == ("VII", "covid_sdnet_no_normal_pcr", "f1_positive")
    assert "0.04 is not credible" in tiny.doubt


def test_decimals_are_kept(cells):
    results = [cell for cell in cells if cell.table in ("IV", "V", "VI", "VII", "VIII")]
    assert {cell.decimals for cell in results if cell.mean != 72.689} == {2}
    assert {cell.std_decimals for cell in results if cell.std is not None} == {2}


def test_the_cells_that_we_measure(cells):
    ours = {cell.metric for cell in cells if cell.system == "resnet50_crop"}
    assert ours == {
        "specificity", "precision_negative", "f1_negative", "sensitivity", "precision_positive",
        "f1_positive", "accuracy",
    }  # fmt: skip
    assert {c.metric for c in cells if c.system == "covid_sdnet"} == ours | {f"accuracy_{s}" for s in IMAGES}
    assert {cell.system for cell in cells if cell.table in ("IV", "V", "VI")} == {
        "resnet50_full", "resnet50_crop", "fucitnet", "covid_sdnet", "covid_caps_pretrained",
        "covid_caps_retrained", "covidnet_pretrained", "covidnet_retrained",
    }  # fmt: skip
