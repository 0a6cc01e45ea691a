"""The sections of the report that only Hertel & Benlamri have, from made predictions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from functools import cache
from types import SimpleNamespace

import cv2
import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

from covid_keras.data.cohort import Cohort
from covid_keras.data.prepared_images import prepare_cohort
from covid_keras.evaluation import Difference, Measured, PublishedCell
from covid_keras.explain import grad_cam, heat_in_lungs
from covid_keras.paper import Ensemble
from covid_keras.reporting.differences import measured_of, printed_of
from covid_keras.reporting.document import Section
from covid_keras.reporting.examples import Examples
from covid_keras.reporting.prose import prose
from covid_keras.training.executions import Execution
from papers.hertel_ensemble import cohorts as labels
from papers.hertel_ensemble import comparisons, figures, images, report, stages
from papers.hertel_ensemble.comparisons import NETWORKS, TASKS, short_title
from papers.hertel_ensemble.measures import measure
from papers.hertel_ensemble.paper import PAPER
from papers.hertel_ensemble.systems import COVID, MULTI, NEGATIVE
from tests.helpers.made_results import MadeResults, interval_of, made_run, mean_of, table, text_of
from tests.helpers.pictures import phantom_cohort, texts

FOLDS = 2
# How far apart the scores of the classes lie, in standard deviations of their noise.
STRENGTH = {"densenet201": 2.0, "resnet152": 1.4, "vgg19": 0.8}
# Images of each label in training, validation and test; two of a patient.
COUNTS = {labels.COVID_COHEN: (0, 10, 10), labels.COVID_CXNET: (24, 8, 8)}
COUNTS |= {labels.NORMAL: (24, 12, 12), labels.PNEUMONIA: (24, 8, 8)}
TITLES = [
    "Images of each part",
    "The ResUNet",
    "What the masks alone may reveal",
    "What the ensembles gain",
    "How often the networks agree",
    "From validation to test",
    "Each class against the rest",
    "Where the COVID-19 images come from",
    "COVIDGR-1.0: one split or folds",
    "Radiologists and literature",
]


def made_cohort() -> tuple[Cohort, pd.Series]:
    """A cohort of pairs of images, and which part each is in."""
    rows, parts = [], []
    for label, counts in COUNTS.items():
        for number, part in enumerate(np.repeat(["train", "validation", "test"], counts)):
            source = "cohen" if label == labels.COVID_COHEN or (label, number % 4) == (labels.PNEUMONIA, 1) else "nih"
            rows.append((f"{label}-{number}", "x.png", f"{label}-{source}-p{number // 2}", label, source))
            parts.append(part)
    table = pd.DataFrame(rows, columns=["image_id", "path", "patient_id", "label", "source"])
    return Cohort(table, labels.STAND_IN), pd.Series(parts)


COHORT, PARTS = made_cohort()
PROTOCOL = PAPER.protocol("smoke")


@cache
def made(system: str) -> pd.DataFrame:
    """Predictions of validation and test images; other images are tested in each fold."""
    one = PAPER.system(system)
    rng = np.random.default_rng(len(system))
    frames = []
    called = one.labelled(COHORT).table["label"]
    taking = called.isin(one.classes) & PARTS.ne("train")
    for fold in range(FOLDS if system.endswith("gr5") else 1):
        frame = COHORT.table.loc[taking, ["image_id", "path", "patient_id", "source"]].copy()
        frame["severity"], frame["system"], frame["repeat"], frame["fold"] = "", system, 0, fold
        part = PARTS[taking]
        frame["split"] = part if fold == 0 else np.where(part == "test", "validation", "test")
        frame["label"] = called[taking]
        truth = frame["label"].to_numpy()[:, None] == np.array(one.classes)
        # What was never trained on is hard to find.
        unseen = COHORT.table.loc[taking, "label"].eq(labels.COVID_COHEN).to_numpy()[:, None]
        strength = STRENGTH[system.partition("_")[0]] * np.where(unseen, 0.3, 1.5)
        score = np.exp(strength * truth + rng.normal(0, 1, truth.shape))
        score /= score.sum(axis=1, keepdims=True)
        frame["predicted"] = np.array(one.classes)[score.argmax(axis=1)]
        frames.append(frame.assign(**{f"score_{name}": score[:, k] for k, name in enumerate(one.classes)}))
    return pd.concat(frames, ignore_index=True)


def results_of(names: Iterable[str], further: Iterable[Measured] = ()) -> MadeResults:
    """Results of systems by name; ensembles are combined of their members as in a run."""
    frames, records = {}, {}
    for name in names:
        one, records[name] = PAPER.system(name), {}
        if isinstance(one, Ensemble):
            combined = one.combine(PROTOCOL, [made(member) for member in one.members])
            frames[name], records[name] = combined.frame, {"combined": combined.facts}
        else:
            frames[name] = made(name)
    executions = {name: [(SimpleNamespace(history=None), record)] for name, record in records.items()}
    results = MadeResults(PAPER, frames, made_run(PAPER, COHORT, PARTS), further, executions)
    folds = SimpleNamespace(repeats=5, folds=5), SimpleNamespace(repeats=1, folds=1)
    results.split_of = lambda system: folds[not system.endswith("gr5")]
    return results


def dice(part: str, mean: float) -> Measured:
    return Measured("resunet", f"dice_{part}", mean, 1.0, 1, 1, mean - 1, mean + 1, 30, 40)


@pytest.fixture(scope="module")
def whole() -> MadeResults:
    names = [f"{name}_{task}" for task in TASKS for name in (*NETWORKS, "average", "vote")]
    return results_of([*names, "densenet201_whole"], [dice("train", 97.0), dice("validation", 94.0)])


@pytest.fixture(scope="module")
def overlap() -> pd.DataFrame:
    frame = pd.DataFrame({"image_id": list("abcd"), "patient_id": list("aabc")})
    return frame.assign(dice=[0.9, 0.95, 0.8, 0.97], dice_shipped=[0.85, 0.9, 0.82, 0.93])


# Images that the ResUNet was taught: of Cohen's, four COVID-19 test images and the pneumonias of two parts. What it
# was validated on teaches it nothing.
TAUGHT = [*(f"{labels.COVID_COHEN}-{number}" for number in (10, 12, 17, 19)), *(f"pneumonia-{n}" for n in (1, 5, 33))]


@pytest.fixture(scope="module")
def drawn(whole, overlap, tmp_path_factory) -> list[Section]:
    folder = tmp_path_factory.mktemp("resunet")
    masks = pd.DataFrame({"image_id": [*TAUGHT, "normal-40", "elsewhere/1"]})
    masks = masks.assign(patient_id=masks["image_id"], part=["train"] * len(TAUGHT) + ["validation", "train"])
    masks.assign(dice=0.9, iou=0.8, dice_small=0.9, iou_small=0.8).to_csv(folder / "overlap.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages.SEGMENTERS, "done", lambda run: {"resunet": folder})
        patch.setattr(stages, "compared_masks", lambda run: overlap)
        return report.REPORT.sections(whole)


@pytest.fixture
def without_resunet(monkeypatch):
    monkeypatch.setattr(stages.SEGMENTERS, "done", lambda run: {})


def accuracy(frame: pd.DataFrame, split: str = "test") -> float:
    """Mean over executions, percent."""
    rows = frame[frame["split"] == split]
    return float(np.mean([100 * (r["label"] == r["predicted"]).mean() for _, r in rows.groupby(["repeat", "fold"])]))


def rows_of(results: MadeResults, system: str) -> pd.DataFrame:
    return results.frames[system][lambda rows: rows["split"] == "test"]


def test_a_run_has_the_sections_whose_systems_it_has(drawn, without_resunet):
    assert [section.title for section in drawn] == TITLES
    for section in drawn:
        assert section.text
        assert "nan" not in section.text.lower().split()
        assert section.tables
        assert all(len(entry.frame) and not entry.frame.isna().any().any() for entry in section.tables)
        for entry in (*section.figures, *section.folded):
            entry.figure.draw_without_rendering()
    one = report.REPORT.sections(results_of(["densenet201_multi"]))
    assert [section.title for section in one] == [TITLES[place] for place in (0, 1, 5, 6, 7, 9)]


def test_the_accuracy_after_the_heads_epochs_is_read_from_the_history(whole, monkeypatch):
    history = pd.DataFrame({"stage": [0, 0, 1, 1, 2], "val_accuracy": [0.1, 0.2, 0.3, 0.75, 0.9]})
    mine = SimpleNamespace(history=history, system=PAPER.system("vgg19_multi"), protocol=PROTOCOL)
    monkeypatch.setitem(whole.executions, "vgg19_multi", [(mine, {})])
    frame = comparisons.head_table(whole)
    assert frame["system"].tolist() == ["VGG-19"]
    assert frame.loc[0, ["epochs of the head", "validation accuracy (%)", "paper"]].tolist() == [
        "2",
        "75.00",
        "70 to 80",
    ]


def test_images_and_patients_are_counted_by_collection(drawn):
    frame = table(drawn, "Images of Table 2 (three classes)")
    covid = frame.iloc[:3]
    assert covid["class"].tolist() == [COVID, "", ""]
    assert covid["collection"].tolist() == ["all", "COVID-19, Cohen (cohen)", "COVID-19, COVID-CXNet (nih)"]
    assert covid["train"].tolist() == ["24 (12)", "0 (0)", "24 (12)"]
    assert covid["all parts"].tolist() == ["60 (30)", "20 (10)", "40 (20)"]
    assert covid["paper, all parts"].tolist() == ["4,013", "–", "–"]
    frame = frame.set_index("class")
    assert frame.loc["pneumonia", "paper, all parts"] == "5,445†"
    assert frame.loc["normal", ["collection", "validation", "test"]].tolist() == ["nih", "12 (6)", "12 (6)"]
    binary = table(drawn, "Images of Table 3 (COVID-19 against all else)")
    assert binary["paper, all parts"].tolist()[0] == "not published in the text"
    gr = table(drawn, "Images of Table 4 (COVIDGR)").set_index("class")
    assert gr.loc[[NEGATIVE, COVID], "paper, all parts"].tolist() == ["426", "426"]


def test_what_the_paper_states_is_listed_and_what_is_lost_said(drawn):
    frame = table(drawn, "What the paper states of its images").set_index(["table", "row", "column"])["paper"]
    assert frame["Table 2", "BIMCV, COVID-19", "total"] == "2,474†"
    assert frame["Table 1", "training", "share"] == "80.00 %"
    assert frame["Table 3", COVID, "training, validation, test"] == "not published in the text"
    assert images.stated_table([], ["3"])["paper"].tolist() == ["not published in the text"]
    assert images.total_of_collection({"bimcv, covid-19": "7"}, labels.COVID_BIMCV, COVID) == "7"


def test_both_segmenters_are_compared_on_the_same_images(drawn, overlap):
    frame = table(drawn, "How well the masks fit")
    assert [(mean_of(cell), interval_of(cell)) for cell in frame["ours"]] == [(97, (96, 98)), (94, (93, 95))]
    assert frame["paper"].tolist() == ["–", "95.04†"]
    (row,) = table(drawn, "The ResUNet minus the shipped U-Net").to_dict("records")
    # Patients' means are +5, -2 and +4; one drawn three times gives the extremes.
    assert (mean_of(row["difference (points)"]), interval_of(row["difference (points)"])) == (3, (-2, 5))
    assert (row["ResUNet"], row["shipped U-Net"]) == ("90.50", "87.50")
    assert row["wins / losses / ties"] == "3 / 1 / 0"
    (entry,) = next(section for section in drawn if section.title == TITLES[1]).figures
    points = next(line for line in entry.figure.axes[0].lines if line.get_label() == "an image")
    np.testing.assert_array_equal(points.get_xydata(), overlap[["dice_shipped", "dice"]])
    assert "Neither" in text_of(drawn, TITLES[1])


@pytest.mark.parametrize(
    ("standing", "said"), [("above", "The ResUNet's masks fit"), ("below", "The shipped U-Net's masks fit")]
)
def test_which_masks_fit_better_is_told_by_the_interval(standing, said):
    less = Difference("dice", 90, 88, 2, 1, 3, 9)
    assert said in prose(*report.PROSE, "segmentation", trained=True, less=less, standing=standing)


def test_without_a_resunet_it_is_said(whole, without_resunet):
    section = report.segmentation_section(whole)
    assert "was not trained" in section.text
    assert section.tables == []


def test_images_that_taught_the_resunet_are_counted_by_part(drawn):
    frame = table(drawn, "Training images of the ResUNet").set_index(["class", "collection"])
    assert frame.loc[(COVID, "COVID-19, Cohen (cohen)")].tolist() == ["–", "0 of 10", "4 of 10"]
    assert frame.loc[(COVID, "COVID-19, COVID-CXNet (nih)")].tolist() == ["0 of 24", "0 of 8", "0 of 8"]
    assert frame.loc[("normal", "nih")].tolist() == ["0 of 24", "0 of 12", "0 of 12"]
    assert frame.loc[("pneumonia", "cohen")].tolist() == ["2 of 6", "0 of 2", "1 of 2"]
    said = text_of(drawn, TITLES[2])
    assert "4 of 10 of COVID-19, Cohen (cohen) and 1 of 2 of pneumonia (cohen), and none of" in said
    assert "none of COVID-19, COVID-CXNet (nih), normal (nih) and pneumonia (nih)." in said
    assert "share of the picture" not in said, "these images have no masks"
    table_ = COHORT.table.assign(called=COHORT.table["label"], part=PARTS, taught=False)
    groups = images.taught_groups(table_, (labels.NORMAL,))
    assert groups == [{"title": "normal (nih)", "taught": 0, "images": 12}]
    assert "trained on none of the test images" in prose(*report.PROSE, "masks", groups=groups, tested=0, gone=0)


# Of each test image: label, patient, and rows of 20 that are lung.
MASKED = [
    (labels.COVID_COHEN, "a", 9), (labels.COVID_COHEN, "a", 8), (labels.COVID_COHEN, "b", 5),
    (labels.COVID_CXNET, "c", 7), (labels.COVID_CXNET, "d", 4),
    (labels.NORMAL, "e", 3), (labels.NORMAL, "f", 5), (labels.NORMAL, "f", 0), (labels.PNEUMONIA, "g", 6),
]  # fmt: skip


@pytest.fixture
def masked(tmp_path, without_resunet) -> SimpleNamespace:
    """What the section of masks reads, of test images whose masks are on disk; one further image is trained on."""
    rows = []
    for number, (label, patient, height) in enumerate([*MASKED, (labels.NORMAL, "h", 20)]):
        mask = np.full((20, 30), 127, np.uint8)  # what a person has not judged is no lung
        mask[:height] = 255
        cv2.imwrite(str(tmp_path / f"{number}.png"), mask)
        rows.append((f"i{number}", "x.png", patient, label, "one", str(tmp_path / f"{number}.png")))
    frame = pd.DataFrame(rows, columns=["image_id", "path", "patient_id", "label", "source", "mask_path"])
    run = made_run(PAPER, Cohort(frame, labels.STAND_IN), pd.Series(["test"] * len(MASKED) + ["train"]))
    return SimpleNamespace(run=run, paper=PAPER, systems={"vgg19_multi": ""}, classes_of=lambda system: MULTI)


def resampled(statistic, patients: list[str]) -> tuple[float, float]:
    """The 95 % interval of a statistic of the places drawn, patient by patient, a thousand times."""
    names, whose = np.unique(patients, return_inverse=True)
    draws = np.random.default_rng(0).integers(0, len(names), size=(1000, len(names)))
    values = [statistic(np.concatenate([np.flatnonzero(whose == one) for one in draw])) for draw in draws]
    low, high = np.nanquantile(values, [0.025, 0.975])
    return low, high


def test_the_masks_share_is_told_by_collection_and_ranks_the_classes(masked):
    section = report.masks_section(masked)
    (entry,) = section.tables
    frame = entry.frame
    assert list(zip(frame["class"], frame["collection"], strict=True)) == [
        (COVID, "COVID-19, Cohen (one)"), (COVID, "COVID-19, COVID-CXNet (one)"),
        ("normal", "one"), ("pneumonia", "one"),
    ]  # fmt: skip
    assert frame[["images", "patients"]].to_numpy().tolist() == [[3, 2], [2, 2], [3, 2], [1, 1]]
    cells = frame["share of the picture (%)"]
    assert cells.map(mean_of).tolist() == pytest.approx([100 * 22 / 60, 100 * 11 / 40, 100 * 8 / 60, 30], abs=0.006)
    share = np.array([height / 20 for *_, height in MASKED])
    wanted = resampled(lambda places: 100 * share[:3][places].mean(), ["a", "a", "b"])
    assert interval_of(cells[0]) == pytest.approx(wanted, abs=0.006)
    covid = np.array([label.startswith(COVID) for label, *_ in MASKED])

    def ranked(places):
        ours, others = share[places][covid[places]], share[places][~covid[places]]
        pairs = (ours[:, None] > others).astype(float) + (ours[:, None] == others) / 2
        return 100 * pairs.mean() if pairs.size else np.nan

    mean = 100 * roc_auc_score(covid, share)
    assert ranked(np.arange(len(share))) == pytest.approx(mean)
    low, high = resampled(ranked, [patient for _, patient, _ in MASKED])
    assert f"an AUC of {mean:.2f} % ({low:.2f} to {high:.2f}, by patient" in section.text
    assert ("not shown to be informative" in section.text) == (low <= 50 <= high)


def test_masks_that_are_gone_are_left_out_and_counted(masked, tmp_path):
    (tmp_path / "0.png").unlink()
    section = report.masks_section(masked)
    assert section.tables[0].frame["images"].tolist() == [2, 2, 3, 1]
    assert "1 of the 9 test images, whose mask files are gone" in section.text
    for number in range(1, 9):
        (tmp_path / f"{number}.png").unlink()
    section = report.masks_section(masked)
    assert section.tables == []
    assert "is unknown: the mask files of 9 of the 9" in section.text
    masked.systems = {"vgg19_gr": ""}
    assert report.masks_section(masked) is None


@pytest.mark.parametrize(("standing", "said"), [("above", "larger"), ("below", "smaller"), ("across", "not shown")])
def test_what_the_share_alone_tells_is_what_its_interval_allows(standing, said):
    auc = Measured("s", "auc", 55, float("nan"), 1, 1, 50, 60, 5, 9)
    assert said in prose(*report.PROSE, "masks", groups=None, tested=9, gone=0, auc=auc, standing=standing)


def test_gains_are_differences_of_accuracies(whole, drawn):
    frame = table(drawn, "Ensemble minus member").set_index(["task", "ensemble", "network"]).sort_index()
    assert len(frame) == 4 * 2 * 3
    for ensemble in ("average_multi", "vote_binary", "average_gr5"):
        task = ensemble.rpartition("_")[2]
        for member, words in NETWORKS.items():
            wanted = accuracy(whole.frames[ensemble]) - accuracy(whole.frames[f"{member}_{task}"])
            cell = frame.loc[(TASKS[task], short_title(ensemble), words), "gain (points)"]
            assert mean_of(cell) == pytest.approx(wanted, abs=0.006)
    first = frame.xs(("three classes", "weighted average"))
    assert first["paper, gain"].tolist() == ["+1.65†", "+2.23†", "+6.54†"]
    best = max(NETWORKS, key=lambda name: accuracy(whole.frames[f"{name}_multi"]))
    assert first.index[first["best single network on"].str.contains("test")].tolist() == [NETWORKS[best]]
    said = text_of(drawn, TITLES[3])
    assert said.count("the best single network:") == 8
    shown = frame.loc[frame["best single network on"].str.contains("test"), "gain (points)"]
    assert said.count("network: better.") == sum(interval_of(cell)[0] > 0 for cell in shown)


def test_weights_are_those_of_the_record(whole, drawn):
    frame = table(drawn, "Weights of the members").set_index("ensemble")
    (fact,) = whole.executions["average_multi"][0][1]["combined"]
    row = frame.loc["weighted average, three classes"]
    for place, (member, words) in enumerate(NETWORKS.items()):
        own = accuracy(whole.frames[f"{member}_multi"], "validation")
        assert row[words] == f"{fact['weights'][place]:.2f} / {own:.2f}"
    assert row["ensemble on validation (%)"] == f"{accuracy(whole.frames['average_multi'], 'validation'):.2f}"
    assert frame.loc["majority vote, three classes", "VGG-19"].startswith("– / ")
    fact = {"repeat": 0, "fold": 0, "weights": [0.2, 0.8], "accuracy": [60.0, 70.0], "accuracy_ensemble": 75.0}
    facts = [fact, *({**fact, "fold": fold, "weights": [0.4, 0.6]} for fold in range(1, 6))]
    (many,) = comparisons.weight_rows("e", ["A", "B"], facts)
    assert many["execution"] == "6 executions"
    assert many["A"] == "0.37 (0.20 to 0.40) / 60.00"


def test_agreement_is_counted_with_who_is_right():
    """Six images; a word of `said` holds the votes of the three networks on one: c(ovid), n(ormal) or p(neumonia)."""
    names = dict(zip("cnp", MULTI, strict=True))
    said, truth, average, vote = "ccc nnn cnn pcp cnp cpn", "cccccn", "cncpcn", "cnnppc"
    frame = pd.DataFrame({"label": [names[one] for one in truth], "repeat": 0, "fold": 0, "split": "test"})
    frame["image_id"] = frame["patient_id"] = [f"i{n}" for n in range(len(frame))]
    columns = dict(zip(NETWORKS, zip(*said.split(), strict=True), strict=True)) | {"average": average, "vote": vote}
    frames = {f"{name}_multi": frame.assign(predicted=[names[one] for one in own]) for name, own in columns.items()}
    results = SimpleNamespace(systems=dict.fromkeys(frames, ""), predictions_of=frames.get)
    found = comparisons.agreement(results, "multi")
    assert found["pattern"].tolist() == ["3-0", "3-0", "2-1", "2-1", "1-1-1", "1-1-1"]
    rows = pd.DataFrame(comparisons.agreement_rows(found, "multi")).set_index("votes")
    shown = rows.drop(columns=["task", "images"]).map(mean_of)
    assert shown["share (%)"].tolist() == pytest.approx([33.33] * 3)
    assert shown["majority vote right (%)"].tolist() == [50, 0, 0]
    assert shown["weighted average right (%)"].tolist() == [50, 50, 100]
    assert shown["some network right (%)"].tolist() == [50, 100, 100]
    del results.systems["vgg19_multi"]
    assert comparisons.agreement(results, "multi").empty


def test_two_classes_have_two_patterns(whole, drawn):
    frame = table(drawn, "Votes")
    binary = frame[frame["task"] == TASKS["binary"]]
    assert binary["votes"].tolist() == ["3-0", "2-1"]
    said = np.stack([rows_of(whole, f"{name}_binary")["predicted"].to_numpy(str) for name in NETWORKS])
    agree = (said == said[0]).all(axis=0)
    assert mean_of(binary["share (%)"].iloc[0]) == pytest.approx(100 * agree.mean(), abs=0.006)


def test_test_less_validation_stands_beside_what_the_paper_says(whole, drawn):
    frame = table(drawn, "Test minus validation").set_index(["task", "system"])
    for name in ("resnet152_multi", "average_gr5"):
        cell = frame.loc[(TASKS[name.rpartition("_")[2]], short_title(name)), "difference (points)"]
        wanted = accuracy(whole.frames[name]) - accuracy(whole.frames[name], "validation")
        assert mean_of(cell) == pytest.approx(wanted, abs=0.006)
    assert frame.loc[("three classes", "DenseNet-201"), "paper, difference"] == "+0.26†"
    assert frame.loc[("three classes", "VGG-19"), "paper, difference"] == "−3.56†"
    said = text_of(drawn, TITLES[5])
    assert "2 to 4 % below" in said
    assert "contradict this for DenseNet-201 (+0.26 points), 1 of 5" in said
    fell = sum(interval_of(cell)[1] < 0 for cell in frame["difference (points)"])
    assert f"Of our 20 systems, {fell} fall" in said
    assert comparisons.claimed_drop([], {}) == {}


def test_each_class_is_measured_against_the_rest(whole, drawn):
    for name in MULTI:
        frame = table(drawn, f"{name} against the rest").set_index("system")
        assert len(frame) == 6, "with the network without masks"
        for system in ("average_multi", "vote_multi", "densenet201_whole"):
            rows = rows_of(whole, system)
            truth, said = rows["label"].eq(name), rows["predicted"].eq(name)
            precision, recall, f1, _ = precision_recall_fscore_support(truth, said, labels=[False, True])
            wanted = {"sensitivity": recall[1], "specificity": recall[0], "F1": f1[1]}
            wanted |= {"PPV": precision[1], "NPV": precision[0], "AUC": roc_auc_score(truth, rows[f"score_{name}"])}
            row = frame.loc[whole.systems[system]]
            if system == "vote_multi":
                del wanted["AUC"]
                assert row["AUC"] == "–"
            for words, value in wanted.items():
                assert mean_of(row[words]) == pytest.approx(100 * value, abs=0.006)
    frame = table(drawn, f"{COVID} against the rest").set_index("system")
    assert frame.loc[whole.systems["vote_multi"], "paper, sensitivity"] == "82.00†"


def test_what_tables_8_and_9_need_is_measured(whole):
    found = measured_of(measure(whole.frames["vote_multi"]))
    rows = rows_of(whole, "vote_multi")
    for name in MULTI:
        truth, said = rows["label"].eq(name), rows["predicted"].eq(name)
        assert found["vote_multi", f"specificity_{name}"].mean == pytest.approx(100 * (~said[~truth]).mean())
        assert found["vote_multi", f"npv_{name}"].mean == pytest.approx(100 * (~truth[~said]).mean())
    validation = found["vote_multi", "accuracy_validation"]
    assert validation.mean == pytest.approx(accuracy(whole.frames["vote_multi"], "validation"))
    assert ("vote_multi", "accuracy_train") not in found
    assert {one.metric for one in measure(whole.frames["vote_binary"])} == {"accuracy_validation"}
    wanted = {cell.metric for cell in whole.published if cell.system == "vote_multi" and cell.metric}
    assert wanted <= {one.metric for one in whole.measured if one.system == "vote_multi"}


def test_what_is_called_covid_is_told_by_collection(whole, drawn):
    frame = table(drawn, f"Called {COVID} by collection: three classes").set_index("label (collection)")
    assert frame.index.tolist()[:2] == ["COVID-19, Cohen (cohen)", "COVID-19, COVID-CXNet (nih)"]
    assert frame["training"].tolist()[:2] == ["0", "24"]
    assert set(frame.index[2:]) == {"normal (nih)", "pneumonia (nih)", "pneumonia (cohen)"}
    assert frame.loc["COVID-19, Cohen (cohen)", "test (patients)"] == "10 (5)"
    rows = rows_of(whole, "densenet201_multi")
    for label, source in ((labels.COVID_COHEN, "cohen"), (labels.PNEUMONIA, "nih")):
        mine = rows[rows["image_id"].str.startswith(label) & rows["source"].eq(source)]
        wanted = 100 * mine["predicted"].eq(COVID).mean()
        assert mean_of(frame.loc[f"{label} ({source})", "DenseNet-201"]) == pytest.approx(wanted, abs=0.006)


def test_sensitivity_falls_on_collections_that_nobody_trained_on(whole, drawn):
    frame = table(drawn, "Sensitivity, trained on minus not: three classes").set_index("system")["difference (points)"]
    rows = rows_of(whole, "densenet201_multi")
    seen, unseen = (
        100 * rows.loc[rows["image_id"].str.startswith(label), "predicted"].eq(COVID).mean()
        for label in (labels.COVID_CXNET, labels.COVID_COHEN)
    )
    assert mean_of(frame["DenseNet-201"]) == pytest.approx(seen - unseen, abs=0.011)
    assert mean_of(frame["DenseNet-201"]) > 20
    lower = sum(interval_of(cell)[0] > 0 for cell in frame)
    said = text_of(drawn, TITLES[7])
    assert f"for {lower} of 5 systems and higher for 0; for {5 - lower} neither" in said
    groups = [group for group in images.source_groups(images.tested_images(whole, "vgg19_multi")) if group.trained]
    assert images.seen_less_unseen(whole, "vgg19_multi", groups) is None


def test_as_what_a_collection_was_trained_on_is_counted(drawn):
    """Of Cohen's collection every fourth of 24 pneumonias is trained on, and no COVID-19."""
    multi, binary, gr = (
        table(drawn, f"Trained on, by collection: {TASKS[task]}").set_index("collection")
        for task in ("multi", "binary", "gr")
    )
    columns = [f"{name}, training" for name in MULTI]
    assert multi.loc["cohen", columns].tolist() == ["0", "0", "6"]
    assert multi.loc["nih", columns].tolist() == ["24", "24", "18"]
    assert multi["COVID-19, test"].to_dict() == {"cohen": "10", "nih": "8"}
    assert binary.loc["cohen", ["no COVID-19, training", "COVID-19, training"]].tolist() == ["6", "0"]
    assert gr.loc["cohen", ["no COVID-19, training", "COVID-19, training"]].tolist() == ["0", "0"], "no pneumonia there"
    known = [frame["its COVID-19"].to_dict() for frame in (multi, binary, gr)]
    assert known[0] == known[1] == {"cohen": "trained on under another class alone", "nih": "trained on"}
    assert known[2] == {"cohen": "nothing trained on", "nih": "trained on"}


