"""The sections of the report that only Arias-Garzon et al. have, from made predictions."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score

from covid_keras.evaluation import Difference, Measured
from covid_keras.reporting.differences import measured_of, printed_of, standing
from covid_keras.reporting.document import FigureEntry, Section
from covid_keras.reporting.prose import prose
from papers.arias_vgg19 import cohorts as labels
from papers.arias_vgg19 import comparisons, figures, report
from papers.arias_vgg19.experiments import COVID, NEGATIVE
from papers.arias_vgg19.networks import FRONTAL_CLASS, LATERAL_CLASS, VERDICTS
from papers.arias_vgg19.paper import PAPER
from tests.helpers.made_results import MadeResults, interval_of, made_run, mean_of, table, text_of

FOLDS = 2
# How far apart the scores of two classes lie, in standard deviations of their logit.
STRENGTH = {"c": 2.0, "d": 0.6, "e": 3.5}
TITLE = "Experiment 1 (against pneumonia, elsewhere)"
CONTROL = "source within pneumonia"
TITLES = [
    "The view filter",
    "With lungs and without",
    "How much is the picture's frame",
    "The threshold",
    "VGG16 or VGG19",
    "Accuracy as the authors compute it",
]
IDS = [f"i{fold}-{n}" for fold in range(FOLDS) for n in range(48)]


def made(system: str, strength: float, shift: float = 0.0, positives: int = 10) -> pd.DataFrame:
    """Predictions of 24 validation and 24 test images a fold, two images a patient; `shift` moves all logits."""
    negative, positive = PAPER.system(system).classes
    rng = np.random.default_rng(len(system))
    frames = []
    for fold in range(FOLDS):
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


def results_of(frames, folder=Path(), cohort=None, parts=None, chosen="16") -> MadeResults:
    """Results of one repeat of two folds; `chosen` is the depth that validation chose everywhere."""
    table = images({labels.OTHER: IDS, labels.PNEUMONIA: ["nih"]}) if cohort is None else cohort
    run = made_run(PAPER, SimpleNamespace(table=table), protocol=SimpleNamespace(options={}, paper="arias_vgg19"))
    run.part = lambda repeat, fold: pd.Series(parts[fold])
    executions = {
        system: [
            (SimpleNamespace(folder=folder / system / str(fold), repeat=0, fold=fold), {"chosen": system + chosen})
            for fold in sorted(set(frame["fold"]))
        ]
        for system, frame in frames.items()
    }
    return MadeResults(PAPER, frames, run, executions=executions)


@pytest.fixture(scope="module")
def whole() -> MadeResults:
    """A run of Experiment 1, two view filters and a control."""
    systems = {"view16": 1.5, "view": 1.5}
    systems |= {f"exp1_{part}{depth}": s for part, s in STRENGTH.items() for depth in ("16", "")}
    systems |= {f"source_{part}": s for part, s in STRENGTH.items()}
    return results_of({name: made(name, s, positives=4 if "view" in name else 10) for name, s in systems.items()})


@pytest.fixture(scope="module")
def drawn(whole) -> list[Section]:
    return report.REPORT.sections(whole)


@pytest.mark.parametrize(
    ("keep", "titles"),
    [
        (["view16"], TITLES[:1]),
        (["exp1_c16", "exp1_c"], TITLES[3:]),
        (["source_e"], TITLES[2:3]),
        (["exp1_c16"], []),
    ],
)
def test_a_run_has_the_sections_whose_systems_it_has(whole, drawn, keep, titles):
    assert [section.title for section in drawn] == TITLES
    assert all(section.text and section.tables for section in drawn)
    part = results_of({name: whole.frames[name] for name in keep})
    assert [section.title for section in report.REPORT.sections(part)] == titles


def test_figures_are_drawn_and_say_what_they_show(drawn):
    entries = {entry.title: entry.figure for section in drawn for entry in (*section.figures, *section.folded)}
    for name in (TITLE, CONTROL):
        for kind, area in (("ROC", "AUC"), ("Precision and recall", "average precision")):
            (legend,) = entries[f"{kind} of the parts: {name}"].legends
            words = [text.get_text() for text in legend.get_texts()][:3]
            assert [word.split(":")[0] for word in words] == ["c, whole image", "d, lungs only", "e, lungs removed"]
            assert all(area in word for word in words)
    assert COVID in entries[f"Precision and recall of the parts: {TITLE}"].axes[0].get_xlabel()
    assert sum(axes.get_visible() for axes in entries["Accuracy by threshold"].axes) == 3
    for figure in entries.values():
        figure.savefig(io.BytesIO(), format="svg")


def test_who_always_says_frontal_has_the_share_of_frontal_as_accuracy(whole, drawn):
    found = {one.metric: one.mean for one in comparisons.always_frontal(whole.frames["view16"])}
    assert found["accuracy"] == pytest.approx(100 * 20 / 24)
    assert (found["specificity"], found["sensitivity"], found["balanced_accuracy"]) == (100, 0, 50)
    frame = table(drawn, "Frontal or lateral")
    assert frame["filter"].tolist() == ["always frontal", whole.systems["view16"], whole.systems["view"]]
    assert mean_of(frame["accuracy (%)"][0]) == 83.33
    assert frame["paper, accuracy (%)"][1] == "96.87"


def test_a_filter_of_both_collections_is_measured_where_lateral_images_are(whole, drawn):
    cohen = whole.frames["view16"].assign(system="view_all")
    nih = cohen[cohen["label"] == FRONTAL_CLASS].assign(predicted=LATERAL_CLASS, source="chestxray14")
    nih = nih.assign(image_id="nih" + nih["image_id"], patient_id="nih" + nih["patient_id"])
    cohort = images({labels.OTHER: IDS, labels.NORMAL: list(nih["image_id"])})
    (section,) = report.REPORT.sections(results_of({"view_all": pd.concat([cohen, nih])}, cohort=cohort))
    (entry,) = section.tables
    assert "40 frontal and 8 lateral" in entry.caption
    always, ours = entry.frame.to_dict("records")
    wanted = table(drawn, "Frontal or lateral").to_dict("records")[1]
    for name in ("recall of frontal (%)", "recall of lateral (%)", "balanced accuracy (%)", "AUC (%)"):
        assert mean_of(ours[name]) == mean_of(wanted[name])
    assert mean_of(always["accuracy (%)"]) == 83.33


def test_the_truth_of_the_view_is_the_table_s_then_the_label_s_then_the_collection_s():
    rest = (labels.COVID_LATERAL, labels.OTHER, labels.NORMAL, labels.COMPARED_NORMAL, labels.PRE_COVID)
    of_label = {labels.NEGATIVE_CURATED: list("abcd")} | {label: [label] for label in rest}
    views = ["L", "PA", "AP Supine", "", "", "", "", "", None]
    source = ["bimcv_negative"] * 4 + ["", "", "chestxray14", "kermany", "precovid"]
    front, side, unknown = FRONTAL_CLASS, LATERAL_CLASS, comparisons.UNKNOWN_VIEW
    found = comparisons.true_views(images(of_label, view=views, source=source))
    assert found.tolist() == [side, front, front, unknown, side, front, front, front, unknown]


def test_what_the_filter_does_is_counted_by_the_truth_of_the_view():
    views = np.repeat([FRONTAL_CLASS, LATERAL_CLASS, comparisons.UNKNOWN_VIEW], [3, 4, 2])
    answers = pd.DataFrame({"view": views, "passed": np.array([1, 1, 0, 0, 1, 1, 1, 0, 1], bool)})
    answers = answers.assign(**{"experiment": "exp1", "class": NEGATIVE})
    (row,) = comparisons.fate_table(answers, [labels.NEGATIVE_CURATED, labels.NORMAL]).to_dict("records")
    assert row["experiment"] == "Experiment 1 (against negative, curated)"
    assert [row[fate] for fate in comparisons.FATES] == ["2", "1", "1", "3", "1", "1"]
    assert row["offered"] == "9"
    assert (row["frontal let through (%)"], row["lateral refused (%)"]) == ("66.67", "25.00")


def test_only_test_images_of_the_experiments_labels_are_counted(whole, tmp_path):
    names = [labels.POSITIVE_OTHER, labels.POSITIVE_OTHER, labels.NEGATIVE_CURATED, labels.PRE_COVID, labels.LATERAL]
    ids = [f"i{n}" for n in range(10)]
    cohort = pd.DataFrame({"image_id": ids, "label": names * 2, "view": ["PA", "L", "AP", "PA", ""] * 2})
    parts = {0: ["test"] * 5 + ["train"] * 5, 1: ["train"] * 5 + ["test"] * 5}
    frames = {name: whole.frames[name] for name in ("view", "exp1_c")}
    results = results_of(frames, tmp_path, cohort.assign(source="bimcv"), parts)
    for fold, lateral in ((0, 0.9), (1, 0.2)):
        (tmp_path / "view" / str(fold)).mkdir(parents=True)
        # The images of the other fold's test part are called otherwise: they must not be counted here.
        score = np.where([one == "test" for one in parts[fold]], 0.9, 0.1)
        score[5 * fold + 1] = lateral
        said = pd.DataFrame({"image_id": cohort["image_id"], "frontal": score})
        said.to_csv(tmp_path / "view" / str(fold) / VERDICTS, index=False)
    frame = comparisons.fate_table(comparisons.filter_answers(results), names).set_index("class")
    assert frame.loc[COVID, list(comparisons.FATES)[:4]].tolist() == ["2", "0", "1", "1"]
    assert frame.loc[NEGATIVE, list(comparisons.FATES)[:4]].tolist() == ["2", "0", "0", "0"]
    assert frame["lateral refused (%)"].to_dict() == {NEGATIVE: "–", COVID: "50.00"}
    assert not any("unknown" in column for column in frame)


def test_parts_are_compared_on_the_executions_of_both(whole):
    other = whole.frames["exp1_d"]
    cut = other[(other["fold"] == 0) & (other["image_id"] != "i0-30")]
    first, second = comparisons.shared_test_rows(whole.frames["exp1_e"], cut)
    assert len(first) == len(second) == 23
    assert set(first["fold"]) == set(second["fold"]) == {0}
    partial = results_of({**{name: whole.frames[name] for name in ("exp1_c", "exp1_e")}, "exp1_d": cut})
    found = comparisons.part_differences(partial, "exp1")
    assert found["e", "d", "accuracy"].n_patients == 12
    assert found["e", "c", "accuracy"].n_patients == 24


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (1, 3, "e is more accurate by 0.50 points"),
        (-3, -1, "d is more accurate by 2.00 points (1.00 to 3.00)"),
        (-1, 2, "neither"),
        (np.nan, np.nan, "not measured"),
    ],
)
def test_the_striking_result_is_told_by_the_interval(low, high, said):
    less = Difference("accuracy", 1, 3, -2 if high < 0 else 0.5, low, high, 9)
    one = {"title": "Experiment 1", "less": less, "standing": standing(less), "printed": ""}
    text = prose(*report.PROSE, "parts", striking=[one])
    assert said in text
    assert "the paper prints" not in text
    assert "+4.25†" in prose(*report.PROSE, "parts", striking=[one | {"printed": "+4.25†"}])


def test_the_papers_differences_are_those_of_its_printed_numbers(whole, drawn):
    paper = printed_of(whole.published)
    # VGG19 has the higher printed validation accuracy; Table 9 repeats Table 8, and the conclusion implies
    # 0.944 for its last number; sensitivity of 15 c as it was meant.
    wanted = {
        ("exp1", "e", "d", "accuracy"): "+4.25†",
        ("exp2", "e", "d", "accuracy"): "+0.96†",
        ("exp1", "e", "d", "specificity"): "+4.60†",
        ("comparison", "e", "c", "sensitivity"): "+0.00†",
        ("comparison", "e", "d", "accuracy"): "–",
        ("source", "e", "d", "accuracy"): "–",
    }
    assert {key: comparisons.printed_difference(paper, *key) for key in wanted} == wanted
    assert "paper, accuracy" in table(drawn, f"Differences between the parts: {TITLE}")
    assert not any("paper" in name for name in table(drawn, f"Differences between the parts: {CONTROL}"))
    assert f"{TITLE}: e is more accurate" in text_of(drawn, TITLES[1])


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
    assert len(comparisons.curves_of(frame, COVID)) == 1
    for executions in ([(np.ones(4), np.arange(4.0))], []):
        with pytest.raises(ValueError, match="execution"):
            figures.precision_recall_figure({"c": executions})
    with pytest.raises(ValueError, match="no system"):
        figures.threshold_figure({})


def auc_of(system: str, mean: float, low: float, high: float) -> Measured:
    return Measured(system, "auc", mean, 1.0, 1, 5, low, high, 90, 100)


def beside(own: tuple[float, float, float], covid: tuple[float, float, float], low: float, high: float):
    """Part e of the control of the collections beside that of an experiment, with the interval of their difference."""
    less = Difference("auc", own[0], covid[0], own[0] - covid[0], low, high, 9)
    return comparisons.Beside("source", "e", "Experiment 1", auc_of("source_e", *own), auc_of("exp1_e", *covid), less)


def told(ours: list[Measured], found=()) -> list[str]:
    """The paragraphs on the controls."""
    controls = comparisons.told_controls(measured_of(ours), found)
    return prose(*report.PROSE, "frame", controls=controls, follow_up={}).split("\n\n")[3:]


ALONE, MOST, NOT_ALL = "the collection alone can explain", "the whole result", "not the rest"
NO_CHANCE, OPEN = "does not exclude chance", "neither shown nor excluded"
STRONG = (90, 85, 95)


@pytest.mark.parametrize(
    ("one", "reached", "said", "unsaid"),
    [
        (beside((55, 51, 59), (99, 98, 100), -48, -39), 10, [ALONE, NOT_ALL], [MOST, "reach all"]),
        (beside((95, 92, 98), (85, 80, 90), 4, 16), 129, [ALONE, MOST], [NOT_ALL]),
        (beside((80, 70, 90), STRONG, -21, 2), 75, [ALONE, "reach all of it"], [MOST, NOT_ALL]),
        (beside((60, 45, 75), STRONG, -46, 1), 25, [NO_CHANCE, OPEN, "may explain all"], [ALONE]),
        (beside((60, 45, 75), STRONG, -46, -14), 25, [NO_CHANCE, OPEN, "only a part"], [ALONE]),
        (beside((25, 5, 45), STRONG, -85, -40), 0, ["worse than chance", "no conclusion"], ["COVID-19 from", ALONE]),
        (beside((80, 70, 90), (55, 45, 65), 5, 45), np.nan, ["nothing to explain"], [ALONE]),
        (beside((80, 70, 90), (40, 35, 45), 5, 45), np.nan, ["nothing to explain"], [ALONE]),
    ],
)
def test_how_much_a_control_explains_is_graded_by_the_intervals(one, reached, said, unsaid):
    (text,) = told([one.own], [one])
    assert all(words in text for words in said)
    assert not any(words in text for words in unsaid)
    assert one.reached == pytest.approx(reached, abs=0.5, nan_ok=True)
    assert text.startswith("Part e")
    assert f"{one.own.mean:.2f} % ({one.own.low:.2f} to {one.own.high:.2f})" in text


def test_other_executions_of_a_partial_run_are_named():
    one = beside((80, 70, 90), STRONG, -21, 2)
    partial = one._replace(less=Difference("auc", 85, 91, -6, -21, 2, 9))
    assert "common executions" not in told([one.own], [one])[0]
    assert "in their common executions (85.00 and 91.00 %)" in told([one.own], [partial])[0]


def test_each_part_is_told_by_its_own_control():
    ours = [auc_of("source_e", 80, 60, 90), auc_of("source_c", 52, 40, 63), auc_of("source_d", 30, 10, 45)]
    e, c, d = told(ours, [beside((80, 60, 90), STRONG, -21, 2)])
    assert e.startswith("Part e tells")
    assert "COVID-19 from the others" in e
    assert c.startswith("Part c is not shown")
    assert d.startswith("Part d is worse than chance")
    assert told([auc_of("source_e", *[np.nan] * 3)]) == []


@pytest.mark.parametrize(
    ("name", "said"), [("posture", "too ill to stand"), ("finding", "does not prove that pneumonia")]
)
def test_posture_and_finding_are_explained_only_where_they_are_told(name, said):
    across, above, below = ((50, 40, 60), (80, 70, 90), (30, 20, 40))
    assert said in told([auc_of(f"{name}_e", *above)])[0]
    assert said in told([auc_of(f"{name}_e", *across), auc_of(f"{name}_c", *above)])[0], "one part is enough"
    for idle in (across, below):
        assert said not in told([auc_of(f"{name}_e", *idle)])[0]


def test_part_e_is_not_said_to_be_free_of_disease(drawn):
    text = text_of(drawn, TITLES[2])
    assert "Part e is not free of disease" in text
    assert text.count(TITLE) == 3, "an experiment, three parts"


def test_follow_ups_are_told_where_the_collection_has_them():
    of_label = {labels.NORMAL: ["a", "b"], labels.PNEUMONIA: ["c", "d"], labels.OTHER: ["e"]}
    table = images(of_label, follow_up=[1, 2, 10, np.nan, np.nan])
    found = comparisons.follow_ups(table, ["exp1", "finding"])
    assert found == {"normal": 1.5, "pneumonia": 10}
    assert "1.50 (normal) and 10.00 (pneumonia)." in prose(*report.PROSE, "frame", controls=[], follow_up=found)
    assert comparisons.follow_ups(table, ["exp1"]) == {}
    assert comparisons.follow_ups(table.assign(follow_up=[1, 2, np.nan, np.nan, 7]), ["finding"]) == {}
    assert comparisons.follow_ups(table.drop(columns="follow_up"), ["finding"]) == {}


def test_controls_are_set_beside_the_same_part_in_shared_executions(whole, drawn):
    frame = table(drawn, "AUC of the controls minus that of the experiments")
    assert frame["part"].str[0].tolist() == ["e", "c", "d"]
    assert set(frame["experiment"]) == {TITLE}
    own, covid = (measured_of(whole.measured)[name, "auc"].mean for name in ("source_e", "exp1_e"))
    first = frame.iloc[0]
    assert float(first["AUC of the control"]) == pytest.approx(own, abs=0.006)
    assert float(first["AUC of the experiment"]) == pytest.approx(covid, abs=0.006)
    assert mean_of(first["control less experiment (points)"]) == pytest.approx(own - covid, abs=0.011)
    assert float(first["reached (%)"]) == pytest.approx(100 * (own - 50) / (covid - 50), abs=0.6)
    second = whole.frames["source_e"][lambda rows: rows["fold"] == 1]
    shared = comparisons.shared_executions(second, whole.frames["exp1_e"])
    assert [set(rows["fold"]) for rows in shared] == [{1}, {1}]
    assert len(shared[1]) == 24
    apart = results_of({"source_e": second, "exp1_e": whole.frames["exp1_e"][lambda rows: rows["fold"] == 0]})
    assert comparisons.set_beside(apart, measured_of(apart.measured), ["exp1", "source"]) == []


def test_the_forest_sets_controls_apart_and_keeps_the_values(whole, drawn):
    ours = [auc_of("exp1_c", 90, 85, 95), auc_of("source_e", 80, 70, 85), auc_of("source_c", 75, 70, 85)]
    frame = comparisons.auc_by_part(measured_of(ours), ["exp1", "source"])
    assert frame["task"].tolist() == ["Experiment 1", CONTROL, CONTROL]
    assert frame["control"].tolist() == [False, True, True]
    assert frame["mean"].tolist() == [90, 75, 80], "in the order of the parts"
    (entry,) = next(section for section in drawn if section.title == TITLES[2]).figures
    (axes,) = entry.figure.axes
    assert len(axes.get_yticklabels()) == 2
    assert any(list(line.get_ydata()) == [0.5, 0.5] for line in axes.lines)
    shown = table(drawn, "Controls beside the experiments")
    assert len(shown) == 6
    assert set(shown["task"]) == {TITLE, CONTROL}
    wanted = [
        measured_of(whole.measured)[f"{task}_{part}", "auc"].mean for task in ("exp1", "source") for part in "cde"
    ]
    assert shown["AUC"].map(mean_of).tolist() == pytest.approx(wanted, abs=0.006)


def test_right_answers_are_counted_at_every_threshold():
    rng = np.random.default_rng(1)
    truth, scores = rng.random(40) < 0.3, rng.random(40).round(1)
    steps = np.linspace(0, 1, 21)
    wanted = [np.sum((scores >= step) == truth) for step in steps]
    np.testing.assert_array_equal(comparisons.right_answers(truth, scores, steps), wanted)


def test_test_images_do_not_choose_and_the_chosen_threshold_is_applied():
    frame = made("exp1_c", 8.0, shift=3.0)
    thresholds = comparisons.best_thresholds(frame)
    assert set(thresholds) == {("exp1_c", 0, 0), ("exp1_c", 0, 1)}
    swapped, test = frame.copy(), frame["split"] == "test"
    swapped.loc[test, "label"] = np.where(swapped.loc[test, "label"] == COVID, NEGATIVE, COVID)
    assert comparisons.best_thresholds(swapped) == thresholds
    assert comparisons.best_thresholds(frame[test]) == {}
    at, chosen = comparisons.threshold_rows(frame, thresholds)
    assert mean_of(chosen["specificity (%)"]) > mean_of(at["specificity (%)"]) + 20
    assert at["threshold"] == "0.5"
    said = [float(text) for text in chosen["threshold"].removeprefix("chosen: ").split(", ")]
    assert said == pytest.approx(list(thresholds.values()), abs=0.006)
    assert mean_of(chosen["gain in accuracy (points)"]) > 0
    curves = comparisons.threshold_curves(frame, thresholds)
    assert curves.accuracy["test"][100] == pytest.approx(mean_of(at["accuracy (%)"]), abs=0.005)
    assert curves.accuracy["test"][0] == pytest.approx(100 * 10 / 24), "from a score of 0 on everybody is positive"


def test_what_the_paper_says_of_thresholds_is_read_from_its_cells(drawn):
    assert "up to 98 %" in text_of(drawn, TITLES[3])
    assert "The paper says" not in prose(*report.PROSE, "threshold", claims=[])


def test_true_overlap_stands_beside_the_authors_and_the_papers(whole, tmp_path, monkeypatch):
    overlap = pd.DataFrame({"image_id": list("abcd"), "patient_id": list("abcd")})
    overlap["part"] = ["train"] + ["validation"] * 3
    overlap["dice"], overlap["iou"] = [0.99, 0.9, 0.5, 0.7], [0.98, 0.8, 0.3, 0.6]
    ours = {("unet1", "dice_published_validation"): Measured("unet1", "", 96, 1, 1, 1, 95, 97, 4, 4)}
    frame = comparisons.unet_table({"unet1": overlap}, ours, printed_of(whole.published))
    row = frame[(frame["part"] == "validation") & (frame["measure"] == "Dice")].iloc[0]
    assert row[["true mean", "worst", "best", "images"]].tolist() == ["0.7000", "0.5000", "0.9000", 3]
    assert (mean_of(row["authors' function"]), interval_of(row["authors' function"])) == (0.96, (0.95, 0.97))
    assert row["paper"] == "0.9645†"
    assert frame["network"].unique().tolist() == ["U-Net 1"]
    monkeypatch.setattr(report.stages.SEGMENTERS, "settings", lambda protocol: {"unet1": None})
    monkeypatch.setattr(report.stages.SEGMENTERS, "done", lambda run: {"unet1": tmp_path})
    monkeypatch.setattr(report, "read_overlap", lambda folder: overlap)
    for entries in ([], [FigureEntry("masks", "", None)]):
        monkeypatch.setattr(report, "_mask_figures", lambda results, folders, drawn=entries: drawn)
        section = report.unet_section(whole)
        assert len(section.tables[0].frame) == 4
        assert ("are not drawn" in section.text) == (not entries)


def test_choices_are_counted(whole, drawn):
    frame = table(drawn, "Both networks").set_index("system")
    assert set(frame["chosen, 16 / 19"]) == {"2 / 0"}
    title = whole.systems["exp1_c"]
    assert frame.loc[title, "test, VGG19"] == "–", "it was not run"
    assert frame.loc[title, "test, VGG16"] != "–"
    assert frame.loc[title, ["paper, VGG16", "paper, VGG19"]].tolist() == ["82.74†", "89.96†"]
    other = results_of({"exp1_c": whole.frames["exp1_c"]}, chosen="19")
    assert "0 were VGG16 and 2 VGG19" in report.depth_section(other).text


def test_the_conclusions_means_are_taken_over_the_tests_that_were_run(whole):
    frames = {f"exp1_{part}19": whole.frames[f"exp1_{part}"].assign(system=f"exp1_{part}19") for part in "ce"}
    frame = comparisons.mean_table(results_of(frames))
    assert frame["tests of ours"].tolist() == ["2 of 9"]
    assert frame["paper (%)"].tolist() == ["92.72†"]
    ours = measured_of(whole.measured)
    mean = np.mean([ours[f"exp1_{part}", "accuracy"].mean for part in "ce"])
    assert mean_of(frame.loc[0, "ours (%)"]) == pytest.approx(mean, abs=0.006)


def test_the_authors_accuracy_stands_beside_the_true_one(whole, drawn):
    frame = table(drawn, "Two accuracies").set_index("system")
    assert len(frame) == 3
    test = whole.frames["exp1_d"][whole.frames["exp1_d"]["split"] == "test"]
    changes = []
    for _, rows in test.groupby("fold"):
        alarm, ill = rows["predicted"] == COVID, rows["label"] == COVID
        right, false = (alarm == ill).sum(), (alarm & ~ill).sum()
        changes.append(100 * right / (right + 2 * false) - 100 * right / len(rows))
    said = frame.loc[whole.systems["exp1_d"], "change (points)"]
    assert mean_of(said) == pytest.approx(np.mean(changes), abs=0.006)
    assert frame["paper, as the authors compute it"].tolist() == ["93.90†", "93.30†", "95.60†"]
