"""Splits: patient-disjoint stratified folds and hold-outs, and checks for leakage.

A split is a table with one row per image in each (repeat, fold). Its columns are `repeat, fold, image_id, patient_id,
label, split`; `split` is "train", "validation" or "test". It is stored as CSV with its SHA-256.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, train_test_split

from covid_keras.common.errors import UserError
from covid_keras.common.files import MOST_SIDECAR, atomic_path, read_bytes, sha256_of, write_text
from covid_keras.common.tables import read_table, table_text
from covid_keras.data.cohort import Cohort

SPLIT_COLUMNS = ("repeat", "fold", "image_id", "patient_id", "label", "split")
PARTS = ("train", "validation", "test")
# Fractions are rounded to twentieths: 0.1 -> 1 of 10, 0.15 -> 3 of 20.
_FINEST = 20
_NAMED = 5


def patient_folds(
    cohort: Cohort,
    n_folds: int = 5,
    repeats: int = 1,
    seed: int = 0,
    validation: float = 0.1,
    groups: Sequence[str] | np.ndarray | None = None,
    leaky_as_published: bool = False,
) -> pd.DataFrame:
    """Return stratified, patient-disjoint folds, with a validation part taken from each training part.

    Parameters
    ----------
    cohort : Cohort
        The images, stratified by label and, if known, severity.
    n_folds : int
        Number of folds, at least 2. Each image is in "test" once per repeat.
    repeats : int
        Number of repeats, each shuffled differently.
    seed : int
        The same seed gives the same folds.
    validation : float
        Fraction of each training part that becomes "validation", in [0, 1); rounded to a twentieth.
    groups : sequence of str, optional
        One key per image; images with the same key stay together. Default: `patient_id`. `duplicate_groups` returns
        keys that also keep near-duplicates together.
    leaky_as_published : bool
        Split by image, so that patients may cross. Only for reproducing a paper that did so.

    Returns
    -------
    pandas.DataFrame
        Columns repeat, fold (int, from 0), image_id, patient_id, label, split; repeats * n_folds rows per image, in the
        order of the cohort within each fold.

    Raises
    ------
    UserError
        If a part of a fold would lack a class.

    References
    ----------
    Tabik et al., IEEE JBHI 24(12), 2020, section V: 5 x 5 folds, 10 % of each training part for validation.
    """
    if n_folds < 2 or repeats < 1 or not 0 <= validation < 1:
        problem = f"invalid combination of {n_folds} folds, {repeats} repeats, validation {validation}"
        remedy = "Use at least 2 folds, at least 1 repeat, and validation of at least 0 and below 1"
        raise UserError("split", problem, remedy)
    keys = None if leaky_as_published else _group_keys(cohort, groups)
    _require_enough(cohort, keys, n_folds)
    tables = []
    for repeat in range(repeats):
        parts = _deal(cohort, np.arange(len(cohort)), keys, n_folds, _seed(seed, repeat))
        for fold, test in enumerate(parts):
            split = np.full(len(cohort), "train", dtype=object)
            split[test] = "test"
            if validation:
                pool = np.flatnonzero(split == "train")
                split[_take(cohort, pool, keys, validation, _seed(seed, repeat, fold))] = "validation"
            tables.append(_table(cohort, split, repeat, fold))
    table = pd.concat(tables, ignore_index=True)
    _check_classes(table, cohort, ("train", "validation", "test") if validation else ("train", "test"))
    return table


def hold_out(
    cohort: Cohort,
    fractions: Mapping[str, float] | None = None,
    seed: int = 0,
    groups: Sequence[str] | np.ndarray | None = None,
    shares: Mapping[str, Mapping[str, float]] | None = None,
) -> pd.DataFrame:
    """Return a stratified, patient-disjoint division into train, validation and test (repeat 0, fold 0).

    Parameters
    ----------
    cohort : Cohort
        The images, stratified by label and, if known, severity.
    fractions : mapping, optional
        Fractions of "train", "validation" and "test" (0 if left out), with sum 1; rounded to a twentieth. Default: 0.8,
        0, 0.2.
    seed, groups
        As in `patient_folds`.
    shares : mapping, optional
        Labels with different fractions, such as {"COVID-19, BIMCV": {"train": 1}}. Images with the same key (patient,
        near-duplicates) still stay together: they follow the first of their labels in `shares`.

    Returns
    -------
    pandas.DataFrame
        One row per image, columns as in `patient_folds`.

    Raises
    ------
    UserError
        If the fractions are invalid, a label is unknown, or a part would lack a class.
    """
    fractions = {"train": 0.8, "test": 0.2} if fractions is None else fractions
    keys = _group_keys(cohort, groups)
    shares = shares or {}
    rules = [dict(fractions), *(dict(own) for own in shares.values())]
    of_image = _rules(cohort, keys, tuple(shares))
    split = np.full(len(cohort), "", dtype=object)
    for number, rule in enumerate(rules):
        rows = of_image == number
        if rows.any():
            part = _alike(cohort, rows, list(shares or ())[number - 1]) if number else _present(cohort, rows)
            split[rows] = _divided(part, rule, keys[rows], _seed(seed, number) if number else seed)
    return _table(cohort, split, 0, 0)


def _rules(cohort: Cohort, keys: np.ndarray, labels: tuple[str, ...]) -> np.ndarray:
    """Return the rule for each image, (n,) int: 0 for the common one, else 1 + the position of its label."""
    for label in labels:
        if label not in cohort.classes:
            raise UserError("split.shares", f"unknown label {label!r}", f"Known: {', '.join(cohort.classes)}")
    place = {label: number for number, label in enumerate(labels)}
    first = cohort.table["label"].map(place).fillna(len(labels)).groupby(keys).transform("min").to_numpy(np.int64)
    return (first + 1) % (len(labels) + 1)


def _present(cohort: Cohort, rows: np.ndarray) -> Cohort:
    """Return a subset of the cohort with the classes that occur in it."""
    if rows.all():
        return cohort
    table = cohort.table[rows]
    return Cohort(table, tuple(name for name in cohort.classes if (table["label"] == name).any()), cohort.name)


def _alike(cohort: Cohort, rows: np.ndarray, label: str) -> Cohort:
    """Return a subset of the cohort with all images relabelled to `label`."""
    return Cohort(cohort.table[rows].assign(label=label, severity=""), (label,), cohort.name)


def _divided(cohort: Cohort, shares: Mapping[str, float], keys: np.ndarray, seed: int) -> np.ndarray:
    """Return the part of each image, object (n,), under one rule."""
    unknown = [part for part in shares if part not in PARTS]
    if unknown or min(shares.values(), default=-1.0) < 0 or not np.isclose(sum(shares.values()), 1):
        remedy = f"Give fractions of {', '.join(PARTS)} that sum to 1"
        raise UserError("split", f"invalid fractions {shares}", remedy)
    asked = tuple(part for part in PARTS if shares.get(part, 0) > 0)
    split = np.full(len(cohort), asked[0], dtype=object)
    rest = 1.0
    for number, part in enumerate(reversed(asked[1:])):
        pool = np.flatnonzero(split == asked[0])
        split[_take(cohort, pool, keys, shares[part] / rest, _seed(seed, 0, number))] = part
        rest -= shares[part]
    _check_classes(_table(cohort, split, 0, 0), cohort, asked)
    return split


def published_split(cohort: Cohort, test: float, seed: int) -> pd.DataFrame:
    """Return the unstratified division by image of `sklearn.model_selection.train_test_split`.

    Patients and near-duplicates cross. Use it only to reproduce papers that split this way, beside a disjoint split.

    Parameters
    ----------
    cohort : Cohort
        In the order of the authors' arrays.
    test : float
        Fraction of the test part; its size is rounded up.
    seed : int
        Their `random_state`.

    Returns
    -------
    pandas.DataFrame
        One row per image, columns as in `patient_folds`, parts train and test.

    Examples
    --------
    For Haghanifar et al. 2020, Table 3 (428 COVID-19 radiographs followed by 3,200 normal ones, seed 18), it gives the
    printed row sums 645 and 81.
    """
    _, chosen = train_test_split(np.arange(len(cohort)), test_size=test, random_state=seed)
    split = np.full(len(cohort), "train", dtype=object)
    split[chosen] = "test"
    table = _table(cohort, split, 0, 0)
    _check_classes(table, cohort, ("train", "test"))
    return table


def repeated(table: pd.DataFrame, repeats: int) -> pd.DataFrame:
    """Repeat a division, for executions that differ only in their seed."""
    return pd.concat([table.assign(repeat=number) for number in range(repeats)], ignore_index=True)


def _seed(*key: int) -> int:
    return int(np.random.SeedSequence([int(number) % (1 << 63) for number in key]).generate_state(1)[0])


def _group_keys(cohort: Cohort, groups: Sequence[str] | np.ndarray | None) -> np.ndarray:
    keys = cohort.table["patient_id"].to_numpy() if groups is None else np.asarray(groups)
    if keys.shape != (len(cohort),):
        raise ValueError(f"groups must have shape ({len(cohort)},), got {keys.shape}")
    return keys


def _table(cohort: Cohort, split: np.ndarray, repeat: int, fold: int) -> pd.DataFrame:
    chosen = cohort.table[["image_id", "patient_id", "label"]]
    return chosen.assign(repeat=repeat, fold=fold, split=split)[list(SPLIT_COLUMNS)]


def _strata(cohort: Cohort, pool: np.ndarray, n_parts: int) -> np.ndarray:
    """Return the strata of the images in `pool`: label and severity, or the label alone if a level is rare."""
    label = cohort.table["label"].iloc[pool]
    stratum = label + "\t" + cohort.table["severity"].iloc[pool]
    rare = stratum.groupby(stratum).transform("size") < n_parts
    return stratum.where(~rare.groupby(label).transform("any"), label).to_numpy()


def _deal(cohort: Cohort, pool: np.ndarray, keys: np.ndarray | None, n_parts: int, seed: int) -> list[np.ndarray]:
    """Divide the images `pool` (row numbers) into `n_parts` stratified parts, keeping keys together."""
    splitter = StratifiedKFold if keys is None else StratifiedGroupKFold
    units = None if keys is None else keys[pool]
    with warnings.catch_warnings():
        # _take and _check_classes handle classes rarer than the number of parts.
        warnings.filterwarnings("ignore", message="The least populated class")
        dealt = splitter(n_parts, shuffle=True, random_state=seed).split(pool, _strata(cohort, pool, n_parts), units)
        return [pool[part] for _, part in dealt]


def _require_enough(cohort: Cohort, keys: np.ndarray | None, n_folds: int) -> None:
    """Raise `UserError` if a class has fewer patients (without keys: images) than there are folds."""
    units = np.arange(len(cohort)) if keys is None else keys
    labels = cohort.table["label"].to_numpy()
    for name in cohort.classes:
        found = len(set(units[labels == name]))
        if found < n_folds:
            what = "image(s)" if keys is None else "patient(s)"
            problem = f"class '{name}' has {found} {what}, too few for {n_folds} folds"
            remedy = "Use fewer folds, add images of the class, or merge it with another"
            raise UserError(cohort.name or "split", problem, remedy)


def _take(cohort: Cohort, pool: np.ndarray, keys: np.ndarray | None, share: float, seed: int) -> np.ndarray:
    """Return a stratified fraction `share` of the images `pool`.

    More images are taken if a rare class would otherwise be missing.
    """
    labels = cohort.table["label"].to_numpy()
    units = pool if keys is None else keys[pool]
    # A small pool is divided into fewer parts, so that none is empty.
    largest_class = int(np.unique(labels[pool], return_counts=True)[1].max())
    finest = min(_FINEST, len(set(units)), largest_class)
    if finest < 2:
        problem = "one patient cannot be divided into two parts"
        raise UserError(cohort.name or "split", problem, "Add patients, or use fewer parts")
    # At least one part: a requested fraction is never rounded to 0.
    ratio = max(Fraction(share).limit_denominator(finest), Fraction(1, finest))
    parts = _deal(cohort, pool, keys, max(ratio.denominator, 2), seed)
    for number, start in itertools.product(range(ratio.numerator, len(parts)), range(len(parts))):
        chosen = np.concatenate([parts[(start + step) % len(parts)] for step in range(number)])
        left = np.setdiff1d(pool, chosen)
        if set(labels[chosen]) == set(cohort.classes) == set(labels[left]):
            return chosen
    return np.concatenate(parts[: ratio.numerator])  # _check_classes reports missing classes


def _check_classes(table: pd.DataFrame, cohort: Cohort, asked: tuple[str, ...]) -> None:
    found = set(table[["repeat", "fold", "split", "label"]].itertuples(index=False, name=None))
    folds = table[["repeat", "fold"]].drop_duplicates().itertuples(index=False, name=None)
    for (repeat, fold), part, label in itertools.product(folds, asked, cohort.classes):
        if (repeat, fold, part, label) not in found:
            problem = f"the {part} part of repeat {repeat}, fold {fold} has no image of class '{label}'"
            remedy = "Use fewer folds, a larger validation or test part, another seed, or merge the class with another"
            raise UserError(cohort.name or "split", problem, remedy)


def _named(items: Sequence[str]) -> str:
    more = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return ", ".join(items[:_NAMED]) + more


def _executions(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for (repeat, fold), part in table.groupby(["repeat", "fold"], sort=False):
        yield f"repeat {repeat}, fold {fold}", part


def check_disjoint(table: pd.DataFrame, cohort: Cohort, duplicates: pd.DataFrame | None = None) -> None:
    """Raise `UserError` if parts of a split share a patient or a pair of near-duplicates.

    Parameters
    ----------
    table : pandas.DataFrame
        A split. Its patients are looked up in the cohort.
    cohort : Cohort
        Must contain all images of the split.
    duplicates : pandas.DataFrame, optional
        Pairs of near-duplicates (columns image_id_a and image_id_b), as from `find_duplicates`.

    Raises
    ------
    UserError
        If there is leakage; the message names the first five patients or pairs. Also if an image is not in the cohort
        or is repeated.
    """
    patients = cohort.table.set_index("image_id")["patient_id"]
    unknown = table["image_id"][~table["image_id"].isin(patients.index)]
    if len(unknown):
        raise UserError("split", f"image '{unknown.iloc[0]}' is not in the cohort", "Make the split again")
    for where, part in _executions(table):
        twice = part["image_id"][part["image_id"].duplicated()]
        if len(twice):
            raise UserError("split", f"image '{twice.iloc[0]}' is repeated in {where}", "Make the split again")
        kinds = part["split"].groupby(part["image_id"].map(patients)).nunique()
        crossing = list(kinds.index[kinds > 1])
        if crossing:
            problem = f"leakage in {where}: patients in more than one part: {_named(crossing)}"
            raise UserError("split", problem, "Split by patient (patient_folds or hold_out)")
        if duplicates is not None and len(duplicates):
            _check_pairs(part, duplicates, where)


def _check_pairs(part: pd.DataFrame, duplicates: pd.DataFrame, where: str) -> None:
    split = part.set_index("image_id")["split"]
    first, second = (duplicates[column].map(split) for column in ("image_id_a", "image_id_b"))
    crossing = duplicates[first.notna() & second.notna() & (first != second)]
    if len(crossing):
        pairs = [f"{a} = {b}" for a, b in zip(crossing["image_id_a"], crossing["image_id_b"], strict=True)]
        problem = f"leakage in {where}: near-duplicates in more than one part: {_named(pairs)}"
        raise UserError("split", problem, "Split with groups=duplicate_groups(cohort, pairs)")


def write_split(path: str | Path, table: pd.DataFrame) -> Path:
    """Write a split as CSV, and its SHA-256 to `<path>.sha256` in the format of sha256sum; return the path."""
    path = Path(path)
    with atomic_path(path) as temporary:
        temporary.write_text(table_text(table[list(SPLIT_COLUMNS)]), encoding="utf-8")
        # The digest is written first: a split with an outdated digest would look modified.
        write_text(_sidecar(path), f"{sha256_of(temporary)}  {path.name}\n")
    return path


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def read_split(path: str | Path) -> pd.DataFrame:
    """Read a split written by `write_split` and verify its SHA-256.

    Raises `UserError` if the split or its digest is missing, the digest differs, or a column or part is unknown.
    """
    path = Path(path)
    table = read_table(path, SPLIT_COLUMNS)
    try:
        recorded = read_bytes(_sidecar(path), MOST_SIDECAR).split()[:1]
    except UserError as error:
        raise UserError(error.subject, error.problem, "Restore it, or create the split again") from error
    if recorded != [sha256_of(path).encode()]:
        problem = f"was changed since it was written (its SHA-256 is not that of {path.name}.sha256)"
        raise UserError(path, problem, "Restore the file, or create the split again")
    unknown = set(table["split"]) - set(PARTS)
    if unknown:
        raise UserError(path, f"part '{min(unknown)}' in column 'split' is unknown", f"Use {', '.join(PARTS)}")
    try:
        return table[list(SPLIT_COLUMNS)].astype({"repeat": int, "fold": int})
    except (ValueError, OverflowError) as error:
        problem = f"columns 'repeat' and 'fold' must contain whole numbers ({error})"
        raise UserError(path, problem, "Create the split again") from error
