"""What a paper hands to the core: its cohort, its systems, its published table; found through entry points.

A fifth paper is a package that registers a `Paper` in the entry-point group `covid_keras.papers`; nothing in the core
names any paper.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covid_keras.common.errors import UserError
from covid_keras.common.settings import unknown_key
from covid_keras.paper.protocol import Protocol, TrainingSettings, load_protocol, profile_names
from covid_keras.paper.unfreezing import epochs_of

if TYPE_CHECKING:
    import keras
    import numpy as np
    import pandas as pd

    from covid_keras.data.cohort import Cohort
    from covid_keras.data.preparation import Preparation, PreparedImages
    from covid_keras.evaluation.ensembles import Combined
    from covid_keras.training.inputs import Inputs
    from covid_keras.training.runfolder import Execution, RunFolder

GROUP = "covid_keras.papers"


@dataclass(frozen=True)
class System:
    """One row of a paper's tables that can be trained or run.

    Most systems are a network, fed with prepared images, trained with cross-entropy on softmax outputs; these need the
    first five attributes. The others are hooks for what differs.

    Attributes
    ----------
    name, title : str
        Name in predictions and protocol; how the tables call it.
    preparation : callable
        Protocol to `Preparation`: what is done once to every image.
    build : callable
        Protocol and class names to an uncompiled `keras.Model`.
    scaling : str or callable
        How the pipeline scales prepared images (see `covid_keras.data.pipeline.make_dataset`).
    channels : int
        Channels that the network takes; grey images are repeated.
    settings : str
        Key of the protocol's `trainings` that holds what its training has of its own; `name` where empty.
    classes : tuple of str
        The labels it learns, in the order of its outputs; the paper's scored classes where empty.
    scored : tuple of str
        The classes that its predictions are evaluated in; the paper's where empty.
    relabel : mapping
        What it calls some labels of the cohort, such as all kinds of pneumonia by one name.
    split : str
        The protocol's division of the cohort that it is trained and tested on (key of `splits`); "" is the main one.
    template : callable, optional
        (cohort, parts (n,)) to the row of the image that is the template of histogram matching.
    cases : callable, optional
        (cohort, the repeat's splits, classes, seed) to bool (n,): which images take part in this experiment. By
        default every image whose label is one of the system's classes.
    compile : callable, optional
        (model, training settings, protocol, training images of each class (classes,)): attach optimiser and loss.
    callbacks : callable, optional
        Protocol to further Keras callbacks; each must be a function of the epoch alone, so that a resumed training
        agrees.
    plan : callable, optional
        (labels of the training part, training settings, protocol, seed) to int64 (epochs, steps, batch), places in
        the training part: the batches, where they are not simply all images shuffled.
    adapt : callable, optional
        (model, inputs, rows of the training part): set what the network learns from its training images before any
        step, such as the mean and std of a standardising layer; kept with its weights.
    parts : tuple of str
        The parts of the split that it predicts; "train" too where the paper prints training accuracies.
    after : str
        The system whose finished execution on the same fold this one builds on.
    admit : callable, optional
        (paper, run, the execution it builds on) to bool (n,): which images that system lets through; the others take no
        part, in training as in test.
    choose : tuple of str
        It is, on each fold, whichever of these systems is right more often on the validation part, and not trained; of
        equals the one with the smaller cross-entropy there.
    members : tuple of str
        It has no network: its predictions are made of those of these systems on the same fold, by `combine`.
    combine : callable, optional
        (protocol, the members' predictions, a table each, own name) to
        `covid_keras.evaluation.ensembles.Combined`: predictions, and what was chosen on the way.
    unfreezing : tuple of tuple of str
        The groups of layers of the network's backbone, by the beginnings of their names, the topmost first: they
        learn stage by stage where the training's `unfreeze` says so (see `covid_keras.paper.unfreezing`).
    feed : callable, optional
        (protocol, cohort, the execution it builds on, parts, prepared images) to
        `covid_keras.training.inputs.Inputs`: what the network is fed where that is not the prepared images themselves.
    decide : callable, optional
        Outputs (n, views, outputs), a view an input of the image, and class names to (class indices (n,),
        scores (n, classes) that sum to 1). By default argmax and normalised outputs of the only view.
    evidence : callable, optional
        (model, inputs (n, views, H, W, C), class name) to (flat model, its inputs (n, H, W, C), index of its output):
        where Grad-CAM looks for the evidence of a class.
    heat_layer : str
        The layer at which Grad-CAM is taken, or a prefix, of which the last layer so named counts; where empty, the
        last one that still has a spatial extent.
    compose : callable, optional
        (protocol, class names, the networks of the systems that it builds on, first to last) to a model: it is made
        of these and not trained.
    everywhere : bool
        Not trained on any of its images, so that all that take part are tested.
    released : bool
        Run as released by its authors: not trained, one execution on all images, `restore` gives its model.
    restore : callable, optional
        Protocol and class names to the model with the released weights.
    one_device : bool
        Whether its training step is written for one device: it then runs on one, whatever the strategy.
    missing : callable
        (protocol, data root or None) to None where all it needs is at hand, else what is missing: the system is then
        left out, and the tables say why.
    surrogate : callable
        Protocol to the reason why its numbers cannot be compared even on the paper's data; "" where they can.
    """

    name: str
    title: str
    preparation: Callable[[Protocol], Preparation]
    build: Callable[[Protocol, tuple[str, ...]], keras.Model]
    scaling: str | Callable[[Any], Any] = "0-1"
    channels: int = 3
    settings: str = ""
    classes: tuple[str, ...] = ()
    scored: tuple[str, ...] = ()
    relabel: Mapping[str, str] = field(default_factory=dict)
    split: str = ""
    template: Callable[[Cohort, np.ndarray], int] | None = None
    cases: Callable[[Cohort, pd.DataFrame, tuple[str, ...], int], np.ndarray] | None = None
    compile: Callable[[keras.Model, TrainingSettings, Protocol, np.ndarray], None] | None = None
    callbacks: Callable[[Protocol], list[Any]] | None = None
    plan: Callable[[np.ndarray, TrainingSettings, Protocol, int], np.ndarray] | None = None
    adapt: Callable[[keras.Model, Inputs, np.ndarray], None] | None = None
    parts: tuple[str, ...] = ("validation", "test")
    after: str = ""
    admit: Callable[[Paper, RunFolder, Execution], np.ndarray] | None = None
    choose: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    combine: Callable[[Protocol, list[pd.DataFrame], str], Combined] | None = None
    unfreezing: tuple[tuple[str, ...], ...] = ()
    feed: Callable[[Protocol, Cohort, Execution | None, np.ndarray, PreparedImages], Inputs] | None = None
    decide: Callable[[np.ndarray, tuple[str, ...]], tuple[np.ndarray, np.ndarray]] | None = None
    evidence: Callable[[keras.Model, np.ndarray, str], tuple[keras.Model, np.ndarray, int]] | None = None
    heat_layer: str = ""
    compose: Callable[[Protocol, tuple[str, ...], list[keras.Model]], keras.Model] | None = None
    everywhere: bool = False
    released: bool = False
    restore: Callable[[Protocol, tuple[str, ...]], keras.Model] | None = None
    one_device: bool = False
    missing: Callable[[Protocol, Path | None], str | None] = lambda protocol, data: None
    surrogate: Callable[[Protocol], str] = lambda protocol: ""

    def training(self, protocol: Protocol) -> TrainingSettings:
        """Return how the protocol trains it."""
        return protocol.training_of(self.settings or self.name)

    @property
    def trained(self) -> bool:
        """Whether it is trained here."""
        return not self.released and self.compose is None and not self.choose and not self.members

    @property
    def below(self) -> tuple[str, ...]:
        """The systems that it is directly made of, or builds on."""
        return tuple(name for name in (self.after, *self.choose, *self.members) if name)

    def epochs(self, protocol: Protocol) -> int:
        """Return how many epochs it trains at most, over all stages; 1 where it is not trained."""
        return epochs_of(self.training(protocol), self.unfreezing) if self.trained else 1

    def repeats(self, protocol: Protocol) -> int:
        """Return in how many repeats of its split it runs."""
        if self.released:
            return 1
        repeats = protocol.split_of(self.split).repeats
        return min(repeats, self.training(protocol).repeats or repeats)

    def folds(self, protocol: Protocol) -> int:
        """Return in how many folds of each repeat it runs."""
        return 1 if self.released else protocol.split_of(self.split).folds

    def labelled(self, cohort: Cohort) -> Cohort:
        """Return the cohort with its labels as this system calls them."""
        if not self.relabel:
            return cohort
        mapping = {name: self.relabel.get(name, name) for name in cohort.classes}
        return cohort.relabel(mapping, tuple(dict.fromkeys(mapping.values())))


@dataclass(frozen=True)
class Paper:
    """A paper that the suite reproduces.

    Attributes
    ----------
    name : str
        Name of its subpackage.
    aliases : tuple of str
        Further names on the command line (first author).
    title, citation, doi : str
    folder : Path
        Where `protocol.yaml`, `published.yaml` and `results/` are.
    systems : tuple of System
    cohort : callable
        (protocol, data root or None, folder to write made data into) to `Cohort`; raises `UserError` where the
        data are not there.
    available : callable
        (protocol, data root or None) to None where the profile's data are at hand, else the reason.
    positive : str
        The class whose sensitivity the tables give; "" where there are more than two.
    scored : tuple of str
        The classes that are evaluated; all of the cohort's where empty.
    report : str
        The module whose `REPORT` is the `covid_keras.reporting.paper_report.PaperReport`; "" for the plain one.
    files : mapping
        Weight files that a user may give by `--checkpoint NAME=FILE`: name to what it is.
    registered : mapping
        Of these, the registered file that each should be; another makes the run not comparable.
    check : callable
        Protocol; raises `UserError` for what would end a run hours later.
    lung_mode : callable
        Protocol to the way that the lung U-Net is used (see `covid_keras.models.lung_masks.segment_cohort`).
    sources : callable
        Protocol to the names of the collections it reads, whose counts are checked before a run.
    segmenter : callable
        (protocol, data root or None, cache folder) to what marks the lungs, trained on the way where it is the paper's
        own (see `covid_keras.models.lung_masks.segment_cohort`); None for the shipped U-Net.
    finish : callable
        (run, data root or None): what the paper trains beside its systems, once these are done.
    """

    name: str
    aliases: tuple[str, ...]
    title: str
    citation: str
    doi: str
    folder: Path
    systems: tuple[System, ...]
    cohort: Callable[[Protocol, Path | None, Path], Cohort]
    available: Callable[[Protocol, Path | None], str | None]
    positive: str = ""
    scored: tuple[str, ...] = ()
    report: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    registered: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[Protocol], None] = lambda protocol: None
    lung_mode: Callable[[Protocol], str] = lambda protocol: "shipped"
    sources: Callable[[Protocol], tuple[str, ...]] = lambda protocol: ()
    segmenter: Callable[[Protocol, Path | None, Path], Any] = lambda protocol, data, cache: None
    finish: Callable[[RunFolder, Path | None], None] = lambda run, data: None

    @cached_property
    def protocol_path(self) -> Path:
        """The paper's `protocol.yaml`."""
        return self.folder / "protocol.yaml"

    @cached_property
    def profiles(self) -> list[str]:
        """The profiles offered, the most demanding first."""
        return profile_names(self.protocol_path)

    def protocol(self, profile: str, changes: dict[str, Any] | None = None) -> Protocol:
        """Return one profile, resolved and checked: every system exists, and what it builds on comes before it."""
        protocol = load_protocol(self.protocol_path, profile, changes)
        chains = [self.chain(name) for name in protocol.systems]
        trained = {system.settings or system.name for system in self.systems}
        for name in protocol.trainings:
            if name not in trained:
                raise unknown_key(self.protocol_path, name, trained, "trainings")
        for name in protocol.files:
            if name not in self.files:
                raise unknown_key("--checkpoint", name, self.files)
        systems = tuple(dict.fromkeys(name for chain in chains for name in chain))
        for name in systems:
            protocol.split_of(self.system(name).split)
        return dataclasses.replace(protocol, systems=systems)

    def splits_of(self, protocol: Protocol) -> tuple[str, ...]:
        """Return the names of the divisions that the protocol's systems are trained or tested on."""
        return tuple(dict.fromkeys(self.system(name).split for name in protocol.systems))

    def chain(self, name: str) -> list[str]:
        """Return the systems that a system builds on, the first to be trained first, and itself."""
        system = self.system(name)
        below = [one for part in system.below for one in self.chain(part)]
        return [*dict.fromkeys(below), name]

    def runs_in(self, system: System, protocol: Protocol, repeat: int, fold: int) -> bool:
        """Return whether a system runs in a fold: where what it builds on does, apart from what was released."""
        needed = [self.system(name) for name in self.chain(system.name)[:-1]]
        return all(
            repeat < one.repeats(protocol) and fold < one.folds(protocol)
            for one in (system, *(one for one in needed if not one.released))
        )

    def classes_of(self, system: System, cohort: Cohort) -> tuple[str, ...]:
        """Return the labels that a system learns, in the order of its outputs."""
        return system.classes or self.scored or cohort.classes

    def scored_of(self, system: System, cohort: Cohort) -> tuple[str, ...]:
        """Return the classes that a system's predictions are evaluated in."""
        return system.scored or self.scored or cohort.classes

    def system(self, name: str) -> System:
        """Return the system of that name; raise `UserError` where the paper has none."""
        for system in self.systems:
            if system.name == name:
                return system
        known = ", ".join(system.name for system in self.systems)
        raise UserError(name, f"is no system of {self.name}", f"Choose among {known}")


def load_papers() -> dict[str, Paper]:
    """Return every registered paper by name."""
    return {entry.name: entry.load() for entry in entry_points(group=GROUP)}


def load_paper(name: str) -> Paper:
    """Return the paper of that name or alias; raise `UserError` naming the known ones."""
    papers = load_papers()
    for paper in papers.values():
        if name == paper.name or name in paper.aliases:
            return paper
    known = ", ".join(f"{paper.name} ({', '.join(paper.aliases)})" for paper in papers.values())
    raise UserError(name, "is no paper that this suite knows", f"Known: {known}")
