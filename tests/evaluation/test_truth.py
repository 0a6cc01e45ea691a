"""What is known of the phantom, recognised in predictions and missed where it is not there."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from covid_keras.common.errors import UserError
from covid_keras.evaluation.truth import ALL, CONTRADICTED, RISE_UNCLEAR, SHOWN, known_truth
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
        ((0.5, 0.5, 0.5, 0.5, 0.5), RISE_UNCLEAR),  # knows nothing
    ],
)
def test_what_must_not_be_is_not_shown(values, verdict):
    assert known_truth(predictions(rates(*values)), "P")["verdict"].tolist() == [verdict, verdict]


def test_systems_are_put_together_and_the_slope_is_a_regression():
    frame = pd.concat(
        [predictions(rates(0.1, 0.2, 0.4, 0.5, 0.9)), predictions(rates(0.3, 0.2, 0.2, 0.7, 0.9), system="b")]
    )
    table = known_truth(frame, "P", n=50).set_index("system")
    assert list(table.index) == ["a", "b", ALL]
    assert table.loc[ALL, "false_alarms"] == pytest.approx(20)
    positives = frame[frame["label"] == "P"]
    level = positives["severity"].map(LEVELS.index)
    slope = np.polyfit(level, 100.0 * (positives["predicted"] == "P"), 1)[0]
    assert table.loc[ALL, "rise"] == pytest.approx(slope)


def test_without_severities_there_is_nothing_to_say():
    with pytest.raises(UserError, match="know no severity"):
        known_truth(predictions({"N": 0.1}), "P")
