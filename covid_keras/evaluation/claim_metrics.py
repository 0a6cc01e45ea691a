"""The metrics by which claims are tested, with their bootstrap draws.

A side of a test is a metric of a system (or of the mean of several systems' scores) on a part of the split. Patients
are drawn with all their images in all executions; where a system was trained several times on the same images, its
repeats are drawn too, so that the interval contains the chance of another training. The folds of a repeat stay
together. The spread over executions (`sd_<metric>`) is drawn from the chi-square distribution of the variance of normal
executions: with a few of them, a bootstrap would give too short intervals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.data.cohort import SEVERITIES
from covid_keras.evaluation import counts
from covid_keras.evaluation.ensembles import average_predictions
from covid_keras.evaluation.estimates import Execution, Sample
from covid_keras.evaluation.metrics import SEVERITY_PREFIX, confusion_shares, executions_of, percent
from covid_keras.evaluation.own_tables import OwnPredictions
from covid_keras.evaluation.thresholds import apply_thresholds, choose_thresholds
from covid_keras.evaluation.uncertainty import RESAMPLES, patient_weights
from covid_keras.published.claims import OF_EXECUTIONS, OF_HEAT, OF_OVERLAP, ClaimTest

SAMPLING_SD, SD = OF_EXECUTIONS
GAP, TUNED = "gap", "accuracy_tuned"
HEAT, OVERLAP, DECISIONS = "heat", "overlap", "decisions"
# Metrics of scores that take time to resample.
_SLOW = ("auprc", "calibration_error")
# Fewer executions say nothing about their spread.
FEWEST = 3


class NotTestable(Exception):
    """A test lacks predictions, images or executions; the message says which."""


class Measurements(Protocol):
    """The measurements of systems by name; each method raises `NotTestable` if there are none."""

    def predictions(self, system: str) -> pd.DataFrame:
        """Return the predictions, with the scores of the system's own classes."""

    def positive(self, system: str) -> str | None:
        """Return the positive class; None for the last of two, or if there is none."""

    def functions(self, system: str) -> Mapping[str, counts.OfConfusion]:
        """Return further metrics of the system's paper: name -> function of confusion matrices."""

    def shares(self, system: str) -> pd.DataFrame:
        """Return the shares of heat, per image: `image_id`, `patient_id`, `source`, `label`, `OF_HEAT` (0..1)."""

    def overlap(self, system: str) -> pd.DataFrame:
        """Return a segmenter's overlap, one row per image: `image_id`, `patient_id`, `part`, `OF_OVERLAP` (0..1)."""


@dataclass(frozen=True)
class Side:
    """A side of a test: systems, whose scores are averaged, the metric, and the images by part, source and label."""

    systems: tuple[str, ...]
    metric: str
    part: str = "test"
    source: str = ""
    label: str = ""

    @classmethod
    def of(cls, test: ClaimTest) -> list[Side]:
        """Return the sides of a test, one or two."""
        a = cls(test.a, test.metric, test.part, test.source, test.label)
        if not test.two_sided:
            return [a]
        images = test.part_b or test.part, test.source_b or test.source, test.label_b or test.label
        return [a, cls(test.b or test.a, test.less or test.metric, *images)]

    @property
    def spread(self) -> str:
        """The prefix of a spread over executions, or ""."""
        return next((prefix for prefix in OF_EXECUTIONS if self.metric.startswith(prefix)), "")

    @property
    def base(self) -> str:
        """The metric of each execution."""
        return self.metric.removeprefix(self.spread)

    @property
    def kind(self) -> str:
        """What the metric is computed from."""
        if self.base in OF_HEAT:
            return HEAT
        if self.base.startswith(OF_OVERLAP):
            return OVERLAP
        return self.base if self.base in (TUNED, *_SLOW) else DECISIONS

    @property
    def key(self) -> tuple[Any, ...]:
        """What sides that share their draws have in common."""
        return self.systems, self.kind, self.part, self.source, self.label

    @property
    def decided(self) -> bool:
        """Whether the metric is computed from predictions."""
        return self.kind in (DECISIONS, TUNED, *_SLOW)


