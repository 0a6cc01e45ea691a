"""Five papers of a few lines, registered as any fifth paper would be: by entry points, without touching the core.

`tiny` has networks only; the systems of `further` use the hooks, and note what they are given in the folder TINY_SAW.
Those of `hooks` are trained on divisions by name, called by other labels, made of others. They stop before the epoch
TINY_STOP. Those of `choosing` learn from their training images before any step, let images through to others, and are
chosen among; the paper has metrics, stages, sections and files of its own. Those of `unfreezing` are fine-tuned stage
by stage, and put together to ensembles.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
import pytest

from covid_keras.data.cohort import Cohort
from covid_keras.data.duplicates import PAIR_COLUMNS
from covid_keras.training.division import divide

MODULE = """
import dataclasses
import os
import time
from pathlib import Path
import numpy as np
from covid_keras.common.errors import UserError
from covid_keras.data.preparation import Preparation
from covid_keras.paper.paper import Paper
from covid_keras.paper.systems import System

def build(protocol, classes, dropout=0.2):
    import keras
    from keras import layers
    inputs = keras.Input((*protocol.size, 1))
    x = layers.Conv2D(4, 3, activation="relu")(inputs)
    x = layers.Dropout(dropout)(x) if dropout else x
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(len(classes), activation="softmax")(x))

def plain(protocol, classes):
    return build(protocol, classes, 0.0)

def whole(protocol):
    return Preparation(size=protocol.size)

PAPER = Paper(name="tiny", aliases=("nobody",), title="Tiny", citation="N. Obody, 2026", doi="10.0/0",
              folder=Path(__file__).parent, systems=(System("a", "A", whole, build, channels=1),
              System("b", "B", whole, plain, channels=1)), cohort=None, available=lambda protocol, data: None,
              positive="P")

def saw(name, values):
    if folder := os.environ.get("TINY_SAW"):
        np.save(Path(folder) / name, values)

def two_views(protocol, cohort, before, part, prepared):
    from covid_keras.data.preparation import PreparedImages
    from covid_keras.data.store import Store
    from covid_keras.common.files import fingerprint, sha256_of
    from covid_keras.paper.inputs import Inputs
    rows, keys, ids = np.flatnonzero(part != ""), [], []
    for row in rows:
        for view in (0, 1):
            key = fingerprint([prepared.keys[row], view, sha256_of(before.predictions)])
            if Store(prepared.folder).find(key) is None:
                Store(prepared.folder).put(key, 255 - prepared.load(row) if view else prepared.load(row))
            keys.append(key)
            ids.append(f"{prepared.image_ids[row]}#{view}")
    labels = np.repeat((cohort.table["label"].to_numpy()[rows] == "P").astype(np.int64), 2)
    views = PreparedImages(prepared.folder, tuple(keys), tuple(ids), prepared.shape)
    return Inputs(views, labels, np.repeat(rows, 2), 2)

def first_view(outputs, classes):
    saw("outputs", outputs)
    return outputs[:, 0].argmax(axis=1), outputs[:, 0].astype(float)

def fixed_plan(labels, training, protocol, seed):
    saw("labels", labels)
    rng = np.random.default_rng(seed)
    return rng.integers(0, len(labels), (training.epochs, 3, 5))

def compile_counted(model, training, protocol, counts):
    from covid_keras.models.compiling import compile_classifier
    saw("counts", counts)
    compile_classifier(model, training, protocol, counts)

def not_first_patient(cohort, splits, classes, seed):
    saw("seed", seed)
    return (cohort.table["label"].isin(classes) & (cohort.table["patient_id"] != "made/0-0")).to_numpy()

def sleeps(protocol, classes):
    (Path(os.environ["TINY_SAW"]) / f"pid-{os.getpid()}").touch()
    time.sleep(300)

def fails(protocol, classes):
    while not list(Path(os.environ["TINY_SAW"]).glob("pid-*")):
        time.sleep(0.05)
    raise UserError("the weights", "are missing", "Give others")

