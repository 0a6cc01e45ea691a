"""The class-inherent transformation network against a literal reading of its losses, and its training."""

from __future__ import annotations

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from tensorflow.python.framework.config import disable_op_determinism

from covid_keras.common.errors import UserError
from covid_keras.common.settings import build
from covid_keras.models.pieces import train_in_pieces
from covid_keras.training.resume import ResumableTraining
from papers.covid_sdnet.cit import (
    CiTNetwork,
    CiTSettings,
    classifier_rate,
    rate_callback,
)
from papers.covid_sdnet.cit_losses import build_perceptual, total_variation
from papers.covid_sdnet.fusion import fuse_logits
from papers.covid_sdnet.generator import build_generator
from papers.covid_sdnet.settings import CitOptions

SIDE = 12
# Large weights, so that no term hides in another's rounding.
HEAVY = CiTSettings(lambda_=0.3, perceptual=0.5, total_variation=0.02, generator_decay=0.01, filters=4)


def tiny_classifier(classes: int = 2, normalised: bool = True) -> keras.Model:
    images = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(6, 3, strides=2, name="conv")(images)
    x = layers.BatchNormalization(momentum=0.9, name="bn")(x) if normalised else x
    x = layers.GlobalAveragePooling2D(name="pool")(layers.ReLU(name="relu")(x))
    return keras.Model(images, layers.Dense(classes, name="logits")(x))


def tiny_perceptual() -> keras.Model:
    images = keras.Input((SIDE, SIDE, 3))
    model = keras.Model(images, layers.Conv2D(5, 3, strides=3, activation="relu", name="features")(images))
    model.trainable = False
    return model


def tiny_network(
    settings=HEAVY, class_weights=None, names=("N", "P"), seed=0, eager=True, normalised=True
) -> CiTNetwork:
    """A compiled network of few filters; eager, since a few steps take less time than tracing them."""
    keras.utils.set_random_seed(seed)
    generators = [build_generator(SIDE, settings.filters, 1, f"generator_{name}") for name in names]
    network = CiTNetwork(generators, tiny_classifier(len(names), normalised), tiny_perceptual(), names)
    network.compile_cit(settings, class_weights)
    network.run_eagerly = eager
    return network


def assert_equal(*sequences) -> None:
    """All tensors alike, one by one."""
    for values in zip(*sequences, strict=True):
        for value in values[1:]:
            np.testing.assert_array_equal(values[0], value)


def assert_close(first, second, atol=1e-5) -> None:
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a, b, atol=atol)


def made_batch(labels, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.random((len(labels), SIDE, SIDE, 3)) ** (1 + np.array(labels).reshape(-1, 1, 1, 1))
    return tf.constant(images, tf.float32), tf.one_hot(labels, max(2, max(labels) + 1))


def literal_losses(network, images, labels):
    """loss_D, the list of L_k (L2 included) and MSEs as the paper and the authors' description say, image by image."""
    settings, count = network.settings, len(network.generators)
    outputs, targets = [], []
    for i in range(len(images)):
        for generator in network.generators:
            outputs.append(generator(images[i : i + 1], training=True)[0])
            targets.append(int(np.argmax(labels[i])))
    logits = network.classifier(tf.stack(outputs), training=True)
    ce = [-tf.nn.log_softmax(logits)[i, target] for i, target in enumerate(targets)]
    weights = [network.class_weights[target] for target in targets]
    loss_d = sum(w * c for w, c in zip(weights, ce, strict=True)) / sum(weights)
    losses, mses = [], []
    for k in range(count):
        own = tf.stack(outputs[k::count])
        of_class = [c for c, target in zip(ce, targets, strict=True) if target == k]
        mse = tf.reduce_mean((own - images) ** 2)
        features = network.perceptual.model
        distance = tf.reduce_mean((features(own, training=False) - features(images, training=False)) ** 2)
        down = tf.reduce_sum((own[:, 1:] - own[:, :-1]) ** 2) / (3 * (SIDE - 1) * SIDE)
        along = tf.reduce_sum((own[:, :, 1:] - own[:, :, :-1]) ** 2) / (3 * SIDE * (SIDE - 1))
        tv = 2 / len(images) * (down + along)
        l2 = sum(tf.reduce_sum(v.value**2) for v in network.generators[k].trainable_variables) / 2
        loss = mse + settings.perceptual * distance + settings.total_variation * tv + settings.generator_decay * l2
        losses.append(loss + settings.lambda_ * (sum(of_class) / len(of_class) if of_class else 0.0))
        mses.append(mse)
    return loss_d, losses, mses


@pytest.mark.slow
@pytest.mark.parametrize(
    ("labels", "class_weights"),
    [([0, 1, 1, 0], None), ([1, 0, 1], (1.0, 0.4)), ([1, 1], (0.3, 1.0)), ([0], None), ([2, 0, 1], (1.0, 0.5, 0.7))],
)
def test_gradients_are_those_of_a_literal_reading(labels, class_weights):
    names = ("N", "P", "Q")[: max(2, max(labels) + 1)]
    network = tiny_network(class_weights=class_weights, names=names)
    images, onehot = made_batch(labels)
    with tf.GradientTape(persistent=True) as tape:
        loss_d, losses, mses = literal_losses(network, images, onehot)
    found = tf.function(network.gradients) if len(labels) == 3 else network.gradients  # in a graph, too
    of_classifier, of_generators, report = found(images, onehot)
    assert_close(of_classifier, tape.gradient(loss_d, [v.value for v in network.classifier.trainable_variables]))
    for generator, gradients, loss in zip(network.generators, of_generators, losses, strict=True):
        assert_close(gradients, tape.gradient(loss, [v.value for v in generator.trainable_variables]))
    np.testing.assert_allclose(report["mse"], mses, rtol=1e-5)


def test_a_step_updates_each_part_by_its_own_gradient():
    network, twin = tiny_network(), tiny_network()
    images, labels = made_batch([0, 1, 1])
    of_classifier, of_generators, _ = twin.gradients(images, labels)
    twin.optimizer.apply(of_classifier, twin.classifier.trainable_variables)
    for generator, optimizer, gradients in zip(twin.generators, twin.extra_optimizers, of_generators, strict=True):
        optimizer.apply(gradients, generator.trainable_variables)
    before = [v.numpy() for v in network.trainable_variables]
    network.train_step((images, labels))
    assert_equal(network.trainable_variables, twin.trainable_variables)
    assert not any(map(np.array_equal, before, network.trainable_variables))
    rates = [float(optimizer.learning_rate) for optimizer in (network.optimizer, *network.extra_optimizers)]
    assert rates == pytest.approx([1e-3, 1e-4, 1e-4])
    assert all(optimizer.built and int(optimizer.iterations) == 1 for optimizer in network.extra_optimizers)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "eager"), [(2, False), (3, True)])
