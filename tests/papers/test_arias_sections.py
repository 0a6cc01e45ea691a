"""The sections of the report that only Arias-Garzon et al. have, from made predictions."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score

from covid_keras.evaluation import Difference, Measured, classes_of, load_published, summarise
from covid_keras.reporting.html import Section
from papers.arias_vgg19 import cohorts as labels
from papers.arias_vgg19 import figures, sections
from papers.arias_vgg19.experiment import COVID, NEGATIVE, PAPER
from papers.arias_vgg19.networks import FRONTAL_CLASS, LATERAL_CLASS, VERDICTS

FOLDS = 2
# How far apart the scores of two classes lie, in standard deviations of their logit.
STRENGTH = {"c": 2.0, "d": 0.6, "e": 3.5}
TITLE = "Experiment 1 (against pneumonia, elsewhere)"
TITLES = [
    "The view filter",
    "With lungs and without",
    "How much is the picture's frame",
    "The threshold",
    "VGG16 or VGG19",
    "Accuracy as the authors compute it",
]


def made(system: str, strength: float, shift: float = 0.0, positives: int = 10, folds: int = FOLDS) -> pd.DataFrame:
    """Predictions of 24 validation and 24 test images a fold, two images a patient; `shift` moves all logits."""
    negative, positive = PAPER.system(system).scored
    rng = np.random.default_rng(len(system))
    frames = []
    for fold in range(folds):
        truth = np.tile(np.arange(24) < positives, 2)
        score = 1 / (1 + np.exp(-(strength * (truth - 0.5) + shift + rng.normal(0, 1, 48))))
        frame = pd.DataFrame({"image_id": [f"i{fold}-{n}" for n in range(48)]})
        frame["patient_id"] = [f"p{fold}-{n // 2}" for n in range(48)]
        frame["path"] = frame["source"] = frame["severity"] = ""
        frame["system"], frame["repeat"], frame["fold"] = system, 0, fold
        frame["split"] = np.repeat(["validation", "test"], 24)
        frame["label"] = np.where(truth, positive, negative)
        frame["predicted"] = np.where(score > 0.5, positive, negative)
        frame[f"score_{negative}"], frame[f"score_{positive}"] = 1 - score, score
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def images(of_label: dict[str, list[str]], **columns: list[str]) -> pd.DataFrame:
    """A cohort's table of the ids of each label; view and source are empty unless given."""
    rows = [(name, label) for label, names in of_label.items() for name in names]
    return pd.DataFrame(rows, columns=["image_id", "label"]).assign(**({"view": "", "source": ""} | columns))


FRONTAL_IDS = [f"i{fold}-{n}" for fold in range(FOLDS) for n in range(48)]


