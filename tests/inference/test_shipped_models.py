"""The classifiers that ship: what the registry says of them is what committed results and kept predictions give."""

from __future__ import annotations

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from covid_keras.common.files import read_json
from covid_keras.models.registry import FOLDER, load_registry
from covid_keras.paper.registered import load_paper

CXNETS = {"covid_cxnet": "cxnet", "covid_cxnet_base": "base_v2"}


@pytest.mark.parametrize("name", CXNETS)
def test_what_is_measured_is_of_one_committed_training(name):
    entry, paper = load_registry()[name].verified(), load_paper("haghanifar")
    measured = dict(entry.measured)
    system, repeat = measured.pop("system"), measured.pop("repeat")
    assert system.startswith(CXNETS[name])
    results = read_json(paper.folder / "results" / "cpu.json")["systems"][system]
    (execution,) = [one for one in results["executions"] if one["repeat"] == repeat]
    assert measured == {key: pytest.approx(execution[key], abs=0.01) for key in measured}
    assert set(measured) == {"accuracy", "sensitivity", "specificity", "auc"}


@pytest.mark.parametrize(("name", "paper"), [*((name, "haghanifar") for name in CXNETS), ("arias_view", "arias")])
def test_each_is_fed_as_it_was_trained(name, paper):
    entry, paper = load_registry()[name], load_paper(paper)
    system = paper.system(entry.measured["system"])
    assert entry.input_preparation() == system.preparation(paper.protocol("cpu"))
    assert (entry.scaling, tuple(entry.classes)) == (system.scaling, system.classes)


def test_the_cards_say_what_the_numbers_do_not():
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    for name in CXNETS:
        assert name in card
        assert "differ in source" in load_registry()[name].limits
    assert sum((FOLDER / load_registry()[name].file).stat().st_size for name in CXNETS) < 35e6


def _view_numbers(table: pd.DataFrame) -> dict[str, float]:
    right, found = table["label"] == table["predicted"], {}
    for name in ("frontal", "lateral"):
        mine = table["label"] == name
        found |= {f"{name}_images": int(mine.sum()), f"{name}_right": int((mine & right).sum())}
    auc = 100 * roc_auc_score(table["label"] == "lateral", table["score_lateral"])
    return found | {"auc": pytest.approx(auc, abs=0.01)}


def test_what_is_measured_of_the_view_network_is_what_it_predicted():
    predictions = pd.read_csv(FOLDER / "arias_view_predictions.csv")
    assert not predictions["image_id"].duplicated().any()
    assert (predictions.groupby("patient_id")["fold"].nunique() == 1).all()
    measured = dict(load_registry()["arias_view"].verified().measured)
    assert measured.pop("system") == "view_all"
    own = _view_numbers(predictions[predictions["fold"] == measured.pop("fold")])
    assert measured == own | {f"folds_{name}": value for name, value in _view_numbers(predictions).items()}
