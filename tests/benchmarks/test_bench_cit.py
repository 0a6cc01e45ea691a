"""A training step of the class-inherent transformation network against the sum of its parts, each timed alone.

The floor is what no step can do without: each generator forward and backward, the classifier forward and once
backward a class, the perceptual network on the originals, and on all versions with the gradient for them, and the
optimisers' updates. Ratios are of the best of several rounds taken in turns.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

from covid_keras.models.resnet18 import build_resnet18
from papers.covid_sdnet.cit import CiTNetwork, CiTSettings
from papers.covid_sdnet.cit_losses import build_perceptual
from papers.covid_sdnet.generator import build_generator
from tests.helpers.timing import in_turns

SIDE, BATCH = 64, 2


def with_gradient(model: keras.Model, training: bool, of_inputs: bool, of_variables: bool, backward: int) -> Callable:
    """Return a graph function: forward, then `backward` times the gradient, of inputs, of variables, or of both."""

    @tf.function
    def run(images):
        variables = [v.value for v in model.trainable_variables] if of_variables else []
        sources = [images] * of_inputs + variables
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(sources)
            outputs = model(images, training=training)
        # Another gradient at the outputs each time, or two passes would be merged into one.
        at_outputs = [outputs * (k + 1.0) + k for k in range(backward)]
        found = [tape.gradient(outputs, sources, output_gradients=wanted) for wanted in at_outputs]
        # The outputs are fetched, or nothing would be computed where no gradient is wanted.
        return outputs, found

    return run


def parts(network: CiTNetwork, images, versions) -> dict[str, Callable[[], object]]:
    """What the step consists of, each as a function of its own."""
    classes = len(network.generators)
    found: dict[str, Callable[[], object]] = {}
    for k, generator in enumerate(network.generators):
        found[f"generator{k}"] = partial(with_gradient(generator, True, False, True, 1), images)
    found["classifier"] = partial(with_gradient(network.classifier, True, True, True, classes), versions)
    if network.settings.perceptual:
        vgg = network.perceptual.model
        found["features"] = partial(with_gradient(vgg, False, False, False, 0), images)
        found["perceptual"] = partial(with_gradient(vgg, False, True, False, 1), versions)
    pairs = [
        (network.optimizer, network.classifier),
        *zip(network.extra_optimizers, network.generators, strict=True),
    ]
    gradients = [[tf.ones_like(v) for v in model.trainable_variables] for _, model in pairs]

    @tf.function
    def update():
        for (optimizer, model), values in zip(pairs, gradients, strict=True):
            optimizer.apply(values, model.trainable_variables)

    return {**found, "updates": update}


def waiting(function: Callable[[], object]) -> Callable[[], None]:
    """Wait for the results, where calls return before they are done."""

    def run() -> None:
        for tensor in tf.nest.flatten(function()):
            if tensor is not None:
                tensor.numpy()

    return run


@pytest.mark.parametrize("perceptual", [0.0, 0.006], ids=["mse_and_ce", "with_vgg"])
def test_bench_step(benchmark, perceptual):
    """One step of `fit` at 64 px against the sum of its parts; aim 1.1 or less."""
    if benchmark.disabled:
        pytest.skip("nothing but a timing, of a minute: make bench")
    settings = CiTSettings(perceptual=perceptual)
    keras.utils.set_random_seed(0)
    network = CiTNetwork(
        [build_generator(SIDE, settings.filters, name=f"generator_{name}") for name in "NP"],
        build_resnet18((SIDE, SIDE, 3), frozen=True),
        build_perceptual("none", SIDE) if perceptual else None,
    )
    network.compile_cit(settings)
    rng = np.random.default_rng(0)
    images = tf.constant(rng.random((BATCH, SIDE, SIDE, 3)), tf.float32)
    versions = tf.constant(rng.random((2 * BATCH, SIDE, SIDE, 3)), tf.float32)
    labels = tf.one_hot(np.arange(BATCH) % 2, 2)
    train = tf.function(network.train_step)
    pieces = parts(network, images, versions)
    runs = {"step": lambda: train((images, labels)), **pieces}
    timed = {name: waiting(function) for name, function in runs.items()}
    in_turns(benchmark, timed, 1)  # traces
    best = in_turns(benchmark, timed, 4)
    for which, clock in enumerate(("", "_processor")):
        floor = sum(best[name][which] for name in pieces)
        benchmark.extra_info[f"step_over_sum_of_parts{clock}"] = round(best["step"][which] / floor, 3)
    benchmark.extra_info |= {f"{name}_ms": round(1000 * time.wall, 1) for name, time in best.items()}
    logs = benchmark.pedantic(runs["step"], rounds=1)
    assert np.isfinite(float(logs["loss"]))
