"""Splits: every image once in test, no patient in two parts, proportions, refusals, files."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covid_keras.common.errors import UserError
from covid_keras.data import Cohort, check_disjoint, hold_out, load_source, patient_folds, read_split, write_split
from covid_keras.data.splits import PARTS, SPLIT_COLUMNS, published_split, repeated
from tests.helpers.refusals import refused


def make_cohort(images_per_patient: list[int], labels: list[str], severity: list[str] | None = None) -> Cohort:
    patients = np.repeat(np.arange(len(labels)), images_per_patient)
    ids = [f"made/{i}" for i in range(len(patients))]
    table = pd.DataFrame({"image_id": ids, "path": ids, "patient_id": [f"made/p{p}" for p in patients]})
    severities = np.array(severity or [""] * len(labels))[patients]
    table = table.assign(label=np.array(labels)[patients], severity=severities)
    return Cohort(table, tuple(sorted(set(labels))), "made")


def split_counts(table: pd.DataFrame, cohort: Cohort) -> pd.DataFrame:
    """Return images, and images of each class and severity, per (repeat, fold, split)."""
    keys = [table[name] for name in ("repeat", "fold", "split")]
    severity = table["image_id"].map(cohort.table.set_index("image_id")["severity"])
    counts = pd.crosstab(keys, table["label"]).join(pd.crosstab(keys, severity))
    return counts.assign(images=table.groupby(["repeat", "fold", "split"]).size())


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    rng = np.random.default_rng(0)
    labels = ["N"] * 40 + ["P"] * 40
    return make_cohort(list(rng.integers(1, 5, 80)), labels, [""] * 40 + ["Mild", "Severe"] * 20)


@pytest.mark.slow
@settings(max_examples=15, deadline=None, database=None)
@given(
    sizes=st.lists(st.integers(1, 4), min_size=40, max_size=70), seed=st.integers(0, 2**31), n_folds=st.integers(2, 5)
)
def test_folds_partition_the_images_and_part_the_patients(sizes: list[int], seed: int, n_folds: int) -> None:
    made = make_cohort(sizes, ["N" if i % 5 < 3 else "P" for i in range(len(sizes))])
    table = patient_folds(made, n_folds, repeats=2, seed=seed, validation=0.1)
    check_disjoint(table, made)
    for _, repeat in table[table["split"] == "test"].groupby("repeat"):
        assert sorted(repeat["image_id"]) == sorted(made.table["image_id"])
    total = made.counts()
    for (_, _, part), row in split_counts(table, made).iterrows():
        assert all(row[label] > 0 for label in made.classes)
        if part == "test":
            for label in made.classes:
                assert abs(row[label] - total[label] / n_folds) <= 4 + 0.1 * total[label]
    validation = (table["split"] == "validation").sum() / (table["split"] != "test").sum()
    assert 0.05 < validation < 0.2


def test_columns_order_and_determinism(cohort: Cohort) -> None:
    table = patient_folds(cohort, 5, repeats=2, seed=7)
    assert tuple(table.columns) == SPLIT_COLUMNS
    assert len(table) == 10 * len(cohort)
    assert set(table["split"]) == set(PARTS)
    assert list(table["image_id"][: len(cohort)]) == list(cohort.table["image_id"])
    pd.testing.assert_frame_equal(table, patient_folds(cohort, 5, repeats=2, seed=7))
    assert not table["split"].equals(patient_folds(cohort, 5, repeats=2, seed=8)["split"])
    first, second = (table["split"][table["repeat"] == repeat].to_numpy() for repeat in (0, 1))
    assert (first != second).any(), "each repeat shuffles anew"


def test_more_repeats_leave_the_first_ones_as_they_were(cohort: Cohort) -> None:
    longer = patient_folds(cohort, 5, repeats=3, seed=1)
    pd.testing.assert_frame_equal(patient_folds(cohort, 5, repeats=1, seed=1), longer[longer["repeat"] == 0])


@pytest.mark.slow
def test_sizes_are_those_of_covid_sdnet() -> None:
    levels = ["Normal-PCR+"] * 76 + ["Mild"] * 100 + ["Moderate"] * 171 + ["Severe"] * 79
    made = make_cohort([1] * 852, ["N"] * 426 + ["P"] * 426, [""] * 426 + levels)
    counts = split_counts(patient_folds(made, 5, seed=0), made)
    test = counts.xs("test", level="split")
    assert set(test["images"]) <= {169, 170, 171, 172}
    assert set(counts.xs("validation", level="split")["images"]) <= {67, 68, 69, 70}
    assert (test["Severe"].between(15, 17)).all()
    assert (test["Mild"] == 20).all()


def test_severity_levels_are_spread(cohort: Cohort) -> None:
    test = split_counts(patient_folds(cohort, 4, seed=0), cohort).xs("test", level="split")
    assert (test[["Mild", "Severe"]] > 0).all(axis=None)


def test_groups_keep_near_duplicates_together(cohort: Cohort) -> None:
    pairs = pd.DataFrame({"image_id_a": ["made/0"], "image_id_b": [cohort.table["image_id"].iloc[-1]]})
    groups = cohort.table["patient_id"].replace({cohort.table["patient_id"].iloc[-1]: "made/p0"})
    for seed in range(5):
        check_disjoint(patient_folds(cohort, 5, seed=seed, groups=groups), cohort, pairs)
    with pytest.raises(ValueError, match="groups must have shape"):
        patient_folds(cohort, 5, groups=["a"])


def test_crossing_duplicates_are_named(cohort: Cohort) -> None:
    table = patient_folds(cohort, 5, seed=0)
    fold = table[table["fold"] == 0].set_index("image_id")["split"]
    a, b = fold.index[fold == "train"][0], fold.index[fold == "test"][0]
    pairs = pd.DataFrame({"image_id_a": [a, "elsewhere/1"], "image_id_b": [b, "made/0"]})
    refused(f"near-duplicates in more than one part: {a} = {b}", check_disjoint, table, cohort, pairs)


def test_leaky_split_needs_its_flag_and_names_its_patients(cohort: Cohort) -> None:
    leaky = patient_folds(cohort, 5, seed=0, leaky_as_published=True)
    refused(r"repeat 0, fold 0.*patients.*: (made/p\d+, ){4}made/p\d+ and \d+ more", check_disjoint, leaky, cohort)
    by_class = split_counts(leaky, cohort).xs("test", level="split")
    assert by_class["N"].max() - by_class["N"].min() <= 2
    check_disjoint(patient_folds(cohort, 5, seed=0), cohort)


def test_patients_are_taken_from_the_cohort_not_from_the_table(cohort: Cohort) -> None:
    leaky = patient_folds(cohort, 5, seed=0, leaky_as_published=True)
    refused("leakage", check_disjoint, leaky.assign(patient_id=leaky["image_id"]), cohort)


def test_unknown_and_repeated_images_are_refused(cohort: Cohort) -> None:
    table = hold_out(cohort)
    refused("'made/x' is not in the cohort", check_disjoint, table.assign(image_id="made/x"), cohort)
    refused("'made/0' is repeated in repeat 0, fold 0", check_disjoint, pd.concat([table, table[:1]]), cohort)


def test_hold_out_shares(cohort: Cohort) -> None:
    counts = split_counts(hold_out(cohort, {"train": 0.6, "validation": 0.2, "test": 0.2}, seed=2), cohort)
    share = (counts["images"] / len(cohort)).droplevel(["repeat", "fold"])
    np.testing.assert_allclose(share[list(PARTS)], [0.6, 0.2, 0.2], atol=0.06)
    assert set(hold_out(cohort, {"train": 0.8, "validation": 0.2})["split"]) == {"train", "validation"}
    assert set(hold_out(cohort)["split"]) == {"train", "test"}
    assert (hold_out(cohort, {"train": 1.0})["split"] == "train").all()


@pytest.mark.parametrize("shares", [{"train": 0.8}, {"train": 0.8, "val": 0.2}, {"train": 1.2, "test": -0.2}, {}])
def test_shares_that_make_no_split_are_refused(cohort: Cohort, shares: dict) -> None:
    refused("invalid", hold_out, cohort, shares)


def test_too_few_patients_of_a_class_say_what_to_change() -> None:
    made = make_cohort([3] * 20 + [9] * 3, ["N"] * 20 + ["P"] * 3)
    refused(r"class 'P' has 3 patient\(s\), too few for 5 folds.*fewer folds", patient_folds, made, 5)
    table = patient_folds(made, 3, validation=0.2)
    check_disjoint(table, made)
    with pytest.raises(UserError, match="no image of class 'P'"):
        patient_folds(make_cohort([3] * 20 + [9] * 2, ["N"] * 20 + ["P"] * 2), 2, validation=0.2)
    refused("invalid", patient_folds, made, 1)


def test_small_cohorts_still_get_a_validation_part() -> None:
    made = make_cohort([2] * 12, ["N", "P"] * 6)
    table = patient_folds(made, 3, seed=0)
    check_disjoint(table, made)
    assert set(table["split"]) == set(PARTS)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ({"COVID-19": 428, "normal": 3200}, {"COVID-19": 81, "normal": 645}),
        ({"COVID-19": 700, "CAP": 3500, "normal": 3500}, {"COVID-19": 139, "CAP": 710, "normal": 691}),
    ],
    ids=["table 3", "tables 4 and 5"],
)
def test_the_published_split_has_the_row_sums_that_the_paper_prints(images: dict, expected: dict) -> None:
    """Haghanifar et al. 2020: the row sums of the confusion matrices are those of the authors' seed 18."""
    labels = np.repeat(list(images), list(images.values())).tolist()
    made = make_cohort([1] * len(labels), labels)
    test = split_counts(published_split(made, 0.2, 18), made).xs("test", level="split")
    assert test[list(expected)].iloc[0].to_dict() == expected
    other = split_counts(published_split(made, 0.2, 17), made).xs("test", level="split")
    assert other[list(expected)].iloc[0].to_dict() != expected


