"""What is known of the phantom, recognised in predictions and missed where it is not there."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from covid_keras.common.errors import UserError
from covid_keras.evaluation.truth import CONTRADICTED, SHOWN, UNCLEAR, known_truth
from tests.helpers.predictions import make_predictions

LEVELS = ("Normal-PCR+", "Mild", "Moderate", "Severe")


def predictions(rates: dict[str, float], each: int = 40, system: str = "a") -> pd.DataFrame:
    """Predictions that call so many of each group positive, exactly; one image per patient."""
    frames = []
    for group, rate in rates.items():
        called = (np.arange(each) < round(rate * each)).astype(float)
        names = [f"{group}{number}" for number in range(each)]
        known = {"severity": "" if group == "N" else group, "system": system}
        labels = ["N" if group == "N" else "P"] * each
        frames.append(make_predictions(labels, called, image_id=names, patient_id=names, **known))
    return pd.concat(frames)


def rates(*values: float) -> dict[str, float]:
    return dict(zip(("N", *LEVELS), values, strict=True))


def test_a_network_that_sees_opacities_shows_the_truth():
    found = known_truth(predictions(rates(0.1, 0.1, 0.4, 0.7, 1.0)), "P").set_index("system").loc["a"]
    assert found["verdict"] == SHOWN
    assert found[["false_alarms", *LEVELS]].tolist() == [10, 10, 40, 70, 100]
    assert found["excess"] == 0
    assert found["rise"] == pytest.approx(30)
    assert found["rise_low"] > 20


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ((0.1, 0.9, 0.9, 0.95, 1.0), CONTRADICTED),  # tells positives without any opacity: a leak, or a shortcut
        ((0.5, 0.5, 0.4, 0.2, 0.0), CONTRADICTED),  # labels turned round
        ((0.5, 0.5, 0.5, 0.5, 0.5), UNCLEAR),  # knows nothing
    ],
)
def test_what_must_not_be_is_not_shown(values, verdict):
    assert known_truth(predictions(rates(*values)), "P")["verdict"].tolist() == [verdict]


def test_each_system_has_its_row_and_the_slope_is_a_regression():
    frame = pd.concat(
        [predictions(rates(0.1, 0.2, 0.4, 0.5, 0.9)), predictions(rates(0.3, 0.2, 0.2, 0.7, 0.9), system="b")]
    )
    table = known_truth(frame, "P", n=50).set_index("system")
    assert list(table.index) == ["a", "b"]
    positives = frame[(frame["label"] == "P") & (frame["system"] == "b")]
    level = positives["severity"].map(LEVELS.index)
    slope = np.polyfit(level, 100.0 * (positives["predicted"] == "P"), 1)[0]
    assert table.loc["b", "rise"] == pytest.approx(slope)


def test_the_auc_is_that_of_clear_opacities_against_all_negatives():
    frame = predictions(rates(0.1, 0.2, 0.4, 0.5, 0.9))
    clear = frame[(frame["label"] == "N") | frame["severity"].isin(["Moderate", "Severe"])]
    found = known_truth(frame, "P").iloc[0]
    assert found["auc"] == pytest.approx(100 * roc_auc_score(clear["label"] == "P", clear["score_P"]))
    assert found["auc_low"] < found["auc"] < found["auc_high"]


def test_levels_that_no_image_has_are_unknown_and_do_not_count():
    frame = predictions(rates(0.1, 0.2, 0.4, 0.5, 0.9))
    found = known_truth(frame[frame["severity"] != "Normal-PCR+"], "P").iloc[0]
    assert np.isnan(found["excess"])
    assert found["verdict"] == SHOWN


def test_a_system_of_other_classes_is_judged_by_their_auc():
    frame = predictions(rates(0.1, 0.2, 0.4, 0.5, 0.9))
    names = {"N": "frontal", "P": "lateral"}
    views = frame.assign(system="views", **{one: frame[one].map(names) for one in ("label", "predicted")})
    views = views.rename(columns={f"score_{old}": f"score_{new}" for old, new in names.items()})
    found = known_truth(pd.concat([frame, views]), "P").set_index("system").loc["views"]
    assert found["verdict"] == SHOWN
    assert found["auc"] == pytest.approx(100 * roc_auc_score(frame["label"] == "P", frame["score_P"]))


def test_without_severities_there_is_nothing_to_say():
    with pytest.raises(UserError, match="severities"):
        known_truth(predictions({"N": 0.1}), "P")
