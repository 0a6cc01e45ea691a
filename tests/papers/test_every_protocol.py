"""The protocols of all papers: their profiles, what `paper` sets as the paper has it, and what is refused."""

from __future__ import annotations

import dataclasses
import importlib
import json
import typing
from collections.abc import Iterator
from functools import reduce
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from covid_keras.paper import load_paper
from covid_keras.paper.protocol import Protocol
from tests.helpers.refusals import refused

# Each paper's further names, the kinds of cohort of its profiles, the folds of profile `cpu`, and the tolerance.
PROFILES = {
    "arias_vgg19": (("arias", "arias-garzon"), ["published", "stand_in", "phantom"], 5, 1.0),
    "covid_cxnet": (("haghanifar",), ["radiographs", "radiographs", "phantom"], 1, 1.0),
    "covid_sdnet": (("tabik",), ["covidgr", "stand_in", "phantom"], 3, 2.0),
    "hertel_ensemble": (("hertel",), ["published", "stand_in", "phantom"], 1, 1.0),
}
STILL = {"augmentation.rotation": 0, "augmentation.flip": False, "augmentation.vertical_flip": False}


def options_of(protocol):
    return importlib.import_module(f"papers.{protocol.paper}.settings").options_of(protocol)


def found(value, settings: dict) -> dict:
    """Return what the settings named by dotted paths are."""
    return {path: reduce(getattr, path.split("."), value) for path in settings}


@pytest.mark.parametrize("name", PROFILES)
def test_the_three_profiles_load_the_most_demanding_first(name):
    paper, (aliases, kinds, folds, tolerance) = load_paper(name), PROFILES[name]
    assert all(load_paper(alias) is paper for alias in aliases)
    protocols = [paper.protocol(profile) for profile in paper.profiles]
    assert [one.profile for one in protocols] == ["paper", "cpu", "smoke"]
    assert [one.cohort["kind"] for one in protocols] == kinds
    for protocol in protocols:
        assert (protocol.paper, protocol.tolerance) == (name, tolerance)
        if protocol.profile != "paper":  # which may need weight files
            paper.check(protocol)
        for system in map(paper.system, protocol.systems):
            assert system.repeats(protocol) >= 1
    assert protocols[1].split.folds == folds


@pytest.mark.parametrize("name", ["arias_vgg19", "hertel_ensemble"])
@pytest.mark.parametrize("profile", ["cpu", "smoke"])
def test_other_profiles_have_narrower_networks(name, profile):
    assert options_of(load_paper(name).protocol(profile)).width < 1


@pytest.mark.parametrize(
    ("name", "protocol", "options"),
    [
        (
            "arias_vgg19",
            {"size": (224, 224), "weights": "imagenet", "cohort": {"kind": "published", "padchest": [2481, 815],
                                                                    "jsrt": 240, "seed": 2021}},
            {"standardise": "global", "width": 1.0, "pool5": 2, "kernel_bug": False, "channels": "authors",
             "masks": "unet3", "threshold": 0.3},
        ),
        (
            "covid_cxnet",
            {"size": (320, 320), "weights": "imagenet", "split.repeats": 10},
            {"frame": (320, 320), "base_v1": (400, 400), "base_v2": (320, 320), "overflow": "clip",
             "order": ("beasf", "clahe", "original"), "roi.dilate": (5, 3), "roi.margin_pixels": 10,
             "batchnorm_momentum": None},
        ),
        (
            "covid_sdnet",
            {"size": (224, 224), "weights": "imagenet", "split.repeats": 5, "split.folds": 5,
             "split.validation": 0.1, "split.duplicates": True, "split.leaky_as_published": False},
            {"batchnorm_momentum": None},
        ),
        (
            "hertel_ensemble",
            {"size": (256, 256), "weights": "imagenet"},
            {"masks": "resunet", "pooling": "average", "statistics": "frozen", "width": 1.0, "shallow": False,
             "batchnorm_momentum": None, "ensemble.weights": "validation", "ensemble.step": 0.05,
             "ensemble.ties": "probability",
             "segmenter": {"filters": 64, "size": 256, "epochs": 45, "batch_size": 16, "learning_rate": 1e-3}},
        ),
    ],
)  # fmt: skip
def test_the_paper_profile_is_the_papers(name, protocol, options):
    given = load_paper(name).protocol("paper")
    assert found(given, protocol) == protocol
    assert found(options_of(given), options) == options