def test_a_step_in_pieces_is_the_step_of_the_whole_batch(size, eager):
    """Some pieces lack a class, and the last one is smaller; without batch normalisation, which sees a piece."""
    batch, made = made_batch([0, 0, 1, 0, 0]), {"class_weights": (0.4, 1.0), "eager": eager, "normalised": False}
    whole, pieces = tiny_network(**made), tiny_network(**made)
    train_in_pieces(pieces, size)
    logs = [network.train_on_batch(*batch, return_dict=True) for network in (whole, pieces)]
    assert logs[1] == pytest.approx(logs[0], rel=1e-5)
    # Adam's first step hides the size of a gradient: its means show it.
    for optimizers in zip(*([one.optimizer, *one.extra_optimizers] for one in (whole, pieces)), strict=True):
        assert_close(*(optimizer.variables for optimizer in optimizers), atol=1e-6)
    assert_close(whole.trainable_variables, pieces.trainable_variables)
    assert int(pieces.optimizer.iterations) == int(pieces.extra_optimizers[0].iterations) == 1


@pytest.mark.slow
def test_two_devices_train_as_one():
    """The losses are means over the images of a class in the whole batch, of which each device has a part."""
    command = [sys.executable, "-m", "tests.helpers.mirrored"]
    devices, difference = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert int(devices) == 2
    assert float(difference) < 1e-5


def test_only_its_own_class_reaches_a_generator():
    """Without images of class 1, generator 1's gradient does not change with lambda; generator 0's does."""
    images, labels = made_batch([0, 0, 0])
    gradients = []
    for lambda_ in (0.0, 5.0):
        network = tiny_network(CiTSettings(lambda_=lambda_, perceptual=0.0, filters=4))
        gradients.append(network.gradients(images, labels)[1])
    assert_equal(gradients[0][1], gradients[1][1])
    assert not np.allclose(gradients[0][0][0], gradients[1][0][0], atol=1e-5)


@pytest.mark.slow
def test_class_weights_weigh_the_classifiers_loss_only():
    images, labels = made_batch([0, 1, 1, 1])
    plain, weighted = tiny_network(), tiny_network(class_weights=(1.0, 1 / 3))
    (d1, g1, r1), (d2, g2, r2) = (network.gradients(images, labels) for network in (plain, weighted))
    np.testing.assert_allclose(r1["ce"], r2["ce"], rtol=1e-6)
    for a, b in zip(g1, g2, strict=True):
        assert_close(a, b, atol=1e-6)
    assert not np.allclose(d1[0], d2[0], atol=1e-5)
    # Three images of a third of the weight count as much as one of weight 1.
    logs = tiny_network(class_weights=(1.0, 1 / 3)).train_step((images, labels))
    assert float(logs["loss"]) == pytest.approx(float(np.mean(r1["ce"])), rel=1e-5)


