"""The view filter that ships: what the registry says of it is what its kept predictions give."""

from __future__ import annotations

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from covid_keras.models.registry import FOLDER, load_registry
from covid_keras.paper.registered import load_paper

ENTRY = "arias_view"


@pytest.fixture(scope="module")
def predictions() -> pd.DataFrame:
    return pd.read_csv(FOLDER / "arias_view_predictions.csv")


def _numbers(table: pd.DataFrame) -> dict[str, float]:
    right = table["label"] == table["predicted"]
    found = {}
    for name in ("frontal", "lateral"):
        mine = table["label"] == name
        found |= {f"{name}_images": int(mine.sum()), f"{name}_right": int((mine & right).sum())}
    auc = 100 * roc_auc_score(table["label"] == "lateral", table["score_lateral"])
    return found | {"auc": pytest.approx(auc, abs=0.01)}


def test_what_is_measured_is_what_it_predicted(predictions):
    measured = dict(load_registry()[ENTRY].verified().measured)
    assert measured.pop("system") == "view_all"
    own = _numbers(predictions[predictions["fold"] == measured.pop("fold")])
    folds = {f"folds_{name}": value for name, value in _numbers(predictions).items()}
    assert measured == own | folds


def test_every_image_is_tested_once_and_patients_stay_on_one_side(predictions):
    assert not predictions["image_id"].duplicated().any()
    assert (predictions.groupby("patient_id")["fold"].nunique() == 1).all()


def test_it_is_fed_as_it_was_trained():
    entry, paper = load_registry()[ENTRY], load_paper("arias")
    system, protocol = paper.system("view_all"), paper.protocol("cpu")
    assert entry.input_preparation() == system.preparation(protocol)
    assert (entry.scaling, tuple(entry.classes)) == (system.scaling, system.classes)


def test_it_loads_whole():
    from covid_keras.models import load_weights
    from covid_keras.models.weights import build_registered

    entry = load_registry()[ENTRY]
    model = build_registered(entry)
    report = load_weights(model, entry.path)
    assert {"standardise/mean", "standardise/std", "block1_conv1/kernel"} <= set(report.assigned)
