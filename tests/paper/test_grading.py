"""Grades decided from what a run really used: images by collection, settings, files, precision."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from covid_keras.common.errors import UserError
from covid_keras.evaluation import Grade
from covid_keras.paper.evidence import Evidence, count_images
from covid_keras.paper.grading import RunGrading, Used
from covid_keras.paper.protocol import load_evidence
from covid_keras.paper.registered import load_paper

SAME, REDRAWN, OTHER = Grade.REPRODUCTION, Grade.REPLICATION, Grade.STAND_IN
TABIK, CXNET, ARIAS, HERTEL = "covid_sdnet", "covid_cxnet", "arias_vgg19", "hertel_ensemble"


def graded(name: str, system: str, table: str = "", profile: str = "paper", changes=None, sources=None, **used):
    """Return grade and reason of a system whose images, unless given, are all of the paper's."""
    paper = load_paper(name)
    protocol = paper.protocol(profile, changes or {})
    whole: dict[str, Counter] = {}
    for one in paper.systems:
        if found := paper.evidence_of(one.name):
            whole[one.name] = Counter()
            for names, count in zip(found.collections, found.images.values(), strict=True):
                whole[one.name][names[0]] += count
    classes = {one.name: paper.evidence_of(one.name).classes for one in paper.systems if one.name in whole}
    used["classes"] = classes | used.get("classes", {})
    return RunGrading(paper, protocol, Used(whole | (sources or {}), **used))(system, table)


@pytest.mark.parametrize(
    ("name", "system", "grade"),
    [
        (TABIK, "resnet50_crop", SAME),
        (TABIK, "covid_sdnet", SAME),
        (TABIK, "fucitnet_no_normal_pcr", SAME),
        (TABIK, "covidnet_retrained", OTHER),
        (CXNET, "base_v2", REDRAWN),
        (CXNET, "cxnet_v1", REDRAWN),
        (CXNET, "hierarchical", REDRAWN),
        (ARIAS, "unet1", REDRAWN),
        (ARIAS, "view16", REDRAWN),
        (ARIAS, "exp1_d", REDRAWN),
        (ARIAS, "exp3_c", OTHER),
        (ARIAS, "comparison_e", REDRAWN),
        (HERTEL, "average_gr", REDRAWN),
        (HERTEL, "vote_multi", REDRAWN),
        (HERTEL, "resunet", REDRAWN),
    ],
)
def test_the_papers_own_images_and_settings(name, system, grade):
    found, reason = graded(name, system)
    assert found == grade
    assert bool(reason) == (grade != SAME)


@pytest.mark.parametrize(
    ("used", "grade", "words"),
    [
        ({"montgomery": 138, "jsrt": 240, "nih_masks": 100}, REDRAWN, "drawn anew"),
        (
            {"montgomery": 138, "jsrt": 247},
            REDRAWN,
            "378 of the paper's 478 .*jsrt 247.*nih_masks 0 instead of 100",
        ),
        ({"montgomery": 138, "jsrt": 100}, OTHER, "238 of the paper's 478"),
        ({"montgomery": 138, "jsrt": 240, "nih_masks": 100, "shenzhen": 1}, OTHER, "other collections.*shenzhen 1"),
        ({"phantom": 400}, OTHER, "synthetic"),
        ({}, OTHER, "no record"),
    ],
)
def test_a_shortfall_of_images_is_said_and_a_large_one_makes_a_stand_in(used, grade, words):
    found, reason = graded(ARIAS, "unet1", "2", sources={"unet1": used})
    assert found == grade
    assert re.search(words, reason)


@pytest.mark.parametrize(
    ("name", "system", "used", "words"),
    [
        (HERTEL, "densenet201_multi", {"covidx": 14128, "ricord": 1, "bimcv_positive": 1}, "ricord 1 instead of 922"),
        (HERTEL, "densenet201_multi", {"covidx": 30000, "ricord": 922, "bimcv_positive": 2474}, "more images"),
        (CXNET, "base_v2", {"covid_cxnet": 3, "chestxray14": 3000}, "covid_cxnet 3 instead of 400"),
        (CXNET, "base_v1", {"covid_cxnet": 300, "kermany": 1, "chestxray14": 299}, "kermany 1 instead of 151"),
        (ARIAS, "unet1", {"montgomery": 138, "nih_masks": 100, "jsrt": 100}, "jsrt 100"),
    ],
)
def test_a_collection_that_is_all_but_missing_or_far_larger_makes_a_stand_in(name, system, used, words):
    found, reason = graded(name, system, sources={system: used})
    assert found == OTHER
    assert words in reason


