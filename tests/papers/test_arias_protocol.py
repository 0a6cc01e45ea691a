"""Arias-Garzón et al.: `paper` is the paper's, its division, its accuracy, its U-Nets; typing errors are named."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from covid_keras.common.errors import UserError
from covid_keras.common.files import write_json
from covid_keras.data.images import read_mask
from covid_keras.evaluation.metrics import confusion_matrix
from covid_keras.training.division import make_splits
from covid_keras.training.runfolder import RunFolder
from covid_keras.training.segmenter_runs import STAGES, cache_of
from papers.arias_vgg19 import stages
from papers.arias_vgg19.experiments import CONTROLS, EXPERIMENTS, PARTS
from papers.arias_vgg19.measures import faulty_accuracy, measure
from papers.arias_vgg19.networks import VERDICTS
from papers.arias_vgg19.overlap import OVERLAP, RECORD
from papers.arias_vgg19.paper import PAPER
from papers.arias_vgg19.settings import UNETS
from tests.helpers.collections import make_jsrt, make_montgomery, make_nih_masks
from tests.helpers.divisions import cohort_of, divided, shares_of

CHOSEN = ("view", *(f"{name}_{part}" for name in EXPERIMENTS for part in PARTS))
TINY = {"cohort": {"covid": 8, "other": 6, "normal": 6, "pneumonia": 4, "size": 32}, "systems": ["view"]}
# Patients of whom each part gets every label.
ENOUGH = {"covid": 24, "other": 16, "normal": 14, "pneumonia": 14, "size": 32}


# --- the paper's own


def test_the_paper_profile_runs_every_row_of_the_paper():
    protocol = PAPER.protocol("paper")
    rows = {name for chosen in (*CHOSEN, *UNETS) for name in (*PAPER.chain(chosen), chosen)}
    assert rows < set(protocol.systems)
    assert set(protocol.systems) - rows == {"view_balanced", *(f"{name}_{part}" for name in CONTROLS for part in PARTS)}


def test_the_papers_u_nets():
    protocol = PAPER.protocol("paper")
    assert list(stages.SEGMENTERS.settings(protocol)) == list(UNETS)
    for name, filters in zip(UNETS, (16, 112, 64), strict=True):
        settings = stages.SEGMENTERS.settings(protocol)[name]
        assert (settings.filters, settings.size, settings.epochs, settings.batch_size) == (filters, 224, 200, 64)
        assert (settings.form, settings.learning_rate) == ("published", 1e-3)
        assert (settings.threshold, settings.standardise) == (0.3, "global"), "those of the whole"


@pytest.mark.parametrize("profile", ["paper", "cpu"])
def test_three_fifths_are_trained_on_a_fifth_chooses_a_fifth_is_tested(profile):
    protocol, cohort = PAPER.protocol(profile), cohort_of(("a", "b", "c"), 300)
    table = divided(protocol, "", cohort)
    folds = 5 if profile == "cpu" else 1
    assert set(table["fold"]) == set(range(folds))
    for _, one in table.groupby("fold"):
        for label, shares in shares_of(one).items():
            assert shares == pytest.approx({"train": 0.6, "validation": 0.2, "test": 0.2}, abs=0.03), label
        parts = one.merge(cohort.table[["image_id", "patient_id"]]).groupby("patient_id")["split"].nunique()
        assert (parts == 1).all()
    tested = table[table["split"] == "test"]["image_id"]
    assert tested.is_unique
    if folds == 5:
        assert len(tested) == len(cohort), "each image is tested once"


@pytest.mark.parametrize(
    ("segmenters", "words"),
    [
        ({"unet4": {"filters": 8}}, r"unknown key 'unet4' in options\.segmenters"),
        ({"unet1": {"filers": 8}}, r"unknown key 'filers' in options\.segmenters\.unet1.*Did you mean 'filters'"),
        ({"unet3": {"form": "ours"}}, r"options\.segmenters\.unet3\.form is 'ours'"),
    ],
)
def test_wrong_u_nets_are_named_before_the_first_training(segmenters, words):
    protocol = PAPER.protocol("smoke", {"options": {"segmenters": segmenters}})
    with pytest.raises(UserError, match=words):
        stages.SEGMENTERS.settings(protocol)
    with pytest.raises(UserError, match=words):
        PAPER.check(protocol)


# --- what the paper calls accuracy


def test_the_accuracy_of_the_metric_tables_is_a_slip():
    """Experiment 1, part c: the only whole numbers near its printed sensitivity, specificity and F1."""
    confusion = np.array([[1084, 144], [97, 3357]])
    assert round(float(faulty_accuracy(confusion)) / 100, 3) == 0.939
    assert round(np.trace(confusion) / confusion.sum(), 3) == 0.949
    assert round(3357 / (3357 + 97), 3) == 0.972
    stack = np.stack([confusion, confusion.T, 2 * confusion])
    found = faulty_accuracy(stack)
    assert found[0] == found[2] == pytest.approx(100 * 4441 / (4441 + 2 * 144))
    assert found[1] == pytest.approx(100 * 4441 / (4441 + 2 * 97)), "false positives count, in the second column"


def _predictions(system: str, **answers: list[str]) -> pd.DataFrame:
    """Predictions of parts as words of two letters, truth and answer: n or p."""
    rows = [(part, *word) for part, words in answers.items() for word in words]
    frame = pd.DataFrame(rows, columns=["split", "label", "predicted"])
    frame["image_id"] = frame["patient_id"] = [f"{system}{number}" for number in range(len(frame))]
    frame = frame.assign(path="", source="", severity="", system=system, repeat=0, fold=0)
    frame["score_n"] = np.where(frame["predicted"] == "n", 0.9, 0.1)
    return frame.assign(score_p=1 - frame["score_n"])


def test_what_is_measured_beside_the_usual_metrics():
    trained = {"train": ["nn", "pp", "pp", "pn"], "validation": ["nn", "np"], "test": ["nn", "np", "np", "pp", "pn"]}
    chosen = {part: trained[part] for part in ("validation", "test")}
    frame = pd.concat([_predictions("a", **trained), _predictions("b", **chosen)], ignore_index=True)
    found = {(one.system, one.metric): one.mean for one in measure(frame)}
    usual = ["accuracy_faulty", "balanced_accuracy", "weighted_precision", "weighted_recall", "weighted_f1"]
    assert sorted(found) == sorted(
        [*(("a", name) for name in (*usual, "accuracy_train", "accuracy_validation")), *(("b", name) for name in usual)]
    )
    test = frame[(frame["split"] == "test") & (frame["system"] == "a")]
    assert confusion_matrix(test["label"], test["predicted"], labels=["n", "p"]).tolist() == [[1, 2], [1, 1]]
    expected = {"accuracy_faulty": 100 * 2 / 6, "balanced_accuracy": 100 * (1 / 3 + 1 / 2) / 2, "weighted_recall": 40}
    expected |= {"accuracy_train": 75, "accuracy_validation": 50}
    assert {name: found["a", name] for name in expected} == pytest.approx(expected)
    assert found["b", "accuracy_faulty"] == found["a", "accuracy_faulty"], "of the test part alone"


# --- the U-Nets of a run


def _folder(tmp_path, name: str = "unet1", **changes):
    return stages.SEGMENTERS.folder_of(PAPER.protocol("smoke", changes), tmp_path, name)


@pytest.mark.parametrize(
    "changes",
    [
        {"options": {"segmenters": {"unet1": {"filters": 5}}}},
        {"options": {"segmenters": {"unet1": {"seed": 5}}}},
        {"options": {"segmenters": {"unet1": {"epochs": 3}}}},
        {"options": {"standardise": "authors"}},
        {"options": {"threshold": 0.4}},
        {"cohort": {"seed": 3}},
        {"split": {"seed": 3}},
    ],
)
def test_what_decides_a_u_net_decides_its_folder(tmp_path, changes):
    assert _folder(tmp_path, **changes) != _folder(tmp_path)


def test_what_does_not_decide_it_shares_the_folder(tmp_path):
    other = {"options": {"width": 0.25, "masks": "unet3", "segmenters": {"unet3": {"filters": 6}}}}
    assert _folder(tmp_path, **other, systems=["exp1_d"], training={"epochs": 9}) == _folder(tmp_path)
    assert _folder(tmp_path, "unet3") != _folder(tmp_path)
    assert _folder(tmp_path).parent == tmp_path / STAGES


def test_the_shipped_u_net_marks_where_the_protocol_says_so(tmp_path):
    assert PAPER.segmenter(PAPER.protocol("cpu"), None, tmp_path) is None


def test_the_phantoms_u_nets_learn_from_its_frontal_images(tmp_path):
    protocol = PAPER.protocol("smoke", TINY)
    whole = PAPER.cohort(protocol, None, tmp_path / "made")
    cohort = stages.SEGMENTERS.mask_cohort(protocol, None, tmp_path)
    frontal = whole.table["view"] != "L"
    assert cohort.table["image_id"].tolist() == whole.table["image_id"][frontal].tolist()
    assert 0 < len(cohort) < len(whole)
    assert cohort.classes == ("lungs",)
    assert all(read_mask(path).any() for path in cohort.table["mask_path"])


@pytest.mark.parametrize(("profile", "words"), [("cpu", "none"), ("paper", "Montgomery")])
def test_radiographs_with_masks_that_are_missing_are_named(tmp_path, profile, words):
    protocol = PAPER.protocol(profile)
    with pytest.raises(UserError, match=rf"options of profile '{profile}': no .* in "):
        stages.SEGMENTERS.mask_cohort(protocol, tmp_path, tmp_path)
    reason = stages.SEGMENTERS.missing(protocol, tmp_path)
    assert str(tmp_path) in reason
    assert words in reason or words == "none"
    assert stages.SEGMENTERS.missing(protocol, None) == "no data folder"
    assert stages.SEGMENTERS.missing(PAPER.protocol("smoke"), None) is None
    left_out = PAPER.missing(protocol, tmp_path)
    assert [left_out[name] for name in UNETS] == [reason] * 3
    stages.SEGMENTERS.finish(protocol, tmp_path, tmp_path)  # trains none: the classifiers were not for nothing


def test_the_u_nets_learn_from_what_is_there_of_the_papers_three_collections(tmp_path, monkeypatch):
    protocol = PAPER.protocol("paper", {"cohort": {"jsrt": 1}, "systems": ["unet1"]})
    make_montgomery(tmp_path)
    assert "JSRT" in PAPER.missing(protocol, tmp_path)["unet1"]
    make_jsrt(tmp_path)
    assert PAPER.missing(protocol, tmp_path) == {}, "classifiers that are not run need nothing"
    some = PAPER.cohort(protocol, tmp_path, tmp_path / "cache" / "made")
    assert some.table["source"].value_counts().to_dict() == {"montgomery": 2, "jsrt": 1}
    make_nih_masks(tmp_path)
    cohort = PAPER.cohort(protocol, tmp_path, tmp_path / "cache" / "made")
    assert set(cohort.table["source"]) == {"montgomery", "jsrt", "nih_masks"}
    assert set(some.table["image_id"]) < set(cohort.table["image_id"]), "drawn by the seed alone"
    with pytest.raises(UserError, match="JSRT"):
        stages.SEGMENTERS.mask_cohort(PAPER.protocol("paper", {"cohort": {"jsrt": 4}}), tmp_path, tmp_path / "cache")


@pytest.fixture
def run(tmp_path) -> RunFolder:
    protocol = PAPER.protocol("smoke", {"cohort": ENOUGH, "systems": ["view", "unet1", "unet3"]})
    cohort = PAPER.cohort(protocol, None, tmp_path / "cache" / "made")
    settings = {"cache": str(tmp_path / "cache" / "prepared"), "strategy": "one", "precision": "float32"}
    return RunFolder.create(
        tmp_path / "run", protocol, cohort, lambda: make_splits(cohort, protocol, PAPER.splits_of(protocol)), settings
    )


def _pretend_trained(run: RunFolder, name: str) -> None:
    """Leave a U-Net as a finished training leaves it, as far as its measures look."""
    folder = stages.SEGMENTERS.folder_of(run.protocol, cache_of(run), name)
    rng = np.random.default_rng(len(name))
    table = pd.DataFrame({"image_id": [f"i{number}" for number in range(12)]})
    table = table.assign(patient_id=table["image_id"], part=["train"] * 8 + ["validation"] * 4)
    for measure_name in ("dice", "iou", "dice_small", "iou_small", "dice_published"):
        table[measure_name] = rng.uniform(0.6, 0.9, 12)
    table = table.assign(sum_both=30.0, sum_lung=rng.uniform(35, 40, 12), sum_probability=40.0)
    folder.mkdir(parents=True)
    table.to_csv(folder / OVERLAP, index=False)
    write_json(folder / RECORD, {"settings": {"batch_size": 3}, "path": "/home/me/masks"})


def test_what_is_published_of_the_u_nets_gives_their_measures_again(run, tmp_path):
    assert stages.SEGMENTERS.measured(run) == []
    with pytest.raises(UserError, match="unet1 is not trained yet"):
        stages.SEGMENTERS.published_files(run)
    _pretend_trained(run, "unet1")
    assert {one.system for one in stages.SEGMENTERS.measured(run)} == {"unet1"}
    with pytest.raises(UserError, match="unet3 is not trained yet"):
        stages.SEGMENTERS.published_files(run)
    _pretend_trained(run, "unet3")
    files = stages.SEGMENTERS.published_files(run)
    assert set(files) == {f"{name}/{file}" for name in ("unet1", "unet3") for file in (OVERLAP, RECORD)}
    assert "/home" not in files[f"unet1/{RECORD}"], "no folder of this machine"
    assert json.loads(files[f"unet1/{RECORD}"])["settings"] == {"batch_size": 3}
    for name, text in files.items():
        path = tmp_path / f"smoke-{name}"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert stages.SEGMENTERS.kept(tmp_path, "smoke") == stages.SEGMENTERS.measured(run)
    assert stages.SEGMENTERS.kept(tmp_path, "cpu") == []
    kinds = ("dice", "iou", "dice_published", "iou_published")
    names = {one.metric for one in stages.SEGMENTERS.measured(run)}
    assert names == {f"{kind}_{part}" for kind in kinds for part in ("train", "validation")}


SAID = "image_id,frontal,filter\na/1,0.25,{0}\na/2,0.75,{0}\n"


@pytest.mark.parametrize("fingerprint", ["01234f6789ab", "012345678901"])
def test_what_the_filter_said_is_published_fold_by_fold(run, fingerprint):
    """A fingerprint of digits alone is no number."""
    assert stages.said_by_filters(run) == ""
    execution = run.execution("view", 0, 0)
    execution.folder.mkdir(parents=True)
    (execution.folder / VERDICTS).write_text(SAID.format(fingerprint))
    rows = f"a/1,0.25,{fingerprint},0,0\na/2,0.75,{fingerprint},0,0\n"
    assert stages.said_by_filters(run) == f"image_id,frontal,filter,repeat,fold\n{rows}"
