"""The published numbers of Hertel & Benlamri: what the text holds, what it has lost, and what its arithmetic says."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict

import pandas as pd
import pytest

from covid_keras.evaluation import Measured, compare, load_paper, load_published, summarise
from covid_keras.evaluation.comparison import COMPLEMENTS, NOT_IN_TEXT
from covid_keras.published.cells import load_titles
from covid_keras.training.plan import settings_of
from papers.hertel_ensemble import stages
from papers.hertel_ensemble.experiment import PAPER
from papers.hertel_ensemble.measures import measure
from papers.hertel_ensemble.segmenter import segmenter_settings
from papers.hertel_ensemble.settings import options_of

PATH = PAPER.folder / "published.yaml"
THREE = ("COVID-19", "normal", "pneumonia")
MEMBERS = ("densenet201", "resnet152", "vgg19")
# What is printed, table by table, in the order of rows and columns.
PRINTED = {
    "1": (6504, 6377, 80, 20),
    "2": (4013, 8066, 5445, 80, 10, 10, 14258, 617, 8066, 5575, 922, 2474),
    "4": (426, 426, 80, 20),
    "5": (7, 256),
    "6": (82.16, 82.42, 84.25, 81.84, 81.09, 77.53, 87.4, 84.07, 87.14, 84),
    "7": (91,),
    "8": (84.07,),
    "9": (84,),
    "10": (91, 92),
    "12": (77, 78, 76, 73),
    "13": (70, 92, 78),
    "14": (81.8, 83.33, 88, 82, 75, 79.3, 72.3, 91, 92, 0.885, 76, 73, 91, 92, 77, 78, 95.04),
    "Running text: the ensembles": (82, 2, 4, 1.5, 5, 12),
    "Running text: segmentation": (256, 180, 0.3, 20, 0.2, 45, 95.04, 7, 1),
    "Running text: classification": (
        128, 1024, 4096, 0.1, 3, 1, 15, 0.15, 15, 0.15, 32, 5, 70, 80, 0.00001, 2.5, 16,
    ),
    "Running text: the literature": (
        71, 21, 84.67, 306, 81, 72.59, 46, 85, 97, 0.982, 489, 1417, 848, 0.873, 0.91, 0.864, 0.893, 1407, 5515,
        10961, 164, 630, 81, 100, 98, 100, 29.9,
    ),
}  # fmt: skip
LOST = {
    "1": 2, "2": 9, "3": 6, "4": 4, "5": 3, "7": 9, "8": 15, "9": 15, "10": 4, "11": 6, "13": 6, "14": 3, "Figure 6": 9,
    "Figure 7": 9, "Figure 8": 4, "Figure 9": 4, "Figure 10": 2,
}  # fmt: skip

DOUBTS = {
    "1": 4, "2": 8, "3": 3, "4": 2, "5": 3, "6": 10, "7": 1, "8": 1, "9": 2, "10": 1, "12": 4, "13": 3, "14": 10,
    "Figure 10": 1, "Running text: the ensembles": 5, "Running text: segmentation": 2,
    "Running text: classification": 3, "Running text: the literature": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def cells():
    return load_published(PATH)


@pytest.fixture(scope="module")
def at(cells):
    """Return a lookup of a cell by table, row and column."""
    found = {(cell.table, cell.row, cell.column): cell for cell in cells}
    return lambda table, row, column="printed": found[table, row, column]


def test_every_printed_number_is_in_its_place(cells):
    found = defaultdict(tuple)
    for cell in cells:
        if not cell.lost:
            found[cell.table] += (cell.mean,)
    assert found == PRINTED
    assert all(cell.std is None and cell.low is None for cell in cells), "no deviations, no intervals"
    assert all(cell.target == cell.value for cell in cells if not cell.lost)


def test_what_is_lost_stays_lost(cells):
    lost = [cell for cell in cells if cell.lost]
    assert Counter(cell.table for cell in lost) == LOST
    assert all(math.isnan(cell.mean) and math.isnan(cell.target) for cell in lost)
    assert (len(cells), len(lost)) == (230, 110)
    readme = " ".join(PATH.with_name("README.md").read_text(encoding="utf-8").split())
    assert f"{len(cells) - len(lost)} printed numbers" in readme
    assert f"{len(lost)} cells" in readme
    assert set(load_titles(PATH)) == {cell.table for cell in cells}


def test_units(cells):
    assert Counter(cell.unit for cell in cells) == {"percent": 124, "count": 84, "ratio": 13, "points": 5, "number": 4}
    ours = [cell for cell in cells if cell.system]
    assert {cell.compared_unit for cell in ours} == {"percent", "ratio"}
    assert {cell.table for cell in ours if cell.compared_unit == "ratio"} == {"Figure 10"}


def test_systems_and_metrics_by_table(cells):
    found = defaultdict(set)
    for cell in cells:
        if cell.system:
            found[cell.table].add((cell.system, cell.metric))
    both = ("average", "vote")
    parts = ("accuracy_validation", "accuracy")
    six = ("accuracy", "sensitivity", "specificity", "f1_positive", "precision_positive", "precision_negative")
    one = ("recall", "specificity", "f1", "precision", "npv")
    expected = {
        table: {(f"{name}_{kind}", metric) for name in (*MEMBERS, *both) for metric in parts}
        for table, kind in (("6", "multi"), ("7", "binary"))
    }
    for name, classes, two, three_matrix, two_matrix in (
        ("average", "8", "10", "Figure 6", "Figure 8"),
        ("vote", "9", "11", "Figure 7", "Figure 9"),
    ):
        multi, binary = f"{name}_multi", f"{name}_binary"
        expected[classes] = {(multi, "accuracy"), *((multi, f"{metric}_{label}") for metric in one for label in THREE)}
        expected[two] = {(binary, metric) for metric in six}
        expected[three_matrix] = {(multi, f"confusion_{actual}_{said}") for actual in THREE for said in THREE}
        expected[two_matrix] = {(binary, metric) for metric in ("sensitivity", "specificity", *COMPLEMENTS)}
    expected["Figure 10"] = {("average_multi", "auc"), ("average_binary", "auc")}
    expected["12"] = {("average_gr", "accuracy"), ("average_gr", "sensitivity")}
    in_13 = {("average_binary", "sensitivity"), ("average_gr", "sensitivity"), ("vote_multi", "recall_COVID-19")}
    accuracies = {(name, "accuracy") for name in ("average_binary", "average_gr", "vote_multi")}
    expected |= {"13": in_13, "14": {*in_13, *accuracies, ("resunet", "dice_validation")}}
    expected["Running text: the ensembles"] = {("vote_multi", "recall_COVID-19")}
    expected["Running text: segmentation"] = {("resunet", "dice_validation")}
    assert found == expected


def test_every_metric_named_is_one_that_is_measured(cells):
    two, three = (
        {one.metric for one in (*summarise(frame), *measure(frame))}
        for frame in (predictions(("no COVID-19", "COVID-19")), predictions(THREE))
    )
    for cell in cells:
        if cell.system and cell.system != "resunet":
            known = three if cell.system.endswith("multi") else {*two, *COMPLEMENTS}
            assert cell.metric in known, cell.name
    # Of the stage, not of predictions.
    assert {cell.metric for cell in cells if cell.system == "resunet"} == {"dice_validation"}


def predictions(classes):
    """Return predictions of an image a class and part, all right."""
    rows = [
        {"image_id": f"{part}{name}", "path": "a.png", "patient_id": f"{part}{name}", "source": "s", "severity": "",
         "system": "net", "repeat": 0, "fold": 0, "split": part, "label": name, "predicted": name,
         **{f"score_{other}": float(other == name) for other in classes}}
        for part in ("train", "validation", "test") for name in classes
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_every_system_named_is_one_of_ours(cells):
    assert {cell.system for cell in cells} - {"", stages.NAME} <= {system.name for system in PAPER.systems}


def test_the_paper_itself():
    paper = load_paper(PATH)
    assert paper["doi"] == PAPER.doi == "10.1016/j.bea.2022.100041"
    assert paper["title"] == PAPER.title


def test_lost_cells_are_shown_beside_ours_in_the_right_unit(cells):
    ours = [
        Measured("average_binary", "auc", 90.0, 0.1, 1, 1, 88.0, 92.0, 50, 60),
        Measured("vote_multi", "confusion_normal_pneumonia", 12.0, 0.1, 1, 1, 10.0, 15.0, 50, 60),
        Measured("vote_binary", "specificity", 80.0, 0.1, 1, 1, 75.0, 85.0, 50, 60),
        Measured("average_multi", "accuracy", 84.5, 0.1, 1, 1, 80.0, 88.0, 50, 60),
    ]
    table = compare(cells, ours, tolerance=1).set_index(["table", "row", "column"])
    auc = table.loc[("Figure 10", "(b) two classes", "AUC")]
    assert (auc.ours, auc.low, auc.high, auc.verdict) == (0.9, 0.88, 0.92, NOT_IN_TEXT)
    share = table.loc[("Figure 7", "Actual Normal", "Predicted Pneumonia")]
    assert (share.ours, share.unit, share.verdict) == (12, "percent", NOT_IN_TEXT)
    wrong = table.loc[("Figure 9", "Actual no COVID-19", "Predicted COVID-19")]
    assert (wrong.ours, wrong.low, wrong.high, wrong.verdict) == (20, 15, 25, NOT_IN_TEXT)
    assert table.loc[("6", "Weighted average ensemble", "Test accuracy")].verdict == "reproduced"
    assert set(table.loc[table["paper"].isna(), "verdict"]) == {NOT_IN_TEXT}


def fits(images, printed):
    """Whether some number of right answers among so many images rounds to the printed percentage."""
    near = math.floor(printed * images / 100)
    return any(abs(100 * right / images - printed) <= 0.005 + 1e-9 for right in (near, near + 1))


def test_no_number_of_images_gives_the_accuracies(cells):
    assert fits(1000, 82.4), "a sure hit"
    for column in ("Validation accuracy", "Test accuracy"):
        five = [cell for cell in cells if (cell.table, cell.column) == ("6", column)]
        assert len(five) == 5
        assert not any(all(fits(images, cell.mean) for cell in five) for images in range(200, 2001))
        assert all("200 to 2,000" in cell.doubt for cell in five)
    assert all("200 to 2,000" in cell.doubt for cell in cells if cell.table in "89" and cell.mean > 0)


def test_one_of_five_test_accuracies_did_not_fall(at):
    falls = {}
    for row in ("DenseNet-201", "ResNet-152", "VGG-19", "Weighted average ensemble", "Majority voting ensemble"):
        falls[row] = round(at("6", row, "Validation accuracy").mean - at("6", row, "Test accuracy").mean, 2)
    assert falls.pop("DenseNet-201") == -0.26
    assert (min(falls.values()), max(falls.values())) == (2.41, 3.56)
    assert "0.26 points higher" in at("6", "DenseNet-201", "Test accuracy").doubt
    for bound in ("least", "most"):
        said = at("Running text: the ensembles", f"test against validation: accuracies fell by at {bound}").doubt
        assert "2.41 to 3.56" in said


def test_counts_of_the_sources(at):
    total = {row: at("2", row, "total").mean for row in ("COVID-19", "Normal", "Pneumonia")}
    sources = ("COVIDx5, COVID-19", "MIDRC-RICORD-1C, COVID-19", "BIMCV, COVID-19")
    assert sum(at("2", row, "total").mean for row in sources) == total["COVID-19"]
    of_covidx = [at("2", f"COVIDx5, {row}", "total").mean for row in total]
    assert sum(of_covidx) == at("2", "COVIDx5", "total").mean
    assert of_covidx[1] == total["Normal"]
    assert of_covidx[2] - total["Pneumonia"] == 130
    assert "130 less than the 5,575" in at("2", "Pneumonia", "total").doubt
    assert round(0.8 * at("1", "after preprocessing", "images and masks").mean, 1) == 5101.6


def test_gains_that_the_text_claims(at):
    single = at("6", "DenseNet-201", "Test accuracy").mean
    gains = [
        at("6", f"{kind} ensemble", "Test accuracy").mean - single for kind in ("Weighted average", "Majority voting")
    ]
    assert [round(gain, 2) for gain in gains] == [1.65, 1.58]
    text = "Running text: the ensembles"
    assert min(gains) > at(text, "ensembles against DenseNet-201: test accuracy higher by at least").mean
    gain = (
        at("12", "Our binary weighted average ensemble", "Sensitivity").mean
        - at("12", "COVID-SDNet [22]", "Sensitivity").mean
    )
    assert gain == at(text, "two classes, COVIDGR-1.0, against COVID-SDNet: sensitivity higher by").mean
    more = (
        at("7", "Weighted average ensemble", "Test accuracy").mean - at("14", "Abdullah et al. [25]", "Accuracy").mean
    )
    assert f"is {more:.1f}" in at(text, "two classes against Abdullah et al.: accuracy higher by").doubt


def test_the_gains_on_covidgr_are_within_the_noise(at):
    images = 0.2 * (426 + 426)
    for column, count, points in (("Accuracy", images, "3.2"), ("Sensitivity", images / 2, "4.5")):
        mine = at("12", "Our binary weighted average ensemble", column)
        error = 100 * math.sqrt(mine.mean / 100 * (1 - mine.mean / 100) / count)
        assert f"{error:.1f}" == points
        assert points in mine.doubt
        assert mine.mean - at("12", "COVID-SDNet [22]", column).mean < 1.96 * error


def test_what_is_quoted_of_covid_sdnet_is_what_its_paper_prints(at):
    theirs = load_published(PATH.parents[1] / "covid_sdnet" / "published.yaml")
    own = {(c.table, c.system, c.metric): f"{c.mean:.2f}" for c in theirs if c.system}
    proposed = [own["V", "covid_sdnet", metric] for metric in ("accuracy", "sensitivity")]
    assert proposed == ["76.18", "72.59"]
    for table, row in (("12", "COVID-SDNet [22]"), ("14", "Tabik et al. [22], COVIDGR-1.0")):
        for column, value in zip(("Accuracy", "Sensitivity"), proposed, strict=True):
            assert round(float(value)) == at(table, row, column).mean
            assert value in at(table, row, column).doubt
    text = "Running text: the literature"
    for level, printed in (("Mild", 46), ("Moderate", 85), ("Severe", 97)):
        cell = at(text, f"Tabik et al. [22], {level.lower()}: accuracy" + ", about" * (level != "Mild"))
        assert cell.mean == printed == round(float(own["VIII", "covid_sdnet_no_normal_pcr", f"accuracy_{level}"]))
        assert own["VI", "covid_sdnet", f"accuracy_{level}"] in cell.doubt
    assert at(text, "Tabik et al. [22]: sensitivity").mean == float(proposed[1])
    assert "28.42 ± 2.58" in at(text, "Tabik et al. [22], mild: accuracy").doubt
    assert any((c.mean, c.std) == (28.42, 2.58) for c in theirs)


def test_doubts(cells):
    named = Counter(cell.table for cell in cells if cell.doubt)
    assert named == DOUBTS
    wehbe = [cell.doubt for cell in cells if cell.row == "Wehbe et al. [21]"]
    assert len(wehbe) == 2
    assert all("71 %" in text for text in wehbe)


def test_settings_that_the_readme_names_exist():
    text = PATH.with_name("README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"(?<=[` ])(?:options|training|split)\.[\w.]+=[\w.]+", text))
    named |= set(re.findall(r"--set '(options\.\S+=\{[^']+\})'", text))
    assert len(named) >= 18
    usual = PAPER.protocol("paper")
    for setting in sorted(named):
        protocol = PAPER.protocol("paper", settings_of([setting]))
        assert options_of(protocol).masks == ("shipped" if "shipped" in setting else "resunet")
        assert (segmenter_settings(protocol) != segmenter_settings(usual)) == setting.startswith("options.segmenter")
        assert protocol != usual, f"{setting} is what is done anyway"
        own = PAPER.system("vgg19_gr5")
        assert (own.training(protocol) != own.training(usual)) == setting.startswith("training."), setting
