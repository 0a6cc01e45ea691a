"""COVID-CAPS at 224 x 224 against the same convolutions followed by routing written in the two obvious ways.

In NumPy, a loop over passes and output capsules; in Keras, with the prediction of every input capsule for every
output capsule made first (11.5 MB per image).
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from covid_keras.models.capsules import Capsule, build_covid_caps, squash
from tests.helpers.timing import in_turns

pytestmark = pytest.mark.slow

IMAGES = 4
SIDE = 224
CAPSULES = ("capsule", "capsule_1", "capsule_2")


class PredictionsFirst(Capsule):
    """The same routing with the predictions u, (batch, n, capsules, dimension), in memory."""

    def call(self, inputs):
        kernel = ops.reshape(self.kernel, (-1, self.capsules, self.dimension))
        u = ops.einsum("bni,ijd->bnjd", inputs, kernel)
        outputs = squash(ops.mean(u, axis=1) * ops.shape(u)[1] / self.capsules)
        for _ in range(self.routings - 1):
            c = ops.softmax(ops.einsum("bjd,bnjd->bnj", outputs, u), axis=-1)
            outputs = squash(ops.einsum("bnj,bnjd->bjd", c, u))
        return outputs


def looped(x: np.ndarray, layer: Capsule) -> np.ndarray:
    """Route a batch (batch, n, dimension in) in NumPy, one image, pass and output capsule at a time."""
    kernel = np.asarray(layer.kernel)[0].reshape(x.shape[-1], layer.capsules, layer.dimension)
    outputs = np.zeros((len(x), layer.capsules, layer.dimension), np.float32)
    for image, out in zip(x, outputs, strict=True):
        u = [image @ kernel[:, j] for j in range(layer.capsules)]
        logits = np.zeros((len(image), layer.capsules), np.float32)
        for _ in range(layer.routings):
            c = np.exp(logits - logits.max(axis=1, keepdims=True))
            c /= c.sum(axis=1, keepdims=True)
            for j in range(layer.capsules):
                s = c[:, j] @ u[j]
                squared = s @ s + 1e-7
                out[j] = np.sqrt(squared) / (1 + squared) * s
                logits[:, j] = u[j] @ out[j]
    return outputs


def _predictions_first(model: keras.Model) -> keras.Model:
    x = model.get_layer("reshape").output
    for name in CAPSULES:
        x = PredictionsFirst.from_config(model.get_layer(name).get_config())(x)
    other = keras.Model(model.input, model.get_layer("length")(x))
    other.set_weights(model.get_weights())
    return other


def test_bench_covid_caps(benchmark):
    keras.utils.set_random_seed(0)
    model = build_covid_caps((SIDE, SIDE, 3))
    convolutions = keras.Model(model.input, model.get_layer("reshape").output)
    direct = _predictions_first(model)
    images = np.random.default_rng(0).random((IMAGES, SIDE, SIDE, 3), np.float32)

    def by_loop() -> np.ndarray:
        x = convolutions.predict_on_batch(images)
        for name in CAPSULES:
            x = looped(x, model.get_layer(name))
        return np.linalg.norm(x, axis=-1)

    functions = {
        "covid_caps": lambda: model.predict_on_batch(images),
        "convolutions": lambda: convolutions.predict_on_batch(images),
        "predictions_first": lambda: direct.predict_on_batch(images),
        "loop": by_loop,
    }
    found = {name: function() for name, function in functions.items()}  # compiles
    np.testing.assert_allclose(found["loop"], found["covid_caps"], rtol=1e-2, atol=1e-6)
    np.testing.assert_allclose(found["predictions_first"], found["covid_caps"], rtol=1e-2, atol=1e-6)
    best = {name: time.wall for name, time in in_turns(benchmark, functions, rounds=9).items()}
    routing = {name: value - best["convolutions"] for name, value in best.items()}
    benchmark.extra_info |= {f"{name}_ms_per_image": round(1000 * value / IMAGES, 1) for name, value in best.items()}
    for name in ("loop", "predictions_first"):
        benchmark.extra_info[f"{name}_over_covid_caps"] = round(best[name] / best["covid_caps"], 2)
        benchmark.extra_info[f"{name}_over_covid_caps_routing_alone"] = round(routing[name] / routing["covid_caps"], 2)
    benchmark.pedantic(functions["covid_caps"], rounds=1)
