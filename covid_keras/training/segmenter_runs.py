"""A paper's own lung segmenters in a run: trained first if they mark the lungs, else after the classifiers.

`covid_keras.training.segmenters` trains them and imports TensorFlow.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.common.files import fingerprint, read_record, without_folders
from covid_keras.common.settings import as_plain
from covid_keras.data.cohort import Cohort
from covid_keras.data.duplicates import duplicate_groups, find_duplicates
from covid_keras.data.sources import load_source
from covid_keras.data.splits import hold_out
from covid_keras.evaluation import Measured
from covid_keras.evaluation.overlap import OVERLAP, RECORD, measured_part, parts_of, read_overlap
from covid_keras.paper.cohorts import Cohorts, missing_collection
from covid_keras.paper.paper import Paper
from covid_keras.paper.protocol import Protocol

if TYPE_CHECKING:
    from covid_keras.models.lungs import LungSegmenter
    from covid_keras.training.runfolder import RunFolder
    from covid_keras.training.segmenters import SegmenterKind

STAGES = "segmenters"
LUNGS = "lungs"  # the one label that a cohort of masks needs
VALIDATION = 0.2
PHANTOM, SHIPPED = "phantom", "shipped"


class PaperSegmenters(ABC):
    """The lung segmenters that a paper trains itself; a paper overrides methods as needed.

    Attributes
    ----------
    names : tuple of str
        All segmenters of the paper, in its order.
    cohorts : Cohorts
        The paper's cohorts; the kind "phantom" has masks.
    collections : mapping
        Kind of cohort -> collections with human masks for training.
    further : tuple of str
        Text files in a segmenter's folder to publish beside overlap and record.
    """

    names: ClassVar[tuple[str, ...]]
    cohorts: ClassVar[Cohorts]
    collections: ClassVar[Mapping[str, tuple[str, ...]]]
    further: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def settings(self, protocol: Protocol) -> dict[str, Any]:
        """Return {name: settings} of those that a protocol trains; raise `UserError` for invalid settings."""

    @abstractmethod
    def masks(self, protocol: Protocol) -> str:
        """Return the name of the segmenter that marks the lungs; "shipped" for the suite's U-Net."""

    @abstractmethod
    def kind(self) -> SegmenterKind:
        """Return how they are built and trained. Imports TensorFlow."""

    def cohort_key(self, protocol: Protocol) -> Any:
        """Return the settings of a protocol's cohort that determine the radiographs with masks."""
        return protocol.cohort

    def load_masked(self, kind: str, data: Path | None, cache: Path) -> Cohort:
        """Return the radiographs with human masks of a kind of cohort, under one label."""
        names = self.collections[kind]
        return lung_cohort(pd.concat([load_source(name, data).table for name in names]), " and ".join(names))

    def division(self, protocol: Protocol, cohort: Cohort, cache: Path) -> pd.Series:
        """Return the part of each masked radiograph: 80 % training, 20 % validation, patients apart.

        Near-duplicates stay together too, except in the phantom, whose images are alike for a perceptual hash.
        """
        synthetic = self._kind_of(protocol) == PHANTOM
        groups = None if synthetic else duplicate_groups(cohort, find_duplicates(cohort, cache=cache))
        split = hold_out(cohort, {"train": 1 - VALIDATION, "validation": VALIDATION}, protocol.split.seed, groups)
        return split.set_index("image_id")["split"]

    def measured_of(self, folder: Path, name: str) -> list[Measured]:
        """Return `dice_<part>` and `iou_<part>` in percent, of masks at the radiograph's own size."""
        return [one for part, table in parts_of(read_overlap(folder)) for one in measured_part(table, name, part)]

    # ---------------------------------------------------------------------------------------- what is trained where

    def folder_of(self, protocol: Protocol, cache: Path, name: str) -> Path:
        """Return the folder of a segmenter, named by its settings, cohort and split."""
        settings = self.settings(protocol)
        if name not in settings:
            raise UserError("protocol.yaml", f"options do not train {name}", "Add its settings")
        identity = {"settings": as_plain(settings[name]), "cohort": self.cohort_key(protocol)}
        key = fingerprint(identity | {"seed": protocol.split.seed})
        return cache / STAGES / f"{name}-{key}"

    def mask_cohort(self, protocol: Protocol, data: Path | None, cache: Path) -> Cohort:
        """Return the radiographs with masks for training; raise `UserError` if a collection is missing."""
        kind = self._kind_of(protocol)
        if kind == PHANTOM:
            return phantom_masks(self.cohorts.make(protocol, data, cache / "made"))
        if reason := self.missing(protocol, data):
            place = f"options of profile {protocol.profile!r}"
            raise UserError(place, reason, "`covid-keras data list` says how to get it")
        return self.load_masked(kind, data, cache)

    def missing(self, protocol: Protocol, data: Path | None) -> str | None:
        """Return None if the radiographs with lung masks are available, else what is missing."""
        return missing_collection(self.collections.get(self._kind_of(protocol), ()), data)

    def _kind_of(self, protocol: Protocol) -> str:
        return self.cohorts.settings(protocol).kind

    def train(self, protocol: Protocol, data: Path | None, cache: Path, name: str) -> Path:
        """Train and evaluate a segmenter if not done; return its folder."""
        from covid_keras.training.segmenters import train_segmenter

        folder, settings = self.folder_of(protocol, cache, name), self.settings(protocol)[name]
        cohort = self.mask_cohort(protocol, data, cache)
        return train_segmenter(self.kind(), name, settings, cohort, self.division(protocol, cohort, cache), folder)

    # ---------------------------------------------------------------------------------------- in a run

    def segmenter(self, protocol: Protocol, data: Path | None, cache: Path) -> LungSegmenter | None:
        """Return the paper's own segmenter, trained if necessary; None for the shipped U-Net."""
        if (name := self.masks(protocol)) != SHIPPED:
            self.train(protocol, data, cache, name)
        return self.kept_segmenter(protocol, cache)

    def kept_segmenter(self, protocol: Protocol, cache: Path) -> LungSegmenter | None:
        """Return the same if already trained; raise `UserError` otherwise."""
        if (name := self.masks(protocol)) == SHIPPED:
            return None
        from covid_keras.training.segmenters import TrainedSegmenter

        return TrainedSegmenter(self.kind(), self.folder_of(protocol, cache, name))

    def finish(self, protocol: Protocol, data: Path | None, cache: Path) -> None:
        """Train and evaluate the remaining segmenters of the protocol; report if their masks are missing."""
        names = list(self.settings(protocol))
        if names and (reason := self.missing(protocol, data)):
            print(f"Left out: {', '.join(names)}: {reason}", flush=True)
            return
        for name in names:
            self.train(protocol, data, cache, name)

    def _folders(self, run: RunFolder) -> dict[str, Path]:
        names = self.settings(run.protocol)
        return {name: self.folder_of(run.protocol, cache_of(run), name) for name in names}

    def done(self, run: RunFolder) -> dict[str, Path]:
        """Return {name: folder} of the finished segmenters of a run."""
        files = (RECORD, *self.further)
        return {
            name: folder
            for name, folder in self._folders(run).items()
            if all((folder / one).is_file() for one in files)
        }

    def measured(self, run: RunFolder) -> list[Measured]:
        """Return Dice and IoU of the finished segmenters."""
        return [one for name, folder in self.done(run).items() for one in self.measured_of(folder, name)]

    def published_files(self, run: RunFolder) -> dict[str, str]:
        """Return the files of a run's segmenters to publish beside its predictions.

        Returns
        -------
        dict
            `<name>/<file>` -> text: Dice and IoU of every image, the record without local paths, and `further`.

        Raises
        ------
        UserError
            If one is not trained.
        """
        folders = self._folders(run)
        if unfinished := set(folders) - set(self.done(run)):
            raise UserError(run.path, f"{min(unfinished)} is not trained yet", "Finish it with `covid-keras reproduce`")
        files = {}
        for name, folder in folders.items():
            for file in (OVERLAP, *self.further):
                files[f"{name}/{file}"] = (folder / file).read_text(encoding="utf-8")
            record = without_folders(read_record(folder / RECORD, ("settings",)))
            files[f"{name}/{RECORD}"] = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
        return files

    def kept(self, folder: Path, profile: str) -> list[Measured]:
        """Return the results of `measured`, read from the published files in a paper's results."""
        folders = {name: folder / f"{profile}-{name}" for name in self.names}
        return [one for name, path in folders.items() if path.is_dir() for one in self.measured_of(path, name)]


