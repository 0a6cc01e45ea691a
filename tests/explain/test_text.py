"""Text and markers: found on the phantom, concealed, and their effect on a network that looks at them alone."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from covid_keras.data.phantom import phantom_image
from covid_keras.explain import conceal, find_text, text_effect

MARKERS = (("A", "R"), ("B", "L"))


def marked_and_plain(seed: int, hospital: str, marker: str, size: int = 224):
    return (phantom_image(seed, size, hospital=hospital, marker=text) for text in (marker, ""))


@pytest.mark.parametrize("with_lungs", [True, False])
def test_markers_of_the_phantom_are_found_and_little_else(with_lungs):
    """Recall and precision by pixel; the found area is grown by design, so precision allows four pixels."""
    recall, precision, unmarked = [], [], []
    for seed in range(12):
        for hospital, marker in MARKERS:
            marked, plain = marked_and_plain(seed, hospital, marker)
            truth = marked.image.astype(int) - plain.image > 40
            lungs = marked.lungs if with_lungs else None
            found = find_text(marked.image, lungs)
            near = cv2.dilate(truth.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
            recall.append((found & truth).sum() / truth.sum())
            precision.append((found & near).sum() / max(1, found.sum()))
            unmarked.append(find_text(plain.image, lungs).any())
    assert np.mean(np.array(recall) > 0.9) >= 0.9
    assert np.mean(precision) >= 0.7
    assert np.mean(unmarked) <= 0.25


def test_bone_and_empty_pictures_hold_no_text():
    assert not find_text(np.full((100, 80), 128, np.uint8)).any()
    ribs = cv2.GaussianBlur(
        np.where(np.arange(200) // 12 % 2, 200, 80).astype(np.uint8)[:, None].repeat(200, 1), (0, 0), 4
    )
    assert not find_text(ribs).any()


def test_lungs_decide_what_counts_and_without_them_the_border_does():
    image = np.full((300, 300), 60, np.uint8)
    cv2.putText(image, "A", (140, 160), cv2.FONT_HERSHEY_SIMPLEX, 1, 250, 3)
    cv2.putText(image, "R", (15, 35), cv2.FONT_HERSHEY_SIMPLEX, 1, 250, 3)
    inner, corner = np.s_[130:170, 130:170], np.s_[5:45, 5:45]
    lungs = np.zeros(image.shape, np.uint8)
    assert find_text(image, lungs)[inner].any()
    assert find_text(image, lungs)[corner].any()
    lungs[100:200, 100:200] = 255
    for known in (lungs, None):
        assert not find_text(image, known)[inner].any()
        assert find_text(image, known)[corner].any()


def test_grey_colour_and_float_pictures_agree():
    image = phantom_image(3, 224, marker="R").image
    expected = find_text(image)
    assert expected.any()
    np.testing.assert_array_equal(find_text(np.repeat(image[..., None], 3, axis=2)), expected)
    np.testing.assert_array_equal(find_text(image / 255.0), expected)


@pytest.mark.slow
def test_markers_are_found_at_any_size():
    for size in (160, 500, 1200):
        marked, plain = marked_and_plain(3, "A", "R", size)
        truth = marked.image.astype(int) - plain.image > 40
        assert find_text(marked.image)[truth].mean() > 0.8


def test_concealing_removes_the_marker_and_touches_nothing_else():
    marked, plain = marked_and_plain(1, "A", "R")
    mask = find_text(marked.image, marked.lungs)
    after = conceal(marked.image, mask)
    np.testing.assert_array_equal(after[~mask], marked.image[~mask])
    before_error = np.abs(marked.image.astype(int) - plain.image)[mask].mean()
    assert np.abs(after.astype(int) - plain.image)[mask].mean() < before_error / 3
    assert not find_text(after, marked.lungs)[mask].any()


def test_concealing_keeps_shape_and_type():
    image = np.random.default_rng(0).random((20, 30, 3)).astype(np.float32)
    mask = np.zeros((20, 30), np.uint8)
    mask[5:8, 5:8] = 255
    after = conceal(image, mask)
    assert after.dtype == np.float32
    assert after.shape == image.shape
    assert (after[5:8, 5:8] != image[5:8, 5:8]).any()
    np.testing.assert_array_equal(conceal(image, mask * 0), image)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: find_text(np.zeros((4, 4, 4))), r"\(H, W\) or \(H, W, 3\)"),
        (lambda: find_text(np.full((9, 9), 200.0)), "within 0 to 1"),
        (lambda: find_text(np.zeros((9, 9), np.uint8), np.zeros((9, 8))), "lungs must have the shape"),
        (lambda: conceal(np.zeros((9, 9), np.uint8), np.zeros((9, 8))), "mask must have"),
    ],
)
def test_shapes_and_values_that_do_not_fit_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_concealing_text_takes_the_answer_of_a_network_that_reads_only_text():
    keras = pytest.importorskip("keras")
    inputs = keras.Input((32, 32, 1))
    x = keras.layers.Conv2D(1, 1, activation="relu")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(keras.layers.GlobalMaxPooling2D()(x)))
    # Fires on light above 0.8 alone.
    model.layers[1].set_weights([np.full((1, 1, 1, 1), 10.0), np.array([-8.0])])
    model.layers[-1].set_weights([np.full((1, 1), 4.0), np.array([-3.0])])
    after = np.full((3, 32, 32, 1), 0.5, np.float32)
    after[:, 10:20, 10:20] = 0.82
    before, masks = after.copy(), np.zeros((3, 32, 32), np.uint8)
    masks[:, :4, :4] = 1
    before[:2, :4, :4] = 1.0
    frame = text_effect(model, before, after, masks, 1, batch_size=2)
    assert len(frame) == 3
    assert (frame["probability_before"][:2] > 0.95).all()
    assert (frame["probability_after"] < 0.2).all()
    assert frame["probability_before"][2] == pytest.approx(frame["probability_after"][2])
    assert (frame["heat_on_text_before"][:2] > 0.4).all()
    assert (frame["heat_on_text_after"] < 0.01).all()
    assert frame["text_area"].tolist() == pytest.approx([16 / 1024] * 3)
    assert text_effect(model, before[:0], after[:0], masks[:0], 1).empty
    with pytest.raises(ValueError, match="shapes must agree"):
        text_effect(model, before, after[:2], masks, 1)


@pytest.mark.real
def test_most_real_radiographs_keep_their_lungs_free_of_finds(real_data):
    """Concealment must not paint over the lungs: on real pictures with human masks, next to nothing is taken."""
    masks = sorted((real_data / "covid-chestxray-dataset/annotations/lung-masks-darwin-v7").glob("*.png"))[::20]
    taken = []
    for path in masks:
        images = [*(real_data / "covid-chestxray-dataset/images").glob(f"{path.stem}.*")]
        image, lungs = cv2.imread(str(images[0]), 0), cv2.imread(str(path), 0) == 255
        taken.append(find_text(image)[lungs].mean())
    assert len(taken) > 15
    assert np.mean(taken) < 0.005
