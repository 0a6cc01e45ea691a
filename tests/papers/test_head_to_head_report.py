"""The comparison's page on made predictions: three seeds, a known order, and each sentence that follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from covid_keras.evaluation.estimates import Drawing
from covid_keras.reporting.document import Report
from covid_keras.reporting.renderer import render
from covid_keras.reporting.results import report_of
from papers.head_to_head.comparison import Comparison
from papers.head_to_head.figures import cost_figure, spread_apart
from papers.head_to_head.methods import FLOORS, METHODS, OF_COVID
from papers.head_to_head.paper import PAPER
from papers.head_to_head.report import REPORT, sections_of, sentences, short_form
from tests.helpers.predictions import normal_scores

FEW = Drawing(resamples=150)
NOTHING = pd.DataFrame()
# Distance of the classes' mean logits by method: the best, one like it, a worse one, and the floors.
GAPS = {"resnet50_full": 3.0, "fucitnet": 3.0, "base_cnn": 1.5, "thumbnail": 1.5, "lung_shape": 0.0}
NAMES = {name: METHODS[name].title for name in GAPS}


def table(
    name: str, gap: float, test: str, shift: float = 0.0, validation: bool = True, seeds: int = 3
) -> pd.DataFrame:
    """Return predictions of seeds that differ a little; each test has patients of its own."""
    kinds = ("no finding", "pneumonia") if test in ("finding", "matched") else ("no COVID-19", "COVID-19")
    split = {"test": test[0], "validation": "v"} if validation else {"test": test[0]}
    parts = [
        normal_scores(
            300,
            gap + 0.05 * seed,
            10 * list(METHODS).index(name) + seed + 500 * (part == "test"),
            prefix,
            shift * (part == "test"),
            kinds,
            split=part,
            system=METHODS[name].systems[test],
            repeat=seed,
        )
        for seed in range(seeds)
        for part, prefix in split.items()
    ]
    return pd.concat(parts, ignore_index=True)


def compared(
    within: Mapping[str, float] = GAPS,
    across: Mapping[str, float] | None = None,
    shares: pd.DataFrame = NOTHING,
    costs: pd.DataFrame = NOTHING,
    **more,
) -> Comparison:
    tables = {(name, "within"): table(name, gap, "within", **more) for name, gap in within.items()}
    tables |= {(name, "across"): table(name, gap, "across", **more) for name, gap in (across or {}).items()}
    return Comparison(tables, shares, costs, FEW)


def said(found: Comparison, title: str) -> str:
    return dict(sentences(found))[title]


@pytest.fixture(scope="module")
def usual() -> Comparison:
    return compared(across={name: gap / 3 for name, gap in GAPS.items()})


# --- sentences


def test_the_best_is_named_on_validation_with_those_like_it_and_the_number_of_worse_ones(usual):
    text = said(usual, "The best, within")
    best = usual.best(OF_COVID)
    (alike,) = {"resnet50_full", "fucitnet"} - {best.name}
    assert best.on_validation
    assert f"{NAMES[best.name]} has the largest AUC on validation images" in text
    assert f"Of 4 other methods, 1 cannot be distinguished from it: {NAMES[alike]}" in text
    assert "The other 3 are worse" in text
    assert NAMES["base_cnn"] not in text


def test_without_validation_the_best_is_chosen_on_the_test_and_the_bias_is_said():
    text = said(compared(validation=False), "The best, within")
    assert "on these test images themselves" in text
    assert "overstates" in text


@pytest.mark.parametrize(
    ("gaps", "words"),
    [
        ({"resnet50_full": 4, "fucitnet": 1, "base_cnn": 1}, "All 2 other methods are worse"),
        ({"resnet50_full": 1, "fucitnet": 1, "base_cnn": 1}, "None of the 2 other methods can be distinguished"),
        ({"resnet50_full": 4, "fucitnet": 1}, "clearly the first of 2 methods"),
        ({"resnet50_full": 4, "fucitnet": 1}, "The other method is worse."),
        ({"resnet50_full": 1, "fucitnet": 1}, "The other method cannot be distinguished from it."),
        ({"resnet50_full": 1, "fucitnet": 1}, "no method is clearly first"),
    ],
)
def test_what_is_said_of_the_others_follows_from_the_intervals(gaps, words):
    assert words in said(compared(gaps), "The best, within")


def test_a_method_may_be_better_across_than_the_one_named_on_validation():
    found = compared({"resnet50_full": 4, "fucitnet": 2}, {"resnet50_full": 0.5, "fucitnet": 2})
    text = said(found, "The best, across")
    assert "named by its AUC on validation" in text
    assert f"Better there: {NAMES['fucitnet']}" in text


def test_the_drop_is_counted_by_its_interval(usual):
    text = said(usual, "From within to across")
    assert "the AUC of 4 of 5 methods falls" in text, "that of the worst floor was at chance before"
    assert f"No better than chance there: {NAMES['lung_shape']}" in text
    same = compared({"fucitnet": 2, "base_cnn": 2}, {"fucitnet": 2, "base_cnn": 2})
    assert "no AUC of 2 methods clearly falls" in said(same, "From within to across")
    only = compared({"fucitnet": 3, "base_cnn": 1}, {"fucitnet": 1})
    assert "the AUC of the only method falls" in said(only, "From within to across")
    turned = compared({"fucitnet": 1, "base_cnn": 1}, {"fucitnet": 3, "base_cnn": -2})
    text = said(turned, "From within to across")
    assert f"It rises for {NAMES['fucitnet']}" in text
    assert f"Worse than chance there: {NAMES['base_cnn']}" in text


@pytest.mark.parametrize(
    ("gaps", "words"),
    [
        ({"fucitnet": 4, "base_cnn": 4, "thumbnail": 1}, "all 2 methods of the papers are better"),
        ({"fucitnet": 4, "base_cnn": 1, "thumbnail": 1}, "1 of 2 methods of the papers is better"),
        ({"fucitnet": 1, "base_cnn": 0, "thumbnail": 3}, "none of 2 methods of the papers is better, 2 are worse"),
        ({"fucitnet": 4, "thumbnail": 1, "lung_shape": 3}, NAMES["lung_shape"]),
        ({"fucitnet": 4, "thumbnail": 1}, "the only method of the papers is better."),
        ({"fucitnet": 1, "thumbnail": 4}, "the only method of the papers is worse."),
        ({"fucitnet": 1, "thumbnail": 1}, "the only method of the papers cannot be distinguished from it."),
    ],
)
def test_the_better_floor_is_set_against_the_methods_of_the_papers(gaps, words):
    assert words in said(compared(gaps), "Floors")


def test_methods_that_did_not_learn_are_named():
    text = said(compared({"fucitnet": 2, "base_cnn": 0}), "Too little training")
    assert NAMES["base_cnn"] in text
    assert NAMES["fucitnet"] not in text
    assert "Too little training" not in dict(sentences(compared({"fucitnet": 2, "thumbnail": 0})))


def test_thresholds_of_validation_lose_their_specificity_where_scores_are_shifted():
    text = said(compared({"fucitnet": 2, "base_cnn": 2}, shift=1.0), "Thresholds")
    assert "2 of 2 clearly less than 90 %" in text
    assert "clearly" not in said(compared({"fucitnet": 2, "base_cnn": 2}), "Thresholds")
    assert "Thresholds" not in dict(sentences(compared({"fucitnet": 2, "base_cnn": 2}, validation=False)))


def test_matching_is_a_drop_of_its_own():
    tables = {(name, test): table(name, gap, test) for name in FLOORS for test, gap in (("finding", 2), ("matched", 0))}
    text = said(Comparison(tables, NOTHING, NOTHING, FEW), "Matched by view and age")
    assert "the AUC of 2 of 2 methods falls" in text
    assert "No better than chance there" in text


def costs(**flops: float) -> pd.DataFrame:
    frame = pd.DataFrame({"system": flops.keys(), "parameters": 10, "flops": flops.values(), "milliseconds": 2.0})
    return frame.assign(ratio=1.0, reference=next(iter(flops)), device="made")


def test_the_cheapest_like_the_best_is_named():
    gaps, paid = (
        {"resnet50_full": 3, "fucitnet": 2.9, "base_cnn": 0.5},
        costs(resnet50_full=1e9, fucitnet=1e7, base_cnn=1e6),
    )
    text = said(compared(gaps, costs=paid), "Cost")
    assert f"{NAMES['fucitnet']} cannot be distinguished from {NAMES['resnet50_full']}" in text
    assert "100 times fewer" in text
    alone = compared(gaps | {"fucitnet": 0.5}, costs=paid)
    assert f"does as well as {NAMES['resnet50_full']}" in said(alone, "Cost")


def made_shares(**means: float) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    parts = []
    for name, mean in means.items():
        beyond = np.clip(rng.normal(mean, 0.2, 60), -0.4, 1)
        patients = [f"p{number // 2}" for number in range(60)]
        part = pd.DataFrame({"image_id": range(60), "patient_id": patients, "beyond_chance": beyond, "lung_area": 0.3})
        parts.append(part.assign(system=name, heat_in_lungs=0.3 + 0.7 * beyond))
    return pd.concat(parts)


def test_networks_are_counted_by_where_they_look():
    shares = made_shares(resnet50_full=0.3, fucitnet=0.0, base_cnn=-0.3)
    text = said(compared(shares=shares), "Where the networks look")
    assert "1 of 3 networks have more" in text
    assert f"Less than that: {NAMES['base_cnn']}" in text
    only = compared(shares=made_shares(fucitnet=0.3))
    assert "The only network has more of its Grad-CAM heat" in said(only, "Where the networks look")


def test_of_one_method_nothing_is_compared():
    found = compared({"fucitnet": 2}, seeds=1, validation=False)
    assert [title for title, _ in sentences(found)] == ["Too little was run"]
    assert short_form(Comparison({}, NOTHING, NOTHING, FEW)) is None


# --- the page


def test_the_paper_has_this_report_and_the_systems_that_it_measures():
    assert report_of(PAPER) is REPORT
    assert {*REPORT.heat_systems, *REPORT.cost_systems} <= {system.name for system in PAPER.systems}


def test_the_page_has_every_table_and_figure_and_its_short_form_one_of_each(usual):
    shares = made_shares(resnet50_full=0.3, fucitnet=0.1)
    more = costs(resnet50_full=1e9, fucitnet=1e8, base_cnn=1e7, thumbnail=np.nan, lung_shape=1e8)
    found = Comparison(usual.tables, shares, more, FEW)
    sections = list(sections_of(found))
    figures = [entry.title for section in sections for entry in section.figures]
    assert len(set(figures)) == len(figures) == 6, "AUC, ranks, calibration, heat, and cost within and across"
    auc = sections[1].tables[0].frame
    assert auc["method"].tolist() == list(NAMES.values())
    assert list(auc.columns) == ["method", "within", "across"]
    change = next(entry for section in sections for entry in section.tables if "Change" in entry.title).frame
    assert change["within to across"].str.startswith("−").sum() >= 4
    page = render(Report(sections=sections), "html")
    assert all(title in page for title in figures)
    short = short_form(found)
    assert (len(short.tables), len(short.figures)) == (1, 1)
    assert NAMES["resnet50_full"] in render(Report(sections=[short]), "md")


def test_a_system_without_a_threshold_has_no_operating_point():
    found = compared({"fucitnet": 2, "base_cnn": 2}, validation=False)
    assert found.estimate("fucitnet", "within", "specificity") is None
    assert found.estimate("fucitnet", "within", "brier").value > 0
    assert found.estimate("fucitnet", "across") is None


@pytest.mark.parametrize("number", [1, 4, 30])
def test_labels_keep_their_order_and_their_distance(number):
    values = np.sort(np.random.default_rng(number).normal(50, 1, number))[::-1]
    places = spread_apart(values, 40, 60, 0.04)
    least = min(0.04 * 20, 20 / number)
    assert (-np.diff(places) >= least - 1e-9).all()
    assert places.min() >= 40
    assert places.max() <= 60


def test_names_beside_the_cost_figure_do_not_overlap():
    rows = [
        {"system": method.title, "flops": 10.0 ** (5 + place / 3), "value": 80 + 0.1 * place, "floor": method.floor}
        for place, method in enumerate(METHODS.values())
    ]
    figure = cost_figure(pd.DataFrame(rows).assign(low=70.0, high=90.0), "AUC against cost", "AUC (%)")
    figure.draw_without_rendering()
    boxes = sorted((text.get_window_extent() for text in figure.axes[1].texts), key=lambda box: box.y0)
    assert len(boxes) == len(METHODS)
    assert all(upper.y0 >= lower.y1 for lower, upper in pairwise(boxes))