def shifted_network(settings) -> CiTNetwork:
    """Generators that add 0.5, respectively set all to 0.25, features that halve, and a classifier of known logits."""
    inputs = [keras.Input((SIDE, SIDE, 3)) for _ in range(4)]
    generators = [
        keras.Model(inputs[0], layers.Rescaling(1.0, 0.5)(inputs[0])),
        keras.Model(inputs[1], layers.Rescaling(0.0, 0.25)(inputs[1])),
    ]
    features = keras.Model(inputs[2], layers.Rescaling(0.5)(inputs[2]))
    pooled = layers.GlobalAveragePooling2D()(inputs[3])
    classifier = keras.Model(inputs[3], layers.Dense(2, kernel_initializer="zeros")(pooled))
    classifier.layers[-1].bias.assign([0.0, np.log(3.0)])
    network = CiTNetwork(generators, classifier, features)
    network.compile_cit(settings)
    return network


def test_losses_by_hand():
    network = shifted_network(CiTSettings(perceptual=2.0, total_variation=0.1))
    images = np.zeros((2, SIDE, SIDE, 3), "f")
    images[0, :, ::2] = 1.0
    logs = network.test_on_batch(images, np.eye(2, dtype="f"), return_dict=True)
    assert logs["mse_N"] == pytest.approx(0.25)
    # Half of the first image's pixels are 1, all others 0.
    assert logs["mse_P"] == pytest.approx((0.5 * 0.75**2 + 1.5 * 0.25**2) / 2)
    assert logs["ce_N"] == pytest.approx(np.log(4))
    assert logs["ce_P"] == pytest.approx(np.log(4 / 3), rel=1e-5)
    assert logs["loss"] == pytest.approx((np.log(4) + np.log(4 / 3)) / 2)
    assert logs["accuracy"] == 0.5
    # Gradient for a version: 2 (t - x) / n of the MSE, and 2 * 2 * (t - x) / 4 / n of the distance with its weight 2.
    versions = tf.stack([network.generators[k](images) for k in range(2)], axis=1)
    network.settings = CiTSettings(perceptual=2.0)
    mse, gradient = network._pixel_gradient(tf.constant(images), versions)
    n = images.size
    np.testing.assert_allclose(mse, [logs["mse_N"], logs["mse_P"]], rtol=1e-6)
    np.testing.assert_allclose(gradient[:, 0], np.full(images.shape, 3 * 0.5 / n), rtol=1e-5)
    np.testing.assert_allclose(gradient[:, 1], 3 * (0.25 - images) / n, rtol=1e-5)
    # All steps along the rows of the first image are 1, those of the second 0, none down.
    np.testing.assert_allclose(total_variation(versions), [2 / 2, 0], atol=1e-7)


def test_the_frozen_features_stay_and_are_not_saved():
    network = tiny_network()
    frozen = network.perceptual.model.variables
    before = [v.numpy() for v in frozen]
    network.train_step(made_batch([0, 1, 1, 0]))
    assert_equal(before, frozen)
    assert not {id(v) for v in network.variables} & {id(v) for v in frozen}


@pytest.mark.slow
def test_fit_lowers_the_error_and_takes_a_short_last_batch():
    network = tiny_network(CiTSettings(perceptual=0.1, generator_rate=3e-3, filters=4), eager=False)
    images, labels = made_batch([0, 1] * 5 + [1])
    history = network.fit(images, labels, batch_size=4, epochs=4, validation_data=(images, labels), verbose=0).history
    assert history["mse_N"][-1] < 0.8 * history["mse_N"][0]
    assert history["mse_P"][-1] < 0.8 * history["mse_P"][0]
    assert {"loss", "accuracy", "ce_N", "ce_P", "val_loss", "val_accuracy", "val_mse_N"} <= set(history)
    assert int(network.optimizer.iterations) == int(network.extra_optimizers[0].iterations) == 12


@pytest.mark.slow
def test_metrics_of_an_epoch_are_those_of_all_its_images():
    network = tiny_network(class_weights=(1.0, 0.25))
    images, labels = made_batch([0, 1, 1, 1, 0, 1, 1])
    whole = network.evaluate(images, labels, batch_size=7, return_dict=True, verbose=0)
    parts = network.evaluate(images, labels, batch_size=3, return_dict=True, verbose=0)
    assert whole == pytest.approx(parts, rel=1e-5)
    logits = network.predict(images, batch_size=3, verbose=0)
    assert whole["accuracy"] == pytest.approx(np.mean(fuse_logits(logits, 2) == np.argmax(labels, 1)))


