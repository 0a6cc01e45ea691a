"""A function called in a process of its own: its result, its error, its end."""

from __future__ import annotations

import os
import signal

import pytest

from covid_keras.common.errors import UserError
from covid_keras.training import segmenter_runs
from covid_keras.training.apart import call_apart
from papers.arias_vgg19.paper import PAPER
from tests.helpers.refusals import refused


def _answer(word: str) -> tuple[str, int]:
    if word == "error":
        raise UserError("the weights", "are missing", "Give others")
    if word == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    return word, os.getpid()


def test_a_call_apart_gives_back_what_it_found():
    word, process = call_apart("work", _answer, "found")
    assert word == "found"
    assert process != os.getpid()


@pytest.mark.parametrize(
    ("word", "told"), [("error", "^the weights: are missing"), ("killed", "^work: .*memory.*--micro-batch")]
)
def test_a_call_apart_that_fails_is_one_line(word, told):
    refused(told, call_apart, "work", _answer, word)


@pytest.mark.parametrize(("kept", "apart"), [(1, True), (4, False)])
def test_segmenters_have_a_process_each_where_executions_have(monkeypatch, tmp_path, kept, apart):
    protocol, said = PAPER.protocol("smoke", {"executions_per_process": kept}), []
    segmenters = type(PAPER.segmenters)()
    monkeypatch.setattr(segmenters, "train", lambda *given: said.append((given[-1], False)))
    monkeypatch.setattr(segmenter_runs, "call_apart", lambda name, call, *given: said.append((name, True)))
    segmenters.finish(protocol, None, tmp_path)
    assert said == [(name, apart) for name in segmenters.chosen(protocol)]
    assert said
