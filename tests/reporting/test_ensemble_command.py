"""`covid-keras ensemble`: on the committed predictions of real radiographs, and on made runs whose truth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covid_keras.commands.main import main
from covid_keras.common.errors import UserError
from covid_keras.common.files import read_json, sha256_of
from covid_keras.evaluation import compute_metrics, read_predictions, write_predictions
from covid_keras.evaluation.ensembles import average_predictions
from covid_keras.reporting.ensemble import Rule, combine_systems
from covid_keras.reporting.ensemble_members import Member, find_members, match_members
from tests.helpers.made_runs import finish

ROOT = Path(__file__).resolve().parents[2]
ARIAS = ROOT / "papers" / "arias_vgg19" / "results" / "cpu-predictions-2.csv"
POSTURE = ARIAS.with_name("cpu-predictions-4.csv")
SDNET = ROOT / "papers" / "covid_sdnet" / "results" / "cpu-predictions.csv"
CXNET = ROOT / "papers" / "covid_cxnet" / "results" / "cpu-predictions.csv"
SEEDS = CXNET.with_name("cpu-predictions-4.csv")
EQUAL = Rule(weights="equal")


# --- the committed predictions


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """The average of the three networks of Arias-Garzon's first experiment, by the command; what it said, its files."""
    out = tmp_path_factory.mktemp("three")
    found = combine_systems([str(ARIAS)], ["exp1_c", "exp1_d", "exp1_e"], out)
    return out, found.lines(), read_json(out / "ensemble.json")


def test_average_of_committed_systems_is_the_average(three):
    out, _, report = three
    frame = read_predictions(ARIAS)
    members = [
        frame[(frame["system"] == name) & (frame["split"] != "train")] for name in ("exp1_c", "exp1_d", "exp1_e")
    ]
    direct = average_predictions(members, system="ensemble_average")
    written = read_predictions(out / "predictions.csv")
    keys = ["repeat", "fold", "split", "image_id"]
    pd.testing.assert_frame_equal(
        written.sort_values(keys, ignore_index=True), direct.frame.sort_values(keys, ignore_index=True)
    )
    assert [one["weights"] for one in report["executions"]] == [one["weights"] for one in direct.facts]
    assert [one["validation_accuracy"] for one in report["executions"]] == [one["accuracy"] for one in direct.facts]
    assert report["paired_by"] == "execution"


def test_members_have_the_numbers_that_were_published(three):
    _, _, report = three
    published = read_json(ARIAS.with_name("cpu.json"))["systems"]
    for name in ("exp1_c", "exp1_d", "exp1_e"):
        for metric in ("accuracy", "sensitivity", "auc"):
            mine, theirs = report["systems"][name]["metrics"][metric], published[name]["metrics"][metric]
            assert {key: mine[key] for key in ("mean", "std", "low", "high")} == {
                key: theirs[key] for key in ("mean", "std", "low", "high")
            }


def test_report_says_what_went_in_and_how_much_better_it_is(three):
    _, lines, report = three
    assert [member["name"] for member in report["members"]] == ["exp1_c", "exp1_d", "exp1_e"]
    assert report["members"][0]["files"] == {ARIAS.name: sha256_of(ARIAS)}
    assert report["classes"] == ["no COVID-19", "COVID-19"]
    assert {"method": "average", "weights": "validation", "step": 0.05}.items() <= report.items()
    means = {name: entry["metrics"]["accuracy"]["mean"] for name, entry in report["systems"].items()}
    for one in report["differences"]:
        if one["metric"] == "accuracy":
            expected = means["ensemble_average"] - means[one["member"]]
            assert one["difference"] == pytest.approx(expected, abs=1e-5)
            assert one["low"] <= one["difference"] <= one["high"]
    assert lines[0] == "3 members, combined per execution (5): 810 images of 545 patients tested"
    assert lines[1] == "Classes: no COVID-19, COVID-19 (positive)"
    row = next(line for line in lines if line.startswith("ensemble_average"))
    assert f"{means['ensemble_average']:.1f} (" in row
    assert sum(line.startswith("minus exp1_") for line in lines) == 3
    assert sum(line.startswith("Weights in repeat 0, fold ") for line in lines) == 5
    assert lines[-1].startswith("For research only.")


