"""Five papers of a few lines, registered as any fifth paper would be: by entry points, without touching the core.

`tiny` has networks only; the systems of `further` override methods, and note what they are given in the folder
TINY_SAW. Those of `hooks` are trained on divisions by name, called by other labels, made of others. They stop before
the epoch TINY_STOP. Those of `choosing` learn from their training images before any step, let images through to others,
and are chosen among; the paper's report has metrics, sections and files of its own. Those of `unfreezing` are
fine-tuned stage by stage, and put together to ensembles.
"""

from __future__ import annotations

import dataclasses
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from covid_keras.common.errors import UserError
from covid_keras.common.files import fingerprint, sha256_of
from covid_keras.data.preparation import Preparation
from covid_keras.data.prepared_images import PreparedImages
from covid_keras.data.store import Store
from covid_keras.evaluation.ensembles import vote_predictions
from covid_keras.paper import BestOf, Composed, Ensemble, Paper, Released, Trained
from covid_keras.paper.inputs import Inputs
from tests.helpers.made_papers import networks

HERE = Path(__file__).parent
ALL_PARTS = ("train", "validation", "test")
REFUSED = ("made/0-0", "made/1-1", "made/0-2", "made/1-3", "made/0-4", "made/1-5")


def saw(name: str, values: Any) -> None:
    """Note what a system was given."""
    if folder := os.environ.get("TINY_SAW"):
        np.save(Path(folder) / name, values)


def whole(protocol: Any) -> Preparation:
    return Preparation(size=protocol.size)


@dataclass(frozen=True)
class Made(Paper):
    """A paper on made images."""

    @property
    def protocol_path(self) -> Path:
        return HERE / ("divided.yaml" if self.name == "hooks" else "protocol.yaml")

    def protocol(self, profile: str, changes: dict[str, Any] | None = None) -> Any:
        names = [one.name for one in self.systems]
        own = {} if "a" in names else {"systems": names}  # the file names "a"
        return dataclasses.replace(super().protocol(profile, own | (changes or {})), paper=self.name)


@dataclass(frozen=True, kw_only=True)
class Net(Trained):
    channels: int = 1


def paper(name: str, *systems: Any, aliases: tuple[str, ...] = (), **fields: Any) -> Made:
    words = {"title": "Tiny", "citation": "N. Obody, 2026", "doi": "10.0/0", "folder": HERE / "results" / name}
    return Made(name=name, aliases=aliases, systems=systems, **words | fields)


A = Net("a", "A", whole, build=networks.build)
TINY = paper("tiny", A, Net("b", "B", whole, build=networks.plain), aliases=("nobody",), positive="P")


# ---------------------------------------------------------------------------------------------------- further


class Pair(Net):
    """Each image as it is and inverted, once `after` is done."""

    def feed(self, execution, cohort, part, prepared):
        before = execution.below(self.after)
        rows, keys, ids = np.flatnonzero(part != ""), [], []
        for row in rows:
            for view in (0, 1):
                key = fingerprint([prepared.keys[row], view, sha256_of(before.predictions)])
                pixels = prepared.load(row)
                Store(prepared.folder).put(key, 255 - pixels if view else pixels)
                keys.append(key)
                ids.append(f"{prepared.image_ids[row]}#{view}")
        labels = np.repeat((cohort.table["label"].to_numpy()[rows] == "P").astype(np.int64), 2)
        views = PreparedImages(prepared.folder, tuple(keys), tuple(ids), prepared.shape)
        return Inputs(views, labels, np.repeat(rows, 2), 2)

    def decide(self, outputs, classes):
        saw("outputs", outputs)
        return outputs[:, 0].argmax(axis=1), outputs[:, 0].astype(float)


class Three(Net):
    """Three classes, all images but those of one patient, planned batches."""

    def takes_part(self, execution):
        saw("seed", execution.split_seed)
        table = execution.cohort.table
        return (table["label"].isin(execution.classes) & (table["patient_id"] != "made/0-0")).to_numpy()

    def plan(self, labels, training, protocol, seed):
        saw("labels", labels)
        return np.random.default_rng(seed).integers(0, len(labels), (training.epochs, 3, 5))

    def compile(self, model, training, protocol, counts):
        saw("counts", counts)
        super().compile(model, training, protocol, counts)


def sleeps(protocol, classes):
    (Path(os.environ["TINY_SAW"]) / f"pid-{os.getpid()}").touch()
    time.sleep(300)


def fails(protocol, classes):
    while not list(Path(os.environ["TINY_SAW"]).glob("pid-*")):
        time.sleep(0.05)
    raise UserError("the weights", "are missing", "Give others")