A = System("a", "A", whole, build, channels=1)
PAIR = System("pair", "Pair", whole, plain, channels=1, after="a", feed=two_views, decide=first_view)
FURTHER = dataclasses.replace(PAPER, name="further", aliases=(), folder=Path(__file__).parent / "further",
    scored=("N", "P"), files={"net": "a network"}, systems=(
        A, PAIR, dataclasses.replace(PAIR, name="last", after="pair"),
        System("released", "Released", whole, plain, channels=1, released=True, restore=plain),
        System("three", "Three", whole, build, channels=1, classes=("N", "P", "other"), settings="own",
               cases=not_first_patient, plan=fixed_plan, compile=compile_counted),
        System("turned", "Turned", whole, plain, channels=1, classes=("other", "P", "N")),
        System("sleeps", "Sleeps", whole, sleeps, channels=1), System("fails", "Fails", whole, fails, channels=1)))

def one_output(protocol, classes, dropout=0.2):
    import keras
    from keras import layers
    inputs = keras.Input((*protocol.size, 1))
    x = layers.Dropout(dropout)(layers.Conv2D(4, 3, activation="relu")(inputs))
    return keras.Model(inputs, layers.Dense(1, activation="sigmoid")(layers.GlobalAveragePooling2D()(x)))

def plain_output(protocol, classes):
    return one_output(protocol, classes, 0.0)

def product(protocol, classes, parts):
    import keras
    from keras import layers
    inputs = keras.Input((*protocol.size, 1))
    both, second = (part(inputs) for part in parts)
    return keras.Model(inputs, layers.Multiply()([both, layers.Concatenate()([1 - second, second])]))

def last_part(protocol, classes, parts):
    return parts[-1]

def stopping(protocol):
    import keras
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if os.environ.get("TINY_STOP") == str(epoch):
                raise KeyboardInterrupt
    return [Stop()]

def first_trained(cohort, part):
    return int(np.flatnonzero(part == "train")[0])

SIGMOID = System("sigmoid", "Sigmoid", whole, one_output, channels=1, after="a", callbacks=stopping)
HOOKS = dataclasses.replace(FURTHER, name="hooks", positive="", folder=Path(__file__).parent / "hooks", files={},
    systems=(A, dataclasses.replace(A, name="ignored"), SIGMOID,
        System("product", "Product", whole, plain, channels=1, after="sigmoid", compose=product),
        System("elsewhere", "Elsewhere", whole, plain, channels=1, after="sigmoid", compose=last_part, everywhere=True,
               relabel={"other": "P"}),
        System("ill", "Ill", whole, plain, channels=1, classes=("N", "ill"), scored=("N", "ill"),
               relabel={"P": "ill", "other": "ill"}, split="small"),
        System("matched", "Matched", whole, plain, channels=1, template=first_trained),
        System("leaky", "Leaky", whole, plain, channels=1, split="authors"),
        System("smooth", "Smooth", whole, plain_output, channels=1, split="authors"),
        System("released", "Released", whole, plain, channels=1, released=True, restore=plain),
        System("over", "Over", whole, plain, channels=1, after="released", compose=last_part)))

def standardised(protocol, classes):
    import keras
    from keras import layers
    from covid_keras.models.standardise import Standardise
    inputs = keras.Input((*protocol.size, 1))
    x = layers.Conv2D(4, 3, activation="relu", name="conv")(Standardise(name="standardise")(inputs))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(len(classes), activation="softmax", name="head")(x))

def learn_scale(model, inputs, rows):
    model.get_layer("standardise").adapt([inputs.prepared.batch(rows)])

REFUSED = ("made/0-0", "made/1-1", "made/0-2", "made/1-3", "made/0-4", "made/1-5")

def not_refused(paper, run, before):
    saw(f"asked-{before.system}", np.array([before.done]))
    return ~run.cohort.table["patient_id"].isin(REFUSED).to_numpy()

def further_metrics(predictions):
    from covid_keras.evaluation.counts import balanced_accuracy, summarise_counts
    return summarise_counts(predictions, {"balanced_accuracy": balanced_accuracy}, n=50)