def test_folds_are_put_together_where_one_member_has_none(tmp_path):
    """The pretrained network is tested on all images at once, the trained one in three folds."""
    names = ["covid_sdnet", "covid_caps_pretrained"]
    with pytest.raises(UserError, match=r"--weights validation: members are paired by repeat.* Use --weights equal"):
        combine_systems([str(SDNET)], names, tmp_path / "no")
    assert not (tmp_path / "no").exists()
    found = combine_systems([str(SDNET)], names, tmp_path / "out", EQUAL)
    frame = found.combined.frame.set_index("image_id")
    assert len(frame) == 400
    assert set(frame["split"]) == {"test"}
    both = read_predictions(SDNET)
    one, other = (
        both[(both["system"] == name) & (both["split"] == "test")].set_index("image_id")["score_P"].loc[frame.index]
        for name in names
    )
    np.testing.assert_allclose(frame["score_P"], (one + other) / 2, atol=1e-7)
    accuracy = next(m for m in found.measured if m.system == "ensemble_average" and m.metric == "accuracy")
    assert accuracy.mean == pytest.approx(compute_metrics(found.combined.frame)["accuracy"])
    assert accuracy.executions == 1


def test_a_vote_has_no_auc_and_says_what_is_left_out(tmp_path, capsys):
    arguments = ["ensemble", str(CXNET), "--systems", "hierarchical", "flat", "flat_leaky", "--method", "vote"]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert said.endswith(f"Output: {tmp_path / 'out'}\n")
    assert " auc" not in said
    assert "289 of the 361 test images of flat are left out" in said
    # The hierarchical system decides by its two levels, not by the products of their scores.
    assert "hierarchical contradict its scores on 5 of 72 images" in said
    assert "not checked for hierarchical, flat, flat_leaky" in said
    report = read_json(tmp_path / "out" / "ensemble.json")
    assert "auc" not in report["systems"]["ensemble_vote"]["metrics"]
    assert "auc" in report["systems"]["flat"]["metrics"]
    assert report["systems"]["ensemble_vote"]["executions"][0]["auc"] is None
    assert report["ties"] == "probability"
    assert "weights" not in report


def test_an_ensemble_can_be_a_member(tmp_path, three):
    mine = three[0] / "predictions.csv"
    found = combine_systems([str(mine), f"{ARIAS}:exp1_d"], out=tmp_path, rule=Rule(weights=[3, 1]))
    assert [member.name for member in found.matched.members] == ["exp1_d", "ensemble_average"]
    assert found.name == "ensemble_average_again"
    assert {tuple(one["weights"]) for one in found.combined.facts} == {(0.75, 0.25)}
    with pytest.raises(UserError, match="is an input and would be overwritten"):
        combine_systems([str(mine), f"{ARIAS}:exp1_d"], out=three[0])


