"""Time a training step of each network of a run on this device, in seconds, in a process of its own.

A step is traced as in a training and timed with growing batches until it takes long enough; larger batches follow along
a line. Measured speeds are kept in the user's cache. On processors, it runs on one thread, and the thread's processor
time counts, which other programs hardly change: seconds are then those of one core.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from covid_keras.common.errors import UserError
from covid_keras.common.files import cache_folder, fingerprint, mark_cache, read_record, write_record
from covid_keras.common.progress import progress
from covid_keras.common.provenance import git_revision, machine, versions
from covid_keras.common.quiet import import_tensorflow
from covid_keras.common.settings import as_plain, build
from covid_keras.paper.paper import Paper
from covid_keras.paper.protocol import Protocol
from covid_keras.paper.registered import load_paper
from covid_keras.paper.systems import Trained
from covid_keras.training.apart import call_apart
from covid_keras.training.segmenter_runs import SegmentingPaper
from covid_keras.training.workload import Work

if TYPE_CHECKING:
    import keras

LONG, ENDLESS = 1.5, 8.0  # seconds of a step from which on batches do not grow; even if it is the first
ROUNDS = 2
_EVALUATION = 1.5  # tracing the evaluation too, as a multiple of tracing the step
_SHARE = 0.3  # smallest share of a step that grows with the batch; less is noise of the clock


@dataclass(frozen=True)
class Speed:
    """What the training of a network takes on this device.

    Attributes
    ----------
    start, step : float
        Seconds before the first step, and per step independent of its images.
    image, forward : float
        Seconds per image with all layers trained, and without backward pass.
    shares : tuple of float
        Share of the backward pass that each stage of the training needs.
    memory, per_image : int
        Bytes of the training on its device, and those that each image of a batch adds.
    weights, state : int
        Bytes of the weights, and of weights with the optimiser's variables.
    """

    start: float
    step: float
    image: float
    forward: float
    shares: tuple[float, ...]
    memory: int
    per_image: int
    weights: int
    state: int

    def seconds(self, work: Work) -> float:
        """Return the seconds of one training, all its epochs included."""
        total = 0.0
        for epochs, share in zip(work.stages, self.shares, strict=True):
            image = self.forward + share * max(0.0, self.image - self.forward)
            total += epochs * (work.images * image + work.steps * self.step + work.validation * self.forward)
            total += self.start if epochs else 0.0
        return total


@dataclass(frozen=True)
class Calibration:
    """How fast a device trains the networks of a run.

    Attributes
    ----------
    speeds : dict
        System or segmenter -> `Speed`.
    device : str
        The device, in words.
    memory : int
        Its memory in bytes; 0 if unknown.
    per_core : bool
        Whether the speeds are those of one core.
    seconds : float
        What the calibration took.
    """

    speeds: dict[str, Speed]
    device: str
    memory: int
    per_core: bool
    seconds: float


@dataclass(frozen=True)
class KeptSpeeds:
    """Calibrations in the user's cache, under a key and the conditions; what is unreadable there is measured again."""

    conditions: tuple[Any, ...]

    def _file(self, key: Any) -> Path:
        return cache_folder() / "speeds" / f"{fingerprint((self.conditions, key))}.json"

    def get(self, key: Any) -> Calibration | None:
        """Return the calibration that was kept under a key; None if there is none, or a damaged one."""
        try:
            return build(Calibration, read_record(self._file(key), ("speeds",)), self._file(key))
        except UserError:
            return None

    def put(self, key: Any, calibration: Calibration) -> None:
        """Keep a calibration, unless the cache cannot be written."""
        with suppress(UserError):
            mark_cache(cache_folder() / "speeds")
            write_record(self._file(key), as_plain(calibration))


