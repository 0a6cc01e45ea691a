"""The cohort's checks, its order, its fingerprint."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from covid_keras.common.errors import UserError
from covid_keras.data import Cohort, severity_level
from covid_keras.data.cohort import COLUMNS
from tests.helpers.refusals import refused


def table(n: int = 4, **columns: object) -> pd.DataFrame:
    base = {
        "image_id": [f"s/{i}" for i in range(n)],
        "path": [f"/x/{i}.png" for i in range(n)],
        "patient_id": [f"s/p{i // 2}" for i in range(n)],
        "label": ["N", "P"] * (n // 2),
    }
    return pd.DataFrame({**base, **columns})


@pytest.fixture
def cohort() -> Cohort:
    return Cohort(table(), ("N", "P"), "made up")


def test_severity_levels_follow_tabik_and_round_half_up() -> None:
    scores = [0, 0.49, 0.5, 1, 2.4, 2.5, 3, 5.49, 5.5, 8]
    levels = ["Normal-PCR+"] * 2 + ["Mild"] * 3 + ["Moderate"] * 3 + ["Severe"] * 2
    assert [severity_level(score) for score in scores] == levels
    assert severity_level(float("nan")) == ""
    refused("extent: .*8.1", severity_level, 8.1)


def test_optional_columns_are_filled_in_and_further_ones_kept(cohort: Cohort) -> None:
    made = Cohort(table(site=["a"] * 4, view=["PA", None, np.nan, "L"]), ("N", "P"))
    assert tuple(made.table.columns) == (*COLUMNS, "site")
    assert list(made.table["view"]) == ["PA", "", "", "L"]
    assert made.table["extent"].isna().all()
    assert list(cohort.labels()) == [0, 1, 0, 1]
    assert cohort.counts() == {"N": 2, "P": 2}
    assert cohort.patients() == ["s/p0", "s/p1"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": ["N", "P", "Q", "N"]}, "label 'Q' of image 's/2' is unknown"),
        ({"image_id": ["a", "b", "b", "c"]}, "image id 'b' is listed more than once"),
        ({"patient_id": ["1", "", "2", "2"]}, "column 'patient_id' is empty for s/1"),
        ({"extent": [0, 1, 9, 2]}, "extent of image 's/2'"),
        ({"extent": [0, 1, "much", 2]}, "column 'extent'"),
    ],
)
def test_bad_tables_are_refused_by_name(change: dict, message: str) -> None:
    refused(message, Cohort, table(**change), ("N", "P"), "made up")


def test_missing_column_and_no_image_are_refused() -> None:
    with pytest.raises(UserError, match=r"made up: column 'patient_id' is missing"):
        Cohort(table().drop(columns="patient_id"), ("N", "P"), "made up")
    refused("no images", Cohort, table()[:0], ("N", "P"))


def test_filter_keeps_order_and_renumbers(cohort: Cohort) -> None:
    kept = cohort.filter(lambda rows: rows["label"] == "P")
    assert list(kept.table["image_id"]) == ["s/1", "s/3"]
    assert list(kept.table.index) == [0, 1]
    assert list(cohort.filter(np.array([0, 0, 1, 0], bool)).table["image_id"]) == ["s/2"]
    with pytest.raises(ValueError, match="filter"):
        cohort.filter(np.array([True]))


def test_frontal_takes_every_posture_and_no_lateral() -> None:
    made = Cohort(table(view=["PA", "L", "AP Supine", ""]), ("N", "P")).frontal()
    assert list(made.table["view"]) == ["PA", "AP Supine"]


def test_relabel_and_concat(cohort: Cohort) -> None:
    merged = cohort.relabel({"P": "covid", "N": "other"}, ("other", "covid"))
    assert merged.counts() == {"other": 2, "covid": 2}
    assert cohort.counts() == {"N": 2, "P": 2}, "the first cohort is untouched"
    other = Cohort(table().assign(image_id=list("abcd")), ("N", "P"))
    assert len(Cohort.concat([cohort, other], ("N", "P"))) == 8
    refused("listed more than once", Cohort.concat, [cohort, cohort], ("N", "P"))


def test_csv_round_trip_and_relative_paths(cohort: Cohort, tmp_path) -> None:
    full = Cohort(table(extent=[0, np.nan, 2.5, 8], severity=["", "", "Mild", "Severe"]), ("N", "P"))
    again = Cohort.from_csv(full.to_csv(tmp_path / "cohort.csv"), ("N", "P"))
    pd.testing.assert_frame_equal(again.table, full.table, check_dtype=False)
    (tmp_path / "own.csv").write_text("image_id,path,patient_id,label\n1,images/1.png,007,N\n")
    own = Cohort.from_csv(tmp_path / "own.csv")
    assert own.table.loc[0, "path"] == str(tmp_path / "images" / "1.png")
    assert own.table.loc[0, "patient_id"] == "007", "ids are text, their zeros stay"


def test_ages_and_follow_ups_stay_numbers_in_a_csv_file(cohort: Cohort, tmp_path) -> None:
    full = Cohort(table(age=[31, np.nan, 7.5, 80], follow_up=[0, 1, 2, 11]), ("N", "P"))
    again = Cohort.from_csv(full.to_csv(tmp_path / "cohort.csv"), ("N", "P")).table
    assert (again["age"] // 10).tolist()[2:] == [0, 8]
    assert again["age"].isna().tolist() == [False, True, False, False]
    assert again["follow_up"].mean() == 3.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a readable CSV"),
        ("image_id,path\n1,2\n", "column 'patient_id', 'label' is missing"),
        ("a,b\n1,2,3,4\n1\n2,3,4,5,6,7\n", "not a readable CSV"),
    ],
)
def test_unreadable_csv_is_named(tmp_path, text: str, message: str) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        Cohort.from_csv(tmp_path / "bad.csv")
    assert "bad.csv" in str(caught.value)


def test_missing_csv_is_named(tmp_path) -> None:
    refused(r"absent\.csv: cannot be read", Cohort.from_csv, tmp_path / "absent.csv")


def test_fingerprint_sees_labels_and_sizes_not_places_or_order(tmp_path) -> None:
    def made(folder: str, sizes: list[int], labels: list[str]) -> Cohort:
        (tmp_path / folder).mkdir(exist_ok=True)
        paths = [tmp_path / folder / f"{i}.png" for i in range(2)]
        for path, size in zip(paths, sizes, strict=True):
            path.write_bytes(b"x" * size)
        return Cohort(table(2, path=[str(path) for path in paths], label=labels), ("N", "P"))

    here = made("here", [3, 4], ["N", "P"])
    assert here.fingerprint() == made("there", [3, 4], ["N", "P"]).fingerprint()
    assert here.fingerprint() == Cohort(here.table[::-1], here.classes).fingerprint()
    assert here.fingerprint() != made("larger", [3, 5], ["N", "P"]).fingerprint()
    assert here.fingerprint() != made("other", [3, 4], ["P", "P"]).fingerprint()
    (tmp_path / "here" / "1.png").unlink()
    refused(r"1\.png: image 's/1' of the cohort is missing", here.fingerprint)


def test_cells_that_differ_in_spelling_only_are_one(tmp_path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "own.csv").write_bytes(
        "Image ID;Path;patient-id;LABEL;extent\na;a.png;3;Covid-19;2,5\nb;b.png;3.0;COVID19;\n"
        "c;c.png;P1;covid-19 ;1\nd;d.png;p1;no finding;\n".encode("utf-16")
    )
    cohort = Cohort.from_csv(tmp_path / "own.csv")
    assert cohort.classes == ("Covid-19", "no finding")
    assert cohort.patients() == ["3", "P1"]
    assert cohort.table["extent"].tolist()[0] == 2.5
    assert "'p1' = 'P1'" in caplog.text
    assert Cohort.from_csv(tmp_path / "own.csv", ("No Finding", "COVID-19")).labels().tolist() == [1, 1, 1, 0]


@pytest.mark.parametrize("other", ["A", "a ", "\u00a0a"])
def test_ids_that_differ_in_case_or_blanks_only_are_refused(other: str) -> None:
    refused("differ only in case|more than once", Cohort, table(2, image_id=["a", other]), ("N", "P"))


def test_patients_called_missing_are_none() -> None:
    refused("'patient_id' is empty", Cohort, table(2, patient_id=["1", "nan"]), ("N", "P"))
