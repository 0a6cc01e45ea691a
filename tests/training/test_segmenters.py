"""Segmenters that a paper trains itself: learning, going on after a kill, one process at a time, what is refused.

Radiographs of noise with a bright disc, the lung, and a network of two convolutions.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest

from covid_keras.common.errors import UserError
from covid_keras.common.files import locked
from covid_keras.data.augment import Augmentation
from covid_keras.data.cohort import Cohort
from covid_keras.evaluation.overlap import binary_overlap, measured_part, parts_of, read_overlap, summary_of
from covid_keras.training import segmenters
from covid_keras.training.execution import execute
from covid_keras.training.fitting import Plateau
from covid_keras.training.resume import ResumableTraining
from covid_keras.training.segmenter_runs import PaperSegmenters, phantom_masks
from covid_keras.training.segmenters import SegmenterKind, UnitScaling, train_segmenter
from covid_keras.training.trained_segmenter import TrainedSegmenter
from tests.helpers.discs import check_marks, end_blind, make_discs


@dataclass(frozen=True)
class Tiny:
    """Settings of the made-up paper."""

    size: int = 16
    epochs: int = 6
    batch_size: int = 2
    learning_rate: float = 0.1
    seed: int = 1
    threshold: float = 0.5
    patience: int = 1


MOVED = Augmentation(rotation=90.0, shift=(0.1, 0.1), flip=True)


class TinyKind(SegmenterKind):
    paper = "made"
    citation = "Nobody et al."
    settings = Tiny

    def network(self, settings: Tiny) -> keras.Model:
        inputs = keras.Input((settings.size, settings.size, 1), name="radiograph")
        x = keras.layers.Conv2D(4, 3, padding="same", activation="tanh", name="conv")(inputs)
        x = keras.layers.Dropout(0.1, name="dropout")(x)
        return keras.Model(inputs, keras.layers.Conv2D(1, 1, activation="sigmoid", name="lung")(x), name="tiny")

    def augmentation(self, settings: Tiny) -> Augmentation:
        return MOVED

    def plateau(self, settings: Tiny) -> Plateau:
        return Plateau(settings.patience, 0.5)


KIND = TinyKind()
TINY = Tiny()


def _train(folder, cohort, split, settings=TINY, kind=KIND):
    return train_segmenter(kind, "disc", settings, cohort, split, folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Cohort, pd.Series]:
    return make_discs(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def trained(made, tmp_path_factory):
    return _train(tmp_path_factory.mktemp("cache") / "disc", *made)


# --- a rate that falls


@pytest.mark.parametrize(
    ("values", "rate"),
    [
        ([], 1.0),
        ([0.5, 0.4], 1.0),
        ([0.5, 0.4, 0.5], 0.5),
        ([0.5, 0.4, 0.6, 0.5], 1.0),
        ([0.5, 0.4, 0.4, 0.4, 0.4], 0.25),
        ([float("nan"), 0.1, float("nan"), 0.0], 0.5),
    ],
)
def test_the_rate_falls_after_epochs_without_a_new_best(values, rate):
    assert Plateau(2, 0.5).rate(1.0, values) == rate
    assert Plateau(0, 0.5).rate(1.0, values) == 1.0


# --- what a network is fed


def test_radiograph_and_mask_are_moved_alike_and_masks_stay_binary(made):
    cohort, split = made
    parts = cohort.table["image_id"].map(split)
    data = segmenters._Training(KIND, "disc", TINY, cohort, parts, None).load()
    one = replace(TINY, batch_size=6)
    images, targets = (np.asarray(part) for part in segmenters._Batches(data, one, MOVED, 0)[0])
    assert images.shape == (6, 16, 16, 1)
    assert set(np.unique(targets)) == {0, 1}
    bright = images[..., 0] > 0.5
    assert np.mean(bright[targets[..., 1] > 0] == (targets[..., 0] > 0)[targets[..., 1] > 0]) > 0.97
    still, _ = segmenters._Batches(data, one, None, 0)[0]
    assert not np.array_equal(images, still)
    np.testing.assert_array_equal(np.asarray(segmenters._Batches(data, one, MOVED, 0)[0][0]), images)
    assert not np.array_equal(np.asarray(segmenters._Batches(data, one, MOVED, 1)[0][0]), images)


def test_unit_scaling_leaves_grey_levels_alone():
    grey = np.random.default_rng(0).random((2, 3, 3))
    np.testing.assert_array_equal(UnitScaling()(grey, training=True)[..., 0], grey.astype(np.float32))
    assert UnitScaling().recorded() == {}


# --- training


def test_a_training_learns_and_leaves_what_is_promised(trained):
    left = {"weights.h5", "history.csv", "overlap.csv", "record.json", ".lock"}
    assert {path.name for path in trained.iterdir()} == left
    record, history = json.loads((trained / "record.json").read_text()), pd.read_csv(trained / "history.csv")
    assert list(history["epoch"]) == list(range(TINY.epochs))
    assert record["best_epoch"] == history["val_masked_dice"].idxmax()
    assert history["loss"].iloc[-1] < history["loss"][0]
    table = read_overlap(trained)
    assert list(table.columns) == ["image_id", "patient_id", "part", "dice", "iou", "dice_small", "iou_small"]
    assert list(table["part"]) == ["train"] * 6 + ["validation"] * 2
    assert record["overlap"] == summary_of(table)
    assert record["overlap"]["validation"]["patients"] == 1
    assert table["dice"].mean() > 0.8, "discs are told from noise"


def test_measured_in_percent_with_intervals(trained):
    parts = dict(parts_of(read_overlap(trained)))
    found = {one.metric: one for name, part in parts.items() for one in measured_part(part, "disc", name)}
    assert set(found) == {f"{kind}_{part}" for kind in ("dice", "iou") for part in ("train", "validation")}
    one = found["dice_train"]
    assert one.mean == pytest.approx(100 * parts["train"]["dice"].mean())
    assert one.std == pytest.approx(100 * parts["train"]["dice"].std(ddof=1))
    assert (one.n_images, one.n_patients, one.system) == (6, 6, "disc")
    assert one.low < one.mean < one.high
    assert np.isnan(found["dice_validation"].low), "one patient says nothing of others"
    with pytest.raises(UserError, match="dice_published"):
        read_overlap(trained, ("dice_published",))
    assert np.isnan(measured_part(parts["train"][:1], "disc", "train")[0].std)


class Killed(Exception):
    pass


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_result(trained, made, tmp_path, monkeypatch):
    folder, at_end, write = tmp_path / "disc", ResumableTraining.on_epoch_end, segmenters.write_record
    epochs, rates, there = [], [], {}

    def die_at_epoch_2(self, epoch, logs=None):
        self.next_write = 0.0
        rates.append(float(self.model.optimizer.learning_rate))
        at_end(self, epoch, logs)
        epochs.append(epoch)
        if epochs == [0, 1, 2]:
            raise Killed

    def note(path, value):
        there[path.name] = {one.name for one in path.parent.iterdir()}
        write(path, value)

    monkeypatch.setattr(ResumableTraining, "on_epoch_end", die_at_epoch_2)
    monkeypatch.setattr(segmenters, "write_record", note)
    with pytest.raises(Killed):
        _train(folder, *made)
    assert not (folder / "record.json").exists()
    with pytest.raises(UserError, match="other settings"):
        _train(folder, *made, replace(TINY, batch_size=3))
    _train(folder, *made)
    assert epochs == list(range(TINY.epochs)), "it goes on where it was killed"
    for name in ("history.csv", "overlap.csv"):
        pd.testing.assert_frame_equal(pd.read_csv(folder / name), pd.read_csv(trained / name))
    assert (folder / "weights.h5").read_bytes() == (trained / "weights.h5").read_bytes()
    # The record is last: what it vouches for is there before it.
    assert {"weights.h5", "history.csv", "overlap.csv"} <= there["record.json"]
    dice = pd.read_csv(folder / "history.csv")["val_masked_dice"].tolist()
    assert rates == pytest.approx([KIND.plateau(TINY).rate(0.1, dice[:epoch]) for epoch in epochs])
    assert rates[-1] < rates[0], "there was a plateau"


class Untrainable(TinyKind):
    """The same kind, of a network that must not be built."""

    def network(self, settings: Tiny) -> keras.Model:
        raise AssertionError("trained again")


def test_a_done_training_is_left_alone(trained, made):
    before = (trained / "record.json").stat().st_mtime_ns
    assert _train(trained, *made, TINY, Untrainable()) == trained
    assert (trained / "record.json").stat().st_mtime_ns == before
    with pytest.raises(UserError, match="other settings"):
        _train(trained, *made, replace(TINY, seed=2))
    cohort, split = made
    with pytest.raises(UserError, match="other settings or images"):
        _train(trained, cohort, split.drop("made/0"))
    masks = [*cohort.table["mask_path"][1:], cohort.table["mask_path"][0]]
    others = Cohort(cohort.table.assign(mask_path=masks), cohort.classes, cohort.name)
    with pytest.raises(UserError, match="other settings or images"):
        _train(trained, others, split)


def test_a_network_that_marks_nothing_is_warned_of(trained, made, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(segmenters._Training, "fit", end_blind)
    folder = _train(tmp_path / "disc", *made)
    reached = json.loads((folder / "record.json").read_text())["overlap"]["validation"]
    assert reached == {"images": 2, "patients": 1, "dice": 0, "iou": 0}
    assert "Dice of only 0.000" in caplog.text
    caplog.clear()
    _train(folder, *made)
    assert "Dice of only 0.000" in caplog.text, "it is about to be used again"
    caplog.clear()
    _train(trained, *made)
    assert not caplog.records, "a good one"


# --- one process at a time

HOLD = """
import sys
from covid_keras.common.files import locked
with locked(sys.argv[1], wait=True):
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextlib.contextmanager
def _held(folder):
    """Let another process hold the lock of a folder until its input ends, or until it is killed."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def _until(condition) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_second_process_waits_and_finds_it_done(trained, made, tmp_path, caplog):
    folder = tmp_path / "disc"
    with _held(folder) as process, ThreadPoolExecutor(1) as pool:
        live = folder / ".writing-live.h5"
        live.write_bytes(b"half a file")
        second = pool.submit(_train, folder, *made, TINY, Untrainable())
        _until(lambda: second.done() or "in use by another process; waiting for it" in caplog.text)
        assert not second.done()
        assert live.read_bytes() == b"half a file", "what the first one is writing"
        assert not (folder / "started.json").exists()
        for path in trained.iterdir():
            if path.name != ".lock":
                (folder / path.name).write_bytes(path.read_bytes())
        process.stdin.close()
        assert second.result(timeout=20) == folder


def test_a_lock_refuses_or_waits_until_its_holder_dies(tmp_path, caplog):
    execution = SimpleNamespace(folder=tmp_path / "execution", done=True)
    with _held(execution.folder) as process:
        for _ in range(2):  # to be refused takes nothing from the holder
            with pytest.raises(UserError, match="in use"):
                execute(execution)
        with ThreadPoolExecutor(1) as pool:

            def enter():
                with locked(execution.folder, wait=True):
                    return process.poll()

            waiting = pool.submit(enter)
            _until(lambda: "waiting for it" in caplog.text)
            assert not waiting.done()
            process.kill()
            waiting.result(timeout=20)
    execute(execution)
    with pytest.raises(KeyError), locked(execution.folder, wait=False):
        raise KeyError
    with locked(execution.folder, wait=False):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"), locked(tmp_path / "file", wait=False):
        pass


def test_what_cannot_be_trained(made, tmp_path):
    cohort, split = made
    folder = tmp_path / "out"
    leaking = split.copy()
    leaking["made/6"] = "train"  # the other image of its patient is a validation image
    with pytest.raises(UserError, match="leakage"):
        _train(folder, cohort, leaking)
    with pytest.raises(UserError, match="no validation images"):
        _train(folder, cohort, split[split == "train"])
    blind = Cohort(cohort.table.assign(mask_path=""), ("x",), "made")
    with pytest.raises(UserError, match="no lung mask"):
        _train(folder, blind, split)
    assert not folder.exists()


# --- use


def test_true_overlap_marks_from_the_threshold_on_and_leaves_ignored_pixels_out():
    lung, counts = np.array([[1, 1, 0, 0]]), np.array([[1, 1, 1, 0]])
    assert binary_overlap(lung, np.array([[0.3, 0.2, 0.0, 1.0]]), counts, 0.3) == (pytest.approx(2 / 3), 0.5)


def test_the_segmenter_marks_a_cohort_as_it_was_measured(trained, made, tmp_path, monkeypatch):
    facts = check_marks(KIND, trained, made[0], tmp_path, monkeypatch)
    assert (facts["threshold"], facts["mode"]) == (0.5, "made disc")
    assert facts["by"] == "disc of Nobody et al., trained here"
    assert TrainedSegmenter(KIND, trained).key["algorithm"] == "made 1"


@pytest.mark.parametrize("name", ["record.json", "weights.h5", "history.csv"])
def test_what_was_altered_is_refused(trained, tmp_path, name):
    for one in ("record.json", "weights.h5", "history.csv"):
        (tmp_path / one).write_bytes((trained / one).read_bytes())
    TrainedSegmenter(KIND, tmp_path)
    with open(tmp_path / name, "ab") as stream:
        stream.write(b"0")
    with pytest.raises(UserError, match=name):
        TrainedSegmenter(KIND, tmp_path)
    with pytest.raises(UserError, match=r"record\.json"):
        TrainedSegmenter(KIND, tmp_path / "nothing")


# --- in a run


class Discs(PaperSegmenters):
    """The segmenters of the made-up paper, in the folders given."""

    names = ("disc", "other")
    further = ("history.csv",)
    settings = masks = kind = None

    def __init__(self, **folders) -> None:
        self.folders = lambda run: folders


def test_what_is_published_of_a_segmenter(trained, tmp_path):
    run, discs = SimpleNamespace(path=tmp_path), Discs(disc=trained)
    files = discs.published_files(run)
    assert set(files) == {"disc/overlap.csv", "disc/record.json", "disc/history.csv"}
    assert files["disc/overlap.csv"] == (trained / "overlap.csv").read_text()
    assert str(trained.parent) not in "".join(files.values())
    with pytest.raises(UserError, match="other is not trained"):
        Discs(disc=trained, other=tmp_path / "nothing").published_files(run)
    (tmp_path / "cpu-disc").mkdir()
    for name in ("overlap.csv", "record.json"):
        (tmp_path / "cpu-disc" / name).write_text(files[f"disc/{name}"])
    assert discs.kept(tmp_path, "cpu") == discs.measured(run)
    assert {one.system for one in discs.measured(run)} == {"disc"}


def test_a_phantoms_lateral_images_teach_no_frontal_lungs(made):
    cohort, _ = made
    views = ["PA", "L", "AP Supine", *["LL"] * 5]
    found = phantom_masks(Cohort(cohort.table.assign(view=views), cohort.classes, "made"))
    assert found.table["image_id"].tolist() == ["made/0", "made/2"]
    assert found.classes == ("lungs",)
