"""Apply a network trained by `covid-keras reproduce` to the user's radiographs.

How a radiograph is prepared, what the network is fed and how its outputs become a decision are the system's own
methods, as in training: systems of every kind answer, those made of several networks too.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.common.files import expanded, sha256_of
from covid_keras.common.quiet import import_tensorflow
from covid_keras.data.cohort import Cohort
from covid_keras.data.prepared_images import PreparedImages, prepare_image
from covid_keras.data.store import Store
from covid_keras.evaluation.decisions import DECISION_THRESHOLD
from covid_keras.inference.network import RegisteredNetwork
from covid_keras.models.registry import WeightEntry
from covid_keras.paper.systems import Trained, merit
from covid_keras.training.executions import Execution
from covid_keras.training.kept import lost_weights
from covid_keras.training.runfolder import RECORD, RunFolder

if TYPE_CHECKING:
    from covid_keras.models.lungs import LungSegmenter

_WRITTEN = "RUN:SYSTEM or RUN:SYSTEM:repeat0-fold0"


def find_run_network(text: str) -> RunNetwork:
    """Return the network that `predict --run` names, not yet loaded.

    Parameters
    ----------
    text : str
        "RUN:SYSTEM" or "RUN:SYSTEM:EXECUTION": a run folder, one of its systems and, as its folder is called, one of
        its executions ("repeat0-fold2"). Without one, that which is best on its validation part: right most often; of
        equals the one with the smaller cross-entropy, of those the first.

    Raises
    ------
    UserError
        Where there is no such run, system or finished execution, or its weights were not kept.
    """
    path, system, execution = _parts(text)
    run = RunFolder.open(path)
    if not system:
        raise UserError(f"--run {text}", "names no system", f"Give {_WRITTEN}: {', '.join(run.protocol.systems)}")
    run.paper.system(system)
    if system not in run.protocol.systems:
        raise UserError(f"--run {text}", f"{system} is not in this run", f"It has {', '.join(run.protocol.systems)}")
    done = [one for one in run.executions() if one.system.name == system and one.ended]
    if not done:
        raise UserError(f"--run {text}", "has no finished execution", f"Let covid-keras reproduce finish {path}")
    if not execution:
        kept = [one for one in done if not lost_weights(one)] or done
        chosen = max(kept, key=_goodness)
        why = f"the best of {len(kept)} on validation" if len(kept) > 1 else "the only one"
    else:
        named = {one.folder.name: one for one in done}
        if execution not in named:
            raise UserError(
                f"--run {text}", f"has no finished execution {execution}", f"Choose from {', '.join(named)}"
            )
        chosen, why = named[execution], "as asked"
    for one in (*chosen.chain, chosen):
        if isinstance(one.system, Trained) and not one.weights.is_file():
            problem = f"keeps no weights of {one.name} ({one.weights.relative_to(run.path)} is missing)"
            remedy = f"Copy it from where it was trained, or remove {one.folder} and run covid-keras reproduce again"
            raise UserError(run.path, problem, remedy)
    return RunNetwork(chosen, why)


def _parts(text: str) -> tuple[Path, str, str]:
    """Split the argument; a folder name may contain colons."""
    for count in (2, 1, 0):
        path, *names = text.rsplit(":", count)
        if len(names) == count and (expanded(path) / RECORD).is_file():
            return expanded(path), *([*names, "", ""])[:2]
    path, *names = re.split(r":(?![\\/])", text)  # that of a Windows drive aside
    return expanded(path), *([*names, "", ""])[:2]


def _goodness(execution: Execution) -> tuple[float, float]:
    """Return the merit of an execution on the part that chose its epoch."""
    if (execution.predicted["split"] == "validation").any():
        return merit(execution)
    history, monitor = execution.history, execution.training.monitor
    if history is None:
        return 0.0, 0.0
    return (-history[monitor].min() if monitor.endswith("loss") else history[monitor].max()), 0.0


class RunNetwork(RegisteredNetwork):
    """The network of a finished execution.

    Parameters
    ----------
    execution : Execution
    why : str
        Why this one of its system's executions, in words.

    Raises
    ------
    UserError
        Where the system has no network of its own.
    """

    def __init__(self, execution: Execution, why: str) -> None:
        self.execution, self.why = execution, why
        super().__init__(_entry(execution, why), execution.preparation)

    @property
    def chosen(self) -> str:
        """The execution in use, as one line."""
        return f"{self.entry.title} ({self.why})"

    def load(self) -> Self:
        """Load the best weights of the execution, and of those that it builds on; raise `UserError` if unusable."""
        import_tensorflow()
        model = self.execution.network
        if model is None:
            system = self.execution.system
            raise UserError(
                system.name, "has no network of its own", f"Name one of its members: {', '.join(system.below)}"
            )
        self.model = model
        self.segmenter = _segmenter(self.execution)
        return self

    def lungs(self, images: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return masks as made in the run; the given ones if it needed none."""
        return list(masks) if self.segmenter is None else self.segmenter.masks(images)

    def network_input(
        self, images: Sequence[np.ndarray | str | Path], masks: Sequence[np.ndarray | None]
    ) -> np.ndarray:
        """Return the scaled network input, float32 (n, views, H, W, C)."""
        from covid_keras.data.pipeline import make_dataset

        execution, system = self.execution, self.execution.system
        with tempfile.TemporaryDirectory() as folder:
            store, names = Store(Path(folder)), [f"{number:08d}" for number in range(len(images))]
            for name, image, mask in zip(names, images, masks, strict=True):
                store.put(name, prepare_image(image, mask, self.preparation))
            prepared = PreparedImages(Path(folder), tuple(names), tuple(names), self.preparation.shape)
            # The label is nobody's: nothing that the network is fed depends on it.
            table = {
                "image_id": names,
                "path": names,
                "patient_id": names,
                "source": "own",
                "label": execution.scored[0],
            }
            cohort = Cohort(pd.DataFrame(table), execution.cohort.classes)
            fed = system.feed(execution, cohort, np.full(len(names), "test", object), prepared).prepared
            batches = make_dataset(fed, np.arange(len(fed)), scaling=system.scaling, channels=system.channels)
            found = np.concatenate([batch.numpy() for batch in batches])
        return found.reshape(len(images), -1, *found.shape[1:])

    def probabilities(self, fed: np.ndarray) -> np.ndarray:
        """Return the score of each class, float64 (n, classes), summing to 1, of what `network_input` returns."""
        outputs = np.asarray(self.model.predict_on_batch(fed.reshape(-1, *fed.shape[2:])))
        if not np.isfinite(outputs).all():
            raise UserError(self.entry.name, "gave scores that are not finite", "Train it again")
        return self.execution.system.decide(outputs.reshape(*fed.shape[:2], -1), self.entry.classes)[1]

    def heat(self, fed: np.ndarray, decided: Sequence[int]) -> list[np.ndarray]:
        """Return one Grad-CAM map per image, float32 0..1, for the predicted class."""
        from covid_keras.explain import grad_cam

        system, found = self.execution.system, {}
        for index in dict.fromkeys(decided):
            rows = np.flatnonzero(np.asarray(decided) == index)
            name = self.entry.classes[index]
            network, images, output = system.evidence(self.model, fed[rows], name, self.entry.classes)
            maps = grad_cam(network, images, [output] * len(rows), system.heat_layer or None)
            found |= dict(zip(rows.tolist(), maps, strict=True))
        return [found[row] for row in range(len(fed))]