@dataclass(frozen=True)
class Draws:
    """The metrics of a system per execution, and on resampled patients.

    Attributes
    ----------
    executions : tuple of (repeat, fold)
    values : mapping
        Metric -> ndarray of float64, (executions,); NaN where undefined.
    drawn : mapping
        Metric -> ndarray of float64, (executions, resamples).
    bearing : mapping
        Metric -> number of patients that contribute; "" for metrics not named.
    """

    executions: tuple[tuple[int, int], ...]
    values: Mapping[str, np.ndarray]
    drawn: Mapping[str, np.ndarray]
    bearing: Mapping[str, int]

    def value(self, side: Side) -> float:
        """Return the value of a side: its mean over executions, or the spread over them."""
        if side.spread == SD:
            return float(np.nanstd(self.values[_name(side)], ddof=1))
        if side.spread == SAMPLING_SD:
            return float(np.sqrt(np.nanmean(np.nanvar(self.drawn[_name(side)], axis=1, ddof=1))))
        return float(self._mean(side, self.values, np.ones((len(self.executions), 1)))[0])

    def resampled(self, side: Side, seed: Sequence[int]) -> np.ndarray:
        """Return the draws of a side, (resamples,); systems with equally many repeats draw the same ones.

        Raises
        ------
        NotTestable
            If there are fewer than `FEWEST` executions for a spread.
        """
        n, resamples = len(self.executions), self.drawn[_name(side)].shape[1]
        if side.spread and n < FEWEST:
            number = f"{n} execution{'s' if n > 1 else ''}"
            raise NotTestable(f"{' and '.join(side.systems)} has {number}, and a spread needs {FEWEST}")
        if side.spread == SAMPLING_SD:
            return np.full(resamples, self.value(side))
        if side.spread == SD:
            chi = np.random.default_rng((*seed, 2)).chisquare(n - 1, resamples)
            most = 50 * np.sqrt(n / (n - 1))  # of n percentages
            return np.minimum(self.value(side) * np.sqrt((n - 1) / chi), most)
        repeats = [repeat for repeat, _ in self.executions]
        names = list(dict.fromkeys(repeats))
        # A stream of its own, as in `Sample.times`.
        times = np.concatenate(list(patient_weights(len(names), resamples, (seed[0], 1))))
        return self._mean(side, self.drawn, times[:, [names.index(repeat) for repeat in repeats]].T)

    def each(self, side: Side) -> np.ndarray:
        """Return the value of each execution, (executions,); NaN for a spread."""
        if side.spread:
            return np.full(len(self.executions), np.nan)
        if side.base == GAP:
            return np.abs(self.values["sensitivity"] - self.values["specificity"])
        return self.values[_name(side)]

    def contributing(self, side: Side) -> int:
        """Return the number of patients that contribute to a side."""
        return self.bearing.get(_name(side), self.bearing[""])

    def _mean(self, side: Side, found: Mapping[str, np.ndarray], times: np.ndarray) -> np.ndarray:
        shaped = {name: values.reshape(len(times), -1) for name, values in found.items()}
        if side.base == GAP:
            return np.abs(_mean(shaped["sensitivity"], times) - _mean(shaped["specificity"], times))
        return _mean(shaped[_name(side)], times)


def _name(side: Side) -> str:
    return {TUNED: "accuracy", GAP: "sensitivity"}.get(side.base, side.base)