LOWER = "so a lower sensitivity is by design"


def test_a_lower_sensitivity_by_design_is_told_from_an_unseen_collection(drawn):
    _, multi, binary, gr = text_of(drawn, TITLES[7]).split("\n\n")
    assert LOWER in multi
    assert LOWER in binary
    assert LOWER not in gr
    assert 'but on 6 as "pneumonia".' in multi
    assert 'but on 6 as "no COVID-19".' in binary
    assert 'of other classes, 24 as "normal" and 18 as "pneumonia".' in multi
    assert "cohen: not trained on" in gr
    assert all("10 of the 18 test images of COVID-19." in said for said in (multi, binary, gr))
    alone = images.Collection("a", {COVID: 1200, labels.NORMAL: 0}, 3)
    told = {"title": "three classes", "collections": [alone], "tested": 3, "standings": []}
    said = prose(*report.PROSE, "sources", tasks=[told]).split("\n\n")[2]
    assert "1,200 images of COVID-19 and none of another class" in said
    assert "lower" not in said
    assert "neither is shown" not in said


def test_a_collection_is_seen_whatever_label_its_covid_is_trained_under():
    """Images of RICORD's may also come in COVIDx's list, which is for testing alone."""
    rows = [("a", labels.COVID_RICORD, "train"), ("b", labels.COVID_COVIDX, "test"), ("c", labels.NORMAL, "test")]
    frame = pd.DataFrame(rows, columns=["image_id", "label", "split"]).assign(path="x.png", source="ricord")
    frame["patient_id"] = frame["image_id"]
    run = made_run(PAPER, Cohort(frame.drop(columns="split"), labels.PUBLISHED), frame["split"])
    results = SimpleNamespace(run=run, paper=PAPER, predictions_of=lambda system: frame)
    covid, normal = images.source_groups(images.tested_images(results, "vgg19_multi"))
    assert (covid.covid, covid.trained, covid.seen) == (True, 0, True)
    assert not normal.covid


