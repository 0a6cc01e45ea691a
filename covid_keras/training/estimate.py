"""What a run takes: hours, device memory and disk, from its work and the speed of its networks on this device."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from covid_keras.paper.paper import Paper
from covid_keras.paper.protocol import Protocol
from covid_keras.paper.system import System
from covid_keras.training.calibration import Calibration, calibrate
from covid_keras.training.workload import Work

GIB = 2**30


@dataclass(frozen=True)
class Estimate:
    """The cost of a run; its trainings are assumed to need all their epochs.

    Attributes
    ----------
    work : tuple of Work
    calibration : Calibration
    disk : int
        Bytes of prepared images, best weights and states.
    """

    work: tuple[Work, ...]
    calibration: Calibration
    disk: int

    def hours(self, work: Work) -> float:
        """Return the hours of the trainings that are left of a system, with all cores at work."""
        seconds = work.left * self.calibration.speeds[work.name].seconds(work)
        return seconds / 3600 / ((os.cpu_count() or 1) if self.calibration.per_core else 1)

    def memory(self, work: Work) -> float:
        """Return the GiB of device memory of one training of a system."""
        return self.calibration.speeds[work.name].memory / GIB

    def lines(self) -> Iterator[str]:
        """Yield a table with a row per system, and the sums."""
        row = "{:44} {:>9} {:>6} {:>8} {:>12} {:>8} {:>7}".format
        yield row("", "trainings", "epochs", "images", "image-epochs", "hours", "GiB")
        for one in self.work:
            counts = (f"{one.left:,}", f"{one.epochs:,}", f"{one.images:,}", f"{one.image_epochs:,}")
            yield row(one.title[:44], *counts, f"{self.hours(one):,.2f}", f"{self.memory(one):.1f}")
        trainings, epochs = sum(one.left for one in self.work), sum(one.left * one.epochs for one in self.work)
        counts = (f"{trainings:,}", f"{epochs:,}", "", f"{sum(one.image_epochs for one in self.work):,}")
        most = max((self.memory(one) for one in self.work), default=0.0)
        yield row("all", *counts, f"{sum(map(self.hours, self.work)):,.1f}", f"{most:.1f}")
        yield (
            f"At most, without early stopping, on {self.calibration.device}; disk {self.disk / GIB:.1f} GiB. "
            f"Calibrated in {self.calibration.seconds:.0f} s."
        )
        if images := self.fitting:
            limit = self.calibration.memory / GIB
            yield f"The device has {limit:.1f} GiB: give --micro-batch {images} (see its help for batch statistics)."

    @property
    def fitting(self) -> int:
        """The images of a batch that every training can process at a time in the device's memory; 0: whole batches."""
        limit, most = self.calibration.memory, []
        for one in self.work:
            speed = self.calibration.speeds[one.name]
            if limit and speed.memory > limit:
                # A step in parts needs one more copy of the gradients.
                fixed = speed.memory - one.batch * speed.per_image + speed.weights
                most.append(2 ** int(np.log2(max(1, (limit - fixed) // speed.per_image))))
        return min(most, default=0)


def estimate(paper: Paper, protocol: Protocol, work: list[Work], images: int, precision: str = "float32") -> Estimate:
    """Calibrate on this device and return the estimate; `images` is the number of images that are prepared."""
    calibration = calibrate(protocol, [one.name for one in work], precision)
    return Estimate(tuple(work), calibration, disk_bytes(paper, protocol, work, calibration, images))


def disk_bytes(paper: Paper, protocol: Protocol, work: list[Work], calibration: Calibration, images: int) -> int:
    """Return the bytes that a run writes: each preparation of the images, best weights, one state at a time."""
    prepared, pairs = {}, 0
    systems = {one.name: paper.system(one.name) for one in work}
    for system in systems.values():
        preparation = system.images(protocol)
        if preparation is None:
            continue
        size = int(np.prod(preparation.shape)) * images
        matched = type(system).template is not System.template  # a template of each repeat
        prepared[preparation] = size * (system.repeats(protocol) if matched else 1)
        views = getattr(system, "views", 1)
        if views > 1:  # made by the networks that it builds on, once per fold
            pairs += views * size * system.folds(protocol)
    # Those of the first repeat only, unless --keep-weights.
    kept = sum(
        one.trainings // systems[one.name].repeats(protocol) * calibration.speeds[one.name].weights for one in work
    )
    state = max((calibration.speeds[one.name].state for one in work), default=0) * protocol.jobs
    return sum(prepared.values()) + pairs + kept + state