@dataclass
class Made:
    """What the sections read of `Results`."""

    frames: dict[str, pd.DataFrame]
    folder: Path
    cohort: pd.DataFrame = field(default_factory=lambda: images({}))
    parts: dict[int, list[str]] = field(default_factory=dict)
    chosen: str = "16"
    paper = PAPER

    def __post_init__(self):
        self.systems = {name: PAPER.system(name).title for name in self.frames}
        frames = self.frames.values()
        self.measured = [one for frame in frames for one in (*summarise(frame, n=50), *PAPER.measure(frame))]
        self.published = load_published(PAPER.folder / "published.yaml")
        self.run = SimpleNamespace(
            cohort=SimpleNamespace(table=self.cohort),
            protocol=SimpleNamespace(options={}),
            part=lambda repeat, fold: pd.Series(self.parts[fold]),
        )

    def predictions_of(self, system):
        return self.frames[system]

    def executions_of(self, system):
        if system not in self.frames:
            return []
        folds = sorted(set(self.frames[system]["fold"]))
        record = {"chosen": system + self.chosen} if PAPER.system(system).choose else {}
        return [
            (SimpleNamespace(folder=self.folder / system / str(fold), repeat=0, fold=fold), record) for fold in folds
        ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Made:
    """A run of Experiment 1, two view filters and a control."""
    systems = {"view16": 1.5, "view": 1.5}
    systems |= {f"exp1_{part}{depth}": s for part, s in STRENGTH.items() for depth in ("16", "")}
    systems |= {f"source_{part}": s for part, s in STRENGTH.items()}
    frames = {name: made(name, s, positives=4 if "view" in name else 10) for name, s in systems.items()}
    # Which label an image has matters only in that all are of the collection of the filter; one is of NIH.
    cohort = images({labels.OTHER: FRONTAL_IDS, labels.PNEUMONIA: ["nih"]})
    return Made(frames, tmp_path_factory.mktemp("run"), cohort)


@pytest.fixture(scope="module")
def drawn(whole) -> list[Section]:
    return sections.make_sections(whole)


def table(entries: list[Section], title: str) -> pd.DataFrame:
    return next(entry.frame for section in entries for entry in section.tables if entry.title == title)


# --- the whole, and parts of it


def test_a_run_has_the_sections_whose_systems_it_has(whole, drawn, tmp_path):
    assert [section.title for section in drawn] == TITLES
    assert all(section.text and section.tables for section in drawn)
    for keep, titles in (
        (["view16"], TITLES[:1]),
        (["exp1_c16", "exp1_c"], TITLES[3:]),
        (["source_e"], TITLES[2:3]),
        (["exp1_c16"], []),
    ):
        part = Made({name: whole.frames[name] for name in keep}, tmp_path, whole.cohort)
        assert [section.title for section in sections.make_sections(part)] == titles


def test_figures_are_drawn_and_say_what_they_show(drawn):
    entries = {entry.title: entry.figure for section in drawn for entry in (*section.figures, *section.folded)}
    for name in (TITLE, "source within pneumonia"):
        roc, recall = entries[f"ROC of the parts: {name}"], entries[f"Precision and recall of the parts: {name}"]
        for figure, area in ((roc, "AUC"), (recall, "average precision")):
            (legend,) = figure.legends
            words = [text.get_text() for text in legend.get_texts()]
            assert [word.split(":")[0] for word in words[:3]] == ["c, whole image", "d, lungs only", "e, lungs removed"]
            assert all(area in word for word in words[:3])
    assert COVID in entries[f"Precision and recall of the parts: {TITLE}"].axes[0].get_xlabel()
    panels = [axes for axes in entries["Accuracy by threshold"].axes if axes.get_visible()]
    assert len(panels) == 3
    for figure in entries.values():
        figure.savefig(io.BytesIO(), format="svg")


# --- the view filter


def test_who_always_says_frontal_has_the_share_of_frontal_as_accuracy(whole, drawn):
    found = {one.metric: one for one in sections.always_frontal(whole.frames["view16"])}
    assert found["accuracy"].mean == pytest.approx(100 * 20 / 24)
    assert (found["specificity"].mean, found["sensitivity"].mean, found["balanced_accuracy"].mean) == (100, 0, 50)
    frame = table(drawn, "Frontal or lateral")
    assert frame["filter"].tolist() == ["always frontal", whole.systems["view16"], whole.systems["view"]]
    assert frame["accuracy (%)"][0].startswith("83.33")
    assert frame["paper, accuracy (%)"].tolist()[1] == "96.87"


def test_a_filter_of_both_collections_is_measured_where_lateral_images_are(whole, drawn, tmp_path):
    cohen = whole.frames["view16"].assign(system="view_all")
    nih = cohen[cohen["label"] == FRONTAL_CLASS].assign(predicted=LATERAL_CLASS, source="chestxray14")
    nih = nih.assign(image_id="nih" + nih["image_id"], patient_id="nih" + nih["patient_id"])
    cohort = images({labels.OTHER: FRONTAL_IDS, labels.NORMAL: list(nih["image_id"])})
    results = Made({"view_all": pd.concat([cohen, nih])}, tmp_path, cohort)
    (section,) = sections.make_sections(results)
    (entry,) = section.tables
    assert "Test images: 40 frontal and 8 lateral" in entry.caption
    always, ours = entry.frame.to_dict("records")
    wanted = table(drawn, "Frontal or lateral").to_dict("records")[1]
    recalls = ["recall of frontal (%)", "recall of lateral (%)", "balanced accuracy (%)", "AUC (%)"]
    for name in recalls:
        assert ours[name].split("\n")[0] == wanted[name].split("\n")[0]
    assert always["accuracy (%)"].startswith("83.33")
    assert "View filter, VGG16, both collections" in ours["filter"]


def test_the_truth_of_the_view_is_the_table_s_then_the_label_s_then_the_collection_s():
    table = images(
        {labels.NEGATIVE_CURATED: ["a", "b", "c", "d"], labels.COVID_LATERAL: ["e"], labels.OTHER: ["f"]}
        | {labels.NORMAL: ["g"], labels.COMPARED_NORMAL: ["h"], labels.PRE_COVID: ["i"]},
        view=["L", "PA", "AP Supine", "", "", "", "", "", None],
        source=["bimcv_negative"] * 4 + ["", "", "chestxray14", "kermany", "precovid"],
    )
    front, side, unknown = FRONTAL_CLASS, LATERAL_CLASS, sections.UNKNOWN_VIEW
    assert sections.true_views(table).tolist() == [side, front, front, unknown, side, front, front, front, unknown]


def test_what_the_filter_does_is_counted_by_the_truth_of_the_view():
    table = images({labels.NEGATIVE_CURATED: list("abcdefghi")}, view=["PA", "PA", "PA", "L", "L", "L", "L", "", ""])
    found = sections.fates(table, np.array([1, 1, 0, 0, 1, 1, 1, 0, 1], bool))
    assert list(found.values()) == [2, 1, 1, 3, 1, 1]
    with_unknown = sections.fate_table({("exp1", NEGATIVE): found}, [labels.NEGATIVE_CURATED, labels.NORMAL])
    (row,) = with_unknown.to_dict("records")
    assert row["experiment"] == "Experiment 1 (against negative, curated)"
    assert (row["offered"], row["unknown view, let through"], row["unknown view, refused"]) == ("9", "1", "1")
    assert (row["frontal let through (%)"], row["lateral refused (%)"]) == ("66.67", "25.00")


def test_only_test_images_of_the_experiments_labels_are_counted(whole, tmp_path):
    names = [labels.POSITIVE_OTHER, labels.POSITIVE_OTHER, labels.NEGATIVE_CURATED, labels.PRE_COVID, labels.LATERAL]
    views = ["PA", "L", "AP", "PA", ""]
    ids = [f"i{n}" for n in range(10)]
    cohort = pd.DataFrame({"image_id": ids, "label": names * 2, "view": views * 2, "source": "bimcv"})
    parts = {0: ["test"] * 5 + ["train"] * 5, 1: ["train"] * 5 + ["test"] * 5}
    frames = {name: whole.frames[name] for name in ("view", "exp1_c")}
    results = Made(frames, tmp_path, cohort, parts)
    for fold, lateral in ((0, 0.9), (1, 0.2)):
        (tmp_path / "view" / str(fold)).mkdir(parents=True)
        # The images of the other fold's test part are called otherwise: they must not be counted here.
        score = np.where([one == "test" for one in parts[fold]], 0.9, 0.1)
        score[5 * fold + 1] = lateral
        said = pd.DataFrame({"image_id": cohort["image_id"], "frontal": score})
        said.to_csv(tmp_path / "view" / str(fold) / VERDICTS, index=False)
    frame = sections.fate_table(sections._fates_of(results), names).set_index("class")
    assert frame.loc[COVID, list(sections.FATES)].tolist() == ["2", "0", "1", "1"]
    assert frame.loc[NEGATIVE, list(sections.FATES)].tolist() == ["2", "0", "0", "0"]
    assert frame.loc[COVID, "lateral refused (%)"] == "50.00"
    assert frame.loc[NEGATIVE, "lateral refused (%)"] == "–"
    assert not any("unknown" in column for column in frame.columns)
    assert set(frame["experiment"]) == {"Experiment 1 (against negative, curated)"}


# --- with lungs and without


def test_parts_are_compared_on_the_executions_of_both(whole, tmp_path):
    one, other = whole.frames["exp1_e"], whole.frames["exp1_d"]
    cut = other[(other["fold"] == 0) & (other["image_id"] != "i0-30")]
    first, second = sections.shared_test_rows(one, cut)
    assert len(first) == len(second) == 23
    assert set(first["fold"]) == set(second["fold"]) == {0}
    partial = Made({**{name: whole.frames[name] for name in ("exp1_c", "exp1_e")}, "exp1_d": cut}, tmp_path)
    found = sections.part_differences(partial, "exp1")
    assert found["e", "d", "accuracy"].n_patients == 12
    assert found["e", "c", "accuracy"].n_patients == 24


def test_the_striking_result_is_told_by_the_interval(drawn):
    section = next(section for section in drawn if section.title == "With lungs and without")
    assert f"{TITLE}: e is the more accurate by" in section.text
    assert "What the paper prints: +4.25† points." in section.text
    assert "the opposite" in sections.striking_words(Difference("accuracy", 1, 3, -2, -3, -1, 9))
    assert "d is the more accurate by 2.00 points (1.00 to 3.00)" in sections.striking_words(
        Difference("accuracy", 1, 3, -2, -3, -1, 9)
    )
    assert "neither" in sections.striking_words(Difference("accuracy", 1, 1, 0.5, -1, 2, 9))
    assert sections.striking_words(Difference("accuracy", 1, 1, 0.5, np.nan, np.nan, 9)) == "not measured."


def test_the_papers_differences_are_those_of_its_printed_numbers(whole, drawn):
    paper = sections.printed_of(whole.published)
    said = {key: sections.printed_difference(paper, *key) for key in [
        ("exp1", "e", "d", "accuracy"), ("exp2", "e", "d", "accuracy"), ("exp1", "e", "d", "specificity"),
        ("comparison", "e", "c", "sensitivity"), ("comparison", "e", "d", "accuracy"), ("source", "e", "d", "accuracy"),
    ]}  # fmt: skip
    # VGG19 has the higher printed validation accuracy; Table 9 repeats Table 8, and the conclusion implies
    # 0.944 for its last number; sensitivity of 15 c as it was meant.
    assert list(said.values()) == ["+4.25†", "+0.96†", "+4.60†", "+0.00†", "–", "–"]
    columns = table(drawn, f"Differences between the parts: {TITLE}").columns
    assert "paper, accuracy" in columns
    assert not any("paper" in name for name in table(drawn, "Differences between the parts: source within pneumonia"))


def test_precision_steps_enclose_the_average_precision():
    rng = np.random.default_rng(0)
    truth = rng.random(60) < 0.4
    scores = np.round(truth * 0.3 + rng.random(60), 1)  # with ties
    grid = (np.arange(240_000) + 0.5) / 240_000
    found = figures.precision_at(truth, scores, grid).mean()
    assert found == pytest.approx(average_precision_score(truth, scores), abs=1e-4)


def test_executions_of_one_class_have_no_curve(whole):
    frame = whole.frames["exp1_c"].copy()
    frame.loc[frame["fold"] == 1, "label"] = COVID
    assert len(sections.curves_of(frame, COVID)) == 1
    with pytest.raises(ValueError, match="one class only"):
        figures.precision_recall_figure({"c": [(np.ones(4), np.arange(4.0))]})
    with pytest.raises(ValueError, match="no execution"):
        figures.precision_recall_figure({"c": []})


# --- how much is the picture's frame


def auc_of(system: str, mean: float, low: float, high: float) -> Measured:
    return Measured(system, "auc", mean, 1.0, 1, 5, low, high, 90, 100)


def beside(own: tuple[float, float, float], covid: tuple[float, float, float], low: float, high: float):
    """Part e of the control of the collections beside that of an experiment, with the interval of their difference."""
    less = Difference("auc", own[0], covid[0], own[0] - covid[0], low, high, 9)
    return sections.Beside("source", "e", "Experiment 1", auc_of("source_e", *own), auc_of("exp1_e", *covid), less)


def words(one) -> str:
    """What the section says of a comparison."""
    (text,) = sections.frame_words(sections.measured_of([one.own]), [one])
    return text


ALONE = "had from the collection alone"


def test_a_weak_control_does_not_explain_a_strong_experiment():
    text = words(beside((55, 51, 59), (99, 98, 100), -48, -39))
    assert text.startswith(
        "Part e tells the collections apart within pneumonia with an AUC of 55.00 % (51.00 to 59.00)"
    )
    assert "COVID-19 from the others with 99.00 % (98.00 to 100.00)" in text
    assert "control less experiment −44.00 points (−48.00 to −39.00)" in text
    assert "reaches 10 % of the experiment's AUC above chance; so much can be " + ALONE in text
    assert "the rest this control does not explain" in text
    assert "at least as much" not in text
    assert "reach all of it" not in text


def test_how_much_a_control_explains_is_graded():
    better = words(beside((95, 92, 98), (85, 80, 90), 4, 16))
    assert "of what part e shows on COVID-19, at least as much can be " + ALONE in better
    alike = words(beside((80, 70, 90), (90, 85, 95), -21, 2))
    assert "reaches 75 % of the experiment's AUC above chance and may, by the interval, reach all of it" in alike
    assert "at least as much" not in alike
    assert "does not explain" not in alike
    open_, short = (words(beside((60, 45, 75), (90, 85, 95), -46, high)) for high in (1, -14))
    for text in (open_, short):
        assert "is not shown to tell the collections apart" in text
        assert "does not exclude chance" in text
        assert "not shown, nor excluded" in text
        assert ALONE not in text
    assert "may give as much as there is on COVID-19" in open_
    assert "gives less than there is on COVID-19" in short


def test_below_chance_nothing_is_explained():
    control = words(beside((25, 5, 45), (90, 85, 95), -85, -40))
    assert "Part e is worse than chance at telling the collections apart within pneumonia" in control
    assert "nothing follows" in control
    assert "COVID-19 from" not in control
    for covid in ((55, 45, 65), (40, 35, 45)):
        idle = words(beside((80, 70, 90), covid, 5, 45))
        assert "not shown to be above chance: nothing is to be explained" in idle
        assert ALONE not in idle
        assert np.isnan(sections.share_reached(beside((80, 70, 90), covid, 5, 45)))


def test_other_executions_of_a_partial_run_are_named():
    one = beside((80, 70, 90), (90, 85, 95), -21, 2)
    assert "in the executions that both have" not in words(one)
    less = Difference("auc", 85, 91, -6, -21, 2, 9)
    assert "in the executions that both have (85.00 and 91.00 %)" in words(one._replace(less=less))


def test_parts_c_and_d_are_told_of_by_their_own_controls():
    ours = [auc_of("source_e", 80, 60, 90), auc_of("source_c", 52, 40, 63), auc_of("source_d", 30, 10, 45)]
    e, c, d = sections.frame_words(sections.measured_of(ours), [beside((80, 60, 90), (90, 85, 95), -21, 2)])
    assert e.startswith("Part e tells")
    assert "COVID-19 from the others" in e
    assert c == (
        "Part c is not shown to tell the collections apart within pneumonia: its AUC of 52.00 % (40.00 to 63.00) does "
        "not exclude chance."
    )
    assert d.startswith("Part d is worse than chance")
    assert sections.frame_words(sections.measured_of([auc_of("source_e", *[np.nan] * 3)])) == []


def test_posture_and_finding_are_explained_only_where_they_are_told():
    def said(name, low, high):
        (text,) = sections.frame_words(sections.measured_of([auc_of(f"{name}_e", (low + high) / 2, low, high)]))
        return text

    assert "too ill to stand" in said("posture", 60, 90)
    assert "too ill to stand" not in said("posture", 40, 60)
    one_part = sections.measured_of([auc_of("posture_e", 50, 40, 60), auc_of("posture_c", 80, 70, 90)])
    assert "too ill to stand" in sections.frame_words(one_part)[0], "one part that tells is enough"
    finding = said("finding", 70, 80)
    for word in ("lying", "devices", "chosen", "no proof that pneumonia leaves traces outside the lungs"):
        assert word in finding
    assert "chosen" not in said("finding", 40, 60)
    assert "worse than chance at telling pneumonia from no finding" in said("finding", 20, 40)


def test_part_e_is_not_said_to_be_free_of_disease(drawn):
    (section,) = (section for section in drawn if section.title == TITLES[2])
    assert "Part e is not free of disease" in section.text
    assert "consolidation" in section.text
    assert "neither the lungs nor findings" not in section.text
    assert section.text.count(TITLE) == 3, "an experiment, three parts"


def test_follow_ups_are_told_where_the_collection_has_them():
    of_label = {labels.NORMAL: ["a", "b"], labels.PNEUMONIA: ["c", "d"], labels.OTHER: ["e"]}
    table = images(of_label, follow_up=["1", "2.0", "10", "", ""])
    (text,) = sections.follow_up_words(table, ["exp1", "finding"])
    assert "1.50 (normal) and 10.00 (pneumonia)" in text
    assert sections.follow_up_words(table, ["exp1"]) == []
    assert sections.follow_up_words(table.assign(follow_up=["1", "2", "", "", "7"]), ["finding"]) == []
    assert sections.follow_up_words(table.drop(columns="follow_up"), ["finding"]) == []


def test_controls_are_set_beside_the_same_part_in_shared_executions(whole, drawn, tmp_path):
    frame = table(drawn, "AUC of the controls less that of the experiments")
    assert frame["part"].str[0].tolist() == ["e", "c", "d"]
    assert set(frame["experiment"]) == {TITLE}
    one = float(frame["AUC of the control"][0]), float(frame["AUC of the experiment"][0])
    means = {name: sections.measured_of(whole.measured)[name, "auc"].mean for name in ("source_e", "exp1_e")}
    assert one == pytest.approx(tuple(means.values()), abs=0.006)
    said = frame["control less experiment (points)"][0].split("\n")[0].replace("−", "-")
    assert float(said) == pytest.approx(means["source_e"] - means["exp1_e"], abs=0.011)
    assert float(frame["reached (%)"][0]) == pytest.approx(
        100 * (means["source_e"] - 50) / (means["exp1_e"] - 50), abs=0.6
    )
    first = whole.frames["source_e"][lambda rows: rows["fold"] == 1]
    shared = sections.shared_executions(first, whole.frames["exp1_e"])
    assert [set(rows["fold"]) for rows in shared] == [{1}, {1}]
    assert len(shared[1]) == 24
    other = whole.frames["exp1_e"][lambda rows: rows["fold"] == 0]
    apart = Made({"source_e": first, "exp1_e": other}, tmp_path, whole.cohort)
    assert sections.set_beside(apart, sections.measured_of(apart.measured), ["exp1", "source"]) == []


def test_the_forest_sets_controls_apart_and_keeps_the_values(drawn):
    ours = [auc_of("exp1_c", 90, 85, 95), auc_of("source_e", 80, 70, 85), auc_of("source_c", 75, 70, 85)]
    frame = sections.auc_by_part(sections.measured_of(ours), ["exp1", "source"])
    assert frame["task"].tolist() == ["Experiment 1", *["source within pneumonia"] * 2]
    assert frame["control"].tolist() == [False, True, True]
    (axes,) = figures.auc_figure(frame).axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["Experiment 1", "source within pneumonia"]
    marks = [container for container in axes.containers if container.get_label() == "c, whole image"]
    assert list(marks[0].lines[0].get_xdata()) == [90, 75]
    assert any(list(line.get_ydata()) == [0.5, 0.5] for line in axes.lines)
    shown = table(drawn, "Controls beside the experiments")
    assert len(shown) == 6
    assert set(shown["task"]) == {TITLE, "source within pneumonia"}
    assert list(shown.columns) == ["task", "part", "accuracy", "balanced accuracy", "AUC", "images"]


# --- the threshold


def test_the_threshold_is_the_best_on_validation_and_stays_where_it_may():
    truth = np.array([0, 0, 1, 1], bool)
    assert sections.best_threshold(truth, np.array([0.1, 0.4, 0.6, 0.9])) == 0.5
    assert sections.best_threshold(truth, np.array([0.6, 0.7, 0.8, 0.9])) == 0.8
    assert sections.best_threshold(truth, np.array([0.1, 0.2, 0.3, 0.9])) == 0.3
    rng = np.random.default_rng(1)
    truth, scores = rng.random(40) < 0.3, rng.random(40).round(1)
    steps = np.linspace(0, 1, 21)
    wanted = [np.sum((scores >= step) == truth) for step in steps]
    np.testing.assert_array_equal(sections.right_answers(truth, scores, steps), wanted)


def test_test_images_do_not_choose_and_the_chosen_threshold_is_applied():
    frame = made("exp1_c", 8.0, shift=3.0)
    thresholds = sections.best_thresholds(frame)
    assert set(thresholds) == {("exp1_c", 0, 0), ("exp1_c", 0, 1)}
    swapped = frame.copy()
    test = swapped["split"] == "test"
    swapped.loc[test, "label"] = np.where(swapped.loc[test, "label"] == COVID, NEGATIVE, COVID)
    assert sections.best_thresholds(swapped) == thresholds
    at, chosen = sections.threshold_rows(frame, thresholds)
    specificity = [float(row["specificity (%)"].split("\n")[0]) for row in (at, chosen)]
    assert specificity[1] > specificity[0] + 20
    assert at["threshold"] == "0.5"
    assert [float(text) for text in chosen["threshold"].removeprefix("chosen: ").split(", ")] == [
        pytest.approx(value, abs=0.006) for value in thresholds.values()
    ]
    assert chosen["gain in accuracy (points)"].startswith("+")
    curves = sections.threshold_curves(frame, thresholds)
    accuracy = float(at["accuracy (%)"].split("\n")[0])
    assert curves.accuracy["test"][100] == pytest.approx(accuracy, abs=0.005)
    assert curves.accuracy["test"][0] == pytest.approx(100 * 10 / 24), "from a score of 0 on everybody is positive"
    assert sections.best_thresholds(frame[test]) == {}


def test_what_the_paper_says_of_thresholds_is_read_from_its_cells(whole):
    (claim,) = sections.threshold_claims(whole.published)
    assert "up to 98 %" in claim
    assert sections.threshold_claims([]) == []


# --- the three U-Nets


def test_true_overlap_stands_beside_the_authors_and_the_papers(whole, tmp_path, monkeypatch):
    overlap = pd.DataFrame(
        {"image_id": list("abcd"), "patient_id": list("abcd"), "part": ["train"] + ["validation"] * 3}
    )
    overlap["dice"], overlap["iou"] = [0.99, 0.9, 0.5, 0.7], [0.98, 0.8, 0.3, 0.6]
    ours = {("unet1", "dice_published_validation"): Measured("unet1", "", 96, 1, 1, 1, 95, 97, 4, 4)}
    frame = sections.unet_table({"unet1": overlap}, ours, sections.printed_of(whole.published))
    row = frame[(frame["part"] == "validation") & (frame["measure"] == "Dice")].iloc[0]
    assert row[["true mean", "worst", "best", "images"]].tolist() == ["0.7000", "0.5000", "0.9000", 3]
    assert row["authors' function"] == "0.9600\n[0.9500, 0.9700]"
    assert row["paper"] == "0.9645†"
    assert frame["network"].unique().tolist() == ["U-Net 1"]
    monkeypatch.setattr(sections.stages, "named", lambda protocol: ["unet1"])
    monkeypatch.setattr(sections.stages, "done", lambda run: {"unet1": tmp_path})
    monkeypatch.setattr(sections, "read_overlap", lambda folder: overlap)
    monkeypatch.setattr(sections, "_mask_figures", lambda results, folders: [])
    section = sections.unet_section(whole)
    assert section.title == "The three U-Nets"
    assert len(section.tables[0].frame) == 4
    assert "are not drawn" in section.text, "and why is said"
    drawn = sections.FigureEntry("masks", "", None)
    monkeypatch.setattr(sections, "_mask_figures", lambda results, folders: [drawn])
    assert "are not drawn" not in sections.unet_section(whole).text


# --- VGG16 or VGG19, and the two accuracies


def test_choices_are_counted(whole, drawn, tmp_path):
    frame = table(drawn, "Both networks").set_index("system")
    assert set(frame["chosen, 16 / 19"]) == {"2 / 0"}
    title = whole.systems["exp1_c"]
    assert frame.loc[title, "test, VGG19"] == "–", "it was not run"
    assert frame.loc[title, "test, VGG16"] != "–"
    assert frame.loc[title, ["paper, VGG16", "paper, VGG19"]].tolist() == ["82.74†", "89.96†"]
    other = Made({"exp1_c": whole.frames["exp1_c"]}, tmp_path, chosen="19")
    assert "Of 2 choices on validation 0 fell on VGG16 and 2 on VGG19" in sections.depth_section(other).text


def test_the_authors_accuracy_stands_beside_the_true_one(whole, drawn):
    frame = table(drawn, "Two accuracies").set_index("system")
    assert len(frame) == 3
    test = whole.frames["exp1_d"][whole.frames["exp1_d"]["split"] == "test"]
    changes = []
    for _, rows in test.groupby("fold"):
        alarm, ill = rows["predicted"] == COVID, rows["label"] == COVID
        right, false = (alarm == ill).sum(), (alarm & ~ill).sum()
        changes.append(100 * right / (right + 2 * false) - 100 * right / len(rows))
    said = frame.loc[whole.systems["exp1_d"], "change (points)"].replace("−", "-")
    assert float(said) == pytest.approx(np.mean(changes), abs=0.006)
    assert frame["paper, as the authors compute it"].tolist() == ["93.90†", "93.30†", "95.60†"]


def test_the_second_class_of_made_predictions_is_the_positive_one(whole):
    assert classes_of(whole.frames["view16"]) == (FRONTAL_CLASS, LATERAL_CLASS)
    assert classes_of(whole.frames["exp1_c"]) == (NEGATIVE, COVID)
