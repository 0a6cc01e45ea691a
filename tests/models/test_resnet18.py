"""ResNet-18: torchvision's shapes, parameters, arithmetic and file, and what of it is frozen."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest

from covid_keras.common.errors import UserError
from covid_keras.models import load_weights, save_weights
from covid_keras.models.resnet18 import FixedScaleBatchNormalization, build_resnet18, load_torchvision
from tests.helpers.networks import assert_refused, same_weights

SIDE = 64
CHANNELS = (64, 128, 256, 512)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return build_resnet18((SIDE, SIDE, 3))


def state_shapes(classes: int) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of torchvision's state dict, in its order."""
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (64, 3, 7, 7)}

    def normalisation(name: str, channels: int) -> None:
        shapes.update({f"{name}.{key}": (channels,) for key in ("weight", "bias", "running_mean", "running_var")})
        shapes[f"{name}.num_batches_tracked"] = ()

    normalisation("bn1", 64)
    before = 64
    for stage, channels in enumerate(CHANNELS, start=1):
        for block in range(2):
            name = f"layer{stage}.{block}"
            for number in (1, 2):
                inputs = before if (block, number) == (0, 1) else channels
                shapes[f"{name}.conv{number}.weight"] = (channels, inputs, 3, 3)
                normalisation(f"{name}.bn{number}", channels)
            if block == 0 and stage > 1:
                shapes[f"{name}.downsample.0.weight"] = (channels, before, 1, 1)
                normalisation(f"{name}.downsample.1", channels)
        before = channels
    return shapes | {"fc.weight": (classes, 512), "fc.bias": (classes,)}


