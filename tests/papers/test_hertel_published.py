"""The published numbers of Hertel & Benlamri: what the text holds, what it has lost, and what its arithmetic says."""

from __future__ import annotations

import math
import re

from covid_keras.evaluation import Measured, compare
from covid_keras.evaluation.verdicts import LOST
from covid_keras.training.plan import settings_of
from papers.hertel_ensemble.paper import PAPER
from papers.hertel_ensemble.segmenter import segmenter_settings
from papers.hertel_ensemble.settings import options_of
from tests.helpers.printed import printed

NAME = "hertel_ensemble"


def test_lost_cells_are_shown_beside_ours_in_the_right_unit(cells):
    ours = [
        Measured("average_binary", "auc", 90.0, 0.1, 1, 1, 88.0, 92.0, 50, 60),
        Measured("vote_multi", "confusion_normal_pneumonia", 12.0, 0.1, 1, 1, 10.0, 15.0, 50, 60),
        Measured("vote_binary", "specificity", 80.0, 0.1, 1, 1, 75.0, 85.0, 50, 60),
        Measured("average_multi", "accuracy", 84.5, 0.1, 1, 1, 80.0, 88.0, 50, 60),
    ]
    table = compare(cells, ours, tolerance=1).set_index(["table", "row", "column"])
    auc = table.loc[("Figure 10", "(b) two classes", "AUC")]
    assert (auc.ours, auc.low, auc.high, auc.reason) == (0.9, 0.88, 0.92, LOST)
    share = table.loc[("Figure 7", "Actual Normal", "Predicted Pneumonia")]
    assert (share.ours, share.unit, share.reason) == (12, "percent", LOST)
    wrong = table.loc[("Figure 9", "Actual no COVID-19", "Predicted COVID-19")]
    assert (wrong.ours, wrong.low, wrong.high, wrong.reason) == (20, 15, 25, LOST)
    assert table.loc[("6", "Weighted average ensemble", "Test accuracy")].outcome == "reproduced"
    assert set(table.loc[table["paper"].isna(), "reason"]) == {LOST}


def test_that_no_number_of_images_gives_the_accuracies_is_said(theirs):
    five = [cell for cell in theirs.of("6") if cell.column in ("Validation accuracy", "Test accuracy")]
    assert len(five) == 10
    assert all("200 to 2,000" in cell.doubt for cell in (*five, *theirs.of("8", "9")) if cell.mean > 0)


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


def test_the_pneumonia_that_is_missing_is_named(at):
    missing = at("2", "COVIDx5, Pneumonia", "total").mean - at("2", "Pneumonia", "total").mean
    assert f"{missing:.0f} less than the 5,575" in at("2", "Pneumonia", "total").doubt


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
    theirs = printed("covid_sdnet").cells
    own = {(c.table, c.system, c.metric): f"{c.mean:.2f}" for c in theirs if c.system}
    proposed = [own["V", "covid_sdnet", metric] for metric in ("accuracy", "sensitivity")]
    assert proposed == ["76.18", "72.59"]
    for table, row in (("12", "COVID-SDNet [22]"), ("14", "Tabik et al. [22], COVIDGR-1.0")):
        for column, value in zip(("Accuracy", "Sensitivity"), proposed, strict=True):
            assert round(float(value)) == at(table, row, column).mean
            assert value in at(table, row, column).doubt
    text = "Running text: the literature"
    for level, number in (("Mild", 46), ("Moderate", 85), ("Severe", 97)):
        cell = at(text, f"Tabik et al. [22], {level.lower()}: accuracy" + ", about" * (level != "Mild"))
        assert cell.mean == number == round(float(own["VIII", "covid_sdnet_no_normal_pcr", f"accuracy_{level}"]))
        assert own["VI", "covid_sdnet", f"accuracy_{level}"] in cell.doubt
    assert at(text, "Tabik et al. [22]: sensitivity").mean == float(proposed[1])
    assert "28.42 ± 2.58" in at(text, "Tabik et al. [22], mild: accuracy").doubt
    assert any((c.mean, c.std) == (28.42, 2.58) for c in theirs)


def test_the_doubt_about_another_paper_stands_at_both_its_numbers(cells):
    wehbe = [cell.doubt for cell in cells if cell.row == "Wehbe et al. [21]"]
    assert len(wehbe) == 2
    assert all("71 %" in text for text in wehbe)


def test_settings_that_the_readme_names_exist(theirs):
    text = theirs.path.with_name("README.md").read_text(encoding="utf-8")
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
