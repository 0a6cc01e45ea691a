"""The rows of Arias-Garzón et al. as systems: which labels they tell apart, who passes the view filter, networks."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest

from covid_keras.common.errors import UserError
from covid_keras.common.files import sha256_of, write_record
from covid_keras.data.cohort import Cohort
from covid_keras.evaluation import load_published
from covid_keras.paper import BestOf, System
from covid_keras.training.division import make_splits
from covid_keras.training.executions import Execution
from covid_keras.training.plan import missing_systems
from covid_keras.training.runfolder import RunFolder
from papers.arias_vgg19 import cohorts as labels
from papers.arias_vgg19 import networks, systems
from papers.arias_vgg19.cohorts import COHORTS, PUBLISHED, STAND_IN
from papers.arias_vgg19.experiments import CONTROLS, COVID, EXPERIMENTS, NEGATIVE, PARTS, VIEW_OF, experiments_of
from papers.arias_vgg19.networks import FRONTAL_CLASS, LATERAL_CLASS, VERDICTS, VIEWS, frontal
from papers.arias_vgg19.paper import PAPER
from papers.arias_vgg19.settings import UNETS
from papers.arias_vgg19.systems import DEPTHS, Filtered, SourceControl
from tests.helpers.executions import RECORD

COVID_STAND_IN = {labels.COVID_PA, labels.COVID_AP, labels.COVID_LATERAL}
CLASSIFIERS = [f"{name}_{part}" for name in EXPERIMENTS for part in PARTS]
FILTERS = ("view16", "view19", "view_balanced", "view_all", "view")
TINY = {
    "systems": ["exp1_c", "exp1_d", "exp1_e", "exp3_c", "exp3_d", "exp3_e", "source_c", "posture_e", "finding_d"],
    "cohort": {"covid": 24, "other": 16, "normal": 14, "pneumonia": 14, "size": 32},
    "size": [32, 32],
}


def _labels_of(system: System, name: str) -> set[str]:
    """The labels of the cohort that the system calls by one of its classes."""
    return {label for label, called in system.relabel.items() if called == name}


# --- what the systems are


def test_chains_are_the_papers():
    assert len(PAPER.systems) == len(FILTERS) + len(UNETS) + 3 * len(CLASSIFIERS) + len(CONTROLS) * len(PARTS)
    assert PAPER.chain("view") == ["view16", "view19", "view"]
    for name in CLASSIFIERS:
        both = [f"{name}{depth}" for depth in DEPTHS]
        before = [] if name.startswith("comparison") else ["view16", "view19", "view"]
        assert PAPER.chain(name) == [*before, *both, name]
        assert isinstance(PAPER.system(name), BestOf)
        assert PAPER.system(name).candidates == tuple(both)
    for name in ("view_balanced", "view_all", *(f"{name}_{part}" for name in CONTROLS for part in PARTS)):
        assert PAPER.chain(name) == [name], "no filter before it"


@pytest.mark.parametrize(("asked", "picked"), [({}, "view19"), ({"view": "best"}, "view16")])
def test_the_view_filter_is_vgg19_unless_the_protocol_asks_for_the_better_one(monkeypatch, asked, picked):
    monkeypatch.setattr(systems.BestVgg, "chosen", lambda self, execution: "view16")
    execution = SimpleNamespace(protocol=PAPER.protocol("paper", {"options": asked}))
    assert PAPER.system("view").chosen(execution) == picked


def test_every_printed_number_is_of_a_system_that_measures_it():
    """Accuracies of training are of what is trained; of what is chosen, those of the tables of metrics."""
    rows = {(cell.system, cell.metric) for cell in load_published(PAPER.folder / "published.yaml") if cell.system}
    mine = {(name, metric) for name, metric in rows if not name.startswith("unet")}
    assert {name for name, _ in mine} == {"view16", "view19", *CLASSIFIERS} | {
        f"{name}{depth}" for name in CLASSIFIERS for depth in DEPTHS if not name.startswith("comparison")
    }
    for name, metric in mine:
        part = metric.removeprefix("accuracy_")
        if part in ("train", "validation"):
            assert {"train", part} <= set(PAPER.system(name).parts), (name, metric)


def test_choosing_differs_from_the_first_chosen_among_in_name_and_parts_alone():
    for name in ("view", *CLASSIFIERS):
        system = PAPER.system(name)
        first, second = (PAPER.system(one) for one in system.candidates)
        assert "train" not in system.parts
        assert type(first) is type(second)
        assert first.after == second.after
        for one in (first, second):
            assert "train" in one.parts
            same = ("classes", "relabel", "channels", "settings", "scaling", "split", "heat_layer")
            assert all(getattr(one, key) == getattr(system, key) for key in same), "fed alike"
        for profile in PAPER.profiles:
            protocol = PAPER.protocol(profile)
            assert first.preparation(protocol) == second.preparation(protocol) == system.preparation(protocol)


# --- labels


@pytest.mark.parametrize("system", [one for one in PAPER.systems if one.name not in UNETS], ids=lambda one: one.name)
def test_two_classes_of_labels_that_no_collection_confuses(system):
    assert len(system.classes) == 2
    assert not PAPER.scored, "scored in its own classes"
    assert set(system.relabel.values()) == set(system.classes)
    assert set(system.relabel) <= {*STAND_IN, *PUBLISHED}
    assert not set(system.classes) & {*STAND_IN, *PUBLISHED}, "a label that is not renamed takes no part"
    for known in (STAND_IN, PUBLISHED):
        present = {name: _labels_of(system, name) & set(known) for name in system.classes}
        assert all(present.values()) or not any(present.values()) or set(known) == set(PUBLISHED), system.name


def test_no_label_is_in_both_classes_of_an_experiment():
    for name, (_, positive, negative) in EXPERIMENTS.items():
        assert not set(positive) & set(negative), name
        for part, depth in product(PARTS, ("", *DEPTHS)):
            system = PAPER.system(f"{name}_{part}{depth}")
            assert system.classes == (NEGATIVE, COVID), "COVID-19 is the positive one"
            assert _labels_of(system, COVID) == set(positive)
            assert _labels_of(system, NEGATIVE) == set(negative)


def test_positives_are_covid_and_negatives_are_of_other_collections():
    for name, (_, positive, negative) in EXPERIMENTS.items():
        assert all("COVID-19" in label for label in positive), name
        assert not any(label.startswith("COVID-19") for label in negative), name
        assert not set(positive) & set(negative)
    assert labels.NEGATIVE_SHARED in EXPERIMENTS["exp1"][2]
    assert EXPERIMENTS["exp2"][2] == (labels.NEGATIVE_CURATED,), "without the patients who are positive too"


def test_lateral_images_of_covid_are_offered_and_the_filter_knows_them_as_lateral():
    for name in ("exp1", "exp3"):
        assert set(EXPERIMENTS[name][1]) >= COVID_STAND_IN
    assert labels.COVID_LATERAL not in EXPERIMENTS["comparison"][1], "which has no filter"
    assert VIEW_OF[labels.COVID_LATERAL] == VIEW_OF[labels.OTHER_LATERAL] == LATERAL_CLASS == VIEWS[1]
    for name in FILTERS:
        relabel = PAPER.system(name).relabel
        for label, view in relabel.items():
            assert (view == LATERAL_CLASS) == ("lateral" in label), label
    assert set(PAPER.system("view_all").relabel) - set(VIEW_OF) == {labels.NORMAL, labels.PNEUMONIA}


def test_controls_tell_apart_what_is_not_the_disease():
    """Each holds one class of disease, or one collection: nobody with COVID-19 against somebody without."""
    ill = {labels.OTHER, labels.PNEUMONIA}
    assert set(CONTROLS["source"][1]) == ill
    assert set(CONTROLS["posture"][1]) & set(STAND_IN) == {labels.COVID_PA, labels.COVID_AP}
    assert set(CONTROLS["finding"][1]) & set(STAND_IN) == {labels.NORMAL, labels.PNEUMONIA}
    for name, (_, relabel) in CONTROLS.items():
        covid = {label for label in relabel if label.startswith("COVID-19")}
        assert covid in (set(), set(relabel)), name
        if name == "posture":
            assert all(label.endswith(f", {called}") for label, called in relabel.items())
        for part in PARTS:
            system = PAPER.system(f"{name}_{part}")
            assert isinstance(system, SourceControl) == (name == "source")
            assert not isinstance(system, Filtered)
            assert not system.after
            assert dict(system.relabel) == relabel


def test_controls_are_left_out_where_the_collections_do_not_say():
    paper, names = PAPER.protocol("paper"), {f"source_{part}" for part in PARTS}
    assert {
        name for name in paper.systems if "no other pneumonia" in str(PAPER.system(name).missing(paper, None))
    } == names
    assert missing_systems(PAPER, PAPER.protocol("smoke"), None) == {}


@pytest.mark.parametrize("profile", PAPER.profiles)
def test_a_profile_has_images_of_both_classes_of_each_system(profile):
    protocol = PAPER.protocol(profile)
    known = set(PUBLISHED if COHORTS.settings(protocol).kind == "published" else STAND_IN)
    for system in map(PAPER.system, protocol.systems):
        if system.missing(protocol, None):
            continue
        assert all(_labels_of(system, one) & known for one in system.classes), system.name


def test_experiments_are_those_with_all_parts():
    systems = ["exp3_e", "exp3_d", "exp3_c", "exp1_c", "exp1_d", "source_c", "source_e", "source_d", "exp1_c16"]
    assert experiments_of(dict.fromkeys(systems)) == ["exp3", "source"]


# --- parts c, d and e


@pytest.mark.parametrize("profile", PAPER.profiles)
def test_parts_differ_in_the_mask_alone(profile):
    protocol = PAPER.protocol(profile)
    for name, depth in (*product(EXPERIMENTS, ("", *DEPTHS)), *product(CONTROLS, ("",))):
        systems = {part: PAPER.system(f"{name}_{part}{depth}") for part in PARTS}
        prepared = {part: system.preparation(protocol) for part, system in systems.items()}
        assert {part: one.mask for part, one in prepared.items()} == {"c": None, "d": "keep", "e": "remove"}
        assert {one.size for one in prepared.values()} == {protocol.size}
        same = ("classes", "relabel", "settings", "after", "split", "channels", "parts", "__class__")
        for part in ("d", "e"):
            assert all(getattr(systems[part], key) == getattr(systems["c"], key) for key in same), name
    for name in FILTERS:
        assert PAPER.system(name).preparation(protocol).mask is None


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunFolder:
    """A run on a tiny phantom, nothing trained."""
    folder = tmp_path_factory.mktemp("arias")
    protocol = PAPER.protocol("smoke", TINY)
    cohort = PAPER.cohort(protocol, None, folder / "made")
    cohort = Cohort(cohort.table.assign(mask_path=""), cohort.classes, cohort.name)
    settings = {"cache": str(folder / "cache" / "prepared"), "strategy": "one", "precision": "float32"}
    return RunFolder.create(
        folder / "run", protocol, cohort, lambda: make_splits(cohort, protocol, PAPER.splits_of(protocol)), settings
    )


def _part(run: RunFolder, name: str) -> np.ndarray:
    return run.execution(name, 0, 0).division


def test_all_parts_of_an_experiment_are_offered_the_same_images(run):
    for name in ("exp1", "exp3"):
        first = _part(run, f"{name}_c16")
        for part, depth in product(PARTS, ("", *DEPTHS)):
            assert (_part(run, f"{name}_{part}{depth}") == first).all()
        offered = set(run.cohort.table["label"][first != ""])
        assert offered == set(EXPERIMENTS[name][1] + EXPERIMENTS[name][2]) & set(STAND_IN)
        assert labels.COVID_LATERAL in offered
        assert set(first) == {"", "train", "validation", "test"}
    assert not (_part(run, "exp1_c") == _part(run, "exp3_c")).all()


def test_the_filter_is_trained_on_the_hospital_with_lateral_views_on_the_same_division(run):
    part, exp = _part(run, "view16"), _part(run, "exp3_c16")
    assert (part == _part(run, "view")).all()
    assert set(run.cohort.table["label"][part != ""]) == set(VIEW_OF) & set(STAND_IN)
    both = (part != "") & (exp != "")
    assert both.any()
    assert (part[both] == exp[both]).all(), "what it was trained on is no test image of what comes after"


def test_controls_have_their_labels_alone(run):
    for name, whose in (
        ("source_c", {labels.OTHER, labels.PNEUMONIA}),
        ("posture_e", {labels.COVID_PA, labels.COVID_AP}),
    ):
        assert set(run.cohort.table["label"][_part(run, name) != ""]) == whose


# --- who passes the filter


def _done(run: RunFolder, name: str = "view") -> Execution:
    """Leave an execution as a finished one, as far as `done` looks."""
    execution = run.execution(name, 0, 0)
    execution.folder.mkdir(parents=True, exist_ok=True)
    execution.predictions.write_text("predictions")
    record = RECORD | {"run": run.identity, "predictions_sha256": sha256_of(execution.predictions)}
    write_record(execution.record, record)
    (execution.folder / VERDICTS).unlink(missing_ok=True)
    return execution


def _say(view: Execution, **columns) -> None:
    """Put other values into the verdicts that are kept."""
    pd.read_csv(view.folder / VERDICTS).assign(**columns).to_csv(view.folder / VERDICTS, index=False)


@pytest.fixture
def asked(run, monkeypatch):
    """A filter that is done, by the phantom's truth; how often each of its executions looked at the images."""
    said: list[str] = []
    truth = (run.cohort.table["view"] != "L").to_numpy(float)

    def scores(view):
        said.append(view.system.name)
        return np.where(np.arange(len(truth)) % 2, truth, 0.5 + (truth - 1) * 1e-6)

    monkeypatch.setattr(networks, "_frontal_scores", scores)
    return _done(run), said