def made_state(classes: int = 2, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    state = {}
    for name, shape in state_shapes(classes).items():
        if name.endswith("tracked"):
            state[name] = np.array(7, np.int64)
        elif len(shape) > 1:
            state[name] = rng.normal(0, math.sqrt(2 / math.prod(shape[1:])), shape).astype(np.float32)
        else:
            low, high = (0.5, 1.5) if name.endswith(("var", "weight")) else (-0.2, 0.2)
            state[name] = rng.uniform(low, high, shape).astype(np.float32)
    return state


def saved(path, state):
    np.savez(path, **state)
    return path


def reference(state: dict[str, np.ndarray], images: np.ndarray) -> np.ndarray:
    """Run the network in plain numpy, channels first, from torchvision's tensors: what the graph must compute."""

    def windows(x, size, stride, padding, fill=0.0):
        padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)), constant_values=fill)
        return np.lib.stride_tricks.sliding_window_view(padded, (size, size), (2, 3))[:, :, ::stride, ::stride]

    def convolution(x, name, stride=1):
        kernel = state[f"{name}.weight"]
        size = kernel.shape[-1]
        return np.einsum("bchwij,ocij->bohw", windows(x, size, stride, size // 2), kernel, optimize=True)

    def normalisation(x, name):
        gamma, beta, mean, variance = (
            state[f"{name}.{key}"][:, None, None] for key in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta

    x = np.maximum(normalisation(convolution(images.transpose(0, 3, 1, 2), "conv1", 2), "bn1"), 0)
    x = windows(x, 3, 2, 1, -np.inf).max(axis=(-2, -1))
    for stage in range(1, 5):
        for block in range(2):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            shortcut = x
            x = np.maximum(normalisation(convolution(x, f"{name}.conv1", stride), f"{name}.bn1"), 0)
            x = normalisation(convolution(x, f"{name}.conv2"), f"{name}.bn2")
            if stride == 2:
                shortcut = normalisation(convolution(shortcut, f"{name}.downsample.0", 2), f"{name}.downsample.1")
            x = np.maximum(x + shortcut, 0)
    return x.mean(axis=(2, 3)) @ state["fc.weight"].T + state["fc.bias"]


def learnt(model: keras.Model, prefix: str = "") -> int:
    """Count what PyTorch calls parameters: all but the moving statistics."""
    variables = [v for layer in model.layers if layer.name.startswith(prefix) for v in layer.weights]
    return sum(math.prod(v.shape) for v in variables if "moving" not in v.name)


@pytest.mark.slow
def test_parameters_are_torchvisions():
    for classes, parameters in ((1000, 11_689_512), (2, 11_177_538)):
        assert learnt(build_resnet18((32, 32, 3), classes)) == parameters


@pytest.mark.parametrize("side", [64, 256, 224])
def test_shapes_layer_by_layer(side):
    network = build_resnet18((side, side, 3))
    expected = {"conv1": (2, 64), "maxpool": (4, 64)}
    for stage, channels in enumerate(CHANNELS, start=1):
        for block in range(2):
            for part in ("conv1", "conv2", "add"):
                expected[f"layer{stage}_{block}_{part}"] = (2 ** (stage + 1), channels)
    for name, (reduction, channels) in expected.items():
        assert network.get_layer(name).output.shape == (None, side // reduction, side // reduction, channels), name
    assert network.get_layer("avgpool").output.shape == (None, 512)


def test_it_gives_logits(model):
    assert model.get_layer("fc").activation.__name__ == "linear"


def test_batch_normalisation_is_pytorchs(model):
    found = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(found) == 20
    assert {(layer.momentum, layer.epsilon) for layer in found} == {(0.9, 1e-5)}


@pytest.mark.slow
@pytest.mark.parametrize("side", [(64, 64), (50, 75)])
def test_it_computes_what_the_tensors_of_torchvision_say(tmp_path, side):
    state = made_state(5)
    network = build_resnet18((*side, 3), 5, weights=saved(tmp_path / "state.npz", state))
    images = np.random.default_rng(1).random((2, *side, 3)).astype(np.float32)
    wanted = reference(state, images)
    assert wanted.std() > 0.1
    np.testing.assert_allclose(network.predict_on_batch(images), wanted, atol=1e-3 * np.abs(wanted).max())


# --- frozen part


def train_once(network: keras.Model) -> dict[str, np.ndarray]:
    """Train one step; return by how much each variable changed at most."""
    before = {v.path: v.numpy() for v in network.variables}
    network.compile(keras.optimizers.SGD(0.1), keras.losses.CategoricalCrossentropy(from_logits=True))
    images = np.random.default_rng(0).normal(3, 2, (4, 32, 32, 3)).astype(np.float32)
    network.train_on_batch(images, np.eye(2)[[0, 1, 1, 0]])
    return {v.path: np.abs(v.numpy() - before[v.path]).max() for v in network.variables if v.path in before}


@pytest.mark.slow
def test_frozen_weights_stay_and_their_statistics_move():
    network = build_resnet18((32, 32, 3), frozen=True)
    assert sum(math.prod(v.shape) for v in network.trainable_variables) == 2_099_712 + 8_393_728 + 1_026
    changes = train_once(network)
    frozen = {path: change for path, change in changes.items() if path.startswith(("conv1", "bn1", "layer1", "layer2"))}
    assert len(frozen) == 10 * 5
    for path, change in changes.items():
        assert (change == 0) == (path in frozen and "moving" not in path), path


@pytest.mark.slow
def test_frozen_normalisation_uses_the_batch_in_training_and_the_statistics_at_inference():
    frozen, free = (build_resnet18((32, 32, 3), frozen=flag) for flag in (True, False))
    free.set_weights(frozen.get_weights())
    images = np.random.default_rng(0).normal(3, 2, (4, 32, 32, 3)).astype(np.float32)
    for training in (False, True):
        np.testing.assert_allclose(frozen(images, training=training), free(images, training=training), atol=1e-4)
    part = keras.Model(frozen.input, frozen.get_layer("bn1").output)
    assert np.abs(np.mean(part(images, training=True), axis=(0, 1, 2))).max() < 1e-4
    assert np.abs(np.mean(part(images, training=False), axis=(0, 1, 2))).max() > 0.1


def test_scale_stays_fixed_where_the_model_is_made_trainable_again():
    network = build_resnet18((32, 32, 3), frozen=True)
    network.trainable = False
    network.trainable = True
    names = {v.path for v in network.trainable_variables}
    assert "layer1_0_conv1/kernel" in names
    assert not [name for name in names if name.startswith(("bn1", "layer1_0_bn", "layer2_0_downsample_1"))]


@pytest.mark.slow
def test_frozen_weights_are_files_of_the_free_network_and_models_can_be_saved(tmp_path):
    frozen = build_resnet18((32, 32, 3), frozen=True)
    free = build_resnet18((32, 32, 3), weights=save_weights(frozen, tmp_path / "frozen.h5"))
    assert same_weights(frozen, free)
    free.save_weights(tmp_path / "free.weights.h5")
    load_weights(frozen, tmp_path / "free.weights.h5")
    again = keras.models.clone_model(frozen)
    assert isinstance(again.get_layer("bn1"), FixedScaleBatchNormalization)
    assert len(again.trainable_variables) == len(frozen.trainable_variables)


# --- torchvision's file


def test_every_tensor_goes_where_its_name_says(model, tmp_path):
    state = made_state(seed=3)
    report = load_torchvision(model, saved(tmp_path / "state.npz", state))
    assert sorted(report.assigned.values()) == sorted(name for name in state if not name.endswith("tracked"))
    assert report.random == ()
    assert report.layout == "torchvision"
    assert report.parameters == model.count_params()
    assert report.assigned["layer2_0_downsample_1/moving_variance"] == "layer2.0.downsample.1.running_var"
    kernel = model.get_layer("layer3_1_conv2").kernel.numpy()
    assert kernel[0, 2, 5, 9] == state["layer3.1.conv2.weight"][9, 5, 0, 2]
    np.testing.assert_array_equal(model.get_layer("fc").kernel.numpy(), state["fc.weight"].T)
    np.testing.assert_array_equal(model.get_layer("bn1").beta.numpy(), state["bn1.bias"])


def test_a_head_for_other_classes_stays_random_and_is_named(model, tmp_path):
    before = model.get_layer("fc").get_weights()
    report = load_torchvision(model, saved(tmp_path / "state.npz", made_state(7)))
    assert report.random == ("fc",)
    assert not [name for name in report.assigned if name.startswith("fc/")]
    for found, value in zip(model.get_layer("fc").get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, value)


@pytest.mark.slow
def test_files_without_counters_and_of_other_precision_are_taken(model, tmp_path):
    state = {name: value for name, value in made_state().items() if not name.endswith("tracked")}
    state["conv1.weight"] = np.asfortranarray(state["conv1.weight"].astype(np.float16))
    path = tmp_path / "state.npz"
    np.savez_compressed(path, **state)
    load_torchvision(model, path)
    np.testing.assert_array_equal(
        model.get_layer("conv1").kernel.numpy(), state["conv1.weight"].astype(np.float32).transpose(2, 3, 1, 0)
    )


def _without(name):
    return lambda state: state.pop(name)


def _with(name, value):
    return lambda state: state.update({name: value})


def _nan(state):
    state["bn1.bias"][3] = np.nan


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without("layer2.0.downsample.0.weight"), "no tensor 'layer2.0.downsample.0.weight'"),
        (_without("fc.bias"), "no tensor 'fc.bias'"),
        (_with("layer1.2.conv1.weight", np.ones((64, 64, 3, 3))), "'layer1.2.conv1.weight'"),
        (_with("conv1.weight", np.ones((64, 1, 7, 7))), "conv1.weight has shape (64, 1, 7, 7)"),
        (_with("conv1.weight", np.ones((7, 7, 3, 64))), "expects (64, 3, 7, 7)"),
        (_with("fc.weight", np.ones((2, 2048))), "fc.weight has shape (2, 2048), ResNet-18 expects (2, 512)"),
        (_with("fc.bias", np.ones(3)), "fc.bias has shape (3,), ResNet-18 expects (2,)"),
        (_with("fc.bias", np.ones(())), "fc.bias has shape ()"),
        (_with("bn1.weight", np.ones(64, int)), "floating-point type (got int64)"),
        (_with("bn1.weight", np.array([None] * 64)), "floating-point type (got object)"),
        (_nan, "bn1.bias has NaN"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_loaded(model, tmp_path, change, message):
    state = made_state(seed=9)
    change(state)
    path = saved(tmp_path / "state.npz", state)
    assert_refused(model, lambda: load_torchvision(model, path), message)


def test_files_of_another_kind_are_refused(model, tmp_path):
    path = saved(tmp_path / "state.npz", made_state())
    whole = path.read_bytes()
    for damaged in (whole[:100_000], whole[:20_000] + bytes(100) + whole[20_100:]):
        path.write_bytes(damaged)
        assert_refused(model, lambda: load_torchvision(model, path), "cannot be read as .npz")
    with pytest.raises(UserError, match="not a weight file"):
        build_resnet18((32, 32, 3), weights=tmp_path / "absent.npz")
    text = tmp_path / "text.npz"
    text.write_text("no archive")
    with pytest.raises(UserError, match="HDF5"):
        build_resnet18((32, 32, 3), weights=text)


def test_imagenet_says_how_to_make_the_file():
    with pytest.raises(UserError, match=r"state_dict\(\).*numpy\.savez"):
        build_resnet18(weights="imagenet")
