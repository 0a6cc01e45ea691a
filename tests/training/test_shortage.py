"""Memory that runs out, in whatever stage: one line with the remedy, and what was finished stays."""

from __future__ import annotations

import keras
import pytest
import tensorflow as tf

from covid_keras.commands import papers
from covid_keras.commands.reproduce import naming_done
from covid_keras.common.errors import UserError
from covid_keras.common.memory import naming_shortage
from covid_keras.training.schedulers import run_executions
from tests.helpers.command import fails
from tests.helpers.discs import make_discs
from tests.helpers.executions import finish
from tests.helpers.refusals import refused
from tests.training.test_segmenters import KIND, TINY, train_segmenter

TENSOR = "OOM when allocating tensor with shape[16,64,9,9] and type float on /job:localhost/device:GPU:0 by allocator"
EXHAUSTED = tf.errors.ResourceExhaustedError(None, None, f"Graph execution error:\n{TENSOR}\n\t [[{{{{node a}}}}]]")
CUDA = tf.errors.InternalError(None, None, "Failed to create a stream: CUDA_ERROR_OUT_OF_MEMORY: out of memory")
FULL = tf.errors.ResourceExhaustedError(None, None, "/tmp/x; No space left on device")
SHORTAGES = pytest.mark.parametrize("error", [MemoryError(), EXHAUSTED, CUDA], ids=["host", "tensor", "cuda"])


def _raise(error: Exception):
    def called(*given, **named):
        raise error

    return called


@SHORTAGES
def test_a_command_without_memory_ends_in_one_line(monkeypatch, capsys, error):
    monkeypatch.setattr(papers, "run", _raise(error))
    text = fails(capsys, "papers")
    assert "ran out of memory" in text
    assert ("16,64,9,9 on GPU:0" in text) == (error is EXHAUSTED)


def test_what_tensorflow_raises_is_known():
    """More than any machine can address."""
    found = pytest.raises(UserError, match=r"^a: ran out of memory for a tensor of .* on CPU:0\. b\.$")
    with found, naming_shortage("a", "b"):
        tf.zeros((2**28, 2**27))


@pytest.mark.parametrize("error", [ValueError("out of memory"), FULL, KeyboardInterrupt()])
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error)), naming_shortage("a", "b"):
        raise error


@SHORTAGES
@pytest.mark.parametrize("stage", ["fit", "predict"])
def test_an_execution_without_memory_names_the_remedy_and_leaves_the_others(make_run, monkeypatch, error, stage):
    run = make_run("run", training={"epochs": 1})
    first = finish(run.execution("a", 0, 0))
    monkeypatch.setattr(keras.Model, "fit", lambda self, *given, **named: None)
    monkeypatch.setattr(keras.Model, stage, _raise(error))
    monkeypatch.setattr("covid_keras.training.resume.ResumableTraining.restore_best", lambda self, model: None)
    refused(r"^a repeat 1 fold 2: training failed.*ran out of memory.*--micro-batch", run_executions, run)
    assert first.done
    assert not run.execution("a", 0, 1).done


def test_the_command_that_reports_what_is_done_is_named(make_run):
    run, error = make_run("run"), UserError("a", "ran out of memory", "Lower --jobs")
    assert naming_done(error, run) is error
    finish(run.execution("a", 0, 0))
    assert f"1 finished executions: covid-keras report {run.path}." in str(naming_done(error, run))


@SHORTAGES
def test_a_segmenter_without_memory_names_the_remedy(tmp_path, monkeypatch, error):
    monkeypatch.setattr(keras.Model, "fit", _raise(error))
    cohort, split = make_discs(tmp_path)
    words, folder = "^disc: ran out of memory.*--micro-batch", tmp_path / "disc"
    refused(words, train_segmenter, KIND, "disc", TINY, cohort, split, folder)