def stage(run):
    from covid_keras.evaluation import Measured
    return [Measured("stage", "dice", 90.0, 1.0, 1, 1, 89.0, 91.0, 5, 6)]

def only_here(results):
    from covid_keras.reporting.document import Section
    return [Section("Only here", f"Of {len(results.systems)} systems.")]

FIRST = System("first", "First", whole, standardised, channels=1, adapt=learn_scale)
NEXT = dataclasses.replace(FIRST, name="next", title="Next", after="better", admit=not_refused,
                           parts=("train", "validation", "test"))
CHOOSING = dataclasses.replace(FURTHER, name="choosing", positive="", folder=Path(__file__).parent / "choosing",
    files={}, measure=further_metrics, stages=stage, sections=only_here, pairs=(("best", "apart"), ("best", "gone")),
    publishes=lambda run: {"extra.csv": f"executions\\n{len(run.executions())}\\n"}, systems=(
        FIRST, dataclasses.replace(FIRST, name="second", title="Second"),
        dataclasses.replace(FIRST, name="better", title="The better", choose=("first", "second")),
        NEXT, dataclasses.replace(NEXT, name="other", title="Other"),
        dataclasses.replace(NEXT, name="best", title="The best", choose=("next", "other"), parts=("test",)),
        dataclasses.replace(FIRST, name="apart", title="Apart"), dataclasses.replace(FIRST, name="gone")))

def two_blocks(protocol, classes, dropout=0.2):
    import keras
    from keras import layers
    from covid_keras.models.steady import SteadyBatchNormalization
    inputs = keras.Input((*protocol.size, 1))
    x = layers.Conv2D(4, 3, strides=2, name="low_conv")(inputs)
    x = layers.ReLU()(SteadyBatchNormalization(momentum=0.5, name="low_bn")(x))
    x = layers.Conv2D(4, 3, activation="relu", name="high_conv")(x)
    x = layers.Dropout(dropout)(layers.GlobalAveragePooling2D(name="pooling")(x))
    return keras.Model(inputs, layers.Dense(len(classes), activation="softmax", name="probability")(x))

def not_random(protocol, classes):
    return two_blocks(protocol, classes, 0.0)

def watched(protocol):
    import keras
    class Watch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if os.environ.get("TINY_STOP") == str(epoch):
                raise KeyboardInterrupt
        def on_epoch_end(self, epoch, logs=None):
            if folder := os.environ.get("TINY_SAW"):
                weights = {f"{layer.name} {number}": value for layer in self.model.layers
                           for number, value in enumerate(layer.get_weights())}
                rate = float(self.model.optimizer.learning_rate)
                np.savez(Path(folder) / f"epoch{epoch}.npz", rate=rate, **weights)
    return [Watch()]

def average(protocol, frames, name):
    from covid_keras.evaluation.ensembles import average_predictions
    return average_predictions(frames, system=name)

def vote(protocol, frames, name):
    from covid_keras.evaluation.ensembles import vote_predictions
    return vote_predictions(frames, system=name)

STAGED = System("staged", "Staged", whole, two_blocks, channels=1, callbacks=watched,
                unfreezing=(("high_",), ("low_",)), parts=("train", "validation", "test"))
IDLE = dataclasses.replace(STAGED, name="idle", title="Idle", callbacks=None, parts=("validation", "test"))
MEAN = dataclasses.replace(STAGED, name="mean", title="Mean", callbacks=None, unfreezing=(), settings="own",
                           members=("staged", "idle"), combine=average)
UNFREEZING = dataclasses.replace(FURTHER, name="unfreezing", positive="", folder=Path(__file__).parent / "unfreezing",
    files={}, systems=(STAGED, IDLE, MEAN, dataclasses.replace(MEAN, name="vote", title="Vote", combine=vote),
                       dataclasses.replace(IDLE, name="still", title="Still", build=not_random),
                       dataclasses.replace(STAGED, name="whole", title="Whole", unfreezing=())))
