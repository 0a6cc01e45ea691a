"""Trains FuCiTNet on one device and on two: `python -m tests.helpers.mirrored` prints the largest difference."""

from __future__ import annotations

from covid_keras.common.quiet import import_tensorflow

import_tensorflow()

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from covid_keras.training.devices import resolve_strategy  # noqa: E402
from tests.helpers.train import two_devices  # noqa: E402
from tests.papers.test_cit import made_batch, tiny_network  # noqa: E402


def main() -> None:
    """Train a batch of four and one of three images; classes and devices share them unevenly."""
    two_devices()
    images, labels = made_batch([0, 0, 1, 0, 1, 0, 0])
    found = []
    for strategy in (tf.distribute.get_strategy(), resolve_strategy("mirrored")):
        with strategy.scope():
            network = tiny_network(class_weights=(0.4, 1.0), eager=False, normalised=False)
        logs = network.fit(images, labels, batch_size=4, shuffle=False, verbose=0).history
        optimizers = [network.optimizer, *network.extra_optimizers]
        values = [np.asarray(one) for optimizer in optimizers for one in optimizer.variables]
        found.append([*values, *map(np.asarray, network.trainable_variables), *map(np.asarray, logs.values())])
    print(strategy.num_replicas_in_sync, max(float(np.abs(a - b).max()) for a, b in zip(*found, strict=True)))


if __name__ == "__main__":
    main()
