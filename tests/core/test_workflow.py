"""What `reproduce` decides before any work is done."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest

from covid_keras.errors import UserError
from covid_keras.training.experiment import load_paper
from covid_keras.training.published_weights import IMAGENET_NOTOP_MD5
from covid_keras.workflow import choose_profile, counted, judged


@pytest.fixture
def paper():
    return load_paper("tabik")


def test_departures_from_the_protocol_are_not_comparable(paper):
    written = paper.protocol("paper")
    assert judged(written, written, "float32").comparable is True
    changed = paper.protocol("paper", {"weights": "none"})
    assert judged(changed, written, "float32").comparable == "initial weights none in place of imagenet"
    assert judged(written, written, "bf16").comparable == "computed in bf16"
    small = paper.protocol("cpu")
    assert judged(small, small, "fp16").comparable == f"{small.comparable}; computed in fp16"


def test_keras_own_file_counts_as_imagenet(paper, tmp_path, monkeypatch):
    file = tmp_path / "any_name.h5"
    file.write_bytes(b"weights")
    changed, written = paper.protocol("paper", {"weights": str(file)}), paper.protocol("paper")
    assert judged(changed, written, "float32").comparable == "initial weights any_name.h5 in place of imagenet"
    digest = hashlib.md5(b"weights").hexdigest()
    monkeypatch.setattr("covid_keras.training.published_weights.IMAGENET_NOTOP_MD5", {digest: "ResNet50"})
    assert judged(changed, written, "float32").comparable is True


def test_the_md5_is_keras_own():
    from keras.src.applications.resnet import WEIGHTS_HASHES

    assert WEIGHTS_HASHES["resnet50"][1] in IMAGENET_NOTOP_MD5


def test_a_part_of_the_collection_is_not_the_papers_data(paper, monkeypatch, capsys):
    protocol = paper.protocol("paper")
    counts = [("images", 852, 100), ("positives", 426, 426)]
    monkeypatch.setattr("covid_keras.workflow.check_source", lambda name, data: counts)
    found = counted(paper, protocol, Path("/data"))
    assert found.comparable == "not the whole collection: 100 of 852 images of covidgr"
    assert "expected 852, found 100" in capsys.readouterr().out
    monkeypatch.setattr("covid_keras.workflow.check_source", lambda name, data: counts[1:])
    assert counted(paper, protocol, Path("/data")).comparable is True
    assert counted(paper, paper.protocol("smoke"), None).comparable == "synthetic images"


def test_a_data_folder_that_holds_nothing_does_not_end_in_the_phantom(paper, tmp_path):
    assert choose_profile(paper, tmp_path) == "smoke"
    with pytest.raises(UserError, match=r"holds the images of no profile of covid_sdnet \(paper: no COVIDGR-1.0"):
        choose_profile(paper, tmp_path, asked=True)
    only = dataclasses.replace(paper, available=lambda protocol, data: None)
    assert choose_profile(only, tmp_path, asked=True) == "paper"
