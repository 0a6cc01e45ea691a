"""The protocol of a paper: its settings in profiles, read from `protocol.yaml` and checked."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from covid_keras.common.errors import UserError
from covid_keras.common.settings import as_plain, build, merge, read_yaml, unknown_key


def _require(condition: bool, name: str, value: Any, rule: str) -> None:
    """Raise `UserError` where a setting of the protocol makes no sense."""
    if not condition:
        raise UserError("protocol", f"{name} is {value!r}", f"It must be {rule}")


@dataclass(frozen=True)
class SplitSettings:
    """How a cohort is divided.

    Attributes
    ----------
    scheme : str
        "folds": n-fold cross-validation, k times, each repeat dealt anew. "hold_out": one division into training,
        validation and test; its repeats train on the same division with other seeds. "published": as
        `sklearn.model_selection.train_test_split` divides the images in the cohort's order, by image, unstratified;
        the test part chooses the epoch too.
    folds, repeats : int
        k x n executions a system; other schemes than "folds" have one fold.
    validation : float
        Share of each training part ("folds") or of all ("hold_out") held out to choose the epoch.
    test : float
        Share of the test part, where it is not a fold.
    seed : int
        Of the first repeat.
    leaky_as_published : bool
        Divide by image as the paper did although patients then cross.
    duplicates : bool
        Keep near-duplicate images together like images of one patient.
    shares : dict
        Of "hold_out": labels whose images are divided otherwise, each with its shares of train, validation and test
        (left out: none), such as {train: 1} for a collection that is trained on alone. Patients and near-duplicates
        that have images of several labels follow the one named first.
    images : dict
        Divide only the images of these labels, of each the first so many in the cohort's order (0: all); the others
        are in no part. All images where empty.
    """

    scheme: Literal["folds", "hold_out", "published"] = "folds"
    folds: int = 5
    repeats: int = 1
    validation: float = 0.1
    test: float = 0.2
    seed: int = 0
    leaky_as_published: bool = False
    duplicates: bool = True
    images: dict[str, int] = field(default_factory=dict)
    shares: dict[str, dict[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.shares and self.scheme != "hold_out":
            _require(False, "split.shares", self.shares, "left out where the scheme is not hold_out")
        if self.scheme == "folds":
            _require(self.folds >= 2, "split.folds", self.folds, "at least 2")
        else:
            _require(self.folds == 1, "split.folds", self.folds, f"1 where the scheme is {self.scheme}")
        if self.scheme == "published":
            rule = "true where the split is as published, by image"
            _require(self.leaky_as_published, "split.leaky_as_published", self.leaky_as_published, rule)
        elif self.scheme == "hold_out":
            rule = "false where one part is held out"
            _require(not self.leaky_as_published, "split.leaky_as_published", self.leaky_as_published, rule)
        _require(self.repeats >= 1, "split.repeats", self.repeats, "at least 1")
        _require(0 < self.validation < 1, "split.validation", self.validation, "a share between 0 and 1")
        _require(0 < self.test < 1, "split.test", self.test, "a share between 0 and 1")

    @property
    def chosen_on_test(self) -> bool:
        """Whether the test part chooses the epoch, as some papers did."""
        return self.scheme == "published"


@dataclass(frozen=True)
class OptimizerSettings:
    """An optimiser in Keras' terms; `decay` is the legacy one: lr / (1 + decay * step), `epsilon` Adam's."""

    name: Literal["sgd", "adam"] = "sgd"
    learning_rate: float = 1e-3
    momentum: float = 0.0
    nesterov: bool = False
    decay: float = 0.0
    epsilon: float = 1e-7

    def __post_init__(self) -> None:
        _require(self.learning_rate > 0, "optimizer.learning_rate", self.learning_rate, "positive")
        _require(0 <= self.momentum < 1, "optimizer.momentum", self.momentum, "in 0..1, 1 excluded")
        _require(self.decay >= 0, "optimizer.decay", self.decay, "0 or more")
        _require(self.epsilon > 0, "optimizer.epsilon", self.epsilon, "positive")


@dataclass(frozen=True)
class AugmentationSettings:
    """Random changes of a training image: degrees, shares of a side, factors (see `covid_keras.data.augment`).

    `zoom_range`, in place of `zoom`, is that of Keras' `ImageDataGenerator`: the reciprocal of a factor is drawn.
    """

    rotation: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    zoom: tuple[float, float] = (1.0, 1.0)
    shear: float = 0.0
    flip: bool = False
    vertical_flip: bool = False
    keep_aspect: bool = True
    fill: Literal["nearest", "constant", "reflect"] = "nearest"
    brightness: tuple[float, float] = (1.0, 1.0)
    # None, so that runs begun before there was this setting can go on.
    zoom_range: tuple[float, float] | None = None


@dataclass(frozen=True)
class UnfreezeSettings:
    """Progressive fine-tuning of a network with a backbone (see `covid_keras.paper.unfreezing`).

    Attributes
    ----------
    epochs : int
        At most so many of each stage after the head's; 0 trains all layers at once, from the first epoch on.
    groups : int, optional
        So many groups of layers are unfrozen, from the top; all where not given.
    patience : int
        Epochs without improvement after which a stage ends.
    learning_rate : float
        Of these stages.
    scratch : int
        Epochs of all layers together before the head's stage, the statistics of batch normalisation moving: from
        random weights there is nothing to keep.
    scratch_rate : float
        Learning rate of those.
    """

    epochs: int = 0
    groups: int | None = None
    patience: int = 5
    learning_rate: float = 1e-5
    scratch: int = 0
    scratch_rate: float = 1e-3

    def __post_init__(self) -> None:
        if self.scratch and not self.epochs:
            _require(False, "training.unfreeze.scratch", self.scratch, "0 where no stage follows (epochs 0)")
        for name in ("epochs", "scratch"):
            _require(getattr(self, name) >= 0, f"training.unfreeze.{name}", getattr(self, name), "0 or more")
        _require(self.groups is None or self.groups >= 1, "training.unfreeze.groups", self.groups, "at least 1")
        _require(self.patience >= 1, "training.unfreeze.patience", self.patience, "at least 1")
        for name in ("learning_rate", "scratch_rate"):
            _require(getattr(self, name) > 0, f"training.unfreeze.{name}", getattr(self, name), "positive")


@dataclass(frozen=True)
class TrainingSettings:
    """How one execution is trained; the epoch is chosen on validation only.

    Attributes
    ----------
    epochs, batch_size : int
        At most so many epochs; images a step.
    optimizer : OptimizerSettings
    monitor : str
        The quantity that chooses the epoch, "val_accuracy" (largest) or "val_loss" (smallest).
    patience : int
        Epochs without improvement before training stops.
    stop : str
        The quantity whose improvement patience waits for; "" is `monitor`.
    ties : str
        Which of equally good epochs is kept, "first" or "last".
    class_weights : str
        "balanced": images of a class weigh n / (classes * images of the class) in the loss; "none"; "ignored" says
        that the authors passed weights which their Keras ignored: it trains as "none" does.
    label_smoothing : float
        Of the cross-entropy, 0 to below 1.
    repeats : int, optional
        Of the protocol's repeats so many are trained; all where not given.
    seed : int
        Of initial weights, order and augmentation; the repeat and fold are mixed in.
    augmentation : AugmentationSettings
    unfreeze : UnfreezeSettings
        Of systems whose network has groups of layers to unfreeze; `epochs` and `optimizer` then are the head's.
    """

    epochs: int
    batch_size: int = 16
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    monitor: Literal["val_accuracy", "val_loss"] = "val_accuracy"
    patience: int = 10
    stop: Literal["", "val_accuracy", "val_loss"] = ""
    ties: Literal["first", "last"] = "first"
    class_weights: Literal["none", "balanced", "ignored"] = "none"
    label_smoothing: float = 0.0
    repeats: int | None = None
    seed: int = 0
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    unfreeze: UnfreezeSettings = field(default_factory=UnfreezeSettings)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience"):
            value = getattr(self, name)
            _require(value >= 1, f"training.{name}", value, "at least 1")
        _require(0 <= self.label_smoothing < 1, "training.label_smoothing", self.label_smoothing, "0 to below 1")
        _require(self.repeats is None or self.repeats >= 1, "training.repeats", self.repeats, "at least 1")


@dataclass(frozen=True)
class Protocol:
    """One profile of a paper's protocol, resolved.

    Attributes
    ----------
    paper, profile, description : str
    cohort : dict
        Which images; read by the paper's own code.
    size : tuple of int
        Height and width in pixels that the networks see.
    systems : tuple of str
        Rows of the tables to train.
    split, training : SplitSettings, TrainingSettings
    splits : dict
        Further divisions of the cohort, by name: what each has of its own beside `split`.
    trainings : dict
        What a system's training has of its own, by the system's name: keys of `TrainingSettings`.
    weights : str
        Initial weights: "imagenet", "none", or a path.
    tolerance : float
        Percentage points within which a number counts as reproduced; written here before the run.
    comparable : bool or str
        True where the data are the paper's; else the reason why no number can be compared.
    options : dict
        Settings that only this paper knows; read by its own code.
    jobs : int
        Executions to train at the same time, each in a process of its own, where the command does not say.
    in_process : bool
        Train them one after another in the process of the command, in place of `jobs`.
    quick_start : bool
        Leave out TensorFlow's optimisation of graphs: trainings of a minute begin sooner, long ones run slower.
    files : dict
        Weight files that the user gave by name (`--checkpoint NAME=FILE`), absolute paths.
    """

    paper: str
    profile: str
    description: str
    cohort: dict[str, Any]
    size: tuple[int, int]
    systems: tuple[str, ...]
    split: SplitSettings
    training: TrainingSettings
    weights: str
    tolerance: float
    comparable: bool | str
    options: dict[str, Any] = field(default_factory=dict)
    trainings: dict[str, Any] = field(default_factory=dict)
    splits: dict[str, Any] = field(default_factory=dict)
    jobs: int = 1
    in_process: bool = False
    quick_start: bool = False
    files: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require(min(self.size) >= 1, "size", self.size, "height and width in pixels")
        _require(self.tolerance >= 0, "tolerance", self.tolerance, "0 or more percentage points")
        _require(self.jobs >= 1, "jobs", self.jobs, "at least 1")
        _require(bool(self.systems), "systems", self.systems, "at least one system")
        known = self.weights in ("imagenet", "none") or Path(self.weights).is_absolute()
        _require(known, "weights", self.weights, "imagenet, none or the absolute path of a file")
        for name in self.trainings:
            self.training_of(name)
        for name in self.splits:
            self.split_of(name)

    def without_weights(self) -> Protocol:
        """Return the protocol with random initial weights, for a network whose trained ones are loaded next."""
        return dataclasses.replace(self, weights="none", files={})

    def training_of(self, name: str) -> TrainingSettings:
        """Return the settings of a system's training: the common ones under its own (key of `trainings`)."""
        return _overlaid(self.training, self.trainings.get(name), f"trainings.{name}")

    def split_of(self, name: str) -> SplitSettings:
        """Return the settings of a division of the cohort, the main one for ""; raise `UserError` where unknown."""
        if name and name not in self.splits:
            raise UserError("protocol", f"has no split {name!r}", f"Add splits.{name}")
        own = self.splits.get(name)
        # Which images are divided is a choice of its own, not an addition to the main split's; so are their shares.
        apart = isinstance(own, dict) and "images" in own
        others = dataclasses.replace(self.split, images={}, shares={}) if apart else self.split
        return _overlaid(others, own, f"splits.{name}")