"""

PROTOCOL = """
paper: tiny
common:
  description: for tests
  cohort: {kind: none}
  size: [16, 16]
  systems: [a]
  split: {folds: 2, repeats: 1, validation: 0.2}
  training:
    epochs: 4
    batch_size: 4
    patience: 10
    optimizer: {learning_rate: 0.05, momentum: 0.9}
    augmentation: {rotation: 10.0, flip: true}
  weights: none
  tolerance: 1.0
  comparable: made images
profiles:
  smoke: {}
"""

HOOKS = PROTOCOL.replace("paper: tiny", "paper: hooks").replace(
    "  split: {folds: 2, repeats: 1, validation: 0.2}\n",
    """\
  split: {scheme: hold_out, folds: 1, repeats: 2, validation: 0.2, test: 0.2}
  splits:
    small: {images: {N: 12, P: 8, other: 8}}
    authors: {scheme: published, folds: 1, test: 0.25, seed: 18, leaky_as_published: true, images: {P: 0, N: 20}}
""",
)

SAME_PROTOCOL = ("further", "choosing", "unfreezing")  # the papers with the protocol of `tiny`


@contextmanager
def installed(folder: Path) -> Iterator[Path]:
    """Install the papers into a folder of their own, for this process and for those it starts; yield the folder."""
    site = folder / "site"
    package = site / "tinypaper"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(MODULE)
    (package / "protocol.yaml").write_text(PROTOCOL)
    protocols = {
        name: PROTOCOL.replace("paper: tiny", f"paper: {name}") for name in ("further", "choosing", "unfreezing")
    }
    for name, text in (protocols | {"hooks": HOOKS}).items():
        (package / name).mkdir()
        (package / name / "protocol.yaml").write_text(text)
    info = site / "tinypaper-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tinypaper\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(
        textwrap.dedent("""\
        [covid_keras.papers]
        tiny = tinypaper:PAPER
        further = tinypaper:FURTHER
        hooks = tinypaper:HOOKS
        choosing = tinypaper:CHOOSING
        unfreezing = tinypaper:UNFREEZING
        """)
    )
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("PYTHONPATH", str(site))
        monkeypatch.syspath_prepend(str(site))
        yield site
    sys.modules.pop("tinypaper", None)


@pytest.fixture
def tiny_paper(tmp_path) -> Iterator[Path]:
    """The papers, installed; the folder they are in."""
    with installed(tmp_path) as site:
        yield site


def _made(folder: Path, labels: str, classes: tuple[str, ...]) -> Cohort:
    """Two made images a patient; positives are brighter on the left, others on the right."""
    rng, rows = np.random.default_rng(3), []
    for i, label in enumerate(labels):
        image = rng.integers(60, 120, (32, 32)).astype(np.uint8)
        half = slice(16) if label == "P" else slice(16, 32)
        image[:, half] += np.uint8(60 * (label != "N"))
        path = folder / f"{i:02d}.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), image)
        rows.append(
            {
                "image_id": f"made/{i:02d}",
                "path": str(path),
                "patient_id": f"made/{i % 2}-{i // 4}",
                "source": "made",
                "label": {"o": "other"}.get(label, label),
                "severity": "Mild" if label == "P" else "",
            }
        )
    return Cohort(pd.DataFrame(rows), classes, "made")


@pytest.fixture
def tiny_cohort(tmp_path) -> Cohort:
    """24 made images of 12 patients; positives are brighter on one side."""
    return _made(tmp_path / "images", "NP" * 12, ("N", "P"))


@pytest.fixture
def third_cohort(tmp_path) -> Cohort:
    """The same, and 12 images of 6 patients of a third class, which nothing is scored on."""
    return _made(tmp_path / "images", "NP" * 12 + "o" * 12, ("N", "P", "other"))


@pytest.fixture
def uneven_cohort(tmp_path) -> Cohort:
    """44 made images of 24 patients: 22 N, 10 P, 12 of a third class."""
    return _made(tmp_path / "images", UNEVEN, ("N", "P", "other"))


UNEVEN = "NP" * 10 + "N" * 12 + "o" * 12


def _open(folder: Path, name: str, paper: str, cohort: Cohort, left_out=None, **changes):
    """Open the run folder `name` of a paper on a cohort."""
    from covid_keras.paper.registered import load_paper
    from covid_keras.training.runfolder import RunFolder

    protocol = load_paper(paper).protocol("smoke", changes)
    settings = {"cache": str(folder / "cache"), "strategy": "one", "precision": "float32", "left_out": left_out or {}}
    no_pairs = pd.DataFrame(columns=list(PAIR_COLUMNS))

    def splits() -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
        names = ("", *protocol.splits)
        return {one: divide(cohort, protocol.split_of(one), no_pairs) for one in names}, no_pairs

    return RunFolder.create(folder / name, protocol, cohort, splits, settings)


@pytest.fixture
def make_run(tmp_path, tiny_paper, tiny_cohort):
    """Return a function that opens a run folder of the tiny paper, or of the one and on the cohort given."""

    def make(name: str, paper: str = "tiny", cohort: Cohort = tiny_cohort, left_out=None, **changes):
        return _open(tmp_path, name, paper, cohort, left_out, **changes)

    return make


EXECUTE_ALL = """
import os
import sys
from covid_keras.training.execution import execute
from covid_keras.paper.registered import load_paper
from covid_keras.training.runfolder import RunFolder
whole, stopped = (RunFolder.open(path) for path in sys.argv[1:])
paper = load_paper("hooks")
for execution in whole.executions():
    execute(paper, whole, execution)
