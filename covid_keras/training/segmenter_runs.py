"""A paper's own lung segmenters in a run: trained first if they mark the lungs, else after the classifiers.

They are rows of the paper's tables, so the protocol names them among its systems (`Segmenter`).

`covid_keras.training.segmenters` trains them and imports TensorFlow.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.common.files import fingerprint, json_text, read_record, without_folders
from covid_keras.common.quiet import import_tensorflow
from covid_keras.common.settings import as_plain, flattened
from covid_keras.data.cohort import Cohort
from covid_keras.data.duplicates import duplicate_groups, find_duplicates
from covid_keras.data.preparation import Preparation
from covid_keras.data.sources import load_source, unavailable
from covid_keras.data.splits import hold_out
from covid_keras.evaluation import Measured
from covid_keras.evaluation.overlap import OVERLAP, RECORD, measured_part, parts_of, read_overlap
from covid_keras.paper.cohorts import Cohorts, missing_collection
from covid_keras.paper.paper import Paper
from covid_keras.paper.protocol import Protocol
from covid_keras.paper.registered import load_paper
from covid_keras.paper.system import System
from covid_keras.training.apart import call_apart
from covid_keras.training.records import read_segmenter

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
    spare : tuple of str
        Those of `collections` that are optional: without them, training uses fewer images than the paper's.
    further : tuple of str
        Text files in a segmenter's folder to publish beside overlap and record.
    """

    names: ClassVar[tuple[str, ...]]
    cohorts: ClassVar[Cohorts]
    collections: ClassVar[Mapping[str, tuple[str, ...]]]
    spare: ClassVar[tuple[str, ...]] = ()
    further: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def settings(self, protocol: Protocol) -> dict[str, Any]:
        """Return {name: settings} of those that a protocol trains; raise `UserError` for invalid settings."""

    @abstractmethod
    def masks(self, protocol: Protocol) -> str:
        """Return the name of the segmenter that marks the lungs; "shipped" for the suite's U-Net."""

    @abstractmethod
    def kind(self, name: str) -> SegmenterKind:
        """Return how one of them is built and trained. Imports TensorFlow."""

    def cohort_key(self, protocol: Protocol) -> Any:
        """Return the settings of a protocol's cohort that determine the radiographs with masks."""
        return protocol.cohort

    def load_masked(self, protocol: Protocol, data: Path | None, cache: Path) -> Cohort:
        """Return the radiographs with human masks of a protocol that is not the phantom's, under one label."""
        names = self.sources(protocol, data)
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
        identity |= {"micro_batch": protocol.micro_batch} if protocol.micro_batch else {}
        key = fingerprint(identity | {"seed": protocol.split.seed})
        return cache / STAGES / f"{name}-{key}"

    def mask_cohort(self, protocol: Protocol, data: Path | None, cache: Path) -> Cohort:
        """Return the radiographs with masks for training; raise `UserError` if a collection is missing."""
        if self._kind_of(protocol) == PHANTOM:
            return phantom_masks(self.cohorts.make(protocol, data, cache / "made"))
        if reason := self.missing(protocol, data):
            place = f"options of profile {protocol.profile!r}"
            raise UserError(place, reason, "`covid-keras data list` says how to get it")
        return self.load_masked(protocol, data, cache)

    def missing(self, protocol: Protocol, data: Path | None) -> str | None:
        """Return None if the radiographs with lung masks are available, else what is missing."""
        return missing_collection(self.sources(protocol, data), data)

    def sources(self, protocol: Protocol, data: Path | None) -> list[str]:
        """Return the collections that a protocol's segmenters learn from; those in `spare` only if they can be read."""
        names = self.collections.get(self._kind_of(protocol), ())
        return [name for name in names if name not in self.spare or unavailable(name, data) is None]

    def chosen(self, protocol: Protocol, left_out: Collection[str] = ()) -> list[str]:
        """Return the segmenters of a run: its rows, and the one that marks lungs for its systems, but `left_out`."""
        systems = [load_paper(protocol.paper).system(name) for name in protocol.systems if name not in left_out]
        rows = {system.name for system in systems}
        if any(images is not None and images.needs_mask for images in (one.images(protocol) for one in systems)):
            rows.add(self.masks(protocol))
        return [name for name in self.settings(protocol) if name in rows]

    def _kind_of(self, protocol: Protocol) -> str:
        return self.cohorts.settings(protocol).kind

    def train(self, protocol: Protocol, data: Path | None, cache: Path, name: str) -> Path:
        """Train and evaluate a segmenter if not done; return its folder."""
        import_tensorflow()
        from covid_keras.training.segmenters import train_segmenter

        folder, settings = self.folder_of(protocol, cache, name), self.settings(protocol)[name]
        cohort = self.mask_cohort(protocol, data, cache)
        split = self.division(protocol, cohort, cache)
        return train_segmenter(self.kind(name), name, settings, cohort, split, folder, protocol.micro_batch)

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
        from covid_keras.training.trained_segmenter import TrainedSegmenter

        return TrainedSegmenter(self.kind(name), self.folder_of(protocol, cache, name))

    def finish(self, protocol: Protocol, data: Path | None, cache: Path) -> None:
        """Train and evaluate the remaining segmenters of the protocol, unless their masks are missing.

        Each has a process of its own, as executions have, unless the protocol has processes reused.
        """
        if self.missing(protocol, data) is None:
            for name in self.chosen(protocol):
                if protocol.executions_per_process > 1:
                    self.train(protocol, data, cache, name)
                else:
                    call_apart(name, self.train, protocol, data, cache, name)

    def folders(self, run: RunFolder) -> dict[str, Path]:
        """Return {name: folder} of the segmenters of a run, finished or not."""
        names = self.chosen(run.protocol, run.left_out)
        return {name: self.folder_of(run.protocol, cache_of(run), name) for name in names}

    def done(self, run: RunFolder) -> dict[str, Path]:
        """Return {name: folder} of the finished segmenters of a run."""
        files = (RECORD, *self.further)
        return {
            name: folder for name, folder in self.folders(run).items() if all((folder / one).is_file() for one in files)
        }

    def records(self, run: RunFolder) -> dict[str, dict[str, Any]]:
        """Return {name: record} of the finished segmenters."""
        return {name: read_segmenter(folder) for name, folder in self.done(run).items()}

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
        folders = self.folders(run)
        if unfinished := set(folders) - set(self.done(run)):
            raise UserError(run.path, f"{min(unfinished)} is not trained yet", "Finish it with `covid-keras reproduce`")
        files = {}
        for name, folder in folders.items():
            for file in (OVERLAP, *self.further):
                files[f"{name}/{file}"] = (folder / file).read_text(encoding="utf-8")
            record = without_folders(read_record(folder / RECORD, ("settings",)))
            files[f"{name}/{RECORD}"] = json_text(record) + "\n"
        return files

    def kept(self, folder: Path, profile: str) -> list[Measured]:
        """Return the results of `measured`, read from the published files in a paper's results."""
        folders = {name: folder / f"{profile}-{name}" for name in self.names}
        return [one for name, path in folders.items() if path.is_dir() for one in self.measured_of(path, name)]


