"""Runs of a paper of a few lines, finished without training: predictions at random, for what reports make of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from covid_keras.common.files import read_record, sha256_of, write_record
from covid_keras.common.provenance import provenance
from covid_keras.data.cohort import Cohort
from covid_keras.data.duplicates import PAIR_COLUMNS
from covid_keras.data.preparation import Preparation
from covid_keras.evaluation import write_predictions
from covid_keras.paper import registered
from covid_keras.paper.paper import Paper
from covid_keras.paper.system import System
from covid_keras.paper.systems import Trained
from covid_keras.training.division import divide
from covid_keras.training.executions import Execution
from covid_keras.training.runfolder import RunFolder

PROTOCOL = """
paper: tiny
evidence:
  - {systems: ["*"], images: {hospital: 24}}
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
  weights: none
  tolerance: 1.0
profiles:
  smoke: {}
"""
PUBLISHED = """
paper: {title: Tiny, authors: [N. Obody], journal: None, year: "2026", doi: 10.0/0, citation: "N. Obody, 2026"}
tables:
  - table: V
    title: Two rows
    unit: percent
    columns: [{name: Acc, metric: accuracy}, {name: Sens, metric: sensitivity}]
    rows:
      - {row: A of the paper, system: a, values: ["75.00 ± 2.00", "80.00"]}
      - {row: B of the paper, system: b, values: ["50.00", "-"], cells: {Acc: {doubt: Seems to be a slip.}}}
"""


def build(protocol, classes):
    """A network of one convolution."""
    import keras
    from keras import layers

    inputs = keras.Input((*protocol.size, 1))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(inputs))
    return keras.Model(inputs, layers.Dense(len(classes), activation="softmax")(x))


def whole(protocol):
    """The whole image."""
    return Preparation(size=protocol.size)


A = Trained("a", "A", whole, classes=("N", "P"), channels=1, build=build)
B = dataclasses.replace(A, name="b", title="B")
ILL = dataclasses.replace(A, name="ill", title="Ill", classes=("N", "ill"), relabel={"other": "ill"})


class MadePaper:
    """The paper, registered as long as a test runs; `paper` may be replaced.

    Parameters
    ----------
    folder : Path
        Where its files, its runs and their images go.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        own = folder / "papers" / "tiny"
        own.mkdir(parents=True)
        (own / "protocol.yaml").write_text(PROTOCOL, encoding="utf-8")
        self.published = own / "published.yaml"
        self.published.write_text(PUBLISHED, encoding="utf-8")
        named = {"name": "tiny", "aliases": ("nobody",), "title": "Tiny", "citation": "N. Obody, 2026", "doi": "10.0/0"}
        self.paper = Paper(**named, folder=own, systems=(A, B, ILL), positive="P")
        entry = SimpleNamespace(name="tiny", load=lambda: self.paper)
        monkeypatch.setattr(registered, "entry_points", lambda group: [entry])

    def measured_on(self, images: dict[str, int], **more: str) -> None:
        """Let the paper's numbers be those of these images, by collection; those made here are of "made"."""
        path = self.paper.protocol_path
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        document["evidence"] = [{"systems": ["*"], "images": images} | more]
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        self.paper = dataclasses.replace(self.paper)

    def change_systems(self, **changes: dict[str, Any]) -> None:
        """Replace fields of systems, by name; a `System` in place of fields is the system from now on."""
        systems = [
            change if isinstance(change := changes.get(one.name, {}), System) else dataclasses.replace(one, **change)
            for one in self.paper.systems
        ]
        self.paper = dataclasses.replace(self.paper, systems=tuple(systems))

    def cohort(self, labels: str = "NP" * 12) -> Cohort:
        """Made images, two per patient, of the classes N, P and o ("other"); each P is mild."""
        rng, rows, folder = np.random.default_rng(3), [], self.folder / "images"
        folder.mkdir(exist_ok=True)
        for i, label in enumerate(labels):
            image = rng.integers(60, 120, (32, 32)).astype(np.uint8)
            image[:, : 16 * (label == "P")] += np.uint8(60)
            cv2.imwrite(str(folder / f"{i:02d}.png"), image)
            rows.append(
                {
                    "image_id": f"made/{i:02d}",
                    "path": str(folder / f"{i:02d}.png"),
                    "patient_id": f"made/{i % 2}-{i // 4}",
                    "source": "made",
                    "label": {"o": "other"}.get(label, label),
                    "severity": "Mild" if label == "P" else "",
                }
            )
        classes = ("N", "P", "other") if "o" in labels else ("N", "P")
        return Cohort(pd.DataFrame(rows), classes, "made")

    def run(self, name: str = "run", cohort: Cohort | None = None, left_out=None, **changes) -> RunFolder:
        """Open the run folder `name`, of which nothing is trained; `changes` are of the protocol."""
        protocol, cohort = self.paper.protocol("smoke", changes), cohort or self.cohort()
        settings = {"cache": str(self.folder / "cache"), "strategy": "one", "precision": "float32"}
        no_pairs = pd.DataFrame(columns=list(PAIR_COLUMNS))

        def splits() -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
            return {"": divide(cohort, protocol.split_of(""), no_pairs)}, no_pairs

        settings["left_out"] = left_out or {}
        return RunFolder.create(self.folder / name, protocol, cohort, splits, settings)

    def finished(self, name: str = "run", keep: slice = slice(None), seed: int = 0, **changes) -> RunFolder:
        """Return such a run with executions as a training leaves them, all or the first few."""
        run = self.run(name, **changes)
        for execution in run.executions()[keep]:
            finish(execution, seed)
        return run