os.environ["TINY_STOP"] = "2"
execution = stopped.execution("sigmoid", 0, 0)
try:
    execute(paper, stopped, execution)
except KeyboardInterrupt:
    assert (execution.folder / "state.npz").is_file() and not execution.done
    print("stopped")
del os.environ["TINY_STOP"]
execute(paper, stopped, execution)
"""


class Executed(NamedTuple):
    """Two runs of the paper `hooks`: one of several systems; one whose training `sigmoid` was stopped and resumed."""

    whole: object
    stopped: object
    said: str


@pytest.fixture(scope="module")
def executed(tmp_path_factory) -> Iterator[Executed]:
    """Train some systems of `hooks`, all in one process that starts TensorFlow once."""
    folder = tmp_path_factory.mktemp("executed")
    with installed(folder):
        cohort = _made(folder / "images", UNEVEN, ("N", "P", "other"))
        changes = {"training": {"epochs": 3, "repeats": 1}, "trainings": {"ignored": {"class_weights": "ignored"}}}
        names = ["a", "ignored", "product", "elsewhere", "ill"]
        runs = [_open(folder, name, "hooks", cohort, systems=names, **changes) for name in ("whole", "stopped")]
        command = [sys.executable, "-c", EXECUTE_ALL, *(str(run.path) for run in runs)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        yield Executed(*runs, done.stdout)


CHOOSE_ALL = """
import sys
from covid_keras.training.execution import execute
from covid_keras.paper.registered import load_paper
from covid_keras.training.runfolder import RunFolder
run = RunFolder.open(sys.argv[1])
for execution in run.executions():
    execute(load_paper("choosing"), run, execution)
"""


class Chosen(NamedTuple):
    """A run of the paper `choosing`, all trained, and the folder in which its systems noted what they saw."""

    run: object
    saw: Path


@pytest.fixture(scope="module")
def chosen(tmp_path_factory) -> Iterator[Chosen]:
    """Train the systems of `choosing` in one process; of two to choose from, `second` and `next` learn the more."""
    folder = tmp_path_factory.mktemp("chosen")
    with installed(folder), pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("TINY_SAW", str(folder))
        cohort = _made(folder / "images", "NP" * 24, ("N", "P"))
        poor = {"epochs": 1, "optimizer": {"learning_rate": 1e-6}}
        run = _open(
            folder, "run", "choosing", cohort, systems=["best", "apart"],
            split={"scheme": "hold_out", "folds": 1, "test": 0.3, "validation": 0.3},
            training={"epochs": 6, "augmentation": {"rotation": 0.0, "flip": False}},
            trainings={"first": poor, "other": poor, "apart": poor}, quick_start=True,
        )  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", CHOOSE_ALL, str(run.path)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        yield Chosen(run, folder)


UNFREEZE_ALL = """
import os
import sys
import tensorflow as tf
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0],
                                           [tf.config.LogicalDeviceConfiguration()] * 2)
