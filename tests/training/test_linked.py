"""What builds on another, or chooses among others, is trained after them, in the same worker's list."""

from __future__ import annotations

import numpy as np
import pytest

from covid_keras.common.errors import UserError
from covid_keras.paper.registered import load_paper
from covid_keras.training.runfolder import RunFolder, linked
from covid_keras.training.schedulers import take_shard

BEST = ["first", "second", "better", "next", "other", "best"]


def _names(run: RunFolder) -> list[list[list[str]]]:
    return [[[f"{one.system.name}{one.fold}" for one in chain] for chain in chains] for chains in run.chains()]


@pytest.mark.parametrize(
    ("below", "groups"),
    [
        ({"a": "a", "b": "b"}, [["a"], ["b"]]),
        ({"a": "a", "b": "ab", "c": "abc", "d": "d"}, [["a", "b", "c"], ["d"]]),
        ({"a": "a", "b": "b", "c": "c", "d": "acd"}, [["a", "c", "d"], ["b"]]),
        ({"a": "a", "b": "b", "c": "c", "d": "bcd", "e": "abcde"}, [["a", "b", "c", "d", "e"]]),
        ({"b": "ab", "c": "ac"}, [["b"], ["c"]]),  # what both build on is not run here: it was released
        ({}, []),
    ],
)
def test_groups_are_joined_where_one_builds_on_both(below, groups):
    assert linked(list(below), below.get) == groups


def test_any_systems_are_grouped_so_that_each_follows_what_it_builds_on():
    rng = np.random.default_rng(0)
    for count in rng.integers(1, 12, 50):
        below: dict[int, list[int]] = {}
        for name in range(count):
            chosen = rng.choice(name, min(name, rng.integers(0, 3)), replace=False) if name else []
            below[name] = [*dict.fromkeys(one for part in chosen for one in below[part]), name]
        groups = linked(list(below), below.get)
        assert sorted(name for group in groups for name in group) == list(range(count)), "each once"
        assert [group[0] for group in groups] == sorted(group[0] for group in groups)
        for group in groups:
            assert all(set(below[name]) <= set(group[: place + 1]) for place, name in enumerate(group))
            reached = {group[0]}
            for _ in group:
                reached |= {one for name in group if reached & set(below[name]) for one in below[name]}
            assert reached == set(group), "nothing is in a group that could run apart"


def test_a_choosing_system_builds_on_all_that_it_chooses_among(tiny_paper):
    paper = load_paper("choosing")
    assert paper.chain("better") == ["first", "second", "better"]
    assert paper.chain("best") == BEST, "each once, although both that it chooses among build on the same"
    assert paper.protocol("smoke", {"systems": ["apart", "best"]}).systems == ("apart", *BEST)


def test_a_choosing_system_and_what_it_chooses_among_are_one_chain(make_run):
    run = make_run("run", "choosing", systems=["first", "apart", "second", "gone", "better"])
    assert _names(run) == [[[f"{name}{fold}" for name in ("first", "second", "better")], [f"apart{fold}"],
                            [f"gone{fold}"]] for fold in (0, 1)]  # fmt: skip
    shards = [take_shard(run.chains(), (i, 2)) for i in (1, 2)]
    assert sum(len(shard) for shard in shards) == 6
    assert sorted(one.name for shard in shards for chain in shard for one in chain) == sorted(
        one.name for one in run.executions()
    )


def test_what_is_left_out_leaves_its_place(make_run):
    reason = "no second"
    run = make_run("run", "choosing", systems=["best", "apart"], left_out={name: reason for name in BEST[1:]})
    assert _names(run) == [[[f"first{fold}"], [f"apart{fold}"]] for fold in (0, 1)]
    run = make_run("other", "choosing", systems=["best", "apart"], left_out=dict.fromkeys(BEST, reason))
    assert _names(run) == [[[], [f"apart{fold}"]] for fold in (0, 1)]


def test_a_choosing_system_runs_where_all_that_it_chooses_among_run(make_run):
    fewer = {"second": {"repeats": 1}}
    run = make_run("run", "choosing", systems=["best"], split={"repeats": 2}, trainings=fewer)
    repeats = {}
    for one in run.executions():
        repeats.setdefault(one.system.name, set()).add(one.repeat)
    assert repeats == {"first": {0, 1}} | {name: {0} for name in BEST[1:]}


def test_an_unknown_system_to_choose_is_named(tiny_paper):
    with pytest.raises(UserError, match=r"worst: .*choosing"):
        load_paper("choosing").chain("worst")