@pytest.mark.parametrize(
    ("name", "system", "classes", "grade"),
    [
        (TABIK, "resnet50_full", {"N": 426, "P": 426}, SAME),
        (TABIK, "resnet50_full", {"N": 400, "P": 426}, REDRAWN),
        (TABIK, "resnet50_full", {"N": 226, "P": 626}, OTHER),
        (CXNET, "flat", {"normal": 5569, "CAP": 1431, "COVID-19": 700}, OTHER),
        (HERTEL, "average_binary", {"COVID-19": 617, "no COVID-19": 13511}, OTHER),
        (ARIAS, "view19", {"frontal": 3296}, OTHER),
    ],
)
def test_each_class_must_be_close_to_the_papers_in_number(name, system, classes, grade):
    found, reason = graded(name, system, classes={system: classes})
    assert found == grade
    assert ("by class" in reason) == (grade != SAME)


def test_a_run_without_counts_by_class_is_not_judged():
    paper = load_paper(TABIK)
    grading = RunGrading(paper, paper.protocol("paper"), Used({"resnet50_full": {"covidgr": 852}}))
    assert grading("resnet50_full")[0] == OTHER


RECORD = {"sources": {"a": {"covidgr": 852}}, "classes": {}, "precision": "float32", "other_files": {}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"precision": ...}, "precision"),
        ({"classes": ...}, "classes"),
        ({"sources": {"a": {"covidgr": -5}}}, "sources.a.covidgr is -5"),
        ({"sources": {"a": {"covidgr": "852"}}}, "sources.a.covidgr"),
        ({"sources": {"a": None}}, "sources.a"),
        ({"sources": []}, "sources"),
        ({"other_files": {"vgg16": 1}}, "files.vgg16"),
    ],
)
def test_a_malformed_record_is_one_line(change, words):
    assert Used.recorded(RECORD, "smoke.json").sources == {"a": {"covidgr": 852}}
    forged = {key: value for key, value in (RECORD | change).items() if value is not ...}
    with pytest.raises(UserError, match=f"^smoke.json.*{re.escape(words)}"):
        Used.recorded(forged, "smoke.json")


@pytest.mark.parametrize(
    ("name", "lacking", "untouched", "touched"),
    [
        (CXNET, {"flat": {"covid_cxnet": 700, "chestxray14": 4931}}, "cxnet_v1", "flat"),
        (ARIAS, {"exp3_c16": {"bimcv_positive": 12802}}, "exp1_c", "exp3_c"),
        (HERTEL, {"densenet201_multi": {"covidx": 9000}}, "average_gr", "vote_multi"),
        (ARIAS, {"unet3": {"darwin_v7": 453}}, "exp1_c", "exp1_d"),
    ],
)
def test_missing_images_touch_the_systems_that_need_them_alone(name, lacking, untouched, touched):
    assert graded(name, untouched, sources=lacking)[0] == REDRAWN
    assert graded(name, touched, sources=lacking)[0] == OTHER


@pytest.mark.parametrize(
    ("name", "changes", "touched", "untouched", "words"),
    [
        (TABIK, {"size": [64, 64]}, "resnet50_crop", "covid_caps_retrained", "64 px instead of 224 px"),
        (
            TABIK,
            {"weights": "none"},
            "resnet50_full",
            "covid_caps_retrained",
            "weights none instead of imagenet",
        ),
        (TABIK, {"trainings": {"fucitnet": {"epochs": 3}}}, "covid_sdnet", "resnet50_crop", "fucitnet: epochs 3"),
        (TABIK, {"options": {"cit": {"lambda_": 0.5}}}, "fucitnet", "resnet50_crop", "cit lambda 0.5"),
        (CXNET, {"weights": "none"}, "cxnet_v1", "base_v2", "initial weights"),
        (CXNET, {"options": {"base_v1": [64, 64]}}, "base_v1_external", "base_v2", "64 px instead of 400 px"),
        (ARIAS, {"options": {"masks": "shipped"}}, "exp1_d", "exp1_c", "masks shipped instead of unet3"),
        (ARIAS, {"options": {"segmenters": {"unet1": {"epochs": 3}}}}, "unet1", "unet3", "epochs 3 instead of 200"),
        (ARIAS, {"options": {"segmenters": {"unet3": {"size": 64}}}}, "exp1_e", "exp1_c", "unet3: 64 px"),
        (HERTEL, {"options": {"ensemble": {"ties": "lowest"}}}, "vote_gr", "densenet201_gr", "ties lowest"),
        (HERTEL, {"splits": {"covidgr": {"test": 0.5}}}, "average_gr", "average_binary", "test 0.5 instead of 0.2"),
        (TABIK, {"split": {"folds": 3}}, "resnet50_crop", "covid_caps_pretrained", "folds 3 instead of 5"),
        (ARIAS, {"options": {"view": "best"}}, "exp1_c", "comparison_c", "view best instead of vgg19"),
        (ARIAS, {"options": {"view": "best"}}, "view", "view_balanced", "view best"),
    ],
)
def test_a_changed_setting_touches_who_reads_it_and_builds_on_it(name, changes, touched, untouched, words):
    before, (after, reason) = graded(name, touched), graded(name, touched, changes=changes)
    assert (before[0] != OTHER, after) == (True, OTHER)
    assert words in reason
    assert graded(name, untouched, changes=changes) == graded(name, untouched)