class SegmentingPaper(Paper):
    """A paper with its own lung segmenters, used if its protocol says so."""

    segmenters: ClassVar[PaperSegmenters]

    def available(self, protocol: Protocol, data: Path | None) -> str | None:
        """Return None if a profile's images, and human masks for its own segmenter, are available."""
        reason = super().available(protocol, data)
        if reason is None and self.segmenters.masks(protocol) != SHIPPED:
            return self.segmenters.missing(protocol, data)
        return reason

    def segmenter(self, protocol: Protocol, data: Path | None, cache: Path) -> LungSegmenter | None:
        return self.segmenters.segmenter(protocol, data, cache)

    def kept_segmenter(self, protocol: Protocol, cache: Path) -> LungSegmenter | None:
        return self.segmenters.kept_segmenter(protocol, cache)

    def finish(self, protocol: Protocol, data: Path | None, cache: Path) -> None:
        self.segmenters.finish(protocol, data, cache)


def cache_of(run: RunFolder) -> Path:
    """Return the run's cache folder, which contains its prepared images."""
    return Path(run.settings["cache"]).parent


def lung_cohort(table: pd.DataFrame, name: str) -> Cohort:
    """Return radiographs with masks as a cohort of one label."""
    return Cohort(table.reset_index(drop=True).assign(label=LUNGS, severity=""), (LUNGS,), name)


def phantom_masks(cohort: Cohort) -> Cohort:
    """Return a phantom's frontal radiographs, which have masks, under one label."""
    cohort = cohort.filter(~cohort.table["view"].str.startswith("L"))
    return Cohort(cohort.table.assign(label=LUNGS), (LUNGS,), cohort.name)
