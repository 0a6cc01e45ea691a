"""`covid_keras.evaluate`: metrics of the user's own predictions as text, JSON and figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix

from covid_keras import DISCLAIMER, __version__
from covid_keras.common.errors import UserError, printable
from covid_keras.common.files import staged, write_json
from covid_keras.evaluation.calibration import NEAREST
from covid_keras.evaluation.decisions import DECISION_THRESHOLD
from covid_keras.evaluation.delong import AucDifference, compare_aucs
from covid_keras.evaluation.estimates import PERCENT, Drawing, Estimate, Sample, differences
from covid_keras.evaluation.image_matching import match_images
from covid_keras.evaluation.metrics import Decisions, decisions_of, executions_of
from covid_keras.evaluation.own_tables import Columns, OwnPredictions, Table, as_text, has_labels, read_own
from covid_keras.evaluation.predictions import classes_of
from covid_keras.evaluation.summary import INTERVAL_WORDS, plain
from covid_keras.evaluation.uncertainty import EXACT, LEVEL, RESAMPLES
from covid_keras.reporting.figures import confusion_panels, roc_figure
from covid_keras.reporting.pictures import short_name
from covid_keras.reporting.renderer import write_figure
from covid_keras.reporting.score_figures import calibration_figure, precision_recall_figure, score_figure
from covid_keras.reporting.wording import EXACT_WORDS

REPORT = "evaluation.json"
_NAME = 48  # characters of the file's name in titles
_TITLES = {
    "sensitivity": "sensitivity (recall)",
    "precision_positive": "PPV (precision)",
    "precision_negative": "NPV",
    "f1_positive": "F1",
    "f1_negative": "F1 of the negative class",
    "mcc": "MCC",
    "kappa": "Cohen's kappa",
    "auc": "AUC",
    "auprc": "AUPRC (average precision)",
    "brier": "Brier score",
    "calibration_error": "expected calibration error",
}
# Not in the table of metrics: the confusion matrix is shown as such.
_HIDDEN = "confusion_"


@dataclass(frozen=True)
class Comparison:
    """Two sets of predictions of the same images, the first minus the other.

    Parameters
    ----------
    other : str
        Source of the other predictions.
    images, patients : int
        Number in both sets.
    differences : dict
        Metric -> difference, in points or as a plain number, with its interval by bootstrap of the common patients.
    delong : AucDifference or None
        The AUCs compared by DeLong's method, clustered by patient; None if not possible.
    """

    other: str
    images: int
    patients: int
    differences: dict[str, Estimate]
    delong: AucDifference | None


@dataclass(frozen=True)
class Evaluation:
    """The evaluation of the user's own predictions.

    Parameters
    ----------
    source : str
        The file, or "predictions".
    own : OwnPredictions
        The predictions as read.
    decisions : tuple of Decisions
        One per execution; a table that is not from a run has one.
    metrics : dict of str to Estimate
        Value and 95 % interval by patient, in percent or as a plain number.
    curve : DataFrame or None
        The calibration curve of two classes: `score`, `share`, `low`, `high` (0..1), `images`.
    decided_at : float or None
        Threshold on the score; None if the decisions are the table's own, or the class with the highest score.
    drawing : Drawing
        Settings of the bootstrap.
    notes : tuple of str
        What was assumed, left out or undefined.
    comparison : Comparison or None
    """

    source: str
    own: OwnPredictions
    decisions: tuple[Decisions, ...]
    metrics: dict[str, Estimate]
    curve: pd.DataFrame | None
    decided_at: float | None
    drawing: Drawing
    notes: tuple[str, ...]
    comparison: Comparison | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes; the second of two is the positive one."""
        return self.decisions[0].classes

    @property
    def positive(self) -> str:
        """The positive class, "" if there is none."""
        return self.classes[1] if self.decisions[0].binary else ""

    @property
    def confusion(self) -> np.ndarray:
        """Counts of images over all executions, truth by rows, (K, K), in the order of `classes`."""
        every = range(len(self.classes))
        return sum(confusion_matrix(one.truth, one.predicted, labels=every) for one in self.decisions)

    def lines(self) -> list[str]:
        """Return the result as lines of text."""
        frame, counts = self.own.frame, self.confusion.sum(axis=1)
        classes = ", ".join(f"{name} {n:,}" for n, name in zip(counts, self.classes, strict=True))
        head = f"{frame['image_id'].nunique():,} images of {frame['patient_id'].nunique():,} patients ({classes})"
        lines = [f"{self.source}: {head}", self._decided()]
        lines += _table(self.metrics, f"{100 * self.drawing.level:g} % interval by patient")
        if self.comparison:
            lines += ["", *self._compared(self.comparison)]
        exact = [EXACT_WORDS] if any(one.interval == EXACT for one in self.metrics.values()) else []
        return [*lines, "", *(f"Note: {note}." for note in (*self.notes, *exact)), DISCLAIMER]

    def _decided(self) -> str:
        positive = f"Positive: {self.positive}. " if self.positive else ""
        if self.decided_at is not None:
            return f"{positive}Threshold: score >= {self.decided_at:g}."
        return f"{positive}Decisions: {'as in the table' if self.own.decided else 'class with the highest score'}."

    def _compared(self, found: Comparison) -> list[str]:
        head = f"Minus {found.other}, on the {found.images:,} images of {found.patients:,} patients in both"
        lines = [head, *_table(found.differences, "interval by bootstrap of patients", sign="+")]
        if one := found.delong:
            p = f"p = {one.p:.3g}" if one.p >= 1e-4 else "p < 0.0001"
            text = f"{one.a:.1f} minus {one.b:.1f} = {one.difference:+.1f} ({one.low:+.1f} to {one.high:+.1f}), {p}"
            lines.append(f"  AUC by DeLong's method: {text}")
        return lines

    def report(self) -> dict[str, Any]:
        """Return the contents of `evaluation.json`."""
        found = self.comparison
        return {
            "source": self.source,
            "images": self.own.frame["image_id"].nunique(),
            "patients": self.own.frame["patient_id"].nunique(),
            "executions": len(self.decisions),
            "classes": list(self.classes),
            "positive": self.positive or None,
            "threshold": self.decided_at,
            "confusion": self.confusion.tolist(),
            "metrics": _records(self.metrics),
            "calibration": None if self.curve is None else _rows(self.curve),
            "comparison": found
            and {
                "other": found.other,
                "images": found.images,
                "patients": found.patients,
                "differences": _records(found.differences),
                "delong": found.delong and vars(found.delong),
            },
            "interval": {
                "method": INTERVAL_WORDS,
                "level": self.drawing.level,
                "resamples": self.drawing.resamples,
                "seed": self.drawing.seed,
            },
            "notes": list(self.notes),
            "version": __version__,
            "disclaimer": DISCLAIMER,
        }

    def figures(self) -> Iterator[tuple[str, Figure]]:
        """Yield (name, figure): confusion matrix; given scores, ROC, precision-recall, calibration and histogram."""
        name, positive = short_name(Path(self.source).name, _NAME), printable(self.positive)
        classes = tuple(map(printable, self.classes))
        yield "confusion", confusion_panels({name: self.confusion}, classes, "Confusion matrix")
        if not self.own.scored or any(len(np.unique(one.truth)) < 2 for one in self.decisions):
            return
        if not self.positive:
            systems = {
                label: [(one.truth == place, one.scores[:, place]) for one in self.decisions]
                for place, label in enumerate(classes)
                if all((one.truth == place).any() for one in self.decisions)
            }
            yield "roc", roc_figure(systems, f"ROC of each class against the others: {name}", "the class")
            yield "precision_recall", precision_recall_figure(systems, f"Precision and recall: {name}", "the class")
            return
        systems = {name: [(one.truth, one.scores[:, 1]) for one in self.decisions]}
        yield "roc", roc_figure(systems, f"ROC: {name}", positive)
        yield "precision_recall", precision_recall_figure(systems, f"Precision and recall: {name}", positive)
        if self.curve is not None:
            yield "calibration", calibration_figure({name: self.curve}, f"Calibration: {name}", positive)
        scores = {
            label: np.concatenate([one.scores[one.truth == place, 1] for one in self.decisions])
            for place, label in enumerate(classes)
        }
        yield "scores", score_figure(scores, f"Scores: {name}", positive, self.decided_at)

    def write(self, out: str | Path) -> Path:
        """Write `evaluation.json` and the figures (PNG) into a folder, created if missing; return it.

        Raises
        ------
        UserError
            If the folder cannot be written. Nothing is written then.
        """
        with staged(out) as folder:
            for name, figure in self.figures():
                write_figure(folder / f"{name}.png", figure)
            write_json(folder / REPORT, self.report())
        return Path(out)