def _entry(execution: Execution, why: str) -> WeightEntry:
    """Return the network as a registry entry."""
    run, system, preparation = execution.run, execution.system, execution.preparation
    weights = execution.weights
    is_kept = weights.is_file()
    return WeightEntry(
        name=f"{run.path.name}:{system.name}:{execution.folder.name}",
        file=str(weights),
        title=f"{system.title}, {execution.folder.name} of {run.path}",
        origin=f"trained by {run.path}",
        licence="",
        bytes=weights.stat().st_size if is_kept else 0,
        ships=False,
        input_shape=(*preparation.size, system.channels),
        input_range="as its system scales it",
        classes=execution.scored,
        sha256=sha256_of(weights) if is_kept else "",
        threshold=DECISION_THRESHOLD,
        limits=f"anything beyond the data it was trained on, profile {run.protocol.profile}",
    )


def _segmenter(execution: Execution) -> LungSegmenter | None:
    """Return what marked the lungs of the run, None if unused; raise `UserError` if it has changed."""
    if not execution.preparation.needs_mask:
        return None
    from covid_keras.models.lungs import LungSegmenter

    run = execution.run
    segmenter = run.paper.kept_segmenter(run.protocol, run.cache.parent) or LungSegmenter(lungs=run.protocol.lungs)
    recorded = run.record["identity"]["lungs"]
    if recorded and (segmenter.entry.sha256, segmenter.threshold) != (
        recorded.get("weights_sha256"),
        recorded.get("threshold"),
    ):
        problem = "marked its lungs by another network, or at another threshold, than the one that is here"
        raise UserError(run.path, problem, "Use the version of covid_keras that trained it (see run.json)")
    return segmenter
