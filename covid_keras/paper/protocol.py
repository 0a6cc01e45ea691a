"""The protocol of a paper: its settings in profiles, read from `protocol.yaml` and checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from annotated_types import Ge, Gt, Le, Lt, MinLen

from covid_keras.common.errors import UserError
from covid_keras.common.settings import (
    BelowOne,
    Count,
    CountOrZero,
    NotNegative,
    Positive,
    Repeats,
    Seed,
    Share,
    Side,
    as_plain,
    build,
    merge,
    read_yaml,
)
from covid_keras.paper.evidence import Evidence

T = TypeVar("T")

Part = Annotated[float, Ge(0), Le(1)]
Factor = Annotated[float, Gt(0), Le(10)]
RETIRED = ("comparable",)  # settings that runs before version 0.2 recorded


def _require(condition: bool, name: str, value: Any, rule: str) -> None:
    """Raise `UserError` if a setting of the protocol makes no sense."""
    if not condition:
        raise UserError("protocol", f"{name} is {value!r}", f"It must be {rule}")


@dataclass(frozen=True)
class SplitSettings:
    """How a cohort is split.

    Attributes
    ----------
    scheme : str
        "folds": n-fold cross-validation, repeated k times with different folds. "hold_out": one split into training,
        validation and test; repeats use the same split with other seeds. "published": by image, unstratified, as
        `sklearn.model_selection.train_test_split` splits the images in the cohort's order; the test part also chooses
        the epoch.
    folds, repeats : int
        k x n executions per system; schemes other than "folds" have one fold.
    validation : float
        Share held out to choose the epoch: of each training part ("folds") or of all images ("hold_out").
    test : float
        Share of the test part, for schemes other than "folds".
    seed : int
        Seed of the first repeat.
    leaky_as_published : bool
        Split by image like the paper, although patients are then in several parts.
    duplicates : bool
        Keep near-duplicates together like images of one patient.
    shares : dict
        For "hold_out": label -> its own shares of train, validation and test (default: 0), such as {train: 1} for a
        collection used for training only. Patients and near-duplicates with several labels follow the first one.
    images : dict
        Label -> number of images to use, the first in the cohort's order (0: all); others are in no part. Default: all
        images.
    """

    scheme: Literal["folds", "hold_out", "published"] = "folds"
    folds: Repeats = 5
    repeats: Repeats = 1
    validation: Share = 0.1
    test: Share = 0.2
    seed: Seed = 0
    leaky_as_published: bool = False
    duplicates: bool = True
    images: dict[str, CountOrZero] = field(default_factory=dict)
    shares: dict[str, dict[str, Part]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        divided = not self.shares or self.scheme == "hold_out"
        _require(divided, "split.shares", self.shares, "omitted unless the scheme is hold_out")
        if self.scheme == "folds":
            _require(self.folds >= 2, "split.folds", self.folds, "at least 2")
            return
        rule = f"if the scheme is {self.scheme}"
        _require(self.folds == 1, "split.folds", self.folds, f"1 {rule}")
        leaky, published = self.leaky_as_published, self.scheme == "published"
        _require(leaky == published, "split.leaky_as_published", leaky, f"{str(published).lower()} {rule}")

    @property
    def chosen_on_test(self) -> bool:
        """Whether the test part chooses the epoch, as in some papers."""
        return self.scheme == "published"


@dataclass(frozen=True)
class OptimizerSettings:
    """An optimiser, in Keras' terms. `decay` is the legacy one: lr / (1 + decay * step); `epsilon` is Adam's."""

    name: Literal["sgd", "adam"] = "sgd"
    learning_rate: Positive = 1e-3
    momentum: BelowOne = 0.0
    nesterov: bool = False
    decay: NotNegative = 0.0
    epsilon: Positive = 1e-7


@dataclass(frozen=True)
class AugmentationSettings:
    """Random augmentation: degrees, shares of a side, factors (see `covid_keras.data.augment`).

    `zoom_range` replaces `zoom` and is that of Keras' `ImageDataGenerator`, which draws the reciprocal of the factor.
    """

    rotation: Annotated[float, Ge(0), Le(180)] = 0.0
    shift: tuple[Part, Part] = (0.0, 0.0)
    zoom: tuple[Factor, Factor] = (1.0, 1.0)
    shear: Annotated[float, Ge(0), Lt(90)] = 0.0
    flip: bool = False
    vertical_flip: bool = False
    keep_aspect: bool = True
    fill: Literal["nearest", "constant", "reflect"] = "nearest"
    brightness: tuple[Factor, Factor] = (1.0, 1.0)
    # Default None, so that runs begun before this setting existed can be resumed.
    zoom_range: tuple[Factor, Factor] | None = None


@dataclass(frozen=True)
class UnfreezeSettings:
    """Progressive fine-tuning of a network with a backbone (see `covid_keras.paper.unfreezing`).

    Attributes
    ----------
    epochs : int
        Maximum epochs of each stage after the head's; 0 trains all layers from the first epoch.
    groups : int, optional
        Number of groups of layers to unfreeze, from the top. Default: all.
    patience : int
        Epochs without improvement after which a stage ends.
    learning_rate : float
        Learning rate of these stages.
    scratch : int
        Epochs with all layers before the head's stage, updating batch-normalisation statistics; for random initial
        weights.
    scratch_rate : float
        Learning rate of those epochs.
    """

    epochs: CountOrZero = 0
    groups: Count | None = None
    patience: Count = 5
    learning_rate: Positive = 1e-5
    scratch: CountOrZero = 0
    scratch_rate: Positive = 1e-3

    def __post_init__(self) -> None:
        followed = not self.scratch or self.epochs > 0
        _require(followed, "training.unfreeze.scratch", self.scratch, "0 if no stage follows (epochs 0)")


@dataclass(frozen=True)
class TrainingSettings:
    """How one execution is trained. The epoch is chosen on validation only.

    Attributes
    ----------
    epochs, batch_size : int
        Maximum number of epochs; images per step.
    optimizer : OptimizerSettings
    monitor : str
        The quantity that selects the epoch, "val_accuracy" (largest) or "val_loss" (smallest).
    patience : int
        Epochs without improvement before training stops.
    stop : str
        The quantity to which `patience` applies; "" means `monitor`.
    ties : str
        Which of equally good epochs is kept, "first" or "last".
    class_weights : str
        "balanced": each image of a class has the weight n / (classes * images of the class) in the loss. "none": equal
        weights. "ignored": like "none", but records that the authors passed weights, which their Keras ignored.
    label_smoothing : float
        Label smoothing of the cross-entropy, at least 0 and below 1.
    schedule : str
        "constant", or "cosine": the learning rate falls to 0 over the epochs of a stage, along half a cosine.
    repeats : int, optional
        Number of the protocol's repeats to train. Default: all.
    seed : int
        Seed of initial weights, order of images and augmentation; combined with repeat and fold.
    augmentation : AugmentationSettings
    unfreeze : UnfreezeSettings
        For systems whose network has groups of layers to unfreeze; `epochs` and `optimizer` then apply to the stage
        that trains the head.
    """

    epochs: Count
    batch_size: Count = 16
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    monitor: Literal["val_accuracy", "val_loss"] = "val_accuracy"
    patience: Count = 10
    stop: Literal["", "val_accuracy", "val_loss"] = ""
    ties: Literal["first", "last"] = "first"
    class_weights: Literal["none", "balanced", "ignored"] = "none"
    label_smoothing: BelowOne = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    repeats: Repeats | None = None
    seed: Seed = 0
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    unfreeze: UnfreezeSettings = field(default_factory=UnfreezeSettings)

    def __post_init__(self) -> None:
        decay, falls = self.optimizer.decay, self.schedule != "constant"
        _require(not (decay and falls), "training.optimizer.decay", decay, f"0 where the schedule is {self.schedule}")


@dataclass(frozen=True)
class SegmenterSettings:
    """A paper's own lung network and its training; a subclass adds the paper's defaults and settings.

    Attributes
    ----------
    size : int
        Side of the square input in pixels.
    epochs, batch_size, learning_rate : int, int, float
        Number of epochs; images per step; learning rate of Adam.
    threshold : float
        Probability threshold for lung pixels.
    filters : int
        Filters of the first level.
    seed : int
        Seed of everything random.
    """

    size: Side
    epochs: Count
    batch_size: Count
    threshold: Share
    filters: Count = 64
    learning_rate: Positive = 1e-3
    seed: Seed = 0


@dataclass(frozen=True)
class Protocol:
    """One profile of a paper's protocol, resolved.

    Attributes
    ----------
    paper, profile, description : str
    cohort : dict
        The images; read by the paper's own code.
    size : tuple of int
        Height and width of the networks' input in pixels.
    systems : tuple of str
        Rows of the tables to train.
    split, training : SplitSettings, TrainingSettings
    splits : dict
        Further splits: name -> settings that differ from `split`.
    trainings : dict
        System -> settings that differ from `training`.
    weights : str
        Initial weights: "imagenet", "none", or a path.
    tolerance : float
        Percentage points within which a number counts as reproduced; fixed before the run.
    options : dict
        Settings of this paper only; read by its own code.
    jobs : int
        Executions to train at the same time, at most one per processor, where the command does not say.
    executions_per_process : int
        Executions that such a process trains before a fresh one takes its place. Where it is above 1 and `jobs` is 1,
        the process of the command trains them all.
    quick_start : bool
        Skip TensorFlow's graph optimisation: short trainings start faster, long ones run slower.
    files : dict
        Weight files given by `--checkpoint NAME=FILE`: name -> absolute path.
    micro_batch : int
        Images of a batch that are processed at a time, to save memory; 0: all. Steps of the optimiser, gradients and
        metrics stay those of batches (`covid_keras.models.pieces`), but batch normalisation sees a piece.
    lungs : str
        Convention of masks by the shipped lung network: "fields", without the heart, or "whole", with the lung behind
        it (see `covid_keras.models.LungSegmenter`).
    """

    paper: str
    profile: str
    description: str
    cohort: dict[str, Any]
    size: tuple[Side, Side]
    systems: Annotated[tuple[str, ...], MinLen(1)]
    split: SplitSettings
    training: TrainingSettings
    weights: str
    tolerance: NotNegative
    options: dict[str, Any] = field(default_factory=dict)
    trainings: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    splits: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    jobs: Count = 1
    executions_per_process: Count = 1
    quick_start: bool = False
    files: dict[str, str] = field(default_factory=dict)
    micro_batch: CountOrZero = 0
    lungs: Literal["fields", "whole"] = "fields"

    def __post_init__(self) -> None:
        known = self.weights in ("imagenet", "none") or Path(self.weights).is_absolute()
        _require(known, "weights", self.weights, "imagenet, none or the absolute path of a file")
        for name in self.trainings:
            self.training_of(name)
        for name in self.splits:
            self.split_of(name)

    def at_a_time(self, batch_size: int) -> int:
        """Return how many images of a batch are processed at a time."""
        return min(batch_size, self.micro_batch or batch_size)

    def without_weights(self) -> Protocol:
        """Return the protocol with random initial weights, for networks whose trained weights are loaded next."""
        return dataclasses.replace(self, weights="none", files={})

    def training_of(self, name: str) -> TrainingSettings:
        """Return the settings of a system's training: `training` overridden by its entry in `trainings`."""
        return _overlaid(self.training, self.trainings.get(name), f"trainings.{name}")

    def split_of(self, name: str) -> SplitSettings:
        """Return the settings of a split ("": the main one); raise `UserError` if unknown."""
        if name and name not in self.splits:
            raise UserError("protocol", f"has no split {name!r}", f"Add splits.{name}")
        own = self.splits.get(name)
        # A split with its own `images` does not inherit the main split's images and shares.
        apart = own is not None and "images" in own
        others = dataclasses.replace(self.split, images={}, shares={}) if apart else self.split
        return _overlaid(others, own, f"splits.{name}")


