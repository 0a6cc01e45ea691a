"""Nothing is used that belongs to other settings, other images or another training, or that was damaged."""

from __future__ import annotations

import os
from pathlib import Path

import keras
import numpy as np
import pytest

from covid_keras.commands.reproduce import restart
from covid_keras.common.files import is_cache, read_record, sha256_of, write_record
from covid_keras.data.file_hashes import FileHashes
from covid_keras.training import resume
from covid_keras.training.executions import BEST
from covid_keras.training.kept import STATE
from covid_keras.training.resume import ResumableTraining
from covid_keras.training.runfolder import RunFolder
from tests.helpers.executions import finish
from tests.helpers.refusals import refused


def test_executions_of_other_settings_are_not_adopted(make_run):
    before = make_run("run")
    finish(before.execution("a", 0, 0))
    (before.path / "run.json").unlink()
    run = make_run("run", training={"epochs": 5})
    execution = run.execution("a", 0, 0)
    refused(r"other settings or images.*--restart a/repeat0-fold0", lambda: execution.done)
    refused("is no execution of this run", restart, run, ["a/repeat9-fold9"])
    restart(run, ["a/repeat0-fold0"])
    assert not execution.done
    assert not execution.folder.exists()


def test_a_lost_record_of_the_same_run_loses_nothing(make_run):
    before = make_run("run")
    finish(before.execution("a", 0, 0))
    (before.path / "run.json").unlink()
    assert make_run("run").execution("a", 0, 0).done


@pytest.mark.parametrize("key", ["identity", "paper", "profile", "settings", "classes", "files", "provenance"])
@pytest.mark.parametrize("value", [3, [], "text", None, {"a": [[[]]]}, [{}]])
def test_a_record_of_other_types_says_how_to_go_on(make_run, key, value):
    run = make_run("run")
    record = read_record(run.path / "run.json", ())
    if type(record[key]) is type(value) and key not in ("settings", "paper", "profile", "files"):
        pytest.skip("has that type")
    write_record(run.path / "run.json", record | {key: value})

    def read() -> None:
        again = RunFolder.open(run.path)
        _ = again.protocol, again.cohort, again.cache

    refused("run folder|run.json|protocol|reproduce|paper", read)


@pytest.mark.parametrize(
    ("inside", "value"),
    [
        ("settings", {"left_out": []}), ("settings", {"left_out": {"a": 3}}), ("settings", {"files": "x"}),
        ("settings", {"precision": None}), ("settings", {"cache": ["x"]}), ("settings", {"keep_weights": "yes"}),
        ("identity", {"protocol": []}), ("identity", {"lungs": 3}), ("identity", {"cohort": None}),
        ("", {"threads": "two"}), ("", {"threads": 0}), ("", {"threads": 10**9}), ("", {"stamped": []}),
        ("", {"claims_sha256": 1}),
    ],
)  # fmt: skip
def test_a_record_of_other_types_inside_says_so_too(make_run, inside, value):
    run = make_run("run")
    record = read_record(run.path / "run.json")
    write_record(run.path / "run.json", record | ({inside: record[inside] | value} if inside else value))
    refused(f"run.json: .*{next(iter(value))}.*covid-keras reproduce", RunFolder.open, run.path)


def test_a_folder_whose_name_is_not_utf_8_is_read(make_run):
    run = make_run("run")
    record = read_record(run.path / "run.json")
    cache = {"cache": str(run.path / "a\udcff")}
    write_record(run.path / "run.json", record | {"settings": record["settings"] | cache})
    assert RunFolder.open(run.path).settings["cache"] == cache["cache"]


def test_facts_are_there_and_of_this_run(make_run):
    run, other = make_run("run"), make_run("other", training={"epochs": 5})
    run.write_facts({"duplicate_pairs": 2})
    assert run.facts == {"duplicate_pairs": 2}
    assert make_run("run").facts == {"duplicate_pairs": 2}, "a run that goes on keeps them"
    path = run.path / "facts.json"
    path.write_bytes((other.path / "facts.json").read_bytes())
    refused("is of another run.*covid-keras reproduce", lambda: run.facts)
    path.unlink()
    refused("does not exist.*covid-keras reproduce", lambda: run.facts)


@pytest.mark.parametrize("name", ["figures", "executions", "executions/a", "cache", "log.txt", ".lock", "report.html"])
def test_nothing_is_done_in_a_folder_with_links_that_lead_out_of_it(make_run, tmp_path, name):
    run, outside = make_run("run"), tmp_path / "outside"
    outside.mkdir()
    place = run.path / name
    place.unlink(missing_ok=True)
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(outside)
    refused("is a link that leads out of", RunFolder.open, run.path)
    refused("is a link that leads out of", make_run, "run")
    assert not list(outside.iterdir())
    place.unlink()
    place.symlink_to(run.path / "cohort.csv")
    assert RunFolder.open(run.path)


def test_nothing_waits_for_a_pipe_in_a_run_folder(make_run):
    run = make_run("run")
    os.mkfifo(run.path / "log.txt")
    refused("log.txt: is neither a file nor a folder", RunFolder.open, run.path)


