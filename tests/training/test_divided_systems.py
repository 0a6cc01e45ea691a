"""Systems on divisions of their own, under labels of their own, with a template of their own; who is run how often."""

from __future__ import annotations

import pandas as pd
import pytest

from covid_keras.common.errors import UserError
from covid_keras.data.splits import check_disjoint
from covid_keras.paper.registered import load_paper
from covid_keras.training.runfolder import RunFolder
from covid_keras.training.schedulers import epochs_of, take_shard

ALL = ["product", "elsewhere", "ignored", "ill", "matched", "leaky", "smooth"]


@pytest.fixture
def hooks_run(make_run, uneven_cohort) -> RunFolder:
    """All systems of the paper `hooks`, on the uneven cohort."""
    return make_run("run", "hooks", uneven_cohort, systems=ALL)


def _part(run: RunFolder, name: str, repeat: int = 0, fold: int = 0) -> pd.Series:
    """The part of each image in one execution, the cohort's labels as index."""
    part = run.execution(name, repeat, fold).division
    return pd.Series(part, index=run.cohort.table["label"])


# --- divisions in the run folder


def test_each_system_is_trained_on_the_division_it_names(hooks_run):
    run = hooks_run
    for name, split in (("a", ""), ("ill", "small"), ("leaky", "authors")):
        table = run.splits_of(split)
        table = table[table["repeat"] == 1].set_index("image_id")["split"]
        labels = ("N", "P", "other") if name == "ill" else ("N", "P")
        own = run.cohort.table["image_id"].map(table).where(run.cohort.table["label"].isin(labels)).fillna("")
        assert _part(run, name, repeat=1).tolist() == own.tolist()
    assert set(_part(run, "a")) == {"train", "validation", "test", ""}
    assert (_part(run, "a")["other"] == "").all(), "not among the classes"
    assert set(_part(run, "leaky")) == {"train", "test", ""}
    small = _part(run, "ill")
    assert (small[small != ""].index.value_counts()[["N", "P", "other"]] == [12, 8, 8]).all()


def test_divisions_are_files_of_the_run(hooks_run):
    run = hooks_run
    files = {path.name for path in run.path.glob("splits*.csv")}
    assert files == {"splits.csv", "splits-small.csv", "splits-authors.csv"}
    again = RunFolder.open(run.path)
    for name in ("", "small", "authors"):
        pd.testing.assert_frame_equal(again.splits_of(name), run.splits_of(name))
    for name in ("", "small"):
        check_disjoint(run.splits_of(name), run.cohort)
    with pytest.raises(UserError, match=r"splits-large\.csv"):
        run.splits_of("large")


def test_a_division_that_was_edited_is_refused(hooks_run, make_run, uneven_cohort):
    run = hooks_run
    path = run.path / "splits-small.csv"
    path.write_text(path.read_text().replace("train", "test", 1))
    edited = RunFolder.open(run.path)
    with pytest.raises(UserError, match=r"splits-small\.csv: was changed after the run began"):
        _part(edited, "ill")
    _part(edited, "a")  # whose division it is not
    with pytest.raises(UserError, match=r"splits-small\.csv: was changed after the run began"):
        make_run("run", "hooks", uneven_cohort, systems=ALL)


def test_a_run_that_goes_on_keeps_its_divisions(hooks_run, uneven_cohort):
    def never():
        raise AssertionError("the divisions are there")

    run = hooks_run
    again = RunFolder.create(run.path, run.protocol, uneven_cohort, never, run.settings)
    pd.testing.assert_frame_equal(again.splits_of("authors"), run.splits_of("authors"))
    assert again.record["identity"]["protocol"]["splits"]["small"]["images"] == {"N": 12, "P": 8, "other": 8}


def test_a_system_needs_the_division_it_names(make_run, uneven_cohort):
    with pytest.raises(UserError, match=r"asks for 50 images 'N', but there are 22"):
        make_run("run", "hooks", uneven_cohort, splits={"small": {"images": {"N": 50}}})
    with pytest.raises(UserError, match=r"split\.leaky_as_published is False"):
        make_run("run", "hooks", uneven_cohort, splits={"authors": {"leaky_as_published": False}})


# --- how often


def _counts(run: RunFolder) -> dict[str, int]:
    return pd.Series([execution.system.name for execution in run.executions()]).value_counts().to_dict()


