"""The lung U-Net's architecture, number by number."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from covid_keras.models import build_unet
from covid_keras.models.lungs import clean_mask, unet_input
from covid_keras.training.losses import MaskedDiceCrossEntropy, masked_dice
from tests.helpers.networks import unallocated


def _published_parameters(f0: int) -> int:
    """Equations 3 and 4 summed up: two 3x3 convolutions a block, 2x2 transposed ones between, 1x1 at the end."""
    down = [f0 * 2**i for i in range(5)]
    up = [down[-1] // 2**i for i in range(1, 5)]
    total, channels = 0, 1
    for width in down:
        total += 9 * channels * width + width + 9 * width * width + width
        channels = width
    for width, skip in zip(up, down[-2::-1], strict=True):
        total += 4 * channels * width + width
        total += 9 * (width + skip) * width + width + 9 * width * width + width
        channels = width
    return total + channels + 1


@pytest.mark.parametrize(("filters", "parameters"), [(16, 1_940_817), (64, 31_030_593), (112, 95_021_361)])
def test_parameter_counts_are_the_papers(filters, parameters):
    assert _published_parameters(filters) == parameters == _unallocated(filters).count_params()


def _unallocated(filters: int, form: str = "published") -> keras.Model:
    return unallocated(lambda: build_unet((224, 224, 1), filters, form=form))


def test_the_authors_second_unet_is_of_their_size():
    model = _unallocated(112, "authors")
    assert model.count_params() == 10_265_921
    assert _conv_filters(model, "conv1") == _conv_filters(model, "conv2") == [112, 224, 448, 448, 224, 112, 112]
    assert _conv_filters(model, "transpose") == [224, 112, 112]
    assert sum(isinstance(layer, keras.layers.MaxPooling2D) for layer in model.layers) == 3
    assert _dropout(model) == [0.1, 0.1, 0.2, 0.2, 0.2, 0.2, 0.1]


def test_mineos_network_is_of_the_published_layers():
    model = _unallocated(32, "mineo")
    assert model.count_params() == _published_parameters(32) == 7_759_521
    assert _conv_filters(model, "conv1") == _conv_filters(model, "conv2") == [32, 64, 128, 256, 512, 256, 128, 64, 32]


def _conv_filters(model: keras.Model, name: str) -> list[int]:
    return [layer.filters for layer in model.layers if layer.name.endswith(name)]


def _dropout(model: keras.Model) -> list[float]:
    return [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)]


@pytest.mark.parametrize(
    ("form", "shape", "rates"),
    [
        ("published", (64, 48, 1), [0.1, 0.1, 0.2, 0.2, 0.3, 0.2, 0.2, 0.1, 0.1]),
        ("authors", (40, 24, 1), [0.1, 0.1, 0.2, 0.2, 0.2, 0.2, 0.1]),
        ("mineo", (64, 48, 1), [0.0] * 9),
    ],
)
def test_dropout_mirrors_and_output_keeps_the_size(form, shape, rates):
    model = build_unet(shape, 4, form=form)
    assert _dropout(model) == rates
    assert model.output_shape == (None, *shape[:2], 1)
    out = model(np.zeros((1, *shape), np.float32)).numpy()
    assert ((out > 0) & (out < 1)).all()


def test_ignored_pixels_count_neither_in_loss_nor_in_dice():
    rng = np.random.default_rng(0)
    lung, counts = (rng.random((2, 8, 8)) > 0.5).astype("f"), np.ones((2, 8, 8), "f")
    counts[:, :3] = 0
    truth = np.stack([lung, counts], -1)
    p = rng.random((2, 8, 8, 1)).astype("f")
    changed = p.copy()
    changed[:, :3] = 1 - changed[:, :3]
    loss = MaskedDiceCrossEntropy()
    assert float(loss(truth, p)) == pytest.approx(float(loss(truth, changed)), rel=1e-5)
    assert np.allclose(masked_dice(truth, p), masked_dice(truth, changed))
    perfect = np.clip(lung[..., None], 0.001, 0.999)
    assert float(loss(truth, perfect)) < 0.01
    assert np.allclose(masked_dice(truth, perfect), 1)


def test_the_dice_loss_alone_is_what_the_entropy_is_added_to():
    rng = np.random.default_rng(1)
    truth = np.stack([(rng.random((2, 8, 8)) > 0.5), np.ones((2, 8, 8))], -1).astype("f")
    p = rng.uniform(0.1, 0.9, (2, 8, 8, 1)).astype("f")
    both, alone, half = (float(MaskedDiceCrossEntropy(entropy)(truth, p)) for entropy in (1, 0, 0.5))
    overlap = 2 * (truth[..., 0] * p[..., 0]).sum((1, 2)) + 1
    dice = overlap / (truth[..., 0].sum((1, 2)) + p[..., 0].sum((1, 2)) + 1)
    assert alone == pytest.approx(1 - dice.mean(), rel=1e-5)
    assert half == pytest.approx((both + alone) / 2, rel=1e-5)
    assert MaskedDiceCrossEntropy.from_config(MaskedDiceCrossEntropy(0.5).get_config()).entropy == 0.5


def test_clean_mask_keeps_the_largest_regions():
    mask = np.zeros((60, 100), np.uint8)
    for left, width in ((5, 20), (40, 30), (80, 15)):
        mask[10:50, left : left + width] = 255
    assert (clean_mask(mask) == mask).all()
    assert (clean_mask(mask, 2) == np.where(np.arange(100) < 80, mask, 0)).all()
    assert (clean_mask(mask[:, :30], 2) == mask[:, :30]).all()
    assert not clean_mask(np.zeros_like(mask), 2).any()


def test_clean_mask_drops_islands_and_fills_holes():
    mask = np.zeros((100, 100), np.uint8)
    mask[20:80, 10:40] = mask[20:80, 60:90] = 255
    mask[40:44, 20:24] = 0
    mask[2:5, 2:5] = 255
    cleaned = clean_mask(mask)
    assert cleaned[41, 21] == 255
    assert cleaned[3, 3] == 0
    assert set(np.unique(cleaned)) == {0, 255}
    assert np.count_nonzero(cleaned) == 2 * 60 * 30
    assert not clean_mask(np.zeros((10, 10), np.uint8)).any()


def test_unet_input_is_scaled_and_square():
    image = np.linspace(40, 200, 300 * 200).reshape(300, 200).astype(np.uint8)
    x = unet_input(image, 64)
    assert x.shape == (64, 64, 1)
    assert x.dtype == np.float32
    assert x.min() == 0
    assert x.max() == 1