def _mean(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return the means (b,) of values (executions, b or 1), each `times` (executions, b); NaN are ignored."""
    known = np.isfinite(values) * times
    with np.errstate(invalid="ignore"):  # 0 / 0 gives NaN
        return np.where(known > 0, np.nan_to_num(values) * known, 0.0).sum(axis=0) / known.sum(axis=0)


@dataclass(frozen=True)
class _ImageMeans:
    """Values per image, summed per patient."""

    names: tuple[str, ...]
    sums: np.ndarray  # (patients, names)
    images: np.ndarray  # (patients,)

    @classmethod
    def of(cls, rows: pd.DataFrame, names: Sequence[str], patients: pd.Index) -> _ImageMeans:
        place = patients.get_indexer(rows["patient_id"])
        sums = np.zeros((len(patients), len(names)))
        np.add.at(sums, place, 100 * rows[list(names)].to_numpy(np.float64))
        return cls(tuple(names), sums, np.bincount(place, minlength=len(patients)).astype(np.float64))

    def metrics(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return the means for each row of `weights`, (b,) each."""
        means = percent(weights @ self.sums, (weights @ self.images)[:, None]) / 100
        return dict(zip(self.names, means.T, strict=True))


@dataclass(frozen=True)
class _Decided:
    """An execution of a sample of predictions; `slow` asks for the metrics that take time to resample."""

    execution: Execution
    functions: Mapping[str, counts.OfConfusion]
    slow: bool

    def metrics(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return all metrics in percent for each row of `weights`, (b,) each."""
        confusion, classes = self.execution.counts.confusion(weights), self.execution.counts.classes
        actual, said = confusion.sum(axis=-1), confusion.sum(axis=-2)
        fast = self.execution.compact(weights)
        found = fast if self.execution.scored is None else fast | {"brier": 100 * fast["brier"]}
        found |= confusion_shares(confusion, classes) | counts.agreement_metrics(confusion)
        found |= counts.macro_metrics(confusion) | counts.weighted_metrics(confusion)
        found["balanced_accuracy"] = counts.balanced_accuracy(confusion)
        found |= {name: function(confusion) for name, function in self.functions.items()}
        found["larger_class"] = percent(actual.max(axis=-1), actual.sum(axis=-1))
        if self.execution.scored is None:
            for name, values in counts.rest_metrics(confusion).items():
                found |= {f"{name}_{one}": values[:, place] for place, one in enumerate(classes)}
            return found
        found["called_positive"] = percent(said[:, 1], said.sum(axis=-1))
        found["youden"] = found["sensitivity"] + found["specificity"] - 100
        found["false_positive_rate"] = 100 - found["specificity"]
        found["false_negative_rate"] = 100 - found["sensitivity"]
        if self.slow:
            scores = self.execution.scored.metrics(weights)
            found |= {"auprc": scores["auprc"], "calibration_error": 100 * scores["calibration_error"]}
        return found


@dataclass
class ClaimMetrics:
    """The draws of the sides of tests, computed once for each system and set of patients.

    Parameters
    ----------
    measurements : Measurements
    resamples, seed : int
        As in `covid_keras.evaluation.uncertainty`.
    """

    measurements: Measurements
    resamples: int = RESAMPLES
    seed: int = 0
    _rows: dict[Any, pd.DataFrame] = field(default_factory=dict, repr=False)
    _drawn: dict[Any, Draws] = field(default_factory=dict, repr=False)

    def rows(self, side: Side) -> pd.DataFrame:
        """Return the rows of a side, one per image and execution; raise `NotTestable` if there are none."""
        if side.key not in self._rows:
            self._rows[side.key] = self._read(side)
        return self._rows[side.key]

    def draws(self, side: Side, images: frozenset[str] | None, patients: pd.Index) -> Draws:
        """Return the draws of a side.

        Parameters
        ----------
        side : Side
        images : frozenset of str or None
            The images to use; None for all.
        patients : pandas.Index
            The patients to draw; must contain all patients of the images.

        Raises
        ------
        NotTestable
            If nothing is measured, or no image has the severity level of the metric.
        UserError
            If the metric is not computed from what is measured.
        """
        key = side.key, images, tuple(patients)
        if key not in self._drawn:
            rows = self.rows(side)
            rows = rows if images is None else rows[rows["image_id"].isin(images)]
            self._drawn[key] = self._draw(side, rows, patients)
        found = self._drawn[key]
        if _name(side) not in found.values:
            if side.metric.removeprefix(SEVERITY_PREFIX) in SEVERITIES:
                raise NotTestable(f"no test image of {side.systems[0]} has the level of {side.metric}")
            known = ", ".join(found.values)
            raise UserError(f"metric {side.metric}", f"is not computed for {side.systems[0]}", f"Use one of {known}")
        return found

    def _draw(self, side: Side, rows: pd.DataFrame, patients: pd.Index) -> Draws:
        executions: Sequence[_Decided | _ImageMeans]
        if side.decided:
            positive = self.measurements.positive(side.systems[0])
            functions = self.measurements.functions(side.systems[0])
            sample = Sample.of(OwnPredictions(rows), positive, patients=patients)
            places = tuple((repeat, fold) for (_, repeat, fold), _ in executions_of(rows))
            executions, bearing = (
                [_Decided(one, functions, side.kind in _SLOW) for one in sample.executions],
                sample.bearing(),
            )
            bearing = bearing | {"": bearing["auc"]}
        else:
            columns = OF_OVERLAP if side.kind == OVERLAP else OF_HEAT
            places, executions = ((0, 0),), [_ImageMeans.of(rows, columns, patients)]
            bearing = {"": len(patients)}
        once = [one.metrics(np.ones((1, len(patients)))) for one in executions]
        chunks = [
            [one.metrics(weights) for one in executions]
            for weights in patient_weights(len(patients), self.resamples, self.seed)
        ]
        names = dict.fromkeys(name for one in once for name in one)
        drawn = {name: np.concatenate([_stacked(chunk, name) for chunk in chunks], axis=1) for name in names}
        return Draws(places, {name: _stacked(once, name)[:, 0] for name in names}, drawn, bearing)

    def _read(self, side: Side) -> pd.DataFrame:
        if side.decided:
            rows, part = self._predictions(side), "split"
        elif len(side.systems) > 1:
            raise UserError(f"metric {side.metric}", "is not computed from scores", "Name one system")
        elif side.kind == OVERLAP:
            rows, part = self.measurements.overlap(side.systems[0]), "part"
        else:
            rows, part = self.measurements.shares(side.systems[0]), ""
        for column, wanted in ((part, side.part), ("source", side.source), ("label", side.label)):
            rows = rows[rows[column] == wanted] if column and wanted else rows
        if rows.empty:
            images = ", ".join(filter(None, (f"{side.part} part", side.source, side.label)))
            raise NotTestable(f"{' and '.join(side.systems)} has no images ({images}) for {side.metric}")
        return rows

    def _predictions(self, side: Side) -> pd.DataFrame:
        frames = [self.measurements.predictions(name) for name in side.systems]
        try:
            rows = frames[0] if len(frames) == 1 else average_predictions(frames, "equal").frame
            if side.kind != TUNED:
                return rows
            positive = self.measurements.positive(side.systems[0])
            chosen = choose_thresholds(rows[rows["split"] == "validation"], positive, "accuracy")
            return apply_thresholds(rows, chosen, positive)
        except UserError as error:  # other images, or none to choose a threshold on
            raise NotTestable(f"{' and '.join(side.systems)}: {error.subject} {error.problem}") from error


def _stacked(found: Sequence[Mapping[str, np.ndarray]], name: str) -> np.ndarray:
    """Return a metric of all executions, (executions, b), NaN where one lacks it (such as a severity level)."""
    lacking = np.full(len(next(iter(found[0].values()))), np.nan)
    return np.stack([one.get(name, lacking) for one in found])
