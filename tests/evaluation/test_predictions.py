from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from covid_keras.common.errors import UserError
from covid_keras.evaluation import (
    PREDICTION_COLUMNS,
    check_predictions,
    classes_of,
    read_predictions,
    write_predictions,
)
from tests.helpers.predictions import make_predictions


def test_written_and_read_back_is_the_same_to_the_bit(tmp_path):
    rng = np.random.default_rng(0)
    scores = rng.dirichlet([0.1, 1, 3], 500).astype(np.float32)
    scores[0] = [1e-38, 0.25, 0.75]
    frame = make_predictions(["a"] * 500, scores, classes=("a", "b c", "NA"), source="NA", fold=3)
    path = write_predictions(tmp_path / "run" / "predictions.csv", frame)
    back = read_predictions(path)
    assert classes_of(back) == ("a", "b c", "NA")
    assert tuple(back.columns[: len(PREDICTION_COLUMNS)]) == PREDICTION_COLUMNS
    for name in ("score_a", "score_b c", "score_NA"):
        assert back[name].dtype == np.float32
        np.testing.assert_array_equal(back[name].to_numpy(), frame[name].to_numpy())
    assert back["repeat"].dtype == np.int64
    assert (back["fold"] == 3).all()
    assert set(back["severity"]) == {""}
    assert set(back["source"]) == {"NA"}


def test_columns_are_put_in_order_and_further_ones_kept(tmp_path):
    frame = make_predictions(["N", "P"], [0.2, 0.7])
    shuffled = frame.assign(site="x")[[*reversed(frame.columns), "site"]]
    back = read_predictions(write_predictions(tmp_path / "p.csv", shuffled))
    assert list(back.columns) == [*PREDICTION_COLUMNS, "score_P", "score_N", "site"]


def test_files_are_put_below_one_another(tmp_path):
    frame = make_predictions(["N", "P"], [0.2, 0.7])
    paths = [write_predictions(tmp_path / f"{fold}.csv", frame.assign(fold=fold)) for fold in range(3)]
    assert list(read_predictions(paths)["fold"]) == [0, 0, 1, 1, 2, 2]
    with pytest.raises(UserError, match=r"0\.csv: repeats image made/0000 of ours, repeat 0, fold 0"):
        read_predictions([*paths, paths[0]])
    other = make_predictions(["N", "Q"], [0.2, 0.7], classes=("N", "Q"), fold=9)
    write_predictions(tmp_path / "q.csv", other)
    with pytest.raises(UserError, match=r"q\.csv: has the classes N, Q, but .*0\.csv has N, P"):
        read_predictions([paths[0], tmp_path / "q.csv"])
    with pytest.raises(UserError, match="at least one file"):
        read_predictions([])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="patient_id"), "has no column patient_id"),
        (lambda f: f.drop(columns="score_N"), "has 1 score_<class> columns"),
        (lambda f: f.iloc[:0], "has no rows"),
        (lambda f: pd.concat([f, f.iloc[:1]]), "lists image made/0000 twice for ours, repeat 0, fold 0"),
        (lambda f: f.assign(label="X"), "image made/0000 has label 'X'"),
        (lambda f: f.assign(predicted=["N", "q"]), "image made/0001 has predicted 'q'"),
        (lambda f: f.assign(split="dev"), "has split 'dev'"),
        (lambda f: f.assign(patient_id=["x", ""]), "row 2 has no patient_id"),
        (lambda f: f.assign(score_P=[0.2, np.nan]), "image made/0001 has a score that is not a finite"),
        (lambda f: f.assign(score_P=[0.2, np.inf]), "not a finite number"),
        (lambda f: f.assign(score_P=1.2, score_N=-0.2), r"outside 0..1 \(-0.2, 1.2\)"),
        (lambda f: f.assign(score_P=[0.2, 0.702]), "scores that do not sum to 1"),
    ],
)
def test_a_wrong_table_is_refused_and_nothing_written(tmp_path, change, message):
    frame = change(make_predictions(["N", "P"], [0.2, 0.7]))
    with pytest.raises(UserError, match=message):
        check_predictions(frame)
    with pytest.raises(UserError, match=message):
        write_predictions(tmp_path / "p.csv", frame)
    assert not list(tmp_path.iterdir())
    if not frame.empty:
        frame.to_csv(tmp_path / "p.csv", index=False, na_rep="nan")
        with pytest.raises(UserError, match=r"p\.csv: .*" + message):
            read_predictions(tmp_path / "p.csv")


def test_sums_within_the_tolerance_pass():
    check_predictions(make_predictions(["N", "P"], [0.2, 0.7]).assign(score_P=[0.2004, 0.6996]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        (b"", "is not a readable CSV table"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "is a PNG image"),
        (b"a,b\n1,2\n", "has no column image_id"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path, content, message):
    path = tmp_path / "p.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=rf"p\.csv: {message}"):
        read_predictions(path)


@pytest.mark.parametrize(("column", "value"), [("fold", "one"), ("fold", ""), ("score_P", "high")])
def test_a_word_where_a_number_belongs_is_named(tmp_path, column, value):
    frame = make_predictions(["N", "P"], [0.2, 0.7]).astype({column: object})
    frame.loc[1, column] = value
    frame.to_csv(tmp_path / "p.csv", index=False)
    with pytest.raises(UserError, match=rf"p\.csv: column {column} must contain numbers"):
        read_predictions(tmp_path / "p.csv")


def test_a_table_saved_again_by_a_spreadsheet_is_the_same(tmp_path):
    frame = make_predictions(["N", "P"], [0.2, 0.75])
    write_predictions(tmp_path / "p.csv", frame)
    again = frame.assign(label=["n", "P "], repeat="0.0", patient_id=["7.0", "7"])
    again = again.assign(score_N=["0,8", "0,25"], score_P=["0,2", "0,75"])
    again.to_csv(tmp_path / "again.csv", sep=";", index=False, encoding="utf-16")
    expected = read_predictions(tmp_path / "p.csv").assign(patient_id="7")
    pd.testing.assert_frame_equal(read_predictions(tmp_path / "again.csv"), expected)