def _overlaid(common: Any, own: Any, place: str) -> Any:
    """Return settings with what a mapping changes of them."""
    if own is None:
        return common
    if not isinstance(own, dict):
        raise UserError("protocol", f"{place} must be a mapping, not {own!r}", "Write 'key: value' lines")
    return build(type(common), merge(as_plain(common), own), "protocol", place)


def profile_names(path: str | Path) -> list[str]:
    """Return the profiles that a `protocol.yaml` offers, in its order."""
    return list(_mapping(path, read_yaml(path), "profiles"))


def load_protocol(path: str | Path, profile: str, changes: dict[str, Any] | None = None) -> Protocol:
    """Read one profile: the file's `common` section, the profile's own settings, then `changes`.

    Raises
    ------
    UserError
        Where the profile is unknown, a key is misspelt, or a value is of the wrong type.
    """
    document = read_yaml(path)
    for key in document:
        if key not in ("paper", "common", "profiles"):
            raise unknown_key(path, key, ("paper", "common", "profiles"))
    profiles = _mapping(path, document, "profiles")
    if profile not in profiles:
        raise UserError(path, f"has no profile {profile!r}", f"Choose one of {', '.join(profiles)}")
    merged = merge(merge(_mapping(path, document, "common"), _mapping(path, profiles, profile)), changes or {})
    return build(Protocol, merged | {"paper": document.get("paper", ""), "profile": profile}, path)


def _mapping(path: str | Path, document: dict[str, Any], key: str) -> dict[str, Any]:
    """Return a section of the file, {} where it is empty; raise `UserError` where it is something else."""
    section = document.get(key)
    if section is not None and not isinstance(section, dict):
        raise UserError(path, f"{key} must be a mapping, not {section!r}", "Write 'key: value' lines")
    return section or {}