def test_the_filter_looks_once_and_what_it_said_is_kept(run, asked):
    view, said = asked
    first = frontal(view)
    kept = pd.read_csv(view.folder / VERDICTS)
    assert kept["image_id"].tolist() == run.cohort.table["image_id"].tolist()
    assert first.dtype == bool
    assert (frontal(view) == first).all()
    assert said == ["view"]
    assert (first == (run.cohort.table["view"] != "L")).all(), "one half is frontal, a hair below is not"


def test_verdicts_of_this_filter_on_these_images_are_used(run, asked):
    view, said = asked
    truth = [n % 3 == 0 for n in range(len(run.cohort))]
    frontal(view)
    _say(view, frontal=[*map(float, truth)])
    assert frontal(view).tolist() == truth
    assert said == ["view"]


@pytest.mark.parametrize("change", ["fewer", "another", "order", "filter", "no filter"])
def test_verdicts_of_another_filter_or_on_other_images_are_made_anew(run, asked, change):
    view, said = asked
    right, ids = frontal(view), run.cohort.table["image_id"].tolist()
    _say(view, frontal=0.0)
    assert not frontal(view).any()
    said.clear()
    table = pd.read_csv(view.folder / VERDICTS)
    stale = {
        "fewer": lambda: table[:-1],
        "another": lambda: table.assign(image_id=["another", *ids[1:]]),
        "order": lambda: table[::-1],
        "filter": lambda: table.assign(filter="0123456789ab"),
        "no filter": lambda: table.drop(columns="filter"),
    }[change]()
    stale.to_csv(view.folder / VERDICTS, index=False)
    assert (frontal(view) == right).all()
    assert pd.read_csv(view.folder / VERDICTS)["image_id"].tolist() == ids
    assert said == ["view"]


