"""Labels that are divided otherwise than the rest: shares as asked, patients and near-duplicates still in one part."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covid_keras.data import Cohort, check_disjoint, hold_out
from covid_keras.data.duplicates import PAIR_COLUMNS, duplicate_groups
from covid_keras.paper.protocol import Protocol, SplitSettings
from covid_keras.training.division import divide
from tests.helpers.refusals import refused

CLASSES = ("here", "there", "normal", "pneumonia")
FRACTIONS = {"train": 0.6, "validation": 0.2, "test": 0.2}
# As Hertel & Benlamri divide COVID-19: one collection for validation and test alone, one for training alone.
SHARES = {"here": {"validation": 0.5, "test": 0.5}, "there": {"train": 1.0}}
NO_PAIRS = pd.DataFrame(columns=list(PAIR_COLUMNS))


def make_cohort(*patients: str, classes: tuple[str, ...] = CLASSES) -> Cohort:
    """A patient a word, an image a letter, the first of its label."""
    of_letter = {name[0]: name for name in classes}
    rows = [
        {"patient_id": f"p{number}", "label": of_letter[letter], "severity": ""}
        for number, word in enumerate(patients)
        for letter in word
    ]
    ids = [f"i{number}" for number in range(len(rows))]
    return Cohort(pd.DataFrame(rows).assign(image_id=ids, path=ids), classes, "made")


def many(seed: int = 0) -> Cohort:
    """160 patients of one to three images, 40 of each label; severities of some."""
    rng = np.random.default_rng(seed)
    cohort = make_cohort(*(name[0] * rng.integers(1, 4) for name in CLASSES for _ in range(40)))
    ill = cohort.table["label"].isin(("here", "there"))
    severity = np.where(ill, rng.choice(["Mild", "Severe"], len(cohort)), "")
    return Cohort(cohort.table.assign(severity=severity), CLASSES, "made")


def parts(table: pd.DataFrame, cohort: Cohort, label: str) -> dict[str, int]:
    return table.loc[(cohort.table["label"] == label).to_numpy(), "split"].value_counts().to_dict()


def digest(table: pd.DataFrame) -> str:
    return hashlib.sha256(table.to_csv(index=False).encode()).hexdigest()[:16]


# --- without shares


@pytest.mark.parametrize(
    ("fractions", "seed", "golden"),
    [
        (None, 0, "ea86b99a7c0bff01"),
        (FRACTIONS, 0, "e3542b299e7276fe"),
        (FRACTIONS, 7, "6f329e856c6549a3"),
        ({"train": 0.8, "validation": 0.1, "test": 0.1}, 3, "c9bf70929835370a"),
    ],
)
def test_without_shares_the_division_is_what_it_always_was(fractions, seed, golden):
    """Finished runs keep their parts: the digests are of the function as it was before there were shares."""
    cohort = many()
    found = hold_out(cohort, fractions, seed)
    assert digest(found) == golden
    for none in (None, {}):
        pd.testing.assert_frame_equal(hold_out(cohort, fractions, seed, shares=none), found)


# --- the shares


@pytest.mark.parametrize("seed", range(3))
def test_each_label_is_divided_by_its_own_shares(seed):
    cohort = many(seed)
    table = hold_out(cohort, FRACTIONS, seed, shares=SHARES)
    check_disjoint(table, cohort)
    assert set(parts(table, cohort, "there")) == {"train"}
    here = parts(table, cohort, "here")
    assert set(here) == {"validation", "test"}
    assert abs(here["validation"] - here["test"]) <= 3, "half of each"
    for label in ("normal", "pneumonia"):
        found, total = parts(table, cohort, label), (cohort.table["label"] == label).sum()
        for part, share in FRACTIONS.items():
            assert abs(found[part] / total - share) < 0.06
    assert table["image_id"].tolist() == cohort.table["image_id"].tolist()
    assert table["label"].tolist() == cohort.table["label"].tolist(), "by their own labels"
    pd.testing.assert_frame_equal(table, hold_out(cohort, FRACTIONS, seed, shares=SHARES))


def test_the_labels_without_shares_are_divided_as_if_alone():
    """What a label is divided by changes nothing for the others."""
    cohort = many()
    rest = cohort.table["label"].isin(("normal", "pneumonia")).to_numpy()
    alone = hold_out(Cohort(cohort.table[rest], CLASSES[2:], "rest"), FRACTIONS, 5)
    table = hold_out(cohort, FRACTIONS, 5, shares=SHARES)
    assert table.loc[rest, "split"].tolist() == alone["split"].tolist()


def test_the_seed_deals_the_shares_too():
    cohort, halves = many(), {name: SHARES["here"] for name in ("here", "there")}
    first, second = (hold_out(cohort, FRACTIONS, seed, shares=halves) for seed in (0, 1))
    for label in ("here", "there"):
        mine = (cohort.table["label"] == label).to_numpy()
        assert (first["split"][mine] != second["split"][mine]).any()


def test_labels_are_not_all_dealt_by_one_draw():
    """Else of collections of one size the i-th patients would always go together."""
    cohort = make_cohort(*(letter for letter in "htnp" for _ in range(20)))
    halves = dict.fromkeys(("here", "there"), SHARES["here"])
    table = hold_out(cohort, FRACTIONS, shares=halves)
    first, second = (table.loc[table["label"] == name, "split"].tolist() for name in halves)
    assert first != second


# --- patients with images of several labels


@pytest.mark.parametrize("order", [("there", "here"), ("here", "there")])
def test_patients_of_several_labels_follow_the_label_named_first(order):
    both = ["hht", "ht", "tth"]
    plain = [*["h"] * 10, *["t"] * 10, *["n"] * 20, *["p"] * 20]
    cohort = make_cohort(*both, "hn", "tp", "nt", *plain)
    table = hold_out(cohort, FRACTIONS, shares={name: SHARES[name] for name in order})
    check_disjoint(table, cohort)
    of_patient = table.groupby("patient_id")["split"].first()
    for number in range(3):
        assert (of_patient[f"p{number}"] == "train") == (order[0] == "there")
    assert of_patient["p3"] in ("validation", "test"), "a label with shares goes before one without"
    assert of_patient["p4"] == of_patient["p5"] == "train"


def test_near_duplicates_of_several_labels_stay_together():
    """A copy in the collection for training of a radiograph that is for the test."""
    cohort = make_cohort(*["h"] * 12, *["t"] * 12, *["n"] * 12, *["p"] * 12)
    table = cohort.table.set_index("label")["image_id"]
    first = {label: table[label].tolist() for label in CLASSES}
    pairs = [(first["there"][0], first["here"][0]), (first["here"][1], first["normal"][0])]
    pairs += [(first["there"][0], first["pneumonia"][3])]
    duplicates = pd.DataFrame(pairs, columns=["image_id_a", "image_id_b"]).reindex(columns=list(PAIR_COLUMNS))
    groups = duplicate_groups(cohort, duplicates)
    found = hold_out(cohort, FRACTIONS, groups=groups, shares=SHARES)
    check_disjoint(found, cohort, duplicates)
    part = found.set_index("image_id")["split"]
    assert part[first["there"][0]] == part[first["here"][0]] == part[first["pneumonia"][3]] != "train"
    assert part[first["normal"][0]] == part[first["here"][1]] != "train"
    assert set(part[first["there"][1:]]) == {"train"}
    # `divide` makes the groups itself.
    settings = SplitSettings("hold_out", folds=1, validation=0.2, test=0.2, shares=SHARES)
    pd.testing.assert_frame_equal(divide(cohort, settings, duplicates), found)


def test_a_label_all_of_whose_patients_follow_another_needs_no_part_of_its_own():
    cohort = make_cohort(*["ht"] * 10, *["n"] * 20, *["p"] * 20)
    table = hold_out(cohort, FRACTIONS, shares=SHARES)
    assert set(parts(table, cohort, "there")) == {"validation", "test"}


WORDS = st.lists(st.text("htnp", min_size=1, max_size=3), min_size=0, max_size=30)


@settings(max_examples=15, deadline=None, database=None)
@given(
    words=WORDS,
    seed=st.integers(0, 2**31),
    order=st.permutations(("here", "there")),
    pairs=st.lists(st.tuples(st.integers(0, 79), st.integers(0, 79)), max_size=6),
)
def test_no_patient_and_no_copy_is_in_two_parts(words, seed, order, pairs):
    cohort = make_cohort(*(letter for letter in "htnp" for _ in range(20)), *words)
    ids = cohort.table["image_id"]
    duplicates = pd.DataFrame([(ids[a], ids[b]) for a, b in pairs if a != b], columns=["image_id_a", "image_id_b"])
    groups = duplicate_groups(cohort, duplicates.reindex(columns=list(PAIR_COLUMNS)))
    table = hold_out(cohort, FRACTIONS, seed, groups, {name: SHARES[name] for name in order})
    check_disjoint(table, cohort, duplicates)
    assert set(table["split"]) == set(FRACTIONS)
    labels = cohort.table["label"].groupby(groups).agg(set)
    part = table["split"].groupby(groups).first()
    for key, mine in labels.items():
        ruled = next((name for name in order if name in mine), None)
        assert part[key] in SHARES.get(ruled, FRACTIONS), (mine, part[key])


# --- refusals


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        ({"elsewhere": {"train": 1}}, r"split\.shares: .*'elsewhere'.*Known: here, there, normal, pneum"),
        ({"here": {"validation": 0.5, "test": 0.4}}, "invalid.*sum to 1"),
        ({"here": {"validation": 0.7, "test": 0.7, "train": -0.4}}, "invalid"),
        ({"here": {"validation": 0.5, "tests": 0.5}}, "invalid.*Give fractions of train, validation, test"),
        ({"here": {}}, "invalid"),
    ],
)
def test_shares_that_make_no_sense_are_refused(shares, words):
    refused(words, hold_out, many(), FRACTIONS, shares=shares)


def test_a_part_that_a_label_would_be_missing_in_is_refused():
    one = make_cohort("h", *["t"] * 10, *["n"] * 20, *["p"] * 20)
    refused("one patient", hold_out, one, FRACTIONS, shares=SHARES)


@pytest.mark.parametrize(
    "others", [{"scheme": "folds"}, {"scheme": "published", "folds": 1, "leaky_as_published": True}]
)
def test_shares_are_of_a_hold_out_alone(others):
    refused(r"split\.shares is .*hold_out", SplitSettings, **others, shares=SHARES)
    assert SplitSettings(**others).shares == {}


# --- the protocol


def _protocol(**splits) -> Protocol:
    main = SplitSettings("hold_out", folds=1, images=dict.fromkeys(CLASSES, 0), shares=SHARES, seed=4)
    from covid_keras.paper.protocol import TrainingSettings

    return Protocol(
        "made", "smoke", "", {}, (8, 8), ("a",), main, TrainingSettings(1), "none", 1.0, "made", splits=splits
    )  # fmt: skip


def test_a_division_of_other_images_has_none_of_the_main_ones_shares():
    protocol = _protocol(
        same={"validation": 0.2},
        apart={"images": {"normal": 0, "here": 3}},
        own={"images": {"here": 0, "normal": 0}, "shares": {"here": {"test": 1.0}}},
        folds={"scheme": "folds", "folds": 2, "images": {"normal": 0, "here": 0}},
    )
    same, apart, own, folds = (protocol.split_of(name) for name in ("same", "apart", "own", "folds"))
    assert protocol.split_of("") == protocol.split
    assert (same.images, same.shares, same.validation) == (protocol.split.images, SHARES, 0.2)
    assert (apart.images, apart.shares, apart.seed) == ({"normal": 0, "here": 3}, {}, 4), "the rest stays"
    assert own.shares == {"here": {"test": 1.0}}
    assert (folds.scheme, folds.shares) == ("folds", {})
    refused(r"split\.shares", _protocol, folds={"scheme": "folds", "folds": 2})


def test_a_division_by_shares_is_of_its_images_alone():
    cohort = many()
    chosen = SplitSettings(
        "hold_out", folds=1, validation=0.2, test=0.2, images={"here": 20, "normal": 0}, shares={"here": SHARES["here"]}
    )  # fmt: skip
    table = divide(cohort, chosen, NO_PAIRS)
    ids = cohort.table.groupby("label")["image_id"]
    assert set(table["image_id"]) == {*ids.get_group("here")[:20], *ids.get_group("normal")}
    assert set(table.loc[table["label"] == "here", "split"]) == {"validation", "test"}
    assert set(table.loc[table["label"] == "normal", "split"]) == set(FRACTIONS)


def test_the_repeats_of_a_division_by_shares_are_that_division():
    chosen = SplitSettings("hold_out", folds=1, repeats=2, validation=0.2, test=0.2, shares=SHARES)
    table = divide(many(), chosen, NO_PAIRS)
    first, second = (table.loc[table["repeat"] == repeat, "split"].tolist() for repeat in (0, 1))
    assert first == second
