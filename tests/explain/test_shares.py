"""Shares of heat over a whole set, and the paired comparison of two systems."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from covid_keras.common.errors import UserError
from covid_keras.evaluation.uncertainty import bootstrap_mean
from covid_keras.explain import compare_shares, grad_cam, heat_in_lungs, heat_shares
from covid_keras.explain.shares import MEASURES

keras = pytest.importorskip("keras")

SIDE = 16


def light_network() -> keras.Model:
    """One sigmoid output, raised by light: the heat lies where the image is bright."""
    inputs = keras.Input((SIDE, SIDE, 1))
    x = keras.layers.Conv2D(1, 1, activation="relu", name="light")(inputs)
    outputs = keras.layers.Dense(1, activation="sigmoid")(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, outputs)
    for layer, values in ((model.layers[1], (1.0, 0.0)), (model.layers[-1], (4.0, -1.0))):
        layer.set_weights([np.full(w.shape, value) for w, value in zip(layer.get_weights(), values, strict=True)])
    return model


def lit(left: float, right: float) -> np.ndarray:
    image = np.full((SIDE, SIDE, 1), right, np.float32)
    image[:, : SIDE // 4] = left
    return image


def left_quarter(n: int) -> np.ndarray:
    masks = np.zeros((n, SIDE, SIDE), np.uint8)
    masks[:, :, : SIDE // 4] = 255
    return masks


def test_the_shares_of_a_whole_set_are_the_known_ones():
    images = np.stack([lit(1, 0), lit(0, 1), lit(0.5, 0.5), lit(0, 0)])
    batches = [(images[:3], left_quarter(3)), (images[3:], left_quarter(1))]
    frame = heat_shares(light_network(), batches, 1, image_ids=list("abcd"), patient_ids=list("ppqr"))
    assert frame["image_id"].tolist() == list("abcd")
    assert frame["lung_area"].tolist() == [0.25] * 4
    np.testing.assert_allclose(frame["heat_in_lungs"], [1, 0, 0.25, np.nan], atol=1e-6)
    np.testing.assert_allclose(frame["enrichment"], [4, 0, 1, np.nan], atol=1e-5)
    np.testing.assert_allclose(frame["beyond_chance"], [1, -1 / 3, 0, np.nan], atol=1e-6)
    np.testing.assert_allclose(frame["probability"], light_network().predict(images, verbose=0)[:, 0], atol=1e-6)


def test_the_class_decided_for_is_explained_by_default_and_agrees_with_grad_cam():
    model = light_network()
    images = np.random.default_rng(0).random((5, SIDE, SIDE, 1)).astype(np.float32)
    frame = heat_shares(model, [(images, left_quarter(5))], image_ids=list("abcde"), patient_ids=list("abcde"))
    assert frame["class_index"].tolist() == (model.predict(images, verbose=0)[:, 0] >= 0.5).astype(int).tolist()
    maps = grad_cam(model, images, frame["class_index"].to_numpy())
    expected = [heat_in_lungs(heat, mask) for heat, mask in zip(maps, left_quarter(5), strict=True)]
    np.testing.assert_allclose(frame["heat_in_lungs"], expected, atol=1e-5)


def test_ids_and_images_must_be_as_many():
    batch = [(np.zeros((2, SIDE, SIDE, 1)), left_quarter(2))]
    for patients in (["p"], ["p", "q"]):
        with pytest.raises(ValueError, match="ids"):
            heat_shares(light_network(), batch, 1, image_ids=["a"], patient_ids=patients)


def shares(values: dict[str, float], area: float = 0.25, patients: dict[str, str] | None = None) -> pd.DataFrame:
    frame = pd.DataFrame({"image_id": list(values), "heat_in_lungs": list(values.values())})
    share = frame["heat_in_lungs"]
    return frame.assign(
        patient_id=[(patients or {}).get(name, name) for name in values],
        lung_area=area,
        enrichment=share / area,
        beyond_chance=(share - area) / (1 - area),
    )


def test_a_constant_difference_has_an_interval_of_no_width():
    a, b = shares({"x": 0.5, "y": 0.7, "z": 0.9}), shares({"y": 0.6, "z": 0.8, "other": 0.1})
    found = compare_shares(a, b, n=50).set_index("measure")
    raw = found.loc["heat_in_lungs"]
    assert raw[["a", "b", "difference", "low", "high"]].tolist() == pytest.approx([0.8, 0.7, 0.1, 0.1, 0.1])
    assert (raw["n_images"], raw["n_patients"]) == (2, 2)
    assert found.loc["enrichment", "difference"] == pytest.approx(0.4)


def test_a_crop_alone_raises_the_raw_share_but_not_what_is_relative_to_area():
    even_whole = shares({"x": 0.25, "y": 0.25}, area=0.25)
    even_crop = shares({"x": 0.5, "y": 0.5}, area=0.5)
    found = compare_shares(even_crop, even_whole, n=20).set_index("measure")["difference"]
    assert found.to_dict() == pytest.approx(
        {"heat_in_lungs": 0.25, "lung_area": 0.25, "enrichment": 0, "beyond_chance": 0}
    )


def test_undefined_shares_are_left_out_and_order_does_not_matter():
    a = shares({"x": 0.5, "y": np.nan, "z": 0.3})
    b = shares({"z": 0.1, "x": 0.2, "y": 0.2})
    found = compare_shares(a, b, n=30)
    pd.testing.assert_frame_equal(found, compare_shares(a.iloc[::-1], b, n=30))
    assert dict(zip(found["measure"], found["n_images"], strict=True)) == dict(zip(MEASURES, (2, 3, 2, 2), strict=True))
    nothing = compare_shares(shares({"x": np.nan}), shares({"x": 0.5}), n=10)
    assert np.isnan(nothing["difference"][0])


@pytest.mark.parametrize(
    ("a", "b", "word"),
    [
        (shares({"x": 0.5}), shares({"y": 0.5}), "no image in common"),
        (pd.concat([shares({"x": 0.5})] * 2), shares({"x": 0.5}), "explained twice"),
        (shares({"x": 0.5}), shares({"x": 0.5}, patients={"x": "p"}), "belongs to two patients"),
    ],
)
def test_frames_that_do_not_belong_together_are_refused(a, b, word):
    with pytest.raises(UserError, match=word):
        compare_shares(a, b)


def test_the_bootstrap_of_a_mean_draws_patients_not_images():
    rng = np.random.default_rng(4)
    own = rng.normal(size=200)
    single = bootstrap_mean(own, [f"p{i}" for i in range(200)], n=2000)
    assert single[0] == pytest.approx(own.mean())
    assert (single[2] - single[1]) / 2 == pytest.approx(1.96 * own.std() / np.sqrt(200), rel=0.1)
    # Ten copies of each patient's value tell no more than one.
    copies = bootstrap_mean(np.repeat(own, 10), np.repeat([f"p{i}" for i in range(200)], 10), n=2000)
    assert copies == pytest.approx(single)
    mean, *interval = bootstrap_mean(own, ["p"] * 200)
    assert mean == pytest.approx(own.mean())
    assert np.isnan(interval).all(), "one patient tells nothing of others"
    for values, patients in (([], []), ([1.0, np.nan], ["a", "b"]), ([1.0], ["a", "b"])):
        with pytest.raises(ValueError, match="finite"):
            bootstrap_mean(values, patients)