def calibrate(protocol: Protocol, names: Sequence[str], precision: str = "float32") -> Calibration:
    """Time the named systems and segmenters in a process that leaves the device; a plan that was timed is read back."""
    started, revision = time.monotonic(), git_revision()
    gpus = sorted(one.name for one in Path("/proc/driver/nvidia/gpus").glob("*"))
    gpus.append(os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    kept = KeptSpeeds((machine(), gpus, versions(), precision, protocol.quick_start))
    key = (revision, protocol.paper, as_plain(protocol), list(names))
    found = None if revision.endswith("+changes") else kept.get(key)
    if found is None or not set(names) <= set(found.speeds):
        found = call_apart("timing networks", _calibrate, protocol, tuple(names), precision, kept)
        kept.put(key, found)
    return replace(found, seconds=time.monotonic() - started)


def _calibrate(protocol: Protocol, names: Sequence[str], precision: str, kept: KeptSpeeds) -> Calibration:
    os.environ |= {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import_tensorflow()
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # each network is traced anew, of which it warns
    from covid_keras.training.devices import describe_device, set_graph_optimizer, set_precision

    gpus, here = describe_device()["gpus"], machine()
    set_precision(precision)
    set_graph_optimizer(protocol.quick_start)
    device = ", ".join(map(str, gpus)) or f"{here['cores']} CPU cores, {here['processor']}"
    memory = _gpu_memory() if gpus else psutil.virtual_memory().total
    calibration = Calibration({}, device, memory, not gpus, 0.0)
    timer, paper = _Timer(time.perf_counter if gpus else time.process_time), load_paper(protocol.paper)
    for name, subject in progress(_subjects(paper, protocol, names), "timing networks", len(names), "network"):
        if known := kept.get(subject.key):
            timer.known[subject.key] = next(iter(known.speeds.values()))
        calibration.speeds[name] = speed = timer.speed(subject)
        kept.put(subject.key, replace(calibration, speeds={name: speed}))
    return calibration


def _gpu_memory() -> int:
    from tensorflow.python.client import device_lib

    return min((one.memory_limit for one in device_lib.list_local_devices() if one.device_type == "GPU"), default=0)


@dataclass(frozen=True, eq=False)
class Subject:
    """A compiled network to be timed.

    Attributes
    ----------
    model : keras.Model
    passes : list of (keras.Model, int)
        See `covid_keras.models.costs.training_memory`.
    target : tuple of int
        Shape of one image's target.
    batch, piece : int
        Images per step, and of the parts that a step processes one by one (0: whole).
    shares : tuple of float
        See `Speed`.
    augment : callable, optional
        Augments a batch of images; it runs on the processors, so its time counts there only.
    """

    model: keras.Model
    passes: list[tuple[keras.Model, int]]
    target: tuple[int, ...]
    batch: int
    piece: int = 0
    shares: tuple[float, ...] = (1.0,)
    augment: Callable[[Any], Any] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image."""
        return tuple(self.passes[0][0].input_shape[1:])

    @property
    def key(self) -> tuple[Any, ...]:
        """What decides on the speed: shapes and trained layers of all but the output, batch and optimiser."""
        layers = (
            (
                type(layer).__name__,
                str([layer.output.shape, [w.shape for w in layer.weights]]),
                bool(layer.trainable_weights),
            )
            for network, _ in self.passes
            for layer in network.layers[:-1]
        )
        kinds = (type(self.model).__name__, type(self.model.optimizer).__name__)
        return (self.batch, self.piece, *kinds, self.shares, self.augment is None, *layers)


def _subjects(paper: Paper, protocol: Protocol, names: Sequence[str]) -> Iterator[tuple[str, Subject]]:
    """Yield name and network of each, one at a time; a network is released before the next is built."""
    import keras

    for name in names:
        system = paper.system(name)
        keras.utils.clear_session()
        if isinstance(system, Trained):
            yield name, _of_system(paper, protocol, system)
        elif isinstance(paper, SegmentingPaper):
            yield name, _of_segmenter(paper, protocol, name)


def _of_system(paper: Paper, protocol: Protocol, system: Trained) -> Subject:
    import numpy as np

    from covid_keras.data.augment import Augmentation, augment_batch

    classes, training = system.classes or paper.scored or ("0", "1"), system.training(protocol)
    model = system.untrained(protocol, classes)
    passes, stages = system.step_passes(model), system.stages(protocol)
    shares = backward_shares(model, system.groups, stages) if len(stages) > 1 else (1.0,)
    system.compile(model, training, protocol, np.ones(len(classes), int))
    _build_optimizer(model)
    outputs = getattr(model, "outputs", None)
    moved = Augmentation(**as_plain(training.augmentation))

    def augment(images: Any) -> Any:
        return augment_batch(images, np.arange(len(images)), 0, 0, moved)

    target = tuple(outputs[0].shape[1:]) if outputs else (len(classes),)
    batch = training.batch_size
    piece = protocol.at_a_time(batch) % batch  # 0: whole
    return Subject(model, passes, target, batch, piece, shares, augment if moved.moves else None)


def _of_segmenter(paper: SegmentingPaper, protocol: Protocol, name: str) -> Subject:
    import keras

    kind, settings = paper.segmenters.kind(name), paper.segmenters.settings(protocol)[name]
    model, (loss, metrics) = kind.network(settings), kind.losses()
    model.compile(keras.optimizers.Adam(settings.learning_rate), loss, metrics=metrics, jit_compile=False)
    _build_optimizer(model)
    batch, target = settings.batch_size, (settings.size, settings.size, 2)
    return Subject(model, [(model, 1)], target, batch, protocol.at_a_time(batch) % batch)


def _build_optimizer(model: keras.Model) -> None:
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)


def backward_shares(model: keras.Model, groups: Any, stages: Sequence[Any]) -> tuple[float, ...]:
    """Return the share of the backward pass that each stage of a training needs, by operations of the layers above.

    Leaves all layers trainable.
    """
    import numpy as np

    from covid_keras.paper.unfreezing import open_stage

    cost = [
        float(np.prod(layer.kernel.shape) * np.prod(layer.output.shape[1:-1])) if hasattr(layer, "kernel") else 0.0
        for layer in model.layers
    ]
    shares = []
    for stage in stages:
        open_stage(model, groups, stage)
        first = next(i for i, layer in enumerate(model.layers) if layer.trainable_weights)
        shares.append(sum(cost[first:]) / sum(cost))
    for layer in model.layers:
        layer.trainable = True
    return tuple(shares)


class _Timer:
    """Times networks; those of the same layers once."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.known: dict[tuple[Any, ...], Speed] = {}

    def speed(self, subject: Subject) -> Speed:
        """Return the speed of a network, measured unless it is known."""
        if subject.key not in self.known:
            self.known[subject.key] = self._measured(subject)
        return self.known[subject.key]

    def _measured(self, subject: Subject) -> Speed:
        from covid_keras.models.costs import optimizer_bytes, training_memory

        model = subject.model

        def memory(images: int) -> int:
            return training_memory(model, images, subject.passes, subject.piece > 0)

        start, steps = self._steps(subject)
        step, image = fitted(steps)
        forward, augmenting = self._per_image(subject, steps[-1][0])
        weights = sum(network.count_params() for network, _ in subject.passes) * 4
        return Speed(
            start=_EVALUATION * start,
            step=step,
            image=image + augmenting,
            forward=forward,
            shares=subject.shares,
            memory=memory(subject.piece or subject.batch),
            per_image=memory(2) - memory(1),
            weights=weights,
            state=weights + optimizer_bytes(model),
        )

    def _steps(self, subject: Subject) -> tuple[float, list[tuple[int, float]]]:
        """Return the seconds of tracing, and (images, seconds) of steps with growing batches."""
        import tensorflow as tf

        specs = [tf.TensorSpec((None, *one), tf.float32) for one in (subject.shape, subject.target)]
        run = tf.function(lambda *batch: subject.model.train_step(batch), input_signature=specs)
        start, _ = self._timed(run.get_concrete_function)
        steps: list[tuple[int, float]] = []
        batch = 1
        while True:
            data = [tf.random.uniform((batch, *one)) for one in (subject.shape, subject.target)]
            try:
                self._timed(lambda data=data: run(*data))  # prepares
                steps.append((batch, self._best(lambda data=data: run(*data))))
            except tf.errors.ResourceExhaustedError:
                if not steps:
                    raise
                return start, steps
            if batch >= subject.batch or steps[-1][1] >= (LONG if len(steps) > 1 else ENDLESS):
                return start, steps
            batch = min(max(2 * batch, int(batch * LONG / steps[-1][1])), subject.batch)

    def _best(self, run: Callable[[], Any]) -> float:
        """Return the smallest of a few times; a long run is not repeated."""
        times: list[float] = []
        while len(times) < ROUNDS and min(times, default=0.0) < LONG:
            times.append(self._timed(run)[0])
        return min(times)

    def _timed(self, run: Callable[[], Any]) -> tuple[float, Any]:
        """Run a function, and wait for its results; return the seconds and the results."""
        import tensorflow as tf

        begun = self.clock()
        result = run()
        for one in tf.nest.flatten(result) if isinstance(result, dict | tf.Tensor) else ():
            one.numpy()
        return self.clock() - begun, result

    def _per_image(self, subject: Subject, batch: int) -> tuple[float, float]:
        """Return the seconds per image of a pass without gradients, and of the augmentation if processors train."""
        import tensorflow as tf

        images = tf.random.uniform((batch, *subject.shape))
        specs = [tf.TensorSpec((None, *subject.shape), tf.float32)]
        forward = tf.function(lambda images: subject.model(images, training=False), input_signature=specs)
        self._timed(lambda: forward(images))
        seconds = self._best(lambda: forward(images)) / batch
        if subject.augment is None or self.clock is not time.process_time:
            return seconds, 0.0
        augment = tf.function(subject.augment)
        augment(images)
        return seconds, self._best(lambda: augment(images)) / batch


def fitted(steps: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Return the seconds per step and per image that explain the last two of some (images, seconds).

    >>> fitted([(1, 0.3), (2, 0.5), (4, 0.9)])
    (0.1, 0.2)
    """
    images, seconds = steps[-1]
    if len(steps) == 1:
        return 0.0, seconds / images
    fewer, before = steps[-2]
    image = min(max((seconds - before) / (images - fewer), _SHARE * seconds / images), seconds / images)
    return round(seconds - image * images, 9), round(image, 9)
