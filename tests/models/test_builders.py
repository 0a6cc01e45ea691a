"""What all builders have in common: flat, uncompiled, float32 at the end, explained by heat maps."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from covid_keras.common.errors import UserError
from covid_keras.explain import grad_cam
from covid_keras.models import (
    build_base_cnn,
    build_chexnet,
    build_covid_caps,
    build_covidnet,
    build_cxnet,
    build_resnet18,
    build_resnet50,
    build_resunet,
    build_unet,
    build_vgg,
)
from tests.helpers.networks import mixed_precision, momenta

SMALL = (32, 32, 3)
# How the smallest of each is made, and a layer that computes in the policy's type.
BUILDERS = {
    "base_cnn": (lambda: build_base_cnn((65, 65, 1)), "fc_layer1"),
    "chexnet": (lambda: build_chexnet(SMALL), "conv1_conv"),
    "cxnet": (lambda: build_cxnet(SMALL, 3), "fc"),
    "covid_caps": (lambda: build_covid_caps((16, 16, 3)), "conv2d"),
    "covidnet_b": (lambda: build_covidnet(SMALL, 3, "b"), "conv1"),
    "covidnet_large": (lambda: build_covidnet(SMALL, 3, "large"), "hidden1"),
    "resnet18": (lambda: build_resnet18(SMALL, activation="softmax"), "conv1"),
    "resnet50": (lambda: build_resnet50(SMALL, 2, weights="none"), "hidden"),
    "resunet": (lambda: build_resunet((24, 16, 3), 2), "level1_conv1"),
    "unet": (lambda: build_unet((32, 16, 1), 2), "down1_conv1"),
    "vgg16": (lambda: build_vgg(16, (32, 32, 1), weights="none", width=1 / 16), "hidden3"),
}
SOFTMAX = ("cxnet", "covidnet_b", "covidnet_large", "resnet18", "resnet50", "vgg16")


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILDERS)
def test_a_network_is_flat_trainable_uncompiled_and_answers_in_float32(name):
    keras.utils.set_random_seed(0)
    build, inner = BUILDERS[name]
    with mixed_precision():
        model = build()
    assert not [layer for layer in model.layers if isinstance(layer, keras.Model)]
    assert all(layer.trainable for layer in model.layers)
    assert not model.compiled
    assert model.get_layer(inner).compute_dtype == "bfloat16"
    outputs = np.asarray(model(np.random.default_rng(0).random((2, *model.input_shape[1:])).astype(np.float32)))
    assert outputs.dtype == np.float32
    assert outputs.shape == (2, *model.output_shape[1:])
    assert ((outputs >= 0) & (outputs <= 1)).all()
    if name in SOFTMAX:
        np.testing.assert_allclose(outputs.sum(axis=1), 1, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "usual"),
    [
        (lambda **given: build_covidnet(SMALL, 3, "b", **given), 0.9),
        (lambda **given: build_covidnet(SMALL, 3, "large", **given), 0.99),
        (lambda **given: build_cxnet(SMALL, **given), 0.99),
        (lambda **given: build_resnet50(SMALL, weights="none", **given), 0.99),
    ],
)
def test_momentum_of_batch_normalisation(build, usual):
    assert momenta(build()) == {usual}
    assert momenta(build(batchnorm_momentum=0.8)) == {0.8}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "layer"),
    [
        (lambda: build_covid_caps((64, 64, 3)), "conv2d_3"),
        (lambda: build_cxnet((64, 64, 3), 3), "relu"),
        (lambda: build_vgg(19, (64, 64, 1), weights="none", width=1 / 16), "block5_conv4"),
    ],
)
def test_heat_maps_are_of_the_image_size_and_within_0_to_1(build, layer):
    keras.utils.set_random_seed(0)
    model = build()
    images = np.random.default_rng(1).random((2, *model.input_shape[1:])).astype(np.float32)
    heat = grad_cam(model, images, [0, 1], layer=layer)
    assert heat.shape == (2, 64, 64)
    assert np.isfinite(heat).all()
    assert heat.min() >= 0
    assert heat.max() == 1


@pytest.mark.parametrize(
    "problem",
    [
        Exception("URL fetch failure on https://storage.googleapis.com/x.h5: None -- [Errno -2] Name not known"),
        # What keras.utils.get_file raises where a proxy or a broken line gave another file than asked for.
        ValueError("Incomplete or corrupted file detected. The md5 file hash does not match the provided value."),
    ],
    ids=["unreachable", "corrupted"],
)
@pytest.mark.parametrize(
    ("application", "build"),
    [("ResNet50", build_resnet50), ("DenseNet121", build_cxnet), ("VGG19", lambda **given: build_vgg(19, **given))],
)
def test_imagenet_weights_that_cannot_be_had_are_one_line(monkeypatch, application, build, problem):
    def fails(weights, **named):
        assert weights == "imagenet"
        raise problem

    monkeypatch.setattr(keras.applications, application, fails)
    with keras.StatelessScope(initialize_variables=False), pytest.raises(UserError) as caught:
        build(weights="imagenet")
    assert caught.value.subject == f"{application} ImageNet weights"
    assert "weights add FILE" in caught.value.remedy


def test_another_error_while_building_is_not_called_a_download(monkeypatch):
    def fails(**named):
        raise ValueError("a bug")

    monkeypatch.setattr(keras.applications, "ResNet50", fails)
    for weights in ("imagenet", "none"):
        with pytest.raises(ValueError, match="a bug"):
            build_resnet50(weights=weights)


@pytest.mark.slow
def test_imagenet_is_asked_for_by_its_name_alone(monkeypatch):
    asked, actual = [], keras.applications.ResNet50V2
    monkeypatch.setattr(
        keras.applications,
        "ResNet50V2",
        lambda weights, **given: asked.append(weights) or actual(weights=None, **given),
    )
    for weights in ("imagenet", "none"):
        build_covidnet(SMALL, 3, "large", weights=weights)
    assert asked == ["imagenet", None]


@pytest.mark.parametrize("build", [build_resnet50, build_chexnet, build_cxnet, lambda **given: build_vgg(16, **given)])
@pytest.mark.parametrize("given", ["absent.h5", "imagnet"])
def test_a_file_that_is_not_there_is_named(tmp_path, monkeypatch, build, given):
    monkeypatch.chdir(tmp_path)
    with keras.StatelessScope(initialize_variables=False), pytest.raises(UserError) as caught:
        build(weights=given)
    assert caught.value.subject == given


@pytest.mark.parametrize(
    ("build", "word"),
    [
        (lambda: build_base_cnn((64, 300, 1)), "at least 65"),
        (lambda: build_covid_caps((224, 13, 3)), "at least 14"),
        (lambda: build_cxnet(SMALL, 0), "classes"),
        (lambda: build_chexnet(SMALL, "relu"), "activation"),
        (lambda: build_resunet((100, 96, 1)), "multiples of 8"),
        (lambda: build_resunet((96, 96, 1), 0), "filters"),
        (lambda: build_unet((104, 96, 1), 4), "multiples of 16"),
        (lambda: build_unet((100, 96, 1), 4, form="authors"), "multiples of 8"),
        (lambda: build_unet((96, 96, 1), 4, normalisation="batch"), "normalisation"),
        (lambda: build_unet((96, 96, 1), 4, form="paper"), "form"),
        (lambda: build_vgg(17, weights="none"), "depth"),
        (lambda: build_vgg(16, (31, 32, 1), weights="none"), "at least 32"),
        (lambda: build_vgg(16, (128, 127, 1), weights="none", pool5=8), "at least 128"),
        (lambda: build_vgg(16, (32, 32, 2), weights="none"), "channels"),
        (lambda: build_vgg(16, weights="none", pool5=4), "pool5"),
        (lambda: build_vgg(19, weights="none", kernel_bug=True), "kernel_bug"),
        (lambda: build_vgg(16, weights="none", channels="rgb"), "channels"),
        (lambda: build_vgg(16, weights="none", channel_weights=(0.5, 0.5)), "channel_weights"),
        (lambda: build_vgg(16, weights="none", width=0), "width"),
        (lambda: build_vgg(16, weights="none", standardise="none"), "mode"),
        (lambda: build_vgg(16, weights="imagenet", width=0.5), "width"),
    ],
)
def test_arguments_that_make_no_network_are_refused(build, word):
    with pytest.raises(ValueError, match=word):
        build()
