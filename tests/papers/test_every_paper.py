"""What holds for each paper alike: unique names, profiles that say what they are, misspelt names are named."""

from __future__ import annotations

import pytest

from covid_keras.common.errors import UserError
from covid_keras.paper.paper import Paper
from covid_keras.paper.registered import load_paper
from covid_keras.reporting.results import report_of


@pytest.fixture(params=["arias_vgg19", "covid_cxnet", "covid_sdnet", "hertel_ensemble"])
def paper(request) -> Paper:
    return load_paper(request.param)


def test_systems_are_named_once_and_the_report_names_no_others(paper):
    names = [system.name for system in paper.systems]
    assert len(names) == len(set(names)) == len({system.title for system in paper.systems})
    report = report_of(paper)
    paired = {name for pair in (*(report.pairs or ()), *report.leaks, *report.heat_pairs) for name in pair}
    assert {*report.proposed, *report.pictures} | paired <= set(names)


def test_the_paper_profile_runs_every_system_of_the_paper(paper):
    others = {"view_all", "densenet201_children"}  # the filter that ships; what the paper warns of
    assert {system.name for system in paper.systems} - set(paper.protocol("paper").systems) <= others


@pytest.mark.parametrize("name", ["cpu", "smoke"])
def test_other_profiles_say_why_they_cannot_be_compared(paper, name):
    protocol = paper.protocol(name)
    assert isinstance(protocol.comparable, str)
    assert protocol.comparable
    assert protocol.weights == "none", "needs no download"


@pytest.mark.parametrize("profile", ["paper", "cpu"])
def test_without_data_the_message_says_what_to_do(tmp_path, paper, profile):
    with pytest.raises(UserError, match=rf"profile '{profile}'.*--data DIR"):
        paper.cohort(paper.protocol(profile), None, tmp_path)


@pytest.mark.parametrize(
    ("cohort", "named"),
    [
        ({"kind": "nobody"}, r"cohort\.kind is 'nobody'.*phantom"),
        ({"kind": "phantom", "nobody": 3}, "unknown key 'nobody'"),
        ({"kind": "phantom", "seed": "many"}, "seed"),
    ],
)
def test_a_wrong_cohort_is_named_before_anything_is_looked_for(tmp_path, paper, cohort, named):
    protocol = paper.protocol("smoke", {"cohort": cohort})
    for asked in (
        lambda: paper.sources(protocol),
        lambda: paper.available(protocol, None),
        lambda: paper.cohort(protocol, None, tmp_path),
    ):
        with pytest.raises(UserError, match=named):
            asked()


@pytest.mark.parametrize(
    "changes", [{"systems": ["nobody"]}, {"trainings": {"nobody": {}}}, {"files": {"nobody": "/a.h5"}}], ids=str
)
def test_unknown_systems_trainings_and_files_are_named(paper, changes):
    with pytest.raises(UserError, match="nobody"):
        paper.protocol("cpu", changes)