def test_the_published_split_goes_by_the_order_of_images_alone(cohort: Cohort) -> None:
    """By place, whoever the patient is; so patients cross, and another order is another split."""
    table = published_split(cohort, 0.2, 18)
    assert tuple(table.columns) == SPLIT_COLUMNS
    assert list(table["image_id"]) == list(cohort.table["image_id"])
    assert set(table["split"]) == {"train", "test"}
    assert (table["split"] == "test").sum() == np.ceil(0.2 * len(cohort)), "sklearn rounds up"
    refused("leakage in repeat 0, fold 0", check_disjoint, table, cohort)
    turned = published_split(Cohort(cohort.table[::-1], cohort.classes, "turned"), 0.2, 18)
    assert list(turned["split"]) == list(table["split"])
    rare = make_cohort([1] * 40, ["N"] * 39 + ["P"])
    refused("no image of class 'P'", published_split, rare, 0.2, 18)


def test_repeats_of_one_division_are_the_same_division(cohort: Cohort) -> None:
    once = hold_out(cohort, {"train": 0.6, "validation": 0.2, "test": 0.2}, seed=2)
    table = repeated(once, 3)
    assert list(table["repeat"].unique()) == [0, 1, 2]
    for _, repeat in table.groupby("repeat"):
        pd.testing.assert_frame_equal(repeat.reset_index(drop=True).assign(repeat=0), once)


