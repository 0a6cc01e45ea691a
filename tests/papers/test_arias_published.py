"""The published numbers of Arias-Garzón et al. against what their own arithmetic demands of them."""

from __future__ import annotations

import re

import pytest

from covid_keras.common.settings import read_yaml
from covid_keras.evaluation import Measured, compare
from covid_keras.training.plan import settings_of
from papers.arias_vgg19.paper import PAPER
from papers.arias_vgg19.settings import UNETS, options_of

NAME = "arias_vgg19"
# The accuracy table of each experiment and part, in the paper's order; the metric table of each experiment.
ACCURACIES = {f"exp{e}_{part}": str(4 * e - 1 + at) for e in (1, 2, 3) for at, part in enumerate("cde")}
METRICS = {"exp1": "6", "exp2": "10", "exp3": "14"}
POSITIVE = "positive (BIMCV-COVID19+)"
NEGATIVE = {
    "exp1": "negative, Experiment 1 (BIMCV-COVID-)",
    "exp2": "negative, Experiment 2 (curated)",
    "exp3": "negative, Experiment 3 (Pre-COVID)",
}
COMPARISON = ("COVID-19 (Cohen)", "normal", "pneumonia")
HALF = 0.0005 + 1e-9


@pytest.fixture
def row_of(value):
    """Return a lookup of what a row of a metric table prints: accuracy, sensitivity, specificity, F1."""
    return lambda table, part: tuple(
        value(table, f"Part {part}", column) for column in ("Accuracy", "Sensitivity", "Specificity", "F1 Score")
    )


@pytest.fixture
def tested(value):
    """Return a lookup of the stated numbers of positive and negative test images of an experiment."""
    return lambda experiment: tuple(int(value("text 2.2", row, "test")) for row in (POSITIVE, NEGATIVE[experiment]))


def matrices(sensitivity, specificity, f1, positives, negatives):
    """Return every (TP, FN, FP, TN) of whole images that rounds to these three, with true and faulty accuracy."""
    found = []
    for tp in range(positives + 1):
        if abs(tp / positives - sensitivity) > HALF:
            continue
        for tn in range(negatives + 1):
            fn, fp = positives - tp, negatives - tn
            if abs(tn / negatives - specificity) <= HALF and abs(2 * tp / (2 * tp + fp + fn) - f1) <= HALF:
                true, faulty = (tp + tn) / (positives + negatives), (tp + tn) / (tp + tn + 2 * fp)
                found.append(((tp, fn, fp, tn), true, faulty))
    return found


def is_share(printed, images):
    return any(round(right / images, 4) == printed for right in range(images + 1))


def test_numbers_stand_as_printed(cells):
    assert all(cell.std is None and cell.low is None and not cell.text for cell in cells), "no intervals, no words"
    own = [cell for cell in cells if cell.table.isdigit()]
    three = {*METRICS.values(), "15"}
    assert {cell.decimals for cell in own if cell.table in three} == {3}
    short = {cell.mean for cell in own if cell.unit == "ratio" and cell.table not in three and cell.decimals != 4}
    assert short == {0.904}
    assert {cell.unit for cell in own} == {"ratio", "percent"}
    assert {cell.table for cell in own if cell.unit == "percent"} == {"16"}


def test_ratios_are_compared_with_our_percentages(cells):
    ours = [
        Measured("exp1_c19", "accuracy", 89.9, 0.1, 1, 5, 88.0, 91.0, 50, 60),
        Measured("comparison_c", "weighted_precision", 99.0, 0.1, 1, 5, 98.0, 99.9, 50, 60),
    ]
    table = compare(cells, ours, tolerance=0.1).set_index(["table", "row", "column"])
    found = table.loc[("3", "VGG19", "Test accuracy")]
    assert (found.outcome, round(found.difference, 5)) == ("reproduced", -0.0006)
    assert round(table.loc[("16", "Proposed Method", "Precision")].difference, 5) == -0.07