def test_a_filter_that_was_trained_again_looks_again(run, asked):
    view, said = asked
    frontal(view)
    view.predictions.write_text("others")
    write_record(view.record, view.details | {"predictions_sha256": sha256_of(view.predictions)})
    frontal(view)
    assert said == ["view", "view"]


def test_what_the_filter_refuses_takes_no_part_in_any_part_of_an_experiment(run, asked):
    view, said = asked
    lateral = (run.cohort.table["view"] == "L").to_numpy()
    offered = _part(run, "exp1_c16")
    assert {"train", "test"} <= set(offered[lateral])
    for name in ("exp1_e16", "exp3_c16"):  # what is chosen looks at the first that it is chosen among
        _done(run, name)
    for name in ("exp1_c16", "exp1_d19", "exp1_e", "exp3_c"):
        execution = run.execution(name, 0, 0)
        assert execution.part.tolist() == np.where(lateral, "", execution.division).tolist()
    assert said == ["view"], "asked once for all of them"
    for name in ("source_c", "view16", "view_balanced"):
        execution = run.execution(name, 0, 0)
        assert execution.part is execution.division
    _say(view, frontal=1.0)
    assert (run.execution("exp1_c16", 0, 0).part == offered).all(), "what slips through"


def test_nobody_is_asked_before_the_filter_is_done(run, asked):
    view, _ = asked
    view.record.unlink()
    with pytest.raises(UserError, match="view repeat 1 fold 1: is not done"):
        _ = run.execution("exp1_c16", 0, 0).part