PAIR = Pair("pair", "Pair", whole, build=networks.plain, after="a")
RELEASED = Released("released", "Released", whole, channels=1, restore=networks.plain)
FURTHER = paper(
    "further",
    A,
    PAIR,
    dataclasses.replace(PAIR, name="last", after="pair"),
    RELEASED,
    Three("three", "Three", whole, classes=("N", "P", "other"), settings="own", build=networks.build),
    Net("turned", "Turned", whole, classes=("other", "P", "N"), build=networks.plain),
    Net("sleeps", "Sleeps", whole, build=sleeps),
    Net("fails", "Fails", whole, build=fails),
    scored=("N", "P"),
    positive="P",
    files={"net": "a network"},
)


# ---------------------------------------------------------------------------------------------------- hooks


class Stopping(Net):
    def callbacks(self, protocol):
        return [networks.stop()]


class Everywhere(Composed):
    """Tested on all of its images."""

    def division(self, execution):
        return np.where(self.takes_part(execution), "test", "").astype(object)


class Matched(Net):
    def template(self, execution):
        return int(np.flatnonzero(execution.division == "train")[0])


BINARY = ("N", "P")
SIGMOID = Stopping("sigmoid", "Sigmoid", whole, classes=BINARY, build=networks.one_output, after="a")
HOOKED = dataclasses.replace(A, classes=BINARY)
PLAIN = dataclasses.replace(HOOKED, build=networks.plain)
HOOKS = paper(
    "hooks",
    HOOKED,
    dataclasses.replace(HOOKED, name="ignored"),
    SIGMOID,
    Composed.like(SIGMOID, name="product", title="Product", after="sigmoid", compose=networks.product),
    Everywhere.like(
        SIGMOID,
        name="elsewhere",
        title="Elsewhere",
        after="sigmoid",
        relabel={"other": "P"},
        compose=networks.last_part,
    ),
    dataclasses.replace(
        PLAIN,
        name="ill",
        title="Ill",
        classes=("N", "ill"),
        relabel={"P": "ill", "other": "ill"},
        split="small",
    ),
    Matched.like(PLAIN, name="matched", title="Matched", build=networks.plain),
    dataclasses.replace(PLAIN, name="leaky", title="Leaky", split="authors"),
    dataclasses.replace(PLAIN, name="smooth", title="Smooth", split="authors", build=networks.plain_output),
    dataclasses.replace(RELEASED, classes=BINARY),
    Composed.like(PLAIN, name="over", title="Over", after="released", compose=networks.last_part),
)


# ---------------------------------------------------------------------------------------------------- choosing


class Scaled(Net):
    """Learns mean and std of its training images first."""

    def adapt(self, model, inputs, rows):
        model.get_layer("standardise").adapt([inputs.prepared.batch(rows)])


class Filtered(Scaled):
    """Does without some patients, once `after` is done."""

    def part(self, execution):
        before = execution.below(self.after)
        saw(f"asked-{before.system.name}", np.array([before.done]))
        admitted = ~execution.cohort.table["patient_id"].isin(REFUSED).to_numpy()
        return np.where(admitted, execution.division, "").astype(object)


FIRST = Scaled("first", "First", whole, build=networks.standardised)
NEXT = Filtered.like(FIRST, name="next", title="Next", after="better", parts=ALL_PARTS, build=networks.standardised)
CHOOSING = paper(
    "choosing",
    FIRST,
    dataclasses.replace(FIRST, name="second", title="Second"),
    BestOf.like(FIRST, name="better", title="The better", candidates=("first", "second")),
    NEXT,
    dataclasses.replace(NEXT, name="other", title="Other"),
    BestOf.like(NEXT, name="best", title="The best", after="", parts=("test",), candidates=("next", "other")),
    dataclasses.replace(FIRST, name="apart", title="Apart"),
    dataclasses.replace(FIRST, name="gone"),
    scored=BINARY,
    report="tests.helpers.made_papers.report",
)


# ---------------------------------------------------------------------------------------------------- unfreezing


class Staged(Net):
    groups = (("high_",), ("low_",))


class Watched(Staged):
    def callbacks(self, protocol):
        return [networks.watch()]


class Vote(Ensemble):
    def combine(self, protocol, frames):
        return vote_predictions(frames, system=self.name)


STAGED = Watched("staged", "Staged", whole, parts=ALL_PARTS, build=networks.two_blocks)
IDLE = Staged.like(STAGED, name="idle", title="Idle", parts=("validation", "test"), build=networks.two_blocks)
MEAN = Ensemble.like(STAGED, name="mean", title="Mean", settings="own", members=("staged", "idle"))
UNFREEZING = paper(
    "unfreezing",
    STAGED,
    IDLE,
    MEAN,
    Vote.like(MEAN, name="vote", title="Vote", members=MEAN.members),
    dataclasses.replace(IDLE, name="still", title="Still", build=networks.not_random),
    Net.like(STAGED, name="whole", title="Whole", build=networks.two_blocks),
    scored=BINARY,
)