def test_one_division_stands_beside_folds_and_covid_sdnet(whole, drawn):
    frame = table(drawn, "One split, folds, and COVID-SDNet").set_index("system")
    ours = frame.loc["weighted average"]
    assert mean_of(ours["one division, accuracy"]) == pytest.approx(accuracy(whole.frames["average_gr"]), abs=0.006)
    folds = rows_of(whole, "average_gr5").groupby("fold")
    values = [100 * (rows["label"] == rows["predicted"]).mean() for _, rows in folds]
    mean, spread = ours["folds, accuracy"].split("\n")[0].split(" ± ")
    assert (float(mean), float(spread)) == pytest.approx((np.mean(values), np.std(values, ddof=1)), abs=0.006)
    assert ours[["paper, accuracy", "paper, sensitivity"]].tolist() == ["77.00†", "78.00†"]
    other = frame.loc["COVID-SDNet, as printed"]
    assert other[["folds, accuracy", "folds, sensitivity"]].tolist() == ["76.18 ± 2.70", "72.59 ± 6.77"]
    assert other["one division, accuracy"] == "–"
    assert "replace COVIDGR-1.0" in text_of(drawn, TITLES[8])


def test_the_papers_gain_is_within_what_its_test_images_allow(drawn):
    frame = table(drawn, "Sampling error of the test images").set_index("metric")
    assert frame["n"].tolist() == [170, 85]
    wanted = [f"{100 * np.sqrt(p * (1 - p) / n):.2f}" for p, n in ((0.77, 170), (0.78, 85))]
    assert frame["standard error"].tolist() == wanted
    assert frame["gain"].tolist() == ["+0.82", "+5.41"]
    assert frame["within what n allows"].tolist() == ["yes", "yes"]
    assert "no gain is shown" in text_of(drawn, TITLES[8])
    assert comparisons.counted_images([]) == {}