def test_files_round_trip_and_tampering_is_noticed(cohort: Cohort, tmp_path) -> None:
    table = patient_folds(cohort, 5, seed=0)
    path = write_split(tmp_path / "splits" / "folds.csv", table)
    pd.testing.assert_frame_equal(read_split(path), table, check_dtype=False)
    assert (path.parent / "folds.csv.sha256").read_text().endswith("  folds.csv\n")
    path.write_text(path.read_text().replace("train", "test", 1))
    refused(r"folds\.csv: was changed since it was written", read_split, path)
    (path.parent / "folds.csv.sha256").unlink()
    refused(r"folds\.csv\.sha256: cannot be read", read_split, path)


def test_a_failed_write_leaves_nothing(cohort: Cohort, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    refused("cannot be written", write_split, tmp_path / "file" / "folds.csv", hold_out(cohort))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.real
@pytest.mark.parametrize("name", ["cohen", "chestxray14"])
def test_real_cohorts_split_by_patient(real_data, name: str) -> None:
    made = load_source(name, real_data)
    made = made.frontal() if name == "cohen" else made
    table = patient_folds(made, 5, seed=0)
    check_disjoint(table, made)
    test = split_counts(table, made).xs("test", level="split")
    assert test["images"].sum() == len(made)
    for label, total in made.counts().items():
        assert (abs(test[label] - total / 5) <= 2).all()