def _overlaid(common: T, own: dict[str, Any] | None, place: str) -> T:
    """Return settings overridden by a mapping."""
    return common if own is None else build(type(common), merge(as_plain(common), own), "protocol", place)


def options_reader(cls: type[T], paper: str) -> Callable[[Protocol], T]:
    """Return a function that reads and validates a paper's options as its own dataclass.

    In the protocol of another paper, which takes systems from it, they are below its name: `options.<paper>`.
    """

    def read(protocol: Protocol) -> T:
        if protocol.paper == paper:
            return build(cls, protocol.options, "protocol.yaml", "options")
        return build(cls, protocol.options.get(paper, {}), "protocol.yaml", f"options.{paper}")

    return read


def _without(settings: Any, given: Mapping[str, Any]) -> Any:
    """Return settings without the keys of `given`, recursively."""
    if not isinstance(settings, Mapping):
        return settings
    left = {}
    for key, value in settings.items():
        if key not in given:
            left[key] = value
        elif isinstance(value, Mapping) and isinstance(given[key], Mapping):
            left[key] = _without(value, given[key])
    return left


@dataclass(frozen=True)
class _Document:
    """A `protocol.yaml`: common settings, those of each profile, and what the paper's numbers were measured on."""

    profiles: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    common: dict[str, Any] | None = None
    paper: str = ""
    evidence: tuple[Evidence, ...] = ()