@pytest.mark.parametrize(
    ("printed", "within", "said"),
    [
        ((90, 95), [False, False], "exceeds the sampling error"),
        ((90, 74), [False, True], "The gain in sensitivity is within"),
    ],
)
def test_a_gain_beyond_sampling_is_told(printed, within, said):
    cells = [
        PublishedCell("12", "r", metric, value, None, "percent", value, system="average_gr", metric=metric)
        for metric, value in zip(("accuracy", "sensitivity"), printed, strict=True)
    ]
    images_of = {"accuracy": 170, "sensitivity": 85}
    claims = comparisons.claims_of(printed_of(cells), comparisons.compared_cells(), images_of)
    assert [one.within for one in claims] == within
    assert said in prose(*report.PROSE, "covidgr", claims=claims, stand_in=False, folds=None)


def test_literature_has_ours_in_the_papers_own_rows_alone(whole, drawn):
    frame = table(drawn, "Radiologists (Table 13)").set_index("who")
    assert frame.loc["Consensus of five radiologists [21]", ["paper", "ours"]].tolist() == ["70.00 %", "–"]
    assert frame.loc["Radiologist 1 [21]", "paper"] == "not published in the text"
    ours = measured_of(whole.measured)["average_binary", "sensitivity"]
    assert mean_of(frame.loc["Our binary weighted average ensemble", "ours"]) == pytest.approx(ours.mean, abs=0.006)
    literature = table(drawn, "Literature (Table 14)")
    assert literature.loc[literature["who"].str.startswith("Wehbe"), "ours"].eq("–").all()
    assert mean_of(literature.set_index(["who", "what"]).loc[("Ours, segmentation", "DSC"), "ours"]) == 94