def _table(estimates: dict[str, Estimate], interval: str, sign: str = "") -> list[str]:
    shown = {name: one for name, one in estimates.items() if not name.startswith(_HIDDEN)}
    titles = [_TITLES.get(name, name.replace("_", " ").replace("f1", "F1")) for name in shown]
    width = max(map(len, titles))
    lines = [f"  {'':{width}}  {'value':>12}  {interval}"]
    return lines + [
        f"  {title:{width}}  {_number(one.value, one, sign):>12}  {_interval(one, sign)}".rstrip()
        for title, one in zip(titles, shown.values(), strict=True)
    ]


def _number(value: float, one: Estimate, sign: str) -> str:
    if not np.isfinite(value):
        return "-"
    value = round(value, 3) + 0.0  # no -0.000
    return f"{value:{sign}.1f} {'points' if sign else '%'}" if one.unit == PERCENT else f"{value:{sign}.3f}"


def _interval(one: Estimate, sign: str) -> str:
    known = np.isfinite([one.low, one.high]).all()
    mark = f", {EXACT}" if one.interval == EXACT else ""
    return f"{_number(one.low, one, sign)} to {_number(one.high, one, sign)}{mark}" if known else ""


def _records(estimates: dict[str, Estimate]) -> dict[str, dict[str, Any]]:
    return {name: {key: plain(value) for key, value in one._asdict().items()} for name, one in estimates.items()}


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): plain(value) for key, value in row.items()} for row in frame.to_dict("records")]


