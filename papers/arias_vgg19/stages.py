"""The paper's U-Nets in a run: trained where masks are wanted of them, else once the classifiers are done; kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from covid_keras.data.cohort import Cohort
from covid_keras.data.sources import load_source
from covid_keras.data.sources.united_masks import binary_masks
from covid_keras.evaluation import Measured
from covid_keras.paper.cohorts import missing_collection
from covid_keras.paper.protocol import Protocol
from covid_keras.training import segmenter_runs
from covid_keras.training.segmenter_runs import LUNGS, STAGES, cache_of
from papers.arias_vgg19.cohorts import PhantomCohort, make_cohort, settings_of
from papers.arias_vgg19.networks import VERDICTS
from papers.arias_vgg19.overlap import measured_of
from papers.arias_vgg19.settings import UNETS, SegmenterSettings, options_of, segmenter_settings

if TYPE_CHECKING:
    from covid_keras.training.runfolder import RunFolder

__all__ = [
    "STAGES",
    "cache_of",
    "done",
    "finish",
    "folder_of",
    "kept",
    "mask_cohort",
    "measured",
    "missing",
    "named",
    "published_files",
    "segmenter",
]

MASKED = ("montgomery", "jsrt", "nih_masks")  # the paper's own
STAND_IN = ("darwin_v7",)


def segmenter(protocol: Protocol, data: Path | None, cache: Path) -> Any:
    """Return what marks the lungs of parts d and e, trained here where it is the paper's own; None: the shipped one."""
    masks = options_of(protocol).masks
    if masks == "shipped":
        return None
    from papers.arias_vgg19.segmenters import PaperSegmenter

    return PaperSegmenter(_trained(protocol, data, cache, masks))


def finish(protocol: Protocol, data: Path | None, cache: Path) -> None:
    """Train and measure the U-Nets of the protocol that are not done yet; say so where there are no masks for them."""
    names = named(protocol)
    if names and (reason := missing(protocol, data)):
        print(f"Left out: {', '.join(names)}: {reason}", flush=True)
        return
    for name in names:
        _trained(protocol, data, cache, name)


def named(protocol: Protocol) -> list[str]:
    """Return the U-Nets that a protocol trains, in the paper's order."""
    return list(segmenter_settings(protocol))


def folder_of(protocol: Protocol, cache: Path, name: str) -> Path:
    """Return where a U-Net of this protocol is kept."""
    return segmenter_runs.folder_of(cache, name, _settings(protocol, name), protocol.cohort, protocol.split.seed)


def _folders(run: RunFolder) -> dict[str, Path]:
    """Return where each U-Net of a run's protocol is kept."""
    return {name: folder_of(run.protocol, cache_of(run), name) for name in named(run.protocol)}


def done(run: RunFolder) -> dict[str, Path]:
    """Return the folders of the U-Nets of a run that are trained and measured, by name."""
    return segmenter_runs.done(_folders(run))


def measured(run: RunFolder) -> list[Measured]:
    """Return Dice and IoU of the U-Nets that are done."""
    return [one for name, folder in done(run).items() for one in measured_of(folder, name)]


def published_files(run: RunFolder) -> dict[str, str]:
    """Return what is kept of the U-Nets beside a run's predictions: Dice and IoU of every image."""
    files = segmenter_runs.published_files(run, _folders(run))
    verdicts = _verdicts(run)
    return files | ({VERDICTS: verdicts} if verdicts else {})


def kept(folder: Path, profile: str) -> list[Measured]:
    """Return what `measured` gave, from the files that were published."""
    folders = segmenter_runs.kept_folders(folder, profile, UNETS)
    return [one for name, path in folders.items() for one in measured_of(path, name)]


def _verdicts(run: RunFolder) -> str:
    """Return what the view filter of each fold said of every image, as CSV; "" where there is no filter."""
    found = [
        pd.read_csv(one.folder / VERDICTS, dtype={"filter": str}).assign(repeat=one.repeat, fold=one.fold)
        for one in run.executions()
        if (one.folder / VERDICTS).is_file()
    ]
    return pd.concat(found).to_csv(index=False, float_format="%.9g", lineterminator="\n") if found else ""


def mask_cohort(protocol: Protocol, data: Path | None, cache: Path) -> Cohort:
    """Return the masked radiographs that the U-Nets learn from: the paper's, Cohen's with Darwin's, the phantom's."""
    settings = settings_of(protocol)
    if isinstance(settings, PhantomCohort):
        return segmenter_runs.phantom_masks(make_cohort(protocol, data, cache / "made"))
    segmenter_runs.missing_masks(protocol, data, _masked(protocol))
    names = _masked(protocol)
    tables = [load_source(name, data).table for name in names]
    table = pd.concat(tables, ignore_index=True).assign(label=LUNGS, severity="")
    cohort = Cohort(table, (LUNGS,), " and ".join(names))
    if names != STAND_IN:  # Darwin's masks have a value of their own for what nobody judged
        cohort = binary_masks(cohort, cache / "binary-masks")
    return cohort.filter(cohort.table["mask_path"] != "")


def missing(protocol: Protocol, data: Path | None) -> str | None:
    """Return None where the radiographs with lung masks are at hand, else what is missing."""
    return missing_collection(_masked(protocol), data)


def _masked(protocol: Protocol) -> tuple[str, ...]:
    """The collections with lung masks of a profile's cohort."""
    return {"phantom": (), "stand_in": STAND_IN, "published": MASKED}[settings_of(protocol).kind]


def _settings(protocol: Protocol, name: str) -> SegmenterSettings:
    """Return the settings of one U-Net."""
    return segmenter_settings(protocol)[name]


def _trained(protocol: Protocol, data: Path | None, cache: Path, name: str) -> Path:
    """Return the folder of a U-Net, trained and measured."""
    from papers.arias_vgg19.segmenters import train_segmenter

    cohort = mask_cohort(protocol, data, cache)
    split = segmenter_runs.divide(protocol, cohort, cache, isinstance(settings_of(protocol), PhantomCohort))
    return train_segmenter(name, _settings(protocol, name), cohort, split, folder_of(protocol, cache, name))
