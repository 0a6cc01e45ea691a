"""`claims.yaml`: what a claim holds, and what is said of a file that is wrong."""

from __future__ import annotations

import pytest

from covid_keras.common.errors import UserError
from covid_keras.published.claims import Systems, load_claims

CLAIMS = """
paper: made
claims:
  - id: deeper_is_better
    statement: The deeper network is right more often.
    where: 3.1, Table 1
    kind: difference
    systems: {a: deep, b: [shallow, small]}
    metric: accuracy
    direction: a > every b
    data: any
    evidence_in_paper: {numbers: 90 against 88, supports: undecided, why: one training each}
    testable_now: 'yes'
    verdict: undecided
    tests:
      - {what: deep less shallow, how: paired, expected: +, value: 2, interval: [-1.5, 5.5], verdict: undecided,
         primary: true, a: deep, b: shallow, metric: accuracy}
  - id: looks_at_lungs
    statement: Heat lies in the lungs.
    where: Fig. 2
    kind: qualitative
    systems:
    metric: share of heat
    direction: a > b
    data: any
    evidence_in_paper: {numbers: four images, supports: cannot say, why: chosen}
    testable_now: 'no'
    verdict: not tested
"""


def test_claims_come_by_id(tmp_path):
    path = tmp_path / "claims.yaml"
    path.write_text(CLAIMS)
    deeper, looks = load_claims(path).values()
    assert (deeper.id, deeper.systems) == ("deeper_is_better", Systems("deep", ("shallow", "small")))
    assert [(one.value, one.interval, one.primary) for one in deeper.tests] == [(2.0, (-1.5, 5.5), True)]
    assert (looks.systems, looks.tests, looks.verdict) == (None, (), "not tested")


@pytest.mark.parametrize(
    ("old", "new", "subject"),
    [
        ("kind: difference", "kind: rumour", r"claims\[deeper_is_better\]\.kind is 'rumour'"),
        ("verdict: undecided\n", "verdict: true\n", r"\.verdict is True"),
        ("metric: accuracy\n", "metrics: accuracy\n", r"'metrics' in claims\[deeper_is_better\].*'metric'"),
        ("    where: Fig. 2\n", "", r"lacks the key 'claims\[looks_at_lungs\]\.where'"),
        ("interval: [-1.5, 5.5]", "interval: [-1.5]", r"tests\[0\]\.interval is \[-1\.5\]"),
        ("{a: deep, b: [shallow, small]}", "{a: 3}", r"\.systems\.a is 3"),
        ("id: looks_at_lungs", "id: deeper_is_better", "'deeper_is_better' is repeated"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, old, new, subject):
    assert old in CLAIMS
    path = tmp_path / "claims.yaml"
    path.write_text(CLAIMS.replace(old, new, 1))
    with pytest.raises(UserError, match=subject) as caught:
        load_claims(path)
    assert caught.value.subject == str(path)
