"""The four papers: every known anomaly comes out by rule, and numbers that nothing speaks against stay consistent."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

import papers
from covid_keras.audit import AUDIT_COLUMNS, audit
from covid_keras.evaluation import load_published
from covid_keras.evaluation.possibility import verdict_words

FOLDER = Path(papers.__file__).parent
NAMES = ("covid_sdnet", "covid_cxnet", "arias_vgg19", "hertel_ensemble")
FAULTY = "(TP + TN) / (TP + TN + 2 FP)"


@cache
def audited(name):
    return audit(FOLDER / name / "published.yaml")


@cache
def table_of(name):
    """Return the audit's table, each verdict with its reason."""
    table = audited(name).table()
    return table.assign(verdict=list(map(verdict_words, table["verdict"], table["reason"])))


def finding(name, table, row, column="printed"):
    frame = table_of(name)
    (found,) = frame[(frame["table"] == table) & (frame["row"] == row) & (frame["column"] == column)].itertuples()
    return found


def verdicts(name, table):
    frame = table_of(name)
    own = frame[frame["table"] == table]
    return {
        (row, column): verdict for row, column, verdict in zip(own["row"], own["column"], own["verdict"], strict=True)
    }


def spoken_against(name):
    frame = table_of(name)
    wrong = frame[~frame["verdict"].str.startswith(("consistent", "cannot be checked"))]
    return set(zip(wrong["table"], wrong["row"], wrong["column"], strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_a_row_a_cell_in_the_order_of_the_file(name):
    frame, cells = table_of(name), load_published(FOLDER / name / "published.yaml")
    assert tuple(frame.columns) == AUDIT_COLUMNS
    assert [tuple(row[:3]) for row in frame.itertuples(index=False)] == [(c.table, c.row, c.column) for c in cells]
    kinds = r"consistent|impossible|explained by .+|cannot be checked \(.+\)"
    assert frame["verdict"].str.fullmatch(kinds).all()
    assert frame.loc[~frame["verdict"].str.startswith("cannot"), ["proof", "rules"]].map(bool).all(axis=None)
    summary = audited(name).summary()
    assert summary.pop("cells") == len(cells) == sum(summary.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_target_that_is_not_as_printed_is_named_with_a_doubt(name):
    against = spoken_against(name)
    named = [
        cell for cell in audited(name).cells if (cell.table, cell.row, cell.column) in against and cell.target_named
    ]
    assert all(cell.doubt for cell in named)
    assert named


# Tabik et al.
RETRAINED = "Retrained COVIDNet-CXR A"


def test_tabik_a_precision_without_its_first_digit():
    found = finding("covid_sdnet", "IV", RETRAINED, "Negative Precision")
    assert found.verdict == "explained by a slip of the pen, 63.36"
    low, high = map(float, re.search(r"it is ([\d.]+) % to ([\d.]+) %", found.proof).groups())
    assert 50 < low < 62.55 < 63.36 < high < 75
    # Beside the F1 of Table V even 63.36 is too much: 62.4 to 62.9, as that F1 says.
    found = finding("covid_sdnet", "V", "COVIDNet-CXR (retrained A)", "N Precision")
    assert found.verdict == "impossible"
    low, high = map(float, re.search(r"it is ([\d.]+) % to ([\d.]+) %", found.proof).groups())
    assert 62.3 < low < high < 63.0
    assert "63.36, which explains the same number of Table IV" in found.proof
    assert "another number of the row is wrong besides" in found.proof


def test_tabik_a_table_that_repeats_another():
    found = set(verdicts("covid_sdnet", "VI (as printed)").values())
    assert found == {"explained by a copy of Table IV"}
    assert set(verdicts("covid_sdnet", "VI").values()) == {"consistent"}, "the values of the text, by their mean"


def test_tabik_severities_and_what_was_removed():
    for table in ("V", "VII"):
        found = finding("covid_sdnet", table, "COVID-SDNet", "P Sensitivity")
        assert found.verdict == "consistent"
        assert "weighted_mean" in found.rules
    assert set(verdicts("covid_sdnet", "VIII").values()) == {"consistent"}
    drops = [found for (row, _), found in verdicts("covid_sdnet", "text").items() if row.endswith("removed")]
    assert drops == ["consistent", "consistent"]


def test_tabik_pretrained_networks():
    rows = {"COVIDNet-CXR A [16] (pretrained)": {}, "COVID-CAPS [19] (pretrained)": {}}
    for (row, column), verdict in verdicts("covid_sdnet", "IV").items():
        if row in rows:
            rows[row][column] = verdict
    cut = "explained by digits cut off instead of rounded"
    assert list(rows["COVIDNet-CXR A [16] (pretrained)"].values()) == [
        "consistent",
        "impossible",
        cut,
        "impossible",
        cut,
    ]
    assert list(rows["COVID-CAPS [19] (pretrained)"].values()) == [
        "impossible", "impossible", "consistent", "consistent", "impossible",
    ]  # fmt: skip
    proof = finding("covid_sdnet", "IV", "COVID-CAPS [19] (pretrained)", "Negative Precision").proof
    assert "TP 294, FN 132, FP 314, TN 112" in proof
    assert "45.90 %" in proof


def test_tabik_a_deviation_that_is_too_small():
    found = finding("covid_sdnet", "VII", "COVID-SDNet", "P F1")
    assert found.verdict == "impossible"
    assert "standard deviation" in found.proof
    assert "± 0.04" in found.proof


def test_tabik_equal_classes_in_table_vii():
    found = {column: verdict for (_, column), verdict in verdicts("covid_sdnet", "VII").items() if column == "Accuracy"}
    assert found == {"Accuracy": "explained by classes of equal size, or a balanced accuracy"}
    assert {v for (_, c), v in verdicts("covid_sdnet", "V").items() if c == "Accuracy"} == {"consistent"}


def test_tabik_two_values_of_one_accuracy():
    found = finding("covid_sdnet", "text", "COVID-CAPS [19], authors claim", "accuracy")
    assert (found.verdict, "89.50 % to 95.85 %" in found.proof) == ("impossible", True)
    # Sensitivity and specificity allow this one, so it is the other that is wrong.
    found = finding("covid_sdnet", "II", "[19] COVID-CAPS, 2 classes, COVIDx 1.0", "Acc.")
    assert found.verdict.startswith("cannot be checked")
    assert finding("covid_sdnet", "II", "[19] COVID-CAPS, 2 classes, COVIDx 1.0", "Sens.").verdict == "consistent"


def test_tabik_means_of_f1_that_precision_and_recall_do_not_allow():
    # Beyond what its readers had noted; 2 x 78.67 x 72.59 / (78.67 + 72.59) is 75.51.
    for row, least, most in (("COVID-SDNet", 75, 75.51), ("Without seg. (ResNet-50)", 72.7, 73.36)):
        found = finding("covid_sdnet", "V", row, "P F1")
        assert found.verdict == "impossible"
        low, high = map(float, re.search(r"it is ([\d.]+) % to ([\d.]+) %", found.proof).groups())
        assert least < low < high <= most
        assert "Or another number is the wrong one: sensitivity or precision positive." in found.proof


def test_tabik_everything_else_is_consistent():
    rows = {"IV": {RETRAINED, "COVIDNet-CXR A [16] (pretrained)", "COVID-CAPS [19] (pretrained)"}}
    named = {(t, r, c) for t, r, c in spoken_against("covid_sdnet") if t not in ("VI (as printed)", "II", "text")}
    assert {r for t, r, _ in named if t == "IV"} == rows["IV"]
    assert {(r, c) for t, r, c in named if t == "V"} == {
        ("COVIDNet-CXR (retrained A)", "N Precision"), ("Without seg. (ResNet-50)", "P F1"), ("COVID-SDNet", "P F1"),
    }  # fmt: skip
    assert {(r, c) for t, r, c in named if t == "VII" and c != "Accuracy"} == {("COVID-SDNet", "P F1")}
    assert {t for t, _, _ in named} == {"IV", "V", "VII"}
    assert set(verdicts("covid_sdnet", "III").values()) == {"consistent"}


# Arias-Garzón et al.
def test_arias_the_formula_of_the_accuracies():
    for table in ("6", "10", "14"):
        for (row, column), verdict in verdicts("arias_vgg19", table).items():
            fits = (table, row) == ("14", "Part c") or column != "Accuracy"
            assert verdict == ("consistent" if fits else f"explained by {FAULTY}"), (table, row, column)


def test_arias_table_15_another_division_and_two_exchanged_columns():
    division = "72 positives and 784 negatives (15 % of the class totals)"
    fewer = division.replace("72", "70").replace("totals)", "totals, less 2 positives)")
    exchanged = f"explained by {division}, exchanged sensitivity and specificity"
    expected = {}
    for row, sizes in (("Part c", division), ("Part d", fewer), ("Part e", division)):
        expected[row, "Accuracy"] = f"explained by {sizes}, {FAULTY}"
        for column in ("Sensitivity", "Specificity", "F1 Score"):
            expected[row, column] = f"explained by {sizes}"
    expected["Part c", "Sensitivity"] = expected["Part c", "Specificity"] = exchanged
    assert verdicts("arias_vgg19", "15") == expected
    assert "TP 71, FN 1, FP 4, TN 780" in finding("arias_vgg19", "15", "Part c", "F1 Score").proof
    assert "TP 68, FN 2, FP 3, TN 781" in finding("arias_vgg19", "15", "Part d", "F1 Score").proof
    assert "TP 71, FN 1, FP 3, TN 781" in finding("arias_vgg19", "15", "Part e", "F1 Score").proof


def test_arias_table_9_repeats_table_8_and_what_stood_there():
    assert set(verdicts("arias_vgg19", "9").values()) == {"explained by a copy of Table 8"}
    mean = finding("arias_vgg19", "text 5", "all experiments: accuracy")
    assert mean.verdict == "explained by the copied number of Table 9, 'VGG19', 'Test accuracy'"
    assert "0.9440 to 0.9448" in mean.proof
    other = finding("arias_vgg19", "text 5", "all experiments: accuracy of the COVID-19 label at 0.5")
    assert (other.verdict, "95.43" in other.proof) == ("impossible", True)


def test_arias_four_pairs_of_dice_and_iou():
    broken = {
        (row, column) for (row, column), verdict in verdicts("arias_vgg19", "2").items() if verdict == "impossible"
    }
    train = {(f"U-Net {n}", f"{kind} Train") for n in (1, 2, 3) for kind in ("Dice", "IoU")}
    assert broken == train | {("U-Net 3", "Dice Validation"), ("U-Net 3", "IoU Validation")}
    rest = {verdict for key, verdict in verdicts("arias_vgg19", "2").items() if key not in broken}
    assert rest == {"consistent"}


def test_arias_shares_that_no_number_of_images_gives():
    noted = {
        (cell.table, cell.row, cell.column)
        for cell in load_published(FOLDER / "arias_vgg19" / "published.yaml")
        if "number of right answers" in cell.doubt and cell.table.isdigit()
    }
    frame = table_of("arias_vgg19")
    found = frame[frame["proof"].str.contains("No whole number of [34],") & frame["column"].str.endswith("accuracy")]
    assert {tuple(row[:3]) for row in found.itertuples(index=False)} == noted
    assert len(noted) == 17
    first = {column: verdict for (_, column), verdict in verdicts("arias_vgg19", "1").items() if "Train" not in column}
    assert set(first.values()) == {"consistent"}


def test_arias_two_families_of_tables():
    tables = ("3", "4", "5", "7", "8", "11", "12", "13")
    frame = table_of("arias_vgg19")
    two = frame[frame["table"].isin(tables) & frame["proof"].str.contains("for the same quantity")]
    two = two[two["verdict"] == "impossible"]
    assert set(zip(two["table"], two["row"], strict=True)) == {(t, "VGG19") for t in ("3", "4", "7", "8", "11")}
    agree = frame[frame["table"].isin(("12", "13")) & (frame["row"] == "VGG19") & (frame["column"] == "Test accuracy")]
    assert agree["rules"].str.contains("same_quantity").all()


def test_arias_table_16():
    found = verdicts("arias_vgg19", "16")
    assert found["Proposed Method", "Accuracy"] == found["Proposed Method", "Recall"] == "impossible"
    assert "same_quantity" in finding("arias_vgg19", "16", "Proposed Method", "Recall").rules
    rest = {verdict for (row, column), verdict in found.items() if row != "Proposed Method" and column != "Accuracy"}
    assert all(verdict.startswith("cannot be checked") for verdict in rest), "how they average is not said"
    assert audited("arias_vgg19").summary()["impossible"] == 33


def test_arias_the_intended_division_is_not_that_of_the_counts():
    for part, shares in (("train", "46.4 %"), ("test", "29.1 %"), ("validation", "24.5 %")):
        found = finding("arias_vgg19", "text 2.2", "intended division", part)
        assert found.verdict == "impossible"
        assert (
            f"of 2,481 (the running text, section 2.2, 'projection filter, frontal', '{part}') are {shares}"
            in found.proof
        )
        assert "comparison" not in found.proof, "whose counts are 60/20/20"
        if part != "test":
            assert finding("arias_vgg19", "text 2.2", "segmentation, shares", part).verdict == "consistent"


def test_arias_counts_are_consistent():
    assert "impossible" not in set(verdicts("arias_vgg19", "text 2.1.2").values())
    wrong = {row for (row, _), verdict in verdicts("arias_vgg19", "text 2.2").items() if verdict == "impossible"}
    assert wrong == {"intended division"}
    checked = [v for (row, _), v in verdicts("arias_vgg19", "text 2.2").items() if "Experiment" in row]
    assert set(checked) == {"consistent"}


# COVID-CXNet
def test_cxnet_an_accuracy_of_120_images():
    for table, row, column in (
        ("text 5.1", "base model, 600 images: accuracy", "printed"),
        ("6", "Base Model v1", "Accuracy Score (avg) [Confidence Intervals]"),
    ):
        found = finding("covid_cxnet", table, row, column)
        assert found.verdict == "impossible"
        assert "120" in found.proof


def test_cxnet_means_that_are_one_training():
    found = {row: v for (row, column), v in verdicts("covid_cxnet", "6").items() if column.startswith("Accuracy")}
    assert found == {
        "Base Model v1": "impossible",
        "Base Model v2": "explained by the one training of Table 2",
        "COVID-CXNet v1": "explained by the one training of Table 3",
        "COVID-CXNet v2": "consistent",
        "Flat Multiclass COVID-CXNet": "explained by the one training of Table 4",
        "Hierarchical Multiclass COVID-CXNet": "explained by the one training of Table 5",
    }


def test_cxnet_f_scores_that_the_matrices_do_not_give():
    assert finding("covid_cxnet", "text 5.3", "flat multiclass: F-score CAP").verdict == (
        "explained by digits cut off instead of rounded"
    )
    found = finding("covid_cxnet", "7", "Proposed Model", "CP Class F-score")
    assert (found.verdict, "0.92199" in found.proof or "0.921986" in found.proof) == ("impossible", True)


def test_cxnet_everything_else_is_consistent():
    assert len(spoken_against("covid_cxnet")) == 10
    epochs = {verdict for (row, _), verdict in verdicts("covid_cxnet", "text 5.2").items() if "epochs" in row}
    assert epochs == {"impossible"}, "20 in the text, 10 in Fig. 13"
    for table in "12345":
        assert set(verdicts("covid_cxnet", table).values()) == {"consistent"}
    scores = {v for (_, column), v in verdicts("covid_cxnet", "6").items() if column.startswith("F-score")}
    assert scores == {"consistent"}


# Hertel & Benlamri
def test_hertel_a_total_and_its_source():
    found = finding("hertel_ensemble", "2", "Pneumonia", "total")
    assert found.verdict == "impossible"
    assert found.proof == "All of it is Table 2, 'COVIDx5, Pneumonia', 'total', 5575; printed 5445."
    for row in ("COVIDx5, Pneumonia", "COVIDx5", "COVID-19", "Normal", "BIMCV, COVID-19"):
        assert finding("hertel_ensemble", "2", row, "total").verdict == "consistent"


def test_hertel_no_number_of_images_gives_the_accuracies():
    assert set(verdicts("hertel_ensemble", "6").values()) == {"impossible"}
    found = finding("hertel_ensemble", "6", "VGG-19", "Test accuracy")
    assert "No number of images from 1,658 to 2,597" in found.proof


def test_hertel_a_statement_about_the_accuracies():
    text = "Running text: the ensembles"
    found = finding("hertel_ensemble", text, "test against validation: accuracies fell by at least")
    assert (found.verdict, "DenseNet-201: -0.26" in found.proof) == ("impossible", True)
    assert finding("hertel_ensemble", text, found.row.replace("least", "most")).verdict == "consistent"


def test_hertel_everything_else_is_consistent():
    wrong = spoken_against("hertel_ensemble")
    assert {table for table, _, _ in wrong} == {"2", "6", "Running text: the ensembles"}
    assert len(wrong) == 12
    assert not any(cell.lost for cell in load_published(FOLDER / "hertel_ensemble" / "published.yaml")
                   if (cell.table, cell.row, cell.column) in wrong)  # fmt: skip
