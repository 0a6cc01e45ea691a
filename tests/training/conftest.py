"""A paper of three lines, registered as any fifth paper would be: by an entry point, without touching the core."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from covid_keras.data.cohort import Cohort
from covid_keras.data.duplicates import PAIR_COLUMNS
from covid_keras.data.splits import patient_folds

MODULE = """
from pathlib import Path
from covid_keras.data.preparation import Preparation
from covid_keras.training.experiment import Paper, System

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


@pytest.fixture
def tiny_paper(tmp_path, monkeypatch) -> Path:
    """Install the paper into a folder of its own, for this process and for those it starts; return the folder."""
    site = tmp_path / "site"
    package = site / "tinypaper"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(MODULE)
    (package / "protocol.yaml").write_text(PROTOCOL)
    info = site / "tinypaper-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tinypaper\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(
        textwrap.dedent("""\
        [covid_keras.papers]
        tiny = tinypaper:PAPER
        """)
    )
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.syspath_prepend(str(site))
    yield site
    sys.modules.pop("tinypaper", None)


@pytest.fixture
def tiny_cohort(tmp_path) -> Cohort:
    """24 made images of 12 patients; positives are brighter on one side."""
    rng, rows = np.random.default_rng(3), []
    for i in range(24):
        label = "NP"[i % 2]
        image = rng.integers(60, 120, (32, 32)).astype(np.uint8)
        image[:, :16] += np.uint8(60 * (label == "P"))
        path = tmp_path / "images" / f"{i:02d}.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), image)
        rows.append(
            {
                "image_id": f"made/{i:02d}",
                "path": str(path),
                "patient_id": f"made/{i % 2}-{i // 4}",
                "source": "made",
                "label": label,
                "severity": "Mild" if label == "P" else "",
            }
        )
    return Cohort(pd.DataFrame(rows), ("N", "P"), "made")


@pytest.fixture
def make_run(tmp_path, tiny_paper, tiny_cohort):
    """Return a function that opens a run folder of the tiny paper."""
    from covid_keras.training.experiment import load_paper
    from covid_keras.training.runfolder import RunFolder

    def make(name: str, **changes) -> RunFolder:
        protocol = load_paper("tiny").protocol("smoke", changes)
        splits = patient_folds(tiny_cohort, protocol.split.folds, protocol.split.repeats, 0, 0.2)
        settings = {"cache": str(tmp_path / "cache"), "strategy": "one", "precision": "float32", "data": ""}
        no_pairs = pd.DataFrame(columns=list(PAIR_COLUMNS))
        return RunFolder.create(tmp_path / name, protocol, tiny_cohort, lambda: (splits, no_pairs), settings)

    return make
