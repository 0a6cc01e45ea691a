"""Numbers that are made: those of real matrices and runs are never called impossible, planted errors are found."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covid_keras.audit import audit
from covid_keras.audit.book import Book
from covid_keras.audit.intervals import Interval
from covid_keras.audit.moments import MEAN, STD, Moments, Runs, at_fault, possible
from covid_keras.audit.relations import same_slip
from covid_keras.common.errors import UserError
from covid_keras.evaluation.possibility import WRONG
from covid_keras.published.facts import Facts
from tests.helpers.printed_numbers import SEVEN, metrics_of, printed, printed_count, printed_matrix, printed_row

QUICK = settings(max_examples=40, deadline=None)
SLOW = settings(max_examples=12, deadline=None)
FOUR = ("accuracy", "sensitivity", "specificity", "f1_positive")


def accused(cells):
    """Return the verdicts that find fault with a cell."""
    return [verdict for verdict in audit(cells).table()["verdict"] if verdict in WRONG]


def reasons_of(cells, verdict="explained"):
    """Return the reasons of cells with this verdict, by table and column."""
    table = audit(cells).table()
    own = table[table["verdict"] == verdict]
    return dict(zip(zip(own["table"], own["column"], strict=True), own["reason"], strict=True))


@QUICK
@given(st.integers(5, 400), st.sampled_from([(5, 5), (10, 5), (3, 3), (25, 5)]), st.integers(1, 3), st.data())
def test_means_of_equal_folds_lie_on_their_grid(images, division, decimals, data):
    runs, folds = division
    sizes = [images // folds + (fold < images % folds) for fold in range(folds)] * (runs // folds)
    hits = [data.draw(st.integers(0, size)) for size in sizes]
    mean = np.mean([k / size for k, size in zip(hits, sizes, strict=True)])
    facts = {"images": (images,), "executions": runs, "folds": folds, "equal_folds": "images"}
    assert not accused([printed(mean, "accuracy", decimals, **facts)])


def test_a_mean_beside_the_grid_of_equal_folds_is_found():
    facts = {"images": (250,), "executions": 5, "folds": 5}
    assert not accused([printed(0.9483, "accuracy", **facts)]), "folds by patients may differ in size"
    assert accused([printed(0.9483, "accuracy", equal_folds="images", **facts)]) == ["impossible"]
    assert not accused([printed(0.9480, "accuracy", equal_folds="images", **facts)])
    # 237 of 251 images: four folds of 50, one of 51.
    facts["images"] = (251,)
    assert not accused([printed((45 + 46 + 48 + 50) / 250 + 48 / 255, "accuracy", 3, equal_folds="images", **facts)])
    facts = {"positives": (60,), "negatives": (90,), "executions": 5, "folds": 5}
    for known, words in (("images", []), ("classes", ["impossible"])):
        assert accused([printed(0.715, "sensitivity", equal_folds=known, **facts)]) == words


@QUICK
@given(
    st.lists(st.tuples(*[st.integers(0, 300)] * 4), min_size=1, max_size=3),
    st.integers(1, 4),
    st.sampled_from(["percent", "ratio"]),
)
def test_rows_of_real_matrices_are_possible(matrices, decimals, unit):
    cells = []
    for number, (tp, fn, fp, tn) in enumerate(matrices):
        cells += printed_row((tp, fn + 1, fp, tn + 1), decimals, unit, row=f"net {number}")
    assert not accused(cells)


@QUICK
@given(st.tuples(*[st.integers(1, 60)] * 4), st.integers(1, 3))
def test_rows_of_real_matrices_are_possible_where_the_classes_are_not_stated(matrix, decimals):
    values = metrics_of(*matrix)
    cells = [printed(values[name], name, decimals, images=(sum(matrix),)) for name in FOUR]
    assert not accused(cells)
    # Of ten images in classes of one to nine no share is 0.55.
    wrong = [printed(value, name, images=(10,)) for name, value in (("accuracy", 0.7), ("sensitivity", 0.55))]
    assert accused(wrong) == ["impossible", "impossible"]


@QUICK
@given(st.integers(1, 900), st.data(), st.integers(1, 4))
def test_shares_of_stated_images_are_possible(images, data, decimals):
    right, errors = data.draw(st.integers(0, images)), data.draw(st.integers(0, 3))
    runs = [min(images, right + error) for error in range(errors + 1)]
    mean = sum(runs) / images / len(runs)
    assert not accused([printed(mean, "accuracy", decimals, images=(images,), executions=len(runs))])


def folded(rng, positives, negatives, folds, repeats, stratified):
    """Return sensitivity, specificity, ... (runs, 7) of classifiers of changing quality on random folds."""
    truth = np.r_[np.ones(positives, bool), np.zeros(negatives, bool)]
    values = []
    for _ in range(repeats):
        order = rng.permutation(len(truth))
        if stratified:
            order = order[np.argsort(truth[order], kind="stable")]
        for fold in range(folds):
            test = order[fold::folds] if stratified else np.array_split(order, folds)[fold]
            skill = rng.uniform(0.45, 0.95, 2)
            said = np.where(truth[test], rng.random(len(test)) < skill[0], rng.random(len(test)) > skill[1])
            real = truth[test]
            counts = (real & said).sum(), (real & ~said).sum(), (~real & said).sum(), (~real & ~said).sum()
            values.append([metrics_of(*map(int, counts)).get(name, np.nan) for name in SEVEN])
    return np.array(values)


@SLOW
@given(
    st.integers(0, 10**6), st.integers(60, 450), st.integers(60, 450), st.sampled_from([(1, 8), (5, 5), (10, 1)]),
    st.booleans(), st.sampled_from([0, 1]),
)  # fmt: skip
def test_means_over_real_folds_are_possible(seed, positives, negatives, division, stratified, ddof):
    folds, repeats = division
    values = folded(np.random.default_rng(seed), positives, negatives, folds, repeats, stratified)
    if np.isnan(values).any():
        return
    facts = {"positives": (positives,), "negatives": (negatives,), "executions": folds * repeats, "folds": folds}
    means, stds = values.mean(axis=0), values.std(axis=0, ddof=ddof)
    cells = [printed(mean, name, std=std, **facts) for name, mean, std in zip(SEVEN, means, stds, strict=True)]
    assert not accused(cells)


@QUICK
@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.integers(2, 4))
def test_dice_and_iou_of_real_masks_are_a_pair(overlaps, decimals):
    iou = np.array(overlaps)
    dice = 2 * iou / (1 + iou)
    cells = [printed(dice.mean(), "dice", decimals), printed(iou.mean(), "iou", decimals)]
    assert not accused(cells)


@QUICK
@given(st.integers(0, 10**6), st.lists(st.integers(60, 200), min_size=2, max_size=4), st.sampled_from([1, 5]))
def test_a_rate_is_the_weighted_mean_of_its_parts(seed, sizes, folds):
    rng = np.random.default_rng(seed)
    level = np.repeat(np.arange(len(sizes)), sizes)
    right = rng.random(len(level)) < rng.uniform(0.2, 0.99, len(sizes))[level]
    parts = np.array_split(rng.permutation(len(level)), folds)
    rates = [[right[part][level[part] == at].mean() for part in parts] for at in range(len(sizes))]
    whole = [right[part].mean() for part in parts]
    facts = {"executions": folds, "folds": folds}
    cells = [
        printed(np.mean(rate), f"accuracy_{at}", std=np.std(rate) if folds > 1 else None, row=f"level {at}",
             images=(size,), **facts)
        for at, (size, rate) in enumerate(zip(sizes, rates, strict=True))
    ]  # fmt: skip
    weights = tuple((("1", f"level {at}", f"accuracy_{at}"), (size,)) for at, size in enumerate(sizes))
    cells.append(printed(np.mean(whole), "sensitivity", weighted_mean_of=weights, **facts))
    assert not accused(cells)


@QUICK
@given(st.tuples(*[st.integers(1, 300)] * 4), st.integers(1, 4))
def test_metrics_of_a_matrix_agree_where_no_images_are_stated(matrix, decimals):
    found = metrics_of(*matrix)
    cells = [printed(value, name, decimals) for name, value in found.items()]
    assert not accused([*cells, printed(found["accuracy"], "weighted_recall", decimals)])


@pytest.mark.parametrize(
    ("wrong", "values"),
    [
        ("f1_positive", {"f1_positive": 0.86, "precision_positive": 0.8, "sensitivity": 0.9}),
        ("accuracy", {"accuracy": 0.93, "sensitivity": 0.92, "specificity": 0.85}),
        ("weighted_recall", {"weighted_recall": 0.91, "accuracy": 0.92}),
    ],
)
def test_metrics_that_disagree_whatever_the_images(wrong, values):
    verdicts = audit([printed(value, name) for name, value in values.items()]).table().set_index("column")["verdict"]
    assert [name for name, verdict in verdicts.items() if verdict == "impossible"] == [wrong]


@pytest.mark.parametrize("metric", ["accuracy", "f1_positive"])
def test_a_changed_digit_is_found(metric):
    rng, found = np.random.default_rng(1), []
    for _ in range(10):
        cells = printed_row(tuple(map(int, rng.integers((60, 5, 5, 60), (400, 60, 60, 400)))))
        at = SEVEN.index(metric)
        wrong = min(max(cells[at].mean + rng.choice([-0.02, -0.01, 0.01, 0.02]), 0), 1)
        cells[at] = replace(cells[at], mean=float(f"{wrong:.3f}"))
        found.append(audit(cells).table()["verdict"][at] != "consistent")
    assert np.mean(found) >= 0.9


def table_of_three(rng, change):
    """Return the cells of three rows of one test set, the values changed."""
    positives, negatives = (int(n) for n in rng.integers(200, 2000, 2))
    cells = []
    for number in range(3):
        tp, tn = (int(n * skill) for n, skill in zip((positives, negatives), rng.uniform(0.7, 0.95, 2), strict=True))
        matrix = (tp, positives - tp, negatives - tn, tn)
        found = change({name: metrics_of(*matrix)[name] for name in FOUR}, matrix)
        facts = {"positives": (positives,), "negatives": (negatives,), "row": f"part {number}"}
        cells += [printed(value, name, 3, "ratio", **facts) for name, value in found.items()]
    return cells


def faulty(found, matrix):
    tp, _, fp, tn = matrix
    return {**found, "accuracy": (tp + tn) / (tp + tn + 2 * fp)}


def exchanged(found, matrix):
    return {**found, "sensitivity": found["specificity"], "specificity": found["sensitivity"]}


@pytest.mark.parametrize(
    ("seed", "change", "named"),
    [
        (2, faulty, lambda cells: reasons_of(cells).get(("1", "accuracy")) == "(TP + TN) / (TP + TN + 2 FP)"),
        (3, exchanged, accused),
    ],
)
def test_a_wrong_formula_is_named_and_exchanged_columns_are_found(seed, change, named):
    rng = np.random.default_rng(seed)
    assert np.mean([bool(named(table_of_three(rng, change))) for _ in range(8)]) >= 0.75


def test_a_copied_table_is_found_and_the_first_one_kept():
    values = np.random.default_rng(4).uniform(0.8, 0.99, (3, 2))
    cells = [
        printed(value, "", 4, "ratio", table=table, row=f"r{row}", column=f"c{at}")
        for table in "12"
        for (row, at), value in np.ndenumerate(values)
    ]
    assert reasons_of(cells) == {("2", column): "a copy of Table 1" for column in ("c0", "c1")}
    assert not accused([cell for cell in cells if cell.row == "r0"]), "two numbers may agree"


SUM = {"sum_of": ((("1", "a", "n"), ("1", "b", "n")),)}


@pytest.mark.parametrize(("total", "holds"), [(100, True), (101, False), (99, False)])
def test_totals_that_do_not_add_up(total, holds):
    parts = [printed_count("a", 60), printed_count("b", 40)]
    assert (not accused([*parts, printed_count("all", total, **SUM)])) == holds


@pytest.mark.parametrize(("share", "holds"), [(80, True), (79, False), (80.1, False)])
def test_shares_of_printed_counts(share, holds):
    parts = [printed_count("a", 120), printed_count("b", 30)]
    of_all = ((("1", "a", "n"), (("1", "a", "n"), ("1", "b", "n"))), (("1", "a", "n"), (150,)))
    share_of_a = printed(share / 100, "", 1 if share % 1 else 0, column="share", share_of=of_all)
    table = audit([*parts, share_of_a]).table().set_index("column")
    assert table.loc["share", "verdict"] == ("consistent" if holds else "impossible")
    assert "120 of 150 (Table 1, 'a', 'n') are 80.0" in table.loc["share", "proof"]
    assert not any(table.loc["n", "rules"]), "the counts are what they are"


def test_of_two_values_of_one_quantity_the_confirmed_one_is_kept():
    again = printed_count("again", 45, same_as=(("1", "b", "n"),))
    cells = [printed_count("a", 60), printed_count("b", 40), printed_count("all", 100, **SUM), again]
    assert list(audit(cells).table()["verdict"]) == ["consistent", "consistent", "consistent", "impossible"]


def near(value, half=5e-5):
    return Interval(value - half, value + half)


def test_a_deviation_that_the_others_do_not_allow_is_named_without_its_mean():
    row = {
        "sensitivity": Moments("sensitivity", near(0.768), near(0.063)),
        "precision_positive": Moments("precision_positive", near(0.8423), near(0.0459)),
        "f1_positive": Moments("f1_positive", near(0.8007), near(0.0004)),
    }
    runs = Runs(25, "positive")
    assert not possible(list(row.values()), runs)
    assert at_fault(row, runs, ("f1_positive",)) == ("f1_positive", STD)
    row["f1_positive"] = Moments("f1_positive", near(0.8007), near(0.03))
    assert possible(list(row.values()), runs)
    # By Jensen's inequality no mean F1 is above that of the mean precision and recall, 0.8034.
    row["f1_positive"] = Moments("f1_positive", near(0.806), near(0.03))
    assert at_fault(row, runs, ("f1_positive",)) == ("f1_positive", MEAN)


def test_a_lost_digit_of_a_mean_is_found_and_named():
    rng = np.random.default_rng(5)
    values = folded(rng, 426, 426, 5, 5, True)
    facts = {"positives": (426,), "negatives": (426,), "executions": 25, "folds": 5}
    means, stds = values.mean(axis=0), values.std(axis=0)
    cells = [printed(mean, name, std=std, **facts) for name, mean, std in zip(SEVEN, means, stds, strict=True)]
    at = SEVEN.index("precision_negative")
    whole = f"{cells[at].mean:.2f}"
    cells[at] = printed(float(whole[1:]) / 100, "precision_negative", std=stds[at], **facts)
    assert reasons_of(cells)["1", "precision_negative"] == f"a slip of the pen, {whole}"


def test_of_two_values_of_one_quantity_that_is_kept_which_its_row_allows():
    values = {"sensitivity": 0.9, "specificity": 0.96, "accuracy": 0.987}
    row = [printed(value, name, row="a") for name, value in values.items()]
    again = printed(0.957, "accuracy", table="2", row="b", same_as=(("1", "a", "accuracy"),))
    open_ = "cannot be checked"
    assert list(audit([*row, again]).table()["verdict"]) == [open_, open_, "impossible", open_]


def test_a_number_that_is_not_the_only_one_that_can_be_wrong_is_no_slip():
    values = {"sensitivity": (0.7259, 0.0677), "precision_positive": (0.7867, 0.047), "f1_positive": (0.7571, 0.0335)}
    row = [printed(mean, name, std=std, executions=25) for name, (mean, std) in values.items()]
    found = audit(row).table().set_index("column").loc["f1_positive"]
    assert found.verdict == "impossible"
    assert "sensitivity or precision positive is wrong" in found.proof


@pytest.mark.parametrize(
    ("allowed", "verdict", "reason", "words"),
    [
        (Interval(0.62, 0.64), "explained", "a slip of the pen, 63.36", "is possible too"),
        (Interval(0.62, 0.63), "impossible", "", "another number of the row"),
    ],
)
def test_a_slip_is_looked_for_wherever_the_number_stands(allowed, verdict, reason, words):
    cells = [printed(0.0336, "precision_negative", table=table, system="net") for table in ("1", "2", "3")]
    other = printed(0.0336, "precision_negative", table="4", system="other")
    book = Book([*cells, other])
    book.slips["1", "net", "precision_negative"] = "63.36"
    book.allowed |= {(table, "net", "precision_negative"): allowed for table in ("3", "4")}
    (found,) = same_slip(book)
    assert (found.places[0][0], found.verdict, found.reason) == ("3", verdict, reason)
    assert "63.36, which explains the same number of Table 1" in found.proof
    assert words in found.proof


def test_another_number_of_images_that_the_paper_states():
    cells = [printed(28 / 37, "accuracy", images=(41,)), printed(19 / 37, "", images=(37,), quantity="accuracy")]
    assert reasons_of(cells) == {("1", "accuracy"): "37 images, which the paper states elsewhere"}


def test_digits_cut_off_instead_of_rounded():
    matrix = (423, 3, 425, 1)
    facts = {"positives": (426,), "negatives": (426,)}
    cut = {name: np.floor(1e4 * value + 1e-9) / 1e4 for name, value in metrics_of(*matrix).items()}
    cells = [printed(value, name, **facts) for name, value in cut.items()]
    reasons = list(reasons_of(cells).values())
    assert set(reasons) == {"digits cut off instead of rounded"}
    assert len(accused(cells)) == len(reasons) < len(cells)


# What honest papers print, and what was once held against them.
MATRIX, OTHER = (78, 3, 4, 641), (40, 20, 10, 50)
FIRST_ROW = printed_row(MATRIX, system="net", table="2")
OTHER_ROW = printed_row(OTHER, system="net", table="3")


@pytest.mark.parametrize(
    "cells",
    [
        [*FIRST_ROW, *OTHER_ROW],
        [*printed_matrix(MATRIX, "net", "1"), *FIRST_ROW, *OTHER_ROW],
        [*printed_matrix(MATRIX, "net", "1"), *printed_matrix(OTHER, "net", "4"), *OTHER_ROW],
        [*printed_matrix(MATRIX, "net", "1"), printed(0.96, "sensitivity", system="net", executions=10)],
        [printed(0.9, "accuracy", row="net", column=f"{n}", positives=(n,), negatives=(n,)) for n in (10, 30)]
        + [printed(0.5, name, column=name) for name in ("sensitivity", "specificity")],
        [printed(0.9, "accuracy", 1, system="a"), *(printed(0.5, name, 1, system="b") for name in FOUR[1:3])],
        [printed(0.91, name, 2, std=0.03, positives=(7,), negatives=(9,)) for name in SEVEN],
        [printed(0.42, "accuracy_Severe", 2, positives=(50,), negatives=(44,))],
        [printed(0.313, "sensitivity", 1, images_from=(20,), images_to=(21,))],
        [printed(0.8809, "accuracy", executions=5, folds=5, positives=(40,), negatives=(175,))],
        [printed(1 / 7, "sensitivity", std=(1 / 7) ** 0.5, executions=10, folds=2, positives=(2,), negatives=(4,))],
        [printed(1.5, "", 1), printed(-0.2, "", 1, column="loss")],
    ],
    ids=[
        "two test sets", "two test sets and one matrix", "two matrices", "a mean beside one matrix",
        "two evaluations in a row", "two systems in a row", "a mean of unknown runs", "a level of severity",
        "a class of images that are not stated", "folds of patients", "a deviation of the folds that have the class",
        "a gain in percent",
    ],
)  # fmt: skip
def test_other_images_systems_and_trainings_are_not_held_against_each_other(cells):
    assert not accused(cells)


def sums(*groups):
    return {"sum_of": tuple(tuple(("1", row, "n") for row in group) for group in groups)}


A, B, C = (printed_count(row, n) for row, n in (("a", 300), ("b", 80), ("c", 20)))
WRONG_PART = printed_count("a", 310)


@pytest.mark.parametrize(
    ("cells", "impossible", "one_of"),
    [
        ([A, B, printed_count("all", 390, **sums("ab"))], ["all"], ["a", "b"]),
        ([A, B, printed_count("gap", 190, difference_of=((("1", "a", "n"), ("1", "b", "n")),))], ["gap"], ["a", "b"]),
        # The total is right elsewhere, so a part is wrong.
        ([A, B, C, printed_count("all", 400, **sums("ab", "abc"))], ["all"], []),
        ([WRONG_PART, B, printed_count("all", 380, **sums("ab")), printed_count("more", 400, **sums(["all", "c"])), C],
         [], ["a", "b"]),
        # Two sums are wrong, and one number is in both.
        ([WRONG_PART, B, C, printed_count("x", 380, **sums("ab")), printed_count("y", 320, **sums("ac"))],
         ["a"], ["b", "c", "x", "y"]),
        ([A, B, C, printed_count("x", 380, **sums("ab")), printed_count("y", 110, **sums("bc"))], ["y"], ["c"]),
    ],
)  # fmt: skip
def test_a_wrong_sum_accuses_what_can_be_pinned_down(cells, impossible, one_of):
    table = audit(cells).table()
    assert sorted(table.loc[table["verdict"] == "impossible", "row"]) == impossible
    doubted = table[table["verdict"] == "one of these is wrong"]
    assert sorted(doubted["row"]) == one_of
    assert all(f"'{row}'" in reason for row, reason in zip(doubted["row"], doubted["reason"], strict=True))


def test_a_wrong_weighted_mean_does_not_accuse_its_parts():
    parts = [printed(share, f"accuracy_{row}", row=row) for row, share in (("a", 0.9), ("b", 0.8))]
    weights = tuple((("1", row, f"accuracy_{row}"), (50,)) for row in "ab")
    verdicts = list(audit([*parts, printed(0.87, "sensitivity", weighted_mean_of=weights)]).table()["verdict"])
    assert verdicts == ["one of these is wrong", "one of these is wrong", "impossible"]


def test_what_only_a_matrix_checks_and_what_no_rule_does():
    row = [
        printed(value, name, 3, "ratio", system="net") for name, value in (("mcc", 0.6), ("kappa", 0.6), ("brier", 0.1))
    ]
    needed = ("mcc is only", "kappa is only", "brier")
    reasons = audit(row).table()["reason"]
    assert all(word in reason for word, reason in zip(needed, reasons, strict=True))
    beside = audit([*printed_matrix((40, 10, 10, 40), "net", "2"), *row]).table()["verdict"]
    assert list(beside[4:]) == ["consistent", "consistent", "cannot be checked"]


def test_a_mean_of_counts_is_rounded():
    parts = [printed_count(row, n) for row, n in (("a", 60), ("b", 41), ("c", 42))]
    means = [printed_count("mean", n, mean_of=tuple(("1", row, "n") for row in "abc")) for n in (48, 49)]
    assert not accused([*parts, means[0]])
    assert accused([*parts, means[1]])


def test_an_interval_may_be_printed_with_fewer_digits_than_its_number():
    cell = printed(0.8866, "accuracy", 2)
    assert not accused([replace(cell, low=88.7, high=88.7)])
    assert accused([replace(cell, low=88.8, high=88.9)])


@QUICK
@given(st.integers(0, 10**6), st.integers(3, 14), st.integers(3, 14), st.booleans(), st.integers(1, 3))
def test_small_test_sets_repeat_themselves(seed, positives, negatives, stated, rows):
    rng, cells = np.random.default_rng(seed), []
    for table in "1234":
        for number in range(rows):
            tp, tn = rng.binomial((positives, negatives), 0.9)
            own = printed_row((tp, positives - tp, negatives - tn, tn), 2, "percent", row=f"net {number}", table=table)
            cells += own if stated else [replace(cell, facts=Facts()) for cell in own]
    assert not accused(cells)


def test_f1_without_hits_may_be_left_out_of_the_mean():
    recall, precision = np.array([0, *[0.85] * 9]), np.array([np.nan, *[0.9] * 9])
    f1 = 2 * recall * precision / (recall + precision)
    row = {"sensitivity": recall, "precision_positive": precision, "f1_positive": f1}
    cells = [printed(np.nanmean(one), name, std=np.nanstd(one), executions=10) for name, one in row.items()]
    assert not accused(cells)


@pytest.mark.parametrize("images", [{"positives": (20_000,), "negatives": (20_000,)}, {"images": (10**8,)}])
def test_many_images_are_no_trouble(images):
    found = metrics_of(18_400, 1_600, 2_000, 18_000)
    assert not accused(
        [printed(found[name], name, **images) for name in ("accuracy", "precision_positive", "f1_positive")]
    )


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (Facts(images=(("9", "no", "n"),)), "Table 9, 'no', 'n'"),
        (Facts(images=(("1", "net", "accuracy"),)), "is not a number of images"),
        (Facts(images=(10**30,)), "are more than 100,000,000"),
        (Facts(positives=(9,), positives_total=(8,)), "9 images of a class are more than the 8 of all parts"),
        (Facts(weighted_mean_of=((("1", "net", "accuracy"), (0,)),)), "weighted_mean_of"),
        (Facts(executions=3, folds=2), "3 executions"),
    ],
)
def test_facts_that_no_file_could_hold_are_refused_too(facts, message):
    with pytest.raises(UserError, match=re.escape(message)):
        audit([replace(printed(0.9, "accuracy"), facts=facts)])