def test_table_9_repeats_table_8(theirs, value, doubt):
    printed = [[(c.row, c.column, c.mean) for c in theirs.of(table)] for table in "89"]
    assert printed[0] == printed[1]
    assert all("repeat Table 8" in cell.doubt for cell in theirs.of("9"))
    nine = [value(table, "VGG19", "Test accuracy") for table in ACCURACIES.values()]
    assert round(100 * sum(nine) / 9, 2) == 92.61 != value("text 5", "all experiments: accuracy") == 92.72
    rest = sum(nine) - value("9", "VGG19", "Test accuracy")
    fit = [x / 10000 for x in range(9000, 10000) if round(100 * (rest + x / 10000) / 9, 2) == 92.72]
    assert (fit[0], fit[-1]) == (0.944, 0.9448)
    for text in (doubt("9", "VGG19", "Test accuracy"), doubt("text 5", "all experiments: accuracy")):
        assert {"0.944", "92.72"} <= set(re.findall(r"[\d.]*\d", text))
    assert "92.61" in doubt("text 5", "all experiments: accuracy")


def test_the_mean_of_the_covid_label_is_another(value, doubt):
    nine = [value(table, f"Part {part}", "Accuracy") for table in METRICS.values() for part in "cde"]
    row = "all experiments: accuracy of the COVID-19 label at 0.5"
    assert round(100 * sum(nine) / 9, 2) == 95.43 != value("text 5", row)
    assert "95.43" in doubt("text 5", row)


@pytest.mark.parametrize("experiment", METRICS)
@pytest.mark.parametrize("part", "cde")
def test_the_metric_tables_print_a_faulty_accuracy(row_of, tested, doubt, experiment, part):
    table = METRICS[experiment]
    printed, *others = row_of(table, part)
    found = matrices(*others, *tested(experiment))
    assert any(abs(faulty - printed) <= HALF for _, _, faulty in found)
    fits = any(abs(true - printed) <= HALF for _, true, _ in found)
    assert fits == ((experiment, part) == ("exp3", "c"))
    text = doubt(table, f"Part {part}", "Accuracy")
    assert ("Not the accuracy" in text) != fits
    assert "2 FP" in text


def test_the_two_families_of_tables_disagree_where_it_is_said(value, row_of, tested, doubt):
    agree = set()
    for name, table in ACCURACIES.items():
        experiment, part = name.split("_")
        printed, *others = row_of(METRICS[experiment], part)
        found = matrices(*others, *tested(experiment))
        implied = {round(true, 3) for _, true, faulty in found if abs(faulty - printed) <= HALF}
        accuracy = value(table, "VGG19", "Test accuracy")
        text = doubt(table, "VGG19", "Test accuracy")
        if min(abs(true - accuracy) for true in implied) < 0.001:
            agree.add(name)
            assert "implies" not in text, name
            continue
        stated = f"Table {METRICS[experiment]} implies a true accuracy of {' or '.join(map(str, sorted(implied)))}"
        assert stated in text, name
        row = doubt(METRICS[experiment], f"Part {part}", "Specificity")
        assert f"imply a true accuracy of {' or '.join(map(str, sorted(implied)))}" in row, name
    assert agree == {"exp1_e", "exp3_d", "exp3_e"}


def test_where_part_d_may_be_vgg16(cells):
    named = {(c.table, c.row) for c in cells if "VGG16" in c.doubt and c.table in {*METRICS.values(), "15"}}
    assert named == {(table, "Part d") for table in ("6", "10", "14", "15")}


@pytest.mark.parametrize(("name", "table"), [("view", "1"), *ACCURACIES.items()])
def test_accuracies_that_no_stated_count_gives_are_named(value, doubt, name, table):
    rows = [f"projection filter, {view}" for view in ("frontal", "lateral")]
    rows = rows if name == "view" else [POSITIVE, NEGATIVE[name.split("_")[0]]]
    for part in ("validation", "test"):
        images = int(sum(value("text 2.2", row, part) for row in rows))
        for network in ("VGG16", "VGG19"):
            column = f"{part.capitalize()} accuracy"
            said = f"among the stated {images:,} {part} images" in doubt(table, network, column)
            assert said != is_share(value(table, network, column), images), (table, network, part)


def test_vgg19_is_right_most_often_with_the_lungs_removed(value):
    for experiment in ("exp1", "exp3"):
        c, d, e = (value(ACCURACIES[f"{experiment}_{part}"], "VGG19", "Test accuracy") for part in "cde")
        assert e > max(c, d)


