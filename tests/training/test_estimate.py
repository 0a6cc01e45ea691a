"""Hours, memory and disk of a run, from made speeds."""

from __future__ import annotations

import os

import pytest

from covid_keras.commands import reproduce
from covid_keras.commands.main import make_parser
from covid_keras.paper.registered import load_paper
from covid_keras.training import estimate
from covid_keras.training.calibration import Calibration, Speed, fitted
from covid_keras.training.estimate import GIB, Estimate
from covid_keras.training.workload import Work

SPEED = Speed(
    start=10.0, step=0.5, image=0.3, forward=0.1, shares=(1.0,), memory=40 * GIB, per_image=2 * GIB, weights=1, state=3
)
WORK = Work("net", "Net", 4, 1, (10,), images=32, validation=8, batch=16)


def calibration(work, speed=SPEED, per_core=False, memory=0) -> Calibration:
    return Calibration({one.name: speed for one in work}, "a device", memory, per_core, 7.0)


def test_a_training_takes_its_images_steps_and_start():
    assert SPEED.seconds(WORK) == pytest.approx(10 + 10 * (32 * 0.3 + 2 * 0.5 + 8 * 0.1))


def test_a_stage_takes_its_share_of_the_backward_pass_and_its_own_start():
    staged = Work("net", "Net", 1, 0, (1, 1), 10, 0, 10)
    two = Speed(2.0, 0.0, 0.3, 0.1, (0.0, 0.5), 1, 1, 1, 1)
    assert two.seconds(staged) == pytest.approx(2 * 2 + 10 * 0.1 + 10 * 0.2)


@pytest.mark.parametrize("per_core", [False, True])
def test_hours_are_of_what_is_left_and_of_all_cores(per_core):
    one = Estimate((WORK,), calibration([WORK], per_core=per_core), 0)
    assert one.hours(WORK) == pytest.approx(3 * SPEED.seconds(WORK) / 3600 / (os.cpu_count() if per_core else 1))


@pytest.mark.parametrize(("memory", "images"), [(0, 0), (48, 0), (40, 0), (32, 8), (13, 2), (9, 1)])
def test_micro_batches_are_advised_where_memory_is_short(memory, images):
    assert Estimate((WORK,), calibration([WORK], memory=memory * GIB), 0).fitting == images


def test_larger_batches_follow_a_line_and_noise_does_not_turn_it():
    assert fitted([(1, 0.3), (2, 0.5), (4, 0.9)]) == (0.1, 0.2)
    assert fitted([(1, 0.4)]) == (0.0, 0.4)
    step, image = fitted([(4, 1.0), (8, 0.8)])
    assert step >= 0 < image


@pytest.mark.parametrize("paper", ["tabik", "haghanifar", "arias", "hertel"])
def test_the_plan_of_a_paper_without_data_leaves_nothing_behind(paper, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for variable, folder in (("KERAS_HOME", "keras"), ("COVID_KERAS_WEIGHTS", "weights")):
        monkeypatch.setenv(variable, str(tmp_path / folder))
    monkeypatch.delenv("COVID_KERAS_DATA", raising=False)
    monkeypatch.setattr(estimate, "calibrate", lambda protocol, names, precision: calibration_of(names))
    options = make_parser().parse_args(["reproduce", paper, "--profile", "paper", "--dry-run"])
    assert reproduce.run(options) == 0
    out = capsys.readouterr().out
    for words in ("Runs: nothing", "no data folder", "Initial weights: ", "to be fetched", "image-epochs", "disk"):
        assert words in out
    assert list(tmp_path.iterdir()) == []
    before, _, counted = out.partition("image-epochs")
    excluded = load_paper(paper).excluded(load_paper(paper).protocol("paper"))
    assert bool(excluded) == (paper == "arias")
    for name, reason in excluded.items():
        assert reason in before
        assert load_paper(paper).system(name).title[:44] not in counted


def calibration_of(names) -> Calibration:
    return Calibration(dict.fromkeys(names, AnyStages()), "a device", 0, False, 1.0)


class AnyStages:
    """A speed whose training takes a second."""

    memory, per_image, weights, state = GIB, 1, 1, 1

    def seconds(self, work: Work) -> float:
        return 1.0
