"""Systems executed: one sigmoid, relabelled, composed of others, tested everywhere, weights that Keras ignored."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from covid_keras.common.errors import UserError
from covid_keras.common.files import read_json
from covid_keras.evaluation import read_predictions
from covid_keras.training.executions import BEST

pytestmark = pytest.mark.slow


def _frame(run, name: str) -> pd.DataFrame:
    return read_predictions(run.execution(name, 0, 0).predictions)


def _record(run, name: str) -> dict:
    return read_json(run.execution(name, 0, 0).record)


def _scores(frame: pd.DataFrame) -> np.ndarray:
    return frame[[column for column in frame if column.startswith("score_")]].to_numpy(np.float64)


def test_every_execution_is_done(executed):
    whole = executed.whole
    done = {execution.name for execution in whole.executions() if execution.done}
    names = ("a", "ignored", "sigmoid", "product", "elsewhere", "ill")
    assert done == {f"{name} repeat 1 fold 1" for name in names} == {one.name for one in whole.executions()}


def test_ignored_weights_train_as_none_do(executed):
    """Although the classes differ in size."""
    none, ignored = (_frame(executed.whole, name) for name in ("a", "ignored"))
    pd.testing.assert_frame_equal(none.drop(columns="system"), ignored.drop(columns="system"))
    assert _record(executed.whole, "a")["epochs"] == _record(executed.whole, "ignored")["epochs"] == 3


def test_a_stopped_training_of_one_sigmoid_ends_as_the_whole_one(executed):
    assert "stopped" in executed.said
    one, other = (run.execution("sigmoid", 0, 0) for run in (executed.whole, executed.stopped))
    assert other.predictions.read_bytes() == one.predictions.read_bytes()
    history = [pd.read_csv(execution.folder / "history.csv") for execution in (one, other)]
    pd.testing.assert_frame_equal(*history)
    assert len(history[0]) == 3
    assert history[0]["loss"].nunique() == 3, "it learnt something"


def test_one_sigmoid_is_the_score_of_the_second_class(executed):
    frame = _frame(executed.whole, "sigmoid")
    assert list(frame.filter(like="score_")) == ["score_N", "score_P"]
    np.testing.assert_allclose(_scores(frame).sum(axis=1), 1, atol=1e-6)
    assert frame["score_P"].nunique() > 2
    assert frame["predicted"].tolist() == np.where(frame["score_P"] > 0.5, "P", "N").tolist()


def test_relabelled_predictions_carry_the_new_labels_alone(executed):
    frame, table = _frame(executed.whole, "ill"), executed.whole.cohort.table.set_index("image_id")
    assert list(frame.filter(like="score_")) == ["score_N", "score_ill"]
    assert set(frame["predicted"]) <= {"N", "ill"}
    given = table.loc[frame["image_id"], "label"]
    assert frame["label"].tolist() == given.replace({"P": "ill", "other": "ill"}).tolist()
    assert set(given) == {"N", "P", "other"}
    split = executed.whole.splits_of("small").query("repeat == 0 and split != 'train'").set_index("image_id")["split"]
    assert frame.set_index("image_id")["split"].to_dict() == split.to_dict()


def test_images_of_other_classes_are_not_scored(executed):
    given = executed.whole.cohort.table.set_index("image_id")["label"]
    for name in ("a", "sigmoid", "product"):
        frame = _frame(executed.whole, name)
        assert set(frame["label"]) == set(given[frame["image_id"]]) == {"N", "P"}
        assert set(frame["split"]) == {"validation", "test"}


def test_what_is_composed_is_made_of_its_parts(executed):
    """The product of two networks' outputs, from what each of the two predicted alone."""
    both, second, product = (_frame(executed.whole, name) for name in ("a", "sigmoid", "product"))
    assert both["image_id"].tolist() == second["image_id"].tolist() == product["image_id"].tolist()
    expected = _scores(both) * _scores(second)
    np.testing.assert_allclose(_scores(product), expected / expected.sum(axis=1, keepdims=True), atol=1e-5)
    record = _record(executed.whole, "product")
    assert (record["epochs"], record["best_epoch"]) == (0, -1), "it is not trained"
    assert record["parameters"] == sum(_record(executed.whole, name)["parameters"] for name in ("a", "sigmoid"))
    folder = executed.whole.execution("product", 0, 0).folder
    assert not (folder / "history.csv").exists()
    assert not (folder / BEST).exists()


def test_what_is_tested_everywhere_is_tested_on_all_its_images(executed):
    frame, cohort = _frame(executed.whole, "elsewhere"), executed.whole.cohort.table
    assert frame["image_id"].tolist() == cohort["image_id"].tolist()
    assert set(frame["split"]) == {"test"}
    assert frame["label"].tolist() == cohort["label"].replace({"other": "P"}).tolist()
    assert _record(executed.whole, "elsewhere")["images"] == {"train": 0, "validation": 0, "test": 44}
    # The very network that was trained on the division.
    part = _frame(executed.whole, "sigmoid")
    again = frame.set_index("image_id").loc[part["image_id"], "score_P"]
    np.testing.assert_allclose(again, part["score_P"], atol=1e-6)


def test_parts_that_are_not_done_are_refused(executed):
    run = executed.stopped
    with pytest.raises(UserError, match=r"a repeat 1 fold 1: is not done, and product repeat 1 fold 1"):
        _ = run.execution("product", 0, 0).network
    parts = executed.whole.execution("product", 0, 0).chain
    assert [part.name for part in parts] == ["a repeat 1 fold 1", "sigmoid repeat 1 fold 1"]
    with pytest.raises(UserError, match="released repeat 1 fold 1: is not done, and over repeat 3 fold 1"):
        _ = run.execution("over", 2, 0).chain  # of what is released there is one execution


@pytest.mark.filterwarnings("ignore:Skipping nested container")
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path, other: path.unlink(), r"best\.weights\.h5: is missing"),
        (lambda path, other: path.write_bytes(b"no HDF5"), r"best\.weights\.h5: was changed or damaged"),
        (lambda path, other: path.write_bytes(other), r"best\.weights\.h5: was changed or damaged"),
    ],
    ids=["missing", "damaged", "another network's"],
)
def test_weights_that_are_not_its_own_are_refused(executed, damage, words):
    execution = executed.stopped.execution("sigmoid", 0, 0)
    path, other = execution.folder / BEST, executed.whole.execution("a", 0, 0).folder / BEST
    kept = path.read_bytes()
    try:
        damage(path, other.read_bytes())
        with pytest.raises(UserError, match=words):
            _ = execution.network
    finally:
        path.write_bytes(kept)