# --- networks


@pytest.mark.parametrize(
    ("name", "convolutions"), [("exp1_d16", 13), ("exp1_d19", 16), ("view16", 13), ("source_c", 13)]
)
def test_each_system_builds_its_network_for_its_images(name, convolutions):
    protocol, system = PAPER.protocol("smoke", TINY | {"options": {"width": 0.05}}), PAPER.system(name)
    model = system.build(protocol, system.classes)
    assert model.input_shape == (None, *protocol.size, system.channels) == (None, 32, 32, 1)
    assert model.output_shape == (None, 2)
    assert sum(isinstance(layer, keras.layers.Conv2D) for layer in model.layers) == convolutions
    assert model.get_layer("standardise").mode == "global"
    assert model.get_layer("block1_conv1").filters == 3
    assert not model.compiled


def test_the_authors_readings_are_options():
    options = {"width": 0.05, "standardise": "authors", "pool5": 8}
    protocol = PAPER.protocol("smoke", TINY | {"size": [128, 128], "options": options})
    model = PAPER.system("exp1_c16").build(protocol, (NEGATIVE, COVID))
    assert model.get_layer("standardise").mode == "authors"
    assert model.get_layer("block5_pool").pool_size == (8, 8)


def test_the_scale_is_that_of_the_rows_given():
    rng = np.random.default_rng(0)
    images = (rng.random((150, 32, 32, 1)) ** rng.uniform(0.2, 4, (150, 1, 1, 1)) * 255).astype(np.uint8)
    protocol = PAPER.protocol("smoke", TINY | {"options": {"width": 0.05}})
    system, rows = PAPER.system("exp1_c16"), np.arange(0, 150, 2)
    model = system.build(protocol, system.classes)
    prepared = SimpleNamespace(batch=lambda chosen: images[list(chosen)])
    system.adapt(model, SimpleNamespace(prepared=prepared), rows)
    mine = images[rows].astype(np.float64)
    low, high = (reduce(axis=(1, 2, 3), keepdims=True) for reduce in (mine.min, mine.max))
    mine, layer = (mine - low) / (high - low), model.get_layer("standardise")
    assert (float(layer.mean), float(layer.std)) == pytest.approx((mine.mean(), mine.std()), rel=1e-4)


def test_a_kind_of_cohort_a_profile():
    assert {COHORTS.settings(PAPER.protocol(profile)).kind for profile in PAPER.profiles} == set(COHORTS.kinds)
    assert PAPER.system("view").classes == (FRONTAL_CLASS, LATERAL_CLASS)