def predicted(execution: Execution, seed: int, right: Mapping[str, float] | None = None) -> pd.DataFrame:
    """Made predictions: scores at random, on the second class' side for images of that class.

    With `right`, label -> share, that share of each part's images of a label is right, and no others.
    """
    first, second = execution.scored
    rng = np.random.default_rng([seed + ord(execution.system.name[0]), execution.repeat, execution.fold])
    table, part = execution.system.labelled(execution.cohort).table, execution.part
    rows = np.flatnonzero(np.isin(part, execution.system.parts) & table["label"].isin((first, second)))
    table = table.iloc[rows]
    score = np.clip(rng.normal(np.where(table["label"] == second, 0.6, 0.4), 0.2), 0, 1).astype(np.float32)
    if right:
        groups = pd.DataFrame({"label": table["label"].to_numpy(), "part": part[rows]}).groupby(["label", "part"])
        rank = groups.cumcount().to_numpy() / groups["label"].transform("size").to_numpy()
        found = rank < table["label"].map(right).to_numpy() - 1e-9
        score = np.where(found == (table["label"] == second).to_numpy(), 0.9, 0.1).astype(np.float32)
    frame = table[["image_id", "path", "patient_id", "source", "severity", "label"]].reset_index(drop=True)
    names = {"system": execution.system.name, "repeat": execution.repeat, "fold": execution.fold}
    scores = {f"score_{first}": 1 - score, f"score_{second}": score}
    return frame.assign(**names, split=part[rows], predicted=np.where(score >= 0.5, second, first), **scores)


def finish(execution: Execution, seed: int = 0, right: Mapping[str, float] | None = None) -> None:
    """Leave an execution as a training leaves it, without training."""
    execution.folder.mkdir(parents=True)
    write_predictions(execution.predictions, predicted(execution, seed, right))
    epochs = 0 if execution.system.origin else 2  # one that was released is not trained
    if epochs:
        history = {"epoch": [0, 1], "loss": [0.7, 0.6], "accuracy": [0.5, 0.6]}
        history |= {"val_loss": [0.7, 0.65], "val_accuracy": [0.5, 0.7]}
        pd.DataFrame(history).to_csv(execution.folder / "history.csv", index=False)
    record = {
        "system": execution.system.name,
        "repeat": execution.repeat,
        "fold": execution.fold,
        "run": execution.run.identity,
        "seed": execution.fold,
        "seconds": 30.0,
        "epochs": epochs,
        "best_epoch": 1,
        "parameters": 50,
        "device": {"gpus": [], "tpus": 0, "replicas": 1},
        "policy": "float32",
        "predictions_sha256": sha256_of(execution.predictions),
    }
    write_record(execution.record, provenance(**record))


def with_changed_file(run: RunFolder, name: str, text: str) -> RunFolder:
    """Return a run as if it had begun with another protocol or cohort."""
    (run.path / name).write_text(text, encoding="utf-8")
    record = read_record(run.path / "run.json", ())
    record["files"][name] = sha256_of(run.path / name)
    write_record(run.path / "run.json", record)
    return RunFolder.open(run.path)


def published_tables(*tables: dict[str, Any]) -> str:
    """The printed numbers with other tables."""
    return yaml.safe_dump(yaml.safe_load(PUBLISHED) | {"tables": list(tables)}, allow_unicode=True)
