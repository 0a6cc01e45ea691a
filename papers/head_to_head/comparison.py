"""The methods under the same draws of patients and trainings: AUC, thresholds, calibration, drops, ranks, costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from covid_keras.evaluation.estimates import PERCENT, USUAL, Drawing, Estimate, Sample
from covid_keras.evaluation.metrics import rows_of_test
from covid_keras.evaluation.own_tables import OwnPredictions
from covid_keras.evaluation.predictions import classes_of
from covid_keras.evaluation.rankings import (
    Drawn,
    Thresholds,
    best_on_validation,
    draw_metrics,
    rank_systems,
    thresholds_of,
)
from covid_keras.evaluation.uncertainty import mean_interval
from covid_keras.reporting.results import Results
from papers.head_to_head.methods import METHODS, OF_COVID, OF_FINDING, TESTS, TRAINED

SPECIFICITY = 90.0  # percent; the thresholds reach it on validation
Place = tuple[str, str]  # method and test


class Best(NamedTuple):
    """The best method of a training, and whether validation named it; otherwise its own test did."""

    name: str
    on_validation: bool


@dataclass(frozen=True, eq=False)
class Comparison:
    """What was measured of each method in each test.

    Attributes
    ----------
    tables : mapping
        (method, test) -> predictions of its system, validation and test rows; of two classes the second is positive.
    shares, costs : pandas.DataFrame
        Heat in the lungs and cost per image by system, as a report measures them; may be empty.
    drawing : Drawing
    """

    tables: Mapping[Place, pd.DataFrame]
    shares: pd.DataFrame
    costs: pd.DataFrame
    drawing: Drawing = USUAL

    @classmethod
    def of(cls, results: Results, drawing: Drawing = USUAL) -> Comparison:
        """Read the systems that were run."""
        tables = {
            (name, test): results.predictions_of(system)
            for name, method in METHODS.items()
            for test, system in method.systems.items()
            if system in results.systems
        }
        return cls(tables, results.source.shares, results.source.costs, drawing)

    @cached_property
    def tests(self) -> list[str]:
        """The tests that any method was put to, in order."""
        return [test for test in TESTS if any(place[1] == test for place in self.tables)]

    @cached_property
    def all_methods(self) -> list[str]:
        """The methods that were put to any test, in order."""
        return [name for name in METHODS if any(place[0] == name for place in self.tables)]

    def methods(self, *tests: str) -> list[str]:
        """Return the methods that were put to all of these tests, in order."""
        return [name for name in METHODS if all((name, test) in self.tables for test in tests)]

    # ------------------------------------------------------------------------------------------------ numbers

    @cached_property
    def thresholds(self) -> dict[Place, Thresholds]:
        """The thresholds of the places whose every training has validation images of both classes."""
        found = {place: thresholds_of(table, target=SPECIFICITY) for place, table in self.tables.items()}
        executions = {
            place: set(rows_of_test(table)[["repeat", "fold"]].itertuples(index=False, name=None))
            for place, table in self.tables.items()
        }
        return {place: one for place, one in found.items() if executions[place] <= set(one)}

    @cached_property
    def drawn(self) -> dict[Place, dict[str, Drawn]]:
        """The metrics; tests of the same trainings share the draws."""
        found: dict[Place, dict[str, Drawn]] = {}
        for tests in (OF_COVID, OF_FINDING):
            tables = {place: table for place, table in self.tables.items() if place[1] in tests}
            if tables:
                found |= draw_metrics(tables, thresholds=self.thresholds, drawing=self.drawing)
        return found

    def estimate(self, name: str, test: str, metric: str = "auc") -> Estimate | None:
        """Return a metric; None if it was not measured, or needs a threshold that there is none for."""
        at_threshold = metric in ("sensitivity", "specificity")
        if (name, test) not in self.drawn or (at_threshold and (name, test) not in self.thresholds):
            return None
        return self.drawn[name, test][metric].estimate(self.drawing.level)

    def best(self, tests: tuple[str, ...]) -> Best:
        """Return the method with the largest AUC on validation; on the first test if not all have validation images."""
        if tests not in self._best:
            test = TRAINED[tests]
            named = best_on_validation({name: self.tables[name, test] for name in self.methods(test)})
            values = {name: self.drawn[name, test]["auc"].value for name in self.methods(test)}
            self._best[tests] = Best(named or max(values, key=values.__getitem__), named is not None)
        return self._best[tests]

    @cached_property
    def _best(self) -> dict[tuple[str, ...], Best]:
        return {}

    def less(self, first: Place, second: Place, metric: str = "auc") -> Estimate:
        """Return the difference of two places of the same trainings' tests."""
        return self.drawn[first][metric].less(self.drawn[second][metric]).estimate(self.drawing.level)

    def less_best(self, test: str) -> dict[str, Estimate]:
        """Return the AUC of each other method less that of the best one; {} if that was not put to the test."""
        tests = next(tests for tests in TRAINED if test in tests)
        methods = self.methods(TRAINED[tests], test)
        if not methods or (best := self.best(tests).name) not in methods:
            return {}
        return {name: self.less((name, test), (best, test)) for name in self.methods(test) if name != best}

    def changes(self, before: str, after: str) -> dict[str, Estimate]:
        """Return the AUC of each method in one test less that in an earlier one."""
        return {name: self.less((name, after), (name, before)) for name in self.methods(before, after)}

    def ranks(self, test: str) -> pd.DataFrame:
        """Return the ranks by AUC, as `rank_systems` does."""
        auc = {name: self.drawn[name, test]["auc"] for name in self.methods(test)}
        return rank_systems(auc, self.drawing.level)

    def curve(self, name: str, test: str) -> pd.DataFrame:
        """Return the calibration curve over all trainings."""
        return Sample.of(OwnPredictions(rows_of_test(self.tables[name, test]))).curve(self.drawing, repeats=True)

    def positives(self, test: str) -> float:
        """Return the share of positives among the test images, 0..1."""
        table = rows_of_test(self.tables[self.methods(test)[0], test]).drop_duplicates("image_id")
        return float((table["label"] == classes_of(table)[-1]).mean())

    def positive(self, tests: Iterable[str]) -> str:
        """Return the positive class of tests of the same trainings."""
        return classes_of(next(self.tables[place] for place in self.tables if place[1] in tests))[-1]

    # ------------------------------------------------------------------------------------------------ beside

    def heat(self, measure: str = "beyond_chance") -> dict[str, Estimate]:
        """Return the mean of a measure of heat in the lungs by method, where it was measured; 0..1."""
        found = {}
        for name, rows in _by_system(self.shares).items():
            known = rows[rows[measure].notna()]
            if len(known):
                drawing = self.drawing
                values, patients = known[measure].to_numpy(np.float64), known["patient_id"].tolist()
                made = mean_interval(values, patients, drawing.resamples, drawing.seed, drawing.level)
                found[name] = Estimate(float(values.mean()), *made, PERCENT, made.kind)
        return found

    def cost(self) -> pd.DataFrame:
        """Return the costs by method, indexed by name; empty if they were not measured."""
        rows = [found.iloc[0] for found in _by_system(self.costs).values()]
        frame = pd.DataFrame(rows, columns=self.costs.columns).set_index("system") if rows else self.costs
        if len(frame):
            # A regression multiplies and adds once per weight.
            frame["flops"] = frame["flops"].fillna(2 * frame["parameters"])
        return frame


def _by_system(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the rows of each method, in order."""
    return {name: rows for name in METHODS if len(table) and len(rows := table[table["system"] == name])}


def titles(names: Iterable[str]) -> list[str]:
    """Return the titles of methods."""
    return [METHODS[name].title for name in names]
