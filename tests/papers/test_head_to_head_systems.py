"""The systems of the head-to-head comparison: the papers' own, on the same images, each trained once for its tests."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from covid_keras.commands.audit import files_of
from covid_keras.commands.main import make_parser
from covid_keras.common.errors import UserError
from covid_keras.common.settings import as_plain, flattened, read_yaml
from covid_keras.paper import Ensemble, Trained, load_paper
from covid_keras.paper.changes import require_effect
from covid_keras.paper.retested import Retested
from covid_keras.reporting.audits import audit_of
from covid_keras.reporting.entries import entries_of
from covid_keras.training import plan
from covid_keras.training.plan import settings_of
from papers.head_to_head.floors import lung_shapes
from papers.head_to_head.methods import FLOORS, METHODS, OF_COVID, TESTS
from papers.head_to_head.paper import PAPER, origin_of
from papers.head_to_head.systems import ORIGINS, PAPERS
from tests.helpers.executions import overriding
from tests.helpers.predictions import normal_scores
from tests.helpers.refusals import refused

CPU = PAPER.protocol("cpu")
OWN = ("name", "title", "classes", "relabel", "split", "parts", "settings", "after", "members")


@pytest.mark.parametrize("name", ORIGINS)
def test_a_system_is_the_papers_own_on_other_classes_and_images(name):
    ours, (paper, theirs) = PAPER.system(name), ORIGINS[name]
    original = paper.system(theirs)
    assert type(ours) is type(original)
    same = {field: getattr(original, field) for field in original.__dataclass_fields__ if field not in OWN}
    assert same == {field: getattr(ours, field) for field in same}, "its builder, preparation and scaling"
    assert [origin_of(below) for below in ours.below] == [(paper, below) for below in original.below]


@pytest.mark.parametrize("profile", PAPER.profiles)
def test_what_is_not_made_equal_is_as_in_the_papers_profile(profile):
    protocol, equal = PAPER.protocol(profile), flattened(read_yaml(PAPER.protocol_path)["common"]["training"])
    own = {paper.name: paper.protocol(profile) for paper in PAPERS}
    for name, (paper, theirs) in ORIGINS.items():
        if not isinstance(system := paper.system(theirs), Trained):
            continue
        original = system.stages(own[paper.name])[0].applied(system.training(own[paper.name]))
        found = [flattened(as_plain(one)) for one in (PAPER.system(name).training(protocol), original)]
        assert {key for key in found[0] if found[0][key] != found[1][key]} <= set(equal), name


def test_all_are_trained_alike():
    trained = [system for name in CPU.systems if isinstance(system := PAPER.system(name), Trained)]
    assert len(trained) > len(PAPERS)
    for key in ("epochs", "batch_size", "monitor", "stop", "ties", "patience"):
        assert len({getattr(system.training(CPU), key) for system in trained}) == 1, key
    assert {len(system.stages(CPU)) for system in trained} == {1}
    assert {system.repeats(CPU) for system in trained} == {3}


@pytest.mark.parametrize("side", [64, 128])
def test_all_networks_have_the_protocols_size(side):
    protocol = PAPER.protocol("cpu", {"size": [side, side]})
    for name in ORIGINS:
        if (images := PAPER.system(name).images(protocol)) is not None:
            assert images.size == (side, side), name


@pytest.mark.parametrize(
    "change",
    [
        "options.covid_cxnet.base_v2=[8, 8]",
        "options.covid_sdnet.cit.size=[8, 8]",
        "options.covid_sdnet.covidnet.variant=c",
        "trainings.ensemble.epochs=3",
    ],
)
def test_a_setting_that_nothing_reads_is_refused(change):
    given = settings_of([change])
    with pytest.raises(UserError, match=change.partition("=")[0]):
        require_effect(PAPER, PAPER.protocol("cpu", given), given)


@pytest.mark.parametrize("change", ["options.covid_sdnet.cit.lambda_=0.1", "options.arias_vgg19.width=0.5"])
def test_an_option_of_a_paper_is_read_by_its_own_systems_only(change):
    given = settings_of([change])
    require_effect(PAPER, PAPER.protocol("cpu", given), given)
    key = change.partition("=")[0]
    readers = [name for name in ORIGINS if PAPER.reads(name, key)]
    assert readers
    assert {ORIGINS[name][0].name for name in readers} == {key.split(".")[1]}


@pytest.mark.parametrize("options", [{"nobody": {}}, {"covid_sdnet": {"nobody": 1}}], ids=str)
def test_unknown_options_are_named(options):
    with pytest.raises(UserError, match="nobody"):
        PAPER.check(PAPER.protocol("cpu", {"options": options}))


# --- methods and their tests


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_test_of_a_method_has_a_system_that_tests_the_same_training(method):
    systems = {test: PAPER.system(name) for test, name in method.systems.items()}
    run = PAPER.protocol("cpu", {"cohort": {"external": "covidgr"}}).systems
    assert set(method.systems.values()) <= set(run)
    for test, system in systems.items():
        trained = systems["within" if test in OF_COVID else "finding"]
        assert system.classes == trained.classes
        assert {"validation", "test"} <= set(system.parts)
        if isinstance(system, Ensemble) or system is trained:
            continue
        assert system.trained is trained
        assert system.preparation is trained.preparation
    assert method.floor == (method.name in FLOORS) == (origin_of(method.name) is None)


def test_the_ensembles_weights_are_those_of_the_validation_part_in_every_test():
    ensembles = [PAPER.system(f"ensemble{TESTS[test]}") for test in OF_COVID]
    for test, ensemble in zip(OF_COVID, ensembles, strict=True):
        assert ensemble.members == tuple(name + TESTS[test] for name in ensembles[0].members)
    frames = [normal_scores(60, 1.0, seed, system=name) for seed, name in enumerate(ensembles[0].members)]
    frames = [frame.assign(split=np.where(np.arange(60) < 40, "validation", "test")) for frame in frames]
    elsewhere = [pd.concat([one[:40], one[40:].assign(label=one["label"][::-1].to_numpy()[:20])]) for one in frames]
    chosen = [ensemble.combine(CPU, one).facts for ensemble, one in zip(ensembles, (frames, elsewhere), strict=False)]
    assert chosen[0] == chosen[1]


@pytest.mark.parametrize("parts", [("validation", "test"), ("test",)])
def test_a_retested_system_has_the_validation_part_of_its_training_and_other_test_images(parts):
    own = np.array(["train", "validation", "test", ""], object)
    trained = overriding(PAPER.system("base_cnn"), division=lambda self, execution: own)
    chosen = np.array([False, False, True, True])
    system = Retested.on(trained, lambda execution: chosen, name="made", title="made", parts=parts)
    kept = "validation" if "validation" in parts else ""
    assert system.division(None).tolist() == ["", kept, "test", "test"]
    wrong = Retested.on(trained, lambda execution: own == "train", name="made", title="made")
    with pytest.raises(ValueError, match="trained on"):
        wrong.division(None)


# --- the floors


def masks(*boxes: tuple[slice, slice]) -> np.ndarray:
    mask = np.zeros((1, 40, 40, 1), np.uint8)
    for box in boxes:
        mask[(0, *box)] = 255
    return mask


LEFT, RIGHT = (slice(10, 30), slice(4, 14)), (slice(10, 30), slice(26, 36))


def test_lung_shapes_are_areas_boxes_and_moments_of_each_lung():
    (found,) = lung_shapes(masks(LEFT, RIGHT))
    left, right, asymmetry = found[:12], found[12:24], found[24]
    assert left[0] == right[0] == pytest.approx(200 / 1600)
    assert left[1:5].tolist() == pytest.approx([10 / 40, 29 / 40, 4 / 40, 13 / 40])
    assert left[5:] == pytest.approx(right[5:], abs=1e-3), "Hu moments do not depend on the place"
    assert asymmetry == 0


def test_a_smaller_lung_is_told_and_no_lung_is_no_error():
    (smaller,) = lung_shapes(masks(LEFT, (slice(10, 20), slice(26, 36))))
    assert smaller[24] == pytest.approx(1 / 3)
    assert not lung_shapes(masks()).any()


# --- what its protocol and the commands refuse


@pytest.mark.parametrize(
    ("paper", "profile", "more"),
    [
        (load_paper("tabik"), "smoke", []),
        (PAPER, "smoke", []),
        (PAPER, "cpu", ["--set", "cohort.external=covidx"]),
    ],
)
def test_an_external_collection_that_nothing_reads_is_refused(monkeypatch, tmp_path, paper, profile, more):
    monkeypatch.setattr(plan, "load_paper", lambda name: paper)
    given = ["reproduce", "any", "--profile", profile, "--out", str(tmp_path / "run"), "--external", "covidgr", *more]
    refused("external", plan.make_plan, make_parser().parse_args(given))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"systems": ["nobody"]}, "nobody"),
        ({"trainings": {"nobody": {}}}, "nobody"),
        ({"cohort": {"kind": "nobody"}}, "nobody"),
        ({"cohort": {"kind": "phantom", "nobody": 3}}, "nobody"),
    ],
    ids=str,
)
def test_unknown_names_are_refused(changes, named):
    refused(named, lambda: PAPER.sources(PAPER.protocol("smoke", changes)))


def test_initial_weights_would_favour_some():
    refused("weights", PAPER.check, PAPER.protocol("cpu", {"weights": "imagenet"}))


# --- a paper without printed numbers


def test_without_printed_numbers_there_is_nothing_to_audit_or_to_list(monkeypatch):
    assert PAPER.published_path is None
    assert not len(audit_of(PAPER))
    assert entries_of([PAPER]) == []
    monkeypatch.setattr("covid_keras.paper.registered.load_paper", lambda name: PAPER)
    refused("head_to_head", files_of, "head_to_head")