@pytest.mark.parametrize(
    "changes",
    [
        {"jobs": 7, "executions_per_process": 3, "quick_start": True},
        {"split": {"seed": 5}, "training": {"seed": 9}},
        {"tolerance": 50.0},
        {"training": {"optimizer": {"epsilon": 0.1}}},  # of SGD
    ],
)
def test_what_has_no_influence_on_results_leaves_the_grade(changes):
    assert graded(TABIK, "resnet50_crop", changes=changes) == (SAME, "")
    assert graded(CXNET, "base_v2", changes={"options": {"lime_samples": 5}}) == graded(CXNET, "base_v2")
    assert graded(CXNET, "base_v2", changes={"cohort": {"seed": 5}}) == graded(CXNET, "base_v2")


def test_which_images_of_a_collection_are_taken_counts():
    found, reason = graded(CXNET, "base_v2", changes={"cohort": {"children": True}})
    assert (found, "children true" in reason) == (OTHER, True)


def test_fewer_repeats_make_a_replication():
    assert graded(TABIK, "resnet50_crop", changes={"split": {"repeats": 1}}) == (REDRAWN, "repeats 1 instead of 5")
    assert graded(TABIK, "resnet50_crop", changes={"split": {"folds": 2}})[0] == OTHER


def test_statistics_of_smaller_batches_make_a_replication():
    words = "batch statistics of 4 images instead of 16"
    assert graded(TABIK, "resnet50_crop", changes={"micro_batch": 4}) == (REDRAWN, words)
    assert graded(TABIK, "resnet50_crop", changes={"micro_batch": 16}) == (SAME, "")
    name = "covidnet_pretrained"
    assert graded(TABIK, name, changes={"micro_batch": 4}) == graded(TABIK, name), "it is not trained"


def test_files_and_precision_are_said():
    files = {"vgg16": "vgg16 from another file"}
    assert graded(TABIK, "covid_sdnet", files=files) == (OTHER, "fucitnet: vgg16 from another file")
    assert graded(TABIK, "resnet50_crop", files=files) == (SAME, "")
    assert graded(TABIK, "resnet50_crop", precision="bf16") == (OTHER, "computed in bf16")
    given = {"files": {"chexnet": "/chexnet.h5"}, "weights": "none"}
    assert graded(CXNET, "cxnet_v1", changes=given)[0] == REDRAWN, "CheXNet's file is what it starts from"
    both = {"files": {"vgg16": "/vgg16.h5", "vgg19": "/vgg19.h5"}, "weights": "none"}
    assert graded(ARIAS, "comparison_c", changes=both) == graded(ARIAS, "comparison_c")
    assert graded(ARIAS, "comparison_c", changes=both, files={"vgg19": "another"})[0] == OTHER


def test_a_file_without_a_known_digest_makes_a_replication():
    given = {"files": {"resnet18": "/resnet18.npz"}}
    found, reason = graded(TABIK, "covid_sdnet", changes=given)
    assert (found, "resnet18" in reason) == (REDRAWN, True)
    assert graded(TABIK, "resnet50_crop", changes=given) == (SAME, "")


def test_another_profile_earns_its_grade():
    paper = load_paper(TABIK)
    published = paper.protocol("paper")
    changes = {"size": [224, 224], "weights": "imagenet", "options": {"batchnorm_momentum": None}}
    changes |= {"training": {"epochs": 50, "patience": 10, "optimizer": {"learning_rate": 0.001}}}
    changes |= {"split": {"folds": 5, "repeats": 5}}
    assert paper.protocol("cpu", changes).training == published.training
    assert graded(TABIK, "resnet50_crop", profile="cpu", changes=changes) == (SAME, "")
    assert graded(TABIK, "fucitnet", profile="cpu", changes=changes)[0] == OTHER


def test_collections_that_stand_for_each_other_are_counted_once():
    both = Evidence(("net",), {"a": 151, "a or b": 149})
    assert count_images(both, {"a": 160, "b": 140}).differences == ()
    assert count_images(both, {"b": 300}).found == 149
    assert count_images(both, {"a": 300}).found == 300


@pytest.mark.parametrize(
    "entry", ["{systems: [], images: {a: 1}}", "{systems: [a], images: {a: 0}}", "{images: {a: 1}}"]
)
def test_evidence_is_validated(tmp_path, entry):
    path = tmp_path / "protocol.yaml"
    path.write_text(f"evidence:\n  - {entry}\n")
    with pytest.raises(UserError, match="evidence"):
        load_evidence(path)