def evaluate(
    predictions: Table,
    *,
    label: str | None = None,
    score: str | Sequence[str] = (),
    patient: str | None = None,
    image: str | None = None,
    predicted: str | None = None,
    labels: Table | None = None,
    positive: str | None = None,
    threshold: float | None = None,
    system: str | None = None,
    against: Table | None = None,
    against_system: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
    out: str | Path | None = None,
) -> Evaluation:
    """Evaluate predictions of any network: metrics with intervals by patient, calibration, a paired comparison.

    Parameters
    ----------
    predictions : DataFrame, str or Path
        Table with one row per image, or its CSV file, including those that `covid_keras.predict` and runs write; see
        `covid_keras.evaluation.own_tables.read_own`.
    label, patient, image, predicted : str, optional
        Column names. Default: the usual names.
    score : str or sequence of str
        Column of scores of the positive class, 0..1, or one column per class.
    labels : DataFrame, str or Path, optional
        Table of images, labels and, if known, patients, for predictions without labels.
    positive : str, optional
        The positive class. All other classes together are the negative one.
    threshold : float, optional
        Threshold on the score, 0..1. Default: the table's own decisions, else 0.5.
    system : str, optional
        System to evaluate, for a run's predictions of several systems.
    against : DataFrame, str or Path, optional
        Other predictions of the same images, paired by image. Labels and patients default to those of `predictions`.
    against_system : str, optional
        The same as `system`, for `against`.
    resamples, seed, level
        Settings of the bootstrap over patients.
    out : str or Path, optional
        Folder for `evaluation.json` and the figures.

    Returns
    -------
    Evaluation

    Raises
    ------
    UserError
        If a table cannot be used. Nothing is written then.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"label": [0, 0, 1, 1], "score": [0.1, 0.6, 0.7, 0.9]})
    >>> evaluate(table).metrics["specificity"].value
    50.0
    """
    if threshold is not None and not 0 <= threshold <= 1:
        raise UserError("--threshold", f"must be from 0 to 1 (got {threshold:g})", "Give a score")
    columns = Columns(label, (score,) if isinstance(score, str) else tuple(score), patient, image, predicted)
    own = read_own(predictions, columns, positive, labels, system)
    source = _name_of(predictions)
    drawing = Drawing(resamples, seed, level)
    found = _measured(source, own, positive, threshold, drawing)
    if against is not None:
        found = _compare(found, against, _there(columns, against), positive, threshold, against_system)
    if out is not None:
        found.write(out)
    return found


def _name_of(table: Table) -> str:
    return "predictions" if isinstance(table, pd.DataFrame) else str(table)


def _measured(
    source: str, own: OwnPredictions, positive: str | None, threshold: float | None, drawing: Drawing
) -> Evaluation:
    """Evaluate predictions; note what is undefined."""
    several = positive if len(classes_of(own.frame)) > 2 else None
    if threshold is not None and not own.scored:
        raise UserError(f"--threshold {threshold:g}", "there are no scores", "Name them with --score")
    decisions = tuple(decisions_of(rows, several, threshold) for _, rows in executions_of(own.frame))
    sample = Sample.of(own, several, threshold)
    binary = decisions[0].binary
    decided_at = threshold if threshold is not None else None if own.decided or not binary else DECISION_THRESHOLD
    curve = sample.curve(drawing) if binary and own.scored else None
    notes = (*own.notes, *_undefined(decisions, sample, own))
    return Evaluation(source, own, decisions, sample.estimates(drawing), curve, decided_at, drawing, notes)