def test_repeats_of_a_training_limit_its_executions(make_run, uneven_cohort):
    changes = {"split": {"repeats": 3}, "trainings": {"ill": {"repeats": 2}, "leaky": {"repeats": 9}}}
    run = make_run("run", "hooks", uneven_cohort, systems=["a", "ill", "leaky"], **changes)
    assert _counts(run) == {"a": 3, "ill": 2, "leaky": 3}
    shards = [take_shard(run.chains(), (i, 2)) for i in (1, 2)]
    assert sum(len(chain) for shard in shards for chain in shard) == 8
    one = make_run("one", "hooks", uneven_cohort, systems=["a", "ill"], training={"repeats": 1})
    assert _counts(one) == {"a": 1, "ill": 1}
    with pytest.raises(UserError, match=r"repeats is 0"):
        load_paper("hooks").protocol("smoke", {"trainings": {"ill": {"repeats": 0}}})


def test_what_builds_on_another_runs_where_that_does(make_run, uneven_cohort):
    """Fewer repeats of a part are fewer of what is made of it; of what is released there is one for all."""
    changes = {"split": {"repeats": 3}, "trainings": {"sigmoid": {"repeats": 2}, "elsewhere": {"repeats": 1}}}
    systems = ["product", "elsewhere", "over"]
    run = make_run("run", "hooks", uneven_cohort, systems=systems, **changes)
    assert _counts(run) == {"a": 3, "sigmoid": 2, "product": 2, "elsewhere": 1, "released": 1, "over": 3}


def test_each_division_has_its_own_folds(make_run, uneven_cohort):
    """Folds of the main one; held out in the others."""
    split = {"scheme": "folds", "folds": 3, "repeats": 2}
    held_out = {"small": {"scheme": "hold_out", "folds": 1, "repeats": 1}}
    run = make_run("run", "hooks", uneven_cohort, systems=["a", "ill"], split=split, splits=held_out)
    assert _counts(run) == {"a": 6, "ill": 1}
    assert len(run.chains()) == 6


def test_what_is_composed_counts_as_one_epoch(hooks_run):
    epochs = epochs_of(hooks_run)
    assert (epochs["product"], epochs["elsewhere"], epochs["sigmoid"]) == (1, 1, 4)
    (chain,) = [chain for chain in hooks_run.chains()[0] if len(chain) > 1]
    assert [execution.system.name for execution in chain] == ["a", "sigmoid", "product", "elsewhere"]


# --- labels


def test_a_system_calls_labels_by_its_own_names(hooks_run):
    run, paper = hooks_run, load_paper("hooks")
    ill, cohort = paper.system("ill"), hooks_run.cohort
    labelled = ill.labelled(cohort)
    assert labelled.classes == ("N", "ill")
    assert labelled.counts() == {"N": 22, "ill": 22}
    assert cohort.counts() == {"N": 22, "P": 10, "other": 12}, "what was given stays"
    assert paper.system("a").labelled(cohort) is cohort
    assert (paper.scored_of(ill, cohort), paper.classes_of(ill, cohort)) == (("N", "ill"), ("N", "ill"))
    assert paper.scored_of(paper.system("a"), cohort) == ("N", "P")
    execution = run.execution("ill", 0, 0)
    inputs = execution.inputs
    assert inputs.outputs == 2
    assert inputs.labels.tolist() == (cohort.table["label"] != "N").astype(int).tolist()


def test_what_is_tested_everywhere_trains_on_nothing(hooks_run):
    for repeat in (0, 1):
        assert (_part(hooks_run, "elsewhere", repeat) == "test").all()
    assert (_part(hooks_run, "sigmoid") == "train").any(), "what it is made of is trained"


# --- the template of histogram matching


def test_the_template_comes_from_the_training_part(make_run, uneven_cohort):
    split = {"scheme": "folds", "folds": 2, "repeats": 1}
    run = make_run("run", "hooks", uneven_cohort, systems=["matched", "ill"], split=split, splits={"small": split})
    table, keys = uneven_cohort.table.set_index("path"), {}
    for execution in run.executions():
        system, preparation = execution.system, execution.preparation
        keys[execution.system.name, execution.fold] = preparation.key()
        if execution.system.name == "ill":
            assert preparation == system.preparation(run.protocol), "no template, nothing changed"
            continue
        own = run.part(0, execution.fold).to_numpy()[table.index.get_loc(preparation.reference)]
        assert own == "train"
        assert preparation.reference_mask is None, "the images are used whole"
    assert keys["ill", 0] == keys["ill", 1]
    assert len({keys["matched", 0], keys["matched", 1], keys["ill", 0]}) == 3
    both = [run.execution("matched", 0, fold) for fold in (0, 1)]
    prepared = [one.inputs.prepared for one in both]
    assert set(prepared[0].keys).isdisjoint(prepared[1].keys), "no fold sees what another's template made"
    assert (prepared[0].load(0) != prepared[1].load(0)).any()
