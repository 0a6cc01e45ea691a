"""The paper's U-Nets in a run: trained where masks are wanted of them, else once the classifiers are done; kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from covid_keras.data.cohort import Cohort
from covid_keras.data.duplicates import duplicate_groups, find_duplicates
from covid_keras.data.sources import load_source
from covid_keras.data.sources.united_masks import binary_masks
from covid_keras.data.splits import hold_out
from covid_keras.errors import UserError
from covid_keras.evaluation import Measured
from covid_keras.files import fingerprint, read_record
from covid_keras.reporting.results import without_folders
from covid_keras.settings import as_plain
from covid_keras.training.cohorts import missing_collection
from covid_keras.training.protocol import Protocol
from papers.arias_vgg19.cohorts import PhantomCohort, make_cohort, settings_of
from papers.arias_vgg19.networks import VERDICTS
from papers.arias_vgg19.overlap import OVERLAP, RECORD, measured_of
from papers.arias_vgg19.settings import UNETS, SegmenterSettings, options_of, segmenter_settings

if TYPE_CHECKING:
    from covid_keras.training.runfolder import RunFolder

STAGES = "segmenters"
MASKED = ("montgomery", "jsrt", "nih_masks")  # the paper's own
STAND_IN = ("darwin_v7",)
VALIDATION = 0.2
LUNGS = "lungs"  # the one label that a cohort of masks needs


def segmenter(protocol: Protocol, data: Path | None, cache: Path) -> Any:
    """Return what marks the lungs of parts d and e, trained here where it is the paper's own; None: the shipped one."""
    masks = options_of(protocol).masks
    if masks == "shipped":
        return None
    from papers.arias_vgg19.segmenters import PaperSegmenter

    return PaperSegmenter(_trained(protocol, data, cache, masks))


def finish(run: RunFolder, data: Path | None) -> None:
    """Train and measure the U-Nets of the protocol that are not done yet; say so where there are no masks for them."""
    if named(run.protocol) and (reason := missing(run.protocol, data)):
        print(f"Left out: {', '.join(named(run.protocol))}: {reason}", flush=True)
        return
    for name in named(run.protocol):
        _trained(run.protocol, data, cache_of(run), name)


def named(protocol: Protocol) -> list[str]:
    """Return the U-Nets that a protocol trains, in the paper's order."""
    return list(segmenter_settings(protocol))


def folder_of(protocol: Protocol, cache: Path, name: str) -> Path:
    """Return where a U-Net of this protocol is kept."""
    key = fingerprint(
        {"settings": as_plain(_settings(protocol, name)), "cohort": protocol.cohort, "seed": protocol.split.seed}
    )
    return cache / STAGES / f"{name}-{key}"


def done(run: RunFolder) -> dict[str, Path]:
    """Return the folders of the U-Nets of a run that are trained and measured, by name."""
    folders = {name: folder_of(run.protocol, cache_of(run), name) for name in named(run.protocol)}
    return {name: folder for name, folder in folders.items() if (folder / RECORD).is_file()}


def measured(run: RunFolder) -> list[Measured]:
    """Return Dice and IoU of the U-Nets that are done."""
    return [one for name, folder in done(run).items() for one in measured_of(folder, name)]


def published_files(run: RunFolder) -> dict[str, str]:
    """Return what is kept of the U-Nets beside a run's predictions: Dice and IoU of every image."""
    if unfinished := set(named(run.protocol)) - set(done(run)):
        raise UserError(run.path, f"{min(unfinished)} is not trained yet", "Let `covid-keras reproduce` finish it")
    files = {}
    for name, folder in done(run).items():
        files[f"{name}/{OVERLAP}"] = (folder / OVERLAP).read_text(encoding="utf-8")
        record = without_folders(read_record(folder / RECORD, ("settings",)))
        files[f"{name}/{RECORD}"] = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    verdicts = _verdicts(run)
    return files | ({VERDICTS: verdicts} if verdicts else {})


def kept(folder: Path, profile: str) -> list[Measured]:
    """Return what `measured` gave, from the files that were published."""
    folders = {name: folder / f"{profile}-{name}" for name in UNETS}
    return [one for name, path in folders.items() if path.is_dir() for one in measured_of(path, name)]


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
        cohort = make_cohort(protocol, data, cache / "made")
        cohort = cohort.filter(~cohort.table["view"].str.startswith("L"))
        return Cohort(cohort.table.assign(label=LUNGS), (LUNGS,), cohort.name)
    if reason := missing(protocol, data):
        raise UserError(
            f"options of profile {protocol.profile!r}", reason, "`covid-keras data list` says how to get it"
        )
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

    folder = folder_of(protocol, cache, name)
    cohort = mask_cohort(protocol, data, cache)
    groups = None
    if not isinstance(settings_of(protocol), PhantomCohort):
        groups = duplicate_groups(cohort, find_duplicates(cohort, cache=cache))
    split = hold_out(cohort, {"train": 1 - VALIDATION, "validation": VALIDATION}, protocol.split.seed, groups)
    return train_segmenter(name, _settings(protocol, name), cohort, split.set_index("image_id")["split"], folder)


def cache_of(run: RunFolder) -> Path:
    """Return the run's cache; its prepared images are one folder of it."""
    return Path(run.settings["cache"]).parent