def test_a_run_may_lie_behind_a_link_and_a_loop_is_no_run(make_run, tmp_path):
    run = make_run("run")
    (tmp_path / "link").symlink_to(run.path)
    (tmp_path / "loop").symlink_to("loop")
    assert RunFolder.open(tmp_path / "link").path == run.path
    refused("is not a run folder", RunFolder.open, tmp_path / "loop")


def test_a_name_that_leads_elsewhere_is_refused(make_run):
    run = make_run("run")
    path = run.path / "protocol.yaml"
    for line in ("profile: ../../../x", "paper: ../x"):
        kept = path.read_text()
        key = line.split(":")[0]
        path.write_text("\n".join(line if one.startswith(f"{key}:") else one for one in kept.splitlines()))
        record = read_record(run.path / "run.json", ())
        write_record(run.path / "run.json", record | {"files": record["files"] | {path.name: sha256_of(path)}})
        refused("which does not exist", lambda: RunFolder.open(run.path).protocol)
        path.write_text(kept)


def test_only_a_cache_is_written_outside_the_run(make_run, tmp_path):
    run = make_run("run")
    assert run.cache == Path(run.settings["cache"])
    assert is_cache(run.cache)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    record = read_record(run.path / "run.json", ())
    write_record(run.path / "run.json", record | {"settings": record["settings"] | {"cache": str(elsewhere)}})
    assert RunFolder.open(run.path).cache.is_relative_to(run.path)


def test_a_file_changed_behind_its_date_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr("covid_keras.data.file_hashes._SETTLED_NS", -(10**12))
    path = tmp_path / "image.dcm"
    path.write_bytes(b"old")
    hashes, status = FileHashes(tmp_path / "cache"), path.stat()
    before = hashes.of(str(path))
    path.write_bytes(b"new")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert hashes.of(str(path)) != before


def test_other_images_are_another_run(make_run):
    run = make_run("run")
    same = (run.protocol, run.cohort, lambda: pytest.fail("the divisions are there"), run.settings)
    changed = read_record(run.path / "run.json", ())
    write_record(run.path / "run.json", changed | {"identity": changed["identity"] | {"images": "a"}})
    RunFolder.create(run.path, *same, images="a")
    refused("different run.*: images is 'a' there and 'b' here", RunFolder.create, run.path, *same, images="b")


# --- the state of a training


def _trained(folder: Path, identity: str, place: str = "") -> tuple[keras.Model, ResumableTraining]:
    folder.mkdir(exist_ok=True)
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    tracker = ResumableTraining(folder, "val_loss", 5, identity=identity, place=place)
    tracker.set_model(model)
    tracker.on_epoch_end(0, {"val_loss": 1.0})
    return model, tracker


def test_a_state_of_another_training_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "WRITE_SHARE", 0.0)
    model, _ = _trained(tmp_path / "a", "one")
    assert ResumableTraining(tmp_path / "a", "val_loss", 5, identity="one").restore(model) == 1
    refused("other settings or images", ResumableTraining(tmp_path / "a", "val_loss", 5, identity="two").restore, model)


@pytest.mark.parametrize(
    "meta", ["[]", "3", "{}", "[" * 5000, '{"history": 3, "best_epoch": 0, "seconds": 1, "finished": false}', "{"]
)
def test_a_state_whose_counters_are_none_says_how_to_go_on(tmp_path, meta):
    model, tracker = _trained(tmp_path / "a", "one", "a/repeat0-fold0")
    np.savez(tmp_path / "a" / STATE, meta=np.array(meta))
    refused(r"damaged.*--restart a/repeat0-fold0", tracker.restore, model)


def test_a_state_may_not_grow_in_memory(tmp_path):
    model, tracker = _trained(tmp_path / "a", "one", "a/repeat0-fold0")
    np.savez_compressed(tmp_path / "a" / STATE, meta=np.array("{}"), v0=np.zeros(1000))
    refused(r"damaged \(it is compressed\).*--restart", tracker.restore, model)


def test_a_state_of_another_execution_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "WRITE_SHARE", 0.0)
    model, _ = _trained(tmp_path / "a", "one", "a/repeat0-fold0")
    other = ResumableTraining(tmp_path / "a", "val_loss", 5, identity="one", place="a/repeat0-fold1")
    refused("is of the execution a/repeat0-fold0.*--restart a/repeat0-fold1", other.restore, model)


def test_damaged_best_weights_are_not_used(tmp_path):
    model, tracker = _trained(tmp_path / "a", "one")
    path = tmp_path / "a" / BEST
    kept = path.read_bytes()
    tracker.restore_best(model)
    middle = len(kept) // 2
    path.write_bytes(kept[:middle] + bytes([kept[middle] ^ 1]) + kept[middle + 1 :])
    before = [np.asarray(one).copy() for one in model.weights]
    refused("changed or damaged", tracker.restore_best, model)
    assert all(np.array_equal(one, np.asarray(other)) for one, other in zip(before, model.weights, strict=True))
