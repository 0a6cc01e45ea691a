"""What a paper declares: systems that build on others, take part in experiments, learn more classes than are scored."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from covid_keras.common.errors import UserError
from covid_keras.common.settings import as_plain
from covid_keras.paper.protocol import AugmentationSettings
from covid_keras.paper.registered import load_paper
from covid_keras.training.runfolder import RunFolder
from covid_keras.training.schedulers import epochs_of, take_shard
from tests.helpers.executions import finish


def _names(run: RunFolder) -> list[list[str]]:
    chains = [chain for of_fold in run.chains() for chain in of_fold if chain]
    return [[f"{one.system.name}{one.repeat}{one.fold}" for one in chain] for chain in chains]


# --- the protocol


def test_a_system_is_trained_by_the_common_settings_under_its_own(tiny_paper):
    own = {"epochs": 7, "optimizer": {"name": "adam"}, "augmentation": {"flip": False}}
    protocol = load_paper("tiny").protocol("smoke", {"trainings": {"b": own}})
    common, changed = protocol.training_of("a"), protocol.training_of("b")
    assert common == protocol.training
    assert changed.epochs == 7
    assert (changed.optimizer.name, changed.optimizer.learning_rate) == ("adam", 0.05), "the rest stays"
    assert (changed.augmentation.flip, changed.augmentation.rotation) == (False, 10.0)
    optimizer = dataclasses.replace(common.optimizer, name="adam")
    augmentation = dataclasses.replace(common.augmentation, flip=False)
    assert changed == dataclasses.replace(common, epochs=7, optimizer=optimizer, augmentation=augmentation)


def test_settings_of_a_training_may_be_shared(make_run):
    """System `three` takes those called `own`."""
    run = make_run("run", "further", trainings={"own": {"epochs": 2}}, systems=["a", "three", "released"])
    assert epochs_of(run) == {"a": 4, "three": 2, "released": 1}


@pytest.mark.parametrize(
    ("trainings", "words"),
    [
        ({"aa": {"epochs": 3}}, r"unknown key 'aa' in trainings.*Did you mean 'a'"),
        ({"a": {"epocs": 3}}, r"unknown key 'epocs' in trainings\.a.*Did you mean 'epochs'"),
        ({"a": {"optimizer": {"nestrov": True}}}, r"unknown key 'nestrov' in trainings\.a\.optimizer"),
        ({"a": {"epochs": 0}}, "epochs is 0"),
        ({"a": {"ties": "middle"}}, "ties"),
        ({"a": 3}, r"trainings\.a must be a mapping, not 3"),
    ],
)
def test_misspelt_trainings_are_named_before_any_work(tiny_paper, trainings, words):
    with pytest.raises(UserError, match=words):
        load_paper("tiny").protocol("smoke", {"trainings": trainings})


def test_what_a_system_builds_on_is_trained_before_it(tiny_paper):
    paper = load_paper("further")
    assert paper.chain("a") == ["a"]
    assert paper.chain("last") == ["a", "pair", "last"]
    assert paper.protocol("smoke", {"systems": ["last"]}).systems == ("a", "pair", "last")
    assert paper.protocol("smoke", {"systems": ["three", "pair", "a"]}).systems == ("three", "a", "pair")
    with pytest.raises(UserError, match=r"pear: is not a system of further\. Choose from a, pair, last"):
        paper.protocol("smoke", {"systems": ["pear"]})


def test_augmentation_settings_are_those_of_the_pipeline():
    """By name, and with the same defaults: a training hands them over as they are."""
    from covid_keras.data.augment import Augmentation

    assert as_plain(Augmentation(**as_plain(AugmentationSettings()))) == as_plain(Augmentation())
    settings = AugmentationSettings(vertical_flip=True, keep_aspect=False)
    given = Augmentation(**as_plain(settings))
    assert (given.vertical_flip, given.keep_aspect) == (True, False)


# --- chains of executions


def test_what_builds_on_another_follows_it_in_one_chain(make_run):
    run = make_run("run", "further", systems=["pair", "three", "last"], split={"repeats": 2})
    assert _names(run) == [
        chain
        for place in ("00", "01", "10", "11")
        for chain in ([f"a{place}", f"pair{place}", f"last{place}"], [f"three{place}"])
    ]
    chains = [chain for of_fold in run.chains() for chain in of_fold]
    assert run.executions() == [one for chain in chains for one in chain]
    shards = [take_shard(run.chains(), (i, 3)) for i in (1, 2, 3)]
    assert sorted(map(str, chains)) == sorted(str(chain) for shard in shards for chain in shard)


def test_a_released_system_is_run_once(make_run):
    run = make_run("run", "further", systems=["a", "released"], split={"folds": 3, "repeats": 2})
    flat = [name for chain in _names(run) for name in chain]
    assert flat.count("released00") == 1
    assert sum(name.startswith("released") for name in flat) == 1
    assert sum(name.startswith("a") for name in flat) == 6


def test_what_is_left_out_is_skipped(make_run):
    run = make_run("run", "further", systems=["pair", "three"], left_out={"a": "no a", "pair": "no a"})
    assert run.left_out == {"a": "no a", "pair": "no a"}
    assert _names(run) == [["three00"], ["three01"]]
    assert _names(make_run("other", "further", systems=["pair", "three"], left_out={"pair": "slow"})) == [
        ["a00"],
        ["three00"],
        ["a01"],
        ["three01"],
    ]


# --- who takes part, with which label


def test_three_classes_are_learnt_and_two_scored(make_run, third_cohort):
    run, _paper = make_run("run", "further", third_cohort, systems=["a", "three"]), load_paper("further")
    labels = third_cohort.table["label"]
    for name, classes in (("a", ["N", "P"]), ("three", ["N", "P", "other"])):
        execution = run.execution(name, 0, 0)
        part = execution.division
        assert set(labels[part != ""]) == set(classes)
        inputs = execution.inputs
        assert inputs.outputs == len(classes)
        assert inputs.labels.dtype == np.int64
        assert inputs.labels.tolist() == [classes.index(label) if label in classes else -1 for label in labels]
        assert (inputs.labels[inputs.rows_of(part, "train", "validation", "test")] >= 0).all()
    fold = run.part(0, 0)
    kept = (part != "").tolist()
    assert kept == (third_cohort.table["patient_id"] != "made/0-0").tolist(), "the system's own experiment"
    assert part[kept].tolist() == fold[kept].tolist()


def test_a_released_system_is_tested_on_all_that_take_part(make_run, third_cohort):
    run = make_run("run", "further", third_cohort, systems=["released"])
    part = run.execution("released", 0, 0).division
    assert part.tolist() == ["test" if label != "other" else "" for label in third_cohort.table["label"]]


def test_each_repeat_draws_its_experiment_anew(make_run, tmp_path, monkeypatch):
    monkeypatch.setenv("TINY_SAW", str(tmp_path))
    run = make_run("run", "further", systems=["three"], split={"repeats": 2, "seed": 40})
    seeds = {}
    for execution in run.executions():
        _ = execution.division
        seeds[execution.repeat, execution.fold] = int(np.load(tmp_path / "seed.npy"))
    assert seeds == {(0, 0): 40, (0, 1): 40, (1, 0): 41, (1, 1): 41}


# --- views


def test_what_is_not_trained_yet_cannot_be_built_on(make_run):
    run, _paper = make_run("run", "further", systems=["pair"]), load_paper("further")
    execution = run.execution("pair", 0, 1)
    with pytest.raises(UserError, match=r"a repeat 1 fold 2: is not done, and pair repeat 1 fold 2 builds on it"):
        _ = execution.inputs
    finish(run.execution("a", 0, 0))
    with pytest.raises(UserError, match="is not done"):  # the other fold does not do
        _ = execution.before
    finish(run.execution("a", 0, 1))
    assert execution.before == run.execution("a", 0, 1)
    assert run.execution("a", 0, 1).before is None


class _FirstPixels:
    """In place of a network: the first two pixels of an image are its outputs."""

    def predict(self, batches, verbose):
        return np.concatenate([np.asarray(images)[:, 0, :2, 0] for images in batches])


def test_decide_gets_the_views_of_each_image_in_order(make_run, third_cohort, tmp_path, monkeypatch):
    """Views of different images, or of one in the wrong order, must not be mixed; batches cut across them."""
    from covid_keras.training.execution import Training

    monkeypatch.setenv("TINY_SAW", str(tmp_path))
    run, paper = make_run("run", "further", third_cohort, systems=["pair"], training={"batch_size": 3}), None
    paper = load_paper("further")
    finish(run.execution("a", 0, 0))
    execution = run.execution("pair", 0, 0)
    part = execution.division
    inputs = execution.inputs
    assert inputs.owner.tolist() == np.repeat(np.flatnonzero(part != ""), 2).tolist()
    frame = Training(execution).predict(_FirstPixels())
    rows = np.flatnonzero(np.isin(part, ("validation", "test")))
    assert frame["image_id"].tolist() == third_cohort.table["image_id"][rows].tolist()
    assert frame["split"].tolist() == part[rows].tolist()
    assert frame["label"].tolist() == third_cohort.table["label"][rows].tolist()
    from covid_keras.data.prepared_images import prepare_cohort

    whole = prepare_cohort(third_cohort, paper.system("a").preparation(run.protocol), run.settings["cache"])
    pixels = whole.batch(rows)[:, 0, :2, 0]
    outputs = np.load(tmp_path / "outputs.npy")
    assert outputs.shape == (len(rows), 2, 2)
    np.testing.assert_allclose(outputs * 255, np.stack([pixels, 255.0 - pixels], axis=1), atol=1e-3)
    np.testing.assert_allclose(frame[["score_N", "score_P"]], outputs[:, 0])
    assert frame["predicted"].tolist() == np.array(["N", "P"])[outputs[:, 0].argmax(axis=1)].tolist()


def test_scores_are_those_of_the_scored_classes(tiny_paper):
    """Whatever the place of a class among the outputs."""
    paper = load_paper("further")
    outputs = np.array([[[0.1, 0.3, 0.6]], [[0.5, 0.1, 0.4]]])
    for name, scores in (("three", [[0.25, 0.75], [5 / 6, 1 / 6]]), ("turned", [[2 / 3, 1 / 3], [0.8, 0.2]])):
        decided, found = paper.system(name).decide(outputs, ("N", "P"))
        np.testing.assert_allclose(found, scores)
        assert decided.tolist() == np.argmax(scores, axis=1).tolist()
    with pytest.raises(UserError, match="three: gave an image the score 0 for every class"):
        paper.system("three").decide(np.array([[[0.0, 0.0, 1.0]]]), ("N", "P"))