from covid_keras.training import resume
from covid_keras.training.execution import execute
from covid_keras.paper.registered import load_paper
from covid_keras.training.runfolder import RunFolder
whole, mirrored, *others = (RunFolder.open(path) for path in sys.argv[1:])
mirrored.record["settings"]["strategy"] = "mirrored"
paper = load_paper("unfreezing")
for run in (whole, mirrored):
    for execution in run.executions():
        execute(paper, run, execution)
del os.environ["TINY_SAW"]
write = resume.ResumableTraining._write_state
def torn(self):
    if self.stage and self.best_epoch == self.stage_start == len(self.history) - 1:
        raise KeyboardInterrupt  # the weights of a stage's first epoch are written, its state is not
    write(self)
for run, (epoch, share) in zip(others, (("4", 0.0), ("7", 1e9), ("99", 0.0))):
    resume.WRITE_SHARE = share
    os.environ["TINY_STOP"] = epoch
    resume.ResumableTraining._write_state = torn if epoch == "99" else write
    execution = run.execution("staged", 0, 0)
    try:
        execute(paper, run, execution)
    except KeyboardInterrupt:
        tracker = resume.ResumableTraining(execution.folder, "val_loss", 1)
        print(run.path.name, "stopped in", tracker.stage_reached() if not execution.done else "the end")
    del os.environ["TINY_STOP"]
    resume.ResumableTraining._write_state = write
    execute(paper, run, execution)
"""


class Unfrozen(NamedTuple):
    """Runs of the paper `unfreezing`.

    One of all systems, one of `still` on two devices, three whose training `staged` was stopped and resumed.
    """

    whole: object
    mirrored: object
    often: object
    seldom: object
    torn: object
    saw: Path
    said: str


@pytest.fixture(scope="module")
def unfrozen(tmp_path_factory) -> Iterator[Unfrozen]:
    """Train in one process: `staged` in epochs 0, 1-2, 3-5, 6-8; the later stages of `idle` learn nothing."""
    folder = tmp_path_factory.mktemp("unfrozen")
    with installed(folder), pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("TINY_SAW", str(folder))
        cohort = _made(folder / "images", "NP" * 16, ("N", "P"))
        unfreeze = {"epochs": 3, "patience": 3, "learning_rate": 0.01, "scratch": 1, "scratch_rate": 0.02}
        idle = {"epochs": 4, "patience": 2, "learning_rate": 1e-30, "scratch": 0}
        still = {
            "epochs": 1,
            "optimizer": {"name": "sgd", "learning_rate": 0.2},
            "unfreeze": {"epochs": 1, "learning_rate": 0.2, "scratch": 0},
        }
        changes = {
            "split": {"scheme": "hold_out", "folds": 1, "test": 0.3, "validation": 0.3},
            "training": {
                "epochs": 2,
                "monitor": "val_loss",
                "optimizer": {"name": "adam", "learning_rate": 0.03},
                "augmentation": {"rotation": 0.0, "flip": False},
                "unfreeze": unfreeze,
            },
            "trainings": {"idle": {"epochs": 3, "unfreeze": idle}, "still": still},
            "quick_start": True,
        }
        systems = (["mean", "vote", "still"], ["still"], ["staged"], ["staged"], ["staged"])
        names = ("whole", "mirrored", "often", "seldom", "torn")
        runs = [
            _open(folder, name, "unfreezing", cohort, systems=some, **changes)
            for name, some in zip(names, systems, strict=True)
        ]
        command = [sys.executable, "-c", UNFREEZE_ALL, *(str(run.path) for run in runs)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        yield Unfrozen(*runs, folder, done.stdout)
