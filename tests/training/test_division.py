"""Divisions of a cohort by name: which images, which scheme, who must not cross."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from covid_keras.common.errors import UserError
from covid_keras.common.settings import build
from covid_keras.data import Cohort, check_disjoint
from covid_keras.data.duplicates import PAIR_COLUMNS
from covid_keras.paper.protocol import Protocol, SplitSettings
from covid_keras.paper.registered import load_paper
from covid_keras.training import division
from covid_keras.training.division import chosen_images, divide, make_splits
from tests.helpers.refusals import refused

NO_PAIRS = pd.DataFrame(columns=list(PAIR_COLUMNS))
HOLD_OUT = {"scheme": "hold_out", "folds": 1, "validation": 0.2, "test": 0.2}
PUBLISHED = {"scheme": "published", "folds": 1, "leaky_as_published": True}


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    """90 images in the order N, P, C of 30 each, two a patient."""
    ids = [f"made/{number}" for number in range(90)]
    table = {"image_id": ids, "path": ids, "patient_id": [f"made/p{number // 2}" for number in range(90)]}
    return Cohort(pd.DataFrame(table | {"label": np.repeat(["N", "P", "C"], 30)}), ("N", "P", "C"), "made")


def protocol_of(split: dict, splits: dict | None = None) -> Protocol:
    """A protocol of which only the divisions matter."""
    common = {
        "paper": "made",
        "profile": "smoke",
        "description": "",
        "cohort": {},
        "size": [8, 8],
        "systems": ["a"],
        "training": {"epochs": 1},
        "weights": "none",
        "tolerance": 1.0,
    }
    return build(Protocol, common | {"split": split, "splits": splits or {}}, "protocol.yaml")


def pairs_of(*pairs: tuple[int, int]) -> pd.DataFrame:
    return pd.DataFrame([{"image_id_a": f"made/{a}", "image_id_b": f"made/{b}"} for a, b in pairs])


def parts_of(table: pd.DataFrame, repeat: int = 0, fold: int = 0) -> pd.Series:
    return table[(table["repeat"] == repeat) & (table["fold"] == fold)].set_index("image_id")["split"]


# --- settings


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ({"scheme": "published", "folds": 1}, r"split\.leaky_as_published is False\. It must be true"),
        (HOLD_OUT | {"leaky_as_published": True}, r"split\.leaky_as_published is True\. It must be false if"),
        (HOLD_OUT | {"folds": 5}, r"split\.folds is 5\. It must be 1 if the scheme is hold_out"),
        (PUBLISHED | {"folds": 2}, r"split\.folds is 2\. It must be 1 if the scheme is published"),
        ({"folds": 1}, r"split\.folds is 1\. It must be at least 2"),
        ({"scheme": "random"}, "scheme"),
        (HOLD_OUT | {"test": 1.0}, r"\.test is 1\.0"),
        (HOLD_OUT | {"repeats": 0}, r"\.repeats is 0"),
    ],
)
def test_schemes_that_make_no_sense_are_refused(split, words):
    """Of the main division and of one by name, before any work."""
    refused(words, protocol_of, split)
    refused(words, protocol_of, {}, {"other": split})


def test_a_division_by_name_changes_what_it_names():
    split = HOLD_OUT | {"repeats": 3, "seed": 4, "images": {"N": 10, "P": 10}}
    protocol = protocol_of(split, {"seeded": {"seed": 5}, "others": {"images": {"C": 5, "N": 5}}})
    assert protocol.split_of("") == protocol.split == build(SplitSettings, split, "")
    assert protocol.split_of("seeded") == build(SplitSettings, split | {"seed": 5}, "")
    # In place of the main one's images, and not beside them.
    assert protocol.split_of("others").images == {"C": 5, "N": 5}
    assert protocol.split_of("others").repeats == 3
    refused("'small'", protocol.split_of, "small")
    refused(r"'sead' in splits\.other.*'seed'", protocol_of, split, {"other": {"sead": 5}})
    refused(r"splits\.other must be a mapping", protocol_of, split, {"other": 3})


def test_only_a_published_split_is_chosen_on_test():
    given = ({}, HOLD_OUT, PUBLISHED, {"leaky_as_published": True})
    assert [build(SplitSettings, split, "").chosen_on_test for split in given] == [False, False, True, False]


# --- images


def test_the_first_images_of_each_label_are_taken(cohort):
    table = chosen_images(cohort, {"C": 3, "N": 2}).table
    assert list(table["image_id"]) == ["made/0", "made/1", "made/60", "made/61", "made/62"], "in the cohort's order"
    every = chosen_images(cohort, {"P": 0})
    assert every.counts() == {"P": 30}
    assert chosen_images(cohort, {}).table.equals(cohort.table)
    mixed = Cohort(cohort.table.sample(frac=1, random_state=1), cohort.classes, "mixed")
    chosen = chosen_images(mixed, {"P": 4, "C": 0}).table["image_id"]
    labels = mixed.table["label"]
    wanted = labels.eq("C") | mixed.table["image_id"].isin(mixed.table.loc[labels == "P", "image_id"][:4])
    assert list(chosen) == list(mixed.table.loc[wanted, "image_id"])


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ({"N": 31}, r"asks for 31 images 'N', but there are 30"),
        ({"N": 5, "X": 0}, r"asks for some images 'X', but there are 0"),
        ({"X": 2}, r"asks for 2 images 'X', but there are 0"),
    ],
)
def test_more_images_than_there_are_get_one_line(cohort, images, words):
    settings = build(SplitSettings, HOLD_OUT | {"images": images}, "")
    assert "split.images" in refused(words, divide, cohort, settings, NO_PAIRS)


def test_images_that_are_not_chosen_are_in_no_part(cohort):
    table = divide(cohort, build(SplitSettings, HOLD_OUT | {"images": {"N": 20, "P": 20}}, ""), NO_PAIRS)
    chosen = [f"made/{number}" for number in (*range(20), *range(30, 50))]
    assert list(table["image_id"]) == chosen
    assert set(table["split"]) == {"train", "validation", "test"}


# --- schemes


def test_a_held_out_part_is_the_same_in_every_repeat(cohort):
    table = divide(cohort, build(SplitSettings, HOLD_OUT | {"repeats": 3, "seed": 7}, ""), NO_PAIRS)
    first = parts_of(table)
    assert set(table["fold"]) == {0}
    for repeat in (1, 2):
        pd.testing.assert_series_equal(parts_of(table, repeat), first)
    shares = first.value_counts(normalize=True)
    assert shares[["train", "validation", "test"]].tolist() == pytest.approx([0.6, 0.2, 0.2], abs=0.03)
    other = divide(cohort, build(SplitSettings, HOLD_OUT | {"seed": 8}, ""), NO_PAIRS)
    assert not parts_of(other).equals(first)


def test_repeated_folds_are_dealt_anew(cohort):
    table = divide(cohort, build(SplitSettings, {"folds": 3, "repeats": 2}, ""), NO_PAIRS)
    assert not parts_of(table, 0).equals(parts_of(table, 1))


def test_shares_that_leave_nothing_to_train_on_are_refused(cohort):
    with pytest.raises(UserError, match="invalid"):
        divide(cohort, build(SplitSettings, HOLD_OUT | {"validation": 0.5, "test": 0.6}, ""), NO_PAIRS)


def test_a_published_split_is_of_the_chosen_images_by_place(cohort):
    settings = build(SplitSettings, PUBLISHED | {"seed": 18, "repeats": 2, "images": {"N": 10, "C": 10}}, "")
    table = divide(cohort, settings, pairs_of((0, 60)))
    order = np.random.RandomState(18).permutation(20)  # as train_test_split draws: the first are tested
    chosen = [f"made/{number}" for number in (*range(10), *range(60, 70))]
    assert sorted(parts_of(table)[lambda part: part == "test"].index) == sorted(chosen[i] for i in order[:4])
    pd.testing.assert_series_equal(parts_of(table, 1), parts_of(table, 0))
    assert set(table["split"]) == {"train", "test"}


# --- who must not cross


@pytest.mark.parametrize("split", [HOLD_OUT, {"folds": 3, "validation": 0.2}], ids=["hold-out", "folds"])
def test_neither_patients_nor_near_duplicates_cross(cohort, split):
    """Of every second patient an image is the near-duplicate of an image of the next one."""
    pairs = pairs_of(*((number, number + 2) for label in (0, 30, 60) for number in range(label, label + 30, 4)[:7]))
    crossed = 0
    for seed in range(4):
        table = divide(cohort, build(SplitSettings, split | {"seed": seed}, ""), pairs)
        check_disjoint(table, cohort, pairs)
        apart = divide(cohort, build(SplitSettings, split | {"seed": seed, "duplicates": False}, ""), pairs)
        check_disjoint(apart, cohort)
        part = parts_of(apart)
        crossed += (pairs["image_id_a"].map(part).to_numpy() != pairs["image_id_b"].map(part).to_numpy()).sum()
    assert crossed > 0, "where nobody asks for it, they may"


def test_near_duplicates_of_images_that_are_not_chosen_do_no_harm(cohort):
    settings = build(SplitSettings, HOLD_OUT | {"images": {"N": 20, "P": 20}}, "")
    table = divide(cohort, settings, pairs_of((0, 89), (0, 40), (88, 89)))
    part = parts_of(table)
    assert part["made/0"] == part["made/40"]


def test_each_division_of_a_protocol_is_made_and_checked(cohort, monkeypatch):
    pairs, asked = pairs_of((0, 30), (2, 32), (4, 34), (60, 62)), []
    monkeypatch.setattr(division, "find_duplicates", lambda cohort, cache=None: asked.append(len(cohort)) or pairs)
    splits = {"small": {"images": {"N": 20, "P": 20}}, "authors": PUBLISHED, "apart": {"duplicates": False}}
    tables, found = make_splits(cohort, protocol_of(HOLD_OUT, splits))
    assert list(tables) == ["", "small", "authors", "apart"]
    assert asked == [90], "searched once, among all images"
    assert found is pairs
    for name in ("", "small"):
        check_disjoint(tables[name], cohort, pairs)
    assert len(tables["small"]) == 40
    with pytest.raises(UserError, match="leakage"):
        check_disjoint(tables["authors"], cohort)


def test_near_duplicates_are_searched_where_a_division_asks_for_them(cohort, monkeypatch):
    asked = []
    monkeypatch.setattr(division, "find_duplicates", lambda cohort, cache=None: asked.append(cohort) or NO_PAIRS)
    none = HOLD_OUT | {"duplicates": False}
    _, found = make_splits(cohort, protocol_of(none))
    assert (asked, len(found)) == ([], 0)
    make_splits(cohort, protocol_of(none, {"small": {"duplicates": True}}))
    assert len(asked) == 1


def test_what_a_division_does_that_crosses_is_noticed(cohort, monkeypatch):
    """`divide` believes no splitter: what it made is checked against the cohort."""

    def leaking(cohort, parts, seed, groups, shares):
        part = np.resize(["train", "validation", "test"], len(cohort))
        return cohort.table[["image_id", "patient_id", "label"]].assign(repeat=0, fold=0, split=part)

    monkeypatch.setattr(division, "hold_out", leaking)
    with pytest.raises(UserError, match="leakage in repeat 0, fold 0"):
        divide(cohort, build(SplitSettings, HOLD_OUT, ""), NO_PAIRS)


def test_the_papers_divisions_are_whole():
    """COVID-CXNet's: each leaking one beside a disjoint one of the same images."""
    protocol = load_paper("haghanifar").protocol("paper")
    for name in ("small", "base", "binary"):
        disjoint, leaky = protocol.split_of(name), protocol.split_of(f"{name}_leaky")
        assert disjoint.images == leaky.images
        assert (disjoint.scheme, leaky.scheme, leaky.seed) == ("hold_out", "published", 18)
        assert next(iter(leaky.images)) == "COVID-19"
    assert protocol.split_of("three_leaky").images == protocol.split.images
