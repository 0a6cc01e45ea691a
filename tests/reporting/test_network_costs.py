"""The table of costs: members and lung segmenters are summed, and what has no network has no operations."""

from __future__ import annotations

from types import SimpleNamespace

import keras
import pytest
from keras import layers

from covid_keras.data.preparation import Preparation
from covid_keras.models.costs import Forward
from covid_keras.reporting.heat_shares import COSTS, read_measured
from covid_keras.reporting.network_costs import measure_costs


def network(filters: int) -> keras.Model:
    inputs = keras.Input((8, 8, 1))
    return keras.Model(inputs, layers.GlobalAveragePooling2D()(layers.Conv2D(filters, 3)(inputs)))


@pytest.fixture
def results(tmp_path):
    """A reference, a network that needs masks, an ensemble of both, and a regression without a network."""
    plain, masked, lungs = network(2), network(3), network(5)
    passes = {"plain": [(plain, 1)], "masked": [(masked, 1)], "both": [(plain, 1), (masked, 1)], "regression": []}
    images = {"plain": Preparation(size=(8, 8)), "masked": Preparation(size=(8, 8), crop="lungs"), "both": None}
    paper = SimpleNamespace(
        system=lambda name: SimpleNamespace(images=lambda protocol: images.get(name)),
        chain=lambda name: ["plain", "masked", "both"] if name == "both" else [name],
        kept_segmenter=lambda protocol, cache: SimpleNamespace(model=lungs),
    )
    run = SimpleNamespace(paper=paper, protocol=None, cache=tmp_path / "cache", path=tmp_path)
    return SimpleNamespace(
        run=run,
        systems=dict.fromkeys(passes),
        report=SimpleNamespace(cost_systems=(*passes, "not_run")),
        executions_of=lambda name: [(SimpleNamespace(passes=passes[name]), {"parameters": 11})],
        networks=(plain, masked, lungs),
    )


def test_networks_of_an_image_are_summed(results):
    table = measure_costs(results).set_index("system")
    plain, masked, lungs = map(Forward, results.networks)
    assert table["flops"].iloc[:3].tolist() == pytest.approx(
        [plain.flops, masked.flops + lungs.flops, plain.flops + masked.flops + lungs.flops], rel=1e-5
    )
    assert table.loc["both", "parameters"] == plain.parameters + masked.parameters + lungs.parameters
    assert table.loc["regression", "parameters"] == 11
    assert table.loc["regression", ["flops", "milliseconds", "ratio"]].isna().all()
    assert set(table["reference"]) == {"plain"}
    assert table["ratio"].iloc[:3].gt(0).all()
    assert read_measured(results.run.path / COSTS).equals(table.reset_index())


@pytest.mark.parametrize(("run", "reference"), [(["masked", "both"], "masked"), (["regression"], None), ([], None)])
def test_the_reference_is_the_first_that_was_run(results, run, reference):
    results.systems = dict.fromkeys(run)
    assert set(measure_costs(results)["reference"]) == ({reference} if reference else set())
    assert (results.run.path / COSTS).exists() is bool(reference)