@pytest.mark.parametrize(
    ("name", "systems", "settings"),
    [
        (
            "arias_vgg19",
            ("view16", "view19", "exp1_c16", "exp2_d19", "exp3_e16", "comparison_c19"),
            STILL | {"epochs": 30, "batch_size": 64, "optimizer.name": "adam", "optimizer.learning_rate": 1e-4,
             "monitor": "val_accuracy", "class_weights": "none", "label_smoothing": 0.0, "patience": 30,
             "augmentation.zoom": (1.0, 1.0)},
        ),
        (
            "covid_sdnet",
            ("resnet50_full", "resnet50_crop"),
            {"epochs": 50, "batch_size": 16, "patience": 10, "monitor": "val_accuracy", "optimizer.name": "sgd",
             "optimizer.learning_rate": 1e-3, "optimizer.momentum": 0.9, "optimizer.nesterov": True,
             "optimizer.decay": 1e-6, "augmentation.rotation": 0, "augmentation.shear": 0, "augmentation.flip": False,
             "augmentation.shift": (0, 0), "augmentation.zoom": (1, 1)},
        ),
        # What is not the paper's is trained as long.
        ("arias_vgg19", ("view_balanced", "posture_c", "finding_e"),
         {"class_weights": "balanced", "epochs": 30, "batch_size": 64}),
        ("arias_vgg19", ("source_d",), {"class_weights": "none", "epochs": 30, "batch_size": 64}),
        (
            "hertel_ensemble",
            tuple(f"{name}_{task}" for name in ("densenet201", "resnet152", "vgg19") for task in ("multi", "gr5")),
            {"epochs": 5, "batch_size": 32, "monitor": "val_accuracy", "optimizer.name": "adam",
             "optimizer.learning_rate": 1e-3, "optimizer.epsilon": 1e-7, "optimizer.decay": 0,
             "class_weights": "balanced", "label_smoothing": 0.0, "augmentation.rotation": 15.0,
             "augmentation.shift": (0.15, 0.15), "augmentation.shear": 0.15, "augmentation.zoom_range": (0.85, 1.15),
             "augmentation.flip": True, "augmentation.vertical_flip": False, "augmentation.fill": "nearest",
             "augmentation.zoom": (1.0, 1.0), "augmentation.keep_aspect": False},
        ),
        *(
            (
                "covid_cxnet",
                (system,),
                {"epochs": epochs, "batch_size": batch, "optimizer.learning_rate": rate, "optimizer.name": "adam",
                 "label_smoothing": smoothing, "class_weights": weights,
                 "monitor": "val_accuracy" if system == "base_v1" else "val_loss",
                 "augmentation.rotation": 170 if smoothing else 90, "augmentation.flip": True,
                 "augmentation.vertical_flip": True,
                 # ImageDataGenerator's zoom [0.8, 1.5] is a factor of the field of view.
                 "augmentation.zoom": (0.667, 1.25) if smoothing else (1.0, 1.0)},
            )
            for system, epochs, batch, rate, smoothing, weights in (
                ("base_v1", 100, 32, 1e-3, 0.0, "none"),
                ("base_v2", 120, 32, 1e-3, 0.0, "balanced"),
                ("cxnet_v1", 10, 16, 1e-3, 0.0, "balanced"),
                ("cxnet_v2", 10, 16, 1e-3, 0.1, "balanced"),
                ("flat", 30, 16, 1e-4, 0.1, "balanced"),
                ("level1", 10, 16, 1e-4, 0.1, "none"),
                ("level2", 20, 16, 1e-4, 0.1, "none"),
            )
        ),
    ],
)  # fmt: skip
def test_the_paper_profile_trains_as_the_paper(name, systems, settings):
    paper = load_paper(name)
    for system in systems:
        assert found(paper.system(system).training(paper.protocol("paper")), settings) == settings, system


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("arias_vgg19", {"pool": 8}, r"unknown key 'pool'.*Did you mean 'pool5'"),
        ("arias_vgg19", {"standardise": "both"}, r"options\.standardise is 'both'"),
        ("arias_vgg19", {"masks": "unet4"}, r"options\.masks is 'unet4'"),
        ("arias_vgg19", {"channels": "rgb"}, r"options\.channels is 'rgb'"),
        ("arias_vgg19", {"width": "narrow"}, r"options\.width is 'narrow'"),
        ("covid_cxnet", {"fram": [1, 1]}, r"unknown key 'fram'.*Did you mean 'frame'"),
        ("covid_cxnet", {"roi": {"dilat": [5, 3]}}, r"unknown key 'dilat' in options\.roi.*Did you mean 'dilate'"),
        ("covid_cxnet", {"baselines": {"size": 96}}, r"unknown key 'size' in options\.baselines"),
        ("covid_cxnet", {"roi": {"mode": "author"}}, r"options\.roi\.mode is 'author'"),
        ("covid_cxnet", {"overflow": "wraps"}, r"options\.overflow is 'wraps'"),
        ("covid_sdnet", {"covidnet": {"variant": "d"}}, r"options\.covidnet\.variant is 'd'"),
        ("hertel_ensemble", {"pool": "max"}, r"unknown key 'pool'.*Did you mean 'pooling'"),
        ("hertel_ensemble", {"pooling": "max"}, r"options\.pooling is 'max'"),
        ("hertel_ensemble", {"masks": "unet"}, r"options\.masks is 'unet'"),
        ("hertel_ensemble", {"statistics": "fixed"}, r"options\.statistics is 'fixed'"),
        ("hertel_ensemble", {"ensemble": {"weights": "best"}}, r"options\.ensemble\.weights is 'best'"),
        ("hertel_ensemble", {"ensemble": {"ties": "first"}}, r"options\.ensemble\.ties is 'first'"),
        ("hertel_ensemble", {"ensemble": {"stepp": 0.1}}, r"'stepp' in options\.ensemble.*Did you mean 'step'"),
    ],
)
def test_unknown_options_are_named(name, options, words):
    protocol = load_paper(name).protocol("smoke", {"options": options})
    refused(words, options_of, protocol)


