"""What holds for each paper alike: profiles that need no download say what they are, misspelt names are named."""

from __future__ import annotations

import pytest

from covid_keras.common.errors import UserError
from covid_keras.paper.registered import load_paper

PAPERS = ("arias_vgg19", "covid_cxnet", "covid_sdnet", "hertel_ensemble")


@pytest.mark.parametrize("name", ["cpu", "smoke"])
@pytest.mark.parametrize("paper", PAPERS)
def test_other_profiles_say_why_they_cannot_be_compared(paper, name):
    protocol = load_paper(paper).protocol(name)
    assert isinstance(protocol.comparable, str)
    assert protocol.comparable
    assert protocol.weights == "none", "needs no download"


@pytest.mark.parametrize("profile", ["paper", "cpu"])
@pytest.mark.parametrize("paper", PAPERS)
def test_without_data_the_message_says_what_to_do(tmp_path, paper, profile):
    paper = load_paper(paper)
    with pytest.raises(UserError, match=rf"profile '{profile}': needs real radiographs.*--data DIR"):
        paper.cohort(paper.protocol(profile), None, tmp_path)


@pytest.mark.parametrize(
    ("paper", "cohort", "words"),
    [
        ("arias_vgg19", {"kind": "radiographs"}, r"cohort\.kind is 'radiographs'.*stand_in, published, phantom"),
        ("arias_vgg19", {"kind": "stand_in"}, "unknown key 'other'"),
        ("arias_vgg19", {"covid": "many"}, "covid"),
        ("arias_vgg19", {"patients": 3}, "unknown key 'patients'"),
        ("covid_cxnet", {"kind": "radiograph"}, r"cohort\.kind is 'radiograph'.*radiographs, phantom"),
        ("covid_cxnet", {"kind": "phantom", "patients": 3}, "unknown key 'patients'"),
        ("covid_cxnet", {"covid": "many"}, "covid"),
        ("covid_sdnet", {"kind": "covidgrr"}, r"cohort\.kind is 'covidgrr'.*covidgr, stand_in, phantom"),
        ("covid_sdnet", {"kind": "phantom", "patient": 3}, "unknown key 'patient'"),
        ("covid_sdnet", {"kind": "phantom", "patients": "many"}, "patients"),
        ("hertel_ensemble", {"kind": "radiographs"}, r"cohort\.kind is 'radiographs'.*published, stand_in, phantom"),
        ("hertel_ensemble", {"kind": "stand_in"}, "unknown key 'size'"),
        ("hertel_ensemble", {"cohen": "many"}, "cohen"),
        ("hertel_ensemble", {"covid": 3}, "unknown key 'covid'"),
    ],
)
def test_a_wrong_cohort_is_named_before_anything_is_looked_for(tmp_path, paper, cohort, words):
    paper = load_paper(paper)
    protocol = paper.protocol("smoke", {"cohort": cohort})
    for asked in (paper.sources, lambda given: paper.available(given, None)):
        with pytest.raises(UserError, match=words):
            asked(protocol)
    with pytest.raises(UserError, match=words):
        paper.cohort(protocol, None, tmp_path)


@pytest.mark.parametrize(
    ("paper", "changes", "words"),
    [
        ("arias_vgg19", {"systems": ["exp4_c"]}, "exp4_c: is no system of arias_vgg19"),
        ("arias_vgg19", {"trainings": {"vew": {}}}, r"unknown key 'vew' in trainings.*Did you mean 'view'"),
        ("arias_vgg19", {"files": {"vgg18": "/a.h5"}}, "unknown key 'vgg18'"),
        ("covid_cxnet", {"systems": ["cxnet_v3"]}, "cxnet_v3: is no system of covid_cxnet"),
        ("covid_cxnet", {"trainings": {"cxnet_v3": {}}}, r"unknown key 'cxnet_v3' in trainings.*Did you mean 'cxnet_v"),
        ("covid_cxnet", {"files": {"chexnett": "/a.h5"}}, "unknown key 'chexnett'"),
        ("covid_sdnet", {"systems": ["covid_sdnett"]}, "covid_sdnett: is no system of covid_sdnet"),
        ("covid_sdnet", {"trainings": {"fucit": {}}}, r"unknown key 'fucit' in trainings.*Did you mean 'fucitnet'"),
        ("covid_sdnet", {"files": {"resnet81": "/a.h5"}}, "unknown key 'resnet81'"),
        ("hertel_ensemble", {"systems": ["average_three"]}, "average_three: is no system of hertel_ensemble"),
        ("hertel_ensemble", {"trainings": {"vgg16": {}}}, r"unknown key 'vgg16' in trainings.*vgg19"),
        ("hertel_ensemble", {"files": {"densenet": "/a.h5"}}, "unknown key 'densenet'"),
    ],
)
def test_unknown_systems_trainings_and_files_are_named(paper, changes, words):
    with pytest.raises(UserError, match=words):
        load_paper(paper).protocol("cpu", changes)