def tiny(seed: int, size: tuple[int, int]) -> keras.Model:
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((*size, 3))
    x = keras.layers.Conv2D(4, 5, strides=4, activation="relu", name="relu")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))


@pytest.fixture
def examples(tmp_path, monkeypatch) -> Examples:
    """A normal phantom and one of COVID-19, of the network without masks; the one with masks is another."""
    cohort = phantom_cohort(tmp_path, (labels.NORMAL, labels.COVID_CXNET), labels.STAND_IN)
    size, cache = tuple(PROTOCOL.size), tmp_path / "cache"
    run = made_run(PAPER, cohort, protocol=PROTOCOL, cache=cache)
    execution, before = (run.execution(name) for name in ("densenet201_whole", "densenet201_multi"))
    networks = {before.system.name: tiny(2, size)}
    monkeypatch.setattr(Execution, "before", property(lambda self: before))
    monkeypatch.setattr(Execution, "network", property(lambda self: networks[self.system.name]))
    prepared = prepare_cohort(cohort, execution.preparation, cache, workers=1)
    predictions = pd.DataFrame({"image_id": ["i0", "i1"], "label": [labels.NORMAL, COVID]})
    return Examples(execution, predictions, cohort, prepared, tiny(1, size))


def test_figure_11_shows_both_networks_on_the_same_image(examples):
    ((title, caption, figure),) = figures.segmentation_pictures(examples)
    other = examples.before.network
    assert title == figure.get_suptitle()
    side = other.get_layer("relu").output.shape[1]
    assert f"{side} x {side} cells" in caption
    assert f"cell is {100 / side**2:.1f} % of its area" in caption
    panels = [axes for axes in figure.axes if axes.images][:4]
    image = examples.prepared.load(1)[..., 0]
    mask = cv2.imread(examples.cohort.table["mask_path"][1], 0)
    mask = cv2.resize(mask, PROTOCOL.size[::-1], interpolation=cv2.INTER_NEAREST) > 0
    np.testing.assert_array_equal(panels[0].images[0].get_array(), image)
    cut = panels[2].images[0].get_array()
    assert (cut[cv2.dilate(mask.astype(np.uint8), np.ones((5, 5))) == 0] == 0).all(), "black outside the lungs"
    assert cut.max() > 0
    fed = np.repeat(cut[None, ..., None].astype(np.float32), 3, axis=-1)
    heat = grad_cam(other, np.asarray(PAPER.system("densenet201_multi").scaling(fed)), 0, "relu")[0]
    if heat.any():
        assert panels[3].get_xlabel().startswith(f"{100 * heat_in_lungs(heat, mask):.0f} %")
    shown = texts(figure)
    assert all(word in shown for word in ("i1", "(b) without masks", "(c) segmented", "(d) with masks"))
    assert "i0" not in shown


def test_without_covid_there_is_no_figure(examples):
    none = dataclasses.replace(examples, predictions=examples.predictions.assign(label=labels.NORMAL))
    assert figures.segmentation_pictures(none) == []
    with pytest.raises(ValueError, match="no image"):
        figures.segmentation_figure([])
    with pytest.raises(ValueError, match="no image"):
        figures.dice_figure(pd.DataFrame({"dice": [], "dice_shipped": []}))