ARIAS, HERTEL = "arias_vgg19", "hertel_ensemble"


@pytest.mark.parametrize(
    ("name", "profile", "changes", "words"),
    [
        *(
            (name, *rest)
            for name, networks in ((ARIAS, "VGG16.*VGG19"), (HERTEL, "three networks"))
            for rest in (
                ("paper", {"options": {"width": 0.5}}, r"options\.width 0\.5.*initial weights"),
                ("cpu", {"weights": "imagenet"}, r"options\.width 0\.25.*initial weights"),
                ("cpu", {"files": {"vgg19": "/a.h5"}}, r"options\.width 0\.25.*initial weights"),
                ("paper", {"weights": "/a.h5"}, rf"--weights a\.h5.*{networks}"),
                ("paper", {"files": {"vgg19": __file__}}, r"test_every_protocol\.py: .*HDF5"),
                ("cpu", {"size": [64, 31]}, r"size \(64, 31\).*too small"),
            )
        ),
        (ARIAS, "cpu", {"options": {"pool5": 8}}, r"too small.* 8\b"),
        (ARIAS, "smoke", {"size": [64, 31]}, r"too small.* 2\b"),
        (HERTEL, "paper", {"weights": "none"}, r"options\.statistics frozen.*DenseNet-201"),
        (HERTEL, "cpu", {"training": {"unfreeze": {"scratch": 0}}}, "statistics of DenseNet-201"),
        (HERTEL, "cpu", {"training": {"unfreeze": {"epochs": 0, "scratch": 0}}}, "statistics of DenseNet-201"),
        (HERTEL, "cpu", {"trainings": {"resnet152": {"unfreeze": {"scratch": 0}}}}, "statistics of ResNet-152"),
    ],
)
def test_settings_that_exclude_each_other_are_named(name, profile, changes, words):
    paper = load_paper(name)
    refused(words, paper.check, paper.protocol(profile, changes))


