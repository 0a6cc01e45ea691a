"""Initial weights: which files the systems need, where they are, and one line for all that cannot be had."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest

from covid_keras.common.errors import UserError
from covid_keras.models import registry
from covid_keras.models.fetching import keras_cache
from covid_keras.paper import initial_weights
from covid_keras.paper.initial_weights import needed_imagenet, provide_weights, weights_found
from covid_keras.paper.registered import load_paper
from tests.helpers.refusals import refused

NEEDED = {
    "tabik": {"resnet50_notop", "vgg16_notop", "resnet50v2_notop"},
    "haghanifar": {"densenet121_notop", "resnet50_top"},
    "arias": {"vgg16_notop", "vgg19_notop"},
    "hertel": {"densenet201_notop", "resnet152_notop", "vgg19_notop"},
}


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Return Keras' cache and the folder of weight files, both empty; nothing can be downloaded."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv(registry.VARIABLE, str(tmp_path / "store"))

    def fails(item, folder, **named):
        raise UserError(item.url, "cannot be reached", "Check the network")

    monkeypatch.setattr("covid_keras.data.download.download", fails)
    return tmp_path / "keras" / "models", tmp_path / "store"


def put(folder, name, monkeypatch):
    """Write a made file under a registered name, and register its digest."""
    entry = dataclasses.replace(registry.get_entry(name), md5=hashlib.md5(name.encode()).hexdigest())
    monkeypatch.setitem(registry.load_registry(), name, entry)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / entry.file).write_bytes(name.encode())
    return entry


@pytest.mark.parametrize("name", NEEDED)
def test_each_network_has_the_option_that_its_paper_takes(name):
    paper = load_paper(name)
    protocol = paper.protocol("paper")
    needed = needed_imagenet(paper, protocol, protocol.systems)
    assert set(needed) == NEEDED[name]
    for registered, option in needed.items():
        if option.startswith("--checkpoint "):
            given = option.split()[1].partition("=")[0]
            changed = paper.protocol("paper", {"files": {given: "/a/file"}})
            assert registered not in needed_imagenet(paper, changed, protocol.systems)
        else:
            assert option == "--weights FILE"
            assert registered not in needed_imagenet(
                paper,
                paper.protocol("paper", {"weights": "/f"}),
                ["resnet50"] if name == "haghanifar" else ["resnet50_full"],
            )
    assert needed_imagenet(paper, dataclasses.replace(protocol, weights="none"), protocol.systems) == {}


def test_all_that_is_missing_is_named_at_once(places):
    paper = load_paper("hertel")
    protocol = paper.protocol("paper")
    refused(
        "densenet201_notop .*densenet201_weights.*https://.*--checkpoint densenet201=FILE.*"
        "resnet152_notop .*--checkpoint resnet152=FILE.*vgg19_notop",
        provide_weights, paper, protocol, protocol.systems,
    )  # fmt: skip


@pytest.mark.parametrize("place", [0, 1], ids=["Keras' cache", "weights folder"])
def test_a_file_at_hand_is_used_where_it_is(places, monkeypatch, place):
    paper = load_paper("arias")
    protocol = paper.protocol("paper")
    entry = put(places[place], "vgg16_notop", monkeypatch)
    (found,) = weights_found(paper, protocol, ["view16"])
    assert str(places[place]) in found
    provide_weights(paper, protocol, ["view16"])
    assert (keras_cache() / entry.file).read_bytes() == b"vgg16_notop"
    (found,) = weights_found(paper, protocol, ["view19"])
    assert "to be fetched" in found
    assert "--checkpoint vgg19=FILE" in found


def test_what_is_fetched_lies_in_keras_cache(places, monkeypatch):
    paper, fetched = load_paper("arias"), []
    monkeypatch.setattr(
        "covid_keras.models.fetching.fetch_weights", lambda entry, folder: fetched.append((entry.name, folder))
    )
    provide_weights(paper, paper.protocol("paper"), ["view19", "view16"])
    assert fetched == [("vgg19_notop", places[0]), ("vgg16_notop", places[0])]
    assert initial_weights.find_cached(registry.get_entry("vgg19_notop")) is None
