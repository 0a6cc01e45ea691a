"""The COVID-CXNet weights that ship: what the registry says of them is what the committed results hold."""

from __future__ import annotations

import pytest

from covid_keras.common.files import read_json
from covid_keras.models.registry import FOLDER, load_registry
from covid_keras.paper.protocol import load_protocol
from covid_keras.paper.registered import load_paper

MODELS = {"covid_cxnet": "cxnet", "covid_cxnet_base": "base_v2"}


@pytest.mark.parametrize("name", MODELS)
def test_what_is_measured_is_of_one_committed_training(name):
    entry, paper = load_registry()[name].verified(), load_paper("haghanifar")
    measured = dict(entry.measured)
    system, repeat = measured.pop("system"), measured.pop("repeat")
    assert system.startswith(MODELS[name])
    results = read_json(paper.folder / "results" / "cpu.json")["systems"][system]
    (execution,) = [one for one in results["executions"] if one["repeat"] == repeat]
    assert measured == {key: pytest.approx(execution[key], abs=0.01) for key in measured}
    assert set(measured) == {"accuracy", "sensitivity", "specificity", "auc"}


@pytest.mark.parametrize("name", MODELS)
def test_it_is_fed_as_it_was_trained(name):
    entry, paper = load_registry()[name], load_paper("haghanifar")
    system = paper.system(entry.measured["system"])
    protocol = load_protocol(paper.protocol_path, "cpu")
    assert entry.input_preparation() == system.preparation(protocol)
    assert entry.scaling == system.scaling
    assert tuple(entry.classes) == system.classes


def test_together_they_are_small_enough_to_ship():
    assert sum((FOLDER / load_registry()[name].file).stat().st_size for name in MODELS) < 35e6


def test_the_cards_say_what_the_numbers_do_not():
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    for name in MODELS:
        assert f"{name}: the" in card
        assert "differ in source" in load_registry()[name].limits