def test_dice_above_what_the_iou_allows(cells, value):
    broken = {}
    for network in ("U-Net 1", "U-Net 2", "U-Net 3"):
        for part in ("Train", "Validation"):
            iou = value("2", network, f"IoU {part}")
            most = 2 * iou / (1 + iou)
            if value("2", network, f"Dice {part}") > most + 0.0001:
                broken |= {("2", network, f"{name} {part}"): f"= {most:.4f}" for name in ("Dice", "IoU")}
    assert len(broken) == 2 * 4
    named = {(c.table, c.row, c.column): c.doubt for c in cells if "2 IoU / (1 + IoU)" in c.doubt}
    assert set(named) == set(broken)
    assert all(bound in named[key] for key, bound in broken.items())
    assert "a digit is lost" in named["2", "U-Net 3", "IoU Validation"]


def test_what_changed_places_or_is_implied_are_the_only_targets(theirs):
    assert theirs.moved() == {
        ("9", "VGG19", "Test accuracy"): (0.9344, 0.944),
        ("15", "Part c", "Sensitivity"): (0.995, 0.986),
        ("15", "Part c", "Specificity"): (0.986, 0.995),
    }
    assert all("changed places" in cell.doubt for cell in theirs.of("15") if cell.row == "Part c")


def test_table_16_is_of_no_row_of_table_15(cells, value, doubt):
    own = value("16", "Proposed Method", "Accuracy")
    assert own == value("16", "Proposed Method", "Recall"), "the weighted recall is the accuracy"
    assert [round(100 * (1 - errors / 1143), 2) for errors in (11, 10)] == [99.04, 99.13]
    assert [n for n in range(800, 900) if round(100 * (1 - 8 / n), 2) == own] == list(range(847, 856))
    rows = {"c": (71 + 780, 856), "d": (68 + 781, 854), "e": (71 + 781, 856)}
    shares = {part: f"{100 * right / images:.2f}" for part, (right, images) in rows.items()}
    assert shares == {"c": "99.42", "d": "99.41", "e": "99.53"}
    assert all(share in doubt("16", "Proposed Method", "Accuracy") for share in shares.values())
    assert all(c.doubt for c in cells if c.system == "comparison_c" and c.table == "16")


def test_the_stated_division_is_that_of_the_comparison_set_alone(cells, value, doubt):
    names = {c.row: None for c in cells if c.table == "text 2.2" and c.column == "test" and c.unit == "count"}
    fits = set()
    for row in names:
        counts = [value("text 2.2", row, part) for part in ("train", "test", "validation")]
        shares = [100 * count / sum(counts) for count in counts]
        if all(abs(share - meant) < 0.5 for share, meant in zip(shares, (60, 20, 20), strict=True)):
            fits.add(row)
        else:
            assert doubt("text 2.2", row, "train") == f"{'/'.join(f'{share:.0f}' for share in shares)} %, not 60/20/20."
            assert counts[1] > counts[2]
    assert fits == {f"comparison, {name}" for name in COMPARISON}
    assert len(names) == 9


def test_counts_add_up(value):
    lungs = [value("text 2.1.3", f"{name}: images") for name in ("Montgomery", "JSRT", "NIH")]
    assert sum(lungs) == 478 == value("text 2.2", "segmentation", "train") + 96
    assert round(sum(value("text 2.5", name) for name in ("red", "green", "blue")), 4) == 0.9999


@pytest.mark.parametrize(
    ("table", "row", "other"),
    [
        ("text 3.2", "batch size", "32"),
        ("text 3.3", "epochs", "100"),
        ("text 3.3", "batch size", "128"),
        ("text 2.1.3", "JSRT: images", "247"),
        ("text abstract", "best models: accuracy (around)", "0.9705"),
    ],
)
def test_where_the_authors_code_has_other_settings(doubt, table, row, other):
    assert other in doubt(table, row)


def test_settings_that_the_readme_names_exist(theirs):
    text = theirs.path.with_name("README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"(?<=[` ])(?:options|trainings|split)\.[\w.]+=[\w.]+", text))
    assert len(named) >= 15
    usual = read_yaml(PAPER.protocol_path)["common"]
    for setting in named:
        here, there = usual, settings_of([setting])
        while isinstance(there, dict):
            ((key, there),) = there.items()
            here = (here or {}).get(key)
        assert here != there, f"{setting} is what is done anyway"
    # Of a setting that is named with two values, once the one, once the other.
    for order in (sorted(named), sorted(named, reverse=True)):
        once = {setting.partition("=")[0]: setting for setting in order}
        protocol = PAPER.protocol("paper", settings_of(list(once.values())))
        assert set(options_of(protocol).segmenters) == set(UNETS)
