"""What the numbers show, decided by rule: each function returns the values of one sentence of the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from covid_keras.evaluation.estimates import Estimate
from papers.head_to_head.comparison import SPECIFICITY, Comparison, titles
from papers.head_to_head.methods import FLOORS, METHODS, OF_COVID, OF_FINDING

CHANCE = 50.0  # percent: the AUC of a coin
SURE = 0.95  # share of draws from which on a method counts as first
# A test, and the one that takes from it what may help besides the disease.
STEPS = {"within": "across", "finding": "matched"}


def facts(found: Comparison) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield, in the order of the page, the block of a sentence and its values; what cannot be said is left out."""
    for block, of, tests in (
        *((block, of, (test,)) for test in OF_COVID for block, of in (("best", best_one), ("first", first_one))),
        ("unlearnt", unlearnt, STEPS),
        ("falls", falls, STEPS),
        ("floor", floor_one, (*OF_COVID, *OF_FINDING)),
        ("held", held, OF_COVID),
        ("cheapest", cheapest, OF_COVID),
    ):
        for test in tests:
            if test in found.tests and (values := of(found, test)):
                yield block, values | {"test": test}
    if values := looking(found):
        yield "looking", values


def side(one: Estimate, bound: float = 0.0) -> str:
    """Return whether an interval lies "above" a bound, "below" it or holds it ("across"); "unknown" without one.

    >>> side(Estimate(3, 1, 5, "percent", "bootstrap")), side(Estimate(3, 1, 5, "percent", "bootstrap"), 4)
    ('above', 'across')
    """
    if np.isnan([one.low, one.high]).any():
        return "unknown"
    return "above" if one.low > bound else "below" if one.high < bound else "across"


def by_side(found: Mapping[str, Estimate], bound: float = 0.0) -> dict[str, list[str]]:
    """Return the names whose interval lies above, below and across a bound, and of unknown ones."""
    return {
        where: [name for name, one in found.items() if side(one, bound) == where]
        for where in ("above", "below", "across", "unknown")
    }


def best_one(found: Comparison, test: str) -> dict[str, Any] | None:
    """Return the best method of a test's training, and which others differ from it there."""
    less = found.less_best(test)
    if not less:
        return None
    best = found.best(OF_COVID if test in OF_COVID else OF_FINDING)
    sides = {where: titles(names) for where, names in by_side(less).items()}
    return {
        "best": METHODS[best.name].title,
        "on_validation": best.on_validation,
        "auc": found.estimate(best.name, test),
        "methods": len(less) + 1,
        "alike": sides["across"],
        "worse": sides["below"],
        "better": sides["above"],
    }


def first_one(found: Comparison, test: str) -> dict[str, Any] | None:
    """Return which method is first most often under the draws, and whether nearly always."""
    ranks = found.ranks(test)
    if len(ranks) < 2 or ranks["first"].isna().any():
        return None
    first = ranks.loc[ranks["first"].idxmax()]
    return {
        "first": METHODS[first["system"]].title,
        "share": float(first["first"]),
        "sure": bool(first["first"] >= SURE),
        "candidates": int((ranks["low"] == 1).sum()),
        "methods": len(ranks),
    }


def falls(found: Comparison, before: str) -> dict[str, Any] | None:
    """Return how many methods fall from a test to the next, by how much, and how many are then at chance."""
    after = STEPS[before]
    changes = found.changes(before, after)
    if not changes:
        return None
    sides, values = by_side(changes), [one.value for one in changes.values()]
    left = by_side({name: found.drawn[name, after]["auc"].estimate() for name in changes}, CHANCE)
    return {
        "methods": len(changes),
        "falling": len(sides["below"]),
        "rising": titles(sides["above"]),
        "least": min(values),
        "most": max(values),
        "before": float(np.median([found.drawn[name, before]["auc"].value for name in changes])),
        "after": float(np.median([found.drawn[name, after]["auc"].value for name in changes])),
        "chance": titles(left["across"]),
        "worse": titles(left["below"]),
    }


def unlearnt(found: Comparison, test: str) -> dict[str, Any] | None:
    """Return the methods of the papers that are not above chance where they should be: on patients of their sources."""
    names = [name for name in found.methods(test) if name not in FLOORS]
    left = by_side({name: found.drawn[name, test]["auc"].estimate() for name in names}, CHANCE)
    names = titles([*left["below"], *left["across"]])
    return {"names": names} if names else None


def floor_one(found: Comparison, test: str) -> dict[str, Any] | None:
    """Return, for the better floor, which methods of the papers are better, worse, or not distinguishable from it."""
    floors = {name: found.drawn[name, test]["auc"].value for name in found.methods(test) if name in FLOORS}
    methods = [name for name in found.methods(test) if name not in FLOORS]
    if not floors or not methods:
        return None
    floor = max(floors, key=floors.__getitem__)
    sides = by_side({name: found.less((name, test), (floor, test)) for name in methods})
    return {
        "floor": METHODS[floor].title,
        "auc": found.estimate(floor, test),
        "methods": len(methods),
        "better": titles(sides["above"]),
        "worse": titles(sides["below"]),
        "alike": titles(sides["across"]),
    }


def held(found: Comparison, test: str) -> dict[str, Any] | None:
    """Return which specificity the thresholds of validation really give, and which sensitivity."""
    given = {name: one for name in found.methods(test) if (one := found.estimate(name, test, "specificity"))}
    if not given:
        return None
    values = [one.value for one in given.values()]
    sensitivities = [one.value for name in given if (one := found.estimate(name, test, "sensitivity"))]
    sides = by_side(given, SPECIFICITY)
    return {
        "target": SPECIFICITY,
        "methods": len(given),
        "least": min(values),
        "most": max(values),
        "below": len(sides["below"]),
        "above": len(sides["above"]),
        "sensitivity": (min(sensitivities), max(sensitivities)),
    }


def looking(found: Comparison) -> dict[str, Any] | None:
    """Return how many networks have more heat in the lungs than chance, or less."""
    heat = found.heat()
    if not heat:
        return None
    sides = by_side(heat)
    return {"methods": len(heat), "more": len(sides["above"]), "less": titles(sides["below"])}


def cheapest(found: Comparison, test: str) -> dict[str, Any] | None:
    """Return the method with the fewest operations that is not distinguishable from the best one, or better."""
    costs, less = found.cost(), found.less_best(test)
    best = found.best(OF_COVID).name
    if costs.empty or best not in costs.index or not less:
        return None
    good = [name for name, one in less.items() if side(one) in ("across", "above") and name in costs.index]
    flops = costs["flops"]
    cheap = min(good, key=flops.__getitem__, default=best)
    if flops[cheap] >= flops[best]:
        return {"cheap": "", "best": METHODS[best].title, "times": 1.0}
    return {"cheap": METHODS[cheap].title, "best": METHODS[best].title, "times": float(flops[best] / flops[cheap])}
