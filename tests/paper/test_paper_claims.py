"""The claims of a paper: their systems exist, also those of other papers."""

from __future__ import annotations

import dataclasses

import pytest

from covid_keras.common.errors import UserError
from covid_keras.paper.claims import claims_of
from covid_keras.paper.registered import load_paper

CLAIM = """
paper: {paper}
claims:
  - {{id: one, statement: S, where: "1", source: text, kind: share, data: any, unprinted: none, tests: [{test}]}}
"""


@pytest.fixture
def claimed(tmp_path):
    """A function that returns a paper with one claim."""

    def claimed(test, paper="covid_sdnet"):
        (tmp_path / "claims.yaml").write_text(CLAIM.format(paper=paper, test=test))
        return dataclasses.replace(load_paper("covid_sdnet"), folder=tmp_path)

    return claimed


def test_a_paper_without_the_file_has_no_claims(tmp_path):
    assert claims_of(dataclasses.replace(load_paper("covid_sdnet"), folder=tmp_path)) == {}


def test_systems_may_be_those_of_another_paper(claimed):
    (claim,) = claims_of(claimed("{a: covid_sdnet, b: 'covid_cxnet:base_v1', metric: auc}")).values()
    assert claim.systems == ("covid_sdnet", "covid_cxnet:base_v1")


@pytest.mark.parametrize(
    ("test", "paper", "subject"),
    [
        ("{a: covid_sdnett, metric: auc}", "covid_sdnet", "'covid_sdnett' in claim 'one'.*covid_sdnet"),
        ("{a: 'covid_cxnet:base_v7', metric: auc}", "covid_sdnet", "'base_v7'.*base_v"),
        ("{a: 'nobody:base_v1', metric: auc}", "covid_sdnet", "'nobody'"),
        ("{a: covid_sdnet, metric: auc}", "covid_cxnet", "claims of 'covid_cxnet', not of 'covid_sdnet'"),
    ],
)
def test_unknown_systems_and_papers_are_named(claimed, test, paper, subject):
    with pytest.raises(UserError, match=subject):
        claims_of(claimed(test, paper))