@pytest.mark.parametrize(
    ("name", "profile", "changes"),
    [
        (ARIAS, "paper", {}),
        (ARIAS, "paper", {"options": {"pool5": 8}}),
        (ARIAS, "paper", {"weights": "none", "options": {"width": 0.5}}),
        (ARIAS, "smoke", {"size": [32, 32]}),
        (HERTEL, "paper", {"weights": "none", "options": {"statistics": "trained"}}),
        (HERTEL, "paper", {"weights": "none", "training": {"unfreeze": {"scratch": 3}}}),
        (HERTEL, "paper", {"weights": "none", "options": {"width": 0.5, "statistics": "trained"}}),
        (HERTEL, "paper", {"options": {"pooling": "flatten"}, "training": {"augmentation": {"shear": 15.0}}}),
        (HERTEL, "cpu", {"size": [32, 32]}),
    ],
)
def test_settings_that_go_together_pass(name, profile, changes):
    paper = load_paper(name)
    paper.check(paper.protocol(profile, changes))


def schemas() -> Iterator[type]:
    """Yield the dataclasses of settings: the protocol's, and each paper's options, cohorts and segmenters."""
    yield Protocol
    for name in (*PROFILES, "head_to_head"):
        yield from load_paper(name).cohorts.kinds.values()
        if name in PROFILES:
            yield importlib.import_module(f"papers.{name}.settings").Options
    for place in ("arias_vgg19.settings", "hertel_ensemble.segmenter"):
        yield importlib.import_module(f"papers.{place}").SegmenterSettings


def settings_in(schema: type, above: str) -> Iterator[tuple[str, Any]]:
    """Yield dotted path and annotation of each setting, also of dataclasses inside; free mappings have none."""
    for name, hint in typing.get_type_hints(schema, include_extras=True).items():
        inner = [
            one for one in (hint, *typing.get_args(hint)) if isinstance(one, type) and dataclasses.is_dataclass(one)
        ]
        if inner:
            yield from settings_in(inner[0], f"{above}.{name}")
        elif "Any" not in str(hint) and "ClassVar" not in str(hint):
            yield f"{above}.{name}", hint


@pytest.mark.parametrize("schema", schemas(), ids=lambda one: f"{one.__module__}.{one.__name__}")
def test_every_number_of_a_protocol_is_bounded(schema):
    for _, hint in settings_in(schema, schema.__name__):
        adapter = TypeAdapter(hint)
        for number in (10**18, -(10**18), 1e30, -1e30):
            for value in (number, [number], [number] * 2, {"x": number}, {"x": {"x": number}}):
                with pytest.raises(ValidationError):
                    adapter.validate_json(json.dumps(value), strict=True)


@pytest.mark.parametrize("value", ["-1", "null", "[]", "x"])
def test_options_of_another_paper_are_a_mapping(value):
    given = {"options": {"covid_cxnet": {"-1": -1, "null": None, "[]": [], "x": "x"}[value]}}
    refused("options.covid_cxnet must be a mapping", load_paper("head_to_head").protocol, "smoke", given)
