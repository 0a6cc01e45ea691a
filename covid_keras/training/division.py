"""Split a cohort into training, validation and test parts according to a protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.data.cohort import Cohort
from covid_keras.data.duplicates import PAIR_COLUMNS, duplicate_groups, find_duplicates
from covid_keras.data.splits import check_disjoint, hold_out, patient_folds, published_split, repeated
from covid_keras.paper.protocol import Protocol, SplitSettings


def make_splits(
    cohort: Cohort, protocol: Protocol, names: Sequence[str] | None = None, cache: Path | None = None
) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """Return the split tables by name ("" is the main one) and the near-duplicate pairs that they keep together.

    `names` defaults to all splits of the protocol. The near-duplicate search is cached in `cache`.
    """
    names = ("", *protocol.splits) if names is None else names
    settings = {name: protocol.split_of(name) for name in names}
    searched = any(one.duplicates for one in settings.values())
    duplicates = find_duplicates(cohort, cache=cache) if searched else pd.DataFrame(columns=list(PAIR_COLUMNS))
    return {name: divide(cohort, one, duplicates) for name, one in settings.items()}, duplicates


def chosen_images(cohort: Cohort, images: Mapping[str, int]) -> Cohort:
    """Return the first n images of each label in `images` (0: all), in the cohort's order; all images if empty."""
    if not images:
        return cohort
    table = cohort.table
    number = table.groupby("label").cumcount()
    for label, count in images.items():
        if (found := int((table["label"] == label).sum())) < max(count, 1):
            raise UserError(
                "split", f"asks for {count or 'some'} images {label!r}, but there are {found}", "Change split.images"
            )
    wanted = table["label"].map(lambda label: images.get(label, -1) or len(table)).to_numpy()
    return Cohort(table[number.to_numpy() < wanted], tuple(images), cohort.name)


def divide(cohort: Cohort, settings: SplitSettings, duplicates: pd.DataFrame) -> pd.DataFrame:
    """Return one split of the cohort, checked for leaks unless it leaks as published."""
    cohort = chosen_images(cohort, settings.images)
    if not settings.duplicates:
        duplicates = duplicates.iloc[:0]
    if settings.scheme == "published":
        return repeated(published_split(cohort, settings.test, settings.seed), settings.repeats)
    groups = duplicate_groups(cohort, duplicates)
    if settings.scheme == "hold_out":
        parts = {"train": 1 - settings.validation - settings.test}
        parts |= {"validation": settings.validation, "test": settings.test}
        table = repeated(hold_out(cohort, parts, settings.seed, groups, settings.shares), settings.repeats)
    else:
        table = patient_folds(
            cohort,
            settings.folds,
            settings.repeats,
            settings.seed,
            settings.validation,
            groups=groups,
            leaky_as_published=settings.leaky_as_published,
        )
    if not settings.leaky_as_published:
        check_disjoint(table, cohort, duplicates)
    return table