# --- what the command refuses


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], ["nowhere: is neither a run folder nor a predictions file"]),
        (["."], [".: is not a run folder"]),
        ([f"{POSTURE}:exp9"], ["has no system exp9", "posture_c, "]),
        ([POSTURE], ["has the systems posture_c, ", "--systems A B C"]),
        ([POSTURE, "--systems", "posture_c", "exp9"], ["exp9: is not a system"]),
        ([POSTURE, "--systems", "posture_c"], ["ensemble: ", "at least two systems (got posture_c)"]),
        ([POSTURE, "--systems", "posture_c", "posture_c"], ["posture_c: ", "is named twice"]),
        ([f"{CXNET}:flat", POSTURE], ["has the systems posture_c"]),
        ([CXNET, POSTURE, "--systems", "flat", "flat_leaky"], ["cpu-predictions-4.csv: is not used"]),
        ([f"{SDNET}:fucitnet", f"{POSTURE}:posture_c"], ["posture_c: has the classes PA, AP, but fucitnet has N, P"]),
        ([SEEDS, "--systems", "base_v1", "cxnet_v1"], ["cannot be paired", "base_v1 10, cxnet_v1 1"]),
        ([CXNET, "--systems", "flat", "flat_leaky"], ["need validation rows of every member", "or 'equal'"]),
        ([POSTURE, "--systems", "posture_c", "posture_d", "--weights", "best"], ["--weights best: must be"]),
        ([POSTURE, "--systems", "posture_c", "posture_d", "--weights", "1,2,3"], ["weights 1, 2, 3: must be 2"]),
        ([POSTURE, "--systems", "posture_c", "posture_d", "--step", "0.3"], ["step 0.3: must divide 1"]),
        ([POSTURE, "--weights", "equal", "--method", "vote"], ["--method vote: has no weights"]),
        ([POSTURE, "--weights", "equal", "--step", "0.1"], ["--step: applies to"]),
        ([POSTURE, "--ties", "lowest"], ["--ties: applies to a vote"]),
    ],
)
def test_what_cannot_be_combined_gets_one_line(capsys, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert main(["ensemble", *map(str, arguments), "--out", "out"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("covid-keras: error: ")
    assert said.count("\n") == 1
    for word in words:
        assert word in said
    assert list(tmp_path.iterdir()) == []


def test_a_system_of_two_files_must_be_told_apart(tmp_path):
    copy = write_predictions(tmp_path / "copy.csv", read_predictions(POSTURE))
    names = ["posture_c", "posture_d"]
    with pytest.raises(UserError, match=r"posture_c: is in .*-4.csv and in .*copy.csv. Name one: .*-4.csv:posture_c"):
        find_members([str(POSTURE), str(copy)], names)
    members = find_members([f"{copy}:posture_c", f"{POSTURE}:posture_c"])
    assert [member.name for member in members] == [f"{copy}:posture_c", f"{POSTURE}:posture_c"]


# --- pairing and leaks, on made members


def _member(name: str, places: list[tuple[str, int, int, str]], known: bool = True) -> Member:
    """A member from (image, repeat, fold, split); an image a patient, named by the image's first letter and digit."""
    frame = pd.DataFrame(places, columns=["image_id", "repeat", "fold", "split"])
    frame["patient_id"] = frame["image_id"].str[:2]
    frame = frame.assign(path="", source="made", severity="", system=name)
    frame["label"] = np.where(frame["image_id"].str[1].astype(int) % 2, "P", "N")
    frame = frame.assign(predicted=frame["label"], score_N=0.5, score_P=0.5)
    frame["score_P"] = np.where(frame["label"] == "P", 0.75, 0.25)
    frame["score_N"] = 1 - frame["score_P"]
    trained = frame.loc[frame["split"] == "train", ["image_id", "patient_id", "repeat", "fold"]]
    return Member(name, frame, trained if known else None, {})


def _folds(name: str, order: list[int], repeats: int = 1, size: int = 2) -> Member:
    """A member of cross-validation over images p0 .. p5, tested two a fold in an order that turns a repeat."""
    places = []
    for repeat in range(repeats):
        turned = order[repeat:] + order[:repeat]
        for fold in range(len(order) // size):
            tested = set(turned[fold * size : fold * size + size])
            places += [(f"p{i}", repeat, fold, "test" if i in tested else "train") for i in order]
    return _member(name, places)


A, B = [0, 1, 2, 3, 4, 5], [5, 1, 3, 2, 0, 4]


@pytest.mark.parametrize(
    ("first", "second", "level", "rows"),
    [
        (_folds("a", A), _folds("b", A), "execution", 6),
        (_folds("a", A, repeats=2), _folds("b", B, repeats=2), "repeat", 12),
        (_folds("a", A), _member("b", [(f"p{i}", 3, 0, "test") for i in range(4)]), "image", 4),
        # Some images only, in the same folds: executions stay apart.
        (_folds("a", A), _member("b", [("p0", 0, 0, "test"), ("p2", 0, 1, "test")]), "execution", 2),
    ],
)
def test_executions_are_paired_as_finely_as_they_agree(first, second, level, rows):
    matched = match_members([first, second])
    assert matched.level == level
    a, b = (frame.sort_values(["repeat", "fold", "image_id"], ignore_index=True) for frame in matched.frames)
    keys = ["repeat", "fold", "image_id", "split"]
    pd.testing.assert_frame_equal(a[keys], b[keys])
    assert len(a) == rows
    assert set(a["split"]) == {"test"}


def test_executions_that_do_not_pair():
    with pytest.raises(UserError, match="tests of image p0: a 2, b 1"):
        match_members([_folds("a", A, repeats=2), _folds("b", A)])
    with pytest.raises(UserError, match="a and b have no test image in common"):
        match_members([_folds("a", A), _member("b", [("q1", 0, 0, "test")])])


def _held_out(name: str, parts: dict[str, str], known: bool = True) -> Member:
    letters = {"t": "test", "v": "validation", "r": "train"}
    places = [(image, 0, 0, letters[part]) for image, part in parts.items() if known or part != "r"]
    return _member(name, places, known)


def _both(known: bool = True) -> list[Member]:
    """Two divisions: b learned from p3, which a tests, and a from p4 and p5, which b tests."""
    first = dict(zip(("p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7"), "vtttrrvr", strict=True))
    second = dict(zip(("p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7"), "vttrttrr", strict=True))
    return [_held_out("a", first, known), _held_out("b", second, known)]


def test_an_image_that_one_learned_and_another_tests_is_refused():
    with pytest.raises(UserError, match=r"2 test images of b are in the training part of a \(p4, p5\).* --leave-out"):
        match_members(_both())
    matched = match_members(_both(), leave_out=True)
    for frame in matched.frames:
        rows = frame[["image_id", "split"]].itertuples(index=False, name=None)
        # p6 is a's validation image and b's training image: it must not choose weights.
        assert set(rows) == {("p0", "validation"), ("p1", "test"), ("p2", "test")}
    assert "1 of the 3 test images of a are left out" in matched.notes
    assert "1 test images of a are left out: they are in the training part of b" in matched.notes


def test_without_training_parts_only_what_all_test_is_tested():
    matched = match_members(_both(known=False))
    assert set(matched.frames[0].query("split == 'test'")["image_id"]) == {"p1", "p2"}
    assert any("not checked for a, b" in note for note in matched.notes)


def test_a_leak_of_a_fold_that_is_not_paired_is_none():
    # In fold 1, which b lacks, a learned from what b tests in fold 0, as in any cross-validation.
    matched = match_members([_folds("a", A), _member("b", [("p0", 0, 0, "test"), ("p1", 0, 0, "test")])])
    assert matched.level == "execution"
    assert matched.notes == ["4 of the 6 test images of a are left out"]


def test_a_leak_between_folds_put_together_is_seen():
    other = _member("b", [("p4", 0, 0, "train"), ("p0", 0, 0, "test"), ("p2", 0, 0, "test")])
    with pytest.raises(UserError, match="1 test images of a are in the training part of b"):
        match_members([_folds("a", A), other])


def test_patients_of_a_leaky_division_are_told():
    leaky = _member("b", [("p1-x", 0, 0, "test"), ("p1-y", 0, 0, "train"), ("p2-x", 0, 0, "test")])
    other = _member("a", [("p1-x", 0, 0, "test"), ("p2-x", 0, 0, "test")])
    assert "1 test images are of patients in the training part of b" in match_members([other, leaky]).notes


def test_a_class_that_is_not_tested_is_told():
    notes = match_members([_member(name, [("p1", 0, 0, "test"), ("p3", 0, 0, "test")]) for name in "ab"]).notes
    assert "no common test image is N" in notes


# --- run folders


def test_systems_of_a_run_and_of_two_runs(made, tmp_path):
    one = made.finished("one", systems=["a", "b"])
    other = made.finished("other", seed=9, systems=["a"], split={"seed": 5})
    found = combine_systems([str(one.path)], ["a", "b"], tmp_path / "first", Rule(weights="proportional"))
    assert (found.matched.level, found.matched.notes) == ("execution", [])
    report = read_json(tmp_path / "first" / "ensemble.json")
    execution = one.execution("b", 0, 1)
    name = "executions/b/repeat0-fold1/predictions.csv"
    assert report["members"][1]["files"][name] == sha256_of(execution.predictions)
    assert report["members"][1]["paper"] == "tiny"
    # Other folds of the same images: each is tested by networks that did not learn from it.
    both = combine_systems([f"{one.path}:a", f"{other.path}:a"], out=tmp_path / "second", rule=EQUAL)
    assert both.matched.level == "repeat"
    assert len(both.combined.frame) == 24
    assert [member.name for member in both.matched.members] == [f"{one.path}:a", f"{other.path}:a"]
    with pytest.raises(UserError, match=r"is a run folder. Choose another --out"):
        combine_systems([str(one.path)], ["a", "b"], one.path)


def test_a_run_knows_what_its_systems_learned_from(made, tmp_path):
    division = {"scheme": "hold_out", "folds": 1, "test": 0.4, "validation": 0.2}
    runs = [made.finished(f"run{seed}", systems=["a"], split=division | {"seed": seed}) for seed in (0, 2)]
    splits = [run.splits.set_index("image_id")["split"] for run in runs]
    expected = int(((splits[0] == "train") & (splits[1].loc[splits[0].index] == "test")).sum())
    common = int(((splits[0] == "test") & (splits[1].loc[splits[0].index] == "test")).sum())
    assert min(expected, common) > 0
    sources = [f"{run.path}:a" for run in runs]
    with pytest.raises(UserError, match=rf"{expected} test images of .*run2:a are in the training part of .*run0:a"):
        combine_systems(sources, out=tmp_path / "out", rule=EQUAL)
    found = combine_systems(sources, out=tmp_path / "out", rule=EQUAL, leave_out=True)
    assert (found.combined.frame["split"] == "test").sum() == common


def test_a_system_must_be_finished(made, tmp_path):
    run = made.run(systems=["a", "b"])
    for execution in run.executions():
        if execution.system.name == "a" or execution.fold == 0:
            finish(execution)
    with pytest.raises(UserError, match=r"1 of 2 executions of b are not finished \(b repeat 1 fold 2\)"):
        combine_systems([str(run.path)], ["a", "b"], tmp_path / "out")
