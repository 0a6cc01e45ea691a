"""What holds for each paper alike: unique names, profiles that say what they are, misspelt names are named."""

from __future__ import annotations

import pytest

from covid_keras.common.errors import UserError
from covid_keras.data.sources import SOURCES
from covid_keras.evaluation import Grade, load_published
from covid_keras.paper.claims import claims_of
from covid_keras.paper.grading import RunGrading, Used
from covid_keras.paper.paper import Paper, is_reader
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
    measured = {*report.heat_systems, *report.cost_systems}
    assert {*report.proposed, *report.pictures} | paired | measured <= set(names)


def test_the_paper_profile_runs_every_system_of_the_paper(paper):
    others = {"view_all", "densenet201_children"}  # the filter that ships; what the paper warns of
    assert {system.name for system in paper.systems} - set(paper.protocol("paper").systems) <= others


@pytest.mark.parametrize("name", ["cpu", "smoke"])
def test_other_profiles_need_no_download_and_are_stand_ins(paper, name):
    protocol = paper.protocol(name)
    assert protocol.weights == "none"
    grading = RunGrading(paper, protocol, Used({}))
    assert {grading(system)[0] for system in protocol.systems} == {Grade.STAND_IN}


def test_every_printed_number_of_ours_has_its_evidence(paper):
    cells = load_published(paper.folder / "published.yaml")
    assert all(paper.evidence_of(cell.system, cell.table) for cell in cells if cell.system)
    for evidence in paper.evidence:
        assert all(name in SOURCES for names in evidence.collections for name in names)


def test_claims_name_printed_numbers_and_systems_that_exist(paper):
    assert bool(claims_of(paper)) == (paper.folder / "claims.yaml").is_file()


@pytest.mark.parametrize("key", ["readers", "option_readers"])
def test_readers_are_systems_and_read_what_there_is(paper, key):
    for setting, readers in getattr(paper, key).items():
        assert all(any(is_reader(system.name, [one]) for system in paper.systems) for one in readers), setting


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
        lambda: paper.missing(protocol, None),
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