def profile_names(path: str | Path) -> list[str]:
    """Return the profiles of a `protocol.yaml`, in order."""
    return list(build(_Document, read_yaml(path), path).profiles)


def load_evidence(path: str | Path) -> tuple[Evidence, ...]:
    """Return the section `evidence` of a `protocol.yaml`."""
    return build(_Document, read_yaml(path), path).evidence


def resolved(mapping: Mapping[str, Any], where: str | Path) -> Protocol:
    """Return a protocol as a run recorded it, without settings that no longer exist."""
    kept = {key: value for key, value in mapping.items() if key not in RETIRED}
    if kept.get("weights") not in ("imagenet", "none"):
        # Published records name a file of initial weights without its folder.
        kept["weights"] = str(Path("/", str(kept.get("weights"))))
    return build(Protocol, kept, where)


def load_protocol(
    path: str | Path,
    profile: str,
    changes: dict[str, Any] | None = None,
    inherited: Mapping[str, Any] | None = None,
) -> Protocol:
    """Read one profile: what is `inherited`, the file's `common` section, the profile's own settings, then `changes`.

    Changes of `training` or `split` apply to all systems and splits, overriding `trainings` and `splits` of the file;
    changes of an entry in `trainings` or `splits` apply to that one. Likewise, `training` and `split` of the file
    override inherited `trainings` and `splits`.

    Raises
    ------
    UserError
        If the profile is unknown, a key is misspelt, or a value is of the wrong type.
    """
    document = build(_Document, read_yaml(path), path)
    if profile not in document.profiles:
        raise UserError(path, f"has no profile {profile!r}", f"Choose from {', '.join(document.profiles)}")
    written = merge(document.common or {}, document.profiles[profile] or {})
    merged = _over(_over(inherited or {}, written), changes or {})
    return build(Protocol, merged | {"paper": document.paper, "profile": profile}, path)


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge settings of which `training` and `split` above override `trainings` and `splits` below."""
    yielding = dict(below)
    for common, apart in (("training", "trainings"), ("split", "splits")):
        given, own = above.get(common), below.get(apart)
        if isinstance(given, Mapping) and isinstance(own, Mapping):
            yielding[apart] = {name: _without(one, given) for name, one in own.items()}
    return merge(yielding, above)