@dataclass(frozen=True, kw_only=True)
class Segmenter(System):
    """A lung segmenter as a row of the paper's tables.

    It has no executions and no predictions of classes: `PaperSegmenters` trains it on its own radiographs and division.
    """

    segmenters: PaperSegmenters

    @classmethod
    def row(cls, segmenters: PaperSegmenters, name: str, title: str) -> Segmenter:
        """Return one of a paper's segmenters as a system."""
        return cls(name, title, lambda protocol: Preparation(size=protocol.size), segmenters=segmenters)

    def folds(self, protocol: Protocol) -> int:
        return 0

    def images(self, protocol: Protocol) -> None:
        return None

    def summary(self, protocol: Protocol) -> str:
        settings = self.segmenters.settings(protocol)[self.name]
        return f"Adam {settings.learning_rate:g}\n{settings.epochs} epochs of batches of {settings.batch_size}"

    def missing(self, protocol: Protocol, data: Path | None) -> str | None:
        if self.name not in self.segmenters.settings(protocol):
            return "the protocol's options do not train it"
        return self.segmenters.missing(protocol, data)


class SegmentingPaper(Paper):
    """A paper with its own lung segmenters, used if its protocol says so."""

    segmenters: ClassVar[PaperSegmenters]
    # Options read by systems that use lung masks, and by the segmenters.
    mask_options: ClassVar[tuple[str, ...]] = ("options.masks", "options.threshold")
    segmenter_options: ClassVar[tuple[str, ...]] = ("options.segmenters", "options.segmenter")

    def segments_only(self, protocol: Protocol) -> bool:
        """Return whether a run trains segmenters alone; its cohort then is the radiographs with masks."""
        return all(isinstance(self.system(name), Segmenter) for name in protocol.systems)

    def cohort(self, protocol: Protocol, data: Path | None, made: Path) -> Cohort:
        if self.segments_only(protocol):
            return self.segmenters.mask_cohort(protocol, data, made.parent)
        return super().cohort(protocol, data, made)

    def sources(self, protocol: Protocol) -> tuple[str, ...]:
        # Those with masks are checked when they are read: some can be spared.
        return () if self.segments_only(protocol) else super().sources(protocol)

    def missing_images(self, protocol: Protocol, data: Path | None) -> dict[str, str]:
        """Return the systems without images, or without human masks for the segmenter that they use; and why."""
        found = super().missing_images(protocol, data)
        marked = [name for name in protocol.systems if self._marks(self.system(name), protocol)]
        if marked and (reason := self.segmenters.missing(protocol, data)):
            found |= {name: reason for name in marked if name not in found}
        return self._with_all_above(found, protocol)

    def _marks(self, system: System, protocol: Protocol) -> str:
        """Return the paper's segmenter that marks the lungs for a system; "" if none does."""
        preparation, name = system.images(protocol), self.segmenters.masks(protocol)
        return name if name != SHIPPED and preparation is not None and preparation.needs_mask else ""

    def used_beside(self, protocol: Protocol, cache: Path) -> dict[str, dict[str, int]]:
        names = dict.fromkeys([*self.segmenters.chosen(protocol), self.segmenters.masks(protocol)])
        folders = {name: self.segmenters.folder_of(protocol, cache, name) for name in names if name != SHIPPED}
        done = {name: read_overlap(folder) for name, folder in folders.items() if (folder / OVERLAP).is_file()}
        return {name: table["image_id"].str.partition("/")[0].value_counts().to_dict() for name, table in done.items()}

    def builds_on(self, name: str, protocol: Protocol) -> list[str]:
        chain = super().builds_on(name, protocol)
        marks = [self._marks(self.system(one), protocol) for one in (*chain, name)]
        return [*chain, *dict.fromkeys(filter(None, marks))]

    def settings_read(self, name: str, protocol: Protocol) -> dict[str, Any]:
        system = self.system(name)
        if isinstance(system, Segmenter):
            return flattened({"segmenter": as_plain(self.segmenters.settings(protocol).get(name, {}))})
        preparation = system.images(protocol)
        masked = preparation is not None and preparation.needs_mask
        unread = (*self.segmenter_options, *(() if masked else self.mask_options))
        found = super().settings_read(name, protocol)
        return {key: value for key, value in found.items() if not key.startswith(unread)}

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