def _undefined(decisions: tuple[Decisions, ...], sample: Sample, own: OwnPredictions) -> Iterator[str]:
    classes = decisions[0].classes
    truth, scores = (np.concatenate([getattr(one, name) for one in decisions]) for name in ("truth", "scores"))
    if not own.scored:
        yield "There are no scores, so AUC, calibration and other metrics of scores are undefined"
    if len(present := np.unique(truth)) == 1:
        yield f"All images are {classes[present[0]]}: metrics that need another class are undefined"
    elif missing := [name for place, name in enumerate(classes) if place not in present]:
        yield f"No image is {', '.join(missing)}: metrics of this class are undefined"
    if len(sample.patients) < 2:
        yield "All images are of one patient, so there are no intervals"
    if own.scored and decisions[0].binary:
        edge = int(((scores[:, 1] < NEAREST) | (scores[:, 1] > 1 - NEAREST)).sum())
        if edge:
            yield f"{edge} scores within {NEAREST:g} of 0 or 1 are clipped for calibration slope and intercept"
        if len(present) == 2 and not np.isfinite(sample.values(sample.once())["calibration_slope"][0]):
            yield "No calibration slope: the scores separate the classes almost perfectly, or are all equal"


# --- two sets of predictions


def _there(columns: Columns, against: Table) -> Columns:
    """Return the named columns that the other table has too."""
    names = set(as_text(against).columns)
    kept = {
        name: value for name, value in vars(columns).items() if name != "score" and (value is None or value in names)
    }
    score = columns.score if set(columns.score) <= names else ()
    return Columns(score=score, **kept)


def _compare(
    found: Evaluation,
    against: Table,
    columns: Columns,
    positive: str | None,
    threshold: float | None,
    system: str | None,
) -> Evaluation:
    """Add the comparison with other predictions of the same images to an evaluation."""
    own, other = found.own, _name_of(against)
    if not own.identified:
        raise UserError(found.source, "has no column of images, so the tables cannot be paired", "Name it with --image")
    known = own.frame.drop_duplicates("image_id")
    truth = None if has_labels(against, columns) else known[["image_id", "label", "patient_id"]]
    theirs = read_own(against, columns, positive or found.positive or None, truth, system)
    notes = [f"{other}: {note}" for note in theirs.notes]
    images = list(dict.fromkeys(theirs.frame["image_id"]))
    at = match_images(list(known["image_id"]), images, found.source, other, notes)
    names = {images[place]: name for place, name in zip(at, known["image_id"], strict=True) if place >= 0}
    paired = theirs.frame.assign(image_id=theirs.frame["image_id"].map(names)).dropna(subset="image_id")
    paired = paired.assign(patient_id=paired["image_id"].map(known.set_index("image_id")["patient_id"]))
    pair = replace(own, frame=own.frame[own.frame["image_id"].isin(names.values())]), replace(theirs, frame=paired)
    _check_same_truth(*pair, found.positive, found.source, other)
    several = [positive if len(classes_of(one.frame)) > 2 else None for one in pair]
    first = Sample.of(pair[0], several[0], threshold)
    second = Sample.of(pair[1], several[1], threshold, first.patients)
    delong, why = _delong(pair, found.positive)
    gaps = differences(first, second, found.drawing)
    comparison = Comparison(other, len(names), len(first.patients), gaps, delong)
    return replace(found, comparison=comparison, notes=(*found.notes, *notes, *why))


def _check_same_truth(a: OwnPredictions, b: OwnPredictions, positive: str, source: str, other: str) -> None:
    """Raise `UserError` if two tables disagree on the label of an image."""
    labels = [one.frame.drop_duplicates("image_id").set_index("image_id")["label"] for one in (a, b)]
    if not positive and set(classes_of(a.frame)) != set(classes_of(b.frame)):
        problem = f"has the classes {', '.join(classes_of(b.frame))}, but {source} {', '.join(classes_of(a.frame))}"
        raise UserError(other, problem, "Compare predictions of the same classes")
    first, second = labels[0], labels[1].reindex(labels[0].index)
    differ = (first == positive) != (second == positive) if positive else first != second
    if differ.any():
        image = differ.index[differ][0]
        problem = f"labels image {image} {second[image]}, but {source} {first[image]} ({differ.sum()} images differ)"
        raise UserError(other, problem, "Correct the labels, or remove them from one table")


def _delong(pair: tuple[OwnPredictions, OwnPredictions], positive: str) -> tuple[AucDifference | None, list[str]]:
    """Return DeLong's comparison of the AUCs, or None and the reason."""
    frames = [one.frame.set_index("image_id") for one in pair]
    if not positive or not all(one.scored for one in pair):
        return None, []
    if any(one.frame.groupby(["repeat", "fold"]).ngroups > 1 for one in pair):
        return None, ["No comparison by DeLong's method: scores of several executions are on different scales"]
    scores = [frame[f"score_{positive}"].reindex(frames[0].index).to_numpy(np.float64) for frame in frames]
    try:
        truth, patients = (frames[0]["label"] == positive).to_numpy(), frames[0]["patient_id"].to_numpy(str)
        return compare_aucs(truth, *scores, patients), []
    except ValueError as error:
        return None, [f"No comparison by DeLong's method: {error}"]