@pytest.mark.slow
def test_fit_repeats_itself_exactly_where_operations_are_deterministic():
    images, labels = made_batch([0, 1, 1, 0, 1])
    runs = []
    tf.config.experimental.enable_op_determinism()
    try:
        for _ in range(2):
            network = tiny_network()
            network.fit(images, labels, batch_size=3, shuffle=False, verbose=0)
            runs.append([v.numpy() for v in network.trainable_variables])
    finally:
        disable_op_determinism()
    assert_equal(*runs)


@pytest.mark.slow
def test_weights_come_back_whole(tmp_path):
    network = tiny_network()
    images, labels = made_batch([0, 1, 1])
    network.train_step((images, labels))
    parts, path = [*network.generators, network.classifier], tmp_path / "cit.weights.h5"
    network.save_weights(path)
    compiled, other = tiny_network(seed=1), tiny_network(seed=2)
    for again in (compiled, CiTNetwork(other.generators, other.classifier)):
        assert not np.allclose(again(images), network(images), atol=1e-4)
        again.load_weights(path)
        for part, own in zip([*again.generators, again.classifier], parts, strict=True):
            assert_equal(part.variables, own.variables)
        np.testing.assert_array_equal(again(images), network(images))


@pytest.mark.slow
def test_a_killed_training_continues_with_the_same_steps(tmp_path):
    images, labels = made_batch([0, 1, 1, 0, 1])
    settings = CiTSettings(perceptual=0.0, classifier_step=2, filters=4)

    def train(seed, folder, epochs):
        network, resume = tiny_network(settings, seed=seed), ResumableTraining(folder, "val_accuracy", 10)
        folder.mkdir(exist_ok=True)
        given = {"validation_data": (images, labels), "callbacks": [rate_callback(settings), resume], "verbose": 0}
        start = resume.restore(network)
        network.fit(images, labels, batch_size=3, shuffle=False, initial_epoch=start, epochs=epochs, **given)
        return network

    train(0, tmp_path / "killed", 1)
    continued, whole = train(5, tmp_path / "killed", 2), train(0, tmp_path / "whole", 2)
    assert_equal(continued.variables, whole.variables)
    assert int(continued.extra_optimizers[1].iterations) == 4


def test_logits_are_ordered_by_generator_and_transform_is_clipped():
    network = tiny_network()
    images, _ = made_batch([0, 1, 0])
    logits = network.predict(images, verbose=0)
    assert logits.shape == (3, 4)
    for k, generator in enumerate(network.generators):
        np.testing.assert_allclose(logits[:, 2 * k : 2 * k + 2], network.classifier(generator(images)), atol=1e-5)
        made = network.transform(images.numpy(), k)
        assert made.dtype == np.float32
        np.testing.assert_allclose(made, np.clip(generator(images), 0, 1), atol=1e-6)
    assert network.generators[0](images).numpy().min() < 0


@pytest.mark.slow
def test_classifier_rate_steps_at_the_start_of_an_epoch():
    settings = CiTSettings()
    rates = [classifier_rate(settings, epoch) for epoch in range(15)]
    assert rates == pytest.approx([1e-3] * 4 + [1e-4] * 5 + [1e-5] * 5 + [1e-6])
    network = tiny_network()
    images, labels = made_batch([0, 1])
    network.fit(images, labels, initial_epoch=8, epochs=10, verbose=0, callbacks=[rate_callback(settings)])
    assert float(network.optimizer.learning_rate) == pytest.approx(1e-5)
    assert float(network.extra_optimizers[0].learning_rate) == pytest.approx(1e-4)


def test_settings_and_parts_that_do_not_fit_are_refused():
    wrong = {"lambda_": -1.0, "generator_rate": 0.0, "classifier_step": 0, "filters": 2.5, "perceptual": float("nan")}
    for name, value in wrong.items():
        with pytest.raises(UserError, match=name):
            build(CitOptions, {name: value}, "protocol.yaml", "options.cit")
    generators = tiny_network().generators
    with pytest.raises(UserError, match="perceptual"):
        CiTNetwork(generators, tiny_classifier()).compile_cit(HEAVY)
    with pytest.raises(ValueError, match="classifier of 3"):
        CiTNetwork(generators, tiny_classifier(3))
    with pytest.raises(ValueError, match="class weights"):
        tiny_network(class_weights=(1.0, 0.0))


def test_perceptual_network_ends_at_the_fifth_pooling_and_is_frozen():
    model = build_perceptual("none", 32)
    assert model.output_shape == (None, 1, 1, 512)
    assert model.layers[-1].name == "block5_pool"
    assert not model.trainable_variables
    assert model.count_params() == 14_714_688
